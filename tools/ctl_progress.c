/* SPDX-License-Identifier: MIT */
#include "tools/ctl_progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/units.h"

#define FIRST_MS 1000
#define EVERY_MS 200
#define BAR 24

void ctl_progress_start(struct ctl_progress *p, const char *verb, const char *unit)
{
	*p = (struct ctl_progress){
		.verb = verb, .unit = unit, .on = isatty(STDERR_FILENO), .start_ms = clock_mono_ms()
	};
}

void ctl_progress_clear(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static void draw_bar(const struct ctl_progress *p, uint64_t done, uint64_t total, int64_t ms)
{
	char bar[BAR + 1], d[32], t[32], left[32];
	int full = (int)((double)done / (double)total * BAR);

	if (full > BAR)
		full = BAR;
	memset(bar, '.', BAR);
	memset(bar, '#', (size_t)full);
	bar[BAR] = '\0';
	fprintf(stderr, "\r\033[K%s [%s] %s of %s %s", p->verb, bar,
		units_print_count(done, d, sizeof(d)), units_print_count(total, t, sizeof(t)),
		p->unit);
	if (done > 0 && done < total)
		fprintf(stderr, ", %s left",
			units_print_ms(
				(int64_t)((double)ms / (double)done * (double)(total - done)), left,
				sizeof(left)));
}

void ctl_progress_draw(struct ctl_progress *p, uint64_t done, uint64_t total, uint64_t bytes)
{
	int64_t now = clock_mono_ms(), ms = now - p->start_ms;
	char b[32], r[32];

	if (!p->on || ms < FIRST_MS || now - p->drawn_ms < EVERY_MS)
		return;
	p->drawn_ms = now;
	if (total > 0)
		draw_bar(p, done, total, ms);
	else
		fprintf(stderr, "\r\033[K%s: %s %s", p->verb, units_print_count(done, b, sizeof(b)),
			p->unit);
	if (bytes > 0)
		fprintf(stderr, ", %s, %s/s", units_print_bytes(bytes, b, sizeof(b)),
			units_print_bytes(bytes * 1000 / (uint64_t)ms, r, sizeof(r)));
	fflush(stderr);
}
