/* SPDX-License-Identifier: MIT */
/*
 * The cache: the truth about what is local.
 *
 * A plain tree beneath one directory descriptor, opened before anything is mounted
 * over it.  Names are reached as (directory descriptor, name) only, no symlink is
 * followed.  Directory descriptors are kept, a bounded number, oldest out; a
 * descriptor stays right over renames, as it is of the inode and not of the name.
 */
#ifndef EBB_TIER_CACHE_H
#define EBB_TIER_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lib/uid128.h"
#include "tier/node.h"

struct cache;
struct dirfd; /* a counted directory descriptor (O_RDONLY | O_DIRECTORY) */

/*
 * root_fd: owned by the cache from success on.  Probes what it needs and says
 * what is missing: leases (-ENOTSUP), O_TMPFILE with linkat, trusted xattrs, a second
 * daemon (-EBUSY: flock on the directory), not root (-EPERM).
 */
int cache_open(int root_fd, struct tree *tree, struct cache **ret, char *err, size_t size);
void cache_close(struct cache *c);
int cache_root_fd(struct cache *c);

/* The uuid the root carries (trusted.ebb.cache).  -ENODATA: none yet. */
int cache_get_uid(struct cache *c, struct uid128 *ret);
int cache_set_uid(struct cache *c, const struct uid128 *uid);

/*
 * The descriptor of a directory's cache directory.  -ENOENT: it is not in the
 * cache (released, or never was).  cache_dir_put when done.
 */
int cache_dir(struct cache *c, struct node *dir, struct dirfd **ret);
int dirfd_fd(const struct dirfd *d);
void cache_dir_put(struct cache *c, struct dirfd *d);
/* The directory was removed or made again: forget a kept descriptor. */
void cache_dir_forget(struct cache *c, struct node *dir);

/*
 * A descriptor of the directory at a path below the root, of any length; the caller's.
 * Or -errno as path_open: -ENOENT, -ENOTDIR, -ELOOP: there is no such directory.
 */
int cache_open_dir(struct cache *c, const char *path);

/* fstatat of a name, AT_SYMLINK_NOFOLLOW.  0 or -errno; -ENOENT also when the directory is absent. */
int cache_stat(struct cache *c, struct node *dir, const char *name, struct stat *ret);
/* fstat of a directory or by one of its names of a file node. */
int cache_stat_node(struct cache *c, struct node *node, struct stat *ret);
/* Open a file node's cache file by one of its names.  A descriptor or -errno. */
int cache_open_node(struct cache *c, struct node *node, int flags);

struct identity cache_identity(const struct stat *st);
bool identity_equal(const struct identity *a, const struct identity *b);

/*
 * Is nobody able to write this file just now?  Takes and drops a read lease on an
 * O_RDONLY descriptor.  0; -EAGAIN: a writer or a writable mapping.
 */
int cache_quiet(int fd);

/* fsync a directory. */
int cache_sync_dir(struct cache *c, struct node *dir);

struct cache_room {
	unsigned used_pct; /* the larger of bytes and inodes; inodes 0: unknown, ignored */
	uint64_t free_bytes;
	uint64_t total_bytes;
	uint64_t free_inodes;
};
int cache_room(struct cache *c, struct cache_room *ret);

#endif
