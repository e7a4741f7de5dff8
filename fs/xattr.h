/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes, with xattr=yes.
 *
 *	user.*			of regular files and directories: on the cache file
 *	user.ebb.state		writing, local, archived or released
 *	user.ebb.object		its object's key in the store; ENODATA when it has none
 *	user.ebb.crc32c		eight hexadecimal digits, likewise
 *	user.ebb.url		where it is read, whatever its state
 *
 * user.ebb.* is made up: neither listed nor settable (EPERM).
 */
#ifndef EBB_FS_XATTR_H
#define EBB_FS_XATTR_H

#include <sys/types.h>

#include "fs/fs_int.h"

/* The longest value and list Linux knows. */
#define XATTR_BYTES_MAX 65536

/*
 * As getxattr(2) and listxattr(2) with room for XATTR_BYTES_MAX: the length, or
 * -ENODATA, -EOPNOTSUPP (other name spaces), -ENOENT, -EIO.  Never wait.
 */
ssize_t xattr_get(struct fs *fs, struct node *node, const char *name, char *value);
ssize_t xattr_list(struct fs *fs, struct node *node, char *list);
/* A released file is restored first: parks.  -EPERM: made up, or not a file or directory. */
int xattr_set(struct fs *fs, struct node *node, const char *name, const void *value, size_t size,
	      int flags, bool wait);
int xattr_remove(struct fs *fs, struct node *node, const char *name, bool wait);

#endif
