/* SPDX-License-Identifier: MIT */
/* The cache's inside: cache.c (names), cache_probe.c (what the file system can), dirfd.c. */
#ifndef EBB_TIER_CACHE_INT_H
#define EBB_TIER_CACHE_INT_H

#include "lib/lock.h"
#include "tier/cache.h"
#include "tier/table.h"

#define CACHE_UID_XATTR "trusted.ebb.cache"
#define DIRFDS_MAX 1024 /* kept descriptors; the limit of a process is 20,000 on small machines */

/* Kept directory descriptors, by node; the one not used for longest goes first. */
struct dirfds {
	struct lock lock;
	/* protected by lock */
	struct table by_dir;
	struct dirfd *newest;
	struct dirfd *oldest;
	unsigned n;
	uint64_t nforgets; /* what was resolved before a forget is not kept after it */
};

void dirfds_init(struct dirfds *k);
void dirfds_fini(struct dirfds *k);
/* Counted, or NULL. */
struct dirfd *dirfds_get(struct dirfds *k, const struct node *dir);
uint64_t dirfds_nforgets(struct dirfds *k);
/*
 * Keep fd, which is theirs on success, unless something was forgotten since: -EAGAIN,
 * resolve again; -ENOMEM.  *ret is counted, and may be another thread's of the same directory.
 */
int dirfds_keep(struct dirfds *k, struct node *dir, int fd, uint64_t nforgets, struct dirfd **ret);
void dirfds_forget(struct dirfds *k, const struct node *dir);

/* dirfd: the cache's root, O_RDONLY.  0, -EPERM, -EBUSY, -ENOTSUP, -errno; err: what and what to do. */
int cache_probe(int dirfd, char *err, size_t size);

#endif
