/* SPDX-License-Identifier: MIT */
/*
 * Release: unlink the local copy of an archived file.  Step 7 of the order.
 *
 * Checked under the name's claim, each time anew: no open handle, the row as it is
 * now, journalled, sinks told, read lease, identity, one link, plain.  Anything
 * missing, unknown or in error means no.
 */
#ifndef EBB_TIER_RELEASE_H
#define EBB_TIER_RELEASE_H

#include "tier/tier.h"

enum release_why { RELEASE_AGE, RELEASE_PRESSURE, RELEASE_CRITICAL, RELEASE_COMMAND };

/*
 * 0 released; 1 was not local; otherwise it stays: -EBUSY (open, claimed, written),
 * -EAGAIN (not journalled or a sink not told yet), -ENODATA (no row: not archived),
 * -ESTALE (changed since; the row was refreshed if only attributes differ: try again),
 * -EPERM (not plain: links, xattrs), -EROFS (the catalogue is read-only), -EIO.
 * One file alone is for tests.
 */
int release_file(struct tier *t, struct node *dir, const char *name, enum release_why why,
		 uint64_t *ret_bytes);

/* The same for files of one directory: its times are kept once. */
struct release_item {
	char name[ROW_NAME_MAX + 1];
	int result;	/* out: as above */
	uint64_t bytes; /* out: of the local copy, 0 unless released */
};
void release_batch(struct tier *t, struct node *dir, struct release_item *items, size_t n,
		   enum release_why why);

/*
 * The cache directory of a directory all of whose files are released, if it is empty
 * and nobody changed it for a while.  0, 1 kept, -errno.
 */
int release_dir(struct tier *t, struct node *dir);

#endif
