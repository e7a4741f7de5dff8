/* SPDX-License-Identifier: MIT */
/* Times before 1970 and at the edges survive both ways; the monotonic clock never goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/clock.h"

static void test_round_trip(void **state)
{
	static const int64_t all[] = { 0,
				       1,
				       -1,
				       999999999,
				       1000000000,
				       -1000000000,
				       -1000000001,
				       1513353409123456789,
				       -999999999,
				       INT64_MAX,
				       INT64_MIN + NSEC_PER_SEC };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct timespec t = ns_to_ts(all[i]);

		assert_in_range(t.tv_nsec, 0, NSEC_PER_SEC - 1);
		assert_true(ts_to_ns(t) == all[i]);
	}
}

static void test_rounds_to_the_past(void **state)
{
	struct timespec t = ns_to_ts(-1);

	assert_int_equal(t.tv_sec, -1);
	assert_int_equal(t.tv_nsec, 999999999);
}

static void test_clocks(void **state)
{
	int64_t last_ns = clock_mono_ns();
	int64_t ms = clock_mono_ms();

	assert_in_range(ms - last_ns / 1000000, 0, 60000);
	for (int i = 0; i < 10000; i++) {
		int64_t now_ns = clock_mono_ns();

		assert_true(now_ns >= last_ns);
		last_ns = now_ns;
	}
	/* After the year 2017: seconds and nanoseconds are not mixed up. */
	assert_true(clock_real_ns() > 1500000000 * NSEC_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_rounds_to_the_past),
		cmocka_unit_test(test_clocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
