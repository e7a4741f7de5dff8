/* SPDX-License-Identifier: MIT */
/*
 * Numbers as people write and read them.
 *
 * Parsing is strict, because a configuration that is guessed at is worse than
 * one that is refused: digits first (no sign, no blank, no fraction), then a
 * unit that the whole rest must be.  Printing for people rounds; the exact form
 * is what a configuration file would hold.
 */
#include "lib/units.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: printing takes the first that fits. */
static const struct unit byte_units[] = {
	{ "P", 1ULL << 50 }, { "T", 1ULL << 40 }, { "G", 1ULL << 30 },
	{ "M", 1ULL << 20 }, { "k", 1ULL << 10 }, { "", 1 },
};
static const struct unit ms_units[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};
#define N_BYTE_UNITS (sizeof(byte_units) / sizeof(byte_units[0]))
#define N_MS_UNITS (sizeof(ms_units) / sizeof(ms_units[0]))

/* Reads digits of a base; *rest is what follows them. */
static int parse_digits(const char *s, unsigned base, uint64_t *ret, const char **rest)
{
	const char *start = s;
	uint64_t n = 0;
	int overflow = 0;

	for (; *s >= '0' && *s < (char)('0' + base); s++) {
		if (n > (UINT64_MAX - (uint64_t)(*s - '0')) / base)
			overflow = 1;
		n = n * base + (uint64_t)(*s - '0');
	}
	if (s == start)
		return -EINVAL;
	if (overflow)
		return -ERANGE;
	*ret = n;
	*rest = s;
	return 0;
}

static int parse_whole(const char *s, unsigned base, uint64_t max, uint64_t *ret)
{
	const char *rest;
	uint64_t n;
	int r;

	r = parse_digits(s, base, &n, &rest);
	if (r < 0)
		return r;
	if (*rest)
		return -EINVAL;
	if (n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

static int scale(uint64_t n, uint64_t factor, uint64_t max, uint64_t *ret)
{
	if (n > max / factor)
		return -ERANGE;
	*ret = n * factor;
	return 0;
}

/* "", "B", "k", "KiB", "M", "MiB" ...; not "KB", which would be 1000. */
static int is_byte_unit(const char *s, const char *name)
{
	size_t len = strlen(name);

	if (strncasecmp(s, name, len) != 0)
		return 0;
	s += len;
	return !*s || strcasecmp(s, len ? "iB" : "B") == 0;
}

int units_parse_bytes(const char *s, uint64_t *ret)
{
	const char *rest;
	uint64_t n;
	int r;

	r = parse_digits(s, 10, &n, &rest);
	if (r < 0)
		return r;
	for (size_t i = 0; i < N_BYTE_UNITS; i++) {
		if (is_byte_unit(rest, byte_units[i].name))
			return scale(n, byte_units[i].factor, UINT64_MAX, ret);
	}
	return -EINVAL;
}

int units_parse_ms(const char *s, int64_t *ret)
{
	const char *rest;
	uint64_t n, ms;
	int r;

	r = parse_digits(s, 10, &n, &rest);
	if (r < 0)
		return r;
	if (!*rest)
		rest = "s";
	for (size_t i = 0; i < N_MS_UNITS; i++) {
		if (strcmp(rest, ms_units[i].name) != 0)
			continue;
		r = scale(n, ms_units[i].factor, INT64_MAX, &ms);
		if (r < 0)
			return r;
		*ret = (int64_t)ms;
		return 0;
	}
	return -EINVAL;
}

int units_parse_pct(const char *s, unsigned *ret)
{
	const char *rest;
	uint64_t n;
	int r;

	r = parse_digits(s, 10, &n, &rest);
	if (r < 0)
		return r;
	if (*rest && strcmp(rest, "%") != 0)
		return -EINVAL;
	if (n > 100)
		return -ERANGE;
	*ret = (unsigned)n;
	return 0;
}

int units_parse_bool(const char *s, int *ret)
{
	static const char *const words[][2] = {
		{ "no", "yes" },
		{ "false", "true" },
		{ "off", "on" },
		{ "0", "1" },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (int value = 0; value < 2; value++) {
			if (strcasecmp(s, words[i][value]) == 0) {
				*ret = value;
				return 0;
			}
		}
	}
	return -EINVAL;
}

int units_parse_uint(const char *s, uint64_t *ret)
{
	return parse_whole(s, 10, UINT64_MAX, ret);
}

int units_parse_octal(const char *s, unsigned *ret)
{
	uint64_t n;
	int r;

	r = parse_whole(s, 8, UINT_MAX, &n);
	if (r < 0)
		return r;
	*ret = (unsigned)n;
	return 0;
}

int units_parse_minute(const char *s, int *ret)
{
	uint64_t hour, minute;
	const char *rest;
	int r;

	r = parse_digits(s, 10, &hour, &rest);
	if (r < 0)
		return r;
	if (*rest != ':' || rest - s > 2 || strlen(rest) != 3)
		return -EINVAL;
	r = parse_whole(rest + 1, 10, UINT64_MAX, &minute);
	if (r < 0)
		return r;
	if (minute > 59 || hour > 24 || (hour == 24 && minute > 0))
		return -ERANGE;
	*ret = (int)(hour * 60 + minute);
	return 0;
}

/* One decimal and the largest unit that leaves at least 1 before the point. */
static char *print_scaled(uint64_t n, unsigned step, const char *const *names, unsigned n_names,
			  char *buf, size_t size)
{
	double value = (double)n;
	unsigned i = 0;

	/* What would print as 1024.0 is 1.0 of the next. */
	while (value >= step - 0.05 && i + 1 < n_names) {
		value /= step;
		i++;
	}
	if (i == 0)
		snprintf(buf, size, "%" PRIu64 "%s", n, names[0]);
	else
		snprintf(buf, size, "%.1f%s", value, names[i]);
	return buf;
}

char *units_print_bytes(uint64_t bytes, char *buf, size_t size)
{
	static const char *const names[] = { " B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB" };

	return print_scaled(bytes, 1024, names, sizeof(names) / sizeof(names[0]), buf, size);
}

char *units_print_count(uint64_t n, char *buf, size_t size)
{
	static const char *const names[] = { "", " k", " M", " G", " T" };

	return print_scaled(n, 1000, names, sizeof(names) / sizeof(names[0]), buf, size);
}

/* The two largest units: "2d 4h", "3h 12m", "1m 5s", "1s 500ms", "12ms". */
char *units_print_ms(int64_t ms, char *buf, size_t size)
{
	uint64_t n = ms < 0 ? -(uint64_t)ms : (uint64_t)ms;
	const char *sign = ms < 0 ? "-" : "";
	size_t i = 0;
	uint64_t next;

	while (i + 1 < N_MS_UNITS && n < ms_units[i].factor)
		i++;
	next = i + 1 < N_MS_UNITS ? n % ms_units[i].factor / ms_units[i + 1].factor : 0;
	if (next > 0)
		snprintf(buf, size, "%s%" PRIu64 "%s %" PRIu64 "%s", sign, n / ms_units[i].factor,
			 ms_units[i].name, next, ms_units[i + 1].name);
	else
		snprintf(buf, size, "%s%" PRIu64 "%s", sign, n / ms_units[i].factor,
			 ms_units[i].name);
	return buf;
}

static char *print_exact(uint64_t n, const struct unit *units, size_t n_units, char *buf,
			 size_t size)
{
	size_t i = 0;

	if (n == 0) {
		snprintf(buf, size, "0");
		return buf;
	}
	while (i + 1 < n_units && n % units[i].factor != 0)
		i++;
	snprintf(buf, size, "%" PRIu64 "%s", n / units[i].factor, units[i].name);
	return buf;
}

char *units_exact_bytes(uint64_t bytes, char *buf, size_t size)
{
	return print_exact(bytes, byte_units, N_BYTE_UNITS, buf, size);
}

char *units_exact_ms(int64_t ms, char *buf, size_t size)
{
	return print_exact((uint64_t)ms, ms_units, N_MS_UNITS, buf, size);
}
