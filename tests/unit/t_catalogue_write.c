/* SPDX-License-Identifier: MIT */
/*
 * The writer: jobs run in order, several to a transaction; one that fails undoes
 * itself alone; what was reported done is read by every thread; what is queued at
 * the end still runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lock.h"
#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

#define N_JOBS 1000
#define N_THREADS 6

/* ---- jobs ---- */

struct test_job {
	struct cat_job job; /* first */
	struct file_row row;
	struct gate *gate;
	int fail_with; /* after the row was put */
	int64_t txn;
	int order; /* of done() */
	int result;
};

/* Counts done() calls; the first job may be held until the queue is full. */
struct gate {
	struct lock lock;
	struct cond changed;
	int n_done;
	bool open;
};

static void gate_init(struct gate *g)
{
	lock_init(&g->lock, LOCK_RANK_LEAF, "gate");
	cond_init(&g->changed);
	g->n_done = 0;
	g->open = false;
}

static void gate_fini(struct gate *g)
{
	cond_fini(&g->changed);
	lock_fini(&g->lock);
}

static void gate_open(struct gate *g)
{
	lock_take(&g->lock);
	g->open = true;
	cond_broadcast(&g->changed);
	lock_drop(&g->lock);
}

static void gate_wait_done(struct gate *g, int n)
{
	lock_take(&g->lock);
	while (g->n_done < n)
		cond_wait(&g->changed, &g->lock);
	lock_drop(&g->lock);
}

static void job_done(struct cat_job *job, int result)
{
	struct test_job *t = (struct test_job *)job;

	lock_take(&t->gate->lock);
	t->result = result;
	t->order = t->gate->n_done++;
	cond_broadcast(&t->gate->changed);
	lock_drop(&t->gate->lock);
}

static int job_run(struct tx *tx, struct cat_job *job)
{
	struct test_job *t = (struct test_job *)job;
	int64_t path;
	int r;

	t->txn = tx_id(tx);
	r = tx_file_put(tx, &t->row);
	if (r == 0)
		r = tx_path_id(tx, t->row.name, &path);
	return r < 0 ? r : t->fail_with ? t->fail_with : 1;
}

static int gate_run(struct tx *tx, struct cat_job *job)
{
	struct gate *g = ((struct test_job *)job)->gate;

	lock_take(&g->lock);
	while (!g->open)
		cond_wait(&g->changed, &g->lock);
	lock_drop(&g->lock);
	return 0;
}

static void job_init(struct test_job *t, struct gate *g, dirid_t dir, int i)
{
	char name[16];

	memset(t, 0, sizeof(*t));
	t->job = (struct cat_job){ job_run, job_done, SYNC_NORMAL, NULL };
	t->gate = g;
	snprintf(name, sizeof(name), "%06d", i);
	t->row = a_file(dir, name, i);
}

/* ---- tests ---- */

static void t_groups(void **state)
{
	struct fixture *f = *state;
	struct test_job *jobs = calloc(N_JOBS + 1, sizeof(*jobs));
	dirid_t dir = make_dir(f->c, ROW_ROOT_DIR, "d");
	struct catalogue_counts n;
	struct file_row row;
	struct gate g;
	int shared = 0, failed = 0;

	gate_init(&g);
	job_init(&jobs[0], &g, dir, 0);
	jobs[0].job.run = gate_run;
	catalogue_submit(f->c, &jobs[0].job);
	for (int i = 1; i <= N_JOBS; i++) {
		job_init(&jobs[i], &g, dir, i);
		jobs[i].job.sync = i % 500 == 0 ? SYNC_FULL : SYNC_NORMAL;
		jobs[i].fail_with = i % 7 == 0 ? -ECANCELED : 0;
		catalogue_submit(f->c, &jobs[i].job);
	}
	gate_open(&g);
	gate_wait_done(&g, N_JOBS + 1);
	for (int i = 1; i <= N_JOBS; i++) {
		int r = cat_file_get(f->c, dir, jobs[i].row.name, &row);

		assert_int_equal(jobs[i].order, i);
		assert_int_equal(jobs[i].result, i % 7 == 0 ? -ECANCELED : 1);
		assert_int_equal(r, i % 7 == 0 ? -ENOENT : 0);
		assert_true(r < 0 || row.txn == jobs[i].txn);
		assert_true(i == 1 || jobs[i].txn >= jobs[i - 1].txn);
		shared += i > 1 && jobs[i].txn == jobs[i - 1].txn;
		failed += r < 0;
	}
	assert_true(shared > N_JOBS / 2);
	assert_int_equal(catalogue_counts(f->c, &n), 0);
	assert_int_equal(n.files, N_JOBS - failed);
	gate_fini(&g);
	free(jobs);
	fixture_reopen(f);
}

/* A job that is alone in its transaction is undone with it. */
static void t_fail_alone(void **state)
{
	struct fixture *f = *state;
	struct test_job job;
	struct file_row row;
	int64_t txn = 0;
	struct gate g;

	gate_init(&g);
	for (int i = 0; i < 4; i++) {
		job_init(&job, &g, ROW_ROOT_DIR, i);
		job.fail_with = i % 2 ? -ECANCELED : 0;
		catalogue_submit(f->c, &job.job);
		gate_wait_done(&g, i + 1);
		assert_int_equal(job.result, i % 2 ? -ECANCELED : 1);
		assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, job.row.name, &row),
				 i % 2 ? -ENOENT : 0);
		assert_true(job.txn > txn); /* the failed one's id goes to the next */
		txn = i % 2 ? job.txn - 1 : job.txn;
	}
	gate_fini(&g);
	fixture_reopen(f);
}

/* ---- many threads ---- */

struct flood {
	struct catalogue *c;
	dirid_t dir;
	_Atomic int n_next;
	_Atomic bool over;
};

static int run_flood(struct tx *tx, void *arg)
{
	return tx_file_put(tx, arg);
}

/* Writes, and must read at once what was written. */
static void *flood_write(void *arg)
{
	struct flood *flood = arg;
	struct file_row row, got;
	char name[16];
	int i;

	while ((i = atomic_fetch_add(&flood->n_next, 1)) < N_JOBS) {
		snprintf(name, sizeof(name), "%06d", i);
		row = a_file(flood->dir, name, i);
		assert_int_equal(catalogue_write(flood->c, SYNC_NORMAL, run_flood, &row), 0);
		assert_int_equal(cat_file_get(flood->c, flood->dir, name, &got), 0);
		assert_same_file(&row, &got);
	}
	return NULL;
}

static void *flood_read(void *arg)
{
	struct flood *flood = arg;
	struct file_row *rows = calloc(100, sizeof(*rows));
	struct catalogue_counts n;
	char after[ROW_NAME_MAX + 1] = "";

	while (!flood->over) {
		int got = cat_files_after(flood->c, flood->dir, after, rows, 100);

		assert_true(got >= 0);
		for (int i = 1; i < got; i++)
			assert_true(strcmp(rows[i - 1].name, rows[i].name) < 0);
		strcpy(after, got == 100 ? rows[99].name : "");
		assert_int_equal(catalogue_counts(flood->c, &n), 0);
		assert_true(n.files >= 0 && n.files <= N_JOBS);
	}
	free(rows);
	return NULL;
}

static void t_flood(void **state)
{
	struct fixture *f = *state;
	struct flood flood = { .c = f->c, .dir = make_dir(f->c, ROW_ROOT_DIR, "d") };
	pthread_t writers[N_THREADS], readers[2];
	struct catalogue_counts n;

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, flood_read, &flood), 0);
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, flood_write, &flood), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(writers[i], NULL);
	flood.over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(catalogue_counts(f->c, &n), 0);
	assert_int_equal(n.files, N_JOBS);
	fixture_reopen(f);
}

/* ---- the end ---- */

struct chain {
	struct cat_job job; /* first */
	struct catalogue *c;
	int left;
	int ran;
};

static int chain_run(struct tx *tx, struct cat_job *job)
{
	struct chain *chain = (struct chain *)job;
	char text[16];
	int64_t id;

	snprintf(text, sizeof(text), "%d", chain->left);
	return tx_path_id(tx, text, &id);
}

static void chain_done(struct cat_job *job, int result)
{
	struct chain *chain = (struct chain *)job;

	if (result == 0)
		chain->ran++;
	if (--chain->left > 0)
		catalogue_submit(chain->c, job);
}

static void t_close_runs_queued(void **state)
{
	struct fixture *f = *state;
	struct chain chain = { { chain_run, chain_done, SYNC_NORMAL, NULL }, f->c, 50, 0 };
	char *rows;

	catalogue_submit(f->c, &chain.job);
	fixture_close(f);
	assert_int_equal(chain.ran, 50);
	rows = sql(f->file, "SELECT count(*) FROM path");
	assert_string_equal(rows, "|50\n");
	free(rows);
}

static void t_readonly(void **state)
{
	struct fixture *f = *state;
	struct file_row row = a_file(ROW_ROOT_DIR, "a", 1), got;
	struct journal_part part;
	uint64_t last, ino;

	assert_int_equal(put_file(f->c, &row), 0);
	assert_int_equal(catalogue_next_ino(f->c, &last), 0);
	catalogue_set_readonly(f->c, "another node owns the journal");
	catalogue_set_readonly(f->c, "said only once");
	assert_true(catalogue_is_readonly(f->c));
	row = a_file(ROW_ROOT_DIR, "b", 2);
	assert_int_equal(put_file(f->c, &row), -EROFS);
	assert_int_equal(catalogue_journal_next(f->c, 1000, &part), -EROFS);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "a", &got), 0);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "b", &got), -ENOENT);
	/* local names go on, however many; nothing else gets a number that was not put aside */
	for (int i = 0; i < 200000; i++, last = ino) {
		assert_int_equal(catalogue_next_ino(f->c, &ino), 0);
		assert_true(ino > last);
	}
	assert_int_equal(catalogue_next_number(f->c, &ino), -EROFS);
	fixture_close(f);
	fixture_open(f); /* the fence is the caller's to keep */
	assert_int_equal(put_file(f->c, &row), 0);
}

/* A reader's connection is gone with its thread: 2,000 of them fit into 1,024 descriptors. */
static void *read_once(void *arg)
{
	struct dir_row row;

	return (void *)(intptr_t)cat_dir_get(arg, ROW_ROOT_DIR, &row);
}

static void t_reader_threads(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 2000; i++) {
		pthread_t thread;
		void *r;

		assert_int_equal(pthread_create(&thread, NULL, read_once, f->c), 0);
		pthread_join(thread, &r);
		assert_int_equal((intptr_t)r, 0);
	}
}

/* ---- the WAL ---- */

static int run_big(struct tx *tx, void *arg)
{
	static char text[4000];
	int64_t id;
	int r = 0;

	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; r == 0 && i < 200; i++) {
		snprintf(text, 16, "%d", (*(int *)arg)++);
		text[strlen(text)] = 'x';
		r = tx_path_id(tx, text, &id);
	}
	return r;
}

/*
 * A WAL that starts anew beyond 64 MiB has less, though three tries fail because a reader stays:
 * each is repeated 64 MiB later.  One that never does has 500 MiB in the end.
 */
#define WAL_MAX_BYTES (5 * 64L * 1024 * 1024)

/* It starts anew beyond 64 MiB, though readers come and go. */
static void t_wal_restarts(void **state)
{
	struct fixture *f = *state;
	struct flood flood = { .c = f->c, .dir = ROW_ROOT_DIR };
	pthread_t reader;
	char wal[320], line[64];
	FILE *p;
	long bytes;
	int n = 0;

	assert_int_equal(pthread_create(&reader, NULL, flood_read, &flood), 0);
	while (n < 40000)
		write_ok(f->c, run_big, &n);
	flood.over = true;
	pthread_join(reader, NULL);
	snprintf(wal, sizeof(wal), "%s-wal", f->file);
	p = fopen(wal, "re");
	assert_non_null(p);
	fseek(p, 0, SEEK_END);
	bytes = ftell(p);
	fclose(p);
	snprintf(line, sizeof(line), "the WAL has %ld bytes", bytes);
	if (bytes > WAL_MAX_BYTES)
		fail_msg("%s", line);
	assert_false(catalogue_is_readonly(f->c));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_groups),   T(t_fail_alone),	    T(t_flood),	       T(t_close_runs_queued),
		T(t_readonly), T(t_reader_threads), T(t_wal_restarts),
	};

	log_open("t_catalogue_write", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
