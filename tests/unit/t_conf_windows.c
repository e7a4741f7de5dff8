/* SPDX-License-Identifier: MIT */
/* Times of day in which something is allowed: how they are written, when they are open. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/conf.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_parse(void **state)
{
	static const char *const bad[] = {
		"22:00",
		"22:00-",
		"-06:00",
		"22:00-22:00",
		"00:00-24:00,x",
		"24:00-0:0",
		"22:00-06:00 12:00-13:00",
		"22:00-06:00;",
		",",
		"10:00-11:00,,",
		"10:00-11:00-12:00",
		"24:00-24:00",
		"1000000000:00-1:00",
	};
	struct conf_windows w;

	assert_int_equal(conf_windows_parse("", &w), 0);
	assert_int_equal(w.n, 0);
	assert_int_equal(conf_windows_parse("22:00-06:00, 12:00-13:30", &w), 0);
	assert_int_equal(w.n, 2);
	assert_int_equal(w.w[0].from_min, 1320);
	assert_int_equal(w.w[0].to_min, 360);
	assert_int_equal(w.w[1].from_min, 720);
	assert_int_equal(w.w[1].to_min, 810);
	assert_int_equal(conf_windows_parse("00:00-24:00", &w), 0);
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(conf_windows_parse(bad[i], &w), -EINVAL);
	assert_int_equal(conf_windows_parse("25:00-26:00", &w), -ERANGE);
	assert_int_equal(conf_windows_parse("0:0-1:00", &w), -EINVAL);
	assert_int_equal(conf_windows_parse("0:00-0:01,0:02-0:03,0:04-0:05,0:06-0:07,0:08-0:09,"
					    "0:10-0:11,0:12-0:13,0:14-0:15",
					    &w),
			 0);
	assert_int_equal(w.n, 8);
	assert_int_equal(conf_windows_parse("0:00-0:01,0:02-0:03,0:04-0:05,0:06-0:07,0:08-0:09,"
					    "0:10-0:11,0:12-0:13,0:14-0:15,0:16-0:17",
					    &w),
			 -ERANGE);
}

/* A moment of some day, in local time. */
static int64_t at(int hour, int min)
{
	struct tm tm = { .tm_year = 117,
			 .tm_mon = 11,
			 .tm_mday = 15,
			 .tm_hour = hour,
			 .tm_min = min,
			 .tm_isdst = -1 };

	return mktime(&tm) * NSEC_PER_SEC;
}

static void test_open(void **state)
{
	static const char *const zones[] = { "UTC", "UTC-8", "UTC+5:30" };
	struct conf_windows w;

	for (size_t i = 0; i < COUNT(zones); i++) {
		setenv("TZ", zones[i], 1);
		tzset();
		assert_int_equal(conf_windows_parse("", &w), 0);
		assert_true(conf_windows_open(&w, at(3, 0)));
		assert_int_equal(conf_windows_parse("22:00-06:00,12:00-13:00", &w), 0);
		assert_false(conf_windows_open(&w, at(21, 59)));
		assert_true(conf_windows_open(&w, at(22, 0)));
		assert_true(conf_windows_open(&w, at(23, 59)));
		assert_true(conf_windows_open(&w, at(0, 0)));
		assert_true(conf_windows_open(&w, at(5, 59) + 59 * NSEC_PER_SEC));
		assert_false(conf_windows_open(&w, at(6, 0)));
		assert_true(conf_windows_open(&w, at(12, 30)));
		assert_false(conf_windows_open(&w, at(13, 0)));
		assert_int_equal(conf_windows_parse("22:00-24:00", &w), 0);
		assert_true(conf_windows_open(&w, at(23, 59)));
		assert_false(conf_windows_open(&w, at(0, 0)));
		assert_int_equal(conf_windows_parse("00:00-24:00", &w), 0);
		assert_true(conf_windows_open(&w, at(0, 0)));
		assert_true(conf_windows_open(&w, at(23, 59)));
	}
	unsetenv("TZ");
	tzset();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
