/* SPDX-License-Identifier: MIT */
/*
 * Times of day: in which hours something may happen.
 *
 * A window holds from its first minute up to, not including, its last; one that
 * ends before it begins goes over midnight.  Local time, because it is people's
 * and tariffs' time; on the night the clock is put back an hour counts twice.
 */
#include "lib/conf.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/units.h"

#define DAY_MIN (24 * 60)
#define WINDOW_TEXT_SIZE 16 /* "22:00-06:00" and some room */

/* text: "22:00-06:00"; it is cut in two. */
static int parse_window(char *text, struct conf_window *ret)
{
	char *to = strchr(text, '-');
	struct conf_window w;
	int r;

	if (!to)
		return -EINVAL;
	*to++ = '\0';
	r = units_parse_minute(text, &w.from_min);
	if (r < 0)
		return r;
	r = units_parse_minute(to, &w.to_min);
	if (r < 0)
		return r;
	/* Nothing, or the whole day?  The latter is 00:00-24:00. */
	if (w.from_min == w.to_min || w.from_min == DAY_MIN)
		return -EINVAL;
	*ret = w;
	return 0;
}

int conf_windows_parse(const char *s, struct conf_windows *ret)
{
	struct conf_windows ws = { .n = 0 };
	char text[WINDOW_TEXT_SIZE];
	int r;

	while (*s) {
		size_t len;

		s += strspn(s, " \t");
		len = strcspn(s, ", \t");
		if (len >= sizeof(text))
			return -EINVAL;
		if (ws.n == sizeof(ws.w) / sizeof(ws.w[0]))
			return -ERANGE;
		memcpy(text, s, len);
		text[len] = '\0';
		r = parse_window(text, &ws.w[ws.n++]);
		if (r < 0)
			return r;
		s += len;
		s += strspn(s, " \t");
		if (*s && *s++ != ',')
			return -EINVAL;
	}
	*ret = ws;
	return 0;
}

static bool window_holds(const struct conf_window *w, int minute)
{
	if (w->from_min < w->to_min)
		return minute >= w->from_min && minute < w->to_min;
	return minute >= w->from_min || minute < w->to_min;
}

bool conf_windows_open(const struct conf_windows *ws, int64_t real_ns)
{
	time_t t = ns_to_ts(real_ns).tv_sec;
	struct tm tm;

	if (ws->n == 0 || !localtime_r(&t, &tm))
		return true;
	for (unsigned i = 0; i < ws->n; i++) {
		if (window_holds(&ws->w[i], tm.tm_hour * 60 + tm.tm_min))
			return true;
	}
	return false;
}
