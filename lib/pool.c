/* SPDX-License-Identifier: MIT */
/*
 * A thread pool: one list of jobs, threads that take its head.
 *
 *	pool_submit --> [ job job job ] --> a thread: run(job), next
 *
 * Invariant: while jobs are queued, an idle thread has been signalled, or one is on its
 * way to the queue, or no further thread could be made.  The first thread is made by
 * pool_new, each other by one of the pool that takes a job and leaves nobody idle
 * behind: a thread begins with the niceness of its maker, which must not be a
 * submitter's.  Threads stay until the end: what they keep for themselves (a database
 * connection) is worth keeping.
 *
 * Signals are blocked in all threads (SIGIO would kill the holder of a lease),
 * except those by which the processor reports a fault of the thread itself.
 */
#include "lib/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/lock.h"
#include "lib/log.h"

#define THREAD_NAME_SIZE 16 /* Linux: 15 characters */
#define NICE_BACKGROUND 5   /* a third of the weight of nice 0: sched(7) */

struct pool {
	/* constant after start */
	const char *name; /* borrowed */
	unsigned max_threads;
	int nice;

	/* protected by lock */
	struct lock lock;
	struct cond work; /* a job was queued, or stopping was set */
	struct job *head; /* the jobs' memory is the submitters' */
	struct job *tail;
	unsigned n_queued;
	unsigned n_running;
	unsigned n_idle;     /* threads that wait, or were signalled and are on their way */
	unsigned n_starting; /* that have not come to the queue yet */
	bool stopping;
	unsigned n_threads;

	_Atomic long long warned_ms;
	pthread_t threads[]; /* the first n_threads are alive */
};

static struct job *take_job_locked(struct pool *pool) REQUIRES(pool->lock);
static int add_thread_locked(struct pool *pool) REQUIRES(pool->lock);
static int leave_another_locked(struct pool *pool) REQUIRES(pool->lock);

static struct job *take_job_locked(struct pool *pool)
{
	struct job *job = pool->head;

	if (!job)
		return NULL;
	pool->head = job->next;
	if (!pool->head)
		pool->tail = NULL;
	pool->n_queued--;
	pool->n_running++;
	return job;
}

/* For what is queued now, or next, while this one is at work. */
static int leave_another_locked(struct pool *pool)
{
	if (pool->n_idle > 0 || pool->n_starting > 0 || pool->n_threads == pool->max_threads)
		return 0;
	return add_thread_locked(pool);
}

/* The threads that are there will come to what is queued. */
static void complain(struct pool *pool, int r)
{
	if (r < 0 && log_ratelimit(&pool->warned_ms, 60000))
		log_warning("cannot add a thread to pool '%s': %s", pool->name, strerror(-r));
}

static void *thread_main(void *arg)
{
	struct pool *pool = arg;
	struct job *job;
	int r;

	setpriority(PRIO_PROCESS, 0, pool->nice); /* in Linux 0 is this thread alone */
	lock_take(&pool->lock);
	pool->n_starting--;
	for (;;) {
		job = take_job_locked(pool);
		if (job) {
			r = leave_another_locked(pool);
			lock_drop(&pool->lock);
			complain(pool, r);
			job->run(job);
			lock_take(&pool->lock);
			pool->n_running--;
			continue;
		}
		if (pool->stopping)
			break;
		pool->n_idle++;
		cond_wait(&pool->work, &pool->lock);
		pool->n_idle--;
	}
	lock_drop(&pool->lock);
	return NULL;
}

/* pthread_create that hands its thread a mask without signals. */
static int create_thread(pthread_t *ret, struct pool *pool)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };
	sigset_t blocked, old;
	int r;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&blocked, faults[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	r = -pthread_create(ret, NULL, thread_main, pool);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

/* Under the lock although it makes a thread: it happens max_threads times in all. */
static int add_thread_locked(struct pool *pool)
{
	char name[THREAD_NAME_SIZE];
	unsigned n = pool->n_threads;
	int r;

	r = create_thread(&pool->threads[n], pool);
	if (r < 0)
		return r;
	pool->n_threads++;
	pool->n_starting++;
	snprintf(name, sizeof(name), "%.11s-%u", pool->name, n % 1000);
	pthread_setname_np(pool->threads[n], name);
	return 0;
}

static int new_pool(const char *name, unsigned max_threads, int nice, struct pool **ret)
{
	struct pool *pool;
	int r;

	assert(max_threads > 0);
	pool = calloc(1, sizeof(*pool) + max_threads * sizeof(pool->threads[0]));
	if (!pool)
		return -ENOMEM;
	pool->name = name;
	pool->max_threads = max_threads;
	pool->nice = getpriority(PRIO_PROCESS, 0) + nice;
	lock_init(&pool->lock, LOCK_RANK_POOL, name);
	cond_init(&pool->work);

	lock_take(&pool->lock);
	r = add_thread_locked(pool);
	lock_drop(&pool->lock);
	if (r < 0) {
		log_error("cannot start the first thread of pool '%s': %s", name, strerror(-r));
		pool_free(pool);
		return r;
	}
	*ret = pool;
	return 0;
}

int pool_new(const char *name, unsigned max_threads, struct pool **ret)
{
	return new_pool(name, max_threads, 0, ret);
}

int pool_new_background(const char *name, unsigned max_threads, struct pool **ret)
{
	return new_pool(name, max_threads, NICE_BACKGROUND, ret);
}

void pool_submit(struct pool *pool, struct job *job)
{
	int r;

	job->next = NULL;
	lock_take(&pool->lock);
	if (pool->tail)
		pool->tail->next = job;
	else
		pool->head = job;
	pool->tail = job;
	pool->n_queued++;
	cond_signal(&pool->work);
	/* if none could be made when the last one was taken */
	r = leave_another_locked(pool);
	lock_drop(&pool->lock);
	complain(pool, r);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	/* A job that still runs may submit another, and so add a thread: look at each n_threads anew. */
	for (unsigned i = 0;; i++) {
		bool last;

		lock_take(&pool->lock);
		pool->stopping = true;
		cond_broadcast(&pool->work);
		last = i >= pool->n_threads;
		lock_drop(&pool->lock);
		if (last)
			break;
		pthread_join(pool->threads[i], NULL);
	}
	assert(!pool->head && pool->n_running == 0);
	cond_fini(&pool->work);
	lock_fini(&pool->lock);
	free(pool);
}

unsigned pool_load(struct pool *pool)
{
	unsigned n;

	lock_take(&pool->lock);
	n = pool->n_queued + pool->n_running;
	lock_drop(&pool->lock);
	return n;
}
