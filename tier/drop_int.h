/* SPDX-License-Identifier: MIT */
/*
 * Emptying the trash, inside: drop.c goes over what is due, drop_page.c condemns and drops a page.
 */
#ifndef EBB_TIER_DROP_INT_H
#define EBB_TIER_DROP_INT_H

#include "tier/drop.h"
#include "tier/tier_int.h"

#define DROP_PAGE 256

/* Rows of the trash, and what becomes of them: drop_page.c's but for row and n. */
struct page {
	struct trash_row row[DROP_PAGE]; /* owned */
	int n;
	bool chosen[DROP_PAGE];
	bool dropped[DROP_PAGE];
	int64_t txn; /* that condemned some; 0: none */
};

/* Added up over pages. */
struct drop_result {
	int64_t dropped;
	int64_t condemned; /* rows */
	int64_t waiting;   /* rows that are condemned, and the journal has not all of it yet */
	int64_t txn;	   /* the newest that these wait for */
};

/*
 * ids: those that are meant, n 0: all.  wait: for the journal of what is condemned now.  The first
 * error, what was dropped until then counts as done.
 */
int drop_page(struct tier *t, struct page *p, const int64_t *ids, size_t n, bool wait,
	      struct drop_result *ret);

#endif
