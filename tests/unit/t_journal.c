/* SPDX-License-Identifier: MIT */
/*
 * The journal: parts are the same however often they are asked for, and a
 * catalogue that is rebuilt from them has the same rows and goes on from there.
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

#include "catalogue_fixture.h"
#include "lib/failpoint.h"
#include "lib/log.h"

#define N_SEEDS 12
#define N_STEPS 400
#define MAX_PARTS 4000

/* What the store would hold. */
struct parts {
	struct journal_part all[MAX_PARTS];
	int n;
};

static void parts_fini(struct parts *p)
{
	for (int i = 0; i < p->n; i++)
		free(p->all[i].data);
	free(p);
}

/* Ships at most n parts. */
static void ship(struct catalogue *c, struct parts *p, size_t max_bytes, int n)
{
	struct journal_part part;
	int r = 0;

	while (n-- > 0 && (r = catalogue_journal_next(c, max_bytes, &part)) == 0) {
		assert_int_equal(part.seq, p->n + 1);
		assert_int_equal(part.seq, catalogue_journal_seq(c));
		assert_int_equal(part.first_txn, catalogue_journalled_txn(c) + 1);
		assert_int_equal(catalogue_journal_acked(c, &part), 0);
		assert_int_equal(part.last_txn, catalogue_journalled_txn(c));
		assert_true(p->n < MAX_PARTS);
		p->all[p->n++] = part;
	}
	if (r < 0) {
		assert_int_equal(r, -ENODATA);
		assert_int_equal(catalogue_journal_backlog(c), 0);
	}
}

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
						   p->all[i].len_bytes), 0);
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
	assert_string_equal(old, new);
	free(old);
	free(new);
	assert_int_equal(unlink(f->file), 0);
	assert_int_equal(rename(file, f->file), 0);
	fixture_open(f);
	assert_int_equal(catalogue_counts(f->c, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(catalogue_journal_seq(f->c), p->n + 1);
}

/* ---- parts ---- */

static void put_some(struct catalogue *c, int first, int n)
{
	for (int i = first; i < first + n; i++) {
		struct file_row row;
		char name[16];

		snprintf(name, sizeof(name), "%06d", i);
		row = a_file(ROW_ROOT_DIR, name, i);
		assert_int_equal(put_file(c, &row), 0);
	}
}

static void t_parts(void **state)
{
	struct fixture *f = *state;
	struct journal_part a, b, wrong;
	struct parts *p = calloc(1, sizeof(*p));

	ship(f->c, p, 1 << 20, 100); /* what opening journalled */
	assert_int_equal(catalogue_journal_next(f->c, 1000, &a), -ENODATA);
	put_some(f->c, 0, 50);
	assert_true(catalogue_journal_backlog(f->c) > 5000);
	assert_int_equal(catalogue_journal_next(f->c, 1000, &a), 0);
	assert_true(a.len_bytes <= 1000 && a.len_bytes > 200);
	assert_true(a.last_txn > a.first_txn);

	/* The same again, whatever is asked for and whatever was added. */
	put_some(f->c, 50, 10);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(catalogue_journal_next(f->c, 1 << 20, &b), 0);
		assert_int_equal(a.seq, b.seq);
		assert_int_equal(a.len_bytes, b.len_bytes);
		assert_memory_equal(a.data, b.data, a.len_bytes);
		free(b.data);
		fixture_reopen(f);
	}
	wrong = a;
	wrong.seq++;
	assert_int_equal(catalogue_journal_acked(f->c, &wrong), -EINVAL);
	wrong = a;
	wrong.last_txn++;
	assert_int_equal(catalogue_journal_acked(f->c, &wrong), -EINVAL);
	assert_int_equal(catalogue_journal_acked(f->c, &a), 0);
	assert_int_equal(catalogue_journal_acked(f->c, &a), -EINVAL);
	assert_int_equal(catalogue_journalled_txn(f->c), a.last_txn);
	free(a.data);

	/* A transaction larger than a part is a part. */
	assert_int_equal(catalogue_journal_next(f->c, 1, &a), 0);
	assert_int_equal(a.first_txn, a.last_txn);
	assert_true(a.len_bytes > 1);
	assert_int_equal(catalogue_journal_acked(f->c, &a), 0);
	free(a.data);
	p->n++; /* their sequence numbers */
	p->n++;
	ship(f->c, p, 1 << 20, 100);
	fixture_reopen(f);
	ship(f->c, p, 1 << 20, 100);
	assert_int_equal(catalogue_journal_seq(f->c), p->n + 1);
	parts_fini(p);
}

static int run_intent(struct tx *tx, void *arg)
{
	return tx_intent_put(tx, INTENT_UNLINK, "{}", arg);
}

/* What is this node's own makes no journal, and no hole in its numbers. */
static void t_not_journalled(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	int64_t id, txn;

	ship(f->c, p, 1 << 20, 100);
	txn = catalogue_journalled_txn(f->c);
	for (int i = 0; i < 5; i++)
		write_ok(f->c, run_intent, &id);
	assert_int_equal(catalogue_journal_backlog(f->c), 0);
	put_some(f->c, 0, 1);
	ship(f->c, p, 1 << 20, 100);
	assert_int_equal(catalogue_journalled_txn(f->c), txn + 1);
	parts_fini(p);
}

/* ---- killed while shipping ---- */

struct life {
	struct fixture *f;
	const char *failpoint;
};

static void ship_and_die(void *arg)
{
	struct life *life = arg;
	struct journal_part part;

	assert_int_equal(failpoint_init(life->failpoint), 0);
	fixture_open(life->f);
	while (catalogue_journal_next(life->f->c, 700, &part) == 0)
		assert_int_equal(catalogue_journal_acked(life->f->c, &part), 0);
	_exit(1);
}

/* The n-th commit of shipping is a fix (odd) or an acknowledgement (even). */
static void t_killed_shipping(void **state)
{
	struct fixture *f = *state;
	struct parts *p = calloc(1, sizeof(*p));
	uint64_t seq = 1;
	char spec[64];

	put_some(f->c, 0, 100);
	for (int n = 1; n <= 8; n++) {
		struct life life = { f, spec };

		fixture_close(f);
		snprintf(spec, sizeof(spec), "commit.%s=kill@%d", n % 2 ? "before" : "after",
			 (n + 1) / 2);
		in_child(ship_and_die, &life, -SIGKILL);
		fixture_open(f); /* checks that nothing is missing */
		assert_true(catalogue_journal_seq(f->c) >= seq);
		seq = catalogue_journal_seq(f->c);
	}
	assert_true(seq > 1);
	p->n = (int)seq - 1;
	ship(f->c, p, 1 << 20, 1000);
	fixture_reopen(f);
	parts_fini(p);
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
	r = tx_dir_move(tx, a, row_a.parent, "between");
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
				     rnd(w, 100));
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
	ship(f->c, p, 1 << 20, 100);
	fixture_reopen(f);
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
	assert_int_equal(cat_rebuild_apply(r, 1, p->all[0].data, p->all[0].len_bytes), -EBADMSG);
	/* While it is being made nobody opens it, and afterwards it is gone. */
	strcpy(f->file, file);
	assert_int_equal(fixture_try_open(f, true), -EBUSY);
	cat_rebuild_abort(r);
	assert_int_equal(access(file, F_OK), -1);
	assert_int_equal(fixture_try_open(f, false), -ENOENT);
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
		T(t_parts),	T(t_not_journalled), T(t_killed_shipping),  T(t_random),
		T(t_goes_on),	T(t_refused),	     T(t_rebuild_cut_short),
	};

	log_open("t_journal", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
