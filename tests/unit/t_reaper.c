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
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"
#include "tier/reaper_int.h"

static size_t known_directories(struct rig *rig)
{
	struct reaper *r = rig->t->reaper;
	size_t n;

	lock_take(&r->lock);
	n = r->n_heap;
	lock_drop(&r->lock);
	return n;
}

/* ---- by itself --------------------------------------------------------------------- */

static void by_age(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h");
	struct reaper_status st;

	(void)state;
	rig_start(rig);
	rig_until(!rig_status(rig).scanning); /* status leaves out what that has not come to */
	rig_capture(rig, "cam/h/a", 1);
	rig_capture(rig, "cam/h/b", 2);
	rig_touch(rig, "cam/h");
	st = rig_status(rig);
	assert_int_equal(st.local_files + st.archived_files, 2);
	assert_true(st.archived_files > 0 || st.oldest_unarchived_ms > 0);
	/* the totals follow when the batch is done: rows are seen before */
	rig_until(rig_status(rig).archived_total == 2);
	assert_int_equal(rig_state(rig, "cam/h/a"), STATE_ARCHIVED);
	st = rig_status(rig);
	assert_int_equal(st.local_files, 0);
	assert_int_equal(st.archived_files, 2);
	assert_int_equal(st.oldest_unarchived_ms, 0);
	assert_true(st.archive_files_per_s > 0);
	assert_int_equal(st.failed_total, 0);
	rig_close(rig);

	assert_int_equal(conf_set(&rig->conf, "release_after", "1s", rig->err, sizeof(rig->err)),
			 0);
	rig_open(rig);
	rig_start(rig);
	/* released, and the directories with them */
	rig_until(!rig_is_local(rig, "cam"));
	rig_until(rig_status(rig).released_total == 2);
	st = rig_status(rig);
	assert_int_equal(st.archived_files, 0);
	assert_int_equal(st.failed_total, 0);
	rig_assert_capture(rig, "cam/h/a", 1);
	rig_assert_capture(rig, "cam/h/b", 2);
	rig_check(rig);
	rig_free(rig);
}

static void adopted_at_start(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h");
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
	rig_until(rig_status(rig).archived_files == 30);
	rig_until(!rig_status(rig).scanning);
	assert_int_equal(rig_status(rig).other_files, 1);
	assert_int_equal(rig_status(rig).local_files, 0);
	rig_check(rig);
	/* and again after a restart, from what the cache and the catalogue say */
	rig_close(rig);
	rig_open(rig);
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	assert_int_equal(rig_status(rig).archived_files, 30);
	assert_int_equal(rig_status(rig).archived_total, 0);
	rig_free(rig);
}

/* What was counted without anybody asking for status, which looks for itself. */
static struct dir_counts counted(struct rig *rig)
{
	struct reaper *r = rig->t->reaper;
	struct dir_counts sum = { 0 };

	lock_take(&r->lock);
	for (size_t i = 0; i < r->n_heap; i++) {
		sum.local_files += r->heap[i]->counts.local_files;
		sum.archived_files += r->heap[i]->counts.archived_files;
		sum.other_files += r->heap[i]->counts.other_files;
	}
	lock_drop(&r->lock);
	return sum;
}

/* Status is right when the scan is over, though nothing of a large tree has had its turn. */
static void counted_by_the_scan(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=0");
	char path[64], link[600];

	(void)state;
	rig_capture(rig, "cam0/archived", 1);
	assert_int_equal(rig_archive(rig, "cam0/archived"), 0);
	for (unsigned i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "cam%u/2017/12/%u", i % 3, i);
		rig_capture(rig, path, i);
	}
	rig_settle(rig, path);
	rig_path(rig, "cam1/link", link, sizeof(link));
	assert_int_equal(symlink("a", link), 0);
	/* nobody decides that something is due */
	atomic_store(&rig->t->reaper->scanning, true);
	rig->t->reaper->scan_job.run(&rig->t->reaper->scan_job);
	assert_false(atomic_load(&rig->t->reaper->scanning));
	assert_int_equal(counted(rig).local_files, 30);
	assert_int_equal(counted(rig).archived_files, 1);
	assert_int_equal(counted(rig).other_files, 1);
	/* and then they have it */
	rig_start(rig);
	for (unsigned i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "cam%u/2017/12/%u", i % 3, i);
		rig_until(rig_state(rig, path) == STATE_RELEASED);
	}
	rig_until(rig_state(rig, "cam0/archived") == STATE_RELEASED);
	rig_check(rig);
	rig_free(rig);
}

/* In a mount namespace of our own: whatever becomes of us, nothing stays mounted. */
static void mount_points_are_not_crossed(void **state)
{
	struct rig *rig;
	char path[600];

	(void)state;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		skip();
	rig = rig_idle("archive_after=1s,release_after=24h");
	rig_capture(rig, "cam/a", 1);
	rig_path(rig, "cam/other", path, sizeof(path));
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(mount("none", path, "tmpfs", 0, NULL), 0);
	rig_capture(rig, "cam/other/b", 2);
	rig_start(rig);
	rig_until(rig_state(rig, "cam/a") == STATE_ARCHIVED);
	rig_until(!rig_status(rig).scanning);
	assert_int_equal(rig_status(rig).local_files, 0);
	assert_int_equal(rig_state(rig, "cam/other/b"), STATE_LOCAL);
	rig_close(rig);
	assert_int_equal(umount(path), 0);
	rig_free(rig);
}

static void rules_and_temporary_names(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=0");
	char path[600], other[600];

	(void)state;
	rig_free(rig);
	rig = rig_new(RIG_MEM, "archive_after=1s,release_after=0,rule=*.log never-archive,"
			       "rule=*.keep never-release");
	rig_open(rig);
	rig_capture(rig, "d/x.log", 1);
	rig_capture(rig, "d/x.keep", 2);
	rig_capture(rig, "d/.in.x.jpg.", 3);
	rig_capture(rig, "d/x_0.jpg", 4);
	rig_start(rig);
	rig_until(rig_state(rig, "d/x_0.jpg") == STATE_RELEASED);
	rig_until(rig_state(rig, "d/x.keep") == STATE_ARCHIVED);
	assert_int_equal(rig_status(rig).local_files, 2);
	assert_int_equal(rig_status(rig).oldest_unarchived_ms, 0); /* nothing waits */
	rig_path(rig, "d/.in.x.jpg.", path, sizeof(path));
	rig_path(rig, "d/x.jpg", other, sizeof(other));
	assert_int_equal(rename(path, other), 0);
	rig_touch(rig, "d");
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
	rig = rig_idle(opts);
	rig_capture(rig, "d/a", 1);
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	rig_settle(rig, "d/a");
	/* commands act at any time */
	assert_int_equal(rig_command(rig, REAP_ARCHIVE, "d/a", &rep), 0);
	assert_int_equal(rig_status(rig).archived_total, 1);
	rig_until(rig_state(rig, "d/a") == STATE_RELEASED);
	rig_free(rig);
}

static void store_down_then_up(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h,store_timeout=1s");
	char path[64];

	(void)state;
	rig_faults(rig, "put down now key cam*");
	for (unsigned i = 0; i < 12; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_capture(rig, path, i);
	}
	rig_start(rig);
	rig_until(rig_status(rig).failed_total > 0);
	assert_int_equal(rig_status(rig).archived_total, 0);
	rig_faults(rig, "");
	rig_until(rig_status(rig).archived_files == 12);
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
	struct rig *rig = rig_idle("archive_after=1h");
	struct found f = { 0 };
	struct report rep;

	(void)state;
	rig_start(rig);
	rig_capture(rig, "cam1/h/same", 1);
	rig_capture(rig, "cam2/h/same", 2);
	rig_capture(rig, "cam2/h/other", 3);
	rig_touch(rig, "cam1/h");
	rig_touch(rig, "cam2/h");
	assert_int_equal(reaper_find_local(rig->t, "same", on_found, &f), 0);
	assert_int_equal(f.n, 2);
	assert_int_equal(rig_command(rig, REAP_ARCHIVE, "cam2", &rep), 0);
	f.n = 0;
	assert_int_equal(reaper_find_local(rig->t, "same", on_found, &f), 0);
	assert_int_equal(f.n, 1);
	assert_string_equal(f.last, "cam1/h/same");
	/* where all had a row a new one is found, too */
	rig_capture(rig, "cam2/h/new", 4);
	rig_touch(rig, "cam2/h");
	f.n = 0;
	assert_int_equal(reaper_find_local(rig->t, "new", on_found, &f), 0);
	assert_int_equal(f.n, 1);
	f.n = 0;
	assert_int_equal(reaper_find_local(rig->t, "h", on_found, &f), 0);
	assert_int_equal(reaper_find_local(rig->t, "none", on_found, &f), 0);
	assert_int_equal(f.n, 0);
	rig_free(rig);
}

static void status_is_true_now(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h");
	struct reaper_status st;
	struct report rep;
	char path[600];

	(void)state;
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	rig_write(rig, "d/a", "12345", 5);
	rig_touch(rig, "d");
	assert_int_equal(rig_status(rig).local_bytes, 5);
	rig_write(rig, "d/a", "1234567", 7);
	rig_touch(rig, "d");
	assert_int_equal(rig_status(rig).local_bytes, 7);
	assert_int_equal(rig_command(rig, REAP_ARCHIVE, NULL, &rep), 0);
	st = rig_status(rig);
	assert_int_equal(st.local_files, 0);
	assert_int_equal(st.archived_files, 1);
	assert_int_equal(st.archived_bytes, 7);
	/* changed unseen: local again */
	rig_write(rig, "d/a", "123", 3);
	rig_touch(rig, "d");
	st = rig_status(rig);
	assert_int_equal(st.local_files, 1);
	assert_int_equal(st.local_bytes, 3);
	rig_path(rig, "d/l", path, sizeof(path));
	assert_int_equal(symlink("a", path), 0);
	rig_unlink(rig, "d/a");
	rig_touch(rig, "d");
	st = rig_status(rig);
	assert_int_equal(st.local_files, 0);
	assert_int_equal(st.other_files, 1);
	rig_free(rig);
}

/* A file comes into an empty directory just then, and its touch is taken in before the end. */
static void touched_while_looked_at(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=24h");
	struct reaper *r = rig->t->reaper;
	struct node *dir;
	struct look l = { .r = r };
	struct reap_dir *e;

	(void)state;
	rig_capture(rig, "d/other", 1);
	rig_unlink(rig, "d/other");
	l.dir = dir = rig_dir(rig, "d");
	e = table_own(r, dir, true);
	table_clear_changed(r, e);
	assert_int_equal(look_dir(&l), 0);
	rig_capture(rig, "d/a", 2);
	rig_touch(rig, "d");
	lock_take(&r->lock);
	table_adopt_locked(r);
	lock_drop(&r->lock);
	table_disown(r, e, &l, 0);
	node_put(rig->t->tree, dir);
	assert_int_equal(known_directories(rig), 1);
	assert_int_equal(rig_status(rig).local_files, 1);
	rig_start(rig);
	rig_until(rig_state(rig, "d/a") == STATE_ARCHIVED);
	rig_free(rig);
}

#define STATUS_ROUNDS 300

struct asker {
	struct rig *rig;
	pthread_barrier_t *barrier;
	unsigned n_wrong;
};

static void *ask(void *arg)
{
	struct asker *a = arg;

	for (unsigned i = 1; i <= STATUS_ROUNDS; i++) {
		pthread_barrier_wait(a->barrier); /* a file was made */
		a->n_wrong += rig_status(a->rig).local_files != i;
		pthread_barrier_wait(a->barrier);
	}
	return NULL;
}

/* Each is told of the file, whoever of them looks for it. */
static void status_of_two(void **state)
{
	struct rig *rig = rig_idle("archive_after=1h");
	pthread_barrier_t barrier;
	pthread_t thread[2];
	struct asker a[2];
	char path[32];

	(void)state;
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	pthread_barrier_init(&barrier, NULL, 3);
	for (int k = 0; k < 2; k++) {
		a[k] = (struct asker){ .rig = rig, .barrier = &barrier };
		assert_int_equal(pthread_create(&thread[k], NULL, ask, &a[k]), 0);
	}
	for (unsigned i = 1; i <= STATUS_ROUNDS; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_write(rig, path, "1", 1);
		rig_touch(rig, "d");
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	for (int k = 0; k < 2; k++) {
		assert_int_equal(pthread_join(thread[k], NULL), 0);
		assert_int_equal(a[k].n_wrong, 0);
	}
	pthread_barrier_destroy(&barrier);
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
			rig_touch(rig, path);
		}
	}
	return NULL;
}

/* Directories that are touched, looked at, forgotten and removed at the same time. */
static void many_touch(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=0");
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
		st = rig_status(rig);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	rig_until(rig_status(rig).released_total == TOUCH_DIRS / 5);
	rig_until(known_directories(rig) == 0);
	st = rig_status(rig);
	assert_int_equal(st.local_files + st.archived_files, 0);
	rig_check(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_age),
		cmocka_unit_test(adopted_at_start),
		cmocka_unit_test(counted_by_the_scan),
		cmocka_unit_test(mount_points_are_not_crossed),
		cmocka_unit_test(rules_and_temporary_names),
		cmocka_unit_test(outside_the_windows),
		cmocka_unit_test(store_down_then_up),
		cmocka_unit_test(under_pressure),
		cmocka_unit_test(locate),
		cmocka_unit_test(status_is_true_now),
		cmocka_unit_test(touched_while_looked_at),
		cmocka_unit_test(status_of_two),
		cmocka_unit_test(many_touch),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
