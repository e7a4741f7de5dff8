/* SPDX-License-Identifier: MIT */
/* df: the cache's numbers or the store's, whichever has more room; never mixed, never nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/room.h"

static struct statvfs cache(uint64_t blocks, uint64_t avail)
{
	return (struct statvfs){ .f_bsize = 4096,
				 .f_frsize = 4096,
				 .f_blocks = blocks,
				 .f_bfree = avail + 10,
				 .f_bavail = avail,
				 .f_files = 1000,
				 .f_ffree = 7 };
}

static void store_has_more(void **state)
{
	struct statvfs st = cache(1000, 0);

	room_choose(&st, 4096 * 5000ull, 4096 * 4000ull);
	assert_int_equal(st.f_blocks, 5000);
	assert_int_equal(st.f_bfree, 4000);
	assert_int_equal(st.f_bavail, 4000);
	assert_int_equal(st.f_files, 1000);
	assert_int_equal(st.f_ffree, 7);
}

static void cache_has_more(void **state)
{
	struct statvfs st = cache(1000, 900), before = st;

	room_choose(&st, 4096 * 5000ull, 4096 * 900ull);
	assert_memory_equal(&st, &before, sizeof(st));
	room_choose(&st, 4096 * 5000ull, 0); /* a full store */
	assert_memory_equal(&st, &before, sizeof(st));
}

static void unknown_or_absurd(void **state)
{
	struct statvfs st = cache(1000, 1), before = st;

	room_choose(&st, 0, 0);
	assert_memory_equal(&st, &before, sizeof(st));
	room_choose(&st, 0, 4096 * 4000ull);
	assert_memory_equal(&st, &before, sizeof(st));
	room_choose(&st, 4096, 4096 * 4000ull); /* more free than there is */
	assert_memory_equal(&st, &before, sizeof(st));
}

static void no_block_size(void **state)
{
	struct statvfs st = { 0 };

	room_choose(&st, 8192, 4096);
	assert_int_equal(st.f_blocks, 2);
	assert_int_equal(st.f_bavail, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_has_more),
		cmocka_unit_test(cache_has_more),
		cmocka_unit_test(unknown_or_absurd),
		cmocka_unit_test(no_block_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
