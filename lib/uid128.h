/* SPDX-License-Identifier: MIT */
/* UUIDs (RFC 9562 version 4) of volumes, nodes and caches. */
#ifndef EBB_LIB_UID128_H
#define EBB_LIB_UID128_H

#include <stdbool.h>
#include <stdint.h>

struct uid128 {
	uint8_t b[16];
};

#define UID128_STR_SIZE 37

/* 0, or -errno of getrandom(2). */
int uid128_new(struct uid128 *ret);
/* 0, or -EINVAL: not 8-4-4-4-12 hexadecimal digits. */
int uid128_parse(const char *s, struct uid128 *ret);
/* Lower case, NUL-terminated.  Returns buf. */
char *uid128_print(const struct uid128 *u, char buf[UID128_STR_SIZE]);
bool uid128_equal(const struct uid128 *a, const struct uid128 *b);
bool uid128_is_zero(const struct uid128 *u);

#endif
