/* SPDX-License-Identifier: MIT */
/* How many requests may wait for the store, and how large the rings' buffers may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/fs_int.h"
#include "fs/uring.h"
#include "fs/waiters.h"
#include "lib/clock.h"

#define STALL_MS 500 /* of fs/waiters.c */

static struct waiters *made(unsigned rings, unsigned entries)
{
	struct waiters *w;

	assert_int_equal(waiters_new(rings, entries, &w), 0);
	return w;
}

static void half_may_wait(void **state)
{
	struct waiters *w = made(1, 16);

	for (int i = 0; i < 8; i++)
		assert_int_equal(waiters_enter(w), 0);
	assert_int_equal(waiters_enter(w), -1);
	assert_int_equal(waiters_now(w), 8);
	assert_int_equal(waiters_refused(w), 1);
	waiters_free(w);
}

static void more_while_the_store_answers(void **state)
{
	struct waiters *w = NULL;
	int64_t answered_ms;

	/* anew where we were late, as then it takes the store for hanging */
	do {
		waiters_free(w);
		w = made(1, 16);
		for (int i = 0; i < 8; i++)
			assert_int_equal(waiters_enter(w), 0);
		answered_ms = clock_mono_ms();
		waiters_leave(w, 0);
		for (int i = 0; i < 7; i++)
			(void)waiters_enter(w);
	} while (clock_mono_ms() - answered_ms >= STALL_MS);
	assert_int_equal(waiters_now(w), 14);
	assert_int_equal(waiters_enter(w), -1);
	for (int i = 0; i < 14; i++)
		waiters_leave(w, 0);
	assert_int_equal(waiters_now(w), 0);
	waiters_free(w);
}

static void each_ring_has_its_own(void **state)
{
	struct waiters *w = made(64, 4);
	int ring = waiters_enter(w);

	assert_in_range(ring, 0, 63);
	assert_int_equal(waiters_now(w), 1);
	waiters_leave(w, ring);
	assert_int_equal(waiters_now(w), 0);
	waiters_free(w);
}

static void tiny_rings_let_one_wait(void **state)
{
	struct waiters *w = made(1, 1);

	assert_int_equal(waiters_enter(w), 0);
	assert_int_equal(waiters_enter(w), -1);
	waiters_free(w);
}

static void buffers_fit(void **state)
{
	for (unsigned rings = 1; rings <= 1024; rings *= 2) {
		for (unsigned want = 4; want <= 4096; want *= 2) {
			unsigned depth = want;
			unsigned bytes = uring_buffer_bytes(rings, &depth);

			assert_in_range(depth, 4, want);
			assert_in_range(bytes, 65536, FS_MAX_WRITE);
			assert_true((uint64_t)rings * depth * bytes <= URING_BYTES);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_may_wait),
		cmocka_unit_test(more_while_the_store_answers),
		cmocka_unit_test(each_ring_has_its_own),
		cmocka_unit_test(tiny_rings_let_one_wait),
		cmocka_unit_test(buffers_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
