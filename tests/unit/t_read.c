/* SPDX-License-Identifier: MIT */
/*
 * Reading released files: with a row whose object went meanwhile, and within its time.
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
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tests/unit/pack_rig.h"
#include "tier/blobs.h"
#include "tier/pack.h"
#include "tier/read_int.h"
#include "tier/verify.h"

#define PENDING INT64_MIN

static int setup(void **state)
{
	*state = pack_rig(RIG_MEM);
	return 0;
}

struct reading {
	void *buf;
	_Atomic int64_t n;
};

static void was_read(void *arg, const void *bytes, int64_t n)
{
	struct reading *reading = arg;

	if (n > 0)
		memcpy(reading->buf, bytes, (size_t)n);
	reading->n = n;
}

static int64_t read_some(struct remote *r, uint64_t off, void *buf, size_t len)
{
	struct reading reading = { .buf = buf, .n = PENDING };

	remote_read(r, off, len, was_read, &reading);
	rig_until(reading.n != PENDING);
	return reading.n;
}

/* What the file d/n of a pack holds. */
static void assert_packed(struct remote *r, unsigned n)
{
	char want[PACK_FILE_BYTES] = "", got[PACK_FILE_BYTES + 1];

	snprintf(want, sizeof(want), "this is d/%u", n);
	assert_int_equal(read_some(r, 0, got, sizeof(got)), sizeof(want));
	assert_memory_equal(got, want, sizeof(want));
	assert_int_equal(read_some(r, 5, got, 100), 100);
	assert_memory_equal(got, want + 5, 100);
}

/* Files 0 to 2 are released, their rows as they are now; then their pack is another. */
static void rewrite_behind(struct rig *rig, struct file_row rows[3])
{
	uint64_t old = pack_archive(rig, "d", 10);
	char path[16];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_unlink(rig, path);
		rows[i] = rig_look(rig, path).row;
		assert_int_equal(rows[i].pack, old);
	}
	pack_drop_files(rig, "d", 3, 10);
	assert_int_equal(pack_tidy(rig), 1);
	pack_make_due(rig, old);
	assert_int_equal(pack_tidy(rig), 1);
	assert_false(pack_is_stored(rig, old));
}

static void pack_was_rewritten(void **state)
{
	struct rig *rig = *state;
	struct file_row stale[3];
	struct remote *r;
	uint64_t now;

	rewrite_behind(rig, stale);
	now = rig_look(rig, "d/0").row.pack;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(remote_open(rig->t, &stale[i], &r), 0);
		assert_packed(r, i);
		/* and the new one stays while it is read */
		assert_true(remote_in_use(rig->t, now));
		remote_put(r);
		/* who read it counts until it has answered */
		rig_until(!remote_in_use(rig->t, now));
	}
	/* what is read ahead with an old row */
	assert_int_equal(blobs_load(rig->t->blobs, stale[0].pack, "nothing", 5000, false), 0);
	assert_int_equal(remote_open(rig->t, &stale[0], &r), 0);
	assert_packed(r, 0);
	remote_put(r);
	pack_check(rig);
}

static void row_leads_to_other_bytes(void **state)
{
	struct rig *rig = *state;
	struct file_row stale[3];
	char buf[PACK_FILE_BYTES];
	struct remote *r;

	rewrite_behind(rig, stale);
	rig->conf.trash_grace = rig->conf.trash_grace_unseen = 3600000;
	pack_unlink(rig, "d/0");
	pack_unlink(rig, "d/1");
	memset(buf, 'x', sizeof(buf));
	rig_write(rig, "d/1", buf, sizeof(buf));
	rig_settle(rig, "d/1");
	assert_int_equal(rig_archive(rig, "d/1"), 0);
	pack_rename(rig, "d/2", "d/3");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(remote_open(rig->t, &stale[i], &r), 0);
		assert_int_equal(read_some(r, 0, buf, sizeof(buf)), -EIO);
		remote_put(r);
	}
}

/* Of a large file no checksum is compared while it is read: the row's must be the same. */
static void large_file_was_replaced(void **state)
{
	struct rig *rig = *state;
	size_t size = REMOTE_WHOLE_BYTES + 5;
	AUTO_FREE char *bytes = calloc(1, size);
	struct file_row stale;
	struct remote *r;

	rig_write(rig, "d/big", bytes, size);
	assert_int_equal(rig_archive(rig, "d/big"), 0);
	rig_unlink(rig, "d/big");
	stale = rig_look(rig, "d/big").row;
	/* the old object's key is taken, so that the new one has another */
	pack_open_for_writing(rig, "d/big");
	memset(bytes, 'x', size);
	rig_write(rig, "d/big", bytes, size);
	assert_int_equal(rig_archive(rig, "d/big"), 0);
	rig_unlink(rig, "d/big");
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), 1);
	assert_int_equal(remote_open(rig->t, &stale, &r), 0);
	assert_int_equal(read_some(r, 0, bytes, 100), -EIO);
	remote_put(r);
	stale = rig_look(rig, "d/big").row;
	assert_int_equal(remote_open(rig->t, &stale, &r), 0);
	assert_int_equal(read_some(r, 0, bytes, size), size);
	assert_int_equal(bytes[size - 1], 'x');
	remote_put(r);
}

/* The object is missing, and the row says it should be there: asked twice, no more. */
static void object_is_missing(void **state)
{
	struct rig *rig = *state;
	char buf[PACK_FILE_BYTES];
	struct store_counts before, after;
	struct remote *r;
	struct file_row row;

	pack_archive(rig, "d", 3);
	rig_unlink(rig, "d/0");
	row = rig_look(rig, "d/0").row;
	rig_faults(rig, "get error ENOENT");
	assert_int_equal(remote_open(rig->t, &row, &r), 0);
	store_counts(rig->t->store, &before);
	assert_int_equal(read_some(r, 0, buf, sizeof(buf)), -EIO);
	store_counts(rig->t->store, &after);
	assert_int_equal(after.ops[STORE_GET] - before.ops[STORE_GET], 1);
	rig_faults(rig, "");
	assert_packed(r, 0);
	remote_put(r);
}

/* ---- memory ---------------------------------------------------------------------- */

#define LARGE (4u << 20)
#define OPEN 18 /* more than 64 MiB of them */

static uint64_t gets(struct rig *rig)
{
	struct store_counts counts;

	store_counts(rig->t->store, &counts);
	return counts.ops[STORE_GET];
}

/* Who opens many, reads a little of each and keeps them open does not fill the memory. */
static void little_is_kept(void **state)
{
	AUTO_FREE char *bytes = calloc(1, LARGE), *seen = malloc(LARGE);
	struct rig *rig = *state;
	struct remote *r[OPEN];
	char path[16], some[100];
	uint64_t before;

	for (unsigned i = 0; i < OPEN; i++) {
		struct file_row row;

		snprintf(path, sizeof(path), "d/%u", i);
		memset(bytes + LARGE / 2, 'a' + (int)i, LARGE / 2);
		rig_write(rig, path, bytes, LARGE);
		assert_int_equal(rig_archive(rig, path), 0);
		row = rig_look(rig, path).row;
		assert_int_equal(remote_open(rig->t, &row, &r[i]), 0);
	}
	before = gets(rig);
	for (unsigned i = 0; i < OPEN; i++)
		assert_int_equal(read_some(r[i], 0, some, sizeof(some)), sizeof(some));
	assert_int_equal(gets(rig) - before, OPEN);
	/* the last ones are, the first ones are not */
	assert_true(remote_read_now(r[OPEN - 1], LARGE / 2, 1, was_read,
				    &(struct reading){ .buf = some }));
	assert_int_equal(some[0], 'a' + OPEN - 1);
	assert_int_equal(gets(rig) - before, OPEN);
	assert_false(remote_read_now(r[0], 0, 1, was_read, NULL));
	assert_int_equal(read_some(r[0], LARGE / 2, some, sizeof(some)), sizeof(some));
	assert_int_equal(some[99], 'a');
	assert_int_equal(gets(rig) - before, OPEN + 1);
	/* nor is one that was read to its end, in whatever order */
	assert_int_equal(read_some(r[0], LARGE / 2, seen, LARGE / 2), LARGE / 2);
	assert_int_equal(read_some(r[0], 0, seen, LARGE / 2), LARGE / 2);
	assert_int_equal(gets(rig) - before, OPEN + 1);
	assert_int_equal(read_some(r[0], 0, seen, LARGE), LARGE);
	assert_int_equal(gets(rig) - before, OPEN + 2);
	assert_int_equal(seen[LARGE - 1], 'a');
	for (unsigned i = 0; i < OPEN; i++)
		remote_put(r[i]);
}

struct closing {
	struct remote *r;
	_Atomic int64_t n;
};

static void close_it(void *arg, const void *bytes, int64_t n)
{
	struct closing *c = arg;

	(void)bytes;
	remote_put(c->r);
	c->n = n;
}

/* Its reader was the last who had it open, and closed it as soon as it had its bytes. */
static void last_count_ends_with_the_answer(void **state)
{
	struct closing c = { .n = PENDING };
	struct rig *rig = *state;
	char some[10];

	pack_archive(rig, "d", 3);
	rig_unlink(rig, "d/0");
	for (unsigned from_memory = 0; from_memory < 2; from_memory++) {
		struct file_row row = rig_look(rig, "d/0").row;

		c.n = PENDING;
		assert_int_equal(remote_open(rig->t, &row, &c.r), 0);
		if (from_memory)
			assert_int_equal(read_some(c.r, 0, some, sizeof(some)), sizeof(some));
		remote_read(c.r, 20, 10, close_it, &c);
		rig_until(c.n != PENDING);
		assert_int_equal(c.n, 10);
		rig_until(!remote_in_use(rig->t, row.pack));
	}
}

/* One that could not be read is no memory until it is closed. */
static void nothing_is_kept_of_a_failure(void **state)
{
	struct rig *rig = *state;
	struct file_row row;
	struct remote *r;
	char some[10];

	pack_archive(rig, "d", 3);
	rig_unlink(rig, "d/0");
	row = rig_look(rig, "d/0").row;
	assert_int_equal(remote_open(rig->t, &row, &r), 0);
	rig_faults(rig, "get flip");
	assert_int_equal(read_some(r, 0, some, sizeof(some)), -EIO);
	assert_null(r->whole);
	rig_faults(rig, "");
	assert_packed(r, 0);
	remote_put(r);
}

/* ---- time ------------------------------------------------------------------------ */

/* What was loaded ahead fails late, and the store would give the bytes too late. */
static void one_deadline_for_all(void **state)
{
	struct rig *rig = *state;
	char buf[PACK_FILE_BYTES];
	AUTO_FREE char *key = NULL;
	struct store_counts counts;
	struct file_row row;
	struct pack_row pack;
	struct remote *r;

	/* two gets take longer than a read may; the store itself has minutes for either */
	rig->conf.store_timeout = 6000;
	pack_archive(rig, "d", 3);
	rig_unlink(rig, "d/0");
	row = rig_look(rig, "d/0").row;
	pack = pack_get(rig, row.pack);
	key = object_pack_key(rig->t, row.pack);
	rig_faults(rig, "get delay 4s\nget error EIO nth 1");
	assert_int_equal(remote_open(rig->t, &row, &r), 0);
	assert_int_equal(blobs_load(rig->t->blobs, row.pack, key, pack.data_bytes, false), 0);
	assert_int_equal(read_some(r, 0, buf, sizeof(buf)), -EIO);
	/* that so little time was not enough does not mean that the store is down */
	store_counts(rig->t->store, &counts);
	assert_int_equal(counts.timeouts, 0);
	/* a read of its own has a deadline of its own */
	rig_faults(rig, "");
	assert_packed(r, 0);
	remote_put(r);
}

/* ---- verify ------------------------------------------------------------------------ */

#define MANY 40
#define LEFT 19 /* more than are checked at a time, less than half of the pack */

struct verifying {
	struct rig *rig;
	uint64_t pack; /* 0: it was dropped */
	struct verify_progress last;
};

/* At the first answer most rows were read and not yet compared: their pack goes. */
static int progress(void *arg, const struct verify_progress *now)
{
	struct verifying *y = arg;

	y->last = *now;
	if (!y->pack)
		return 0;
	assert_int_equal(pack_tidy(y->rig), 1);
	pack_make_due(y->rig, y->pack);
	assert_int_equal(pack_tidy(y->rig), 1);
	assert_false(pack_is_stored(y->rig, y->pack));
	y->pack = 0;
	return 0;
}

static void bad(void *arg, const char *path, const char *reason)
{
	(void)arg;
	fail_msg("%s: %s", path, reason);
}

static void verified_where_it_is(void **state)
{
	struct rig *rig = *state;
	struct verifying y = { .rig = rig, .pack = pack_archive(rig, "d", MANY) };
	struct verify_request req = { .progress = progress, .bad = bad, .arg = &y };

	pack_drop_files(rig, "d", LEFT, MANY);
	assert_int_equal(verify_run(rig->t, &req), 0);
	assert_int_equal(y.pack, 0);
	assert_int_equal(y.last.files_done, LEFT);
	assert_int_equal(y.last.files_skipped, 0);
	assert_int_equal(y.last.bytes_done, LEFT * PACK_FILE_BYTES);
	pack_check(rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pack_was_rewritten),
		TEST(row_leads_to_other_bytes),
		TEST(large_file_was_replaced),
		TEST(object_is_missing),
		TEST(little_is_kept),
		TEST(one_deadline_for_all),
		TEST(verified_where_it_is),
		TEST(last_count_ends_with_the_answer),
		TEST(nothing_is_kept_of_a_failure),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
