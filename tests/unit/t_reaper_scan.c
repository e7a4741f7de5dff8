/* SPDX-License-Identifier: MIT */
/*
 * The scan at start: what it cannot read, or ask for, or what somebody else has, keeps it from
 * nothing else, and is come back to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"
#include "tier/reaper_int.h"

#define DIRS 8

#define NOBODY (-1)
#define WHO_IS_FIRST (-2)

/* The number of two that readdir gives, and that cannot be asked for. */
static _Atomic int sick = NOBODY;

int fstatat(int fd, const char *restrict name, struct stat *restrict st, int flags)
{
	int first = WHO_IS_FIRST;

	if (strncmp(name, "cam", 3) == 0) {
		(void)atomic_compare_exchange_strong(&sick, &first, atoi(name + 3));
		if (sick == atoi(name + 3)) {
			errno = EIO;
			return -1;
		}
	}
	return (int)syscall(SYS_newfstatat, fd, name, st, flags);
}

/* The file below it, and below the other one of this number. */
static bool cam_is(struct rig *rig, int i, enum state state)
{
	char path[32];

	snprintf(path, sizeof(path), "below/cam%d/h/a", i);
	return rig_state(rig, path) == state && rig_state(rig, path + strlen("below/")) == state;
}

static struct rig *some_dirs(void)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h");
	char path[32];

	for (int i = 0; i < DIRS; i++) {
		snprintf(path, sizeof(path), "cam%d/h/a", i);
		rig_capture(rig, path, (unsigned)i);
		snprintf(path, sizeof(path), "below/cam%d/h/a", i);
		rig_capture(rig, path, (unsigned)i);
	}
	return rig;
}

static bool others_are_archived(struct rig *rig, int but)
{
	for (int i = 0; i < DIRS; i++)
		if (i != but && !cam_is(rig, i, STATE_ARCHIVED))
			return false;
	return true;
}

/* How many could not be read; they need not wait any longer. */
static size_t unread(struct reaper *r)
{
	size_t n;

	lock_take(&r->lock);
	n = r->unread.n;
	r->read_again_ms = 0;
	lock_drop(&r->lock);
	return n;
}

/* Everything was walked through, and some of it has to wait. */
static bool put_off(struct reaper *r)
{
	bool so;

	lock_take(&r->lock);
	so = !r->walking && r->read_again_ms > 0;
	lock_drop(&r->lock);
	return so;
}

static void not_read_by_the_scan(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h");
	struct reaper *r = rig->t->reaper;
	struct rlimit before;

	(void)state;
	rig_capture(rig, "cam/h/a", 1);
	before = rig_no_descriptors();
	rig_start(rig);
	rig_until(put_off(r));
	rig_descriptors(before);
	assert_int_equal(unread(r), 1);
	rig_until(rig_state(rig, "cam/h/a") == STATE_ARCHIVED);
	assert_int_equal(unread(r), 0);
	rig_free(rig);
}

/* One of many, and what is below it. */
static void one_that_cannot_be_asked_for(void **state)
{
	struct rig *rig = some_dirs();
	struct reaper *r = rig->t->reaper;
	int who;

	(void)state;
	sick = WHO_IS_FIRST;
	rig_start(rig);
	rig_until(sick >= 0);
	who = sick;
	rig_until(others_are_archived(rig, who));
	for (unsigned i = 0; i < 3; i++) {
		rig_until(put_off(r));
		if (i == 2)
			sick = NOBODY;
		assert_int_equal(unread(r), 2);
	}
	rig_until(cam_is(rig, who, STATE_ARCHIVED));
	assert_int_equal(unread(r), 0);
	rig_free(rig);
}

/* A command does what it can, and says what it could not. */
static void asked_by_a_command(void **state)
{
	struct rig *rig = some_dirs();
	struct report rep;

	(void)state;
	rig_capture(rig, "x", 1);
	sick = WHO_IS_FIRST;
	rig_start(rig);
	assert_int_equal(rig_command(rig, REAP_DRAIN, NULL, &rep), -EIO);
	assert_non_null(strstr(rep.text, "Input/output error"));
	assert_int_equal(rep.last.files_done, 2 * DIRS - 1);
	sick = NOBODY;
	rig_free(rig);
}

/* Somebody has one of them, for long. */
static void one_that_is_busy(void **state)
{
	struct rig *rig = some_dirs();
	struct reaper *r = rig->t->reaper;
	struct node *dir = rig_dir(rig, "cam0/h");
	struct reap_dir *e = table_own(r, dir, true);

	(void)state;
	rig_start(rig);
	rig_until(!r->scanning);
	rig_until(others_are_archived(rig, 0));
	assert_int_equal(rig_state(rig, "cam0/h/a"), STATE_LOCAL);
	table_disown(r, e, NULL, 0);
	rig_until(cam_is(rig, 0, STATE_ARCHIVED));
	node_put(rig->t->tree, dir);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_read_by_the_scan),
		cmocka_unit_test(one_that_cannot_be_asked_for),
		cmocka_unit_test(asked_by_a_command),
		cmocka_unit_test(one_that_is_busy),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
