/* SPDX-License-Identifier: MIT */
/*
 * Rows of files: what is put is got, what is wrong is refused, and the kept counters
 * are what is there (each test ends with that check).  Numbers are unique.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

/* ---- a fresh one ---- */

static int run_ids(struct tx *tx, void *arg)
{
	const struct uid128 *u = arg;
	int r = tx_set_volume(tx, &u[0]);

	return r < 0 ? r : tx_set_cache(tx, &u[1]);
}

static void t_ids(void **state)
{
	struct fixture *f = *state;
	struct catalogue_ids ids = catalogue_ids(f->c);
	struct uid128 node = ids.node, u[2];

	assert_false(uid128_is_zero(&ids.node));
	assert_true(uid128_is_zero(&ids.volume));
	assert_true(uid128_is_zero(&ids.cache));
	assert_int_equal(uid128_new(&u[0]), 0);
	assert_int_equal(uid128_new(&u[1]), 0);
	write_ok(f->c, run_ids, u);
	for (int i = 0; i < 2; i++) {
		ids = catalogue_ids(f->c);
		assert_true(uid128_equal(&ids.node, &node));
		assert_true(uid128_equal(&ids.volume, &u[0]));
		assert_true(uid128_equal(&ids.cache, &u[1]));
		fixture_reopen(f);
	}
}

static void t_fresh(void **state)
{
	struct fixture *f = *state;
	struct catalogue_counts n = counts(f->c);
	struct dir_row root;
	struct file_row row;
	char *path;

	assert_int_equal(n.files + n.trash + n.events_waiting, 0);
	assert_int_equal(n.dirs, 1);
	assert_int_equal(cat_dir_get(f->c, ROW_ROOT_DIR, &root), 0);
	assert_int_equal(root.parent, 0);
	assert_string_equal(root.name, "");
	assert_int_equal(cat_dir_path(f->c, ROW_ROOT_DIR, &path), 0);
	assert_string_equal(path, "");
	free(path);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "x", &row), -ENOENT);
	assert_int_equal(cat_dir_is_empty(f->c, ROW_ROOT_DIR), 1);
	assert_false(catalogue_is_readonly(f->c));
	assert_int_equal(access(f->file, 0), 0);
}

/* ---- files ---- */

static void t_file_fields(void **state)
{
	struct fixture *f = *state;
	struct file_row row = a_file(ROW_ROOT_DIR, "a.jpg", 1), got;

	for (int i = 0; i < 3; i++) {
		if (i == 1) {
			row.id.mtime_ns += 5;
			row.id.ctime_ns -= 7;
			strcpy(row.objname, "older.jpg");
			row.told = true;
			row.attr.size = row.id.size = 1ULL << 50;
		}
		if (i == 2) {
			row.object = ROW_OBJECT_PARTS;
			row.crc32c = UINT32_MAX;
			row.ino = row.attempt = row.id.ino = INT64_MAX;
			row.attr.uid = row.attr.gid = UINT32_MAX;
			row.attr.mtime_ns = row.attr.atime_ns = INT64_MIN;
		}
		assert_int_equal(put_file(f->c, &row), 0);
		assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a.jpg", &got), 0);
		assert_same_file(&row, &got);
		assert_int_equal(counts(f->c).files, 1);
		assert_int_equal(counts(f->c).file_bytes, row.attr.size);
	}
	fixture_reopen(f);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a.jpg", &got), 0);
	assert_same_file(&row, &got);
}

static void t_file_refused(void **state)
{
	struct fixture *f = *state;
	struct file_row row = a_file(ROW_ROOT_DIR, "", 1);

	assert_int_equal(put_file(f->c, &row), -EINVAL);
	row = a_file(ROW_ROOT_DIR, "a/b", 1);
	assert_int_equal(put_file(f->c, &row), -EINVAL);
	memset(row.name, 'x', sizeof(row.name));
	assert_int_equal(put_file(f->c, &row), -EINVAL);
	row = a_file(ROW_ROOT_DIR, "a", 1);
	row.id.size++;
	assert_int_equal(put_file(f->c, &row), -EINVAL);
	row = a_file(99, "a", 1);
	assert_int_equal(put_file(f->c, &row), -ENOENT);
	assert_int_equal(counts(f->c).files, 0);
	fixture_reopen(f);
}

/* Every byte a name may hold, and names of every length, in memcmp's order, page by page. */
static void t_names(void **state)
{
	struct fixture *f = *state;
	dirid_t dir = make_dir(f->c, ROW_ROOT_DIR, "\xff\xfe odd \n");
	struct file_row rows[7], row;
	char after[ROW_NAME_MAX + 1] = "", *path;
	int n, put = 0, seen = 0;

	for (int b = 1; b < 256; b++) {
		char name[ROW_NAME_MAX + 1] = { (char)b };

		if (b == '/')
			continue;
		memset(name, b, (size_t)b);
		row = a_file(dir, name, b);
		assert_int_equal(put_file(f->c, &row), 0);
		put++;
	}
	while ((n = cat_files_after(f->c, dir, after, rows, 7)) > 0) {
		for (int i = 0; i < n; i++) {
			assert_true(strcmp(rows[i].name, after) > 0);
			assert_int_equal(rows[i].ino - 5000, strlen(rows[i].name));
			strcpy(after, rows[i].name);
		}
		seen += n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(seen, put);
	assert_int_equal(cat_dir_path(f->c, dir, &path), 0);
	assert_string_equal(path, "\xff\xfe odd \n");
	free(path);
	fixture_reopen(f);
}

static int run_file_delete(struct tx *tx, void *arg)
{
	struct file_row got;
	int r = tx_file_get(tx, ROW_ROOT_DIR, arg, &got);

	return r < 0 ? r : tx_file_delete(tx, ROW_ROOT_DIR, arg);
}

static int run_file_delete_blind(struct tx *tx, void *arg)
{
	return tx_file_delete(tx, ROW_ROOT_DIR, arg);
}

static void t_file_delete(void **state)
{
	struct fixture *f = *state;
	struct file_row row = a_file(ROW_ROOT_DIR, "a", 1);
	char a[] = "a";

	assert_int_equal(put_file(f->c, &row), 0);
	assert_int_equal(cat_dir_is_empty(f->c, ROW_ROOT_DIR), 0);
	write_ok(f->c, run_file_delete, a);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &row), -ENOENT);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_file_delete, a), -ENOENT);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_file_delete_blind, a), -ENOENT);
	assert_int_equal(counts(f->c).file_bytes, 0);
	fixture_reopen(f);
}

struct move {
	dirid_t dir;
	const char *name;
	dirid_t new_dir;
	const char *new_name;
};

static int run_file_move(struct tx *tx, void *arg)
{
	struct move *m = arg;

	return tx_file_move(tx, m->dir, m->name, m->new_dir, m->new_name);
}

static int run_file_swap(struct tx *tx, void *arg)
{
	struct move *m = arg;

	return tx_file_swap(tx, m->dir, m->name, m->new_dir, m->new_name);
}

/* A row keeps naming its object wherever it goes, and forgets that once it is back. */
static void t_file_move(void **state)
{
	struct fixture *f = *state;
	dirid_t d = make_dir(f->c, ROW_ROOT_DIR, "d");
	struct file_row a = a_file(ROW_ROOT_DIR, "a", 1), b = a_file(d, "b", 2), got;
	struct move there = { ROW_ROOT_DIR, "a", d, "c" }, back = { d, "c", ROW_ROOT_DIR, "a" };
	struct move taken = { ROW_ROOT_DIR, "a", d, "b" }, gone = { d, "x", d, "y" };
	struct move nowhere = { ROW_ROOT_DIR, "a", 99, "b" }, bad = { ROW_ROOT_DIR, "a", d, "" };

	assert_int_equal(put_file(f->c, &a), 0);
	assert_int_equal(put_file(f->c, &b), 0);
	write_ok(f->c, run_file_move, &there);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &got), -ENOENT);
	assert_int_equal(cat_file_get(f->c, d, "c", &got), 0);
	assert_string_equal(got.objname, "a");
	assert_int_equal(got.ino, a.ino);
	write_ok(f->c, run_file_move, &back);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &got), 0);
	assert_same_file(&a, &got);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_file_move, &taken), -EEXIST);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_file_move, &gone), -ENOENT);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_file_move, &nowhere), -ENOENT);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_file_move, &bad), -EINVAL);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &got), 0);

	write_ok(f->c, run_file_swap, &taken);
	assert_int_equal(cat_file_get(f->c, d, "b", &got), 0);
	assert_int_equal(got.ino, a.ino);
	assert_string_equal(got.objname, "a");
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &got), 0);
	assert_int_equal(got.ino, b.ino);
	assert_string_equal(got.objname, "b");
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_file_swap, &gone), -ENOENT);
	assert_int_equal(counts(f->c).files, 2);
	fixture_reopen(f);
}

static void t_find_name(void **state)
{
	struct fixture *f = *state;
	struct file_row rows[4], row;

	for (int i = 0; i < 3; i++) {
		char name[16];
		dirid_t dir;

		snprintf(name, sizeof(name), "d%d", i);
		dir = make_dir(f->c, ROW_ROOT_DIR, name);
		row = a_file(dir, "same", i);
		assert_int_equal(put_file(f->c, &row), 0);
		row = a_file(dir, name, i);
		assert_int_equal(put_file(f->c, &row), 0);
	}
	assert_int_equal(cat_find_name(f->c, "same", rows, 4), 3);
	assert_int_equal(cat_find_name(f->c, "same", rows, 2), 2);
	assert_int_equal(cat_find_name(f->c, "d1", rows, 4), 1);
	assert_int_equal(rows[0].ino, 5001);
	assert_int_equal(cat_find_name(f->c, "sam", rows, 4), 0);
	fixture_reopen(f);
}

/* ---- numbers ---- */

#define N_NUMBERS 50000 /* of each thread: together more than two blocks */
#define N_TAKERS 4

static void *take_numbers(void *arg)
{
	struct catalogue *c = arg;
	uint64_t *all = calloc(N_NUMBERS, sizeof(*all));

	assert_non_null(all);
	for (int i = 0; i < N_NUMBERS; i++)
		assert_int_equal(catalogue_next_number(c, &all[i]), 0);
	return all;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void t_numbers(void **state)
{
	struct fixture *f = *state;
	uint64_t *all = calloc(N_TAKERS * N_NUMBERS, sizeof(*all)), next;
	pthread_t threads[N_TAKERS];

	for (int i = 0; i < N_TAKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_numbers, f->c), 0);
	for (int i = 0; i < N_TAKERS; i++) {
		void *some;

		pthread_join(threads[i], &some);
		memcpy(all + i * N_NUMBERS, some, N_NUMBERS * sizeof(*all));
		free(some);
	}
	qsort(all, N_TAKERS * N_NUMBERS, sizeof(*all), by_number);
	assert_true(all[0] > ROW_ROOT_DIR);
	for (int i = 1; i < N_TAKERS * N_NUMBERS; i++)
		assert_true(all[i - 1] < all[i]);
	fixture_reopen(f);
	assert_int_equal(catalogue_next_number(f->c, &next), 0);
	assert_true(next > all[N_TAKERS * N_NUMBERS - 1]);
	free(all);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_ids),	  T(t_fresh),	  T(t_file_fields), T(t_file_refused), T(t_names),
		T(t_file_delete), T(t_file_move), T(t_find_name),   T(t_numbers),
	};

	log_open("t_catalogue", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
