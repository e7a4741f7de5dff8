/* SPDX-License-Identifier: MIT */
/*
 * Locks exclude, conditions wake, deadlines are kept, writers are not starved;
 * a build that checks the lock order dies at the first wrong step and names both
 * locks.
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/lock.h"
#include "lib/log.h"

#define N_THREADS 4
#define N_ROUNDS 20000

struct shared {
	struct lock lock;
	struct rwlock rw;
	struct cond cond;
	long count;
	bool turn;
	_Atomic int readers;
	_Atomic bool written;
};

static void shared_init(struct shared *s)
{
	memset(s, 0, sizeof(*s));
	lock_init(&s->lock, LOCK_RANK_STORE, "the lock");
	rwlock_init(&s->rw, LOCK_RANK_TREE, "the tree");
	cond_init(&s->cond);
}

static void shared_fini(struct shared *s)
{
	cond_fini(&s->cond);
	rwlock_fini(&s->rw);
	lock_fini(&s->lock);
}

static void run_threads(void *(*run)(void *), struct shared *s, int n)
{
	pthread_t threads[N_THREADS];

	for (int i = 0; i < n; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, s), 0);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static void *add(void *arg)
{
	struct shared *s = arg;

	for (int i = 0; i < N_ROUNDS; i++) {
		lock_take(&s->lock);
		s->count++;
		lock_drop(&s->lock);
	}
	return NULL;
}

static void test_mutex_excludes(void **state)
{
	struct shared s;

	shared_init(&s);
	run_threads(add, &s, N_THREADS);
	assert_int_equal(s.count, N_THREADS * N_ROUNDS);
	shared_fini(&s);
}

static void *add_and_look(void *arg)
{
	struct shared *s = arg;
	long seen = 0;

	for (int i = 0; i < N_ROUNDS / 4; i++) {
		rwlock_read(&s->rw);
		if (s->count < seen)
			abort();
		seen = s->count;
		rwlock_read_drop(&s->rw);
		rwlock_write(&s->rw);
		s->count++;
		rwlock_write_drop(&s->rw);
	}
	return NULL;
}

static void test_rwlock_excludes(void **state)
{
	struct shared s;

	shared_init(&s);
	run_threads(add_and_look, &s, N_THREADS);
	assert_int_equal(s.count, N_THREADS * (N_ROUNDS / 4));
	shared_fini(&s);
}

/* Each reader stays until another is inside, or it looks as if none could come: hardly a gap. */
static void *read_without_gap(void *arg)
{
	struct shared *s = arg;

	while (!atomic_load(&s->written)) {
		rwlock_read(&s->rw);
		atomic_fetch_add(&s->readers, 1);
		for (int i = 0; i < 1000 && atomic_load(&s->readers) < 2; i++)
			;
		atomic_fetch_sub(&s->readers, 1);
		rwlock_read_drop(&s->rw);
	}
	return NULL;
}

static void test_writer_is_not_starved(void **state)
{
	pthread_t threads[N_THREADS];
	struct shared s;

	shared_init(&s);
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_without_gap, &s), 0);
	rwlock_write(&s.rw);
	atomic_store(&s.written, true);
	rwlock_write_drop(&s.rw);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	shared_fini(&s);
}

static void *answer(void *arg)
{
	struct shared *s = arg;

	lock_take(&s->lock);
	for (int i = 0; i < 1000; i++) {
		while (!s->turn)
			cond_wait(&s->cond, &s->lock);
		s->turn = false;
		s->count++;
		cond_signal(&s->cond);
	}
	lock_drop(&s->lock);
	return NULL;
}

static void test_condition_wakes(void **state)
{
	int64_t deadline_ms;
	pthread_t thread;
	struct shared s;

	shared_init(&s);
	assert_int_equal(pthread_create(&thread, NULL, answer, &s), 0);
	lock_take(&s.lock);
	for (int i = 0; i < 1000; i++) {
		deadline_ms = clock_mono_ms() + 60000;
		s.turn = true;
		cond_broadcast(&s.cond);
		while (s.turn)
			assert_true(cond_wait_until(&s.cond, &s.lock, deadline_ms));
	}
	lock_drop(&s.lock);
	pthread_join(thread, NULL);
	assert_int_equal(s.count, 1000);
	shared_fini(&s);
}

static void test_deadline(void **state)
{
	static const int64_t past[] = { INT64_MIN, -1, 0, 1 };
	int64_t deadline_ms;
	struct shared s;

	shared_init(&s);
	lock_take(&s.lock);
	for (size_t i = 0; i < sizeof(past) / sizeof(past[0]); i++)
		assert_false(cond_wait_until(&s.cond, &s.lock, past[i]));
	deadline_ms = clock_mono_ms() + 30;
	while (cond_wait_until(&s.cond, &s.lock, deadline_ms))
		;
	assert_true(clock_mono_ms() >= deadline_ms);
	lock_drop(&s.lock);
	shared_fini(&s);
}

#ifdef EBB_DEBUG_LOCKS

/* Runs in a child whose stderr is buf; returns how it ended. */
static int run_child(void (*run)(struct shared *), char *buf, size_t size)
{
	static const struct rlimit no_core;
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct shared s;

		dup2(fds[1], STDERR_FILENO);
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL); /* cmocka's and the sanitizer's handlers are not wanted */
		log_open("child", false);
		shared_init(&s);
		run(&s);
		_exit(0);
	}
	close(fds[1]);
	while (len < size - 1 && (n = read(fds[0], buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_aborts(void (*run)(struct shared *), const char *word, const char *word2)
{
	char buf[4096];
	int status = run_child(run, buf, sizeof(buf));

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(buf, word));
	assert_non_null(strstr(buf, word2));
}

static NO_TS_ANALYSIS void wrong_order(struct shared *s)
{
	lock_take(&s->lock);
	rwlock_read(&s->rw);
}

static NO_TS_ANALYSIS void same_rank(struct shared *s)
{
	struct lock other;

	lock_init(&other, LOCK_RANK_STORE, "the other");
	lock_take(&s->lock);
	lock_take(&other);
}

static NO_TS_ANALYSIS void taken_twice(struct shared *s)
{
	rwlock_read(&s->rw);
	rwlock_read(&s->rw);
}

static NO_TS_ANALYSIS void not_held(struct shared *s)
{
	lock_drop(&s->lock);
}

static NO_TS_ANALYSIS void wait_without(struct shared *s)
{
	cond_wait(&s->cond, &s->lock);
}

static NO_TS_ANALYSIS void right_order(struct shared *s)
{
	rwlock_write(&s->rw);
	lock_take(&s->lock);
	rwlock_write_drop(&s->rw); /* not the last taken */
	lock_drop(&s->lock);
	rwlock_read(&s->rw);
	rwlock_read_drop(&s->rw);
}

static void test_wrong_order_aborts(void **state)
{
	char buf[4096];

	assert_aborts(wrong_order, "'the tree'", "'the lock'");
	assert_aborts(same_rank, "'the other'", "'the lock'");
	assert_aborts(taken_twice, "'the tree'", "wrong lock order");
	assert_aborts(not_held, "cannot drop", "'the lock'");
	assert_aborts(wait_without, "cannot wait with", "'the lock'");
	assert_int_equal(run_child(right_order, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutex_excludes),
		cmocka_unit_test(test_rwlock_excludes),
		cmocka_unit_test(test_writer_is_not_starved),
		cmocka_unit_test(test_condition_wakes),
		cmocka_unit_test(test_deadline),
#ifdef EBB_DEBUG_LOCKS
		cmocka_unit_test(test_wrong_order_aborts),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
