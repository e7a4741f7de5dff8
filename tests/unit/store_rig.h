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
extern struct store_rig rig;

/* Fixtures of a group: opens rig.url; drops what is left below rig.prefix and closes. */
int rig_open(void **state);
int rig_close(void **state);
/* For store_list. */
int rig_drop_listed(const char *k, void *arg);

/* A key of this run; static, four may be in use at a time. */
const char *rig_key(const char *name);
/* rig_put() is attempt node/1's. */
int rig_put_as(const char *k, const char *attempt, const void *data, size_t n);
int rig_put(const char *k, const char *text);
void rig_assert_content(const char *k, const void *want, size_t n);

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
