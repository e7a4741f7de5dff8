/* SPDX-License-Identifier: MIT */
/*
 * The tier: what moves bytes, and what every name stands for.
 *
 * This is all that fs and the control socket see.  tier_open() builds the stack
 *
 *	            fs, control socket
 *	                  |
 *	    ns (names)  reaper  restore  read          tier
 *	       |     \  /   |  \      \   |
 *	     cache   catalogue   store, sinks          meta, backend
 *
 * Verbs that might wait for a commit, a store or a claim take `wait`: false on a
 * FUSE thread, where they return TIER_PARK and have done nothing; the caller then
 * calls again with true from tier_pool_*().
 */
#ifndef EBB_TIER_TIER_H
#define EBB_TIER_TIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"
#include "lib/pool.h"
#include "meta/catalogue.h"
#include "tier/cache.h"
#include "tier/node.h"

struct blobs;
struct pushes;
struct tier;
struct sink;
struct store;

#define TIER_PARK 1

/*
 * Open catalogue, cache, store; check that they belong together; finish the
 * intents a killed daemon left; start the journal.  O(intents).  conf is borrowed until tier_close.
 * cache_fd is owned by the tier on success.  mountpoint is for URLs.
 * err: a sentence for the user, naming what to do:
 *	-EBUSY  a second daemon on cache or catalogue
 *	-EXDEV  the store holds another volume, the cache belongs to another catalogue
 *	-ENOTSUP catalogue or volume of a newer format, a cache without leases
 *	-ESTALE the catalogue is behind the store's journal: rebuild
 *	-EINVAL cache inside store, catalogue inside cache, ...
 *	others  of catalogue_open, cache_open, store_open
 * An unreachable store is no error: volume and journal are compared once it answers, before the
 * first archive; a mismatch then turns the catalogue read-only and stops archive, release and drop.
 */
int tier_open(const struct conf *conf, int cache_fd, const char *mountpoint, struct tier **ret,
	      char *err, size_t size);
/* After the mount: start sinks, the reaper with its scan, drop, checkpoints. */
int tier_start(struct tier *t);
/* Ends the threads: what is being archived is finished or left to its intent. */
void tier_stop(struct tier *t);
void tier_close(struct tier *t);

struct tree *tier_tree(struct tier *t);
struct cache *tier_cache(struct tier *t);
struct catalogue *tier_catalogue(struct tier *t);
struct store *tier_store(struct tier *t);
struct sink *tier_sink(struct tier *t); /* NULL: none */
struct blobs *tier_blobs(struct tier *t);
struct pushes *tier_pushes(struct tier *t);
const struct conf *tier_conf(struct tier *t);

/* Where parked requests wait: for commits and claims; for the store. */
struct pool *tier_pool_commit(struct tier *t);
struct pool *tier_pool_store(struct tier *t);

#endif
