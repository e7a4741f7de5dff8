/* SPDX-License-Identifier: MIT */
/*
 * Random UUIDs.  The text form is the only one that leaves this machine (object
 * names, the volume object, options), so byte order is never a question.
 */
#include "lib/uid128.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* A dash precedes these bytes: 8-4-4-4-12. */
static bool dash_before(unsigned i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

int uid128_new(struct uid128 *ret)
{
	struct uid128 u;
	ssize_t n;

	/* Up to 256 bytes come whole once the pool is seeded; before, a signal may interrupt. */
	do {
		n = getrandom(u.b, sizeof(u.b), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != sizeof(u.b))
		return -EIO;
	u.b[6] = (u.b[6] & 0x0f) | 0x40; /* version 4 */
	u.b[8] = (u.b[8] & 0x3f) | 0x80; /* variant of RFC 9562 */
	*ret = u;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int uid128_parse(const char *s, struct uid128 *ret)
{
	struct uid128 u;

	for (unsigned i = 0; i < sizeof(u.b); i++) {
		int high, low;

		if (dash_before(i) && *s++ != '-')
			return -EINVAL;
		high = hex_digit(s[0]);
		low = high < 0 ? -1 : hex_digit(s[1]);
		if (low < 0)
			return -EINVAL;
		u.b[i] = (uint8_t)(high << 4 | low);
		s += 2;
	}
	if (*s)
		return -EINVAL;
	*ret = u;
	return 0;
}

char *uid128_print(const struct uid128 *u, char buf[UID128_STR_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	char *p = buf;

	for (unsigned i = 0; i < sizeof(u->b); i++) {
		if (dash_before(i))
			*p++ = '-';
		*p++ = hex[u->b[i] >> 4];
		*p++ = hex[u->b[i] & 15];
	}
	*p = '\0';
	return buf;
}

bool uid128_equal(const struct uid128 *a, const struct uid128 *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool uid128_is_zero(const struct uid128 *u)
{
	static const struct uid128 zero;

	return uid128_equal(u, &zero);
}
