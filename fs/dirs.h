/* SPDX-License-Identifier: MIT */
/*
 * Open directories: numbers for the kernel, and whether its own cached listing is
 * as good as a new one.
 */
#ifndef EBB_FS_DIRS_H
#define EBB_FS_DIRS_H

#include <sys/stat.h>

#include "fs/given.h"
#include "lib/lock.h"
#include "tier/list.h"

struct dirs;
struct resumed;

struct open_dir {
	struct lock lock;	 /* one reader at a time; protects what follows */
	struct listing *listing; /* owned */
	uint64_t ino;		 /* constant */
	bool pages;		 /* constant: the kernel keeps what it is given */
	struct given *given;	 /* counted; what its pages hold, or NULL */
	bool fills;		 /* it is this handle that fills them */
	struct resumed *resumed; /* owned; NULL while offsets are the listing's own */
};

int dirs_new(struct dirs **ret); /* 0, -ENOMEM */
void dirs_free(struct dirs *d);	 /* closes what is open */

/*
 * Takes listing over on success; *ret is the handle's number, *ret_use how it may use the
 * kernel's pages.  -ENOMEM.
 */
int dirs_add(struct dirs *d, uint64_t ino, struct listing *listing, uint64_t *ret,
	     enum given_use *ret_use);
/* NULL: no such handle.  Valid until dirs_remove of the number. */
struct open_dir *dirs_get(struct dirs *d, uint64_t number);
int dirs_remove(struct dirs *d, uint64_t number); /* 0, -EBADF */

/*
 * The entry at an offset: dir_read.c.  Under the handle's lock; as listing_next(), but an
 * offset that it has not reached, or long left, is no error.
 */
int dirs_next(struct dirs *d, struct open_dir *dir, uint64_t off, struct list_entry *ret);
int dir_next(struct givens *g, struct open_dir *dir, uint64_t off, struct list_entry *ret);
void dir_resumed_free(struct resumed *s); /* NULL is fine */

/*
 * A file of the directory was opened: the listing that the kernel may have kept is not as
 * good as a new one, as it refreshes no attributes.
 */
void dirs_stale(struct dirs *d, uint64_t ino);

/*
 * A removed directory may be somebody's working directory or open still: fstat(2) of
 * it works on.  The last DIRS_GONE are remembered as they were, with no links.
 */
#define DIRS_GONE 64
void dirs_gone(struct dirs *d, const struct stat *st);
bool dirs_find_gone(struct dirs *d, uint64_t ino, struct stat *ret);

#endif
