/* SPDX-License-Identifier: MIT */
/*
 * The rows of the catalogue: what is put is got, what is wrong is refused, and
 * the kept counters are what is there (each test ends with that check).
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

#include "catalogue_fixture.h"
#include "lib/log.h"

static struct catalogue_counts counts(struct catalogue *c)
{
	struct catalogue_counts n;

	assert_int_equal(catalogue_counts(c, &n), 0);
	return n;
}

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
		char name[8];
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

/* ---- directories and paths ---- */

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
	assert_memory_equal(&got.attr, &row.attr, sizeof(row.attr));
	assert_int_equal(got.c_ctime_ns, 9);
	assert_int_equal(got.ino, 17);
	assert_int_equal(counts(f->c).dirs, 2);

	row.id = 0; /* the name is taken */
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_put, &row), -EEXIST);
	row.parent = 99;
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_put, &row), -ENOENT);
	row.id = 98;
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_dir_put, &row), -ENOENT);
	row = got;
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
	write_ok(f->c, run_dir_delete, &a);
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

/* ---- trash ---- */

struct discard {
	struct file_row row;
	const char *path;
	int64_t due_ns;
	int64_t txn;
};

static int run_trash_file(struct tx *tx, void *arg)
{
	struct discard *d = arg;

	d->txn = tx_id(tx);
	return tx_trash_file(tx, &d->row, d->path, TRASH_REPLACED, d->due_ns);
}

static int run_trash_delete(struct tx *tx, void *arg)
{
	struct trash_row got;
	int64_t id = *(int64_t *)arg;
	int r = tx_trash_get(tx, id, &got);

	if (r < 0)
		return r;
	trash_row_fini(&got);
	return tx_trash_delete(tx, id);
}

static int run_trash_same(struct tx *tx, void *arg)
{
	struct trash_row got, *want = arg;
	int r = tx_trash_find_same(tx, want->file.ino, want->file.attr.size, want->file.crc32c,
				   &got);

	if (r == 0)
		*want = got;
	return r;
}

static int run_orphan(struct tx *tx, void *arg)
{
	struct trash_row row = { .reason = TRASH_ORPHAN, .removed_ns = 1, .due_ns = 1 };

	(void)arg;
	row.file.object = ROW_OBJECT_ALT;
	return tx_trash_put(tx, &row);
}

static void t_trash(void **state)
{
	struct fixture *f = *state;
	struct discard d = { .row = a_file(ROW_ROOT_DIR, "a", 1), .path = "x/a" };
	struct trash_row rows[8], same;
	struct file_row row;

	/* The same file thrice, due later each time. */
	for (int i = 1; i <= 3; i++) {
		d.due_ns = i * 1000;
		assert_int_equal(put_file(f->c, &d.row), 0);
		write_ok(f->c, run_trash_file, &d);
		assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &row), -ENOENT);
	}
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_trash_file, &d), -ENOENT);
	assert_int_equal(counts(f->c).trash, 3);
	assert_int_equal(counts(f->c).trash_bytes, 3 * d.row.attr.size);
	assert_int_equal(counts(f->c).file_bytes, 0);
	write_ok(f->c, run_orphan, NULL);
	fixture_reopen(f);

	assert_int_equal(cat_trash_after(f->c, 0, 0, rows, 8), 4);
	assert_same_file(&rows[2].file, &d.row);
	assert_true(rows[2].file.txn > 0 && rows[2].file.txn < d.txn);
	assert_string_equal(rows[2].path, "x/a");
	assert_int_equal(rows[2].reason, TRASH_REPLACED);
	assert_true(rows[2].removed_ns > 0);
	assert_null(rows[3].path);
	same.file = d.row;
	write_ok(f->c, run_trash_same, &same);
	assert_int_equal(same.id, rows[2].id);
	trash_row_fini(&same);
	same.file.crc32c++;
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_trash_same, &same), -ENOENT);
	for (int i = 0; i < 4; i++)
		trash_row_fini(&rows[i]);

	assert_int_equal(cat_trash_after(f->c, 0, 2000, rows, 8), 3);
	assert_int_equal(rows[1].due_ns, 2000);
	assert_int_equal(rows[2].reason, TRASH_ORPHAN);
	write_ok(f->c, run_trash_delete, &rows[0].id);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_trash_delete, &rows[0].id), -ENOENT);
	for (int i = 0; i < 3; i++)
		trash_row_fini(&rows[i]);
	assert_int_equal(cat_trash_after(f->c, rows[1].id, 2000, rows, 8), 1);
	trash_row_fini(&rows[0]);
	fixture_reopen(f);
	assert_int_equal(counts(f->c).trash, 3);
}

/* ---- outbox ---- */

static int run_event_put(struct tx *tx, void *arg)
{
	return tx_event_put(tx, arg);
}

static int run_event_update(struct tx *tx, void *arg)
{
	return tx_event_update(tx, arg);
}

static int run_event_delete(struct tx *tx, void *arg)
{
	return tx_event_delete(tx, *(int64_t *)arg);
}

static int64_t put_event(struct catalogue *c, int sink, uint64_t ino, int64_t first, int64_t next)
{
	struct event_row ev = { .sink = sink,
				.kind = EVENT_LOCAL,
				.ino = ino,
				.dir = 1,
				.name = "n",
				.path = (char *)"p/n",
				.first_ns = first,
				.next_ns = next };

	write_ok(c, run_event_put, &ev);
	return ev.id;
}

/* The ids that are due, as one number: their decimal digits in order. */
static int due(struct catalogue *c, int sink, int64_t now)
{
	struct event_row rows[8];
	int ret = 0, n = cat_events_due(c, sink, now, rows, 8);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		ret = ret * 10 + (int)rows[i].id;
		event_row_fini(&rows[i]);
	}
	return ret;
}

static void t_events_order(void **state)
{
	struct fixture *f = *state;
	struct event_row rows[8];
	int64_t id, oldest;

	assert_int_equal(cat_event_oldest(f->c, 0, &oldest), -ENOENT);
	put_event(f->c, 0, 10, 100, 100); /* 1 */
	put_event(f->c, 0, 10, 110, 110); /* 2: the same file */
	put_event(f->c, 0, 11, 120, 120); /* 3 */
	put_event(f->c, 1, 10, 105, 130); /* 4: another sink */
	put_event(f->c, 0, 12, 140, 140); /* 5 */
	assert_int_equal(due(f->c, 0, 99), 0);
	assert_int_equal(due(f->c, 0, 125), 13);
	assert_int_equal(due(f->c, 0, 1000), 135);
	assert_int_equal(due(f->c, 1, 1000), 4);
	assert_int_equal(cat_event_oldest(f->c, 0, &oldest), 0);
	assert_int_equal(oldest, 100);
	assert_int_equal(cat_event_oldest(f->c, 1, &oldest), 0);
	assert_int_equal(oldest, 105);

	/* Retried later: the younger one of the file must wait for it. */
	assert_int_equal(cat_events_after(f->c, 0, 0, rows, 1), 1);
	assert_string_equal(rows[0].path, "p/n");
	assert_null(rows[0].error);
	rows[0].next_ns = 500;
	rows[0].tries = 1;
	rows[0].error = strdup("no such document");
	write_ok(f->c, run_event_update, &rows[0]);
	assert_int_equal(due(f->c, 0, 400), 35);
	/* Parked: it holds nothing up. */
	rows[0].parked = EVENT_MISSING;
	write_ok(f->c, run_event_update, &rows[0]);
	event_row_fini(&rows[0]);
	assert_int_equal(due(f->c, 0, 400), 235);
	assert_int_equal(counts(f->c).events_waiting, 4);
	assert_int_equal(counts(f->c).events_missing, 1);
	fixture_reopen(f);

	assert_int_equal(cat_events_after(f->c, 0, 0, rows, 8), 4);
	assert_string_equal(rows[0].error, "no such document");
	assert_int_equal(rows[0].tries, 1);
	assert_int_equal(rows[0].parked, EVENT_MISSING);
	for (int i = 0; i < 4; i++)
		event_row_fini(&rows[i]);
	id = 2;
	write_ok(f->c, run_event_delete, &id);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_event_delete, &id), -ENOENT);
	assert_int_equal(due(f->c, 0, 400), 35);
	fixture_reopen(f);
}

static void t_events_pending(void **state)
{
	struct fixture *f = *state;
	struct event_row row;
	int64_t id = put_event(f->c, 2, 10, 100, 100);

	assert_int_equal(cat_event_pending(f->c, 10), 1);
	assert_int_equal(cat_event_pending(f->c, 11), 0);
	assert_int_equal(cat_events_after(f->c, 2, 0, &row, 1), 1);
	row.parked = EVENT_POISONED;
	write_ok(f->c, run_event_update, &row);
	assert_int_equal(cat_event_pending(f->c, 10), 0);
	assert_int_equal(cat_event_untold(f->c, 10, 99), 1);
	assert_int_equal(cat_event_untold(f->c, 10, 100), 0);
	assert_int_equal(counts(f->c).events_poisoned, 1);
	row.id = 77;
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_event_update, &row), -ENOENT);
	event_row_fini(&row);
	write_ok(f->c, run_event_delete, &id);
	assert_int_equal(cat_event_untold(f->c, 10, 0), 0);
	assert_int_equal(put_event(f->c, 2, 10, 1, 1), id + 1); /* though the table was empty */
	fixture_reopen(f);
	assert_int_equal(put_event(f->c, 2, 10, 1, 1), id + 2);
}

/* ---- intents ---- */

static int run_intent(struct tx *tx, void *arg)
{
	return tx_intent_put(tx, INTENT_RENAME, "{\"a\":1}", arg);
}

static int run_intent_delete(struct tx *tx, void *arg)
{
	return tx_intent_delete(tx, *(int64_t *)arg);
}

static void t_intents(void **state)
{
	struct fixture *f = *state;
	struct intent_row rows[4];
	int64_t id[3];

	for (int i = 0; i < 3; i++)
		write_ok(f->c, run_intent, &id[i]);
	fixture_reopen(f);
	assert_int_equal(cat_intents(f->c, 0, rows, 4), 3);
	assert_int_equal(rows[1].id, id[1]);
	assert_int_equal(rows[1].kind, INTENT_RENAME);
	assert_string_equal(rows[1].payload, "{\"a\":1}");
	for (int i = 0; i < 3; i++)
		intent_row_fini(&rows[i]);
	write_ok(f->c, run_intent_delete, &id[0]);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_intent_delete, &id[0]), -ENOENT);
	assert_int_equal(cat_intents(f->c, id[1], rows, 4), 1);
	assert_int_equal(rows[0].id, id[2]);
	intent_row_fini(&rows[0]);
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
		T(t_ids),	  T(t_fresh),	    T(t_file_fields), T(t_file_refused),
		T(t_names),	  T(t_file_delete), T(t_file_move),   T(t_find_name),
		T(t_dir_rows),	  T(t_dir_moves),   T(t_paths),	      T(t_trash),
		T(t_events_order), T(t_events_pending), T(t_intents), T(t_numbers),
	};

	log_open("t_catalogue", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
