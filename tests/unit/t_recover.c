/* SPDX-License-Identifier: MIT */
/*
 * Start-up with an intent left: what was acknowledged before the kill, and what was made
 * after the intent, are there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

static void released(struct rig *rig, const char *path)
{
	assert_int_equal(rig_archive(rig, path), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, path), 0);
}

static void rename_in(struct rig *rig, const char *from, const char *to)
{
	struct node *dir = rig_dir(rig, "d");

	assert_int_equal(ns_rename(rig->t, dir, from, dir, to, 0, true), 0);
	node_put(rig->t->tree, dir);
}

static void rename_write_again(struct rig *rig)
{
	rename_in(rig, "a", "b");
	rig_capture(rig, "d/a", 3);
	kill(getpid(), SIGKILL);
}

/* The row is all that the new name has: it must not go back to the old one. */
static void released_over_local(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	released(rig, "d/a");
	rig_capture(rig, "d/b", 2);
	rig_killed(rig, "", rename_write_again);
	assert_int_equal(rig_state(rig, "d/b"), STATE_RELEASED);
	rig_assert_capture(rig, "d/b", 1);
	assert_int_equal(rig_state(rig, "d/a"), STATE_LOCAL);
	rig_assert_capture(rig, "d/a", 3);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

/* An archived file keeps its row under the new name. */
static void archived_and_made_again(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	rig_killed(rig, "", rename_write_again);
	assert_true(rig_look(rig, "d/b").has_row);
	rig_assert_capture(rig, "d/b", 1);
	assert_false(rig_look(rig, "d/a").has_row);
	rig_assert_capture(rig, "d/a", 3);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

static void rename_dir_and_write(struct rig *rig)
{
	struct node *root = tree_root(rig->t->tree);

	ns_rename(rig->t, root, "d", root, "e", 0, true);
	rig_capture(rig, "e/new", 4);
	kill(getpid(), SIGKILL);
}

/* It cannot be finished any more, and nobody is kept from starting by that. */
static void over_a_directory_with_names(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	char path[600];

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	rig_capture(rig, "d/b", 2);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	released(rig, "d/b");
	rig_path(rig, "e", path, sizeof(path));
	assert_int_equal(mkdir(path, 0755), 0);
	rig_killed(rig, "rename.commit=error:EIO", rename_dir_and_write);
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "d/b"), STATE_RELEASED);
	rig_assert_capture(rig, "d/b", 2);
	rig_assert_capture(rig, "e/new", 4);
	assert_int_equal(rig_state(rig, "e/b"), STATE_NONE);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

static void rmdir_to_kill(struct rig *rig)
{
	struct node *root = tree_root(rig->t->tree);

	ns_rmdir(rig->t, root, "d", true);
}

static void empty_with_row(struct rig *rig)
{
	struct node *dir;

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	dir = rig_dir(rig, "d");
	assert_int_equal(ns_unlink(rig->t, dir, "a", true), 0);
	node_put(rig->t->tree, dir);
}

static void removed_directory(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "");

	(void)state;
	rig_open(rig);
	empty_with_row(rig);
	rig_killed(rig, "rmdir.commit=kill", rmdir_to_kill);
	assert_int_equal(rig_state(rig, "d"), STATE_NONE);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

/* The number of one that was removed is soon another's. */
static void rmdir_make_again(struct rig *rig)
{
	const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	char path[600];

	rmdir_to_kill(rig);
	rig_path(rig, "d", path, sizeof(path));
	utimensat(AT_FDCWD, path, times, 0);
	kill(getpid(), SIGKILL);
}

static void directory_made_again(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "");

	(void)state;
	rig_open(rig);
	empty_with_row(rig);
	rig_killed(rig, "rmdir.commit=error:EIO", rmdir_make_again);
	assert_int_equal(rig_state(rig, "d"), STATE_LOCAL);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(released_over_local),
		cmocka_unit_test(archived_and_made_again),
		cmocka_unit_test(over_a_directory_with_names),
		cmocka_unit_test(removed_directory),
		cmocka_unit_test(directory_made_again),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
