/* SPDX-License-Identifier: MIT */
/* Sizes, durations, percentages and times of day, as people write them. */
#ifndef EBB_LIB_UNITS_H
#define EBB_LIB_UNITS_H

#include <stddef.h>
#include <stdint.h>

/*
 * All return 0, -EINVAL (not a number, unknown unit, trailing text) or -ERANGE
 * (does not fit).  *ret is written only on success.
 */
int units_parse_bytes(const char *s, uint64_t *ret); /* 4096 64k 4M 1G 2T; 1024 each; also KiB.. */
int units_parse_ms(const char *s, int64_t *ret);    /* 500ms 5s 5m 24h 7d; a bare number: seconds */
int units_parse_pct(const char *s, unsigned *ret);  /* 85 or 85%; 0..100 */
int units_parse_bool(const char *s, int *ret);	    /* yes no true false on off 1 0 */
int units_parse_uint(const char *s, uint64_t *ret); /* decimal */
int units_parse_octal(const char *s, unsigned *ret); /* 0022 */
int units_parse_minute(const char *s, int *ret);     /* 06:30 -> 390; 24:00 is 1440 */

/* "12.3 MiB", "1.2 M", "3h 12m": for people.  Return buf. */
char *units_print_bytes(uint64_t bytes, char *buf, size_t size);
char *units_print_count(uint64_t n, char *buf, size_t size);
char *units_print_ms(int64_t ms, char *buf, size_t size);

/* Nothing is rounded: "1536k", "90m"; parsing gives the same value.  ms >= 0.  Return buf. */
char *units_exact_bytes(uint64_t bytes, char *buf, size_t size);
char *units_exact_ms(int64_t ms, char *buf, size_t size);

#endif
