/* SPDX-License-Identifier: MIT */
/*
 * The journal on its way to the store: a part is the same however often it is
 * asked for, whatever dies in between, and no transaction is left out.
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

#include "lib/failpoint.h"
#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = { T(t_parts), T(t_not_journalled), T(t_killed_shipping) };

	log_open("t_journal", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
