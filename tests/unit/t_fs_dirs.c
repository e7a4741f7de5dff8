/* SPDX-License-Identifier: MIT */
/*
 * Open directories: a number that is not a handle's is recognised, whatever it is;
 * listings that the kernel kept; removed directories.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fs/dirs.h"
#include "tests/unit/tier_rig.h"

static int set_up(void **state)
{
	struct dirs *d;

	if (dirs_new(&d) < 0)
		return -1;
	*state = d;
	return 0;
}

static int tear_down(void **state)
{
	dirs_free(*state);
	return 0;
}

static void numbers(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");
	struct dirs *d = *state;
	uint64_t number[200];
	struct listing *l;

	rig_open(rig);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(listing_open(rig->t, tree_root(rig->t->tree), &l), 0);
		assert_int_equal(dirs_add(d, l, &number[i]), 0);
		assert_ptr_equal(dirs_get(d, number[i])->listing, l);
		for (int j = 0; j < i; j++)
			assert_true(number[i] != number[j]);
	}
	for (int i = 0; i < 200; i += 2)
		assert_int_equal(dirs_remove(d, number[i]), 0);
	for (int i = 0; i < 200; i++) {
		assert_true(!dirs_get(d, number[i]) == (i % 2 == 0));
		assert_int_equal(dirs_remove(d, number[i]), i % 2 ? 0 : -EBADF);
	}

	/* A slot that is used again has another number. */
	uint64_t again;

	assert_int_equal(listing_open(rig->t, tree_root(rig->t->tree), &l), 0);
	assert_int_equal(dirs_add(d, l, &again), 0);
	for (int i = 0; i < 200; i++)
		assert_null(dirs_get(d, number[i]));
	assert_int_equal(dirs_remove(d, again), 0);
	rig_free(rig);
}

static void numbers_never_given(void **state)
{
	static const uint64_t bad[] = { 0,	    1,		63,
					64,	    1ull << 32, (1ull << 32) + 5,
					UINT64_MAX, UINT32_MAX, (uint64_t)INT64_MAX };
	struct dirs *d = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(dirs_get(d, bad[i]));
		assert_int_equal(dirs_remove(d, bad[i]), -EBADF);
	}
}

static void kept_listings(void **state)
{
	struct dirs *d = *state;

	assert_false(dirs_listed(d, 7));
	assert_true(dirs_listed(d, 7));
	dirs_stale(d, 8);
	assert_true(dirs_listed(d, 7));
	dirs_stale(d, 7);
	assert_false(dirs_listed(d, 7));
	assert_true(dirs_listed(d, 7));
	/* Many directories share the table: forgotten is fine, mistaken is not. */
	for (uint64_t ino = 100; ino < 300000; ino++)
		assert_false(dirs_listed(d, ino));
}

static void removed_directories(void **state)
{
	struct dirs *d = *state;
	struct stat st = { .st_ino = 5, .st_mode = S_IFDIR | 0711, .st_nlink = 2 }, found;

	assert_false(dirs_find_gone(d, 5, &found));
	dirs_gone(d, &st);
	assert_true(dirs_find_gone(d, 5, &found));
	assert_int_equal(found.st_mode, S_IFDIR | 0711);
	assert_int_equal(found.st_nlink, 0);
	for (st.st_ino = 100; st.st_ino < 100 + DIRS_GONE; st.st_ino++)
		dirs_gone(d, &st);
	assert_false(dirs_find_gone(d, 5, &found));
	assert_true(dirs_find_gone(d, 100, &found));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(numbers_never_given, set_up, tear_down),
		cmocka_unit_test_setup_teardown(kept_listings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(removed_directories, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
