/* SPDX-License-Identifier: MIT */
/*
 * Rows that wait for something: trash for its grace, events for their sink,
 * intents for the cache.  What is due comes in order, and nothing else comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

/* ---- trash ---- */

struct discard {
	struct file_row row;
	const char *path;
	int64_t due_ns;
	int64_t txn; /* out */
	int64_t id;  /* out */
};

static int run_trash_file(struct tx *tx, void *arg)
{
	struct discard *d = arg;

	d->txn = tx_id(tx);
	return tx_trash_file(tx, &d->row, d->path, TRASH_REPLACED, d->due_ns, &d->id);
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
	struct trash_place place = { 0 };
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

	assert_int_equal(cat_trash_after(f->c, 0, rows, 8), 4);
	assert_int_equal(rows[2].id, d.id);
	assert_same_file(&rows[2].file, &d.row);
	assert_true(rows[2].file.txn > 0 && rows[2].file.txn < d.txn);
	assert_string_equal(rows[2].path, "x/a");
	assert_int_equal(rows[2].reason, TRASH_REPLACED);
	assert_true(rows[2].removed_ns > 0);
	assert_null(rows[3].path);
	assert_int_equal(cat_trash_find_same(f->c, d.row.ino, d.row.attr.size, d.row.crc32c, &same),
			 0);
	assert_int_equal(same.id, rows[2].id);
	trash_row_fini(&same);
	assert_int_equal(cat_trash_find_same(f->c, d.row.ino, d.row.attr.size, d.row.crc32c + 1,
					     &same),
			 -ENOENT);
	for (int i = 0; i < 4; i++)
		trash_row_fini(&rows[i]);

	assert_int_equal(cat_trash_due(f->c, &place, 2000, rows, 8), 3);
	assert_int_equal(rows[0].reason, TRASH_ORPHAN);
	assert_int_equal(rows[2].due_ns, 2000);
	write_ok(f->c, run_trash_delete, &rows[0].id);
	assert_int_equal(catalogue_write(f->c, SYNC_NORMAL, run_trash_delete, &rows[0].id),
			 -ENOENT);
	for (int i = 0; i < 3; i++)
		trash_row_fini(&rows[i]);
	place = (struct trash_place){ rows[1].due_ns, rows[1].id };
	assert_int_equal(cat_trash_due(f->c, &place, 2000, rows, 8), 1);
	place.id--;
	trash_row_fini(&rows[0]);
	assert_int_equal(cat_trash_due(f->c, &place, 2000, rows, 1), 1);
	assert_int_equal(rows[0].id, place.id + 1);
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
	char *error;

	assert_int_equal(cat_event_oldest(f->c, 0, &oldest, &error), -ENOENT);
	put_event(f->c, 0, 10, 100, 100); /* 1 */
	put_event(f->c, 0, 10, 110, 110); /* 2: the same file */
	put_event(f->c, 0, 11, 120, 120); /* 3 */
	put_event(f->c, 1, 10, 105, 130); /* 4: another sink */
	put_event(f->c, 0, 12, 140, 140); /* 5 */
	assert_int_equal(due(f->c, 0, 99), 0);
	assert_int_equal(due(f->c, 0, 125), 13);
	assert_int_equal(due(f->c, 0, 1000), 135);
	assert_int_equal(due(f->c, 1, 1000), 4);
	assert_int_equal(cat_event_oldest(f->c, 0, &oldest, &error), 0);
	assert_int_equal(oldest, 100);
	assert_null(error);
	assert_int_equal(cat_event_oldest(f->c, 1, &oldest, &error), 0);
	assert_int_equal(oldest, 105);
	assert_null(error);

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

	assert_int_equal(cat_event_untold(f->c, 10, INT64_MAX), 1);
	assert_int_equal(cat_event_untold(f->c, 11, INT64_MAX), 0);
	assert_int_equal(cat_events_after(f->c, 2, 0, &row, 1), 1);
	row.parked = EVENT_POISONED;
	write_ok(f->c, run_event_update, &row);
	assert_int_equal(cat_event_untold(f->c, 10, INT64_MAX), 0);
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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_trash),
		T(t_events_order),
		T(t_events_pending),
		T(t_intents),
	};

	log_open("t_catalogue_waiting", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
