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
#include <stdio.h>
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
	uint64_t packs[POOR];
	char dir[16];

	for (unsigned i = 0; i < POOR; i++) {
		snprintf(dir, sizeof(dir), "d%u", i);
		packs[i] = pack_archive(rig, dir, 3);
		pack_drop_files(rig, dir, 1, 3);
	}
	rig->conf.trash_grace = 86400000;
	fill(rig);
	assert_int_equal(pack_tidy(rig), WAITING);
	assert_int_equal(pack_tidy(rig), 0);
	for (unsigned i = 0; i < POOR; i++) {
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

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	fill(rig);
	rig_journalled(rig);
	before = put_count(rig);
	dir = rig_dir(rig, "d");
	for (unsigned i = 0; i < 15; i++) {
		chmod.mode = 0700 + i;
		assert_int_equal(ns_setattr(rig->t, dir, &chmod, true, &st), 0);
		nanosleep(&pause, NULL);
	}
	assert_in_range(put_count(rig) - before, 0, 2);
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

	rig_write(rig, "z", bytes, sizeof(bytes));
	assert_int_equal(rig_archive(rig, "z"), 0);
	pack_unlink(rig, "z");
	rig_journalled(rig);
	rig_faults(rig, "put error EIO key .ebb/journal/*");
	assert_int_equal(drop_now(rig->t, NULL, 0), -ETIMEDOUT);
	assert_true(rig_has_object(rig, "z"));
	rig_faults(rig, "");
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), 1);
	assert_false(rig_has_object(rig, "z"));
	pack_check(rig);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(few_packs_are_rewritten_at_a_time),
		TEST(the_journal_is_written_seldom),
		TEST(unjournalled_are_in_nobodys_way),
		TEST(condemned_in_the_journal_first),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
