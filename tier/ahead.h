/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead: who reads the files of a directory one after the other (cp -r, tar,
 * rsync) finds the next ones in memory.
 *
 * A listing gives released names in the order of their rows, so "one after the other"
 * is that order.  The second file in a row starts it, one that is far from the first does
 * not; then whole packs, and objects of up to AHEAD_FILE_BYTES, come before they are
 * asked for (tier/blobs.h keeps them), and the kernel is given their bytes (tier/push.h).
 * What it has from before is not loaded.
 */
#ifndef EBB_TIER_AHEAD_H
#define EBB_TIER_AHEAD_H

#include "tier/tier.h"

#define AHEAD_FILE_BYTES (1u << 20)

struct ahead;

int ahead_new(struct tier *t, struct ahead **ret); /* 0, -ENOMEM */
void ahead_free(struct ahead *a);		   /* after the pools; NULL is fine */

/* A released file, of this row, is opened for reading.  Never blocks: the work is a pool's. */
void ahead_opened(struct tier *t, struct node *node, const struct file_row *row);
/* It was opened, and the kernel asks for its bytes: it has none from before, or lost them. */
void ahead_missed(struct tier *t, const struct file_row *row);

#endif
