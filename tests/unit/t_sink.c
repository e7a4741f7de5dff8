/* SPDX-License-Identifier: MIT */
/* What every sink gets from sink.c: verdicts by default, back-off, health. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/sink_ops.h"

struct fake {
	struct sink base;
	int r;
	enum sink_verdict verdict;
	const char *notice;
};

static int fake_send(struct sink *s, struct sink_item *items, size_t n)
{
	struct fake *f = (struct fake *)s;

	for (size_t i = 0; i < n && f->r == 0; i++) {
		assert_int_equal(items[i].verdict, SINK_RETRY);
		items[i].verdict = f->verdict;
	}
	return f->r;
}

static int fake_query(struct sink *s, const char *const *paths, int *found, size_t n)
{
	return ((struct fake *)s)->r;
}

static int fake_scan(struct sink *s, const struct sink_scan *scan)
{
	return ((struct fake *)s)->r;
}

static const char *fake_error(struct sink *s)
{
	return "it does not want to";
}

static const char *fake_notice(struct sink *s)
{
	return ((struct fake *)s)->notice;
}

static const struct sink_ops fake_ops = {
	.name = "fake",
	.send = fake_send,
	.query = fake_query,
	.scan = fake_scan,
	.error = fake_error,
	.notice = fake_notice,
};

static int setup(void **state)
{
	static struct fake f;

	f = (struct fake){ .notice = "" };
	sink_init(&f.base, &fake_ops);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	sink_fini(&((struct fake *)*state)->base);
	return 0;
}

static void test_verdicts(void **state)
{
	struct fake *f = *state;
	struct sink_item items[2] = { { .verdict = SINK_DONE, .error = "old" },
				      { .verdict = SINK_POISONED } };

	f->r = -ENOMEM;
	assert_int_equal(sink_send(&f->base, items, 2), -EAGAIN);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(items[i].verdict, SINK_RETRY);
		assert_string_equal(items[i].error, "it does not want to");
	}
	f->r = 1;
	assert_int_equal(sink_send(&f->base, items, 2), 0);
	f->r = 0;
	f->verdict = SINK_DONE;
	assert_int_equal(sink_send(&f->base, items, 2), 0);
	assert_int_equal(items[1].verdict, SINK_DONE);
	assert_string_equal(items[1].error, "");
}

/* The bounds of some hundred throws; full jitter must spread over the range. */
static void check_backoff(struct fake *f, int64_t most_ms)
{
	int64_t least = INT64_MAX, most = 0;

	for (int i = 0; i < 500; i++) {
		int64_t ms = sink_backoff_ms(&f->base);

		least = ms < least ? ms : least;
		most = ms > most ? ms : most;
	}
	assert_in_range(least, 500, 500 + (most_ms - 500) / 10);
	assert_in_range(most, most_ms - (most_ms - 500) / 10, most_ms);
}

static void test_backoff(void **state)
{
	static const int64_t most_ms[] = { 1000,  2000,	 4000,	8000,  16000,
					   32000, 60000, 60000, 60000, 60000 };
	struct fake *f = *state;
	struct sink_item item = { 0 };

	assert_int_equal(sink_backoff_ms(&f->base), 0);
	for (size_t i = 0; i < sizeof(most_ms) / sizeof(most_ms[0]); i++) {
		f->r = i % 2 ? 0 : -EAGAIN; /* a call that fails, or an item that does */
		f->verdict = SINK_RETRY;
		sink_send(&f->base, &item, 1);
		check_backoff(f, most_ms[i]);
	}
	f->r = -ECANCELED; /* says nothing about the other side */
	sink_send(&f->base, &item, 1);
	check_backoff(f, 60000);
	f->r = 0;
	f->verdict = SINK_MISSING;
	sink_send(&f->base, &item, 1);
	assert_int_equal(sink_backoff_ms(&f->base), 0);
}

static void test_health(void **state)
{
	struct fake *f = *state;
	struct sink_health h;
	int found;

	sink_health(&f->base, &h);
	assert_false(h.up);
	assert_string_not_equal(h.error, "");
	sink_set_server(&f->base, "fake 1.0");
	assert_int_equal(sink_send(&f->base, NULL, 0), 0);
	sink_health(&f->base, &h);
	assert_true(h.up);
	assert_string_equal(h.error, "");
	assert_string_equal(h.server, "fake 1.0");
	f->r = -EACCES;
	assert_int_equal(sink_query(&f->base, NULL, &found, 0), -EACCES);
	sink_health(&f->base, &h);
	assert_false(h.up);
	assert_string_equal(h.error, "it does not want to");
	f->r = 0;
	f->notice = "look at this";
	assert_int_equal(sink_send(&f->base, NULL, 0), 0);
	sink_health(&f->base, &h);
	assert_true(h.up);
	assert_string_equal(h.error, "look at this");
}

static void test_scan(void **state)
{
	const struct sink_scan scan = { .arg = NULL };
	struct fake *f = *state;
	struct sink_health h;

	f->r = -EACCES;
	assert_int_equal(sink_scan(&f->base, &scan), -EACCES);
	sink_health(&f->base, &h);
	assert_false(h.up);
	assert_string_equal(h.error, "it does not want to");
	assert_int_equal(sink_backoff_ms(&f->base), 0); /* nobody waits for it */
	f->r = 0;
	assert_int_equal(sink_scan(&f->base, &scan), 0);
	sink_health(&f->base, &h);
	assert_true(h.up);
	assert_string_equal(h.error, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_verdicts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backoff, setup, teardown),
		cmocka_unit_test_setup_teardown(test_health, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scan, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
