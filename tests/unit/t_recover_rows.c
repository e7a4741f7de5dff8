/* SPDX-License-Identifier: MIT */
/*
 * The rows of a renaming that a kill interrupts: after start-up they say what the cache has,
 * and what was replaced is there again, row and all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

/* ---- others came to the names in between ------------------------------------------- */

/* Another file, which has another number as the old one is still there. */
static void replace(struct rig *rig, const char *path, unsigned n)
{
	char from[600], to[600];

	rig_capture(rig, "new", n);
	rig_path(rig, "new", from, sizeof(from));
	rig_path(rig, path, to, sizeof(to));
	if (rename(from, to) < 0)
		_exit(5);
}

static void rename_and_replace_target(struct rig *rig)
{
	rig_rename(rig, "a", "b", 0);
	replace(rig, "b", 3);
	kill(getpid(), SIGKILL);
}

/* Its row is all there is of it: it must not stay where it is hidden. */
static void released_source_and_a_new_target(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, true);
	rig_file(rig, "b", 2, false);
	rig_killed(rig, "rename.commit=error:EIO", rename_and_replace_target);
	assert_int_equal(rig_state(rig, "a"), STATE_RELEASED);
	rig_assert_capture(rig, "a", 1);
	assert_int_equal(rig_state(rig, "b"), STATE_CHANGED);
	rig_assert_capture(rig, "b", 3);
	rig_check(rig);
	rig_free(rig);
}

static void rename_and_restore(struct rig *rig)
{
	struct node *root = tree_root(rig->t->tree), *node;

	rig_rename(rig, "a", "b", 0);
	if (node_get(rig->t->tree, root, "b", false, &node) < 0)
		_exit(6);
	restore_path(rig->t, node);
	_exit(7);
}

/* A copy that came back there hides nothing, although the row does not know it yet. */
static void released_source_that_came_back(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, true);
	rig_file(rig, "b", 2, false);
	rig_killed(rig, "restore.link=kill", rename_and_restore);
	assert_int_equal(rig_state(rig, "a"), STATE_NONE);
	rig_assert_capture(rig, "b", 1);
	assert_true(rig_look(rig, "b").has_row);
	rig_free(rig);
}

static void exchange_and_replace(struct rig *rig)
{
	rig_rename(rig, "a", "b", RENAME_EXCHANGE);
	replace(rig, "a", 3);
	kill(getpid(), SIGKILL);
}

static void exchange_with_a_released_target(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, false);
	rig_file(rig, "b", 2, true);
	rig_killed(rig, "rename.commit=error:EIO", exchange_and_replace);
	assert_int_equal(rig_state(rig, "b"), STATE_RELEASED);
	rig_assert_capture(rig, "b", 2);
	assert_int_equal(rig_state(rig, "a"), STATE_CHANGED);
	rig_assert_capture(rig, "a", 3);
	rig_check(rig);
	rig_free(rig);
}

/* ---- others have gone on with the rows ----------------------------------------------- */

static int condemn_run(struct tx *tx, void *arg)
{
	struct trash_row *row = arg;
	int r = tx_trash_delete(tx, row->id);

	row->reason = TRASH_ORPHAN;
	return r < 0 ? r : tx_trash_put(tx, row);
}

static void rename_and_condemn(struct rig *rig)
{
	struct trash_row row;

	rig_rename(rig, "a", "b", 0);
	if (rig_trash(rig, &row) != 1 ||
	    catalogue_write(rig->t->cat, SYNC_NORMAL, condemn_run, &row) < 0)
		_exit(9);
	kill(getpid(), SIGKILL);
}

/* drop is about to destroy the object: its row must not come back. */
static void replaced_row_that_is_condemned(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, false);
	rig_file(rig, "b", 2, false);
	rig_killed(rig, "rename.commit=error:EIO", rename_and_condemn);
	assert_int_equal(rig_state(rig, "a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "b"), STATE_LOCAL);
	rig_assert_capture(rig, "b", 2);
	assert_int_equal(rig_trash(rig, NULL), 1);
	rig_check(rig);
	rig_free(rig);
}

static void rename_and_archive_target(struct rig *rig)
{
	struct node *root = tree_root(rig->t->tree);

	rig_rename(rig, "a", "b", 0);
	if (ns_unlink(rig->t, root, "b", true) < 0)
		_exit(9);
	rig_file(rig, "b", 3, false);
	kill(getpid(), SIGKILL);
}

static void row_at_the_target_that_is_another_file_s(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, false);
	rig_file(rig, "b", 2, false);
	rig_killed(rig, "rename.commit=error:EIO", rename_and_archive_target);
	assert_int_equal(rig_state(rig, "a"), STATE_LOCAL);
	rig_assert_capture(rig, "a", 1);
	assert_int_equal(rig_state(rig, "b"), STATE_ARCHIVED);
	rig_assert_capture(rig, "b", 3);
	rig_check(rig);
	rig_free(rig);
}

static void rename_and_archive_below_source(struct rig *rig)
{
	rig_rename(rig, "a", "b", 0);
	rig_file(rig, "a/x", 3, false);
	kill(getpid(), SIGKILL);
}

static void directory_at_the_source(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, true);
	rig_file(rig, "b", 2, false);
	rig_killed(rig, "rename.commit=error:EIO", rename_and_archive_below_source);
	assert_int_equal(rig_state(rig, "a/x"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "b"), STATE_CHANGED);
	rig_assert_capture(rig, "b", 2);
	rig_check(rig);
	rig_free(rig);
}

/* ---- sinks --------------------------------------------------------------------------- */

static int told_run(struct tx *tx, void *arg)
{
	struct file_row row;
	int r = tx_file_get(tx, ROW_ROOT_DIR, arg, &row);

	row.told = true;
	return r < 0 ? r : tx_file_put(tx, &row);
}

/* So often, and the last thing said of the file is where it is. */
static void assert_told(struct rig *rig, const char *name, int times)
{
	uint64_t ino = rig_look(rig, name).row.ino;
	struct event_row ev, last = { 0 };
	int64_t after = 0;
	int n = 0;

	while (cat_events_after(rig->t->cat, 0, after, &ev, 1) == 1) {
		after = ev.id;
		if (ev.ino == ino) {
			last = ev;
			n++;
		}
		event_row_fini(&ev);
	}
	assert_int_equal(n, times);
	assert_int_equal(last.kind, EVENT_ARCHIVED);
	assert_string_equal(last.name, name);
}

/*
 * When it is archived; forth, where it is no more and where it is; back, where it is.  The name
 * it had in between has no document: to be told of it would hold up the file.
 */
static void told_where_it_is(void (*body)(struct rig *rig), int a_times, int b_times)
{
	char a[] = "a", b[] = "b";
	struct rig *rig = rig_new(RIG_DIR, "reserve=0,es=http://127.0.0.1:1/index");

	rig_open(rig);
	rig_file(rig, "a", 1, false);
	rig_file(rig, "b", 2, false);
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, told_run, a), 0);
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, told_run, b), 0);
	rig_killed(rig, "rename.commit=kill", body);
	assert_told(rig, "a", a_times);
	assert_told(rig, "b", b_times);
	rig_free(rig);
}

static void rename_a_to_b(struct rig *rig)
{
	rig_rename(rig, "a", "b", 0);
}

static void exchange_a_and_b(struct rig *rig)
{
	rig_rename(rig, "a", "b", RENAME_EXCHANGE);
}

static void told_after_a_renaming(void **state)
{
	(void)state;
	told_where_it_is(rename_a_to_b, 4, 2);
}

static void told_after_an_exchange(void **state)
{
	(void)state;
	told_where_it_is(exchange_a_and_b, 4, 4);
}

/* ---- an older ebbfs's ---------------------------------------------------------------- */

struct old {
	char payload[2000];
};

static int old_run(struct tx *tx, void *arg)
{
	struct old *o = arg;
	int64_t id;
	int r;

	r = tx_file_swap(tx, ROW_ROOT_DIR, "a", ROW_ROOT_DIR, "b");
	if (r == 0)
		r = tx_file_move(tx, ROW_ROOT_DIR, "x", ROW_ROOT_DIR, "y");
	return r < 0 ? r : tx_intent_put(tx, INTENT_RENAME, o->payload, &id);
}

static int old_name(struct rig *rig, const char *key, const char *name, char *buf, size_t size)
{
	struct state_of look = rig_look(rig, name);

	if (!look.has_cache)
		return snprintf(buf, size, "\"%s\":{\"dir\":\"\",\"name\":\"%s\"}", key, name);
	return snprintf(buf, size,
			"\"%s\":{\"dir\":\"\",\"name\":\"%s\",\"is_dir\":false,\"ino\":%llu,"
			"\"size\":%llu,\"mtime\":%lld,\"ctime\":%lld}",
			key, name, (unsigned long long)look.cache.st_ino,
			(unsigned long long)look.cache.st_size,
			(long long)ts_to_ns(look.cache.st_mtim),
			(long long)ts_to_ns(look.cache.st_ctim));
}

static void old_payload(struct rig *rig, struct old *o, const char *from, const char *to,
			unsigned flags)
{
	size_t size = sizeof(o->payload);
	int n = snprintf(o->payload, size, "{");

	n += old_name(rig, "from", from, o->payload + n, size - (size_t)n);
	n += snprintf(o->payload + n, size - (size_t)n, ",");
	n += old_name(rig, "to", to, o->payload + n, size - (size_t)n);
	snprintf(o->payload + n, size - (size_t)n,
		 ",\"flags\":%u,\"moved\":%s,\"from_id\":1,\"to_id\":1}", flags,
		 flags ? "false" : "true");
}

static int intent_run(struct tx *tx, void *arg)
{
	struct old *o = arg;
	int64_t id;

	return tx_intent_put(tx, INTENT_RENAME, o->payload, &id);
}

static void intents_of_an_older_ebbfs(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	struct old swapped = { 0 }, moved = { 0 };

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, false);
	rig_file(rig, "b", 2, true);
	rig_file(rig, "x", 3, false);
	old_payload(rig, &swapped, "a", "b", RENAME_EXCHANGE);
	old_payload(rig, &moved, "x", "y", 0);
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, old_run, &swapped), 0);
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, intent_run, &moved), 0);
	rig_reopen(rig);
	assert_int_equal(rig_state(rig, "a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "b"), STATE_RELEASED);
	assert_int_equal(rig_state(rig, "x"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "y"), STATE_NONE);
	rig_check(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(released_source_and_a_new_target),
		cmocka_unit_test(released_source_that_came_back),
		cmocka_unit_test(exchange_with_a_released_target),
		cmocka_unit_test(replaced_row_that_is_condemned),
		cmocka_unit_test(row_at_the_target_that_is_another_file_s),
		cmocka_unit_test(directory_at_the_source),
		cmocka_unit_test(told_after_a_renaming),
		cmocka_unit_test(told_after_an_exchange),
		cmocka_unit_test(intents_of_an_older_ebbfs),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
