/* SPDX-License-Identifier: MIT */
/* The thread that keeps a mount in bounds: inodes in memory, processes that were covered. */
#ifndef EBB_FS_KEEPER_H
#define EBB_FS_KEEPER_H

#include "fs/fs_int.h"

struct keeper;

/*
 * With params.in_place the covered processes are looked for before this returns, named
 * in the log, and fs->timeout_ms is short while one lives.  0, -ENOMEM, -EAGAIN.
 */
int keeper_start(struct fs *fs, struct keeper **ret);
void keeper_stop(struct keeper *k); /* NULL is fine */

#endif
