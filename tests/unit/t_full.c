/* SPDX-License-Identifier: MIT */
/*
 * A store that takes little or no journal.  What has to be written before anything can be
 * dropped does not use up the room that is left for it; nothing stands in the way of what can
 * be dropped; nothing is dropped before.
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
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "tests/unit/pack_rig.h"
#include "tier/ns.h"
#include "tier/pack.h"

#define POOR 20 /* packs; more than may wait at a time */
#define WAITING 16

static int setup(void **state)
{
	*state = pack_rig(RIG_MEM);
	return 0;
}

static void fill(struct rig *rig)
{
	rig_faults(rig, "put full");
	rig_capture(rig, "no-room", 1);
	assert_int_equal(rig_archive(rig, "no-room"), -ENOSPC);
	assert_true(store_is_full(rig->t->store));
}

static void few_packs_are_rewritten_at_a_time(void **state)
{
	struct rig *rig = *state;
	struct remote *reader[POOR];
	uint64_t packs[POOR];
	struct file_row row;
	char path[16];

	for (unsigned i = 0; i < POOR; i++) {
		snprintf(path, sizeof(path), "d%u", i);
		packs[i] = pack_archive(rig, path, 3);
		pack_drop_files(rig, path, 1, 3);
		/* nothing is dropped yet, however late this comes to it */
		strcat(path, "/0");
		row = rig_look(rig, path).row;
		assert_int_equal(remote_open(rig->t, &row, &reader[i]), 0);
	}
	rig->conf.trash_grace = 86400000;
	fill(rig);
	assert_int_equal(pack_tidy(rig), WAITING);
	assert_int_equal(pack_tidy(rig), 0);
	for (unsigned i = 0; i < POOR; i++) {
		remote_put(reader[i]);
		if (pack_get(rig, packs[i]).files > 0)
			continue;
		/* soon, whatever the trash's grace: it is room */
		assert_true(pack_get(rig, packs[i]).due_ns < clock_real_ns() + 60 * NSEC_PER_SEC);
		pack_make_due(rig, packs[i]);
	}
	assert_int_equal(pack_tidy(rig), WAITING + POOR - WAITING);
	assert_true(store_is_full(rig->t->store));
	rig_faults(rig, "");
	pack_check(rig);
}

/* A rewrite gives more than it takes, whatever waits for a long grace since the store had room. */
static void those_of_before_are_in_nobodys_way(void **state)
{
	struct rig *rig = *state;
	char dir[16];

	rig->conf.trash_grace = 86400000;
	for (unsigned i = 0; i < 2 * WAITING; i++) {
		rig->conf.trash_grace = 0;
		snprintf(dir, sizeof(dir), "d%u", i);
		pack_archive(rig, dir, 3);
		pack_drop_files(rig, dir, 1, 3);
		rig->conf.trash_grace = 86400000;
		if (i == WAITING - 1)
			assert_int_equal(pack_tidy(rig), WAITING);
	}
	fill(rig);
	assert_int_equal(pack_tidy(rig), WAITING);
	rig_faults(rig, "");
	pack_check(rig);
}

/* What was refused for want of room is nowhere, and not waited for. */
static void refused_packs_do_not_wait(void **state)
{
	struct pack_row rows[POOR];
	struct rig *rig = *state;
	int n;

	pack_archive(rig, "d", 3);
	pack_drop_files(rig, "d", 1, 3);
	rig->conf.trash_grace = 86400000;
	rig_faults(rig, "put error ENOSPC key .ebb/pack/*");
	assert_int_equal(pack_tidy(rig), -ENOSPC);
	n = cat_packs_due(rig->t->cat, 0, INT64_MAX, rows, POOR);
	assert_int_equal(n, 1);
	assert_true(rows[0].due_ns < clock_real_ns() + 60 * NSEC_PER_SEC);
	rig_faults(rig, "");
	pack_check(rig);
}

static uint64_t put_count(struct rig *rig)
{
	struct store_counts counts;

	store_counts(rig->t->store, &counts);
	return counts.ops[STORE_PUT];
}

static void the_journal_is_written_seldom(void **state)
{
	struct ns_setattr chmod = { .set = NS_SET_MODE, .fd = -1 };
	const struct timespec pause = { .tv_nsec = 300000000 };
	struct rig *rig = *state;
	struct node *dir;
	struct stat st;
	uint64_t before;
	int64_t begun_ms;

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	fill(rig);
	rig_journalled(rig);
	before = put_count(rig);
	begun_ms = clock_mono_ms();
	dir = rig_dir(rig, "d");
	for (unsigned i = 0; i < 15; i++) {
		chmod.mode = 0700 + i;
		assert_int_equal(ns_setattr(rig->t, dir, &chmod, true, &st), 0);
		nanosleep(&pause, NULL);
	}
	/* every ten seconds, and one at once */
	assert_in_range(put_count(rig) - before, 0,
			2 + (uint64_t)(clock_mono_ms() - begun_ms) / 10000);
	rig_journalled(rig); /* who waits for it need not wait so long */
	node_put(rig->t->tree, dir);
	rig_faults(rig, "");
	pack_check(rig);
}

/* Rows that are due first and that the journal does not have, more than a page of them. */
static void unjournalled_are_in_nobodys_way(void **state)
{
	static char bytes[70000];
	struct rig *rig = *state;
	char path[16];

	rig_write(rig, "z", bytes, sizeof(bytes));
	assert_int_equal(rig_archive(rig, "z"), 0);
	for (unsigned d = 0; d < 3; d++) {
		snprintf(path, sizeof(path), "d%u", d);
		pack_archive(rig, path, 100);
	}
	rig->conf.trash_grace = 2000;
	pack_unlink(rig, "z");
	rig_journalled(rig);
	rig_faults(rig, "drop error EIO key z"); /* condemned it is all the same */
	assert_int_equal(drop_now(rig->t, NULL, 0), -EIO);
	rig->conf.trash_grace = 0;
	rig_faults(rig, "put error EIO key .ebb/journal/*");
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "d%u/%u", i / 100, i % 100);
		pack_unlink(rig, path);
	}
	rig_start(rig);
	rig_until(rig_trash(rig, NULL) == 300);
	assert_false(rig_has_object(rig, "z"));
	rig_faults(rig, "");
	pack_check(rig);
}

/* Nothing is destroyed that a node made anew from the journal might have brought back. */
static void condemned_in_the_journal_first(void **state)
{
	static char bytes[70000];
	struct rig *rig = *state;
	int64_t timeout_ms = rig->conf.store_timeout;

	rig_write(rig, "z", bytes, sizeof(bytes));
	assert_int_equal(rig_archive(rig, "z"), 0);
	rig->conf.trash_grace = 86400000;
	pack_unlink(rig, "z");
	rig_journalled(rig);
	rig_faults(rig, "put error EIO key .ebb/journal/*");
	rig->conf.store_timeout = 1000; /* waited for in vain */
	assert_int_equal(drop_now(rig->t, NULL, 0), -ETIMEDOUT);
	rig->conf.store_timeout = timeout_ms;
	assert_true(rig_has_object(rig, "z"));
	/* nothing brings it back: it goes by itself, before its grace would have been over */
	rig_faults(rig, "");
	rig_start(rig);
	rig_until(!rig_has_object(rig, "z"));
	rig_until(rig_trash(rig, NULL) == 0);
	pack_check(rig);
}

static void *drop_all(void *arg)
{
	struct rig *rig = arg;

	return (void *)(intptr_t)drop_now(rig->t, NULL, 0);
}

/* A command and the daemon's own thread, or two commands. */
static void two_drop_the_same(void **state)
{
	const struct timespec moment = { .tv_nsec = 300000000 };
	struct trash_row row = { .reason = TRASH_REMOVED };
	static char bytes[70000];
	struct rig *rig = *state;
	pthread_t a, b;
	void *first, *second;

	rig_write(rig, "z", bytes, sizeof(bytes));
	assert_int_equal(rig_archive(rig, "z"), 0);
	pack_unlink(rig, "z");
	rig_journalled(rig);
	rig_faults(rig, "drop hold");
	assert_int_equal(pthread_create(&a, NULL, drop_all, rig), 0);
	while (row.reason != TRASH_ORPHAN) {
		assert_true(rig_trash(rig, &row) > 0); /* 2: before and after its condemnation */
		trash_row_fini(&row);
	}
	rig_journalled(rig);
	assert_int_equal(pthread_create(&b, NULL, drop_all, rig), 0);
	nanosleep(&moment, NULL); /* so that they do meet */
	rig_faults(rig, "");
	pthread_join(a, &first);
	pthread_join(b, &second);
	assert_int_equal((intptr_t)first, 1);
	assert_true((intptr_t)second >= 0);
	assert_int_equal(rig_trash(rig, NULL), 0);
	pack_check(rig);
}

/* ---- a large trash ---------------------------------------------------------------- */

#define DUE 30000
#define CONDEMNED_MAX (16384 + 4096) /* a round more than may wait */
#define LOOKS_MS 9000		     /* looks at it again, every six seconds */

/* Removed long ago; their objects are gone already. */
static int put_due(struct tx *tx, void *arg)
{
	int64_t objdir;
	int r = tx_path_id(tx, "d", &objdir);

	(void)arg;
	for (unsigned i = 0; i < DUE && r == 0; i++) {
		struct trash_row row = {
			.reason = TRASH_REMOVED,
			.removed_ns = 1,
			.due_ns = 2, /* all at one time */
			.file = { .ino = i + 1,
				  .object = ROW_OBJECT_PATH,
				  .objdir = objdir,
				  .attempt = i + 1 },
		};

		snprintf(row.file.name, sizeof(row.file.name), "%u", i);
		r = tx_trash_put(tx, &row);
	}
	return r;
}

static unsigned condemned(struct rig *rig)
{
	static struct trash_row rows[256];
	struct trash_place place = { 0 };
	unsigned n = 0;
	int got;

	do {
		got = cat_trash_due(rig->t->cat, &place, INT64_MAX, rows, 256);
		assert_true(got >= 0);
		for (int i = 0; i < got; i++) {
			n += rows[i].reason == TRASH_ORPHAN;
			place = (struct trash_place){ rows[i].due_ns, rows[i].id };
			trash_row_fini(&rows[i]);
		}
	} while (got > 0);
	return n;
}

/* What the journal does not take yet is not added to without end: in a full store it is room. */
static void few_are_condemned_at_a_time(void **state)
{
	struct rig *rig = *state;
	int64_t until;

	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, put_due, NULL), 0);
	rig_journalled(rig);
	rig_faults(rig, "put error EIO key .ebb/journal/*");
	rig_start(rig);
	rig_until(condemned(rig) >= 16384);
	for (until = clock_mono_ms() + LOOKS_MS; clock_mono_ms() < until;)
		assert_in_range(condemned(rig), 0, CONDEMNED_MAX);
	rig_faults(rig, "");
	rig_until(rig_trash(rig, NULL) == 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(few_packs_are_rewritten_at_a_time),
		TEST(those_of_before_are_in_nobodys_way),
		TEST(refused_packs_do_not_wait),
		TEST(the_journal_is_written_seldom),
		TEST(unjournalled_are_in_nobodys_way),
		TEST(condemned_in_the_journal_first),
		TEST(two_drop_the_same),
		TEST(few_are_condemned_at_a_time),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
