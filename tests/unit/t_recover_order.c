/* SPDX-License-Identifier: MIT */
/*
 * Renamings one after the other, and a kill before the first of them is durable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <signal.h>
#include <unistd.h>

#include "tests/unit/tier_rig.h"

static void die(void)
{
	kill(getpid(), SIGKILL);
}

static void three_that_are_not_done(struct rig *rig)
{
	rig_rename(rig, "a", "b", 0);
	rig_rename(rig, "c", "a", 0);
	rig_rename(rig, "d", "c", 0);
	die();
}

/* Each can only go back where the next has left. */
static void each_took_the_name_of_the_one_before(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_file(rig, "a", 1, true);
	rig_file(rig, "b", 2, false);
	rig_file(rig, "c", 3, false);
	rig_file(rig, "d", 4, true);
	rig_killed(rig, "rename.commit=error:EIO", three_that_are_not_done);
	assert_int_equal(rig_intents(rig), 0);
	assert_int_equal(rig_state(rig, "a"), STATE_RELEASED);
	assert_int_equal(rig_state(rig, "b"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "c"), STATE_ARCHIVED);
	rig_assert_capture(rig, "a", 1);
	rig_assert_capture(rig, "b", 2);
	rig_assert_capture(rig, "c", 3);
	rig_assert_capture(rig, "d", 4);
	rig_check(rig);
	rig_free(rig);
}

static void there_and_back_again(struct rig *rig)
{
	if (rig_rename(rig, "a", "b", 0) < 0 || rig_rename(rig, "b", "a", 0) < 0)
		_exit(5);
	die();
}

/* What was replaced in between is not there again. */
static void there_and_back(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_capture(rig, "a", 1);
	rig_file(rig, "b", 2, true);
	rig_killed(rig, "", there_and_back_again);
	rig_assert_capture(rig, "a", 1);
	assert_int_equal(rig_state(rig, "b"), STATE_NONE);
	assert_int_equal(rig_trash(rig, NULL), 1);
	rig_check(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_took_the_name_of_the_one_before),
		cmocka_unit_test(there_and_back),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
