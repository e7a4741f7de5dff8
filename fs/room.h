/* SPDX-License-Identifier: MIT */
/* What df says of the mount. */
#ifndef EBB_FS_ROOM_H
#define EBB_FS_ROOM_H

#include <sys/statvfs.h>

#include "fs/fs_int.h"

/* 0, -errno of fstatvfs(2) on the cache. */
int fs_room(struct fs *fs, struct statvfs *ret);

/* The cache's numbers, or the store's when it has more room; total 0: unknown.  For the test. */
void room_choose(struct statvfs *st, uint64_t total_bytes, uint64_t free_bytes);

#endif
