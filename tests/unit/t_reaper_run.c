/* SPDX-License-Identifier: MIT */
/*
 * Commands do at once what the reaper does in time; each file that cannot be is told,
 * with its reason, and what may not be is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"

static void command_archive(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h");
	struct report rep = { 0 };
	const char *paths[] = { "d/a", "d/.in.b.", "d/none", "/d/link", "../x", "e/", "d/open" };
	struct node *dir, *node;
	char path[600];

	(void)state;
	rig_start(rig);
	rig_capture(rig, "d/a", 1);
	rig_capture(rig, "d/.in.b.", 2);
	rig_capture(rig, "d/open", 3);
	rig_capture(rig, "e/f/g/c", 4);
	rig_capture(rig, "e/b", 5);
	rig_capture(rig, "e/x.tmp", 6);
	rig_path(rig, "d/link", path, sizeof(path));
	assert_int_equal(symlink("a", path), 0);
	dir = rig_dir(rig, "d");
	assert_int_equal(node_get(rig->t->tree, dir, "open", false, &node), 0);
	node_open_begin(rig->t->tree, node, true, true);

	assert_int_equal(rig_run_paths(rig, REAP_ARCHIVE, paths, 7, false, &rep), -EIO);
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "e/f/g/c"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "e/b"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "d/open"), STATE_LOCAL);
	assert_int_equal(rep.last.files_done, 3);
	assert_int_equal(rep.last.files_failed, 5);
	assert_int_equal(rep.last.files_skipped, 1);
	assert_non_null(strstr(rep.text, "d/.in.b.: its name says that it is not complete\n"));
	assert_non_null(strstr(rep.text, "d/none: No such file or directory\n"));
	assert_non_null(strstr(rep.text, "d/link: it is not a file\n"));
	assert_non_null(strstr(rep.text, "../x: Invalid argument\n"));
	assert_non_null(strstr(rep.text, "d/open: it is being written\n"));
	node_open_end(rig->t->tree, node, true);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);

	/* everything: what is left, and nothing failed */
	assert_int_equal(rig_command(rig, REAP_ARCHIVE, NULL, &rep), 0);
	assert_int_equal(rep.last.files_done, 1);
	assert_int_equal(rep.last.files_skipped, 3);
	assert_int_equal(rig_state(rig, "d/open"), STATE_ARCHIVED);
	assert_int_equal(rig_command(rig, REAP_ARCHIVE, "d/a", &rep), 0);
	rig_check(rig);
	rig_free(rig);
}

static void command_release_and_restore(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h");
	struct report rep;

	(void)state;
	rig_start(rig);
	rig_capture(rig, "cam/h/a", 1);
	rig_capture(rig, "cam/h/b", 2);
	rig_capture(rig, "cam/i/c", 3);
	assert_int_equal(rig_command(rig, REAP_ARCHIVE, "cam/h", &rep), 0);
	assert_int_equal(rep.last.files_done, 2);
	assert_int_equal(rig_command(rig, REAP_RELEASE, "cam", &rep), -EIO);
	assert_string_equal(rep.text, "cam/i/c: it is not archived\n");
	assert_int_equal(rep.last.files_done, 2);
	assert_int_equal(rig_state(rig, "cam/h/a"), STATE_RELEASED);
	assert_false(rig_is_local(rig, "cam/h"));
	assert_true(rig_is_local(rig, "cam/i/c"));
	assert_int_equal(rig_command(rig, REAP_RELEASE, "cam/h/a", &rep), 0);

	assert_int_equal(rig_command(rig, REAP_RESTORE, "cam/h/a", &rep), 0);
	assert_int_equal(rig_state(rig, "cam/h/a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "cam/h/b"), STATE_RELEASED);
	assert_int_equal(rig_command(rig, REAP_RESTORE, "", &rep), 0);
	assert_int_equal(rep.last.files_done, 1);
	assert_int_equal(rig_state(rig, "cam/h/b"), STATE_ARCHIVED);
	assert_int_equal(rig_status(rig).restored_total, 2);
	assert_int_equal(rig_command(rig, REAP_RESTORE, "cam/none", &rep), -EIO);
	rig_assert_capture(rig, "cam/h/b", 2);
	rig_check(rig);
	rig_free(rig);
}

static void command_drain(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h,release_after=24h");
	struct report rep = { 0 };
	char path[64];

	(void)state;
	rig_start(rig);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "cam%u/%u/%u", i % 10, i % 30, i);
		rig_capture(rig, path, i);
	}
	rig_capture(rig, "cam1/x.part", 1);
	rig_touch(rig, "cam1");
	assert_int_equal(rig_run_paths(rig, REAP_DRAIN, NULL, 0, true, &rep), 0);
	assert_int_equal(rep.last.files_done, 300);
	assert_int_equal(rig_objects(rig), 0);
	assert_int_equal(rig_command(rig, REAP_DRAIN, NULL, &rep), 0);
	assert_int_equal(rep.last.files_done, 300);
	assert_int_equal(rep.last.files_skipped, 1);
	assert_true(rig_is_local(rig, "cam1/x.part"));
	/* while one of those that empty it holds it, another cannot remove it: soon, then */
	rig_until(!rig_is_local(rig, "cam0"));
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "cam%u/%u/%u", i % 10, i % 30, i);
		rig_assert_capture(rig, path, i);
	}
	assert_int_equal(rig_status(rig).local_files, 1);
	assert_int_equal(rig_command(rig, REAP_DRAIN, NULL, &rep), 0);
	assert_int_equal(rep.last.files_done, 0);
	rig_check(rig);
	rig_free(rig);
}

static void drain_with_the_sink_down(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "es=http://127.0.0.1:1/index,es_timeout=1s");
	struct report rep;

	(void)state;
	rig_open(rig);
	rig_start(rig);
	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_command(rig, REAP_DRAIN, NULL, &rep), -EIO);
	assert_non_null(strstr(rep.text, "d/a: "));
	assert_non_null(strstr(rep.text, "a sink was not told"));
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	rig_free(rig);
}

static void command_is_stopped(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h");
	struct report rep = { .stop_at = 1 };
	char path[64];

	(void)state;
	rig_start(rig);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_capture(rig, path, i);
	}
	assert_int_equal(rig_run_paths(rig, REAP_ARCHIVE, NULL, 0, false, &rep), -ECANCELED);
	rig_check(rig);
	rig_free(rig);
}

static void store_fails_some(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h,pack_below=0");
	struct report rep;

	(void)state;
	rig_start(rig);
	rig_capture(rig, "d/a", 1);
	rig_capture(rig, "d/b", 2);
	rig_faults(rig, "put error EIO key d/b");
	assert_int_equal(rig_command(rig, REAP_DRAIN, NULL, &rep), -EIO);
	assert_string_equal(rep.text, "d/b: Input/output error\n");
	assert_int_equal(rep.last.files_done, 1);
	assert_int_equal(rep.last.files_failed, 1);
	assert_int_equal(rig_state(rig, "d/a"), STATE_RELEASED);
	rig_faults(rig, "get error EIO key d/a");
	assert_int_equal(rig_command(rig, REAP_RESTORE, NULL, &rep), -EIO);
	assert_string_equal(rep.text, "d/a: its bytes could not be read from the store\n");
	rig_faults(rig, "");
	rig_check(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_archive),    cmocka_unit_test(command_release_and_restore),
		cmocka_unit_test(command_drain),      cmocka_unit_test(drain_with_the_sink_down),
		cmocka_unit_test(command_is_stopped), cmocka_unit_test(store_fails_some),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
