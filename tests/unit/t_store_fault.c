/* SPDX-License-Identifier: MIT */
/* The fault store does what its rules say, no more, and never makes the caller wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/store.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/lock.h"
#include "lib/log.h"

#define TIMEOUT_MS 300
#define LONG_MS 60000

static char rules[] = "/var/tmp/t_store_fault-XXXXXX";
static struct store *store;

static const struct store_attrs attrs = { .attempt = "node/1", .crc32c = 0xe3069283 };

/* By renaming, as the syntax says. */
static void set_rules(const char *text)
{
	char temp[64];
	FILE *out;

	snprintf(temp, sizeof(temp), "%s.new", rules);
	out = fopen(temp, "w");
	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(rename(temp, rules), 0);
}

static int open_store(const char *inner, int64_t timeout_ms, struct store **ret, char err[256])
{
	char url[128];

	snprintf(url, sizeof(url), "fault:%s:%s", rules, inner);
	return store_open(url, timeout_ms, ret, err, 256);
}

static int setup(void **state)
{
	char err[256] = "";

	(void)state;
	set_rules("");
	return open_store("mem:", TIMEOUT_MS, &store, err);
}

static int teardown(void **state)
{
	(void)state;
	store_close(store);
	store = NULL;
	return 0;
}

static int put(const char *key)
{
	return store_put_wait(store, key, "123456789", 9, &attrs);
}

static int put_n(unsigned n)
{
	char key[32];

	snprintf(key, sizeof(key), "key/%u", n);
	return put(key);
}

static void drop_n(unsigned n)
{
	char key[32];

	snprintf(key, sizeof(key), "key/%u", n);
	assert_int_equal(store_drop_wait(store, key, attrs.attempt), 0);
}

/* An operation under way. */
struct flight {
	struct lock lock;
	struct cond cond;
	bool done;
	int64_t r;
};

static void flight_init(struct flight *f)
{
	*f = (struct flight){ .done = false };
	lock_init(&f->lock, LOCK_RANK_LEAF, "test flight");
	cond_init(&f->cond);
}

static void flight_done(void *arg, int r)
{
	struct flight *f = arg;

	lock_take(&f->lock);
	f->r = r;
	f->done = true;
	cond_signal(&f->cond);
	lock_drop(&f->lock);
}

static bool flight_is_done(struct flight *f)
{
	bool done;

	lock_take(&f->lock);
	done = f->done;
	lock_drop(&f->lock);
	return done;
}

static int flight_wait(struct flight *f)
{
	int64_t deadline = clock_mono_ms() + LONG_MS;

	lock_take(&f->lock);
	while (!f->done)
		assert_true(cond_wait_until(&f->cond, &f->lock, deadline));
	lock_drop(&f->lock);
	cond_fini(&f->cond);
	lock_fini(&f->lock);
	return (int)f->r;
}

/* ---- when --------------------------------------------------------------- */

static void test_every(void **state)
{
	(void)state;
	set_rules("# comment\n\nput error EIO 3 # every third\n");
	for (unsigned i = 1; i <= 9; i++)
		assert_int_equal(put_n(i), i % 3 ? 0 : -EIO);
	set_rules("put error EROFS every 2\n");
	assert_int_equal(put_n(10), 0);
	assert_int_equal(put_n(11), -EROFS);
}

static void test_nth_and_first(void **state)
{
	(void)state;
	set_rules("put error EACCES nth 2\n");
	assert_int_equal(put_n(1), 0);
	assert_int_equal(put_n(2), -EACCES);
	assert_int_equal(put_n(3), 0);
	set_rules("put error EACCES first 2\n");
	assert_int_equal(put_n(4), -EACCES);
	assert_int_equal(put_n(5), -EACCES);
	assert_int_equal(put_n(6), 0);
}

static unsigned count_failures(unsigned from)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < 32; i++)
		bits |= (unsigned)(put_n(from + i) < 0) << i;
	return bits;
}

static void test_probability(void **state)
{
	unsigned a, b, c;

	(void)state;
	set_rules("put error EIO p 50 seed 7\n");
	a = count_failures(0);
	set_rules("put error EIO p 50 seed 7  \n");
	b = count_failures(100);
	set_rules("put error EIO p 50 seed 8\n");
	c = count_failures(200);
	assert_int_equal(a, b);
	assert_int_not_equal(a, c);
	assert_in_range(__builtin_popcount(a), 6, 26);
	set_rules("put error EIO p 0\n");
	assert_int_equal(count_failures(300), 0);
}

static void test_key(void **state)
{
	(void)state;
	set_rules("* error EIO key *_1.jpg\n");
	assert_int_equal(put("cam/2017/x_1.jpg"), -EIO);
	assert_int_equal(put("cam/2017/x_0.jpg"), 0);
}

/* ---- what --------------------------------------------------------------- */

static void test_get(void **state)
{
	char buf[9];

	(void)state;
	assert_int_equal(put("k"), 0);
	set_rules("get short\n");
	assert_int_equal(store_get_wait(store, "k", 0, buf, 9), 4);
	set_rules("get flip\n");
	assert_int_equal(store_get_wait(store, "k", 0, buf, 9), 9);
	assert_memory_equal(buf, "1234", 4);
	assert_int_equal(buf[4], '5' ^ 0x10);
	assert_memory_equal(buf + 5, "6789", 4);
	set_rules("* short\n");
	assert_int_equal(put("l"), 0);
	set_rules("");
	assert_int_equal(store_get_wait(store, "k", 0, buf, 9), 9);
	assert_memory_equal(buf, "123456789", 9);
}

static void test_verify(void **state)
{
	struct receipt_want want = {
		.key = "k", .attempt = "node/1", .size = 9, .crc32c = 0xe3069283
	};
	struct receipt *receipt = NULL;

	(void)state;
	assert_int_equal(put("k"), 0);
	set_rules("verify flip\n");
	assert_int_equal(store_prove_wait(store, &want, &receipt), -EBADMSG);
	assert_null(receipt);
	set_rules("verify error EIO\n");
	assert_int_equal(store_prove_wait(store, &want, &receipt), -EIO);
	assert_null(receipt);
	set_rules("");
	assert_int_equal(store_prove_wait(store, &want, &receipt), 0);
	receipt_free(receipt);
}

static void test_lost(void **state)
{
	int64_t start = clock_mono_ms();
	struct store_stat st;

	(void)state;
	set_rules("put lost\n");
	assert_int_equal(put("k"), -ETIMEDOUT);
	assert_true(clock_mono_ms() - start >= TIMEOUT_MS);
	assert_int_equal(store_stat_wait(store, "k", &st), 0);
	assert_int_equal(st.size, 9);
	set_rules("drop lost now\n");
	assert_int_equal(store_drop_wait(store, "k", "node/1"), -ETIMEDOUT);
	assert_int_equal(store_stat_wait(store, "k", &st), -ENOENT);
	/* What fails anyway is not lost. */
	assert_int_equal(store_drop_wait(store, "k", "node/1"), -ENOENT);
}

static int count_key(const char *key, void *arg)
{
	(void)key;
	++*(unsigned *)arg;
	return 0;
}

static void test_list(void **state)
{
	unsigned n = 0;

	(void)state;
	assert_int_equal(put("k"), 0);
	set_rules("list error EIO\n");
	assert_int_equal(store_list(store, "", count_key, &n), -EIO);
	set_rules("list down\n");
	assert_int_equal(store_list(store, "", count_key, &n), -ETIMEDOUT);
	assert_int_equal(n, 0);
	set_rules("list delay 20ms\n");
	assert_int_equal(store_list(store, "", count_key, &n), 0);
	assert_int_equal(n, 1);
}

static void test_down(void **state)
{
	struct store_health h;
	struct store_counts c;
	struct store_stat st;

	(void)state;
	set_rules("* down\n");
	assert_int_equal(put("k"), -ETIMEDOUT);
	store_health(store, &h);
	assert_false(h.up);
	assert_non_null(strstr(h.error, "down"));
	set_rules("* down now\n");
	assert_int_equal(put("k"), -ETIMEDOUT);
	assert_int_equal(store_stat_wait(store, "k", &st), -ETIMEDOUT);
	store_counts(store, &c);
	assert_int_equal(c.timeouts, 3);
	set_rules("");
	store_health(store, &h);
	assert_true(h.up);
	assert_string_equal(h.error, "");
	assert_int_equal(store_stat_wait(store, "k", &st), -ENOENT);
}

static void test_full(void **state)
{
	const struct store_attrs even = { .attempt = "node/1", .even_full = true };
	struct store_health h;
	char c;

	(void)state;
	assert_int_equal(put("before"), 0);
	set_rules("* full\n");
	assert_int_equal(put("k"), -ENOSPC);
	assert_int_equal(store_put_wait(store, "even", "x", 1, &even), 0);
	assert_int_equal(store_get_wait(store, "before", 0, &c, 1), 1);
	assert_int_equal(store_drop_wait(store, "before", "node/1"), 0);
	store_health(store, &h);
	assert_true(h.up);
	assert_non_null(strstr(h.error, "No space"));
	set_rules("");
	assert_int_equal(put("k"), 0);
	store_health(store, &h);
	assert_string_equal(h.error, "");
}

/* ---- late --------------------------------------------------------------- */

static void test_delay(void **state)
{
	int64_t start = clock_mono_ms();
	struct store *s;
	struct flight f;
	char err[256];

	(void)state;
	assert_int_equal(open_store("mem:", LONG_MS, &s, err), 0);
	set_rules("* delay 100ms\nput delay 50ms\n");
	flight_init(&f);
	store_put(s, "k", "123456789", 9, &attrs, flight_done, &f);
	assert_int_equal(flight_wait(&f), 0);
	assert_true(clock_mono_ms() - start >= 150);
	store_close(s);
}

/* One that is delayed past the timeout is not done at all. */
static void test_delay_too_long(void **state)
{
	int64_t start = clock_mono_ms();
	struct store_stat st;

	(void)state;
	set_rules("put delay 1h\n");
	assert_int_equal(put("k"), -ETIMEDOUT);
	assert_in_range(clock_mono_ms() - start, TIMEOUT_MS, LONG_MS);
	assert_int_equal(store_stat_wait(store, "k", &st), -ENOENT);
}

static void test_hold(void **state)
{
	struct store *s;
	struct store_stat st;
	struct flight f;
	char err[256];

	(void)state;
	assert_int_equal(open_store("mem:", LONG_MS, &s, err), 0);
	set_rules("put hold key held\n");
	flight_init(&f);
	store_put(s, "held", "x", 1, &attrs, flight_done, &f);
	assert_int_equal(store_put_wait(s, "other", "x", 1, &attrs), 0);
	assert_int_equal(store_stat_wait(s, "held", &st), -ENOENT);
	assert_false(flight_is_done(&f));
	set_rules("");
	assert_int_equal(flight_wait(&f), 0);
	store_close(s);

	set_rules("put hold\n");
	assert_int_equal(put("k"), -ETIMEDOUT);
}

/* Whatever is late is due when the store closes. */
static void test_close(void **state)
{
	static const char *const late[] = { "put hold", "put delay 1h", "put down", "put lost" };
	int64_t start = clock_mono_ms();
	char err[256];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct store *s;
		struct flight f;

		set_rules(late[i]);
		assert_int_equal(open_store("mem:", LONG_MS, &s, err), 0);
		flight_init(&f);
		store_put(s, "k", "x", 1, &attrs, flight_done, &f);
		assert_false(flight_is_done(&f));
		store_close(s);
		assert_true(flight_is_done(&f));
		assert_int_equal(flight_wait(&f), i < 2 ? 0 : -ETIMEDOUT);
	}
	assert_true(clock_mono_ms() - start < LONG_MS);
}

/* ---- the file ----------------------------------------------------------- */

static void test_bad_rules(void **state)
{
	static const char *const bad[] = {
		"put",
		"put explode",
		"fetch error EIO",
		"put error",
		"put error ENONSENSE",
		"put short",
		"get full",
		"put error EIO 0",
		"put error EIO every",
		"put error EIO every x",
		"put delay",
		"put delay soon",
		"put error EIO p 101",
		"put error EIO now",
		"list lost",
		"put error EIO key",
		"put down 1 2 x",
	};
	char err[256];

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[64];
		struct store *s;

		snprintf(text, sizeof(text), "\n%s\n", bad[i]);
		set_rules(text);
		err[0] = '\0';
		assert_int_equal(open_store("mem:", TIMEOUT_MS, &s, err), -EINVAL);
		assert_non_null(strstr(err, ":2: "));
		assert_non_null(strstr(err, bad[i]));
	}
}

/* While it runs, a bad file changes nothing, and a missing one is no rules. */
static void test_bad_change(void **state)
{
	(void)state;
	set_rules("put error EIO\n");
	assert_int_equal(put("k"), -EIO);
	set_rules("put error EIO\nnonsense\n");
	assert_int_equal(put("k"), -EIO);
	assert_int_equal(unlink(rules), 0);
	assert_int_equal(put("k"), 0);
}

#define N_READERS 4
#define N_VERSIONS 300

struct put_some {
	unsigned first;
	_Atomic bool *stop;
	_Atomic unsigned *n_failed;
};

static void *put_on(void *arg)
{
	struct put_some *p = arg;

	for (unsigned i = p->first; !*p->stop; i += N_READERS)
		if (put_n(i) < 0)
			++*p->n_failed;
		else
			drop_n(i);
	return NULL;
}

/* Whoever reads the same change together counts together, and no older rules come back. */
static void test_read_by_many(void **state)
{
	pthread_t thread[N_READERS];
	struct put_some p[N_READERS];
	_Atomic bool stop = false;
	_Atomic unsigned n_failed = 0;

	(void)state;
	for (unsigned i = 0; i < N_READERS; i++) {
		p[i] = (struct put_some){ i, &stop, &n_failed };
		assert_int_equal(pthread_create(&thread[i], NULL, put_on, &p[i]), 0);
	}
	for (unsigned i = 1; i <= N_VERSIONS; i++) {
		int64_t deadline = clock_mono_ms() + LONG_MS;

		set_rules("put error EIO nth 1\n");
		while (n_failed < i) {
			assert_true(clock_mono_ms() < deadline);
			sched_yield();
		}
	}
	stop = true;
	for (unsigned i = 0; i < N_READERS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(n_failed, N_VERSIONS);
}

static void test_stack(void **state)
{
	char url[160], err[256];
	struct store *s;

	(void)state;
	snprintf(url, sizeof(url), "fault:%s:fault:%s:mem:", rules, rules);
	assert_int_equal(store_open(url, TIMEOUT_MS, &s, err, sizeof(err)), 0);
	set_rules("get flip\n");
	assert_int_equal(store_put_wait(s, "k", "x", 1, &attrs), 0);
	assert_int_equal(store_get_wait(s, "k", 0, err, 1), 1);
	assert_int_equal(err[0], 'x');
	store_close(s);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_every),      TEST(test_nth_and_first), TEST(test_probability),
		TEST(test_key),	       TEST(test_get),		 TEST(test_verify),
		TEST(test_lost),       TEST(test_list),		 TEST(test_down),
		TEST(test_full),       TEST(test_delay),	 TEST(test_delay_too_long),
		TEST(test_hold),       TEST(test_close),	 TEST(test_bad_rules),
		TEST(test_bad_change), TEST(test_read_by_many),	 TEST(test_stack),
	};
	int fd = mkstemp(rules), failed;

	log_open("t_store_fault", false);
	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(rules);
	return failed != 0;
}
