/* SPDX-License-Identifier: MIT */
/*
 * catalogue_sync: what was committed is synced, once for all who wait, and not again.
 *
 * fsync and fdatasync are this program's own: they count, for SQLite as well.  Its are the
 * writer's, which also syncs for a checkpoint when it had nothing to do for a second: they are
 * counted apart, and neither held up nor failed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/lock.h"
#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

#define N_THREADS 8
#define N_COMMITS 50

static _Atomic int n_syncs;	   /* of a WAL, but the writer's */
static _Atomic int n_writer_syncs; /* of a WAL */
static _Atomic int fail_with;	   /* an errno */
static struct lock hold_lock;
static struct cond hold_cond;
static bool hold, held;

static bool is_writer(void)
{
	char name[16];

	return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
	       strcmp(name, "ebb-writer") == 0;
}

static int count_sync(int fd, long call)
{
	char link[64], path[400];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	if (n < 4 || memcmp(path + n - 4, "-wal", 4) != 0)
		return (int)syscall(call, fd);
	if (is_writer()) {
		atomic_fetch_add(&n_writer_syncs, 1);
		return (int)syscall(call, fd);
	}
	atomic_fetch_add(&n_syncs, 1);
	lock_take(&hold_lock);
	held = hold;
	cond_broadcast(&hold_cond);
	while (hold)
		cond_wait(&hold_cond, &hold_lock);
	lock_drop(&hold_lock);
	if (fail_with) {
		errno = fail_with;
		return -1;
	}
	return (int)syscall(call, fd);
}

int fsync(int fd)
{
	return count_sync(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return count_sync(fd, SYS_fdatasync);
}

/* What it cost since it was asked last. */
static int syncs(void)
{
	return atomic_exchange(&n_syncs, 0);
}

static int writer_syncs(void)
{
	return atomic_exchange(&n_writer_syncs, 0);
}

static int put_run(struct tx *tx, void *arg)
{
	return tx_file_put(tx, arg);
}

static int nothing_run(struct tx *tx, void *arg)
{
	(void)tx;
	(void)arg;
	return 0;
}

/* ---- how often -------------------------------------------------------------------- */

static void t_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(catalogue_sync(f->c), 0);
	syncs();
	assert_int_equal(catalogue_sync(f->c), 0);
	assert_int_equal(syncs(), 0);

	writer_syncs();
	put_some(f->c, 0, N_COMMITS);
	assert_int_equal(syncs(), 0);
	/* not one a commit: a checkpoint in between, and the WAL that begins anew after it */
	assert_in_range(writer_syncs(), 0, N_COMMITS / 2);
	assert_int_equal(catalogue_sync(f->c), 0);
	assert_int_equal(syncs(), 1);
	assert_int_equal(catalogue_sync(f->c), 0);
	assert_int_equal(syncs(), 0);
}

static void t_full_commit_counts(void **state)
{
	struct fixture *f = *state;
	struct file_row row = a_file(ROW_ROOT_DIR, "full", 7);

	put_some(f->c, 0, 3);
	/* writes nothing, so SQLite syncs nothing */
	assert_int_equal(catalogue_write(f->c, SYNC_FULL, nothing_run, NULL), 0);
	syncs();
	assert_int_equal(catalogue_sync(f->c), 0);
	assert_int_equal(syncs(), 1);

	put_some(f->c, 3, 3);
	writer_syncs();
	assert_int_equal(catalogue_write(f->c, SYNC_FULL, put_run, &row), 0);
	assert_true(writer_syncs() > 0);
	assert_int_equal(catalogue_sync(f->c), 0);
	assert_int_equal(syncs(), 0);
}

/* What a killed process left in the WAL was perhaps never synced. */
static void t_after_a_kill(void **state)
{
	struct fixture *f = *state;

	fixture_reopen(f);
	syncs();
	assert_int_equal(catalogue_sync(f->c), 0);
	assert_int_equal(syncs(), 1);
}

/* ---- together --------------------------------------------------------------------- */

struct one {
	struct fixture *f;
	int n;
	_Atomic int *put;
};

static void *put_and_sync(void *arg)
{
	struct one *o = arg;

	put_some(o->f->c, o->n, 1);
	atomic_fetch_add(o->put, 1);
	assert_int_equal(catalogue_sync(o->f->c), 0);
	return NULL;
}

static void set_hold(bool on)
{
	lock_take(&hold_lock);
	hold = on;
	cond_broadcast(&hold_cond);
	lock_drop(&hold_lock);
}

/* One sync is held up; whoever comes meanwhile needs the next, and one is enough. */
static void t_shared(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[N_THREADS];
	struct one ones[N_THREADS];
	_Atomic int put = 0;

	assert_int_equal(catalogue_sync(f->c), 0);
	syncs();
	set_hold(true);
	for (int i = 0; i < N_THREADS; i++) {
		ones[i] = (struct one){ f, i, &put };
		assert_int_equal(pthread_create(&threads[i], NULL, put_and_sync, &ones[i]), 0);
		if (i > 0)
			continue;
		lock_take(&hold_lock);
		while (!held)
			cond_wait(&hold_cond, &hold_lock);
		lock_drop(&hold_lock);
	}
	/* commits go on while a sync is held up */
	while (atomic_load(&put) < N_THREADS)
		sched_yield();
	set_hold(false);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(syncs(), 2);
}

/* ---- the disk says no --------------------------------------------------------------- */

static void t_failing(void **state)
{
	struct fixture *f = *state;

	put_some(f->c, 0, 1);
	fail_with = EIO;
	assert_int_equal(catalogue_sync(f->c), -EIO);
	fail_with = 0;
	/* the kernel reports it once: it is not on the disk however often one asks */
	assert_int_equal(catalogue_sync(f->c), -EIO);
	assert_true(catalogue_is_readonly(f->c));
}

/* What was committed before it turned read-only is synced all the same. */
static void t_readonly(void **state)
{
	struct fixture *f = *state;

	put_some(f->c, 0, 1);
	catalogue_set_readonly(f->c, "a test");
	syncs();
	assert_int_equal(catalogue_sync(f->c), 0);
	assert_int_equal(syncs(), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_once),    T(t_full_commit_counts), T(t_after_a_kill), T(t_shared),
		T(t_failing), T(t_readonly),
	};

	lock_init(&hold_lock, LOCK_RANK_LEAF, "hold");
	cond_init(&hold_cond);
	log_open("t_wal", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
