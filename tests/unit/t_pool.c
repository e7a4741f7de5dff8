/* SPDX-License-Identifier: MIT */
/*
 * Every job runs exactly once, in order, whoever submits it; threads are made
 * when jobs would wait; what is queued at the end still runs.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/lock.h"
#include "lib/pool.h"

#define N_SUBMITTERS 8
#define N_JOBS 2000 /* of each submitter */
#define DEADLINE_MS 60000

struct test;

struct counted_job {
	struct job job; /* first, so that the pool's pointer is ours */
	struct test *test;
	_Atomic int n_runs;
	int number;
};

struct test {
	struct pool *pool;
	struct counted_job *jobs;
	_Atomic int next_submitter;
	_Atomic int n_done;

	struct lock lock;
	struct cond changed;
	int n_inside; /* jobs that wait for one another */
	bool open;
	int last_number;
	bool out_of_order;
};

static void test_init(struct test *t, unsigned max_threads)
{
	memset(t, 0, sizeof(*t));
	t->jobs = calloc(N_SUBMITTERS * N_JOBS, sizeof(*t->jobs));
	assert_non_null(t->jobs);
	for (int i = 0; i < N_SUBMITTERS * N_JOBS; i++) {
		t->jobs[i].test = t;
		t->jobs[i].number = i;
	}
	lock_init(&t->lock, LOCK_RANK_SESSION, "test");
	cond_init(&t->changed);
	t->last_number = -1;
	assert_int_equal(pool_new("test", max_threads, &t->pool), 0);
}

static void test_fini(struct test *t)
{
	pool_free(t->pool);
	cond_fini(&t->changed);
	lock_fini(&t->lock);
	free(t->jobs);
}

static void count_run(struct job *job)
{
	struct counted_job *j = (struct counted_job *)job;

	atomic_fetch_add(&j->n_runs, 1);
	atomic_fetch_add(&j->test->n_done, 1);
}

static void *submit_many(void *arg)
{
	struct test *t = arg;
	int me = atomic_fetch_add(&t->next_submitter, 1);

	for (int i = 0; i < N_JOBS; i++) {
		struct counted_job *j = &t->jobs[me * N_JOBS + i];

		j->job.run = count_run;
		pool_submit(t->pool, &j->job);
	}
	return NULL;
}

static void test_each_job_runs_once(void **state)
{
	static const unsigned max_threads[] = { 1, 3, 32 };
	pthread_t threads[N_SUBMITTERS];
	struct test t;

	for (size_t k = 0; k < sizeof(max_threads) / sizeof(max_threads[0]); k++) {
		test_init(&t, max_threads[k]);
		for (int i = 0; i < N_SUBMITTERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &t), 0);
		for (int i = 0; i < N_SUBMITTERS; i++)
			pthread_join(threads[i], NULL);
		pool_free(t.pool);
		t.pool = NULL;
		for (int i = 0; i < N_SUBMITTERS * N_JOBS; i++)
			assert_int_equal(t.jobs[i].n_runs, 1);
		test_fini(&t);
	}
}

static void note_order(struct job *job)
{
	struct counted_job *j = (struct counted_job *)job;
	struct test *t = j->test;

	lock_take(&t->lock);
	if (j->number != t->last_number + 1)
		t->out_of_order = true;
	t->last_number = j->number;
	lock_drop(&t->lock);
}

static void test_one_thread_keeps_order(void **state)
{
	struct test t;

	test_init(&t, 1);
	for (int i = 0; i < N_JOBS; i++) {
		t.jobs[i].job.run = note_order;
		pool_submit(t.pool, &t.jobs[i].job);
	}
	pool_free(t.pool);
	t.pool = NULL;
	assert_int_equal(t.last_number, N_JOBS - 1);
	assert_false(t.out_of_order);
	test_fini(&t);
}

/* Counts itself in and stays until the test opens. */
static void stay_inside(struct job *job)
{
	struct test *t = ((struct counted_job *)job)->test;

	lock_take(&t->lock);
	t->n_inside++;
	cond_broadcast(&t->changed);
	while (!t->open)
		cond_wait(&t->changed, &t->lock);
	t->n_inside--;
	cond_broadcast(&t->changed);
	lock_drop(&t->lock);
}

static void wait_inside(struct test *t, int n)
{
	int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;

	lock_take(&t->lock);
	while (t->n_inside != n)
		assert_true(cond_wait_until(&t->changed, &t->lock, deadline_ms));
	lock_drop(&t->lock);
}

static void set_open(struct test *t, bool open)
{
	lock_take(&t->lock);
	t->open = open;
	cond_broadcast(&t->changed);
	lock_drop(&t->lock);
}

/* Jobs that wait for one another need as many threads, at once and again later. */
static void test_threads_on_demand(void **state)
{
	const int n_threads = 6;
	struct test t;

	test_init(&t, (unsigned)n_threads);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < n_threads; i++) {
			t.jobs[i].job.run = stay_inside;
			pool_submit(t.pool, &t.jobs[i].job);
		}
		wait_inside(&t, n_threads);
		assert_int_equal(pool_load(t.pool), n_threads);
		set_open(&t, true);
		wait_inside(&t, 0);
		set_open(&t, false);
	}
	test_fini(&t);
}

static void test_never_more_threads(void **state)
{
	struct test t;

	test_init(&t, 2);
	for (int i = 0; i < 10; i++) {
		t.jobs[i].job.run = stay_inside;
		pool_submit(t.pool, &t.jobs[i].job);
	}
	wait_inside(&t, 2);
	assert_int_equal(pool_load(t.pool), 10);
	set_open(&t, true);
	/* pool_free runs the eight that are queued. */
	pool_free(t.pool);
	t.pool = NULL;
	assert_int_equal(t.n_inside, 0);
	test_fini(&t);
}

/* A job submits the next one, and is gone before that runs. */
static void submit_next(struct job *job)
{
	struct counted_job *j = (struct counted_job *)job;
	struct test *t = j->test;
	int next = j->number + 1;

	memset(j, 0xa5, sizeof(*j));
	atomic_fetch_add(&t->n_done, 1);
	if (next < N_JOBS)
		pool_submit(t->pool, &t->jobs[next].job);
	else
		set_open(t, true);
}

static void test_jobs_submit_jobs(void **state)
{
	int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
	struct test t;

	test_init(&t, 4);
	for (int i = 0; i < N_JOBS; i++)
		t.jobs[i].job.run = submit_next;
	pool_submit(t.pool, &t.jobs[0].job);
	lock_take(&t.lock);
	while (!t.open)
		assert_true(cond_wait_until(&t.changed, &t.lock, deadline_ms));
	lock_drop(&t.lock);
	assert_int_equal(t.n_done, N_JOBS);
	test_fini(&t);
}

struct look_job {
	struct job job;
	sigset_t mask;
	char name[16];
	int nice;
};

static void look(struct job *job)
{
	struct look_job *j = (struct look_job *)job;

	pthread_sigmask(SIG_SETMASK, NULL, &j->mask);
	pthread_getname_np(pthread_self(), j->name, sizeof(j->name));
	j->nice = getpriority(PRIO_PROCESS, 0);
}

static void test_thread_attributes(void **state)
{
	struct look_job j = { .job.run = look };
	struct pool *pool;
	sigset_t mask;

	assert_int_equal(pool_new("a-name-that-is-long", 1, &pool), 0);
	/* Ours is as it was. */
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_int_equal(sigismember(&mask, SIGIO), 0);
	pool_submit(pool, &j.job);
	pool_free(pool);
	assert_int_equal(sigismember(&j.mask, SIGIO), 1);
	assert_int_equal(sigismember(&j.mask, SIGTERM), 1);
	assert_int_equal(sigismember(&j.mask, SIGHUP), 1);
	assert_int_equal(sigismember(&j.mask, SIGSEGV), 0);
	assert_int_equal(strncmp(j.name, "a-name-that", 11), 0);
}

/* Work that can wait yields, and nobody else does for it. */
static void test_background(void **state)
{
	int ours = getpriority(PRIO_PROCESS, 0);
	struct look_job j = { .job.run = look };
	struct pool *pool;

	assert_int_equal(pool_new_background("test", 1, &pool), 0);
	pool_submit(pool, &j.job);
	pool_free(pool);
	assert_int_equal(j.nice, ours + 5 < 19 ? ours + 5 : 19);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), ours);
	assert_int_equal(pool_new("test", 1, &pool), 0);
	pool_submit(pool, &j.job);
	pool_free(pool);
	assert_int_equal(j.nice, ours);
}

#define N_NICE 4

struct nice_job {
	struct job job;
	pthread_barrier_t *all; /* at work at the same time: each has a thread */
	struct pool *pool;
	struct nice_job *others; /* N_NICE: to be submitted to it */
	int nice;
};

static void look_nice(struct job *job)
{
	struct nice_job *j = (struct nice_job *)job;

	j->nice = getpriority(PRIO_PROCESS, 0);
	pthread_barrier_wait(j->all);
}

static void submit_all(struct job *job)
{
	struct nice_job *j = (struct nice_job *)job;

	for (int i = 0; i < N_NICE; i++)
		pool_submit(j->pool, &j->others[i].job);
}

/* Whoever submits a job, and so makes a pool grow, its threads are the pool's. */
static void test_niceness_is_the_pools(void **state)
{
	int ours = getpriority(PRIO_PROCESS, 0);
	struct nice_job jobs[N_NICE], from = { .job.run = submit_all, .others = jobs };
	struct pool *background;
	pthread_barrier_t all;

	pthread_barrier_init(&all, NULL, N_NICE);
	for (int i = 0; i < N_NICE; i++)
		jobs[i] = (struct nice_job){ .job.run = look_nice, .all = &all };
	assert_int_equal(pool_new_background("back", 1, &background), 0);
	assert_int_equal(pool_new("front", N_NICE, &from.pool), 0);
	pool_submit(background, &from.job);
	pool_free(background);
	pool_free(from.pool);
	for (int i = 0; i < N_NICE; i++)
		assert_int_equal(jobs[i].nice, ours);
	pthread_barrier_destroy(&all);
}

static void test_free_unused(void **state)
{
	struct pool *pool;

	pool_free(NULL);
	assert_int_equal(pool_new("unused", 5, &pool), 0);
	assert_int_equal(pool_load(pool), 0);
	pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_job_runs_once),
		cmocka_unit_test(test_one_thread_keeps_order),
		cmocka_unit_test(test_threads_on_demand),
		cmocka_unit_test(test_never_more_threads),
		cmocka_unit_test(test_jobs_submit_jobs),
		cmocka_unit_test(test_thread_attributes),
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_niceness_is_the_pools),
		cmocka_unit_test(test_free_unused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
