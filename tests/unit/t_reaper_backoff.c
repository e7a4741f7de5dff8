/* SPDX-License-Identifier: MIT */
/*
 * What the store does not take: a directory that fails for ever holds back no other, and a
 * store that takes nothing is not asked by each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <stdio.h>

#include "lib/clock.h"
#include "tests/unit/reaper_rig.h"

#define JOBS 2

/* NULL: it is not known.  Nothing forgets it meanwhile: its file is local. */
static struct reap_dir *entry_of(struct rig *rig, const char *path)
{
	struct reaper *r = rig->t->reaper;
	struct node *dir = rig_dir(rig, path);
	struct reap_dir *e;

	lock_take(&r->lock);
	e = table_find(r, dir);
	lock_drop(&r->lock);
	node_put(rig->t->tree, dir);
	return e;
}

/* How often in a row that directory failed. */
static unsigned fails_of(struct rig *rig, const char *path)
{
	struct reaper *r = rig->t->reaper;
	struct reap_dir *e = entry_of(rig, path);
	unsigned n;

	lock_take(&r->lock);
	n = e ? e->fails : 0;
	lock_drop(&r->lock);
	return n;
}

static void one_fails_for_ever(void **state)
{
	static const char *const rules[] = { "put error EACCES key bad*",
					     "put error EROFS key bad*", "put down now key bad*" };

	(void)state;
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct rig *rig = rig_idle(OPTIONS);

		rig_faults(rig, rules[i]);
		rig_capture(rig, "bad/a", 1);
		rig_start(rig);
		/* it alone waits: whoever comes then does not */
		rig_until(fails_of(rig, "bad") >= 3);
		assert_int_equal(store_fails(rig), 0);
		capture_many(rig, "cam", 8);
		rig_touch(rig, "bad");
		for (unsigned k = 0; k < 8; k++) {
			char dir[16];

			snprintf(dir, sizeof(dir), "cam%u", k);
			rig_touch(rig, dir);
		}
		rig_until(all_have(rig, "cam", 8, STATE_ARCHIVED));
		assert_int_equal(rig_state(rig, "bad/a"), STATE_LOCAL);
		assert_int_equal(store_fails(rig), 0);
		rig_faults(rig, "");
		rig_until(rig_state(rig, "bad/a") == STATE_ARCHIVED);
		rig_until(rig_intents(rig) == 0);
		rig_check(rig);
		rig_free(rig);
	}
}

/* So many fail that all wait: the first that is tried then is one that did not. */
static void many_fail_for_ever(void **state)
{
	struct rig *rig = rig_idle(OPTIONS);

	(void)state;
	rig_faults(rig, "put error EACCES key bad*");
	capture_many(rig, "bad", 12);
	rig_start(rig);
	rig_until(store_fails(rig) >= 3);
	rig_capture(rig, "cam/a", 1);
	rig_touch(rig, "cam");
	rig_until(rig_state(rig, "cam/a") == STATE_ARCHIVED);
	assert_true(all_have(rig, "bad", 12, STATE_LOCAL));
	rig_faults(rig, "");
	rig_until(all_have(rig, "bad", 12, STATE_ARCHIVED));
	rig_free(rig);
}

static void all_fail(void **state)
{
	struct rig *rig = rig_idle(OPTIONS);
	uint64_t failed;

	(void)state;
	rig_faults(rig, "put error EACCES key cam*");
	capture_many(rig, "cam", 60);
	rig_start(rig);
	rig_until(store_fails(rig) >= 4);
	/* two before it was noticed, one after each pause, and what was on its way then */
	failed = rig->t->reaper->failed_total;
	assert_true(failed <= 2 + JOBS + store_fails(rig));
	assert_true(failed < 60 / 2);
	rig_faults(rig, "");
	rig_until(all_have(rig, "cam", 60, STATE_ARCHIVED));
	assert_int_equal(store_fails(rig), 0);
	rig_free(rig);
}

/* One that is full is full for each. */
static void full_is_of_all(void **state)
{
	struct rig *rig = rig_idle(OPTIONS);

	(void)state;
	rig_faults(rig, "put error ENOSPC key bad*");
	rig_capture(rig, "bad/a", 1);
	rig_start(rig);
	rig_until(store_fails(rig) >= 2);
	rig_faults(rig, "");
	rig_until(rig_state(rig, "bad/a") == STATE_ARCHIVED);
	rig_until(store_fails(rig) == 0);
	rig_free(rig);
}

/* Because it is due. */
static struct reap_dir *queued_by_age(struct rig *rig, const char *path)
{
	return queued(rig, path, LOOK_ARCHIVE | LOOK_RELEASE, clock_mono_ms() - 1);
}

static struct reap_dir *trial(struct reaper *r)
{
	struct reap_dir *e;

	lock_take(&r->lock);
	e = backoff_trial_locked(r, clock_mono_ms());
	lock_drop(&r->lock);
	return e;
}

/* What is queued when the store fails is neither looked at for nothing nor waited for. */
static void queued_when_the_store_fails(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h,release_after=24h");
	struct reaper *r = rig->t->reaper;
	struct reap_dir *first, *second;

	(void)state;
	rig_capture(rig, "d/a", 1);
	rig_capture(rig, "e/a", 2);
	first = queued_by_age(rig, "d");
	second = queued_by_age(rig, "e");
	r->store_fails = 1;
	assert_null(trial(r)); /* those may still tell */
	reap_job(&first->job);
	reap_job(&second->job);
	assert_int_equal(r->n_archiving, 0);
	assert_int_equal(first->counts.local_files, 0); /* not looked at */
	assert_non_null(trial(r));

	/* one that has something to release is, and is not waited for either */
	first = queued_by_age(rig, "d");
	first->release_ms = 0;
	reap_job(&first->job);
	assert_int_equal(r->n_archiving, 0);
	assert_int_equal(first->counts.local_files, 1);
	rig_free(rig);
}

/* Many that are due, and may not be archived, do not come back all at once. */
static void put_off_one_after_the_other(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h,release_after=24h");
	struct reaper *r = rig->t->reaper;
	struct reap_dir *e;
	int64_t least = INT64_MAX, most = 0;
	char dir[32], path[40];

	(void)state;
	for (unsigned i = 0; i < 2500; i++) {
		snprintf(dir, sizeof(dir), "d%u", i);
		snprintf(path, sizeof(path), "%s/a", dir);
		rig_write(rig, path, "x", 1);
		(void)queued_by_age(rig, dir);
	}
	r->store_fails = 1;
	for (unsigned i = 0; i < 2500; i++) {
		snprintf(dir, sizeof(dir), "d%u", i);
		e = entry_of(rig, dir);
		reap_job(&e->job);
		least = e->hold_ms < least ? e->hold_ms : least;
		most = e->hold_ms > most ? e->hold_ms : most;
	}
	assert_true(most - least >= 200);
	assert_true(most <= clock_mono_ms() + 3000);
	rig_free(rig);
}

#define MANY 60

static void capture_in(struct rig *rig, const char *dir, unsigned n)
{
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%02u", dir, i);
		rig_capture(rig, path, i + 1);
	}
}

/* All of a directory's batches fail: a few are enough to know. */
static void the_rest_is_left_alone(void **state)
{
	struct rig *rig = rig_idle(OPTIONS ",archive_batch=1");

	(void)state;
	rig_faults(rig, "put error EACCES key bad*");
	capture_in(rig, "bad", MANY);
	rig_start(rig);
	rig_until(fails_of(rig, "bad") >= 1);
	assert_true(rig->t->reaper->failed_total < MANY / 2);
	assert_int_equal(rig_status(rig).local_files, MANY);
	rig_faults(rig, "");
	rig_until(rig_status(rig).archived_files == MANY);
	rig_check(rig);
	rig_free(rig);
}

/* What works is known at once, not when all of a large directory is through. */
static void one_batch_that_works(void **state)
{
	struct rig *rig = rig_idle(OPTIONS ",archive_batch=1,store_timeout=2m");

	(void)state;
	rig_faults(rig, "put error EACCES key bad*\nput delay 500ms key big*");
	capture_many(rig, "bad", 6);
	rig_start(rig);
	rig_until(store_fails(rig) >= 1);
	capture_in(rig, "big", MANY);
	rig_touch(rig, "big");
	rig_until(rig_state(rig, "big/00") == STATE_ARCHIVED);
	rig_until(store_fails(rig) == 0);
	assert_int_equal(rig_state(rig, "big/59"), STATE_LOCAL);
	rig_faults(rig, "");
	rig_until(rig_state(rig, "big/59") == STATE_ARCHIVED);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_fails_for_ever),
		cmocka_unit_test(many_fail_for_ever),
		cmocka_unit_test(all_fail),
		cmocka_unit_test(full_is_of_all),
		cmocka_unit_test(queued_when_the_store_fails),
		cmocka_unit_test(put_off_one_after_the_other),
		cmocka_unit_test(the_rest_is_left_alone),
		cmocka_unit_test(one_batch_that_works),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
