/* SPDX-License-Identifier: MIT */
/*
 * What fs/open.c, which opens and closes, shares with fs/open_use.c, which uses what is open.
 *
 * A file's state hangs at node_fs() from the first open to the last close and is protected by one
 * of OPEN_SHARDS locks, chosen by inode number.  Under it only descriptors are opened again
 * (/proc/self/fd) and the kernel is told of a backing file: neither waits for a disk, and
 * the second must happen once an inode.
 *
 *	handles > 0, writers <= handles
 *	PASSTHROUGH	backing_id > 0, ro
 *	LOCAL		backing_id == 0, ro or rw
 *	REMOTE		backing_id == 0, remote, perhaps ro or rw
 */
#ifndef EBB_FS_OPEN_INT_H
#define EBB_FS_OPEN_INT_H

#include "fs/cfd.h"
#include "fs/open.h"

#define OPEN_SHARDS 64
#define PAGES_MIXED UINT64_MAX /* no attempt's number */

struct open_file {
	unsigned handles;
	unsigned writers;
	unsigned execs;	       /* of the handles */
	enum open_mode mode;   /* constant */
	int backing_id;	       /* constant */
	struct cfd *ro;	       /* counted, or NULL */
	struct cfd *rw;	       /* counted, or NULL */
	struct remote *remote; /* counted, or NULL */
	bool lost;	       /* local bytes that cannot be reached: reads fail */
};

struct shard {
	struct lock lock;
	char pad[64];
};

struct opens {
	struct shard shards[OPEN_SHARDS];
	_Atomic uint64_t count;
	const struct backing_ops *backing; /* constant */
	void *backing_arg;		   /* constant, borrowed */
};

static inline struct lock *opens_lock(struct opens *o, const struct node *node)
{
	return &o->shards[node_ino(node) % OPEN_SHARDS].lock;
}

/* Its bytes are in the store alone. */
static inline bool open_file_is_remote(const struct open_file *f)
{
	return f->mode == OPEN_REMOTE && !f->ro && !f->rw;
}

#endif
