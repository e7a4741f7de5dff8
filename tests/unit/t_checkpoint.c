/* SPDX-License-Identifier: MIT */
/*
 * A checkpoint that is read while everything changes, and the journal from its number
 * on, are the catalogue that was lost: every row of it, whatever was done to it and
 * whenever.
 *
 *	EBB_TEST_SEED=N    run the random test with this seed alone
 *	EBB_TEST_SEEDS=N   with so many
 *	EBB_TEST_ROWS=N    rows of the large catalogue, whose times are printed
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

#include "lib/clock.h"
#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"
#include "tests/unit/catalogue_world.h"

#define N_SEEDS 20
#define N_STEPS 250
#define MAX_CHECKPOINT_PARTS 4000

struct blob {
	void *data; /* owned */
	size_t len;
};

/* A checkpoint as a store would hold it. */
struct copy {
	uint64_t seq; /* 0: none */
	struct blob all[MAX_CHECKPOINT_PARTS];
	int n;
};

static void copy_clear(struct copy *k)
{
	for (int i = 0; i < k->n; i++)
		free(k->all[i].data);
	k->n = 0;
	k->seq = 0;
}

/* One part.  False: that was all of it. */
static bool read_part(struct cat_checkpoint *p, struct copy *k, size_t max_bytes)
{
	struct blob *b = &k->all[k->n];
	int r = cat_checkpoint_next(p, max_bytes, &b->data, &b->len);

	if (r < 0)
		fail_msg("%d", r);
	assert_true(k->n < MAX_CHECKPOINT_PARTS - 1);
	k->n += r;
	return r == 1;
}

/* The checkpoint, then the journal up to part `end`; before k->seq it is not looked at. */
static struct cat_rebuild *apply(struct fixture *f, const struct copy *k, const struct parts *p,
				 int end, const char *file)
{
	struct catalogue_ids ids = catalogue_ids(f->c);
	struct cat_rebuild *r;

	if (cat_rebuild_begin(file, &ids.volume, &ids.node, &r, f->err, sizeof(f->err)) < 0)
		fail_msg("%s", f->err);
	for (int i = 0; i < k->n; i++)
		assert_int_equal(cat_rebuild_checkpoint(r, k->seq, k->all[i].data, k->all[i].len),
				 0);
	for (int i = k->seq ? (int)k->seq - 1 : 0; i < end; i++)
		assert_int_equal(cat_rebuild_apply(r, p->all[i].seq, p->all[i].data,
						   p->all[i].len_bytes),
				 0);
	return r;
}

/* Everything shipped; the fixture's catalogue becomes the one that is made anew. */
static void rebuild(struct fixture *f, const struct copy *k, struct parts *p)
{
	struct checkpoint_status status;
	char file[310];

	ship(f->c, p, 3000, MAX_PARTS);
	snprintf(file, sizeof(file), "%s-rebuilt", f->file);
	assert_int_equal(cat_rebuild_finish(apply(f, k, p, p->n, file)), 0);
	fixture_become(f, file);
	assert_int_equal(catalogue_journal_seq(f->c), p->n + 1);
	assert_int_equal(catalogue_checkpoint_status(f->c, &status), 0);
	assert_int_equal(status.seq, k->seq);
}

/* ---- random changes, a checkpoint somewhere among them -------------------------------- */

static void change(struct fixture *f, struct world *w, int n)
{
	while (n-- > 0) {
		int r = catalogue_write(f->c, SYNC_NORMAL, world_change, w);

		if (r != 0 && r != -ECANCELED)
			fail_msg("%d", r);
	}
}

static struct cat_checkpoint *begin(struct fixture *f, struct copy *k)
{
	struct cat_checkpoint *p;

	if (cat_checkpoint_begin(f->c, &p) < 0)
		return NULL;
	copy_clear(k);
	k->seq = cat_checkpoint_seq(p);
	assert_int_equal(k->seq, catalogue_journal_seq(f->c));
	return p;
}

/* Reads a checkpoint, a few rows at a time, between them changes and shipping. */
static void take(struct fixture *f, struct world *w, struct copy *k, struct parts *p)
{
	struct cat_checkpoint *c = begin(f, k);
	unsigned between = 1 + world_rnd(w, 6);

	if (!c)
		return;
	while (read_part(c, k, 1 + world_rnd(w, 4000))) {
		change(f, w, (int)world_rnd(w, between));
		if (world_rnd(w, 3) == 0)
			ship(f->c, p, 1 + world_rnd(w, 3000), 1);
	}
	assert_true(cat_checkpoint_txn(c) >= catalogue_journalled_txn(f->c));
	ship(f->c, p, 3000, MAX_PARTS);
	assert_true(cat_checkpoint_txn(c) <= catalogue_journalled_txn(f->c));
	assert_int_equal(catalogue_checkpoint_done(f->c, cat_checkpoint_seq(c), 1), 0);
	cat_checkpoint_free(c);
}

static void one_seed(struct fixture *f, uint64_t seed)
{
	struct parts *p = calloc(1, sizeof(*p));
	struct copy *k = calloc(1, sizeof(*k));
	struct world w = { .seed = seed };

	for (int i = 0; i < N_STEPS; i++) {
		change(f, &w, 1);
		if (world_rnd(&w, 10) == 0)
			ship(f->c, p, 1 + world_rnd(&w, 3000), 1 + (int)world_rnd(&w, 3));
		if (world_rnd(&w, 100) == 0)
			fixture_reopen(f);
		if (world_rnd(&w, 60) == 0)
			take(f, &w, k, p);
		if (world_rnd(&w, 200) == 0)
			rebuild(f, k, p);
	}
	take(f, &w, k, p);
	change(f, &w, (int)world_rnd(&w, 30));
	rebuild(f, k, p);
	copy_clear(k);
	free(k);
	parts_fini(p);
}

static void t_random(void **state)
{
	const char *seed = getenv("EBB_TEST_SEED"), *seeds = getenv("EBB_TEST_SEEDS");
	uint64_t n = seeds ? strtoull(seeds, NULL, 10) : N_SEEDS;

	if (seed)
		return one_seed(*state, strtoull(seed, NULL, 10));
	for (uint64_t s = 1; s <= n; s++) {
		void *fresh;

		print_message("EBB_TEST_SEED=%llu\n", (unsigned long long)s);
		fixture_setup(&fresh);
		one_seed(fresh, s);
		fixture_teardown(&fresh);
	}
}

/* ---- what a checkpoint is ------------------------------------------------------------- */

/* Before its journal is there it proves nothing: a row may be in it twice, or not at all. */
static void t_journal_too_short(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	struct copy *k = calloc(1, sizeof(*k));
	struct cat_checkpoint *c;
	struct cat_rebuild *r;
	char file[310];

	put_some(f->c, 0, 20);
	ship(f->c, p, 1 << 20, MAX_PARTS);
	c = begin(f, k);
	assert_true(read_part(c, k, 500));
	put_some(f->c, 20, 2); /* they are read, and after whatever was read first */
	while (read_part(c, k, 500))
		;
	assert_true(cat_checkpoint_txn(c) > catalogue_journalled_txn(f->c));
	cat_checkpoint_free(c);
	ship(f->c, p, 1, MAX_PARTS);
	snprintf(file, sizeof(file), "%s-2", f->file);
	for (int end = (int)k->seq - 1; end <= p->n; end++) {
		r = apply(f, k, p, end, file);
		assert_int_equal(cat_rebuild_finish(r), end < p->n ? -ENODATA : 0);
		unlink(file);
	}
	copy_clear(k);
	free(k);
	parts_fini(p);
}

static void t_refused(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	struct copy *k = calloc(1, sizeof(*k));
	struct catalogue_ids ids = catalogue_ids(f->c);
	struct cat_checkpoint *c;
	struct cat_rebuild *r;
	char file[310];

	put_some(f->c, 0, 20);
	ship(f->c, p, 1 << 20, MAX_PARTS);
	c = begin(f, k);
	while (read_part(c, k, 500))
		;
	cat_checkpoint_free(c);
	assert_true(k->n >= 3);
	snprintf(file, sizeof(file), "%s-2", f->file);
	assert_int_equal(
		cat_rebuild_begin(file, &ids.volume, &ids.node, &r, f->err, sizeof(f->err)), 0);
	assert_int_equal(cat_rebuild_checkpoint(r, 0, k->all[0].data, k->all[0].len), -EBADMSG);
	assert_int_equal(cat_rebuild_checkpoint(r, 2, "x", 1), -EBADMSG);
	assert_int_equal(cat_rebuild_checkpoint(r, 2, k->all[0].data, k->all[0].len), 0);
	assert_int_equal(cat_rebuild_checkpoint(r, 3, k->all[1].data, k->all[1].len), -EBADMSG);
	assert_int_equal(cat_rebuild_apply(r, 1, p->all[0].data, p->all[0].len_bytes), -EBADMSG);
	assert_int_equal(cat_rebuild_apply(r, 2, NULL, 0), 0);
	assert_int_equal(cat_rebuild_checkpoint(r, 2, k->all[1].data, k->all[1].len), -EBADMSG);
	cat_rebuild_abort(r);
	copy_clear(k);
	free(k);
	parts_fini(p);
}

/* ---- what the catalogue remembers ----------------------------------------------------- */

static void t_numbers(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	struct checkpoint_status s;
	struct cat_checkpoint *c;
	uint64_t seq;

	put_some(f->c, 0, 3);
	ship(f->c, p, 1, MAX_PARTS);
	assert_int_equal(catalogue_checkpoint_status(f->c, &s), 0);
	assert_int_equal(s.seq, 0);
	assert_int_equal(s.dropped, 1);
	assert_int_equal(s.since_bytes, 4096 * p->n); /* an object takes a block at least */
	assert_int_equal(catalogue_journal_dropped(f->c, 2), -EINVAL);

	assert_int_equal(cat_checkpoint_begin(f->c, &c), 0);
	seq = cat_checkpoint_seq(c);
	cat_checkpoint_free(c);
	/* Another cannot have parts of the same names, after a restart neither. */
	assert_int_equal(cat_checkpoint_begin(f->c, &c), -EAGAIN);
	fixture_reopen(f);
	assert_int_equal(cat_checkpoint_begin(f->c, &c), -EAGAIN);
	ship(f->c, p, 1 << 20, MAX_PARTS);
	assert_int_equal(cat_checkpoint_begin(f->c, &c), 0);
	assert_true(cat_checkpoint_seq(c) > seq);
	seq = cat_checkpoint_seq(c);
	cat_checkpoint_free(c);
	put_some(f->c, 3, 1);
	ship(f->c, p, 1 << 20, 1);
	assert_int_equal(catalogue_checkpoint_done(f->c, 1, 1000), -EINVAL);
	assert_int_equal(catalogue_checkpoint_done(f->c, seq, 1000), 0);
	fixture_reopen(f);
	assert_int_equal(catalogue_checkpoint_status(f->c, &s), 0);
	assert_int_equal(s.seq, seq);
	assert_int_equal(s.done_ns, 1000);
	assert_int_equal(s.since_bytes, 4096);

	/* What is before it goes once its grace is over, and never comes back. */
	assert_int_equal(catalogue_checkpoint_done_by(f->c, 999, &seq), 0);
	assert_int_equal(seq, 0);
	assert_int_equal(catalogue_checkpoint_done_by(f->c, 1000, &seq), 0);
	assert_int_equal(seq, s.seq);
	assert_int_equal(catalogue_journal_dropped(f->c, seq + 1), -EINVAL);
	assert_int_equal(catalogue_journal_dropped(f->c, seq), 0);
	assert_int_equal(catalogue_journal_dropped(f->c, seq - 1), -EINVAL);
	fixture_reopen(f);
	assert_int_equal(catalogue_checkpoint_status(f->c, &s), 0);
	assert_int_equal(s.dropped, seq);
	assert_int_equal(s.seq, seq);
	parts_fini(p);
}

/* A catalogue of this format that an ebbfs without checkpoints made. */
static void t_older_file(void **state)
{
	struct fixture *f = *state;
	struct checkpoint_status s;

	put_some(f->c, 0, 3);
	fixture_close(f);
	free(sql(f->file, "DROP TABLE checkpoint; DROP TABLE shipped"));
	fixture_open(f);
	assert_int_equal(catalogue_checkpoint_status(f->c, &s), 0);
	assert_int_equal(s.seq, 0);
	assert_int_equal(s.dropped, 1);
	fixture_reopen(f);
}

/* ---- a large one ------------------------------------------------------------------------ */

struct fill {
	int first, n;
};

static int run_fill(struct tx *tx, void *arg)
{
	const struct fill *fill = arg;
	int r = 0;

	for (int i = fill->first; r == 0 && i < fill->first + fill->n; i++) {
		struct file_row row = a_file(ROW_ROOT_DIR, "", i);

		snprintf(row.name, sizeof(row.name), "2017_12_15_15_56_49_%07d_1.jpg", i);
		r = tx_file_put(tx, &row);
	}
	return r;
}

static void say(const char *what, int64_t since_ms, uint64_t bytes, int parts)
{
	print_message("%s: %lld ms, %llu bytes, %d parts\n", what,
		      (long long)(clock_mono_ms() - since_ms), (unsigned long long)bytes, parts);
}

/* No part, and so no read, is much longer than asked for; what comes of it is the same. */
static void t_large(void **state)
{
	const char *env = getenv("EBB_TEST_ROWS");
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	struct copy *k = calloc(1, sizeof(*k));
	int rows = env ? atoi(env) : 30000;
	char file[310];
	struct cat_checkpoint *c;
	int64_t since, part_ms = 0;
	uint64_t bytes = 0;

	for (struct fill fill = { 0, 1000 }; fill.first < rows; fill.first += fill.n) {
		write_ok(f->c, run_fill, &fill);
		ship(f->c, p, 1 << 20, 1);
	}
	ship(f->c, p, 1 << 20, MAX_PARTS);
	since = clock_mono_ms();
	c = begin(f, k);
	for (bool more = true; more;) {
		int64_t part_since = clock_mono_ms();

		more = read_part(c, k, 1 << 20);
		if (clock_mono_ms() - part_since > part_ms)
			part_ms = clock_mono_ms() - part_since;
	}
	cat_checkpoint_free(c);
	for (int i = 0; i < k->n; i++) {
		assert_true(k->all[i].len < (1 << 20) + 4096);
		bytes += k->all[i].len;
	}
	say("checkpoint", since, bytes, k->n);
	print_message("its slowest part: %lld ms\n", (long long)part_ms);
	since = clock_mono_ms();
	snprintf(file, sizeof(file), "%s-2", f->file);
	ship(f->c, p, 1 << 20, MAX_PARTS);
	assert_int_equal(cat_rebuild_finish(apply(f, k, p, p->n, file)), 0);
	say("rebuild from it", since, bytes, k->n);
	unlink(file);
	rebuild(f, k, p);
	copy_clear(k);
	free(k);
	parts_fini(p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_random),  T(t_journal_too_short), T(t_refused),
		T(t_numbers), T(t_older_file),	      T(t_large),
	};

	log_open("t_checkpoint", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
