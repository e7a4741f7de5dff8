/* SPDX-License-Identifier: MIT */
/* What is printed is parsed to the same; anything else is refused and leaves *ret alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/uid128.h"

static void test_round_trip(void **state)
{
	char buf[UID128_STR_SIZE];
	struct uid128 u, v;

	for (int i = 0; i < 1000; i++) {
		assert_int_equal(uid128_new(&u), 0);
		assert_ptr_equal(uid128_print(&u, buf), buf);
		assert_int_equal(strlen(buf), UID128_STR_SIZE - 1);
		assert_int_equal(buf[14], '4');		  /* version */
		assert_non_null(strchr("89ab", buf[19])); /* variant */
		assert_int_equal(uid128_parse(buf, &v), 0);
		assert_true(uid128_equal(&u, &v));
		assert_false(uid128_is_zero(&u));
	}
}

static void test_known(void **state)
{
	static const uint8_t bytes[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
					   0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10 };
	char buf[UID128_STR_SIZE];
	struct uid128 u;

	assert_int_equal(uid128_parse("01234567-89AB-cdef-fedc-ba9876543210", &u), 0);
	assert_memory_equal(u.b, bytes, sizeof(bytes));
	assert_string_equal(uid128_print(&u, buf), "01234567-89ab-cdef-fedc-ba9876543210");
	assert_int_equal(uid128_parse("00000000-0000-0000-0000-000000000000", &u), 0);
	assert_true(uid128_is_zero(&u));
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"-",
		"0",
		"01234567",
		"01234567-89ab-cdef-fedc-ba987654321",
		"01234567-89ab-cdef-fedc-ba98765432100",
		"01234567-89ab-cdef-fedc-ba9876543210 ",
		" 1234567-89ab-cdef-fedc-ba9876543210",
		"0123456789abcdeffedcba9876543210",
		"0123456-789ab-cdef-fedc-ba9876543210",
		"01234567-89ab-cdef-fedc-ba987654321g",
		"{1234567-89ab-cdef-fedc-ba987654321}",
	};
	struct uid128 u, before;

	assert_int_equal(uid128_new(&before), 0);
	u = before;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(uid128_parse(bad[i], &u), -EINVAL);
		assert_true(uid128_equal(&u, &before));
	}
}

static void test_different(void **state)
{
	struct uid128 a, b;

	assert_int_equal(uid128_new(&a), 0);
	assert_int_equal(uid128_new(&b), 0);
	assert_false(uid128_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_different),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
