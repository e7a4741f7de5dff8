/* SPDX-License-Identifier: MIT */
/*
 * What the contract suites of stores (t_store.c, t_store_keys.c) work with: stores to run
 * on, keys, crowds.
 */
#ifndef EBB_TESTS_UNIT_STORE_RIG_H
#define EBB_TESTS_UNIT_STORE_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/store.h"
#include "lib/lock.h"

/* What the suite runs on now; it runs once for each. */
struct store_rig {
	const char *url;
	bool is_dir;  /* keys are paths: a file and a directory exclude each other */
	bool durable; /* what is closed and opened again is there */
	char prefix[64];
	struct store *store;
};
extern struct store_rig sut;

struct CMUnitTest;
/*
 * Runs the suite on mem and dir stores, or on EBB_TEST_RADOS=rados:POOL?conf=FILE alone, and
 * on the fault store, without rules, around each.  How many failed.
 */
int sut_run(const char *name, const struct CMUnitTest *suite, size_t n);

/* Fixtures of a group: opens sut.url; drops what is left below sut.prefix and closes. */
int sut_open(void **state);
int sut_close(void **state);
/* For store_list. */
int sut_drop_listed(const char *k, void *arg);
int sut_count_listed(const char *k, void *arg); /* arg: unsigned */

/* A key of this run; static, four may be in use at a time. */
const char *sut_key(const char *name);
/* sut_put() is attempt node/1's. */
int sut_put_as(const char *k, const char *attempt, const void *data, size_t n);
int sut_put(const char *k, const char *text);
void sut_assert_content(const char *k, const void *want, size_t n);

/* Results of a number of operations in flight. */
struct crowd {
	struct lock lock;
	struct cond cond;
	unsigned left;
	unsigned ok;
	unsigned taken; /* -EEXIST */
	unsigned other;
	int last_other;
};
void crowd_init(struct crowd *b, unsigned n);
void crowd_done(void *arg, int r); /* a store_cb */
void crowd_wait(struct crowd *b);

#endif
