/* SPDX-License-Identifier: MIT */
/*
 * The contract of backend/store.h, on every store (store_rig.h): which keys there are,
 * and what holds when many operations are under way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc.h"
#include "lib/log.h"
#include "tests/unit/store_rig.h"

/* ---- keys --------------------------------------------------------------- */

static void test_bad_keys(void **state)
{
	static const char *const bad[] = { "",	 "/",	  "/a",	    "a/",   "a//b", ".",
					   "..", "a/./b", "a/../b", "../a", "a/.." };
	char too_long[STORE_KEY_MAX + 1];
	struct store_stat st;
	char c;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(store_key_fits(sut.store, bad[i]));
		assert_int_equal(sut_put(bad[i], "x"), -EINVAL);
		assert_int_equal(store_get_wait(sut.store, bad[i], 0, &c, 1), -EINVAL);
		assert_int_equal(store_stat_wait(sut.store, bad[i], &st), -EINVAL);
		assert_int_equal(store_verify_wait(sut.store, bad[i], &st), -EINVAL);
		assert_int_equal(store_drop_wait(sut.store, bad[i], NULL), -EINVAL);
	}
	for (unsigned i = 0; i < STORE_KEY_MAX; i++)
		too_long[i] = i % 100 == 99 ? '/' : 'k';
	too_long[STORE_KEY_MAX] = '\0';
	assert_false(store_key_fits(sut.store, too_long));
	assert_int_equal(sut_put(too_long, "x"), -ENAMETOOLONG);
}

/* A key that fits works; one that does not is refused by put, and names nothing. */
static void try_key(const char *k)
{
	struct store_stat st;
	char *url;
	int r;

	if (!store_key_fits(sut.store, k)) {
		r = sut_put(k, "x");
		assert_true(r == -EINVAL || r == -ENAMETOOLONG);
		assert_int_equal(store_stat_wait(sut.store, k, &st), -ENOENT);
		return;
	}
	assert_int_equal(sut_put(k, k), 0);
	sut_assert_content(k, k, strlen(k));
	assert_int_equal(store_verify_wait(sut.store, k, &st), 0);
	assert_int_equal(st.crc32c, crc32c(0, k, strlen(k)));
	url = store_url(sut.store, k);
	assert_non_null(url);
	for (const char *p = url; *p; p++)
		assert_true(*p > ' ' && *p < 0x7f && !strchr("\"<>\\^`{|}", *p));
	free(url);
	assert_int_equal(store_drop_wait(sut.store, k, "node/1"), 0);
}

static void test_odd_keys(void **state)
{
	static const char *const names[] = {
		"new\nline",
		"quote'\"",
		"back\\slash",
		"spa ce",
		"tab\t",
		"per%cent%2f",
		"que?ry#frag",
		"...",
		".hidden",
		"-dash",
		"~",
		"\x01\x7f",
		"gr\xc3\xbc\xc3\x9f",
		"bad\xff\xfe utf",
		"cut\xc3",
		"$(id)",
		"a=b&c",
		"user.ebb.attempt",
		"*[a-z]?",
		".ebb",
		".ebb/x",
		"deep/.ebb/o/1",
	};
	char name[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		try_key(sut_key(names[i]));
	for (unsigned n = 254; n <= 257; n++) {
		memset(name, 'n', n);
		name[n] = '\0';
		try_key(sut_key(name));
	}
}

static void test_long_keys(void **state)
{
	static const unsigned lengths[] = { 2047, 2048, 2049, 4095 };
	char k[STORE_KEY_MAX];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		int n = snprintf(k, sizeof(k), "%s/", sut.prefix);

		for (; n < (int)lengths[i]; n++)
			k[n] = n % 200 == 199 && n + 1 < (int)lengths[i] ? '/' : 'l';
		k[n] = '\0';
		try_key(k);
	}
}

static void test_own_keys(void **state)
{
	char k[200];

	(void)state;
	snprintf(k, sizeof(k), ".ebb/test/%s/1", sut.prefix);
	assert_true(store_key_fits(sut.store, k));
	assert_int_equal(sut_put(k, "own"), 0);
	sut_assert_content(k, "own", 3);
	assert_int_equal(store_drop_wait(sut.store, k, "node/1"), 0);
}

static void test_taken(void **state)
{
	(void)state;
	assert_int_equal(sut_put(sut_key("taken/file"), "x"), 0);
	assert_int_equal(sut_put(sut_key("taken/file/below"), "x"), sut.is_dir ? -ENOTDIR : 0);
	assert_int_equal(sut_put(sut_key("taken/file/far/below"), "x"), sut.is_dir ? -ENOTDIR : 0);
	assert_int_equal(sut_put(sut_key("taken/dir/below"), "x"), 0);
	assert_int_equal(sut_put(sut_key("taken/dir"), "x"), sut.is_dir ? -EISDIR : 0);
	sut_assert_content(sut_key("taken/file"), "x", 1);
	sut_assert_content(sut_key("taken/dir/below"), "x", 1);
}

/* ---- many at once ------------------------------------------------------- */

static void test_one_wins(void **state)
{
	const char *k = sut_key("race/to/one");
	char attempts[64][16], data[64][16];
	struct store_attrs attrs[64];
	struct store_stat st;
	struct crowd b;
	unsigned winner;

	(void)state;
	crowd_init(&b, 64);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(attempts[i], sizeof(attempts[i]), "node/%u", i);
		snprintf(data[i], sizeof(data[i]), "data of %u", i);
		attrs[i] = (struct store_attrs){ .attempt = attempts[i],
						 .path = k,
						 .crc32c = crc32c(0, data[i], strlen(data[i])) };
		store_put(sut.store, k, data[i], strlen(data[i]), &attrs[i], crowd_done, &b);
	}
	crowd_wait(&b);
	assert_int_equal(b.ok, 1);
	assert_int_equal(b.taken, 63);
	assert_int_equal(store_verify_wait(sut.store, k, &st), 0);
	assert_int_equal(sscanf(st.attempt, "node/%u", &winner), 1);
	assert_int_equal(st.crc32c, attrs[winner].crc32c);
	sut_assert_content(k, data[winner], strlen(data[winner]));
}

static void test_many(void **state)
{
	enum { N = 500 };
	static char keys[N][128];
	static struct store_attrs attrs[N];
	static struct store_stat stats[N];
	struct crowd b;

	(void)state;
	crowd_init(&b, N);
	for (unsigned i = 0; i < N; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%s/many/%u/%u", sut.prefix, i % 7, i);
		attrs[i] = (struct store_attrs){ .attempt = "node/1",
						 .path = keys[i],
						 .crc32c = crc32c(0, keys[i], strlen(keys[i])) };
		store_put(sut.store, keys[i], keys[i], strlen(keys[i]), &attrs[i], crowd_done, &b);
	}
	crowd_wait(&b);
	assert_int_equal(b.ok, N);
	crowd_init(&b, N);
	for (unsigned i = 0; i < N; i++)
		store_verify(sut.store, keys[i], &stats[i], crowd_done, &b);
	crowd_wait(&b);
	assert_int_equal(b.ok, N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(stats[i].crc32c, attrs[i].crc32c);
	crowd_init(&b, N);
	for (unsigned i = 0; i < N; i++)
		store_drop(sut.store, keys[i], "node/1", crowd_done, &b);
	crowd_wait(&b);
	assert_int_equal(b.ok, N);
}

static void *put_and_drop(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	char k[128], attempt[32];

	for (unsigned i = 0; i < 40; i++) {
		struct store_attrs attrs = { .attempt = attempt };
		int r;

		/* Half of the threads meet at one key, all in one directory. */
		snprintf(k, sizeof(k), "%s/churn/a/b/%u", sut.prefix, me / 2);
		snprintf(attempt, sizeof(attempt), "node/%u-%u", me, i);
		r = store_put_wait(sut.store, k, "x", 1, &attrs);
		if (r == -EEXIST)
			continue;
		if (r < 0)
			return (void *)(intptr_t)r;
		r = store_drop_wait(sut.store, k, attempt);
		if (r < 0)
			return (void *)(intptr_t)r;
	}
	return NULL;
}

static void test_churn(void **state)
{
	pthread_t threads[8];
	unsigned n = 0;
	void *r;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, put_and_drop, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], &r);
		assert_int_equal((intptr_t)r, 0);
	}
	assert_int_equal(store_list(sut.store, sut_key("churn"), sut_count_listed, &n), 0);
	assert_int_equal(n, 0);
}

static const struct CMUnitTest suite[] = {
	cmocka_unit_test(test_bad_keys),  cmocka_unit_test(test_odd_keys),
	cmocka_unit_test(test_long_keys), cmocka_unit_test(test_own_keys),
	cmocka_unit_test(test_taken),	  cmocka_unit_test(test_one_wins),
	cmocka_unit_test(test_many),	  cmocka_unit_test(test_churn),
};

int main(void)
{
	log_open("t_store_keys", false);
	return sut_run("t_store_keys", suite, sizeof(suite) / sizeof(suite[0])) != 0;
}
