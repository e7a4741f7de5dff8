/* SPDX-License-Identifier: MIT */
/*
 * What must be survived: damage, a full disk, a process killed at COMMIT.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/failpoint.h"
#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

static void write_bytes(const char *file, off_t at, const void *bytes, size_t len)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

/* ---- damage ---- */

/* Files that fill a few hundred pages. */
static void fill(struct fixture *f, int n)
{
	for (int i = 0; i < n; i++) {
		struct file_row row;
		char name[200];

		snprintf(name, sizeof(name), "%0150d", i);
		row = a_file(ROW_ROOT_DIR, name, i);
		assert_int_equal(put_file(f->c, &row), 0);
	}
}

/* Every page but the first: whatever is read or written next meets one. */
static void damage(const char *file)
{
	struct stat st;
	char junk[4096];

	memset(junk, 0xa5, sizeof(junk));
	assert_int_equal(stat(file, &st), 0);
	assert_true(st.st_size > 100 * 4096);
	for (off_t at = 4096 * 40; at < st.st_size; at += 4096)
		write_bytes(file, at, junk, sizeof(junk));
}

static void t_damaged(void **state)
{
	struct fixture *f = *state;
	struct file_row row = a_file(ROW_ROOT_DIR, "new", 1);
	int r = 0;

	fixture_open(f);
	fill(f, 500);
	fixture_close(f);
	damage(f->file);
	r = fixture_try_open(f, true);
	if (r < 0) { /* found at once: as good */
		assert_int_equal(r, -EUCLEAN);
		return;
	}
	for (int i = 0; i < 1000 && r == 0; i++) {
		snprintf(row.name, sizeof(row.name), "%0150d", i);
		r = put_file(f->c, &row);
	}
	assert_int_equal(r, -EIO);
	assert_true(catalogue_is_readonly(f->c));
	assert_int_equal(put_file(f->c, &row), -EROFS);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), -EUCLEAN);
	assert_true(strlen(f->err) > 0);
}

/* A reader that meets damage stops the writer, too. */
static void t_damaged_reader(void **state)
{
	struct fixture *f = *state;
	struct file_row row;
	int r = 0;

	fixture_open(f);
	fill(f, 500);
	fixture_close(f);
	damage(f->file);
	if (fixture_try_open(f, true) < 0)
		return;
	for (int i = 0; i < 500 && r == 0; i++) {
		char name[200];

		snprintf(name, sizeof(name), "%0150d", i);
		r = cat_file_get(f->c, ROW_ROOT_DIR, name, &row);
	}
	assert_int_equal(r, -EIO);
	assert_true(catalogue_is_readonly(f->c));
}

static void t_check_counters(void **state)
{
	struct fixture *f = *state;

	fixture_open(f);
	fill(f, 3);
	fixture_close(f);
	free(sql(f->file, "UPDATE tally SET files=files+1"));
	fixture_open(f);
	assert_int_equal(catalogue_check(f->c, f->err, sizeof(f->err)), -EUCLEAN);
	assert_non_null(strstr(f->err, "files"));
}

/* ---- a full disk ---- */

/* Writes until there is no room; makes room; goes on. */
static void until_full(struct fixture *f, void (*make_room)(struct fixture *f))
{
	struct file_row row, got;
	struct catalogue_counts n;
	char name[220];
	int i = 0, r;

	do {
		do {
			snprintf(name, sizeof(name), "%0200d", i);
			row = a_file(ROW_ROOT_DIR, name, i++);
			r = put_file(f->c, &row);
			assert_true(i < 1000000);
		} while (r == 0);
		assert_int_equal(r, -ENOSPC);
		assert_false(catalogue_is_readonly(f->c));
		/* there is room again if the writer had a second to begin the WAL anew */
		r = put_file(f->c, &row);
	} while (r == 0);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, name, &got), -ENOENT);
	assert_int_equal(catalogue_counts(f->c, &n), 0);
	assert_int_equal(n.files, i - 1);
	make_room(f);
	assert_int_equal(put_file(f->c, &row), 0);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, name, &got), 0);
	fixture_reopen(f);
	assert_int_equal(catalogue_counts(f->c, &n), 0);
	assert_int_equal(n.files, i);
}

static void lift_limit(struct fixture *f)
{
	struct rlimit none;

	getrlimit(RLIMIT_FSIZE, &none);
	none.rlim_cur = none.rlim_max;
	setrlimit(RLIMIT_FSIZE, &none);
}

static void limited(void *arg)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = 1 << 20;
	signal(SIGXFSZ, SIG_IGN);
	fixture_open(arg);
	setrlimit(RLIMIT_FSIZE, &limit);
	until_full(arg, lift_limit);
	fixture_close(arg);
}

static void t_file_limit(void **state)
{
	in_child(limited, *state, 0);
}

static void remove_ballast(struct fixture *f)
{
	char name[400];

	snprintf(name, sizeof(name), "%s/ballast", f->dir);
	assert_int_equal(unlink(name), 0);
}

#define NOT_PERMITTED 77

static void on_small_disk(void *arg)
{
	static char ballast[3 << 20];
	struct fixture *f = arg;
	char name[400];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("none", f->dir, "tmpfs", 0, "size=6m") < 0)
		_exit(NOT_PERMITTED);
	snprintf(name, sizeof(name), "%s/ballast", f->dir);
	write_bytes(name, 0, ballast, sizeof(ballast));
	fixture_open(f);
	until_full(f, remove_ballast);
	fixture_close(f);
	_exit(0);
}

static void t_disk_full(void **state)
{
	if (geteuid() != 0)
		skip();
	in_child(on_small_disk, *state, 0);
}

/* No room from the start. */
static void on_no_disk(void *arg)
{
	static char ballast[1 << 20];
	struct fixture *f = arg;
	char name[400];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("none", f->dir, "tmpfs", 0, "size=1032k") < 0)
		_exit(NOT_PERMITTED);
	snprintf(name, sizeof(name), "%s/ballast", f->dir);
	write_bytes(name, 0, ballast, sizeof(ballast));
	assert_int_equal(fixture_try_open(f, true), -ENOSPC);
	assert_non_null(strstr(f->err, "no space left"));
	remove_ballast(f);
	fixture_open(f);
	fixture_close(f);
	_exit(0);
}

static void t_no_room_to_create(void **state)
{
	if (geteuid() != 0)
		skip();
	in_child(on_no_disk, *state, 0);
}

/* ---- crashes ---- */

#define ROWS_PER_TXN 20
#define N_TXNS 40

struct crash {
	struct fixture *f;
	const char *failpoint;
	int first; /* transaction */
};

static int run_batch(struct tx *tx, void *arg)
{
	int txn = *(int *)arg, r = 0;

	for (int i = 0; r == 0 && i < ROWS_PER_TXN; i++) {
		struct file_row row;
		char name[32];

		snprintf(name, sizeof(name), "%04d-%02d", txn, i);
		row = a_file(ROW_ROOT_DIR, name, i);
		r = tx_file_put(tx, &row);
	}
	return r;
}

/* Leaves a file "told" whose size is the number of transactions reported done. */
static void crash_body(void *arg)
{
	struct crash *crash = arg;
	char told[400];
	int fd;

	snprintf(told, sizeof(told), "%s/told", crash->f->dir);
	fd = open(told, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(failpoint_init(crash->failpoint), 0);
	fixture_open(crash->f);
	for (int i = crash->first; i < crash->first + N_TXNS; i++) {
		assert_int_equal(catalogue_write(crash->f->c, i % 2 ? SYNC_FULL : SYNC_NORMAL,
						 run_batch, &i),
				 0);
		assert_int_equal(write(fd, "x", 1), 1);
	}
	_exit(1); /* the failpoint was not reached */
}

static void check_after_crash(struct fixture *f, int told, bool after)
{
	struct catalogue_counts n;
	struct journal_part part;
	struct file_row row;
	char name[32];

	fixture_open(f); /* which checks that the journal has no hole */
	assert_int_equal(catalogue_counts(f->c, &n), 0);
	assert_int_equal(n.files, (told + after) * ROWS_PER_TXN);
	snprintf(name, sizeof(name), "%04d-%02d", told + after - 1, ROWS_PER_TXN - 1);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, name, &row), 0);
	assert_int_equal(catalogue_journal_next(f->c, 1 << 30, &part), 0);
	assert_true(part.last_txn >= row.txn);
	assert_int_equal(catalogue_journal_acked(f->c, &part), 0);
	free(part.data);
	fixture_reopen(f);
	fixture_close(f);
}

static int size_of(struct fixture *f, const char *name)
{
	struct stat st;
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	return stat(path, &st) < 0 ? -1 : (int)st.st_size;
}

/* Before COMMIT: as if it had not been.  After: there, though nobody was told. */
static void crash_twice(struct fixture *f, const char *spec, bool after)
{
	struct crash crash = { f, spec, 0 };
	int told;

	in_child(crash_body, &crash, -SIGKILL);
	told = size_of(f, "told");
	assert_int_equal(told, 11);
	check_after_crash(f, told, after);
	crash.first = told + after;
	in_child(crash_body, &crash, -SIGKILL);
	told = size_of(f, "told") + after; /* the first life had one untold, too */
	assert_int_equal(told, 22 + after);
	check_after_crash(f, told, after);
}

static void t_kill_before_commit(void **state)
{
	crash_twice(*state, "commit.before=kill@12", false);
}

static void t_kill_after_commit(void **state)
{
	crash_twice(*state, "commit.after=kill@12", true);
}

/* A commit that fails is told to every job of it, and undone. */
static void failing_commits(void *arg)
{
	struct fixture *f = arg;
	struct file_row row = a_file(ROW_ROOT_DIR, "a", 1);
	struct catalogue_counts n;

	assert_int_equal(failpoint_init("commit.before=error:ENOSPC"), 0);
	fixture_open(f);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(put_file(f->c, &row), -ENOSPC);
		assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &row), -ENOENT);
	}
	assert_int_equal(catalogue_counts(f->c, &n), 0);
	assert_int_equal(n.files, 0);
	fixture_reopen(f);
	fixture_close(f);
}

static void t_failing_commit(void **state)
{
	in_child(failing_commits, *state, 0);
}

/* Numbers that were handed out are not handed out again, whatever was written. */
static void t_numbers_after_kill(void **state)
{
	struct fixture *f = *state;
	struct crash crash = { f, "commit.before=kill@1", 0 };
	uint64_t before, after;

	fixture_open(f);
	assert_int_equal(catalogue_next_number(f->c, &before), 0);
	fixture_close(f);
	in_child(crash_body, &crash, -SIGKILL);
	fixture_open(f);
	assert_int_equal(catalogue_next_number(f->c, &after), 0);
	assert_true(after > before + 65536); /* the killed one may have used its block */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_closed, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_damaged),
		T(t_damaged_reader),
		T(t_check_counters),
		T(t_file_limit),
		T(t_disk_full),
		T(t_no_room_to_create),
		T(t_kill_before_commit),
		T(t_kill_after_commit),
		T(t_failing_commit),
		T(t_numbers_after_kill),
	};

	log_open("t_catalogue_fault", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
