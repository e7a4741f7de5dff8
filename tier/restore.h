/* SPDX-License-Identifier: MIT */
/*
 * Restore: bring a released file's bytes back.
 *
 *	row (released) -> unnamed file, filled and compared with the row's crc ->
 *	owner, mode, times -> fsync -> linkat, fsync of the directory -> the row gets
 *	the new copy's identity
 *
 * Room is made sure first (-ENOSPC before anything is done).  The object stays.
 * Crash: before linkat nothing is left; after it the row proves nothing for the
 * new copy until release or archive compares the bytes.
 */
#ifndef EBB_TIER_RESTORE_H
#define EBB_TIER_RESTORE_H

#include "tier/tier.h"

/*
 * The caller holds the node's claim and found it released (row, no cache file).
 * empty: O_TRUNC, the bytes are not fetched.  Blocks for the store: pool threads.
 * keep_row: commit the new identity to the row (a plain restore); else the caller's next
 * transaction takes the row to the trash.
 * 0, -ENOSPC, -EIO (store, wrong bytes), -ETIMEDOUT is given as -EIO.
 */
int restore_claimed(struct tier *t, struct node *node, const struct file_row *row, bool empty,
		    bool keep_row);

/* ebbctl restore: claims; nothing to do when the file is local.  -ENOENT, as above. */
int restore_path(struct tier *t, struct node *node);

#endif
