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
#include <sys/xattr.h>
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

/* The table knows that directory. */
static bool is_known(struct rig *rig, const struct node *dir)
{
	struct reaper *r = rig->t->reaper;
	bool known;

	lock_take(&r->lock);
	table_adopt_locked(r);
	known = table_find(r, dir) != NULL;
	lock_drop(&r->lock);
	return known;
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

/* As it is when it is over. */
static struct look look(struct rig *rig, const char *path, unsigned what)
{
	struct look l = { .r = rig->t->reaper, .dir = rig_dir(rig, path), .what = what };

	assert_int_equal(look_dir(&l), 0);
	node_put(rig->t->tree, l.dir);
	return l;
}

/* To release alone: how many it found archived, and when it wants to look again. */
static int64_t look_to_release(struct rig *rig, const char *path, uint64_t archived)
{
	struct look l = look(rig, path, LOOK_RELEASE | LOOK_ANY_RELEASE_AGE);

	assert_int_equal(l.counts.archived_files, archived);
	return l.next_release_ms - clock_mono_ms();
}

static void release_look_failed(void **state)
{
	struct rig *rig = rig_idle(SLOW);

	(void)state;
	rig_file(rig, "d/a", 1, false);
	rig_journalled(rig);
	assert_int_equal(failpoint_init("release.check=error:EIO"), 0);
	assert_true(look_to_release(rig, "d", 1) <= REAP_RETRY_MS);
	assert_int_equal(failpoint_init(NULL), 0);
	rig_free(rig);
}

/* Who has it looked at it before what was in it went. */
static void directory_that_is_held(void **state)
{
	struct rig *rig = rig_idle(SLOW);
	struct node *cam;

	(void)state;
	rig_file(rig, "cam/h/a", 1, false);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "cam/h/a"), 0);
	cam = rig_dir(rig, "cam");
	node_claim(rig->t->tree, cam);
	look_to_release(rig, "cam/h", 0);
	assert_false(rig_is_local(rig, "cam/h"));
	assert_true(table_find(rig->t->reaper, cam)->soon);
	assert_true(look_to_release(rig, "cam", 0) <= REAP_RETRY_MS);
	node_unclaim(rig->t->tree, cam);
	look_to_release(rig, "cam", 0);
	assert_false(rig_is_local(rig, "cam"));
	node_put(rig->t->tree, cam);
	rig_free(rig);
}

/* It had one name when it was looked at, or no extended attribute. */
static void not_plain_any_more(void **state)
{
	struct rig *rig = rig_idle(SLOW);
	char path[600];

	(void)state;
	rig_capture(rig, "d/a", 1);
	rig_path(rig, "d/a", path, sizeof(path));
	assert_int_equal(setxattr(path, "user.x", "1", 1, 0), 0);
	rig_settle(rig, "d/a");
	assert_true(look(rig, "d", LOOK_ARCHIVE | LOOK_ANY_ARCHIVE_AGE).next_archive_ms !=
		    REAP_NEVER);
	assert_int_equal(removexattr(path, "user.x"), 0);
	rig_file(rig, "e/a", 2, false);
	rig_journalled(rig);
	rig_path(rig, "e/a", path, sizeof(path));
	assert_int_equal(failpoint_init("release.check=error:EPERM"), 0);
	assert_true(look(rig, "e", LOOK_RELEASE | LOOK_ANY_RELEASE_AGE).next_archive_ms !=
		    REAP_NEVER);
	assert_int_equal(failpoint_init(NULL), 0);
	rig_free(rig);
}

static void looking_failed(void **state)
{
	struct rig *rig = rig_idle(SLOW);
	struct reaper *r = rig->t->reaper;
	struct node *dir;
	struct look l = { 0 };

	(void)state;
	rig_file(rig, "d/a", 1, false);
	dir = rig_dir(rig, "d");
	table_disown(r, table_own(r, dir, true), &l, -EMFILE);
	assert_true(due_of(rig, "d").archive_ms <= REAP_RETRY_MS);
	assert_true(due_of(rig, "d").release_ms <= REAP_RETRY_MS);
	node_put(rig->t->tree, dir);
	rig_free(rig);
}

/* ---- directories in which nothing is left ------------------------------------------------ */

static struct rig *released_and_forgotten(void)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=1s,store_timeout=1s");

	rig_file(rig, "cam/h/a", 1, true);
	return rig;
}

static void rmdir_of_the_last(void **state)
{
	struct rig *rig = released_and_forgotten();
	struct ns_cred me = { 0 };
	struct node *cam, *h, *x;
	struct stat st;

	(void)state;
	cam = rig_dir(rig, "cam");
	h = rig_dir(rig, "cam/h");
	assert_int_equal(ns_mkdir(rig->t, h, "x", 0755, &me, true, &x, &st), 0);
	node_put(rig->t->tree, x);
	rig_start(rig);
	rig_until(!rig->t->reaper->scanning);
	rig_until(!is_known(rig, h));
	assert_int_equal(ns_rmdir(rig->t, h, "x", true), 0);
	rig_until(!rig_is_local(rig, "cam"));
	node_put(rig->t->tree, h);
	node_put(rig->t->tree, cam);
	rig_free(rig);
}

/* For a file that then could not be had. */
static void made_again_for_nothing(void **state)
{
	struct rig *rig = released_and_forgotten();
	struct remote *remote;
	struct node *dir, *node;
	struct reap_dir *e;
	int fd;

	(void)state;
	rig_start(rig);
	rig_until(!rig_is_local(rig, "cam"));
	dir = rig_dir(rig, "cam/h");
	assert_int_equal(node_get(rig->t->tree, dir, "a", false, &node), 0);
	rig_faults(rig, "get error EIO");
	e = table_own(rig->t->reaper, dir, true); /* not before this has looked */
	assert_int_equal(ns_open(rig->t, node, O_RDWR, true, &fd, &remote), -EIO);
	assert_true(rig_is_local(rig, "cam/h"));
	table_disown(rig->t->reaper, e, NULL, 0);
	rig_until(!rig_is_local(rig, "cam"));
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);
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
	struct rlimit before;

	(void)state;
	rig_capture(rig, "d/a", 1);
	rig_touch(rig, "d");
	assert_int_equal(rig_status(rig).local_files, 1);
	rig_capture(rig, "d/b", 2);
	rig_touch(rig, "d");
	before = rig_no_descriptors();
	assert_int_equal(rig_status(rig).local_files, 1); /* as it was known */
	rig_descriptors(before);
	assert_int_equal(rig_status(rig).local_files, 2);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(archiving_failed),
		cmocka_unit_test(releasing_failed),
		cmocka_unit_test(release_look_failed),
		cmocka_unit_test(directory_that_is_held),
		cmocka_unit_test(not_plain_any_more),
		cmocka_unit_test(looking_failed),
		cmocka_unit_test(rmdir_of_the_last),
		cmocka_unit_test(made_again_for_nothing),
		cmocka_unit_test(unseen_below_a_renamed_one),
		cmocka_unit_test(out_of_what_a_rule_names),
		cmocka_unit_test(renamed_again_and_again),
		cmocka_unit_test(one_name_left),
		cmocka_unit_test(made_local_for_nothing),
		cmocka_unit_test(counted_without_descriptors),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
