/* SPDX-License-Identifier: MIT */
/*
 * Objects in memory: whoever reads gets the object's bytes or is told to ask the store,
 * once; and memory stays within its bound whatever comes together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/store.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "tier/blobs.h"

#define SIZE 1000u
#define OBJECTS 32u
#define PATIENCE_MS 60000

struct world {
	char dir[64], rules[80];
	struct store *store;
	struct blobs *blobs;
};

static char byte_of(uint64_t number, uint64_t at)
{
	return (char)(number * 31 + at * 7 + (at >> 8));
}

static void faults(struct world *w, const char *rules)
{
	char fresh[96];
	FILE *f;

	snprintf(fresh, sizeof(fresh), "%s.new", w->rules);
	f = fopen(fresh, "w");
	assert_non_null(f);
	fprintf(f, "%s\n", rules);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(fresh, w->rules), 0);
}

static void key_of(uint64_t number, char ret[32])
{
	snprintf(ret, 32, "o/%llu", (unsigned long long)number);
}

static void put(struct world *w, uint64_t number)
{
	struct store_attrs attrs = { .attempt = "n/1" };
	char data[SIZE], key[32];

	for (unsigned i = 0; i < SIZE; i++)
		data[i] = byte_of(number, i);
	attrs.crc32c = crc32c(0, data, SIZE);
	key_of(number, key);
	assert_int_equal(store_put_wait(w->store, key, data, SIZE, &attrs), 0);
}

static struct world *world(uint64_t max_bytes)
{
	struct world *w = calloc(1, sizeof(*w));
	char url[160], err[256];

	assert_non_null(w);
	strcpy(w->dir, "/tmp/ebb-blobs.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->rules, sizeof(w->rules), "%s/rules", w->dir);
	snprintf(url, sizeof(url), "fault:%s:mem:", w->rules);
	if (store_open(url, PATIENCE_MS, &w->store, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	assert_int_equal(blobs_new(w->store, max_bytes, &w->blobs), 0);
	for (unsigned i = 1; i <= OBJECTS; i++)
		put(w, i);
	return w;
}

/* As tier_close does: the store first. */
static void world_free(struct world *w)
{
	store_close(w->store);
	blobs_free(w->blobs);
	unlink(w->rules);
	rmdir(w->dir);
	free(w);
}

static struct blobs_counts counts(struct world *w)
{
	struct blobs_counts n;

	blobs_counts(w->blobs, &n);
	return n;
}

static uint64_t gets(struct world *w)
{
	struct store_counts n;

	store_counts(w->store, &n);
	return n.ops[STORE_GET];
}

static int load(struct world *w, uint64_t number, bool once)
{
	char key[32];

	key_of(number, key);
	return blobs_load(w->blobs, number, key, SIZE, once);
}

struct ask {
	_Atomic int calls;
	_Atomic int64_t n;
	uint64_t number, off;
	char buf[SIZE];
};

static void answered(void *arg, int64_t n)
{
	struct ask *a = arg;

	a->n = n;
	a->calls++;
}

static bool ask(struct world *w, struct ask *a, uint64_t number, uint64_t off, size_t len)
{
	memset(a, 0, sizeof(*a));
	a->number = number;
	a->off = off;
	return blobs_read(w->blobs, number, off, a->buf, len, answered, a);
}

static void wait_for(struct ask *a)
{
	int64_t deadline = clock_mono_ms() + PATIENCE_MS;

	while (a->calls == 0) {
		assert_true(clock_mono_ms() < deadline);
		poll(NULL, 0, 2);
	}
	assert_int_equal(a->calls, 1);
}

static bool is_right(const struct ask *a, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		if (a->buf[i] != byte_of(a->number, a->off + (uint64_t)i))
			return false;
	}
	return true;
}

static void assert_right(struct ask *a, size_t len)
{
	wait_for(a);
	assert_int_equal(a->n, len);
	assert_true(is_right(a, a->n));
}

/* Reading it moves it to the end of those that may go. */
static bool is_here(struct world *w, uint64_t number)
{
	struct ask a;

	if (!ask(w, &a, number, 0, SIZE))
		return false;
	assert_right(&a, SIZE);
	return true;
}

/* ---- one at a time ------------------------------------------------------------- */

static void what_was_loaded_is_read(void **state)
{
	struct world *w = world(16 * SIZE);
	struct ask a;

	assert_false(ask(w, &a, 1, 0, SIZE));
	assert_int_equal(load(w, 1, false), 0);
	assert_int_equal(load(w, 1, false), 0);
	assert_int_equal(gets(w), 1);
	assert_true(ask(w, &a, 1, 0, SIZE));
	assert_right(&a, SIZE);
	assert_true(ask(w, &a, 1, 100, 50));
	assert_right(&a, 50);
	assert_false(ask(w, &a, 2, 0, SIZE));
	assert_int_equal(a.calls, 0);
	assert_int_equal(gets(w), 1);
	assert_int_equal(counts(w).loads, 1);
	assert_int_equal(counts(w).reads, 2);
	assert_int_equal(counts(w).bytes, SIZE);
	world_free(w);
}

static void outside_of_it_nothing_is_read(void **state)
{
	struct world *w = world(16 * SIZE);
	struct ask a;

	assert_int_equal(load(w, 1, false), 0);
	assert_false(ask(w, &a, 1, 1, SIZE));
	assert_false(ask(w, &a, 1, SIZE + 1, 0));
	assert_false(ask(w, &a, 1, UINT64_MAX, 2));
	assert_int_equal(a.calls, 0);
	world_free(w);
}

static void who_comes_early_waits(void **state)
{
	struct world *w = world(16 * SIZE);
	struct ask a, b;

	faults(w, "get hold");
	assert_int_equal(load(w, 1, false), 0);
	assert_int_equal(load(w, 1, false), 0);
	assert_true(ask(w, &a, 1, 0, SIZE));
	assert_true(ask(w, &b, 1, 500, 500));
	assert_int_equal(a.calls + b.calls, 0);
	assert_int_equal(counts(w).bytes, SIZE);
	faults(w, "");
	assert_right(&a, SIZE);
	assert_right(&b, 500);
	assert_int_equal(gets(w), 1);
	world_free(w);
}

static void failed(const char *rules)
{
	struct world *w = world(16 * SIZE);
	char held[64];
	struct ask a, b;

	snprintf(held, sizeof(held), "get hold\n%s", rules);
	faults(w, held);
	assert_int_equal(load(w, 1, false), 0);
	assert_true(ask(w, &a, 1, 0, SIZE));
	assert_true(ask(w, &b, 1, 0, 10));
	faults(w, "");
	wait_for(&a);
	wait_for(&b);
	assert_int_equal(a.n, -EAGAIN);
	assert_int_equal(b.n, -EAGAIN);
	assert_int_equal(counts(w).bytes, 0);
	assert_false(ask(w, &a, 1, 0, SIZE));
	/* It may be tried again. */
	assert_int_equal(load(w, 1, false), 0);
	assert_true(is_here(w, 1));
	world_free(w);
}

static void a_load_that_fails(void **state)
{
	failed("get error EIO");
	failed("get short");
	failed("get down now");
}

static void an_object_that_is_not_there(void **state)
{
	struct world *w = world(16 * SIZE);
	struct ask a;

	assert_int_equal(load(w, 1000, false), 0);
	assert_false(ask(w, &a, 1000, 0, SIZE));
	assert_int_equal(counts(w).bytes, 0);
	assert_int_equal(counts(w).unused, 1);
	world_free(w);
}

/* ---- room ---------------------------------------------------------------------- */

static void the_oldest_goes(void **state)
{
	struct world *w = world(4 * SIZE);

	for (unsigned i = 1; i <= 4; i++)
		assert_int_equal(load(w, i, false), 0);
	assert_true(is_here(w, 1));
	assert_int_equal(load(w, 5, false), 0);
	assert_int_equal(counts(w).bytes, 4 * SIZE);
	assert_int_equal(counts(w).unused, 1);
	assert_false(is_here(w, 2));
	for (unsigned i = 1; i <= 5; i++)
		assert_int_equal(is_here(w, i), i != 2);
	world_free(w);
}

static void what_is_loading_stays(void **state)
{
	struct world *w = world(4 * SIZE);

	faults(w, "get hold");
	for (unsigned i = 1; i <= 4; i++)
		assert_int_equal(load(w, i, false), 0);
	assert_int_equal(load(w, 5, false), -ENOBUFS);
	assert_int_equal(load(w, 4, false), 0);
	assert_int_equal(counts(w).bytes, 4 * SIZE);
	faults(w, "");
	for (unsigned i = 1; i <= 4; i++)
		assert_true(is_here(w, i));
	assert_int_equal(load(w, 5, false), 0);
	world_free(w);
}

static void too_large(void **state)
{
	struct world *w = world(4 * SIZE), *none = world(0), *tight = world(2 * SIZE - 1);

	assert_int_equal(blobs_load(w->blobs, 1, "o/1", 0, false), -ENOBUFS);
	assert_int_equal(blobs_load(w->blobs, 1, "o/1", UINT64_MAX, false), -ENOBUFS);
	assert_int_equal(blobs_load(none->blobs, 1, "o/1", 1, false), -ENOBUFS);
	assert_int_equal(load(tight, 1, false), -ENOBUFS);
	assert_int_equal(gets(w) + gets(none) + gets(tight), 0);
	world_free(w);
	world_free(none);
	world_free(tight);
}

static void once(void **state)
{
	struct world *w = world(4 * SIZE);
	struct ask a, b;

	assert_int_equal(load(w, 1, true), 0);
	assert_int_equal(counts(w).bytes, SIZE);
	assert_true(is_here(w, 1));
	assert_int_equal(counts(w).bytes, 0);
	assert_false(is_here(w, 1));
	/* Who waited together reads together. */
	faults(w, "get hold");
	assert_int_equal(load(w, 2, true), 0);
	assert_true(ask(w, &a, 2, 0, SIZE));
	assert_true(ask(w, &b, 2, 1, 10));
	faults(w, "");
	assert_right(&a, SIZE);
	assert_right(&b, 10);
	while (counts(w).bytes > 0)
		poll(NULL, 0, 2);
	assert_false(is_here(w, 2));
	assert_int_equal(counts(w).unused, 0);
	world_free(w);
}

static void closing_answers_who_waits(void **state)
{
	struct world *w = world(16 * SIZE);
	struct ask a[8];

	faults(w, "get hold");
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(load(w, i + 1, i % 2), 0);
		assert_true(ask(w, &a[i], i + 1, 0, SIZE));
	}
	world_free(w);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(a[i].calls, 1);
}

/* ---- many at once ---------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS 1500

struct crowd {
	struct world *w;
	unsigned seed;
	_Atomic unsigned *waiting; /* borrowed */
	_Atomic unsigned wrong, read;
};

struct one {
	struct ask ask; /* first */
	struct crowd *c;
};

static void one_answered(void *arg, int64_t n)
{
	struct one *o = arg;

	if (n == (int64_t)SIZE)
		o->c->read++;
	if (n != -EAGAIN && (n != (int64_t)SIZE || !is_right(&o->ask, n)))
		o->c->wrong++;
	(*o->c->waiting)--;
	free(o);
}

static void *crowd_main(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t number = (unsigned)rand_r(&c->seed) % OBJECTS + 1;
		struct one *o = calloc(1, sizeof(*o));
		int r = load(c->w, number, number % 3 == 0);

		o->c = c;
		o->ask.number = number;
		c->wrong += r != 0 && r != -ENOBUFS;
		(*c->waiting)++;
		if (!blobs_read(c->w->blobs, number, 0, o->ask.buf, SIZE, one_answered, o)) {
			(*c->waiting)--;
			free(o);
		}
		c->wrong += counts(c->w).bytes > 8 * SIZE;
	}
	return NULL;
}

static void many_at_once(void **state)
{
	struct world *w = world(8 * SIZE);
	struct crowd c[THREADS] = { 0 };
	_Atomic unsigned waiting = 0;
	unsigned read = 0;
	pthread_t t[THREADS];

	faults(w, "get error EIO p 5\nget delay 1ms p 30");
	for (unsigned i = 0; i < THREADS; i++) {
		c[i].w = w;
		c[i].seed = i;
		c[i].waiting = &waiting;
		assert_int_equal(pthread_create(&t[i], NULL, crowd_main, &c[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	world_free(w);
	assert_int_equal(waiting, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(c[i].wrong, 0);
		read += c[i].read;
	}
	assert_true(read > ROUNDS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_loaded_is_read),
		cmocka_unit_test(outside_of_it_nothing_is_read),
		cmocka_unit_test(who_comes_early_waits),
		cmocka_unit_test(a_load_that_fails),
		cmocka_unit_test(an_object_that_is_not_there),
		cmocka_unit_test(the_oldest_goes),
		cmocka_unit_test(what_is_loading_stays),
		cmocka_unit_test(too_large),
		cmocka_unit_test(once),
		cmocka_unit_test(closing_answers_who_waits),
		cmocka_unit_test(many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
