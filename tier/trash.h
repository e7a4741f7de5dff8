/* SPDX-License-Identifier: MIT */
/*
 * Bringing back what was removed or replaced, while its object is there.
 *
 *	object at its path			the row comes back, under a new inode number
 *	elsewhere (.ebb/o names the number),
 *	  removed, nobody has it open		the row comes back as it was
 *	elsewhere, replaced			a local copy is made, the trash keeps its row
 *
 * An inode number is in an alternate object's key and must not be in use twice: a file
 * that was rewritten and then renamed lives on under the number of its old version.
 */
#ifndef EBB_TIER_TRASH_H
#define EBB_TIER_TRASH_H

#include "tier/tier.h"

/* The newest trash row of a path that can come back.  0; -ENOENT; others of the catalogue. */
int trash_find(struct tier *t, const char *path, int64_t *ret_id);

/*
 * To the path it had; *ret_path (heap) says which.  Its directory must be there and the name
 * free.  err: a sentence's end for the user.  Waits for the store where bytes are copied.
 *	-ENOENT  no such trash row, or its directory is gone
 *	-EEXIST  the name is taken
 *	-ENODATA it is what is left of an unfinished archiving, or is due to be dropped
 *	others of the catalogue and of tier/restore.h
 */
int trash_bring_back(struct tier *t, int64_t id, char **ret_path, char *err, size_t size);

#endif
