/* SPDX-License-Identifier: MIT */
/*
 * Archive: one batch of one directory to the store, steps 1 to 4 of the order.
 *
 *	intent -> read (quiet, lease) and put -> prove (receipts) -> fdatasync ->
 *	claim, compare identity -> one transaction -> unclaim
 *
 * A file that changes on the way is left out and its object goes to the trash as
 * an orphan; the others of the batch go on.  A crash at any line leaves an intent
 * that names every object that may exist.
 */
#ifndef EBB_TIER_ARCHIVE_H
#define EBB_TIER_ARCHIVE_H

#include "tier/tier.h"

struct archive_file {
	char name[ROW_NAME_MAX + 1];
	struct identity id; /* as it was found due */
	/*
	 * out: 0 archived; 1 already was, or its bytes were in the store and only the row
	 * was written; -EAGAIN open for writing, changed meanwhile or within the last second; -EBUSY
	 * claimed by somebody else; -EPERM not plain (links, user xattrs, ACLs); -ENOENT gone;
	 * or a store or catalogue error
	 */
	int result;
	uint64_t bytes; /* that went to the store */
};

/*
 * -errno when the whole batch failed before any file has a result of its own (all get
 * it): -EAGAIN while the volume is not known to be ours, -ENOENT the directory is gone,
 * -EROFS, -EIO of the catalogue.  Blocks for the store: reaper threads.
 */
int archive_batch(struct tier *t, struct node *dir, struct archive_file *files, size_t n);

/* At start, in the background: objects of unfinished batches become orphans in the trash. */
int archive_recover(struct tier *t);

#endif
