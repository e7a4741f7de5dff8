/* SPDX-License-Identifier: MIT */
/*
 * Files that begin to be fetched when they are opened: a read finds them fetched, and never
 * fails or waits longer because of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tests/unit/pack_rig.h"

#define PENDING INT64_MIN
#define SIZE 300000
#define MUCH (4u << 20)
#define N_MUCH 5 /* one more than may begin */

static int setup(void **state)
{
	*state = pack_rig(RIG_MEM);
	return 0;
}

struct reading {
	_Atomic int64_t n;
	char last;
};

static void was_read(void *arg, const void *bytes, int64_t n)
{
	struct reading *reading = arg;

	if (n > 0)
		reading->last = ((const char *)bytes)[n - 1];
	reading->n = n;
}

/* d/n is archived and open; its last byte is 'a' + n. */
static struct remote *opened(struct rig *rig, unsigned n, size_t size)
{
	AUTO_FREE char *bytes = calloc(1, size);
	struct file_row row;
	struct remote *r;
	char path[16];

	assert_non_null(bytes);
	bytes[size - 1] = (char)('a' + n);
	snprintf(path, sizeof(path), "d/%u", n);
	rig_write(rig, path, bytes, size);
	assert_int_equal(rig_archive(rig, path), 0);
	row = rig_look(rig, path).row;
	assert_int_equal(remote_open(rig->t, &row, &r), 0);
	return r;
}

static uint64_t gets(struct rig *rig)
{
	struct store_counts counts;

	store_counts(rig->t->store, &counts);
	return counts.ops[STORE_GET];
}

static int64_t end_of(struct remote *r, size_t size, char *ret_last)
{
	struct reading reading = { .n = PENDING };

	remote_read(r, 0, size, was_read, &reading);
	rig_until(reading.n != PENDING);
	*ret_last = reading.last;
	return reading.n;
}

static void assert_read(struct remote *r, unsigned n, size_t size)
{
	char last;

	assert_int_equal(end_of(r, size, &last), size);
	assert_int_equal(last, 'a' + n);
}

static bool is_there(struct remote *r, struct reading *reading)
{
	return remote_read_now(r, SIZE - 1, 1, was_read, reading);
}

static void fetched_once(void **state)
{
	struct rig *rig = *state;
	struct remote *r = opened(rig, 0, SIZE);
	struct reading reading = { 0 };
	uint64_t before = gets(rig);

	remote_begin(r);
	remote_begin(r); /* by another who opens it */
	rig_until(is_there(r, &reading));
	assert_int_equal(reading.last, 'a');
	remote_begin(r);
	assert_read(r, 0, SIZE);
	assert_int_equal(gets(rig) - before, 1);
	remote_put(r);
}

/* A reader has asked for a fetch of its own, and has it. */
static void fails_alone(void **state)
{
	struct rig *rig = *state;
	struct remote *r = opened(rig, 0, SIZE), *s = opened(rig, 1, SIZE);
	uint64_t before = gets(rig);
	struct reading reading = { 0 };

	rig_faults(rig, "get error EIO nth 1");
	remote_begin(r);
	rig_until(gets(rig) - before == 1);
	assert_false(is_there(r, &reading));
	assert_read(r, 0, SIZE);
	/* who comes while it is under way */
	rig_faults(rig, "get delay 200ms nth 1\nget error EIO nth 1");
	remote_begin(s);
	assert_read(s, 1, SIZE);
	/* wrong bytes are never given */
	rig_faults(rig, "get flip");
	remote_put(r);
	r = opened(rig, 2, SIZE);
	remote_begin(r);
	assert_int_equal(end_of(r, SIZE, &reading.last), -EIO);
	rig_faults(rig, "");
	assert_read(r, 2, SIZE);
	remote_put(r);
	remote_put(s);
}

/* The time of a read is its own, whatever was begun before it: store_timeout, a second. */
static void within_its_time(void **state)
{
	struct rig *rig = *state;
	struct remote *r = opened(rig, 0, SIZE);
	struct store_counts counts;
	char last;

	rig_faults(rig, "get delay 800ms\nget error EIO nth 1");
	remote_begin(r);
	assert_int_equal(end_of(r, SIZE, &last), -EIO);
	store_counts(rig->t->store, &counts);
	assert_int_equal(counts.timeouts, 0); /* it had too little time, the store is not down */
	assert_read(r, 0, SIZE);
	remote_put(r);
}

/* A store that does not answer is not asked for all that is opened. */
static void few_at_a_time(void **state)
{
	struct rig *rig = *state;
	struct remote *r[N_MUCH];
	uint64_t number[N_MUCH];

	for (unsigned i = 0; i < N_MUCH; i++) {
		r[i] = opened(rig, i, MUCH);
		number[i] = remote_attempt(r[i]);
	}
	rig_faults(rig, "get hold");
	for (unsigned i = 0; i < N_MUCH; i++) {
		remote_begin(r[i]);
		remote_put(r[i]);
	}
	/* what is being fetched is in use, open or not */
	for (unsigned i = 0; i < N_MUCH; i++)
		assert_int_equal(remote_in_use(rig->t, number[i]), i < N_MUCH - 1);
	rig_faults(rig, "");
	for (unsigned i = 0; i < N_MUCH; i++)
		rig_until(!remote_in_use(rig->t, number[i]));
	/* there is room again */
	r[0] = opened(rig, N_MUCH, SIZE);
	remote_begin(r[0]);
	rig_until(is_there(r[0], &(struct reading){ 0 }));
	remote_put(r[0]);
}

/* Closed, and the daemon ended, before the store has answered. */
static void nobody_reads(void **state)
{
	struct rig *rig = *state;
	struct remote *r = opened(rig, 0, SIZE);

	rig_faults(rig, "get delay 200ms\nget error ENOENT");
	remote_begin(r);
	remote_put(r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fetched_once),  TEST(fails_alone),	 TEST(within_its_time),
		TEST(few_at_a_time), TEST(nobody_reads),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
