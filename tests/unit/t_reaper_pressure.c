/* SPDX-License-Identifier: MIT */
/*
 * A disk that is too full: what can go goes, and what cannot is not looked at again and again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/unit/reaper_rig.h"

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

/* open0/a and so on: archived, and open for good. */
static void archive_and_hold(struct rig *rig, int *ret_fds, unsigned n)
{
	char path[600], name[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "open%u/a", i);
		rig_file(rig, name, i + 1, false);
		rig_path(rig, name, path, sizeof(path));
		ret_fds[i] = open(path, O_RDWR | O_CLOEXEC);
		assert_true(ret_fds[i] >= 0);
	}
	rig_journalled(rig);
}

/* What was archived first of all is open for good: what else is there goes all the same. */
static void under_pressure_and_open(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, OPTIONS ",high=1,low=0,archive_after=1h");
	char name[64];
	int fd[6];

	(void)state;
	rig_open(rig);
	archive_and_hold(rig, fd, 6);
	rig_capture(rig, "open0/b", 7);
	rig_capture(rig, "cam/b", 8);
	rig_start(rig);
	rig_until(rig_state(rig, "open0/b") == STATE_RELEASED);
	rig_until(rig_state(rig, "cam/b") == STATE_RELEASED);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "open%u/a", i);
		assert_true(rig_is_local(rig, name));
		close(fd[i]);
	}
	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "open%u/a", i);
		rig_until(!rig_is_local(rig, name));
	}
	rig_check(rig);
	rig_free(rig);
}

/* What pressure does to the directory of this path: one look, here and now. */
static struct reap_dir *pressed(struct rig *rig, const char *path, int64_t archive_ms)
{
	struct reap_dir *e =
		queued(rig, path, LOOK_RELEASE | LOOK_ANY_RELEASE_AGE | LOOK_UNTIL_LOW, archive_ms);

	e->why = RELEASE_PRESSURE;
	reap_job(&e->job);
	return e;
}

/* Each finds nothing to release; archiving is due when it was. */
static void pressed_in_vain(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h,release_after=24h");
	int64_t due_ms = clock_mono_ms() + 5000;

	(void)state;
	rig_capture(rig, "d/a", 1);
	for (unsigned i = 0; i < 3; i++) {
		int64_t begun_ms = clock_mono_ms();
		struct reap_dir *e = pressed(rig, "d", due_ms);

		assert_true(e->archive_ms == due_ms);
		assert_int_equal(e->press[PRESS_RELEASE].fruitless, i + 1);
		assert_int_equal(e->press[PRESS_ARCHIVE].fruitless, 0);
		assert_true(e->press[PRESS_RELEASE].until_ms - begun_ms >= 1000 << i);
	}
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	rig_journalled(rig);
	(void)pressed(rig, "d", due_ms); /* nothing is left in it, and it is not known any more */
	assert_int_equal(rig_state(rig, "d/a"), STATE_RELEASED);
	rig_free(rig);
}

/* What a rule keeps is not asked for again and again. */
static void never_released(void **state)
{
	struct node *kept;
	struct reap_dir *e;
	struct rig *rig = rig_new(RIG_MEM, OPTIONS ",high=1,low=0,rule=kept/* never-release");

	(void)state;
	rig_open(rig);
	rig_file(rig, "kept/a", 1, false);
	rig_file(rig, "cam/a", 2, false);
	rig_journalled(rig);
	rig_start(rig);
	rig_until(rig_state(rig, "cam/a") == STATE_RELEASED);
	rig_until(!rig->t->reaper->scanning);
	assert_true(rig_is_local(rig, "kept/a"));
	kept = rig_dir(rig, "kept");
	e = table_own(rig->t->reaper, kept, false);
	assert_int_equal(e->counts.archived_files, 1);
	assert_int_equal(e->press[PRESS_RELEASE].fruitless, 0);
	table_disown(rig->t->reaper, e, NULL, 0);
	node_put(rig->t->tree, kept);
	rig_free(rig);
}

/* One of many is open for good, everywhere: pressure does not go round and round in those. */
static void many_in_vain(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, OPTIONS ",high=1,low=0,archive_after=1h");
	unsigned most = 0;
	char name[64];
	int fd[40];

	(void)state;
	rig_open(rig);
	archive_and_hold(rig, fd, 40);
	rig_capture(rig, "cam/b", 8);
	rig_start(rig);
	rig_until(rig_state(rig, "cam/b") != STATE_LOCAL);
	for (unsigned i = 0; i < 40; i++) {
		struct reaper *r = rig->t->reaper;
		struct node *dir;
		struct reap_dir *e;

		snprintf(name, sizeof(name), "open%u", i);
		dir = rig_dir(rig, name);
		e = table_own(r, dir, false);
		if (e->press[PRESS_RELEASE].fruitless > most)
			most = e->press[PRESS_RELEASE].fruitless;
		table_disown(r, e, NULL, 0);
		node_put(rig->t->tree, dir);
		close(fd[i]);
	}
	assert_true(most <= 3);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(under_pressure), cmocka_unit_test(under_pressure_and_open),
		cmocka_unit_test(many_in_vain),	  cmocka_unit_test(pressed_in_vain),
		cmocka_unit_test(never_released),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
