/* SPDX-License-Identifier: MIT */
/*
 * Listing a directory: each name exactly once, while files in it are archived,
 * released, restored, created and replaced.
 *
 * First pass: all rows of the directory in name order (file rows and rows of
 * released directories), whatever their state.  Second pass: cache names without a
 * row.  While a listing is open, names that gain or lose a row are noted before the
 * commit:
 *	lost at or before the first pass's position	the second pass skips it
 *	lost after it, or gained during the first pass	whichever meets it first gives it, or
 *		the note when the scan has not
 *	gained during the second			the scan gives it; before such a name
 *		may be released, the rest of that listing's scan is read into memory
 * Memory is what changed meanwhile.  Offsets are ordinals: a listing goes forward,
 * or starts again from 0 (rewinddir).
 */
#ifndef EBB_TIER_LIST_H
#define EBB_TIER_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "tier/state.h"
#include "tier/tier.h"

struct listing;

struct list_entry {
	uint64_t off; /* ordinal of the entry after this one */
	uint64_t ino; /* of its row; 0: it has none, its node knows */
	mode_t type;  /* S_IFMT bits; 0 unknown */
	char name[ROW_NAME_MAX + 1];
	struct row_seen
		seen; /* for the entry's look-up; good until the next call for this listing */
};

int listing_open(struct tier *t, struct node *dir, struct listing **ret);
void listing_close(struct listing *l);
/*
 * The entry at off (0: "."; 1: "..", then names).  1, 0 at the end, -errno.  An
 * offset given before may be asked again (the kernel's buffer was full): the
 * last few entries are kept; -EINVAL for one further back that is not 0.
 */
int listing_next(struct listing *l, uint64_t off, struct list_entry *ret);

/*
 * Called by whoever commits row changes, before the commit, under the name's claim
 * (of the node that has the name just now), not on the catalogue's writer; a change that is not
 * committed does no harm.  Which of the two does not matter: what the name had so
 * far is asked of the catalogue.  Every change counts: archived, removed, renamed,
 * directories' rows too.  A row that is replaced by another need not be told.
 */
void listing_note_gained(struct tier *t, struct node *dir, const char *name);
void listing_note_lost(struct tier *t, struct node *dir, const char *name);
/*
 * Before the cache entry of a name goes that exists on by its row: released, or renamed
 * over or exchanged with a released one.  Claimed; may read the rest of a directory.
 */
void listing_note_release(struct tier *t, struct node *dir, const char *name);

#endif
