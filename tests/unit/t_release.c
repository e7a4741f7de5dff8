/* SPDX-License-Identifier: MIT */
/*
 * A local copy goes only when everything is known and says yes; each doubt alone keeps
 * it.  A directory goes when its row can bring it back.
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

static int setup(void **state)
{
	return rig_setup(state, "");
}

/* Archived and journalled: ready to go. */
static void archived(struct rig *rig, const char *path, unsigned n)
{
	rig_capture(rig, path, n);
	assert_int_equal(rig_archive(rig, path), 0);
	rig_journalled(rig);
}

static void released_reads_the_same(void **state)
{
	struct rig *rig = *state;
	struct state_of before, after;

	archived(rig, "cam/d/a", 1);
	before = rig_look(rig, "cam/d/a");
	assert_int_equal(rig_release(rig, "cam/d/a"), 0);
	assert_false(rig_is_local(rig, "cam/d/a"));
	after = rig_look(rig, "cam/d/a");
	assert_int_equal(after.state, STATE_RELEASED);
	assert_int_equal(after.shown.st_ino, before.shown.st_ino);
	assert_int_equal(after.shown.st_size, before.shown.st_size);
	assert_int_equal(after.shown.st_mode, before.shown.st_mode);
	assert_int_equal(ts_to_ns(after.shown.st_mtim), ts_to_ns(before.shown.st_mtim));
	assert_int_equal(ts_to_ns(after.shown.st_ctim), ts_to_ns(before.shown.st_ctim));
	rig_assert_capture(rig, "cam/d/a", 1);
	assert_int_equal(rig_release(rig, "cam/d/a"), 1);
	rig_check(rig);
}

static void directory_times_stay(void **state)
{
	struct rig *rig = *state;
	struct node *dir;
	struct state_of before, after;

	archived(rig, "d/a", 1);
	dir = rig_dir(rig, "d");
	assert_int_equal(state_look_node(rig->t, dir, &before), 0);
	assert_int_equal(rig_release(rig, "d/a"), 0);
	assert_int_equal(state_look_node(rig->t, dir, &after), 0);
	assert_int_not_equal(ts_to_ns(after.cache.st_mtim), ts_to_ns(before.cache.st_mtim));
	assert_int_equal(ts_to_ns(after.shown.st_mtim), ts_to_ns(before.shown.st_mtim));
	assert_int_equal(ts_to_ns(after.shown.st_ctim), ts_to_ns(before.shown.st_ctim));
	node_put(rig->t->tree, dir);
}

/* ---- refusals --------------------------------------------------------------------- */

static void not_archived(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/local", 1);
	assert_int_equal(rig_release(rig, "d/local"), -ENODATA);
	archived(rig, "d/other", 2);
	assert_int_equal(rig_release(rig, "d/local"), -ENODATA);
	assert_int_equal(rig_release(rig, "d/nothing"), -ENODATA);
	assert_int_equal(rig_release(rig, "nowhere/nothing"), 1);
	assert_true(rig_is_local(rig, "d/local"));
}

static void open_or_claimed(void **state)
{
	struct rig *rig = *state;
	struct node *dir, *node;
	struct remote *remote;
	int fd;

	archived(rig, "d/a", 1);
	dir = rig_dir(rig, "d");
	assert_int_equal(node_get(rig->t->tree, dir, "a", false, &node), 0);
	assert_int_equal(ns_open(rig->t, node, O_RDONLY, true, &fd, &remote), 0);
	assert_int_equal(rig_release(rig, "d/a"), -EBUSY);
	close(fd);
	node_open_end(rig->t->tree, node, false);
	node_claim(rig->t->tree, node);
	assert_int_equal(rig_release(rig, "d/a"), -EBUSY);
	node_unclaim(rig->t->tree, node);
	assert_true(rig_is_local(rig, "d/a"));
	assert_int_equal(rig_release(rig, "d/a"), 0);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);
}

static void written_underneath(void **state)
{
	struct rig *rig = *state;
	char path[600];
	void *map;
	int fd;

	archived(rig, "d/a", 1);
	rig_path(rig, "d/a", path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(rig_release(rig, "d/a"), -EBUSY);
	map = mmap(NULL, 100, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	close(fd);
	assert_int_equal(rig_release(rig, "d/a"), -EBUSY);
	munmap(map, 100);
	assert_true(rig_is_local(rig, "d/a"));
	assert_int_equal(rig_release(rig, "d/a"), 0);
}

static void not_journalled(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/a", 1);
	rig_faults(rig, "put error EIO key .ebb/journal/*");
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	assert_int_equal(rig_release(rig, "d/a"), -EAGAIN);
	assert_true(rig_is_local(rig, "d/a"));
	rig_faults(rig, "");
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "d/a"), 0);
}

static void not_told(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "es=http://127.0.0.1:1/index,release_without_sinks=yes");
	uint64_t bytes;
	struct node *dir;

	(void)state;
	rig_open(rig);
	archived(rig, "d/a", 1);
	assert_true(rig_look(rig, "d/a").row.told);
	dir = rig_dir(rig, "d");
	assert_int_equal(release_file(rig->t, dir, "a", RELEASE_AGE, &bytes), -EAGAIN);
	assert_int_equal(release_file(rig->t, dir, "a", RELEASE_COMMAND, &bytes), -EAGAIN);
	assert_int_equal(release_file(rig->t, dir, "a", RELEASE_PRESSURE, &bytes), -EAGAIN);
	assert_true(rig_is_local(rig, "d/a"));
	assert_int_equal(release_file(rig->t, dir, "a", RELEASE_CRITICAL, &bytes), 0);
	assert_true(bytes > 0);
	node_put(rig->t->tree, dir);
	rig_free(rig);
}

static void not_told_is_final_without_leave(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "es=http://127.0.0.1:1/index");
	uint64_t bytes;
	struct node *dir;

	(void)state;
	rig_open(rig);
	archived(rig, "d/a", 1);
	dir = rig_dir(rig, "d");
	assert_int_equal(release_file(rig->t, dir, "a", RELEASE_CRITICAL, &bytes), -EAGAIN);
	assert_true(rig_is_local(rig, "d/a"));
	node_put(rig->t->tree, dir);
	rig_free(rig);
}

static void not_plain(void **state)
{
	struct rig *rig = *state;
	char path[600], other[600];
	struct state_of look;

	/* that changes the ctime: the row is refreshed only for what is plain */
	archived(rig, "d/link", 1);
	rig_path(rig, "d/link", path, sizeof(path));
	rig_path(rig, "d/link2", other, sizeof(other));
	assert_int_equal(link(path, other), 0);
	rig_settle(rig, "d/link");
	assert_int_equal(rig_release(rig, "d/link"), -ESTALE);
	look = rig_look(rig, "d/link");
	assert_int_equal(look.state, STATE_CHANGED);
	assert_int_equal(rig_release(rig, "d/link"), -ESTALE);
	assert_int_equal(unlink(other), 0);
	rig_settle(rig, "d/link");
	assert_int_equal(rig_release(rig, "d/link"), -ESTALE);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "d/link"), 0);

	archived(rig, "d/xattr", 2);
	rig_path(rig, "d/xattr", path, sizeof(path));
	assert_int_equal(setxattr(path, "user.x", "1", 1, 0), 0);
	rig_settle(rig, "d/xattr");
	assert_int_equal(rig_release(rig, "d/xattr"), -ESTALE);
	assert_int_equal(rig_release(rig, "d/xattr"), -ESTALE);
	assert_true(rig_is_local(rig, "d/xattr"));
}

static void changed_since(void **state)
{
	struct rig *rig = *state;
	int64_t settle_ms = rig->t->settle_ms;
	struct state_of before, after;
	char path[600];
	char *bytes;
	size_t len;

	/* attributes: refreshed, once they are old enough to be trusted */
	archived(rig, "d/a", 1);
	before = rig_look(rig, "d/a");
	rig_path(rig, "d/a", path, sizeof(path));
	rig->t->settle_ms = 3600000; /* younger than that for sure */
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(rig_release(rig, "d/a"), -ESTALE);
	assert_int_equal(rig_state(rig, "d/a"), STATE_CHANGED);
	rig->t->settle_ms = settle_ms;
	rig_settle(rig, "d/a");
	assert_int_equal(rig_release(rig, "d/a"), -ESTALE);
	after = rig_look(rig, "d/a");
	assert_int_equal(after.state, STATE_ARCHIVED);
	assert_int_equal(after.row.attempt, before.row.attempt);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "d/a"), 0);
	assert_int_equal(rig_look(rig, "d/a").shown.st_mode, S_IFREG | 0600);
	rig_assert_capture(rig, "d/a", 1);

	/* the same size, other bytes, the old mtime: never */
	archived(rig, "d/b", 2);
	before = rig_look(rig, "d/b");
	bytes = rig_read(rig, "d/b", &len);
	bytes[len / 2] ^= 1;
	rig_write(rig, "d/b", bytes, len);
	rig_path(rig, "d/b", path, sizeof(path));
	assert_int_equal(
		utimensat(AT_FDCWD, path,
			  (struct timespec[]){ before.cache.st_atim, before.cache.st_mtim }, 0),
		0);
	rig_settle(rig, "d/b");
	for (int i = 0; i < 3; i++)
		assert_int_equal(rig_release(rig, "d/b"), -ESTALE);
	assert_int_equal(rig_state(rig, "d/b"), STATE_CHANGED);
	assert_int_equal(rig_archive(rig, "d/b"), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "d/b"), 0);
	free(bytes);
	rig_check(rig);
}

static void another_file_has_its_name(void **state)
{
	struct rig *rig = *state;
	char path[600], other[600];

	archived(rig, "d/a", 1);
	rig_capture(rig, "d/b", 1);
	rig_path(rig, "d/a", path, sizeof(path));
	rig_path(rig, "d/b", other, sizeof(other));
	rig->t->settle_ms = 3600000; /* younger than that for sure */
	assert_int_equal(rename(other, path), 0);
	assert_int_equal(rig_release(rig, "d/a"), -ESTALE);
	assert_true(rig_is_local(rig, "d/a"));
	rig_unlink(rig, "d/a");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(rig_release(rig, "d/a"), -EPERM);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_true(rig_release(rig, "d/a") < 0);
	assert_int_equal(rmdir(path), 0);
}

static void read_only_catalogue(void **state)
{
	struct rig *rig = *state;

	archived(rig, "d/a", 1);
	catalogue_set_readonly(rig->t->cat, "a test says so");
	assert_int_equal(rig_release(rig, "d/a"), -EROFS);
	assert_true(rig_is_local(rig, "d/a"));
}

static void a_check_that_fails(void **state)
{
	struct rig *rig = *state;

	archived(rig, "d/a", 1);
	rig_failpoints(rig, "release.check=error:EIO");
	assert_int_equal(rig_release(rig, "d/a"), -EIO);
	assert_true(rig_is_local(rig, "d/a"));
	rig_failpoints(rig, NULL);
	assert_int_equal(rig_release(rig, "d/a"), 0);
}

/* ---- directories -------------------------------------------------------------------- */

static int release_dir_at(struct rig *rig, const char *path)
{
	struct node *dir = rig_dir(rig, path);
	int r = release_dir(rig->t, dir);

	node_put(rig->t->tree, dir);
	return r;
}

static void empty_directory_goes(void **state)
{
	struct rig *rig = *state;
	struct state_of before, after, parent_before, parent_after;
	struct node *dir;
	char path[600];

	rig_capture(rig, "cam/2017/a", 1);
	dir = rig_dir(rig,
		      "cam/2017"); /* kept, as the reaper does: it knows what was our own action */
	rig_path(rig, "cam/2017", path, sizeof(path));
	assert_int_equal(chmod(path, 02750), 0);
	assert_int_equal(chown(path, 12, 34), 0);
	assert_int_equal(chmod(path, 02750), 0);
	archived(rig, "cam/2017/a", 1);
	assert_int_equal(release_dir_at(rig, "cam/2017"), 1);
	before = rig_look(rig, "cam/2017");
	parent_before = rig_look(rig, "cam");
	assert_int_equal(rig_release(rig, "cam/2017/a"), 0);
	assert_int_equal(release_dir_at(rig, "cam/2017"), 0);
	assert_false(rig_is_local(rig, "cam/2017"));
	after = rig_look(rig, "cam/2017");
	parent_after = rig_look(rig, "cam");
	assert_int_equal(after.state, STATE_RELEASED);
	assert_int_equal(after.shown.st_mode, before.shown.st_mode);
	assert_int_equal(after.shown.st_uid, 12);
	assert_int_equal(after.shown.st_gid, 34);
	assert_int_equal(ts_to_ns(after.shown.st_mtim), ts_to_ns(before.shown.st_mtim));
	assert_int_equal(ts_to_ns(parent_after.shown.st_mtim),
			 ts_to_ns(parent_before.shown.st_mtim));
	rig_assert_capture(rig, "cam/2017/a", 1);
	/* and up: all of it is released */
	assert_int_equal(release_dir_at(rig, "cam"), 0);
	assert_int_equal(release_dir_at(rig, ""), 1);
	rig_assert_capture(rig, "cam/2017/a", 1);
	node_put(rig->t->tree, dir);
	rig_reopen(rig);
	rig_assert_capture(rig, "cam/2017/a", 1);
	assert_int_equal(rig_look(rig, "cam/2017").shown.st_mode, before.shown.st_mode);
}

static void directory_that_stays(void **state)
{
	struct rig *rig = *state;
	struct node *dir;
	char path[600];

	/* one without rows: who made it wants it */
	rig_path(rig, "users", path, sizeof(path));
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(release_dir_at(rig, "users"), 1);
	/* one that holds something */
	archived(rig, "d/a", 1);
	rig_capture(rig, "d/local", 2);
	assert_int_equal(rig_release(rig, "d/a"), 0);
	assert_int_equal(release_dir_at(rig, "d"), 1);
	rig_settle(rig, "d");
	rig_unlink(rig, "d/local");
	/* one that a user has changed just now: the unlink was theirs */
	assert_int_equal(release_dir_at(rig, "d"), 1);
	/* one with what a row does not hold */
	archived(rig, "x/a", 1);
	rig_path(rig, "x", path, sizeof(path));
	assert_int_equal(setxattr(path, "user.x", "1", 1, 0), 0);
	assert_int_equal(rig_release(rig, "x/a"), 0);
	assert_int_equal(release_dir_at(rig, "x"), 1);
	assert_int_equal(removexattr(path, "user.x"), 0);
	/* one that is claimed */
	dir = rig_dir(rig, "x");
	node_claim(rig->t->tree, dir);
	assert_int_equal(release_dir_at(rig, "x"), -EBUSY);
	node_unclaim(rig->t->tree, dir);
	node_put(rig->t->tree, dir);
	assert_true(rig_is_local(rig, "x"));
}

/* ---- kills ----------------------------------------------------------------------------- */

static void release_to_kill(struct rig *rig)
{
	if (rig_release(rig, "cam/h/a") == 0)
		release_dir_at(rig, "cam/h");
	rig_until(false);
}

static void killed_anywhere(void **state)
{
	static const char *const points[] = { "release.check=kill", "release.unlink=kill",
					      "release.dir=kill", "commit.before=kill@2" };

	(void)state;
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		struct rig *rig = rig_new(RIG_DIR, "release_after=0");
		int r;

		rig_open(rig);
		archived(rig, "cam/h/a", 5 + (unsigned)i);
		rig_killed(rig, points[i], release_to_kill);
		rig_assert_capture(rig, "cam/h/a", 5 + (unsigned)i);
		rig_check(rig);
		r = rig_release(rig, "cam/h/a");
		assert_true(r == 0 || r == 1);
		if (rig_is_local(rig, "cam/h"))
			assert_int_equal(release_dir_at(rig, "cam/h"), 0);
		rig_assert_capture(rig, "cam/h/a", 5 + (unsigned)i);
		rig_check(rig);
		rig_free(rig);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(released_reads_the_same),
		TEST(directory_times_stay),
		TEST(not_archived),
		TEST(open_or_claimed),
		TEST(written_underneath),
		TEST(not_journalled),
		cmocka_unit_test(not_told),
		cmocka_unit_test(not_told_is_final_without_leave),
		TEST(not_plain),
		TEST(changed_since),
		TEST(another_file_has_its_name),
		TEST(read_only_catalogue),
		TEST(a_check_that_fails),
		TEST(empty_directory_goes),
		TEST(directory_that_stays),
		cmocka_unit_test(killed_anywhere),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
