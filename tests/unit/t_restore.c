/* SPDX-License-Identifier: MIT */
/*
 * A restored file is the released one, whole, or it is not there; the object stays.
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
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

static int setup(void **state)
{
	return rig_setup(state, "reserve=0,store_timeout=1s");
}

static void released(struct rig *rig, const char *path)
{
	if (rig_state(rig, path) != STATE_ARCHIVED)
		assert_int_equal(rig_archive(rig, path), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, path), 0);
}

static struct node *node_of(struct rig *rig, const char *path)
{
	struct node *node;

	assert_int_equal(node_walk(rig->t->tree, path, false, &node), 0);
	return node;
}

static int restore(struct rig *rig, const char *path)
{
	struct node *node = node_of(rig, path);
	int r = restore_path(rig->t, node);

	node_put(rig->t->tree, node);
	return r;
}

static void assert_same_shown(const struct state_of *a, const struct state_of *b)
{
	assert_int_equal(a->shown.st_ino, b->shown.st_ino);
	assert_int_equal(a->shown.st_mode, b->shown.st_mode);
	assert_int_equal(a->shown.st_uid, b->shown.st_uid);
	assert_int_equal(a->shown.st_gid, b->shown.st_gid);
	assert_int_equal(a->shown.st_size, b->shown.st_size);
	assert_int_equal(ts_to_ns(a->shown.st_mtim), ts_to_ns(b->shown.st_mtim));
	assert_int_equal(ts_to_ns(a->shown.st_ctim), ts_to_ns(b->shown.st_ctim));
}

static void comes_back_the_same(void **state)
{
	struct rig *rig = *state;
	struct state_of before, after, dir_before, dir_after;
	struct node *dir;
	char path[600];

	rig_capture(rig, "cam/h/a", 1);
	dir = rig_dir(rig, "cam/h"); /* kept: it knows at once what was our own action */
	rig_path(rig, "cam/h/a", path, sizeof(path));
	assert_int_equal(chown(path, 12, 34), 0);
	assert_int_equal(chmod(path, 06751), 0);
	assert_int_equal(utimensat(AT_FDCWD, path,
				   (struct timespec[]){ { 1000, 1 }, { 1513353409, 123456789 } },
				   0),
			 0);
	assert_int_equal(rig_archive(rig, "cam/h/a"), 0);
	before = rig_look(rig, "cam/h/a");
	dir_before = rig_look(rig, "cam/h");
	released(rig, "cam/h/a");
	assert_int_equal(restore(rig, "cam/h/a"), 0);
	assert_true(rig_is_local(rig, "cam/h/a"));
	after = rig_look(rig, "cam/h/a");
	assert_int_equal(after.state, STATE_ARCHIVED);
	assert_same_shown(&before, &after);
	assert_int_equal(after.cache.st_mode, S_IFREG | 06751);
	assert_int_equal(after.cache.st_uid, 12);
	dir_after = rig_look(rig, "cam/h");
	assert_same_shown(&dir_before, &dir_after);
	rig_assert_capture(rig, "cam/h/a", 1);
	assert_int_equal(restore(rig, "cam/h/a"), 0);
	rig_check(rig);
	/* and may go again, without a new copy */
	released(rig, "cam/h/a");
	after = rig_look(rig, "cam/h/a");
	assert_same_shown(&before, &after);
	assert_int_equal(rig_objects(rig), 1);
	node_put(rig->t->tree, dir);
}

static void into_a_released_directory(void **state)
{
	struct rig *rig = *state;
	struct state_of before, after;
	struct node *dir;
	char path[600];

	rig_capture(rig, "cam/2017/a", 1);
	rig_path(rig, "cam/2017", path, sizeof(path));
	assert_int_equal(chown(path, 12, 34), 0);
	assert_int_equal(chmod(path, 0710), 0);
	assert_int_equal(rig_archive(rig, "cam/2017/a"), 0);
	before = rig_look(rig, "cam/2017");
	dir = rig_dir(rig, "cam/2017");
	released(rig, "cam/2017/a");
	assert_int_equal(release_dir(rig->t, dir), 0);
	node_put(rig->t->tree, dir);
	assert_false(rig_is_local(rig, "cam/2017"));
	assert_int_equal(restore(rig, "cam/2017/a"), 0);
	after = rig_look(rig, "cam/2017");
	assert_true(after.has_cache);
	assert_same_shown(&before, &after);
	rig_assert_capture(rig, "cam/2017/a", 1);
	rig_check(rig);
}

static void empty_file(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/empty", 7);
	assert_int_equal(rig_archive(rig, "d/empty"), 0);
	released(rig, "d/empty");
	assert_int_equal(restore(rig, "d/empty"), 0);
	rig_assert_capture(rig, "d/empty", 7);
}

#define LARGE_BYTES (OBJECT_PART_BYTES + 5000000)

static void large_file(void **state)
{
	struct rig *rig = *state;
	char *bytes = malloc(LARGE_BYTES), *got;
	size_t len;

	assert_non_null(bytes);
	for (size_t i = 0; i < LARGE_BYTES; i++)
		bytes[i] = (char)(i >> 10 ^ i);
	rig_write(rig, "d/large", bytes, LARGE_BYTES);
	assert_int_equal(rig_archive(rig, "d/large"), 0);
	released(rig, "d/large");
	assert_int_equal(restore(rig, "d/large"), 0);
	assert_true(rig_is_local(rig, "d/large"));
	got = rig_read(rig, "d/large", &len);
	assert_int_equal(len, LARGE_BYTES);
	assert_memory_equal(got, bytes, len);
	free(got);
	free(bytes);
}

/* ---- what fails leaves nothing ---------------------------------------------------- */

static void store_fails(void **state)
{
	static const char *const rules[] = {
		"get error EIO key d/*",    "get flip key d/*",	    "get short key d/*",
		"get error ENOENT key d/*", "get down now key d/*",
	};
	struct rig *rig = *state;

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	released(rig, "d/a");
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		rig_faults(rig, rules[i]);
		assert_int_equal(restore(rig, "d/a"), -EIO);
		assert_false(rig_is_local(rig, "d/a"));
		assert_int_equal(rig_state(rig, "d/a"), STATE_RELEASED);
	}
	rig_faults(rig, "");
	rig_check(rig);
	assert_int_equal(restore(rig, "d/a"), 0);
	rig_assert_capture(rig, "d/a", 1);
}

static void no_room(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	released(rig, "d/a");
	rig->conf.reserve = 1ull << 60;
	assert_int_equal(restore(rig, "d/a"), -ENOSPC);
	assert_int_equal(rig_state(rig, "d/a"), STATE_RELEASED);
	rig->conf.reserve = 0;
	assert_int_equal(restore(rig, "d/a"), 0);
}

static void nothing_to_restore(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/local", 1);
	assert_int_equal(restore(rig, "d/local"), 0);
	assert_int_equal(restore(rig, "d/nothing"), -ENOENT);
	assert_int_equal(restore(rig, "nowhere/nothing"), -ENOENT);
}

/* ---- writing ------------------------------------------------------------------------ */

static void open_for_writing(void **state)
{
	struct rig *rig = *state;
	struct remote *remote;
	struct node *node;
	struct stat st;
	int fd;

	rig_capture(rig, "d/a", 1);
	rig_capture(rig, "d/b", 2);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	assert_int_equal(rig_archive(rig, "d/b"), 0);
	released(rig, "d/a");
	released(rig, "d/b");
	node = node_of(rig, "d/a");
	assert_int_equal(ns_open(rig->t, node, O_RDWR, false, &fd, &remote), TIER_PARK);
	assert_int_equal(ns_open(rig->t, node, O_RDWR, true, &fd, &remote), 0);
	rig_assert_capture(rig, "d/a", 1);
	assert_int_equal(rig_state(rig, "d/a"), STATE_LOCAL);
	close(fd);
	node_open_end(rig->t->tree, node, true);
	node_put(rig->t->tree, node);

	/* O_TRUNC fetches nothing */
	rig_faults(rig, "get error EIO");
	node = node_of(rig, "d/b");
	assert_int_equal(ns_open(rig->t, node, O_RDWR | O_TRUNC, true, &fd, &remote), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	close(fd);
	node_open_end(rig->t->tree, node, true);
	node_put(rig->t->tree, node);
	rig_faults(rig, "");
	assert_int_equal(rig_trash(rig, NULL), 2);
	rig_check(rig);
}

static void assert_not_truncated(struct rig *rig, int want)
{
	struct ns_setattr set = { .set = NS_SET_SIZE, .fd = -1 };
	struct node *node = node_of(rig, "d/a");
	struct remote *remote;
	struct stat st;
	int fd;

	assert_int_equal(ns_open(rig->t, node, O_RDWR | O_TRUNC, true, &fd, &remote), want);
	assert_int_equal(ns_setattr(rig->t, node, &set, true, &st), want);
	node_put(rig->t->tree, node);
	assert_int_equal(rig_state(rig, "d/a"), STATE_RELEASED);
	rig_assert_capture(rig, "d/a", 1);
}

static void truncation_that_fails(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/a", 1);
	released(rig, "d/a");
	assert_int_equal(failpoint_init("commit.before=error:ENOSPC"), 0);
	assert_not_truncated(rig, -ENOSPC);
	assert_int_equal(failpoint_init(NULL), 0);
	catalogue_set_readonly(rig->t->cat, "a test says so");
	assert_not_truncated(rig, -EROFS);
}

/* A descriptor of the directory is kept that was removed just now. */
static void into_a_directory_just_released(void **state)
{
	struct rig *rig = *state;
	struct node *from, *to, *linked;
	char path[600];
	struct stat st;

	rig_capture(rig, "cam/h/a", 1);
	rig_capture(rig, "new/b", 2);
	released(rig, "cam/h/a");
	to = rig_dir(rig, "cam/h");
	assert_int_equal(ns_materialize_dir(rig->t, to, true), 0);
	rig_path(rig, "cam/h", path, sizeof(path));
	assert_int_equal(rmdir(path), 0);
	from = rig_dir(rig, "new");
	assert_int_equal(ns_rename(rig->t, from, "b", to, "b", 0, true), 0);
	rig_assert_capture(rig, "cam/h/b", 2);
	assert_int_equal(ns_rename(rig->t, from, "b", to, "b", 0, true), -ENOENT);
	/* and one with a row */
	assert_int_equal(rig_archive(rig, "cam/h/b"), 0);
	assert_int_equal(ns_rename(rig->t, to, "b", from, "b", 0, true), 0);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(ns_rename(rig->t, from, "b", to, "c", 0, true), 0);
	assert_true(rig_look(rig, "cam/h/c").has_row);
	rig_assert_capture(rig, "cam/h/c", 2);
	/* a link, too */
	rig_capture(rig, "new/l", 3);
	assert_int_equal(ns_rename(rig->t, to, "c", from, "c", 0, true), 0);
	assert_int_equal(rmdir(path), 0);
	linked = node_of(rig, "new/l");
	assert_int_equal(ns_link(rig->t, linked, to, "l", true, &st), 0);
	node_put(rig->t->tree, linked);
	rig_assert_capture(rig, "cam/h/l", 3);
	node_put(rig->t->tree, from);
	node_put(rig->t->tree, to);
}

/* ---- kills ---------------------------------------------------------------------------- */

static void restore_to_kill(struct rig *rig)
{
	restore(rig, "cam/h/a");
	rig_until(false);
}

static void killed_anywhere(void **state)
{
	static const char *const points[] = { "restore.get=kill", "restore.link=kill",
					      "restore.commit=kill", "mkdir.cache=kill" };

	(void)state;
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		struct rig *rig = rig_new(RIG_DIR, "reserve=0");
		struct state_of before, after;
		struct node *dir;
		char path[600];

		rig_open(rig);
		rig_capture(rig, "cam/h/a", 5);
		rig_path(rig, "cam/h", path, sizeof(path));
		assert_int_equal(chown(path, 12, 34), 0);
		assert_int_equal(chmod(path, 0710), 0);
		assert_int_equal(rig_archive(rig, "cam/h/a"), 0);
		before = rig_look(rig, "cam/h/a");
		dir = rig_dir(rig, "cam/h");
		released(rig, "cam/h/a");
		assert_int_equal(release_dir(rig->t, dir), 0);
		node_put(rig->t->tree, dir);
		rig_killed(rig, points[i], restore_to_kill);
		after = rig_look(rig, "cam/h");
		assert_int_equal(after.shown.st_mode, S_IFDIR | 0710);
		assert_int_equal(after.shown.st_uid, 12);
		assert_int_equal(after.shown.st_gid, 34);
		rig_assert_capture(rig, "cam/h/a", 5);
		rig_check(rig);
		assert_int_equal(restore(rig, "cam/h/a"), 0);
		after = rig_look(rig, "cam/h/a");
		assert_true(after.has_cache);
		assert_int_equal(after.shown.st_ino, before.shown.st_ino);
		assert_int_equal(ts_to_ns(after.shown.st_mtim), ts_to_ns(before.shown.st_mtim));
		rig_assert_capture(rig, "cam/h/a", 5);
		rig_check(rig);
		rig_free(rig);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(comes_back_the_same),
		TEST(into_a_released_directory),
		TEST(empty_file),
		TEST(large_file),
		TEST(store_fails),
		TEST(no_room),
		TEST(nothing_to_restore),
		TEST(open_for_writing),
		TEST(truncation_that_fails),
		TEST(into_a_directory_just_released),
		cmocka_unit_test(killed_anywhere),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
