/* SPDX-License-Identifier: MIT */
/* What waits for the cache's disk: run on fs->pool_sync. */
#ifndef EBB_FS_SYNC_H
#define EBB_FS_SYNC_H

#include "fs/fs_int.h"

/*
 * fsync or fdatasync of an open file: 0 or -errno.  What the store holds is durable already; a
 * row's attributes are what fsync adds.
 */
int sync_file(struct fs *fs, struct node *node, bool data_only);
/* What close() promises with durability=close: the bytes and the name are on disk. */
int sync_close(struct fs *fs, struct node *node);
/* fsync of a directory: the names in the cache, and those in the catalogue. */
int sync_dir(struct fs *fs, struct node *dir);

int sync_fallocate(struct fs *fs, struct node *node, int mode, off_t off, off_t len);

/*
 * Copy between two open files, inside the cache's file system where it can.  Bytes
 * copied; -EOPNOTSUPP: the kernel is to copy by reading and writing.
 */
ssize_t sync_copy(struct fs *fs, struct node *in, off_t off_in, struct node *out, off_t off_out,
		  size_t len, unsigned flags);

#endif
