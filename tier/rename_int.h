/* SPDX-License-Identifier: MIT */
/* A renaming under way: what tier/ns_rename.c and tier/rename_rows.c share. */
#ifndef EBB_TIER_RENAME_INT_H
#define EBB_TIER_RENAME_INT_H

#include "tier/ns_int.h"

struct side {
	struct node *parent; /* borrowed */
	const char *name;    /* borrowed */
	struct node *node;   /* counted */
	struct state_of look;
	dirid_t dirid; /* of parent */
	char *path;    /* owned */
};

struct moving {
	struct tier *t;
	struct side a, b;
	unsigned flags;
	bool in_cache;		 /* the cache changes, too: there is an intent */
	struct intent_name from; /* valid if in_cache */
	struct intent_name to;
	int64_t intent;
	struct rename_record done; /* what became of the rows */
};

/* Jobs of the catalogue; arg is the struct moving. */
int rename_rows_run(struct tx *tx, void *arg);	/* rows moved, replaced row left, intent */
int rename_rows_undo(struct tx *tx, void *arg); /* all of it taken back */

#endif
