/* SPDX-License-Identifier: MIT */
/*
 * A local file as archive and release look at it: its bytes, read without moving its
 * atime; whether it is a plain capture; whether its name is still its own.
 */
#ifndef EBB_TIER_LOCAL_H
#define EBB_TIER_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "tier/tier.h"

/* Timestamps are coarse: two writes within a few ms may leave the same ones. */
#define LOCAL_SETTLE_MS 1000

/*
 * Open a regular file to read it; *ret is its stat.  A descriptor; -ENOENT; -EPERM:
 * not a regular file; -EAGAIN: somebody holds a lease; other -errno of open(2).
 */
int local_open(int dfd, const char *name, struct stat *ret);

/* 0; -EPERM: what only a cache file can hold (several links, user xattrs, ACLs); -errno. */
int local_plain(int fd, const struct stat *st);
/* The same of a directory's descriptor: xattrs and ACLs alone. */
int local_plain_xattrs(int fd);

/* For how many ms more a further change might not show in its times; 0: it would. */
int64_t local_settles_ms(struct tier *t, const struct stat *st);

/*
 * Under its claim: is this node still what (dir, name) stands for?  It may have been
 * renamed, and another file put there.  0, -EAGAIN, -ENOENT: it has no name any more.
 */
int local_named(struct tier *t, struct node *node, struct node *dir, const char *name);

/*
 * As path_pread_full(); what was not in the page cache does not stay there: old files
 * that are read once, to be archived, are not to push out what people read.
 */
ssize_t local_read(int fd, void *buf, size_t len, off_t off);

/* crc32c of all of it.  -EAGAIN: it has fewer bytes than size; -ENOMEM, -errno of read(2). */
int local_crc(int fd, uint64_t size, uint32_t *ret);

#endif
