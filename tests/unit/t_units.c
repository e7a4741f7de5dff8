/* SPDX-License-Identifier: MIT */
/* What people may write is understood, all else refused; exact forms are read back. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/units.h"

#define KEPT 4711 /* what *ret holds before, and after a refusal */
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_bytes(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "4096", 0, 4096 },
		{ "4096B", 0, 4096 },
		{ "64k", 0, 65536 },
		{ "64K", 0, 65536 },
		{ "64KiB", 0, 65536 },
		{ "64kib", 0, 65536 },
		{ "4M", 0, 4194304 },
		{ "1MiB", 0, 1048576 },
		{ "1G", 0, 1073741824 },
		{ "2T", 0, 2199023255552 },
		{ "3P", 0, 3377699720527872 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "99999999999999999999999999", -ERANGE, 0 },
		{ "16777216T", -ERANGE, 0 },
		{ "16777215T", 0, 16777215ULL << 40 },
		{ "", -EINVAL, 0 },
		{ "k", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "1 k", -EINVAL, 0 },
		{ "1KB", -EINVAL, 0 },
		{ "1.5G", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1kk", -EINVAL, 0 },
		{ "1ib", -EINVAL, 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t value = KEPT;

		assert_int_equal(units_parse_bytes(cases[i].text, &value), cases[i].r);
		assert_true(value == (cases[i].r ? KEPT : cases[i].value));
	}
}

static void test_ms(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "30", 0, 30000 },
		{ "500ms", 0, 500 },
		{ "5s", 0, 5000 },
		{ "5m", 0, 300000 },
		{ "24h", 0, 86400000 },
		{ "7d", 0, 604800000 },
		{ "9223372036854775807ms", 0, INT64_MAX },
		{ "9223372036854775808ms", -ERANGE, 0 },
		{ "9223372036854775807", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "ms", -EINVAL, 0 },
		{ "-5s", -EINVAL, 0 },
		{ "5S", -EINVAL, 0 },
		{ "5M", -EINVAL, 0 },
		{ "5w", -EINVAL, 0 },
		{ "1h30m", -EINVAL, 0 },
		{ "5 m", -EINVAL, 0 },
		{ "1.5h", -EINVAL, 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t value = KEPT;

		assert_int_equal(units_parse_ms(cases[i].text, &value), cases[i].r);
		assert_true(value == (cases[i].r ? KEPT : cases[i].value));
	}
}

static void test_pct(void **state)
{
	unsigned value = KEPT;

	assert_int_equal(units_parse_pct("101", &value), -ERANGE);
	assert_int_equal(units_parse_pct("%", &value), -EINVAL);
	assert_int_equal(units_parse_pct("5 %", &value), -EINVAL);
	assert_int_equal(units_parse_pct("-1", &value), -EINVAL);
	assert_int_equal(units_parse_pct("0.5", &value), -EINVAL);
	assert_int_equal(value, KEPT);
	assert_int_equal(units_parse_pct("85", &value), 0);
	assert_int_equal(value, 85);
	assert_int_equal(units_parse_pct("100%", &value), 0);
	assert_int_equal(value, 100);
	assert_int_equal(units_parse_pct("0", &value), 0);
	assert_int_equal(value, 0);
}

static void test_bool(void **state)
{
	static const char *const yes[] = { "yes", "true", "on", "1", "YES", "True" };
	static const char *const no[] = { "no", "false", "off", "0", "No" };
	static const char *const bad[] = { "", "y", "2", "yes ", "maybe", "00" };
	int value;

	for (size_t i = 0; i < COUNT(yes); i++) {
		value = KEPT;
		assert_int_equal(units_parse_bool(yes[i], &value), 0);
		assert_int_equal(value, 1);
	}
	for (size_t i = 0; i < COUNT(no); i++) {
		value = KEPT;
		assert_int_equal(units_parse_bool(no[i], &value), 0);
		assert_int_equal(value, 0);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		value = KEPT;
		assert_int_equal(units_parse_bool(bad[i], &value), -EINVAL);
		assert_int_equal(value, KEPT);
	}
}

static void test_uint_and_octal(void **state)
{
	uint64_t value = KEPT;
	unsigned mode = KEPT;

	assert_int_equal(units_parse_uint("1k", &value), -EINVAL);
	assert_int_equal(units_parse_uint("", &value), -EINVAL);
	assert_int_equal(units_parse_uint("18446744073709551616", &value), -ERANGE);
	assert_true(value == KEPT);
	assert_int_equal(units_parse_uint("18446744073709551615", &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(units_parse_uint("007", &value), 0);
	assert_true(value == 7);

	assert_int_equal(units_parse_octal("0028", &mode), -EINVAL);
	assert_int_equal(units_parse_octal("0x1", &mode), -EINVAL);
	assert_int_equal(units_parse_octal("40000000000", &mode), -ERANGE);
	assert_int_equal(mode, KEPT);
	assert_int_equal(units_parse_octal("0022", &mode), 0);
	assert_int_equal(mode, 022);
	assert_int_equal(units_parse_octal("777", &mode), 0);
	assert_int_equal(mode, 0777);
}

static void test_minute(void **state)
{
	static const struct {
		const char *text;
		int r;
		int value;
	} cases[] = {
		{ "00:00", 0, 0 },	  { "06:30", 0, 390 },	   { "6:30", 0, 390 },
		{ "23:59", 0, 1439 },	  { "24:00", 0, 1440 },	   { "24:01", -ERANGE, 0 },
		{ "25:00", -ERANGE, 0 },  { "12:60", -ERANGE, 0 }, { "", -EINVAL, 0 },
		{ "12", -EINVAL, 0 },	  { "12:", -EINVAL, 0 },   { "12:5", -EINVAL, 0 },
		{ "012:00", -EINVAL, 0 }, { "1200", -EINVAL, 0 },  { "12:00:00", -EINVAL, 0 },
		{ "-1:00", -EINVAL, 0 },  { "12:-1", -EINVAL, 0 }, { ":30", -EINVAL, 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		int value = KEPT;

		assert_int_equal(units_parse_minute(cases[i].text, &value), cases[i].r);
		assert_int_equal(value, cases[i].r ? KEPT : cases[i].value);
	}
}

static void test_print(void **state)
{
	char b[40];

	assert_string_equal(units_print_bytes(0, b, sizeof(b)), "0 B");
	assert_string_equal(units_print_bytes(1023, b, sizeof(b)), "1023 B");
	assert_string_equal(units_print_bytes(1024, b, sizeof(b)), "1.0 KiB");
	assert_string_equal(units_print_bytes(12897485, b, sizeof(b)), "12.3 MiB");
	assert_string_equal(units_print_bytes(1048575, b, sizeof(b)), "1.0 MiB");
	assert_string_equal(units_print_bytes(UINT64_MAX, b, sizeof(b)), "16.0 EiB");
	assert_string_equal(units_print_count(999, b, sizeof(b)), "999");
	assert_string_equal(units_print_count(1000, b, sizeof(b)), "1.0 k");
	assert_string_equal(units_print_count(999999, b, sizeof(b)), "1.0 M");
	assert_string_equal(units_print_count(1200000, b, sizeof(b)), "1.2 M");
	assert_string_equal(units_print_count(100000000, b, sizeof(b)), "100.0 M");
	assert_string_equal(units_print_ms(0, b, sizeof(b)), "0ms");
	assert_string_equal(units_print_ms(500, b, sizeof(b)), "500ms");
	assert_string_equal(units_print_ms(5000, b, sizeof(b)), "5s");
	assert_string_equal(units_print_ms(65000, b, sizeof(b)), "1m 5s");
	assert_string_equal(units_print_ms(11520000, b, sizeof(b)), "3h 12m");
	assert_string_equal(units_print_ms(86400000, b, sizeof(b)), "1d");
	assert_string_equal(units_print_ms(-65000, b, sizeof(b)), "-1m 5s");
	assert_string_equal(units_print_ms(INT64_MIN, b, sizeof(b)), "-106751991167d 7h");
	/* A small buffer cuts. */
	assert_string_equal(units_print_bytes(1024, b, 4), "1.0");
}

static void test_exact_is_read_back(void **state)
{
	static const uint64_t odd[] = { 0, 1, 1023, 1024, 1536 * 1024, UINT64_MAX, 1ULL << 63 };
	char b[40];

	assert_string_equal(units_exact_bytes(1536 * 1024, b, sizeof(b)), "1536k");
	assert_string_equal(units_exact_bytes(0, b, sizeof(b)), "0");
	assert_string_equal(units_exact_ms(5400000, b, sizeof(b)), "90m");
	assert_string_equal(units_exact_ms(0, b, sizeof(b)), "0");
	srandom(1);
	for (size_t i = 0; i < 1000 + COUNT(odd); i++) {
		uint64_t n = i < COUNT(odd) ? odd[i] : (uint64_t)random() << random() % 33;
		uint64_t bytes;
		int64_t ms;

		assert_int_equal(units_parse_bytes(units_exact_bytes(n, b, sizeof(b)), &bytes), 0);
		assert_true(bytes == n);
		n &= INT64_MAX;
		assert_int_equal(units_parse_ms(units_exact_ms((int64_t)n, b, sizeof(b)), &ms), 0);
		assert_true((uint64_t)ms == n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_ms),
		cmocka_unit_test(test_pct),
		cmocka_unit_test(test_bool),
		cmocka_unit_test(test_uint_and_octal),
		cmocka_unit_test(test_minute),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_exact_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
