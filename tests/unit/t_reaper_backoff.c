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
#include "tests/unit/tier_rig.h"
#include "tier/reaper_int.h"

#define JOBS 2
#define OPTIONS "archive_after=1s,release_after=24h,store_timeout=1s,archive_jobs=2,pack_below=0"

static unsigned store_fails(struct rig *rig)
{
	struct reaper *r = rig->t->reaper;
	unsigned n;

	lock_take(&r->lock);
	n = r->store_fails;
	lock_drop(&r->lock);
	return n;
}

/* How often in a row that directory failed. */
static unsigned fails_of(struct rig *rig, const char *path)
{
	struct reaper *r = rig->t->reaper;
	struct node *dir = rig_dir(rig, path);
	struct reap_dir *e;
	unsigned n;

	lock_take(&r->lock);
	e = table_find(r, dir);
	n = e ? e->fails : 0;
	lock_drop(&r->lock);
	node_put(rig->t->tree, dir);
	return n;
}

static void capture_many(struct rig *rig, const char *prefix, unsigned n)
{
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s%u/a", prefix, i);
		rig_capture(rig, path, i + 1);
	}
}

static bool all_have(struct rig *rig, const char *prefix, unsigned n, enum state state)
{
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s%u/a", prefix, i);
		if (rig_state(rig, path) != state)
			return false;
	}
	return true;
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

/* The oldest, which pressure takes first, fail. */
static void under_pressure(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, OPTIONS ",high=1,low=0");

	(void)state;
	rig_open(rig);
	rig_faults(rig, "put error EACCES key bad*");
	capture_many(rig, "bad", 12);
	rig_settle(rig, "bad11/a");
	rig_start(rig);
	rig_until(store_fails(rig) >= 3);
	capture_many(rig, "cam", 3);
	for (unsigned k = 0; k < 3; k++) {
		char dir[16];

		snprintf(dir, sizeof(dir), "cam%u", k);
		rig_touch(rig, dir);
	}
	rig_until(all_have(rig, "cam", 3, STATE_RELEASED));
	assert_true(all_have(rig, "bad", 12, STATE_LOCAL));
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_fails_for_ever), cmocka_unit_test(many_fail_for_ever),
		cmocka_unit_test(all_fail),	      cmocka_unit_test(full_is_of_all),
		cmocka_unit_test(under_pressure),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
