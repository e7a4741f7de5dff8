/* SPDX-License-Identifier: MIT */
/*
 * Open directories: numbers for the kernel, and whether its own cached listing is
 * as good as a new one.
 */
#ifndef EBB_FS_DIRS_H
#define EBB_FS_DIRS_H

#include <sys/stat.h>

#include "lib/lock.h"
#include "tier/list.h"

struct dirs;

struct open_dir {
	struct lock lock;	 /* one reader at a time */
	struct listing *listing; /* owned; protected by lock */
};

int dirs_new(struct dirs **ret); /* 0, -ENOMEM */
void dirs_free(struct dirs *d);	 /* closes what is open */

/* Takes listing over on success; *ret is the handle's number.  -ENOMEM. */
int dirs_add(struct dirs *d, struct listing *listing, uint64_t *ret);
/* NULL: no such handle.  Valid until dirs_remove of the number. */
struct open_dir *dirs_get(struct dirs *d, uint64_t number);
int dirs_remove(struct dirs *d, uint64_t number); /* 0, -EBADF */

/*
 * Is the listing that the kernel may have kept as good as a new one?  It is not when a
 * file of the directory was opened since: a kept listing refreshes no attributes.
 * Remembers that the directory is listed now.
 */
bool dirs_listed(struct dirs *d, uint64_t ino);
void dirs_stale(struct dirs *d, uint64_t ino);

/*
 * A removed directory may be somebody's working directory or open still: fstat(2) of
 * it works on.  The last DIRS_GONE are remembered as they were, with no links.
 */
#define DIRS_GONE 64
void dirs_gone(struct dirs *d, const struct stat *st);
bool dirs_find_gone(struct dirs *d, uint64_t ino, struct stat *ret);

#endif
