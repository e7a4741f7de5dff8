/* SPDX-License-Identifier: MIT */
/*
 * Archive: files of one directory to the store in batches, steps 1 to 4 of the order.
 *
 *	intent -> read (quiet, lease), put and prove (receipts); fdatasync ->
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
	bool had_no_row;    /* it was asked then; a row that came since is found by the commit */
	/*
	 * out: 0 archived; 1 already was, or its bytes were in the store and only the row
	 * was written; -EAGAIN open for writing, changed meanwhile or within the last second; -EBUSY
	 * claimed by somebody else; -EPERM not plain (links, user xattrs, ACLs); -ENOENT gone;
	 * or a store or catalogue error
	 */
	int result;
	uint64_t bytes; /* that went to the store */
};

/* Called by the thread that archives. */
struct archive_watch {
	bool (*stopped)(void *arg); /* asked between batches: what was not begun is -ECANCELED */
	/*
	 * These have their results; whole: all of them the same, as none was begun:
	 * -EAGAIN while the volume is not known to be ours, -ENOENT the directory is gone,
	 * -EROFS, -EIO of the catalogue, -ENOMEM.
	 */
	void (*done)(void *arg, const struct archive_file *files, size_t n, bool whole);
	void *arg;
};

/*
 * In the order given, archive_batch files a transaction: while the store writes those of one
 * batch, those of the next are read.  watch may be NULL.  0, or why some were not begun.
 * Blocks for the store: reaper threads.
 */
int archive_files(struct tier *t, struct node *dir, struct archive_file *files, size_t n,
		  const struct archive_watch *watch);

/*
 * In the background: objects of unfinished batches become orphans in the trash, those of
 * former daemons and those that were noted.  Batches under way are left alone.
 */
int archive_recover(struct tier *t);

/*
 * The transaction that was to end the intent of this number failed, or that which was to make
 * it: what it names is nobody's.  Of a batch or of a pack that is rewritten, and whose
 * operations at the store are over.
 */
void archive_note_unfinished(struct tier *t, uint64_t number);
bool archive_has_unfinished(struct tier *t); /* cheap, never waits */
/* archive_recover(), if any is noted: 0, or why the catalogue does not take it yet. */
int archive_settle(struct tier *t);

struct unfinished;			     /* constant pointer in struct tier */
int unfinished_new(struct unfinished **ret); /* -ENOMEM */
void unfinished_free(struct unfinished *u);

#endif
