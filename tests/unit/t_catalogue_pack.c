/* SPDX-License-Identifier: MIT */
/*
 * Rows of packs: counts that never go below zero, when a pack is due and when it is
 * poor, and the rows that point into one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "tests/unit/catalogue_fixture.h"

static int run_put(struct tx *tx, void *arg)
{
	return tx_pack_put(tx, arg);
}

static int put(struct fixture *f, struct pack_row row)
{
	return catalogue_write(f->c, SYNC_NORMAL, run_put, &row);
}

struct loss {
	uint64_t id;
	int64_t files, bytes, due_ns;
};

static int run_lose(struct tx *tx, void *arg)
{
	const struct loss *l = arg;

	return tx_pack_lose(tx, l->id, l->files, l->bytes, l->due_ns);
}

static int lose(struct fixture *f, struct loss l)
{
	return catalogue_write(f->c, SYNC_NORMAL, run_lose, &l);
}

static int run_delete(struct tx *tx, void *arg)
{
	return tx_pack_delete(tx, *(uint64_t *)arg);
}

static struct pack_row get(struct fixture *f, uint64_t id)
{
	struct pack_row row;

	assert_int_equal(cat_pack_get(f->c, id, &row), 0);
	return row;
}

static const struct pack_row full = {
	.id = 7,
	.data_bytes = 1000,
	.size_bytes = 1500,
	.crc32c = 0xfedcba98,
	.files = 10,
	.live_bytes = 1000,
};

static void t_put_get_delete(void **state)
{
	struct fixture *f = *state;
	struct pack_row row;
	uint64_t id = 7;

	assert_int_equal(cat_pack_get(f->c, 7, &row), -ENOENT);
	assert_int_equal(put(f, full), 0);
	row = get(f, 7);
	assert_true(row.txn > 0);
	assert_int_equal(row.data_bytes, full.data_bytes);
	assert_int_equal(row.size_bytes, full.size_bytes);
	assert_int_equal(row.crc32c, full.crc32c);
	assert_int_equal(row.files, full.files);
	assert_int_equal(row.live_bytes, full.live_bytes);
	assert_int_equal(row.due_ns, 0);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_delete, &id), 0);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_delete, &id), -ENOENT);
	assert_int_equal(cat_pack_get(f->c, 7, &row), -ENOENT);
}

/* One with files is never due, one without always some time. */
static void t_due_or_alive(void **state)
{
	struct fixture *f = *state;
	struct pack_row row = full;

	row.due_ns = 1;
	assert_int_equal(put(f, row), -EINVAL);
	row.files = 0;
	assert_int_equal(put(f, row), 0);
	row.due_ns = 0;
	assert_int_equal(put(f, row), -EINVAL);
	row = full;
	row.id = 0;
	assert_int_equal(put(f, row), -EINVAL);
	assert_int_equal(get(f, 7).due_ns, 1);
}

static void t_lose(void **state)
{
	struct fixture *f = *state;
	struct pack_row row;
	int64_t txn;

	assert_int_equal(lose(f, (struct loss){ 7, 1, 1, 1 }), -ENOENT);
	assert_int_equal(put(f, full), 0);
	txn = get(f, 7).txn;
	assert_int_equal(lose(f, (struct loss){ 7, 4, 300, 99 }), 0);
	row = get(f, 7);
	assert_int_equal(row.files, 6);
	assert_int_equal(row.live_bytes, 700);
	assert_int_equal(row.due_ns, 0);
	assert_true(row.txn > txn); /* a drop waits until this one is journalled */
	assert_int_equal(lose(f, (struct loss){ 7, 6, 700, 99 }), 0);
	row = get(f, 7);
	assert_int_equal(row.files, 0);
	assert_int_equal(row.live_bytes, 0);
	assert_int_equal(row.due_ns, 99);
}

static void t_never_negative(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, full), 0);
	assert_true(lose(f, (struct loss){ 7, 11, 1000, 1 }) < 0);
	assert_int_equal(get(f, 7).files, 10);
	assert_int_equal(get(f, 7).due_ns, 0);
}

static void t_never_negative_bytes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, full), 0);
	assert_true(lose(f, (struct loss){ 7, 1, 1001, 1 }) < 0);
	assert_int_equal(get(f, 7).live_bytes, 1000);
	assert_int_equal(get(f, 7).files, 10);
}

static void put_live(struct fixture *f, uint64_t id, int64_t files, int64_t live, int64_t due)
{
	struct pack_row row = full;

	row.id = id;
	row.files = files;
	row.live_bytes = live;
	row.due_ns = due;
	assert_int_equal(put(f, row), 0);
}

static void t_due_and_poor(void **state)
{
	struct fixture *f = *state;
	struct pack_row rows[8];

	put_live(f, 10, 0, 0, 500);
	put_live(f, 11, 1, 499, 0);
	put_live(f, 12, 1, 500, 0); /* half is enough */
	put_live(f, 13, 0, 0, 600);
	put_live(f, 14, 3, 0, 0);
	put_live(f, 15, 0, 0, 501);
	put_live(f, 16, 10, 1000, 0);

	assert_int_equal(cat_packs_due(f->c, 0, 499, rows, 8), 0);
	assert_int_equal(cat_packs_due(f->c, 0, 501, rows, 8), 2);
	assert_int_equal(rows[0].id, 10);
	assert_int_equal(rows[1].id, 15);
	assert_int_equal(cat_packs_due(f->c, 10, INT64_MAX, rows, 8), 2);
	assert_int_equal(rows[0].id, 13);
	assert_int_equal(cat_packs_due(f->c, 0, INT64_MAX, rows, 1), 1);
	assert_int_equal(rows[0].id, 10);

	assert_int_equal(cat_packs_poor(f->c, 0, rows, 8), 2);
	assert_int_equal(rows[0].id, 11);
	assert_int_equal(rows[1].id, 14);
	assert_int_equal(cat_packs_poor(f->c, 11, rows, 8), 1);
	assert_int_equal(rows[0].id, 14);
	assert_int_equal(cat_packs_poor(f->c, 14, rows, 8), 0);
}

/* ---- rows that point into one ------------------------------------------------------ */

static struct file_row packed(dirid_t dir, const char *name, int n)
{
	struct file_row row = a_file(dir, name, n);

	row.object = ROW_OBJECT_PACK;
	row.objdir = 0;
	row.pack = 7;
	row.pack_off = (uint64_t)n * 100;
	return row;
}

static int run_move(struct tx *tx, void *arg)
{
	return tx_file_move(tx, ROW_ROOT_DIR, "a", *(dirid_t *)arg, "moved");
}

static int run_trash(struct tx *tx, void *arg)
{
	return tx_trash_file(tx, arg, "b", TRASH_REMOVED, 5, NULL);
}

static int run_locate(struct tx *tx, void *arg)
{
	return tx_trash_locate(tx, *(int64_t *)arg, 8, 4711);
}

/* By the name they had when they were archived, wherever they are. */
static void t_rows_of_a_pack(void **state)
{
	struct fixture *f = *state;
	struct file_row a = packed(ROW_ROOT_DIR, "a", 1), b = packed(ROW_ROOT_DIR, "b", 2);
	struct file_row other = packed(ROW_ROOT_DIR, "c", 3), rows[4], stale = b;
	struct trash_row trash[2];
	dirid_t dir = make_dir(f->c, ROW_ROOT_DIR, "d");
	int64_t id;

	other.pack = 9;
	assert_int_equal(put_file(f->c, &a), 0);
	assert_int_equal(put_file(f->c, &b), 0);
	assert_int_equal(put_file(f->c, &other), 0);
	assert_int_equal(cat_pack_files(f->c, 7, "a", rows, 4), 1);
	assert_same_file(&rows[0], &a);
	assert_int_equal(cat_pack_files(f->c, 7, "c", rows, 4), 0);
	write_ok(f->c, run_move, &dir);
	assert_int_equal(cat_pack_files(f->c, 7, "a", rows, 4), 1);
	assert_int_equal(rows[0].dir, dir);
	assert_string_equal(rows[0].name, "moved");
	assert_int_equal(rows[0].pack_off, 100);
	assert_int_equal(cat_pack_files(f->c, 7, "moved", rows, 4), 0);

	/* the place in the trash is the row's of that moment, not the caller's */
	stale.pack = 5;
	stale.pack_off = 1;
	write_ok(f->c, run_trash, &stale);
	assert_int_equal(cat_pack_files(f->c, 7, "b", rows, 4), 0);
	assert_int_equal(cat_pack_trash(f->c, 5, 0, trash, 2), 0);
	assert_int_equal(cat_pack_trash(f->c, 7, 0, trash, 2), 1);
	assert_int_equal(trash[0].file.pack_off, 200);
	id = trash[0].id;
	trash_row_fini(&trash[0]);
	write_ok(f->c, run_locate, &id);
	assert_int_equal(cat_pack_trash(f->c, 7, 0, trash, 2), 0);
	assert_int_equal(cat_pack_trash(f->c, 8, 0, trash, 2), 1);
	assert_int_equal(trash[0].file.pack_off, 4711);
	trash_row_fini(&trash[0]);
	id++;
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_locate, &id), -ENOENT);
}

static void t_check_counts(void **state)
{
	struct fixture *f = *state;
	struct file_row a = packed(ROW_ROOT_DIR, "a", 1), b = packed(ROW_ROOT_DIR, "b", 2);

	assert_int_equal(put_file(f->c, &a), 0);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), -EUCLEAN);
	assert_non_null(strstr(f->err, "pack 7"));
	put_live(f, 7, 1, (int64_t)a.attr.size, 0);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), 0);
	assert_int_equal(put_file(f->c, &b), 0);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), -EUCLEAN);
	put_live(f, 7, 2, (int64_t)(a.attr.size + b.attr.size), 0);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), 0);
	write_ok(f->c, run_trash, &b);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), 0);
	put_live(f, 7, 2, 1, 0);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), -EUCLEAN);
	put_live(f, 7, 2, (int64_t)(a.attr.size + b.attr.size), 0);
	put_live(f, 8, 1, 1, 0);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), -EUCLEAN);
	assert_non_null(strstr(f->err, "pack 8 "));
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(t_put_get_delete), T(t_due_or_alive),		T(t_lose),
		T(t_never_negative), T(t_never_negative_bytes), T(t_due_and_poor),
		T(t_rows_of_a_pack), T(t_check_counts),
	};

	return cmocka_run_group_tests_name("catalogue_pack", tests, NULL, NULL);
}
