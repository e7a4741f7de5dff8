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
	enum given_use use;

	rig_open(rig);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(listing_open(rig->t, tree_root(rig->t->tree), &l), 0);
		assert_int_equal(dirs_add(d, 1, l, &number[i], &use), 0);
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
	assert_int_equal(dirs_add(d, 1, l, &again, &use), 0);
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

static uint64_t opened(struct rig *rig, struct dirs *d, uint64_t ino, enum given_use want)
{
	struct listing *l;
	enum given_use use;
	uint64_t number;

	assert_int_equal(listing_open(rig->t, tree_root(rig->t->tree), &l), 0);
	assert_int_equal(dirs_add(d, ino, l, &number, &use), 0);
	assert_int_equal(use, want);
	return number;
}

/* All names from off on; how many. */
static uint64_t list(struct dirs *d, uint64_t number, uint64_t off, uint64_t most)
{
	struct open_dir *dir = dirs_get(d, number);
	struct list_entry e;
	uint64_t n = 0;
	int r = 1;

	while (n < most && r == 1) {
		lock_take(&dir->lock);
		r = dirs_next(d, dir, off, &e);
		lock_drop(&dir->lock);
		assert_in_range(r, 0, 1);
		n += r;
		off += r;
		assert_true(r == 0 || e.off == off);
	}
	return n;
}

static void list_whole(struct rig *rig, struct dirs *d, uint64_t ino)
{
	uint64_t number = opened(rig, d, ino, GIVEN_FILLS);

	assert_true(list(d, number, 0, UINT64_MAX) >= 2);
	assert_int_equal(dirs_remove(d, number), 0);
}

static void kept_listings(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");
	struct dirs *d = *state;
	uint64_t a;

	rig_open(rig);
	list_whole(rig, d, 7);
	dirs_remove(d, opened(rig, d, 7, GIVEN_KEPT));
	dirs_stale(d, 8);
	dirs_remove(d, opened(rig, d, 7, GIVEN_KEPT));
	dirs_stale(d, 7);
	list_whole(rig, d, 7);
	dirs_remove(d, opened(rig, d, 7, GIVEN_KEPT));

	/* While one fills the kernel's pages no other does. */
	dirs_stale(d, 7);
	a = opened(rig, d, 7, GIVEN_FILLS);
	assert_int_equal(list(d, a, 0, 1), 1);
	dirs_remove(d, opened(rig, d, 7, GIVEN_NOT));
	/* Closed before its end: the pages are of no use. */
	dirs_remove(d, a);
	list_whole(rig, d, 7);
	/* Many directories share the table: forgotten is fine, mistaken is not. */
	for (uint64_t ino = 100; ino < 2000; ino++)
		dirs_remove(d, opened(rig, d, ino, GIVEN_FILLS));
	rig_free(rig);
}

/* A handle that has read nothing is asked in the middle, again and again. */
static void resumed(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");
	struct dirs *d = *state;
	uint64_t a, n;

	rig_open(rig);
	for (int i = 0; i < 50; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		rig_write(rig, name, "x", 1);
	}
	a = opened(rig, d, 7, GIVEN_FILLS);
	n = list(d, a, 0, UINT64_MAX);
	assert_true(n >= 52);
	dirs_remove(d, a);
	for (uint64_t off = 1; off <= n; off += 7) {
		a = opened(rig, d, 7, GIVEN_KEPT);
		assert_int_equal(list(d, a, off, 3), n - off < 3 ? n - off : 3);
		assert_int_equal(list(d, a, off + 2, 1),
				 n - off > 2); /* there was no room for it */
		assert_int_equal(list(d, a, off, UINT64_MAX), n - off);
		assert_int_equal(list(d, a, off, UINT64_MAX), n - off);
		dirs_remove(d, a);
	}
	/* Nobody knows what was given: as many are left out. */
	dirs_stale(d, 7);
	a = opened(rig, d, 7, GIVEN_FILLS);
	assert_int_equal(list(d, a, 30, UINT64_MAX), n - 30);
	assert_int_equal(list(d, a, n + 5, UINT64_MAX), 0);
	assert_int_equal(list(d, a, 0, UINT64_MAX), n);
	dirs_remove(d, a);
	rig_free(rig);
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
		cmocka_unit_test_setup_teardown(resumed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(removed_directories, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
