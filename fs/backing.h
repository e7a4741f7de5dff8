/* SPDX-License-Identifier: MIT */
/* Backing files: how the kernel is told to read and write a cache file by itself. */
#ifndef EBB_FS_BACKING_H
#define EBB_FS_BACKING_H

#include "fs/open.h"

/* arg: struct fs */
extern const struct backing_ops backing_ops;

/* Must the kernel allow for a cache on a stacked file system (overlayfs)? */
bool backing_is_stacked(int cache_fd);

#endif
