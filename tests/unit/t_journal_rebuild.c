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

#define N_SEEDS 12
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
	struct catalogue_counts before, after;
	struct cat_rebuild *r;
	char file[310], *old, *new;

	snprintf(file, sizeof(file), "%s-rebuilt", f->file);
	r = begin(f, file);
	apply_all(r, p);
	assert_int_equal(cat_rebuild_finish(r), 0);
	assert_int_equal(catalogue_counts(f->c, &before), 0);
	fixture_close(f);
	old = journalled_rows(f->file);
	new = journalled_rows(file);
	assert_same_text(old, new);
	free(old);
	free(new);
	assert_int_equal(unlink(f->file), 0);
	assert_int_equal(rename(file, f->file), 0);
	fixture_open(f);
	assert_int_equal(catalogue_counts(f->c, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(catalogue_journal_seq(f->c), p->n + 1);
}

/* ---- random transactions ---- */

struct world {
	uint64_t seed;
	dirid_t dirs[16];
	int n_dirs;
	int64_t n_events;
	int64_t n_trash;
	int n_files; /* names in use are 0 .. 39 in each directory */
};

static unsigned rnd(struct world *w, unsigned below)
{
	w->seed = w->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(w->seed >> 33) % below;
}

static dirid_t a_dir(struct world *w)
{
	return w->n_dirs ? w->dirs[rnd(w, (unsigned)w->n_dirs)] : ROW_ROOT_DIR;
}

static const char *a_name(struct world *w, char name[16])
{
	snprintf(name, 16, "\xc3%u\xff", rnd(w, 40));
	return name;
}

static int swap_dirs(struct tx *tx, struct world *w)
{
	dirid_t a = a_dir(w), b = a_dir(w);
	struct dir_row row_a, row_b;
	int r;

	if (a == b || tx_dir_get(tx, a, &row_a) < 0 || tx_dir_get(tx, b, &row_b) < 0)
		return 0;
	if (row_a.parent != row_b.parent)
		return 0;
	r = tx_dir_move(tx, a, row_a.parent, "");
	if (r == 0)
		r = tx_dir_move(tx, b, row_a.parent, row_a.name);
	if (r == 0)
		r = tx_dir_move(tx, a, row_a.parent, row_b.name);
	return r;
}

static int change_dir(struct tx *tx, struct world *w)
{
	struct dir_row row = { .parent = a_dir(w), .attr = { .mode = 040755 } };
	char name[16];
	dirid_t id;

	switch (rnd(w, 5)) {
	case 0:
		strcpy(row.name, a_name(w, name));
		if (w->n_dirs < 16 && tx_dir_put(tx, &row) == 0)
			w->dirs[w->n_dirs++] = row.id;
		return 0;
	case 1:
		id = a_dir(w);
		if (tx_dir_get(tx, id, &row) < 0)
			return 0;
		row.attr.mtime_ns = rnd(w, 1000);
		return tx_dir_put(tx, &row);
	case 2:
		tx_dir_move(tx, a_dir(w), a_dir(w), a_name(w, name));
		return 0;
	case 3:
		tx_dir_delete(tx, a_dir(w)); /* its id stays in dirs: dead ids are asked for, too */
		return 0;
	default:
		return swap_dirs(tx, w);
	}
}

static int change_trash(struct tx *tx, struct world *w)
{
	struct trash_row trash;
	int64_t id = 1 + rnd(w, (unsigned)w->n_trash + 1);
	struct file_row row;
	char name[16];
	int r = 0;

	if (rnd(w, 2) && tx_file_get(tx, a_dir(w), a_name(w, name), &row) == 0) {
		w->n_trash++;
		return tx_trash_file(tx, &row, rnd(w, 2) ? "some/path" : NULL, TRASH_REMOVED,
				     rnd(w, 100), NULL);
	}
	if (tx_trash_get(tx, id, &trash) < 0)
		return 0;
	if (rnd(w, 2) && tx_dir_get(tx, trash.file.dir, &(struct dir_row){ 0 }) == 0)
		r = tx_file_put(tx, &trash.file); /* brought back */
	trash_row_fini(&trash);
	return r < 0 ? r : tx_trash_delete(tx, id);
}

static int change_event(struct tx *tx, struct world *w)
{
	struct event_row ev = { .sink = (int)rnd(w, 2),
				.kind = EVENT_ARCHIVED,
				.ino = rnd(w, 20),
				.name = "n",
				.path = rnd(w, 2) ? (char *)"p" : NULL };
	int64_t id = 1 + rnd(w, (unsigned)w->n_events + 1);

	switch (rnd(w, 3)) {
	case 0:
		w->n_events++;
		return tx_event_put(tx, &ev);
	case 1:
		ev.id = id;
		ev.parked = (int)rnd(w, 3);
		ev.tries = (int)rnd(w, 9);
		ev.error = rnd(w, 2) ? (char *)"why" : NULL;
		tx_event_update(tx, &ev);
		return 0;
	default:
		tx_event_delete(tx, id);
		return 0;
	}
}

static int change_file(struct tx *tx, struct world *w)
{
	char name[16], other[16];
	struct file_row row;
	int r;

	switch (rnd(w, 6)) {
	case 0:
		tx_file_move(tx, a_dir(w), a_name(w, name), a_dir(w), a_name(w, other));
		return 0;
	case 1:
		tx_file_swap(tx, a_dir(w), a_name(w, name), a_dir(w), a_name(w, other));
		return 0;
	case 2:
		tx_file_delete(tx, a_dir(w), a_name(w, name));
		return 0;
	default:
		row = a_file(a_dir(w), a_name(w, name), (int)rnd(w, 10000));
		row.told = rnd(w, 2);
		r = tx_path_id(tx, name, &row.objdir);
		return r < 0 ? r : tx_file_put(tx, &row) == -EINVAL ? -EINVAL : 0;
	}
}

static int run_random(struct tx *tx, void *arg)
{
	struct world *w = arg, before = *w;
	struct uid128 cache = { { (uint8_t)rnd(w, 3) } };
	int r = 0;

	for (unsigned n = 1 + rnd(w, 12); r == 0 && n > 0; n--) {
		switch (rnd(w, 8)) {
		case 0:
			r = change_dir(tx, w);
			break;
		case 1:
			r = change_trash(tx, w);
			break;
		case 2:
			r = change_event(tx, w);
			break;
		case 3:
			r = rnd(w, 8) ? 0 : tx_set_cache(tx, &cache);
			break;
		default:
			r = change_file(tx, w);
		}
	}
	if (r == 0 && rnd(w, 8) == 0)
		r = -ECANCELED;
	if (r < 0) {
		before.seed = w->seed;
		*w = before;
	}
	return r;
}

static void one_seed(struct fixture *f, uint64_t seed)
{
	struct parts *p = calloc(1, sizeof(*p));
	struct world w = { .seed = seed };

	for (int i = 0; i < N_STEPS; i++) {
		int r = catalogue_write(f->c, SYNC_NORMAL, run_random, &w);

		if (r != 0 && r != -ECANCELED)
			fail_msg("%d; repeat with EBB_TEST_SEED=%llu", r, (unsigned long long)seed);
		if (rnd(&w, 20) == 0)
			ship(f->c, p, 1 + rnd(&w, 5000), 1 + (int)rnd(&w, 4));
		if (rnd(&w, 100) == 0)
			fixture_reopen(f);
		if (rnd(&w, 150) == 0) {
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
		catalogue_write(f->c, SYNC_NORMAL, run_random, &w);
	ship(f->c, p, 4000, 1);
	snprintf(file, sizeof(file), "%s-2", f->file);
	r = begin(f, file);
	data = malloc(p->all[0].len_bytes);
	for (uint64_t i = 1; i <= 3000; i++) {
		size_t len = p->all[0].len_bytes;
		int ret;

		memcpy(data, p->all[0].data, len);
		for (unsigned n = 1 + rnd(&w, 3); n > 0; n--)
			data[rnd(&w, (unsigned)len)] ^= (char)(1 << rnd(&w, 8));
		if (rnd(&w, 4) == 0)
			len = 1 + rnd(&w, (unsigned)len);
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
