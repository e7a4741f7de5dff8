/* SPDX-License-Identifier: MIT */
/*
 * A catalogue that is rebuilt from its journal has the same rows, whatever was
 * done to it, and goes on from there; spoiled parts are refused.
 *
 *	EBB_TEST_SEED=N   run the random test with this seed alone
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"
#include "tests/unit/catalogue_world.h"

#define N_SEEDS 4 /* EBB_TEST_SEED=N runs any other */
#define N_STEPS 400

static struct cat_rebuild *begin(struct fixture *f, const char *file)
{
	struct catalogue_ids ids = catalogue_ids(f->c);
	struct cat_rebuild *r;

	if (cat_rebuild_begin(file, &ids.volume, &ids.node, &r, f->err, sizeof(f->err)) < 0)
		fail_msg("%s", f->err);
	return r;
}

static void apply_all(struct cat_rebuild *r, const struct parts *p)
{
	for (int i = 0; i < p->n; i++)
		assert_int_equal(cat_rebuild_apply(r, p->all[i].seq, p->all[i].data,
						   p->all[i].len_bytes),
				 0);
}

/* Closes the fixture's catalogue; what is rebuilt becomes it. */
static void rebuild(struct fixture *f, const struct parts *p)
{
	struct cat_rebuild *r;
	char file[310];

	snprintf(file, sizeof(file), "%s-rebuilt", f->file);
	r = begin(f, file);
	apply_all(r, p);
	assert_int_equal(cat_rebuild_finish(r), 0);
	fixture_become(f, file);
	assert_int_equal(catalogue_journal_seq(f->c), p->n + 1);
}

static void one_seed(struct fixture *f, uint64_t seed)
{
	struct parts *p = calloc(1, sizeof(*p));
	struct world w = { .seed = seed };

	for (int i = 0; i < N_STEPS; i++) {
		int r = catalogue_write(f->c, SYNC_NORMAL, world_change, &w);

		if (r != 0 && r != -ECANCELED)
			fail_msg("%d; repeat with EBB_TEST_SEED=%llu", r, (unsigned long long)seed);
		if (world_rnd(&w, 20) == 0)
			ship(f->c, p, 1 + world_rnd(&w, 5000), 1 + (int)world_rnd(&w, 4));
		if (world_rnd(&w, 100) == 0)
			fixture_reopen(f);
		if (world_rnd(&w, 150) == 0) {
			ship(f->c, p, 5000, MAX_PARTS);
			rebuild(f, p); /* and on with the rebuilt one */
		}
	}
	ship(f->c, p, 5000, MAX_PARTS);
	print_message("seed %llu: %d parts\n", (unsigned long long)seed, p->n);
	rebuild(f, p);
	parts_fini(p);
}

static void t_random(void **state)
{
	const char *seed = getenv("EBB_TEST_SEED");

	if (seed)
		return one_seed(*state, strtoull(seed, NULL, 10));
	for (uint64_t s = 1; s <= N_SEEDS; s++) {
		void *fresh;

		fixture_setup(&fresh);
		one_seed(fresh, s);
		fixture_teardown(&fresh);
	}
}

/* ---- rebuilding ---- */

static void t_goes_on(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	struct file_row lost, row;
	uint64_t number, after;

	put_some(f->c, 0, 20);
	ship(f->c, p, 1 << 20, 100);
	put_some(f->c, 20, 1); /* never shipped: undone by the loss */
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "000020", &lost), 0);
	for (int i = 0; i < 200000; i++)
		assert_int_equal(catalogue_next_number(f->c, &number), 0);
	fixture_close(f);
	unlink(f->file);
	{
		struct uid128 u = { { 1 } };
		struct cat_rebuild *r;

		assert_int_equal(cat_rebuild_begin(f->file, &u, &u, &r, f->err, sizeof(f->err)), 0);
		apply_all(r, p);
		assert_int_equal(cat_rebuild_finish(r), 0);
	}
	fixture_open(f);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "000020", &row), -ENOENT);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "000019", &row), 0);
	assert_true(row.txn <= catalogue_journalled_txn(f->c));
	assert_int_equal(catalogue_next_number(f->c, &after), 0);
	assert_true(after > number);
	put_some(f->c, 21, 1);
	assert_int_equal(cat_file_get(f->c, ROW_ROOT_DIR, "000021", &lost), 0);
	assert_true(lost.txn > row.txn);
	fixture_reopen(f);
	ship(f->c, p, 1 << 20, 100);
	rebuild(f, p); /* again, over the jump of the numbers */
	assert_int_equal(catalogue_next_number(f->c, &number), 0);
	assert_true(number > after);
	parts_fini(p);
}

static void t_refused(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	struct uid128 u = { { 1 } };
	struct cat_rebuild *r;
	char file[310], junk[] = "Tjunk that is no changeset", *half;

	assert_int_equal(cat_rebuild_begin(f->file, &u, &u, &r, f->err, sizeof(f->err)), -EEXIST);
	put_some(f->c, 0, 3);
	ship(f->c, p, 1 << 20, 100);
	fixture_close(f);
	assert_int_equal(cat_rebuild_begin(f->file, &u, &u, &r, f->err, sizeof(f->err)), -EEXIST);
	assert_non_null(strstr(f->err, "exists"));

	snprintf(file, sizeof(file), "%s-2", f->file);
	assert_int_equal(cat_rebuild_begin(file, &u, &u, &r, f->err, sizeof(f->err)), 0);
	assert_int_equal(cat_rebuild_apply(r, 1, junk, sizeof(junk)), -EBADMSG);
	assert_int_equal(cat_rebuild_apply(r, 1, "x", 1), -EBADMSG);
	half = malloc(p->all[0].len_bytes / 2);
	memcpy(half, p->all[0].data, p->all[0].len_bytes / 2);
	assert_int_equal(cat_rebuild_apply(r, 1, half, p->all[0].len_bytes / 2), -EBADMSG);
	free(half);
	apply_all(r, p);
	assert_int_equal(cat_rebuild_apply(r, 2, NULL, 0), 0); /* another record's number */
	assert_int_equal(cat_rebuild_apply(r, 2, NULL, 0), -EBADMSG);
	assert_int_equal(cat_rebuild_apply(r, 1, p->all[0].data, p->all[0].len_bytes), -EBADMSG);
	/* While it is being made nobody opens it, and afterwards it is gone. */
	strcpy(f->file, file);
	assert_int_equal(fixture_try_open(f, true), -EBUSY);
	cat_rebuild_abort(r);
	assert_int_equal(access(file, F_OK), -1);
	assert_int_equal(fixture_try_open(f, false), -ENOENT);
	parts_fini(p);
}

/* Bytes that were changed on the way: refused or applied, but never a crash or a hang. */
static void t_spoiled(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	struct world w = { .seed = 4711 };
	struct cat_rebuild *r;
	char file[310], *data;
	int refused = 0;

	for (int i = 0; i < 40; i++)
		catalogue_write(f->c, SYNC_NORMAL, world_change, &w);
	ship(f->c, p, 4000, 1);
	snprintf(file, sizeof(file), "%s-2", f->file);
	r = begin(f, file);
	data = malloc(p->all[0].len_bytes);
	for (uint64_t i = 1; i <= 3000; i++) {
		size_t len = p->all[0].len_bytes;
		int ret;

		memcpy(data, p->all[0].data, len);
		for (unsigned n = 1 + world_rnd(&w, 3); n > 0; n--)
			data[world_rnd(&w, (unsigned)len)] ^= (char)(1 << world_rnd(&w, 8));
		if (world_rnd(&w, 4) == 0)
			len = 1 + world_rnd(&w, (unsigned)len);
		ret = cat_rebuild_apply(r, i, data, len);
		refused += ret == -EBADMSG;
		if (ret != 0 && ret != -EBADMSG && ret != -EIO)
			fail_msg("%d", ret);
	}
	assert_true(refused > 100);
	free(data);
	cat_rebuild_abort(r);
	parts_fini(p);
}

static void half_a_rebuild(void *arg)
{
	struct fixture *f = arg;
	struct uid128 u = { { 1 } };
	struct cat_rebuild *r;

	assert_int_equal(cat_rebuild_begin(f->file, &u, &u, &r, f->err, sizeof(f->err)), 0);
	raise(SIGKILL);
}

static void t_rebuild_cut_short(void **state)
{
	struct fixture *f = *state;

	fixture_close(f);
	unlink(f->file);
	in_child(half_a_rebuild, f, -SIGKILL);
	assert_int_equal(fixture_try_open(f, true), -EUCLEAN);
	assert_non_null(strstr(f->err, "cut short"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_random), T(t_goes_on), T(t_refused), T(t_spoiled), T(t_rebuild_cut_short),
	};

	log_open("t_journal_rebuild", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
