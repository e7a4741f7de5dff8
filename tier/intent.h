/* SPDX-License-Identifier: MIT */
/*
 * Intents: what was about to happen to the cache when rows were committed.
 *
 * committed with the row changes -> the cache is changed -> settled (in memory)
 * -> the cache's change is durable (fsync of the directory, gathered for about a
 * second) -> deleted.  A cache call that fails undoes the rows before the reply.  Start-up
 * finishes an intent where the cache names still have the identities it holds,
 * undoes or leaves it (and says so) where they do not.
 */
#ifndef EBB_TIER_INTENT_H
#define EBB_TIER_INTENT_H

#include "tier/tier.h"

struct intents;

int intents_new(struct tier *t, struct intents **ret);
int intents_start(struct intents *i); /* the thread that deletes settled ones */
void intents_stop(struct intents *i);
void intents_free(struct intents *i);

/*
 * Payloads; heap, NULL without memory.  Directories are named by their path at the
 * time, files are recognised by their identity, directories by their inode number.
 */
struct intent_name {
	const char *dir_path;  /* borrowed; relative */
	const char *name;      /* borrowed */
	const struct stat *st; /* borrowed; the cache's; NULL: nothing there */
};
char *intent_remove_payload(const struct intent_name *n);
/* How to undo the rows: what tier/ns_rename.c committed. */
struct intent_rows {
	dirid_t dir, new_dir;
	bool moved; /* a file row went from dir to new_dir, under the names of from and to */
};
char *intent_rename_payload(const struct intent_name *from, const struct intent_name *to,
			    unsigned flags, const struct intent_rows *rows);

/* The cache has changed in these directories (b may be NULL): delete id once that is durable. */
void intents_settle(struct intents *i, int64_t id, struct node *dir_a, struct node *dir_b);

/* At start, before the mount: every intent but the archive's.  O(intents). */
int intents_recover(struct tier *t);

#endif
