/* SPDX-License-Identifier: MIT */
/* What the contract suite of stores (t_store.c) works with: a store, keys, crowds. */
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
extern struct store_rig on;

/* Fixtures of a group: opens on.url; drops what is left below on.prefix and closes. */
int open_now(void **state);
int close_now(void **state);
/* For store_list. */
int drop_listed(const char *k, void *arg);

/* A key of this run; static, four may be in use at a time. */
const char *key(const char *name);
/* put() is attempt node/1's. */
int put_as(const char *k, const char *attempt, const void *data, size_t n);
int put(const char *k, const char *text);
void assert_content(const char *k, const void *want, size_t n);

/* Results of a number of operations in flight. */
struct batch {
	struct lock lock;
	struct cond cond;
	unsigned left;
	unsigned ok;
	unsigned taken; /* -EEXIST */
	unsigned other;
	int last_other;
};
void batch_init(struct batch *b, unsigned n);
void batch_done(void *arg, int r); /* a store_cb */
void batch_wait(struct batch *b);

#endif
