/* SPDX-License-Identifier: MIT */
/*
 * What is due is done, by itself or at once; what may not be is left; what cannot be is
 * told; and status says what is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"
#include "tier/reaper_int.h"

/* Opened, not started: nothing happens by itself before rig_start. */
static struct rig *new_rig(const char *opts)
{
	struct rig *rig = rig_new(RIG_MEM, "reserve=0,high=100,low=99");

	assert_int_equal(conf_set_many(&rig->conf, opts, rig->err, sizeof(rig->err)), 0);
	rig_open(rig);
	return rig;
}

static void touch(struct rig *rig, const char *path)
{
	struct node *dir = rig_dir(rig, path);

	reaper_touch(rig->t, dir);
	node_put(rig->t->tree, dir);
}

static struct reaper_status status(struct rig *rig)
{
	struct reaper_status st;

	assert_int_equal(reaper_status(rig->t, &st), 0);
	return st;
}

static size_t known_directories(struct rig *rig)
{
	struct reaper *r = rig->t->reaper;
	size_t n;

	lock_take(&r->lock);
	n = r->n_heap;
	lock_drop(&r->lock);
	return n;
}

/* ---- commands -------------------------------------------------------------------- */

struct report {
	char text[4096]; /* "path: reason\n" each */
	struct reap_progress last;
	int calls;
	int stop_at; /* progress() call that says stop */
};

static int on_progress(void *arg, const struct reap_progress *p)
{
	struct report *rep = arg;

	rep->last = *p;
	return ++rep->calls == rep->stop_at;
}

static void on_failed(void *arg, const char *path, const char *reason)
{
	struct report *rep = arg;
	size_t n = strlen(rep->text);

	snprintf(rep->text + n, sizeof(rep->text) - n, "%s: %s\n", path, reason);
}

static int run_paths(struct rig *rig, enum reap_what what, const char *const *paths, size_t n,
		     bool dry_run, struct report *rep)
{
	struct reap_request req = {
		.what = what,
		.paths = paths,
		.npaths = n,
		.dry_run = dry_run,
		.progress = on_progress,
		.failed = on_failed,
		.arg = rep,
	};

	return reaper_run(rig->t, &req);
}

static int run(struct rig *rig, enum reap_what what, const char *path, struct report *rep)
{
	*rep = (struct report){ 0 };
	return run_paths(rig, what, &path, path ? 1 : 0, false, rep);
}

/* ---- by itself --------------------------------------------------------------------- */

static void by_age(void **state)
{
	struct rig *rig = new_rig("archive_after=1s,release_after=3s");
	struct reaper_status st;

	(void)state;
	rig_start(rig);
	rig_capture(rig, "cam/h/a", 1);
	rig_capture(rig, "cam/h/b", 2);
	touch(rig, "cam/h");
	st = status(rig);
	assert_int_equal(st.local_files, 2);
	assert_int_equal(st.archived_files, 0);
	assert_true(st.oldest_unarchived_ms > 0);
	rig_until(rig_state(rig, "cam/h/a") == STATE_ARCHIVED);
	rig_until(status(rig).archived_files == 2);
	st = status(rig);
	assert_int_equal(st.local_files, 0);
	assert_int_equal(st.oldest_unarchived_ms, 0);
	assert_int_equal(st.archived_total, 2);
	assert_true(st.archive_files_per_s > 0);
	/* released, and the directories with them */
	rig_until(!rig_is_local(rig, "cam"));
	st = status(rig);
	assert_int_equal(st.archived_files, 0);
	assert_int_equal(st.released_total, 2);
	assert_int_equal(st.failed_total, 0);
	rig_assert_capture(rig, "cam/h/a", 1);
	rig_assert_capture(rig, "cam/h/b", 2);
	rig_check(rig);
	rig_free(rig);
}

static void adopted_at_start(void **state)
{
	struct rig *rig = new_rig("archive_after=1s,release_after=24h");
	char path[600], target[600];

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "cam%u/2017/12/%u", i % 3, i);
		rig_capture(rig, path, i);
	}
	rig_path(rig, "outside", target, sizeof(target));
	rig_path(rig, "cam0/link", path, sizeof(path));
	assert_int_equal(symlink("/etc", path), 0);
	rig_start(rig);
	rig_until(status(rig).archived_files == 30);
	assert_false(status(rig).scanning);
	assert_int_equal(status(rig).other_files, 1);
	assert_int_equal(status(rig).local_files, 0);
	rig_check(rig);
	/* and again after a restart, from what the cache and the catalogue say */
	rig_close(rig);
	rig_open(rig);
	rig_start(rig);
	rig_until(!status(rig).scanning);
	assert_int_equal(status(rig).archived_files, 30);
	assert_int_equal(status(rig).archived_total, 0);
	rig_free(rig);
}

static void rules_and_temporary_names(void **state)
{
	struct rig *rig = new_rig("archive_after=1s,release_after=0");
	char path[600], other[600];

	(void)state;
	rig_free(rig);
	rig = rig_new(RIG_MEM, "archive_after=1s,release_after=0,rule=*.log never-archive,"
			       "rule=*.keep never-release,high=100,low=99");
	rig_open(rig);
	rig_capture(rig, "d/x.log", 1);
	rig_capture(rig, "d/x.keep", 2);
	rig_capture(rig, "d/.in.x.jpg.", 3);
	rig_capture(rig, "d/x_0.jpg", 4);
	rig_start(rig);
	rig_until(rig_state(rig, "d/x_0.jpg") == STATE_RELEASED);
	rig_until(rig_state(rig, "d/x.keep") == STATE_ARCHIVED);
	assert_int_equal(status(rig).local_files, 2);
	assert_int_equal(status(rig).oldest_unarchived_ms, 0); /* nothing waits */
	rig_path(rig, "d/.in.x.jpg.", path, sizeof(path));
	rig_path(rig, "d/x.jpg", other, sizeof(other));
	assert_int_equal(rename(path, other), 0);
	touch(rig, "d");
	rig_until(rig_state(rig, "d/x.jpg") == STATE_RELEASED);
	assert_int_equal(rig_state(rig, "d/x.log"), STATE_LOCAL);
	assert_int_equal(rig_state(rig, "d/x.keep"), STATE_ARCHIVED);
	rig_free(rig);
}

/* "HH:MM-HH:MM" of an hour that is not now. */
static void other_hour(char *ret, size_t size)
{
	time_t t = ns_to_ts(clock_real_ns()).tv_sec + 6 * 3600;
	struct tm tm;

	localtime_r(&t, &tm);
	snprintf(ret, size, "%02d:00-%02d:59", tm.tm_hour, tm.tm_hour);
}

static void outside_the_windows(void **state)
{
	struct rig *rig;
	struct report rep;
	char hour[32], opts[200];

	(void)state;
	other_hour(hour, sizeof(hour));
	snprintf(opts, sizeof(opts), "archive_after=1s,release_after=0,archive_windows=%s", hour);
	rig = new_rig(opts);
	rig_capture(rig, "d/a", 1);
	rig_start(rig);
	rig_until(!status(rig).scanning);
	rig_settle(rig, "d/a");
	/* commands act at any time */
	assert_int_equal(run(rig, REAP_ARCHIVE, "d/a", &rep), 0);
	assert_int_equal(status(rig).archived_total, 1);
	rig_until(rig_state(rig, "d/a") == STATE_RELEASED);
	rig_free(rig);
}

static void store_down_then_up(void **state)
{
	struct rig *rig = new_rig("archive_after=1s,release_after=24h,store_timeout=1s");
	char path[64];

	(void)state;
	rig_faults(rig, "put down now key cam*");
	for (unsigned i = 0; i < 12; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_capture(rig, path, i);
	}
	rig_start(rig);
	rig_until(status(rig).failed_total > 0);
	assert_int_equal(status(rig).archived_total, 0);
	rig_faults(rig, "");
	rig_until(status(rig).archived_files == 12);
	rig_until(rig_intents(rig) == 0);
	rig_check(rig);
	rig_free(rig);
}

static void under_pressure(void **state)
{
	/* whatever the disk holds is too much */
	struct rig *rig = rig_new(RIG_MEM, "archive_after=1h,release_after=24h,high=1,low=0");

	(void)state;
	rig_open(rig);
	rig_capture(rig, "cam1/a", 1);
	rig_capture(rig, "cam2/a", 2);
	rig_capture(rig, "cam2/x.tmp", 3);
	rig_start(rig);
	rig_until(rig_state(rig, "cam1/a") == STATE_RELEASED);
	rig_until(rig_state(rig, "cam2/a") == STATE_RELEASED);
	assert_true(rig_is_local(rig, "cam2/x.tmp"));
	rig_assert_capture(rig, "cam1/a", 1);
	rig_check(rig);
	rig_free(rig);
}

/* ---- at once ------------------------------------------------------------------------- */

static void command_archive(void **state)
{
	struct rig *rig = new_rig("archive_after=1h");
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

	assert_int_equal(run_paths(rig, REAP_ARCHIVE, paths, 7, false, &rep), -EIO);
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
	assert_int_equal(run(rig, REAP_ARCHIVE, NULL, &rep), 0);
	assert_int_equal(rep.last.files_done, 1);
	assert_int_equal(rep.last.files_skipped, 3);
	assert_int_equal(rig_state(rig, "d/open"), STATE_ARCHIVED);
	assert_int_equal(run(rig, REAP_ARCHIVE, "d/a", &rep), 0);
	rig_check(rig);
	rig_free(rig);
}

static void command_release_and_restore(void **state)
{
	struct rig *rig = new_rig("archive_after=1h");
	struct report rep;

	(void)state;
	rig_start(rig);
	rig_capture(rig, "cam/h/a", 1);
	rig_capture(rig, "cam/h/b", 2);
	rig_capture(rig, "cam/i/c", 3);
	assert_int_equal(run(rig, REAP_ARCHIVE, "cam/h", &rep), 0);
	assert_int_equal(rep.last.files_done, 2);
	assert_int_equal(run(rig, REAP_RELEASE, "cam", &rep), -EIO);
	assert_string_equal(rep.text, "cam/i/c: it is not archived\n");
	assert_int_equal(rep.last.files_done, 2);
	assert_int_equal(rig_state(rig, "cam/h/a"), STATE_RELEASED);
	assert_false(rig_is_local(rig, "cam/h"));
	assert_true(rig_is_local(rig, "cam/i/c"));
	assert_int_equal(run(rig, REAP_RELEASE, "cam/h/a", &rep), 0);

	assert_int_equal(run(rig, REAP_RESTORE, "cam/h/a", &rep), 0);
	assert_int_equal(rig_state(rig, "cam/h/a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "cam/h/b"), STATE_RELEASED);
	assert_int_equal(run(rig, REAP_RESTORE, "", &rep), 0);
	assert_int_equal(rep.last.files_done, 1);
	assert_int_equal(rig_state(rig, "cam/h/b"), STATE_ARCHIVED);
	assert_int_equal(status(rig).restored_total, 2);
	assert_int_equal(run(rig, REAP_RESTORE, "cam/none", &rep), -EIO);
	rig_assert_capture(rig, "cam/h/b", 2);
	rig_check(rig);
	rig_free(rig);
}

static void command_drain(void **state)
{
	struct rig *rig = new_rig("archive_after=1h,release_after=24h");
	struct report rep = { 0 };
	char path[64];

	(void)state;
	rig_start(rig);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "cam%u/%u/%u", i % 10, i % 30, i);
		rig_capture(rig, path, i);
	}
	rig_capture(rig, "cam1/x.part", 1);
	touch(rig, "cam1");
	assert_int_equal(run_paths(rig, REAP_DRAIN, NULL, 0, true, &rep), 0);
	assert_int_equal(rep.last.files_done, 300);
	assert_int_equal(rig_objects(rig), 0);
	assert_int_equal(run(rig, REAP_DRAIN, NULL, &rep), 0);
	assert_int_equal(rep.last.files_done, 300);
	assert_int_equal(rep.last.files_skipped, 1);
	assert_true(rig_is_local(rig, "cam1/x.part"));
	assert_false(rig_is_local(rig, "cam0"));
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "cam%u/%u/%u", i % 10, i % 30, i);
		rig_assert_capture(rig, path, i);
	}
	assert_int_equal(status(rig).local_files, 1);
	assert_int_equal(run(rig, REAP_DRAIN, NULL, &rep), 0);
	assert_int_equal(rep.last.files_done, 0);
	rig_check(rig);
	rig_free(rig);
}

static void drain_with_the_sink_down(void **state)
{
	struct rig *rig =
		rig_new(RIG_MEM, "es=http://127.0.0.1:1/index,es_timeout=1s,high=100,low=99");
	struct report rep;

	(void)state;
	rig_open(rig);
	rig_start(rig);
	rig_capture(rig, "d/a", 1);
	assert_int_equal(run(rig, REAP_DRAIN, NULL, &rep), -EIO);
	assert_non_null(strstr(rep.text, "d/a: "));
	assert_non_null(strstr(rep.text, "a sink was not told"));
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	rig_free(rig);
}

static void command_is_stopped(void **state)
{
	struct rig *rig = new_rig("archive_after=1h");
	struct report rep = { .stop_at = 1 };
	char path[64];

	(void)state;
	rig_start(rig);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_capture(rig, path, i);
	}
	assert_int_equal(run_paths(rig, REAP_ARCHIVE, NULL, 0, false, &rep), -ECANCELED);
	rig_check(rig);
	rig_free(rig);
}

static void store_fails_some(void **state)
{
	struct rig *rig = new_rig("archive_after=1h");
	struct report rep;

	(void)state;
	rig_start(rig);
	rig_capture(rig, "d/a", 1);
	rig_capture(rig, "d/b", 2);
	rig_faults(rig, "put error EIO key d/b");
	assert_int_equal(run(rig, REAP_DRAIN, NULL, &rep), -EIO);
	assert_string_equal(rep.text, "d/b: Input/output error\n");
	assert_int_equal(rep.last.files_done, 1);
	assert_int_equal(rep.last.files_failed, 1);
	assert_int_equal(rig_state(rig, "d/a"), STATE_RELEASED);
	rig_faults(rig, "get error EIO key d/a");
	assert_int_equal(run(rig, REAP_RESTORE, NULL, &rep), -EIO);
	assert_string_equal(rep.text, "d/a: its bytes could not be read from the store\n");
	rig_faults(rig, "");
	rig_check(rig);
	rig_free(rig);
}

/* ---- what is known ------------------------------------------------------------------- */

struct found {
	int n;
	char last[256];
};

static void on_found(void *arg, const char *path)
{
	struct found *f = arg;

	f->n++;
	snprintf(f->last, sizeof(f->last), "%s", path);
}

static void locate(void **state)
{
	struct rig *rig = new_rig("archive_after=1h");
	struct found f = { 0 };
	struct report rep;

	(void)state;
	rig_start(rig);
	rig_capture(rig, "cam1/h/same", 1);
	rig_capture(rig, "cam2/h/same", 2);
	rig_capture(rig, "cam2/h/other", 3);
	touch(rig, "cam1/h");
	touch(rig, "cam2/h");
	assert_int_equal(reaper_find_local(rig->t, "same", on_found, &f), 0);
	assert_int_equal(f.n, 2);
	assert_int_equal(run(rig, REAP_ARCHIVE, "cam2", &rep), 0);
	f.n = 0;
	assert_int_equal(reaper_find_local(rig->t, "same", on_found, &f), 0);
	assert_int_equal(f.n, 1);
	assert_string_equal(f.last, "cam1/h/same");
	f.n = 0;
	assert_int_equal(reaper_find_local(rig->t, "h", on_found, &f), 0);
	assert_int_equal(reaper_find_local(rig->t, "none", on_found, &f), 0);
	assert_int_equal(f.n, 0);
	rig_free(rig);
}

static void status_is_true_now(void **state)
{
	struct rig *rig = new_rig("archive_after=1h");
	struct reaper_status st;
	struct report rep;
	char path[600];

	(void)state;
	rig_start(rig);
	rig_until(!status(rig).scanning);
	rig_write(rig, "d/a", "12345", 5);
	touch(rig, "d");
	assert_int_equal(status(rig).local_bytes, 5);
	rig_write(rig, "d/a", "1234567", 7);
	touch(rig, "d");
	assert_int_equal(status(rig).local_bytes, 7);
	assert_int_equal(run(rig, REAP_ARCHIVE, NULL, &rep), 0);
	st = status(rig);
	assert_int_equal(st.local_files, 0);
	assert_int_equal(st.archived_files, 1);
	assert_int_equal(st.archived_bytes, 7);
	/* changed unseen: local again */
	rig_write(rig, "d/a", "123", 3);
	touch(rig, "d");
	st = status(rig);
	assert_int_equal(st.local_files, 1);
	assert_int_equal(st.local_bytes, 3);
	rig_path(rig, "d/l", path, sizeof(path));
	assert_int_equal(symlink("a", path), 0);
	rig_unlink(rig, "d/a");
	touch(rig, "d");
	st = status(rig);
	assert_int_equal(st.local_files, 0);
	assert_int_equal(st.other_files, 1);
	rig_free(rig);
}

#define TOUCH_DIRS 500
#define TOUCH_ROUNDS 40

static void *touch_all(void *arg)
{
	struct rig *rig = arg;

	for (int k = 0; k < TOUCH_ROUNDS; k++) {
		for (int i = 0; i < TOUCH_DIRS; i++) {
			char path[32];

			snprintf(path, sizeof(path), "c%d", i);
			touch(rig, path);
		}
	}
	return NULL;
}

/* Directories that are touched, looked at, forgotten and removed at the same time. */
static void many_touch(void **state)
{
	struct rig *rig = new_rig("archive_after=1s,release_after=0");
	struct reaper_status st;
	pthread_t thread[3];
	char path[64];

	(void)state;
	rig_start(rig);
	for (unsigned i = 0; i < TOUCH_DIRS; i += 5) {
		snprintf(path, sizeof(path), "c%u/f", i);
		rig_capture(rig, path, i);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, touch_all, rig), 0);
	for (int i = 0; i < 20; i++)
		st = status(rig);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	rig_until((st = status(rig), st.released_total == TOUCH_DIRS / 5));
	rig_until(known_directories(rig) == 0);
	assert_int_equal(st.local_files + st.archived_files, 0);
	rig_check(rig);
	rig_free(rig);
}

static void stopped_in_between(void **state)
{
	struct rig *rig = new_rig("archive_after=1s,release_after=0,archive_jobs=2");
	char path[64];

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_capture(rig, path, i);
	}
	rig_settle(rig, path);
	for (int k = 0; k < 3; k++) {
		rig_start(rig);
		rig_until(status(rig).archived_total + status(rig).released_total > 0);
		rig_close(rig);
		rig_open(rig);
	}
	assert_int_equal(archive_recover(rig->t), 0);
	rig_check(rig);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_assert_capture(rig, path, i);
	}
	rig_free(rig);
}

/* ---- kills ------------------------------------------------------------------------------ */

static void reap_to_kill(struct rig *rig)
{
	rig_start(rig);
	rig_until(false);
}

static void killed_at_work(void **state)
{
	static const char *const points[] = {
		"archive.put=kill@20",	"archive.commit=kill@3", "release.unlink=kill@10",
		"release.dir=kill@2",	"journal.put=kill@2",	 "commit.after=kill@9",
		"archive.claim=kill@4",
	};
	struct rig *rig = rig_new(RIG_DIR, "archive_after=1s,release_after=0,high=100,low=99");
	char path[64];

	(void)state;
	rig_open(rig);
	for (size_t k = 0; k < sizeof(points) / sizeof(points[0]); k++) {
		for (unsigned i = 0; i < 40; i++) {
			snprintf(path, sizeof(path), "cam%u/%zu-%u", i % 8, k, i);
			rig_capture(rig, path, i);
		}
		rig_killed(rig, points[k], reap_to_kill);
		assert_int_equal(archive_recover(rig->t), 0);
		rig_check(rig);
	}
	rig_start(rig);
	rig_until(!status(rig).scanning);
	rig_until((status(rig).local_files + status(rig).archived_files) == 0);
	for (size_t k = 0; k < sizeof(points) / sizeof(points[0]); k++) {
		for (unsigned i = 0; i < 40; i++) {
			snprintf(path, sizeof(path), "cam%u/%zu-%u", i % 8, k, i);
			rig_assert_capture(rig, path, i);
			assert_int_equal(rig_state(rig, path), STATE_RELEASED);
		}
	}
	rig_check(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_age),
		cmocka_unit_test(adopted_at_start),
		cmocka_unit_test(rules_and_temporary_names),
		cmocka_unit_test(outside_the_windows),
		cmocka_unit_test(store_down_then_up),
		cmocka_unit_test(under_pressure),
		cmocka_unit_test(command_archive),
		cmocka_unit_test(command_release_and_restore),
		cmocka_unit_test(command_drain),
		cmocka_unit_test(drain_with_the_sink_down),
		cmocka_unit_test(command_is_stopped),
		cmocka_unit_test(store_fails_some),
		cmocka_unit_test(locate),
		cmocka_unit_test(status_is_true_now),
		cmocka_unit_test(many_touch),
		cmocka_unit_test(stopped_in_between),
		cmocka_unit_test(killed_at_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
