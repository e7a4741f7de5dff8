/* SPDX-License-Identifier: MIT */
/*
 * Finding parts without a listing: for every beginning that was dropped and every end, the
 * newest part is found, what is beyond a number is known, and little stays behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "backend/store.h"
#include "lib/log.h"
#include "tier/parts.h"

#define LAST 200

static const struct uid128 node = { { 1, 2, 3 } };

static struct store *open_store(void)
{
	struct store *s;
	char err[200];

	assert_int_equal(store_open("mem:", 1000, &s, err, sizeof(err)), 0);
	return s;
}

static void put_key(struct store *s, const char *key, const char *text)
{
	struct store_attrs attrs = { .attempt = "t/1" };

	assert_int_equal(store_put_wait(s, key, text, strlen(text), &attrs), 0);
}

static void put(struct store *s, uint64_t seq)
{
	char key[PARTS_KEY_SIZE];

	journal_key(&node, seq, key, sizeof(key));
	put_key(s, key, "x");
}

static void drop(struct store *s, uint64_t seq)
{
	char key[PARTS_KEY_SIZE];

	journal_key(&node, seq, key, sizeof(key));
	assert_int_equal(store_drop_wait(s, key, NULL), 0);
}

static int count_key(const char *key, void *arg)
{
	(void)key;
	(*(int *)arg)++;
	return 0;
}

static void assert_found(struct store *s, uint64_t last)
{
	uint64_t newest;

	assert_int_equal(journal_newest(s, &node, &newest), 0);
	assert_int_equal(newest, last);
	for (uint64_t seq = 0; seq < last + 3; seq++)
		assert_int_equal(journal_beyond(s, &node, seq), seq < last);
}

/* The journal grows, and its beginning goes, by steps that have nothing to do with bits. */
static void t_found(void **state)
{
	struct store *s = open_store();
	uint64_t dropped = 1;
	int n = 0;

	(void)state;
	assert_found(s, 0);
	for (uint64_t last = 1; last <= LAST; last++) {
		put(s, last);
		for (; last % 7 == 0 && dropped + last % 13 < last; dropped++) {
			uint64_t gone[PARTS_GONE_MAX];

			for (int i = journal_gone_with(dropped, gone); i > 0; i--)
				drop(s, gone[i - 1]); /* each is there, once */
		}
		assert_found(s, last);
	}
	assert_int_equal(store_list(s, ".ebb/", count_key, &n), 0);
	assert_true(n <= LAST - (int)dropped + 1 + 8);
	store_close(s);
}

static void t_far(void **state)
{
	struct store *s = open_store();
	uint64_t far = UINT64_C(0xfedcba987654), gone[PARTS_GONE_MAX], newest;

	(void)state;
	for (uint64_t low = far; low; low &= low - 1)
		put(s, low);
	assert_int_equal(journal_newest(s, &node, &newest), 0);
	assert_true(newest == far);
	assert_int_equal(journal_beyond(s, &node, 1000), 1);
	assert_int_equal(journal_beyond(s, &node, far), 0);
	assert_int_equal(journal_gone_with(UINT64_MAX >> 1, gone), 63);
	store_close(s);
}

static void t_checkpoint_parts(void **state)
{
	struct store *s = open_store();
	char key[PARTS_KEY_SIZE];
	uint64_t n;
	bool ended;

	(void)state;
	assert_int_equal(checkpoint_parts(s, &node, 5, &n, &ended), 0);
	assert_true(n == 0 && !ended);
	for (uint64_t i = 0; i < 3; i++) {
		checkpoint_key(&node, 5, i, key, sizeof(key));
		put_key(s, key, "x");
	}
	assert_int_equal(checkpoint_parts(s, &node, 5, &n, &ended), 0);
	assert_true(n == 3 && !ended);
	checkpoint_key(&node, 5, 3, key, sizeof(key));
	put_key(s, key, "");
	assert_int_equal(checkpoint_parts(s, &node, 5, &n, &ended), 0);
	assert_true(n == 3 && ended);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t_found),
		cmocka_unit_test(t_far),
		cmocka_unit_test(t_checkpoint_parts),
	};

	log_open("t_parts", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
