/* SPDX-License-Identifier: MIT */
/* Never more inside than the window allows, the large one alone, first come first in. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/window.h"

#define MAX_OPS 3
#define MAX_BYTES 1000
#define N_THREADS 8
#define N_ROUNDS 5000
#define DEADLINE_MS 60000

struct test {
	struct window *window;
	_Atomic unsigned seed;
	_Atomic int ops;
	_Atomic long bytes;
	_Atomic int n_wrong;
	_Atomic int n_entered;
};

static void *come_and_go(void *arg)
{
	struct test *t = arg;
	unsigned seed = atomic_fetch_add(&t->seed, 1);

	for (int i = 0; i < N_ROUNDS; i++) {
		/* One in fifty is larger than the window, some are empty. */
		long bytes = rand_r(&seed) % 50 == 0 ? MAX_BYTES + 1 + rand_r(&seed) % 5000
						     : rand_r(&seed) % (MAX_BYTES + 1);
		int ops;
		long sum;

		window_enter(t->window, (uint64_t)bytes);
		ops = atomic_fetch_add(&t->ops, 1) + 1;
		sum = atomic_fetch_add(&t->bytes, bytes) + bytes;
		if (ops > MAX_OPS || (sum > MAX_BYTES && (ops > 1 || sum != bytes)))
			atomic_fetch_add(&t->n_wrong, 1);
		if (i % 16 == 0)
			sched_yield();
		atomic_fetch_sub(&t->bytes, bytes);
		atomic_fetch_sub(&t->ops, 1);
		window_leave(t->window, (uint64_t)bytes);
		atomic_fetch_add(&t->n_entered, 1);
	}
	return NULL;
}

static void test_never_exceeded(void **state)
{
	struct test t = { .seed = 1 };
	pthread_t threads[N_THREADS];

	assert_int_equal(window_new(MAX_OPS, MAX_BYTES, &t.window), 0);
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &t), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(t.n_wrong, 0);
	assert_int_equal(t.n_entered, N_THREADS * N_ROUNDS);
	assert_int_equal(window_waiting(t.window), 0);
	window_free(t.window);
}

struct comer {
	struct test *test;
	pthread_t thread;
	uint64_t bytes;
	int place; /* in the order of entering, from 0 */
};

static void *come_once(void *arg)
{
	struct comer *c = arg;

	window_enter(c->test->window, c->bytes);
	c->place = atomic_fetch_add(&c->test->n_entered, 1);
	window_leave(c->test->window, c->bytes);
	return NULL;
}

static void start(struct comer *c, struct test *t, uint64_t bytes)
{
	unsigned before = window_waiting(t->window);
	int64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;

	*c = (struct comer){ .test = t, .bytes = bytes, .place = -1 };
	assert_int_equal(pthread_create(&c->thread, NULL, come_once, c), 0);
	while (window_waiting(t->window) == before) {
		assert_true(clock_mono_ms() < deadline_ms);
		sched_yield();
	}
}

/* A window of one at a time shows the order; the small ones would fit earlier. */
static void test_first_come_first_in(void **state)
{
	struct test t = { .seed = 1 };
	struct comer comers[20];

	assert_int_equal(window_new(1, MAX_BYTES, &t.window), 0);
	window_enter(t.window, 1);
	for (int i = 0; i < 20; i++)
		start(&comers[i], &t, i % 2 ? 0 : MAX_BYTES);
	assert_int_equal(t.n_entered, 0);
	window_leave(t.window, 1);
	for (int i = 0; i < 20; i++) {
		pthread_join(comers[i].thread, NULL);
		assert_int_equal(comers[i].place, i);
	}
	window_free(t.window);
}

static void test_small_does_not_overtake(void **state)
{
	struct test t = { .seed = 1 };
	struct comer large, small;

	assert_int_equal(window_new(MAX_OPS, MAX_BYTES, &t.window), 0);
	window_enter(t.window, MAX_BYTES / 2);
	start(&large, &t, MAX_BYTES);
	start(&small, &t, 1); /* there is room for it, but it came later */
	assert_int_equal(window_waiting(t.window), 2);
	assert_int_equal(t.n_entered, 0);
	window_leave(t.window, MAX_BYTES / 2);
	pthread_join(large.thread, NULL);
	pthread_join(small.thread, NULL);
	assert_int_equal(large.place, 0);
	assert_int_equal(small.place, 1);
	window_free(t.window);
}

static void test_larger_than_the_window(void **state)
{
	struct test t = { .seed = 1 };
	struct comer empty;

	window_free(NULL);
	assert_int_equal(window_new(MAX_OPS, MAX_BYTES, &t.window), 0);
	window_enter(t.window, UINT64_MAX);
	start(&empty, &t, 0); /* not even this one beside it */
	window_leave(t.window, UINT64_MAX);
	pthread_join(empty.thread, NULL);
	window_free(t.window);
}

/* Bytes that were given back are room for others, the operation counts still. */
static void test_given_back(void **state)
{
	struct test t = { .seed = 1 };
	struct comer large, next;

	assert_int_equal(window_new(2, MAX_BYTES, &t.window), 0);
	window_enter(t.window, MAX_BYTES);
	start(&large, &t, MAX_BYTES);
	window_give(t.window, MAX_BYTES);
	pthread_join(large.thread, NULL);
	window_enter(t.window, 0);
	start(&next, &t, 0);
	assert_int_equal(t.n_entered, 1);
	window_leave(t.window, 0);
	pthread_join(next.thread, NULL);
	window_leave(t.window, 0);
	window_free(t.window);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_exceeded),
		cmocka_unit_test(test_first_come_first_in),
		cmocka_unit_test(test_small_does_not_overtake),
		cmocka_unit_test(test_larger_than_the_window),
		cmocka_unit_test(test_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
