/* SPDX-License-Identifier: MIT */
/* What the ns_*.c files share. */
#ifndef EBB_TIER_NS_INT_H
#define EBB_TIER_NS_INT_H

#include "tier/tier_int.h"

/* Claim a node, or say that it would wait. */
static inline int ns_claim(struct tier *t, struct node *node, bool wait)
{
	if (node_try_claim(t->tree, node))
		return 0;
	if (!wait)
		return TIER_PARK;
	node_claim(t->tree, node);
	return 0;
}

/* The descriptor of a directory that must be in the cache: made again if it was released. */
int ns_dir(struct tier *t, struct node *dir, bool wait, struct dirfd **ret);

/* A claimed file with a row becomes a plain local one: restored if it was released. */
int ns_make_local(struct tier *t, struct node *node, struct node *parent, const char *name,
		  const struct state_of *look, bool empty, enum trash_reason reason);

/* One of its names went: the directory of another one, if it has one, is looked at again. */
void ns_touch_left(struct tier *t, struct node *node);

/*
 * Something of ours moved only the attributes or the name of an archived file's
 * local copy, under its claim: the row at (dir, name), if it is still this attempt's, gets
 * attributes and identity in the next commit.  before: the identity the cache had.
 */
void ns_identity_moved(struct tier *t, dirid_t dir, const char *name, const struct file_row *row,
		       const struct identity *before, const struct stat *after);

/*
 * Around an action of our own that moves dir's times (a released or restored name, a
 * directory made again): users go on seeing those of before, from its begin on, unless they change it
 * meanwhile.  In memory and, where changed says that it did something, in dir's row if it has one.
 * Each begin that returned 0 has an end; actions may overlap.  -errno as state_look_node.
 */
int own_action_begin(struct tier *t, struct node *dir);
void own_action_end(struct tier *t, struct node *dir, bool changed);

/* What moved the times of a directory whose names a user's action changed. */
enum moved_by {
	MOVED_BY_CACHE,	 /* its file system */
	MOVED_BY_COMMIT, /* tx_user_times(), where the row had them */
	MOVED_BY_NOBODY, /* a released name was removed, renamed, brought back */
};
/* A user's action changed names of dir.  Where nothing moved its times this does: waits. */
void user_action_done(struct tier *t, struct node *dir, enum moved_by by);
/* Where only the row of a directory has its times: its id, else 0. */
dirid_t user_times_in_row(struct tier *t, struct node *dir);
/* They move with the commit of what the user did. */
int tx_user_times(struct tx *tx, dirid_t dir);

#endif
