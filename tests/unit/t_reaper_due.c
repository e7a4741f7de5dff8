/* SPDX-License-Identifier: MIT */
/*
 * No local file is forgotten: whatever failed, moved or lost a name is due again, without a
 * restart and without anybody touching it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"
#include "tier/reaper_int.h"

#define SLOW "archive_after=1h,release_after=24h,store_timeout=1s,pack_below=0"

struct due {
	int64_t archive_ms, release_ms; /* from now on */
};

static struct due due_of(struct rig *rig, const char *path)
{
	struct reaper *r = rig->t->reaper;
	struct node *dir = rig_dir(rig, path);
	int64_t now = clock_mono_ms();
	struct due due = { REAP_NEVER, REAP_NEVER };
	struct reap_dir *e;

	lock_take(&r->lock);
	table_adopt_locked(r);
	e = table_find(r, dir);
	if (e && e->archive_ms != REAP_NEVER)
		due.archive_ms = e->archive_ms - now;
	if (e && e->release_ms != REAP_NEVER)
		due.release_ms = e->release_ms - now;
	lock_drop(&r->lock);
	node_put(rig->t->tree, dir);
	return due;
}

/* Not soon, and at a time: while it is looked at there is none. */
static bool is_due_late(struct rig *rig, const char *path)
{
	int64_t ms = due_of(rig, path).archive_ms;

	return ms > REAP_RETRY_MS && ms != REAP_NEVER;
}

/* ---- what a command could not do ----------------------------------------------------- */

static void archiving_failed(void **state)
{
	static const char *const rules[] = { "put error EACCES", "put error EIO" };

	(void)state;
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct rig *rig = rig_idle(SLOW);
		struct report rep;

		rig_start(rig);
		rig_until(!rig_status(rig).scanning);
		rig_faults(rig, rules[i]);
		rig_capture(rig, "d/a", 1);
		rig_settle(rig, "d/a");
		assert_int_equal(rig_command(rig, REAP_DRAIN, NULL, &rep), -EIO);
		assert_int_equal(rig_state(rig, "d/a"), STATE_LOCAL);
		assert_true(due_of(rig, "d").archive_ms <= REAP_RETRY_MS);
		rig_free(rig);
	}
}

static void releasing_failed(void **state)
{
	struct rig *rig = rig_idle(SLOW);
	struct report rep;
	char path[600];
	int fd;

	(void)state;
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	rig_file(rig, "d/a", 1, false);
	rig_path(rig, "d/a", path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	(void)rig_command(rig, REAP_RELEASE, NULL, &rep);
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	assert_true(due_of(rig, "d").release_ms <= REAP_RETRY_MS);
	close(fd);
	rig_free(rig);
}

/* A look that is to release alone. */
static void release_look_failed(void **state)
{
	struct rig *rig = rig_idle(SLOW);
	struct reaper *r = rig->t->reaper;
	struct look l = { .r = r, .what = LOOK_RELEASE | LOOK_ANY_RELEASE_AGE };

	(void)state;
	rig_file(rig, "d/a", 1, false);
	rig_journalled(rig);
	l.dir = rig_dir(rig, "d");
	assert_int_equal(failpoint_init("release.check=error:EIO"), 0);
	assert_int_equal(look_dir(&l), 0);
	assert_int_equal(failpoint_init(NULL), 0);
	assert_int_equal(l.counts.archived_files, 1);
	assert_true(l.next_release_ms <= clock_mono_ms() + REAP_RETRY_MS);
	node_put(rig->t->tree, l.dir);
	rig_free(rig);
}

/* ---- directories that are renamed ------------------------------------------------------ */

/* What nobody has seen yet, as a scan that was passing may not have. */
static void unseen_below_a_renamed_one(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h");

	(void)state;
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	rig_capture(rig, "from/sub/deep/a", 1);
	assert_int_equal(rig_rename(rig, "from", "to", 0), 0);
	rig_until(rig_state(rig, "to/sub/deep/a") == STATE_ARCHIVED);
	rig_until(rig_intents(rig) == 0);
	rig_check(rig);
	rig_free(rig);
}

static void out_of_what_a_rule_names(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h,rule=in/* never-archive");

	(void)state;
	rig_capture(rig, "in/a", 1);
	rig_capture(rig, "in/sub/b", 2);
	rig_capture(rig, "other/sub/c", 3);
	rig_start(rig);
	rig_until(rig_state(rig, "other/sub/c") == STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "in/sub/b"), STATE_LOCAL);
	assert_int_equal(rig_rename(rig, "other", "in", RENAME_EXCHANGE), 0);
	rig_until(rig_state(rig, "other/a") == STATE_ARCHIVED);
	rig_until(rig_state(rig, "other/sub/b") == STATE_ARCHIVED);
	rig_until(rig_intents(rig) == 0);
	rig_check(rig);
	rig_free(rig);
}

/* Many at once, while it is being walked through. */
static void renamed_again_and_again(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h,scan_rate=1000");
	char name[32], there[64];

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "d%u/sub/a", i);
		rig_capture(rig, name, i + 1);
	}
	rig_start(rig);
	for (unsigned k = 0; k < 5; k++) {
		for (unsigned i = 0; i < 50; i++) {
			snprintf(name, sizeof(name), "d%u", i + 50 * k);
			snprintf(there, sizeof(there), "d%u", i + 50 * (k + 1));
			assert_int_equal(rig_rename(rig, name, there, 0), 0);
		}
	}
	for (unsigned i = 0; i < 50; i++) {
		snprintf(there, sizeof(there), "d%u/sub/a", i + 250);
		rig_until(rig_state(rig, there) == STATE_ARCHIVED);
	}
	rig_until(!rig_status(rig).scanning);
	rig_until(rig_intents(rig) == 0);
	rig_check(rig);
	rig_free(rig);
}

/* ---- names ------------------------------------------------------------------------------ */

static void linked(struct rig *rig, struct node *node, const char *dir, const char *name, int want)
{
	struct node *parent = rig_dir(rig, dir);
	struct stat st;

	assert_int_equal(ns_link(rig->t, node, parent, name, true, &st), want);
	node_put(rig->t->tree, parent);
}

/* One of two names goes, in another directory than the one that stays. */
static void one_name_left(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h");
	struct node *dir, *other, *node;

	(void)state;
	rig_capture(rig, "a/x", 1);
	rig_capture(rig, "b/y", 2);
	dir = rig_dir(rig, "a");
	other = rig_dir(rig, "b");
	assert_int_equal(node_get(rig->t->tree, dir, "x", false, &node), 0);
	linked(rig, node, "b", "x2", 0);
	rig_start(rig);
	rig_until(rig_state(rig, "b/y") == STATE_ARCHIVED);
	rig_until(rig_status(rig).other_files == 2);
	/* looked at for good, but for once an hour */
	rig_until(is_due_late(rig, "a"));
	assert_int_equal(ns_unlink(rig->t, other, "x2", true), 0);
	rig_until(rig_state(rig, "a/x") == STATE_ARCHIVED);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, other);
	node_put(rig->t->tree, dir);
	rig_check(rig);
	rig_free(rig);
}

/* It was made local for what then did not work: it is to be archived again. */
static void made_local_for_nothing(void **state)
{
	struct rig *rig = rig_idle(SLOW);
	struct node *dir, *node;

	(void)state;
	rig_start(rig);
	rig_file(rig, "d/a", 1, false);
	rig_capture(rig, "e/taken", 2);
	rig_touch(rig, "e");
	rig_touch(rig, "d");
	rig_until(!rig_status(rig).scanning);
	assert_int_equal(rig_status(rig).archived_files, 1);
	dir = rig_dir(rig, "d");
	assert_int_equal(node_get(rig->t->tree, dir, "a", false, &node), 0);
	linked(rig, node, "e", "taken", -EEXIST);
	assert_int_equal(rig_state(rig, "d/a"), STATE_LOCAL);
	assert_int_equal(rig_status(rig).local_files, 2);
	assert_true(due_of(rig, "d").archive_ms <= 3600 * 1000);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);
	rig_free(rig);
}

/* ---- counting --------------------------------------------------------------------------- */

/* Somebody asks because nothing can be opened any more. */
static void counted_without_descriptors(void **state)
{
	struct rig *rig = rig_idle(SLOW);
	struct rlimit before, none;
	int free_fd;

	(void)state;
	rig_capture(rig, "d/a", 1);
	rig_touch(rig, "d");
	assert_int_equal(rig_status(rig).local_files, 1);
	rig_capture(rig, "d/b", 2);
	rig_touch(rig, "d");
	free_fd = dup(0);
	assert_true(free_fd >= 0);
	close(free_fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)free_fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(rig_status(rig).local_files, 1); /* as it was known */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(rig_status(rig).local_files, 2);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(archiving_failed),
		cmocka_unit_test(releasing_failed),
		cmocka_unit_test(release_look_failed),
		cmocka_unit_test(unseen_below_a_renamed_one),
		cmocka_unit_test(out_of_what_a_rule_names),
		cmocka_unit_test(renamed_again_and_again),
		cmocka_unit_test(one_name_left),
		cmocka_unit_test(made_local_for_nothing),
		cmocka_unit_test(counted_without_descriptors),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
