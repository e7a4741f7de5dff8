/* SPDX-License-Identifier: MIT */
/*
 * Rows of directories and of path texts: what is put is got, moved or refused; no
 * directory moves below itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

struct move {
	dirid_t dir;
	const char *name;
	dirid_t new_dir;
	const char *new_name;
};

static int run_dir_put(struct tx *tx, void *arg)
{
	return tx_dir_put(tx, arg);
}

static int run_dir_delete(struct tx *tx, void *arg)
{
	return tx_dir_delete(tx, *(dirid_t *)arg);
}

static int run_dir_move(struct tx *tx, void *arg)
{
	struct move *m = arg;

	return tx_dir_move(tx, m->dir, m->new_dir, m->new_name);
}

/* Two directories of the root change places. */
static int run_dir_swap(struct tx *tx, void *arg)
{
	struct move *m = arg;
	int r = tx_dir_move(tx, m->dir, ROW_ROOT_DIR, "");

	if (r == 0)
		r = tx_dir_move(tx, m->new_dir, ROW_ROOT_DIR, m->name);
	if (r == 0)
		r = tx_dir_move(tx, m->dir, ROW_ROOT_DIR, m->new_name);
	return r;
}

/* A name is a file's or a directory's: one question for both. */
static void t_either(void **state)
{
	struct fixture *f = *state;
	dirid_t top = make_dir(f->c, ROW_ROOT_DIR, "top"), sub = make_dir(f->c, top, "sub");
	struct file_row put = a_file(top, "file", 7), file;
	struct catalogue_work before, after;
	struct dir_row dir;
	bool is_dir;

	assert_int_equal(put_file(f->c, &put), 0);
	catalogue_work(f->c, &before);
	assert_int_equal(cat_name_get(f->c, top, "file", &file, &dir, &is_dir), 0);
	assert_false(is_dir);
	assert_same_file(&file, &put);
	assert_int_equal(cat_name_get(f->c, top, "sub", &file, &dir, &is_dir), 0);
	assert_true(is_dir);
	assert_int_equal(dir.id, sub);
	assert_int_equal(dir.parent, top);
	assert_string_equal(dir.name, "sub");
	assert_int_equal(cat_name_get(f->c, top, "none", &file, &dir, &is_dir), -ENOENT);
	assert_int_equal(cat_name_get(f->c, sub, "file", &file, &dir, &is_dir), -ENOENT);
	assert_int_equal(cat_name_get(f->c, ROW_ROOT_DIR, "sub", &file, &dir, &is_dir), -ENOENT);
	catalogue_work(f->c, &after);
	assert_int_equal(after.selects - before.selects, 5);
}

static void t_dir_rows(void **state)
{
	struct fixture *f = *state;
	struct dir_row row = { .parent = ROW_ROOT_DIR,
			       .name = "cam",
			       .ino = 17,
			       .attr = { 040700, 3, 4, 0, 5, 6, 7 },
			       .c_mtime_ns = 8,
			       .c_ctime_ns = 9 };
	struct dir_row got, rows[3];

	write_ok(f->c, run_dir_put, &row);
	assert_int_equal(cat_dir_find(f->c, ROW_ROOT_DIR, "cam", &got), 0);
	assert_int_equal(got.id, row.id);
	row.attr.mtime_ns = 100;
	write_ok(f->c, run_dir_put, &row);
	assert_int_equal(cat_dir_get(f->c, row.id, &got), 0);
	assert_int_equal(got.attr.mode, 040700);
	assert_int_equal(got.attr.uid, 3);
	assert_int_equal(got.attr.gid, 4);
	assert_int_equal(got.attr.atime_ns, 5);
	assert_int_equal(got.attr.mtime_ns, 100);
	assert_int_equal(got.attr.ctime_ns, 7);
	assert_int_equal(got.c_mtime_ns, 8);
	assert_int_equal(got.c_ctime_ns, 9);
	assert_int_equal(got.ino, 17);
	assert_int_equal(counts(f->c).dirs, 2);

	row.id = 0; /* the name is taken */
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_put, &row), -EEXIST);
	row.parent = 99;
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_put, &row), -ENOENT);
	row.id = 98;
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_put, &row), -ENOENT);
	row.id = got.id;
	row.parent = ROW_ROOT_DIR;
	strcpy(row.name, "other"); /* put does not move */
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_put, &row), -EINVAL);
	assert_int_equal(cat_dir_get(f->c, ROW_ROOT_DIR, &row), 0);
	row.attr.uid = 12;
	write_ok(f->c, run_dir_put, &row);
	assert_int_equal(cat_dir_get(f->c, ROW_ROOT_DIR, &got), 0);
	assert_int_equal(got.attr.uid, 12);

	make_dir(f->c, ROW_ROOT_DIR, "b");
	make_dir(f->c, ROW_ROOT_DIR, "z");
	assert_int_equal(cat_dirs_after(f->c, ROW_ROOT_DIR, "", rows, 2), 2);
	assert_string_equal(rows[0].name, "b");
	assert_int_equal(cat_dirs_after(f->c, ROW_ROOT_DIR, rows[1].name, rows, 3), 1);
	assert_string_equal(rows[0].name, "z");
	fixture_reopen(f);
}

static void t_dir_moves(void **state)
{
	struct fixture *f = *state;
	dirid_t a = make_dir(f->c, ROW_ROOT_DIR, "a"), b = make_dir(f->c, a, "b");
	dirid_t c = make_dir(f->c, b, "c"), gone = 99, root = ROW_ROOT_DIR;
	struct file_row row = a_file(c, "f", 1);
	struct move circle = { .dir = a, .new_dir = c, .new_name = "x" };
	struct move taken = { .dir = c, .new_dir = ROW_ROOT_DIR, .new_name = "a" };
	struct move up = { .dir = b, .new_dir = ROW_ROOT_DIR, .new_name = "new" };
	struct move swap = { .dir = a, .name = "a", .new_dir = b, .new_name = "new" };
	struct dir_row row_a, dead;
	char *path;

	assert_int_equal(put_file(f->c, &row), 0);
	assert_int_equal(cat_dir_path(f->c, c, &path), 0);
	assert_string_equal(path, "a/b/c");
	free(path);
	assert_int_equal(cat_dir_path(f->c, gone, &path), -ENOENT);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_move, &circle), -EINVAL);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_move, &taken), -EEXIST);
	write_ok(f->c, run_dir_move, &up);
	assert_int_equal(cat_dir_path(f->c, c, &path), 0);
	assert_string_equal(path, "new/c");
	free(path);

	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_delete, &b), -ENOTEMPTY);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_delete, &c), -ENOTEMPTY);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_delete, &gone), -ENOENT);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_delete, &root), -ENOTEMPTY);
	assert_int_equal(cat_dir_is_empty(f->c, a), 1);
	assert_int_equal(cat_dir_get(f->c, a, &row_a), 0);
	write_ok(f->c, run_dir_delete, &a);
	assert_int_equal(cat_dir_get(f->c, a, &dead), -ENOENT);
	write_ok(f->c, run_dir_put, &row_a); /* what an undo does: the same id */
	assert_int_equal(cat_dir_get(f->c, a, &dead), 0);
	assert_string_equal(dead.name, "a");
	write_ok(f->c, run_dir_swap, &swap);
	assert_int_equal(cat_dir_path(f->c, c, &path), 0);
	assert_string_equal(path, "a/c");
	free(path);
	assert_true(make_dir(f->c, ROW_ROOT_DIR, "again") > c); /* ids are not used again */
	fixture_reopen(f);
}

struct path {
	const char *text;
	int64_t id;
};

static int run_path(struct tx *tx, void *arg)
{
	struct path *p = arg;

	return tx_path_id(tx, p->text, &p->id);
}

static void t_paths(void **state)
{
	struct fixture *f = *state;
	struct path a = { .text = "3K/2017" }, b = { .text = "" }, again = { .text = "3K/2017" };
	char *text;

	write_ok(f->c, run_path, &a);
	write_ok(f->c, run_path, &b);
	fixture_reopen(f);
	write_ok(f->c, run_path, &again);
	assert_int_equal(a.id, again.id);
	assert_int_not_equal(a.id, b.id);
	assert_int_equal(cat_path_text(f->c, a.id, &text), 0);
	assert_string_equal(text, "3K/2017");
	free(text);
	assert_int_equal(cat_path_text(f->c, b.id, &text), 0);
	assert_string_equal(text, "");
	free(text);
	assert_int_equal(cat_path_text(f->c, 99, &text), -ENOENT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = { T(t_either), T(t_dir_rows), T(t_dir_moves),
					    T(t_paths) };

	log_open("t_catalogue_dir", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
