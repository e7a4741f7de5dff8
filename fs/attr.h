/* SPDX-License-Identifier: MIT */
/* Attributes of files, with a name or without one. */
#ifndef EBB_FS_ATTR_H
#define EBB_FS_ATTR_H

#include "fs/park.h"
#include "tier/ns.h"

/* 0; -ENOENT: no name and not open; others of ns_getattr. */
int fs_getattr(struct fs *fs, struct node *node, struct stat *ret);
/* set->fd is filled in here.  As ns_setattr; a file open REMOTE and truncated becomes local. */
int fs_setattr(struct fs *fs, struct node *node, struct ns_setattr *set, bool wait,
	       struct stat *ret);
/* Where changing this node's bytes waits: for the store if they must come back from there. */
enum park_where fs_where_bytes(struct fs *fs, struct node *node, bool truncated_to_0);
/* What a write by somebody without CAP_FSETID takes away, as on ext4.  0, -errno. */
int fs_kill_suidgid(int fd);

#endif
