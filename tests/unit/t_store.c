/* SPDX-License-Identifier: MIT */
/*
 * The contract of backend/store.h: one suite, run on every store (store_rig.h).  Keys,
 * and many operations at once, are t_store_keys.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/log.h"
#include "tests/unit/store_rig.h"

/* ---- one object --------------------------------------------------------- */

static void test_ranges(void **state)
{
	const char *k = sut_key("camera/2024/01/02/03/a_0.jpg");
	char buf[32];

	(void)state;
	assert_int_equal(sut_put(k, "0123456789"), 0);
	assert_int_equal(store_get_wait(sut.store, k, 0, buf, 10), 10);
	assert_memory_equal(buf, "0123456789", 10);
	assert_int_equal(store_get_wait(sut.store, k, 3, buf, 4), 4);
	assert_memory_equal(buf, "3456", 4);
	assert_int_equal(store_get_wait(sut.store, k, 8, buf, 20), 2);
	assert_memory_equal(buf, "89", 2);
	assert_int_equal(store_get_wait(sut.store, k, 10, buf, 20), 0);
	assert_int_equal(store_get_wait(sut.store, k, 1ULL << 40, buf, 20), 0);
	/* To RADOS this would be a read of everything. */
	memset(buf, '.', sizeof(buf));
	assert_int_equal(store_get_wait(sut.store, k, 5, buf, 0), 0);
	assert_int_equal(buf[0], '.');
	assert_int_equal(store_get_wait(sut.store, k, UINT64_MAX, buf, 20), -EINVAL);
}

static void test_exclusive(void **state)
{
	const char *k = sut_key("exclusive");
	struct store_stat st;

	(void)state;
	assert_int_equal(sut_put_as(k, "node/1", "first", 5), 0);
	assert_int_equal(sut_put_as(k, "node/2", "second!", 7), -EEXIST);
	assert_int_equal(sut_put_as(k, "node/1", "first", 5), -EEXIST);
	sut_assert_content(k, "first", 5);
	assert_int_equal(store_stat_wait(sut.store, k, &st), 0);
	assert_string_equal(st.attempt, "node/1");
}

static void test_attributes(void **state)
{
	static const char attempt[] = "123e4567-e89b-42d3-a456-426614174000/18446744073709551615";
	const char *k = sut_key("attributes");
	struct store_stat st = { .crc32c = 1 };

	(void)state;
	assert_true(strlen(attempt) < STORE_ATTEMPT_MAX);
	assert_int_equal(sut_put_as(k, attempt, "123456789", 9), 0);
	assert_int_equal(store_stat_wait(sut.store, k, &st), 0);
	assert_int_equal(st.size, 9);
	assert_int_equal(st.crc32c, 0);
	assert_string_equal(st.attempt, attempt);
	assert_true(st.has_written);
	assert_int_equal(st.written_crc32c, 0xe3069283);
	st = (struct store_stat){ .size = 0 };
	assert_int_equal(store_verify_wait(sut.store, k, &st), 0);
	assert_int_equal(st.size, 9);
	assert_int_equal(st.crc32c, 0xe3069283);
	assert_string_equal(st.attempt, attempt);
	assert_true(st.has_written);
	assert_int_equal(st.written_crc32c, 0xe3069283);
}

/* What was written stays what was written: what the store computes may say otherwise. */
static void test_written(void **state)
{
	static const uint32_t written[] = { 0, 0x0000000a, 0xfffffffe };
	struct store_attrs attrs = { .attempt = "node/1" };
	char name[16];
	struct store_stat st;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "written%u", i);
		attrs.crc32c = written[i];
		assert_int_equal(store_put_wait(sut.store, sut_key(name), "123456789", 9, &attrs),
				 0);
		assert_int_equal(store_verify_wait(sut.store, sut_key(name), &st), 0);
		assert_int_equal(st.crc32c, 0xe3069283);
		assert_true(st.has_written);
		assert_int_equal(st.written_crc32c, written[i]);
	}
}

static void test_long_path(void **state)
{
	char path[STORE_KEY_MAX];
	struct store_attrs attrs = { .attempt = "node/1", .path = path };
	const char *k = sut_key("long path");
	struct store_stat st;

	(void)state;
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(store_put_wait(sut.store, k, "", 0, &attrs), 0);
	assert_int_equal(store_stat_wait(sut.store, k, &st), 0);
	assert_string_equal(st.attempt, "node/1");
	attrs.path = NULL;
	assert_int_equal(store_put_wait(sut.store, sut_key("no path"), "", 0, &attrs), 0);
}

static void test_empty(void **state)
{
	const char *k = sut_key("empty");
	struct store_stat st;
	char c;

	(void)state;
	assert_int_equal(sut_put_as(k, "node/1", "", 0), 0);
	assert_int_equal(store_verify_wait(sut.store, k, &st), 0);
	assert_int_equal(st.size, 0);
	assert_int_equal(st.crc32c, 0);
	assert_int_equal(store_get_wait(sut.store, k, 0, &c, 1), 0);
	sut_assert_content(k, "", 0);
	assert_int_equal(store_drop_wait(sut.store, k, "node/1"), 0);
	assert_int_equal(store_stat_wait(sut.store, k, &st), -ENOENT);
}

static void test_missing(void **state)
{
	static const char *const names[] = { "nothing", "no/such/place", "is/a" };
	struct store_stat st = { .size = 42 };
	char buf[8];
	size_t len;
	void *all;

	(void)state;
	assert_int_equal(sut_put(sut_key("is/a/directory/of"), "some stores"), 0);
	for (unsigned i = 0; i < 3; i++) {
		const char *k = sut_key(names[i]);

		assert_int_equal(store_get_wait(sut.store, k, 0, buf, 8), -ENOENT);
		assert_int_equal(store_stat_wait(sut.store, k, &st), -ENOENT);
		assert_int_equal(store_verify_wait(sut.store, k, &st), -ENOENT);
		assert_int_equal(store_drop_wait(sut.store, k, "node/1"), -ENOENT);
		assert_int_equal(store_drop_wait(sut.store, k, NULL), -ENOENT);
		assert_int_equal(store_get_all_wait(sut.store, k, 8, &all, &len), -ENOENT);
	}
	assert_int_equal(st.size, 42);
}

static void test_drop(void **state)
{
	const char *k = sut_key("deep/below/dropped");

	(void)state;
	assert_int_equal(sut_put(k, "x"), 0);
	assert_int_equal(store_drop_wait(sut.store, k, "node/2"), -ESTALE);
	assert_int_equal(store_drop_wait(sut.store, k, "node/11"), -ESTALE);
	assert_int_equal(store_drop_wait(sut.store, k, "node/"), -ESTALE);
	assert_int_equal(store_drop_wait(sut.store, k, ""), -EINVAL);
	sut_assert_content(k, "x", 1);
	assert_int_equal(store_drop_wait(sut.store, k, "node/1"), 0);
	assert_int_equal(store_drop_wait(sut.store, k, "node/1"), -ENOENT);
	assert_int_equal(sut_put_as(k, "node/3", "y", 1), 0);
	assert_int_equal(store_drop_wait(sut.store, k, "node/1"), -ESTALE);
	assert_int_equal(store_drop_wait(sut.store, k, NULL), 0);
}

static void was_got(void *arg, int64_t r)
{
	__atomic_store_n((int64_t *)arg, r, __ATOMIC_SEQ_CST);
}

/* Time of its own: more than the timeout is the timeout, none is -ETIMEDOUT or bytes, once. */
static void test_get_until(void **state)
{
	static const int64_t left_ms[] = { INT64_MAX / 2, 60000, 0, -1000 };
	const char *k = sut_key("until");
	char buf[4][16];
	int64_t r[4];

	(void)state;
	assert_int_equal(sut_put(k, "content"), 0);
	for (unsigned i = 0; i < 4; i++) {
		r[i] = INT64_MIN;
		store_get_until(sut.store, k, 0, buf[i], sizeof(buf[i]),
				clock_mono_ms() + left_ms[i], was_got, &r[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		while (__atomic_load_n(&r[i], __ATOMIC_SEQ_CST) == INT64_MIN)
			sched_yield();
		if (i < 2 || r[i] != -ETIMEDOUT)
			assert_int_equal(r[i], 7);
	}
}

static void test_get_all(void **state)
{
	const char *k = sut_key("all");
	size_t len = 7;
	void *buf = &len;

	(void)state;
	assert_int_equal(sut_put(k, "12345"), 0);
	assert_int_equal(store_get_all_wait(sut.store, k, 4, &buf, &len), -EFBIG);
	assert_true(buf == &len && len == 7);
	sut_assert_content(k, "12345", 5);
}

static void test_large(void **state)
{
	const size_t n = 64U << 20;
	const char *k = sut_key("large");
	uint32_t *data = malloc(n);
	struct store_stat st;
	char some[100000];

	(void)state;
	assert_non_null(data);
	for (uint32_t i = 0, x = 1; i < n / 4; i++)
		data[i] = x = x * 1664525 + 1013904223;
	assert_int_equal(sut_put_as(k, "node/1", data, n), 0);
	assert_int_equal(store_verify_wait(sut.store, k, &st), 0);
	assert_int_equal(st.size, n);
	assert_int_equal(st.crc32c, crc32c(0, data, n));
	sut_assert_content(k, data, n);
	assert_int_equal(store_get_wait(sut.store, k, n - 50001, some, sizeof(some)), 50001);
	assert_memory_equal(some, (char *)data + n - 50001, 50001);
	assert_int_equal(store_drop_wait(sut.store, k, "node/1"), 0);
	free(data);
}

/* ---- listing ------------------------------------------------------------ */

static int remember_key(const char *k, void *arg)
{
	strcat(arg, k + strlen(sut.prefix) + strlen("/list/"));
	strcat(arg, ";");
	return 0;
}

static int stop_at_two(const char *k, void *arg)
{
	(void)k;
	return ++*(unsigned *)arg == 2 ? 77 : 0;
}

static void test_list(void **state)
{
	static const char *const names[] = { "list/ab/c", "list/ab/d", "list/abe", "list/x",
					     "list/\xc3\xa4" };
	char seen[512] = "";
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(sut_put(sut_key(names[i]), "x"), 0);
	assert_int_equal(store_list(sut.store, sut_key("list/"), sut_count_listed, &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(store_list(sut.store, sut_key("list/ab"), remember_key, seen), 0);
	assert_int_equal(strlen(seen), strlen("ab/c;ab/d;abe;"));
	assert_non_null(strstr(seen, "ab/c;"));
	assert_non_null(strstr(seen, "ab/d;"));
	assert_non_null(strstr(seen, "abe;"));
	seen[0] = '\0';
	assert_int_equal(store_list(sut.store, sut_key("list/ab/"), remember_key, seen), 0);
	assert_int_equal(strlen(seen), strlen("ab/c;ab/d;"));
	n = 0;
	assert_int_equal(store_list(sut.store, sut_key("list/ab/c"), sut_count_listed, &n), 0);
	assert_int_equal(n, 1);
	n = 0;
	assert_int_equal(store_list(sut.store, sut_key("list/nothing/here/"), sut_count_listed, &n),
			 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_list(sut.store, sut_key("list"), stop_at_two, &n), 77);
	assert_int_equal(n, 2);
	/* Dropping from within. */
	assert_int_equal(store_list(sut.store, sut_key("list"), sut_drop_listed, NULL), 0);
	n = 0;
	assert_int_equal(store_list(sut.store, sut_key("list"), sut_count_listed, &n), 0);
	assert_int_equal(n, 0);
}

/* ---- receipts ----------------------------------------------------------- */

static void test_prove(void **state)
{
	const char *k = sut_key("proven");
	struct receipt_want want = {
		.key = k, .attempt = "node/1", .size = 9, .crc32c = 0xe3069283
	};
	struct receipt_want bad;
	struct receipt *r = NULL;

	(void)state;
	assert_int_equal(store_prove_wait(sut.store, &want, &r), -ENOENT);
	assert_int_equal(sut_put(k, "123456789"), 0);

	bad = want;
	bad.size = 8;
	assert_int_equal(store_prove_wait(sut.store, &bad, &r), -EBADMSG);
	bad = want;
	bad.crc32c ^= 1;
	assert_int_equal(store_prove_wait(sut.store, &bad, &r), -EBADMSG);
	bad = want;
	bad.attempt = "node/2";
	assert_int_equal(store_prove_wait(sut.store, &bad, &r), -ESTALE);
	bad.attempt = "";
	assert_int_equal(store_prove_wait(sut.store, &bad, &r), -EINVAL);
	bad = want;
	bad.key = "";
	assert_int_equal(store_prove_wait(sut.store, &bad, &r), -EINVAL);
	assert_null(r);

	assert_int_equal(store_prove_wait(sut.store, &want, &r), 0);
	assert_string_equal(receipt_attempt(r), "node/1");
	assert_int_equal(receipt_size(r), 9);
	assert_int_equal(receipt_crc32c(r), 0xe3069283);
	receipt_free(r);
	receipt_free(NULL);
}

/* ---- the store ---------------------------------------------------------- */

static void test_health(void **state)
{
	struct store_counts before, after;
	struct store_health h;

	(void)state;
	assert_int_equal(sut_put(sut_key("healthy"), "12345"), 0);
	store_health(sut.store, &h);
	assert_true(h.up);
	assert_string_equal(h.error, "");
	assert_true(h.free_bytes <= h.total_bytes);
	assert_true(h.since_ms > 0 && h.since_ms <= clock_mono_ms());
	if (sut.is_dir)
		assert_true(h.total_bytes > 0);

	store_counts(sut.store, &before);
	assert_int_equal(sut_put(sut_key("counted"), "12345"), 0);
	assert_int_equal(sut_put(sut_key("counted"), "12345"), -EEXIST);
	sut_assert_content(sut_key("counted"), "12345", 5);
	store_counts(sut.store, &after);
	assert_int_equal(after.ops[STORE_PUT] - before.ops[STORE_PUT], 2);
	assert_int_equal(after.ops[STORE_GET] - before.ops[STORE_GET], 1);
	assert_int_equal(after.bytes_put - before.bytes_put, 5);
	assert_int_equal(after.bytes_got - before.bytes_got, 5);
	assert_int_equal(after.errors, before.errors);
	assert_int_equal(after.timeouts, before.timeouts);
	assert_string_not_equal(store_name(sut.store), "");
}

/* Operations in flight when it is closed are done when close returns. */
static void test_close(void **state)
{
	struct store_attrs attrs = { .attempt = "node/1" };
	char keys[40][128];
	struct crowd b;

	crowd_init(&b, 40);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%s/closing/%u", sut.prefix, i);
		store_put(sut.store, keys[i], "x", 1, &attrs, crowd_done, &b);
	}
	store_close(sut.store);
	assert_int_equal(b.left, 0);
	assert_int_equal(b.ok, 40);
	crowd_wait(&b);
	store_close(NULL);

	assert_int_equal(sut_open(state), 0);
	if (sut.durable) {
		for (unsigned i = 0; i < 40; i++)
			sut_assert_content(keys[i], "x", 1);
	}
}

static const struct CMUnitTest suite[] = {
	cmocka_unit_test(test_ranges),	   cmocka_unit_test(test_exclusive),
	cmocka_unit_test(test_attributes), cmocka_unit_test(test_written),
	cmocka_unit_test(test_long_path),  cmocka_unit_test(test_empty),
	cmocka_unit_test(test_missing),	   cmocka_unit_test(test_drop),
	cmocka_unit_test(test_get_all),	   cmocka_unit_test(test_large),
	cmocka_unit_test(test_list),	   cmocka_unit_test(test_prove),
	cmocka_unit_test(test_health),	   cmocka_unit_test(test_close),
	cmocka_unit_test(test_get_until),
};

/* ---- opening ------------------------------------------------------------ */

static void test_urls(void **state)
{
	static const struct {
		const char *url;
		int r;
	} bad[] = {
		{ "", -EINVAL },
		{ "nonsense", -EINVAL },
		{ "ftp://x", -EINVAL },
		{ "dir", -EINVAL },
		{ "dir:", -EINVAL },
		{ "dir:relative", -EINVAL },
		{ "dir:/", -EINVAL },
		{ "dir:/nonexistent", -ENOENT },
		{ "dir:/dev/null", -ENOTDIR },
		{ "mem:a/b", -EINVAL },
		{ "fault:", -EINVAL },
		{ "fault:/x", -EINVAL },
		{ "fault:/x:nonsense", -EINVAL },
		{ "rados:", -EINVAL },
		{ "rados:/ns", -EINVAL },
		{ "rados:a/b/c", -EINVAL },
		{ "rados:a?nonsense=1", -EINVAL },
		{ "rados:a?conf", -EINVAL },
		{ "rados:a?conf=ceph.conf", -EINVAL },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct store *s = (struct store *)state;
		char err[256] = "";

		assert_int_equal(store_open(bad[i].url, 1000, &s, err, sizeof(err)), bad[i].r);
		assert_true(s == (struct store *)state);
		assert_string_not_equal(err, "");
	}
}

int main(void)
{
	static const struct CMUnitTest opening[] = { cmocka_unit_test(test_urls) };
	int failed;

	log_open("t_store", false);
	failed = cmocka_run_group_tests(opening, NULL, NULL);
	return sut_run("t_store", suite, sizeof(suite) / sizeof(suite[0])) + failed != 0;
}
