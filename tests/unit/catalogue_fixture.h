/* SPDX-License-Identifier: MIT */
/*
 * What the tests of meta/ share: a catalogue in a directory of its own, rows to
 * put into it, and the journalled tables of a closed one as text.
 */
#ifndef EBB_TESTS_CATALOGUE_FIXTURE_H
#define EBB_TESTS_CATALOGUE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "meta/catalogue.h"

struct fixture {
	char dir[256];
	char file[300];
	char err[512];
	struct catalogue *c;
};

/* cmocka setup and teardown: *state is a struct fixture with a fresh, open catalogue. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* The same, nothing opened. */
int fixture_setup_closed(void **state);

void fixture_open(struct fixture *f); /* must succeed; creates */
void fixture_close(struct fixture *f);
void fixture_reopen(struct fixture *f);		      /* counters checked first */
int fixture_try_open(struct fixture *f, bool create); /* err holds the sentence */

/* catalogue_write with SYNC_NORMAL that must succeed. */
void write_ok(struct catalogue *c, int (*run)(struct tx *tx, void *arg), void *arg);

struct catalogue_counts counts(struct catalogue *c);

/* A plausible row, different for each n. */
struct file_row a_file(dirid_t dir, const char *name, int n);
void assert_same_file(const struct file_row *a, const struct file_row *b); /* but txn */

/* One-call transactions. */
dirid_t make_dir(struct catalogue *c, dirid_t parent, const char *name);
int put_file(struct catalogue *c, const struct file_row *row);

/* SQL on the closed file; every value quoted, a row a line; heap. */
char *sql(const char *file, const char *text);
/* All rows of the tables that the journal carries, in key order. */
char *journalled_rows(const char *file);

/*
 * The open catalogue is closed, compared with one that was made anew of its journal (rows
 * and counters, file: closed), and that one takes its place, open.
 */
void fixture_become(struct fixture *f, const char *file);

/* Says which line differs first. */
void assert_same_text(const char *a, const char *b);

/* Rows of files "%06d" below the root, a transaction each. */
void put_some(struct catalogue *c, int first, int n);

/* The parts of a journal, as a store would hold them; calloc it. */
#define MAX_PARTS 4000

struct parts {
	struct journal_part all[MAX_PARTS];
	int n;
};

void parts_fini(struct parts *p); /* frees p, too */
/* Moves at most n parts of at most max_bytes to p. */
void ship(struct catalogue *c, struct parts *p, size_t max_bytes, int n);

/* fork: body runs in a child that must die of `how`: an exit status, or -signal. */
void in_child(void (*body)(void *arg), void *arg, int how);

#endif
