/* SPDX-License-Identifier: MIT */
/*
 * Requests, answered at once or parked.
 *
 *	fs_call: run(wait false) --0, -errno--> reply
 *	              |
 *	          TIER_PARK --copied to the heap--> a pool: run(wait true) --> reply
 *
 * An op fills a struct that begins with a struct call, on its stack, and calls
 * fs_call().  Whatever thread ends up with it calls reply() exactly once; nothing
 * may assume that this is the thread that read the request.
 */
#ifndef EBB_FS_PARK_H
#define EBB_FS_PARK_H

#include "fs/fs_int.h"

/* Where a call that cannot be answered at once waits. */
enum park_where {
	PARK_COMMIT, /* for a commit or a claim */
	PARK_STORE,  /* for the store: past fs/waiters.h's limit -EIO */
	PARK_SYNC,   /* for the cache's disk */
};

struct call {
	struct job job; /* the pool's while it is parked */
	struct fs *fs;	/* borrowed */
	void *req;	/* FUSE's request, gone once it was replied to */
	/* TIER_PARK only if wait is false, and then nothing was done. */
	int (*run)(struct call *c, bool wait);
	void (*reply)(struct call *c, int r);
	/* Where to wait, asked after TIER_PARK; NULL: PARK_COMMIT. */
	enum park_where (*where)(struct call *c);
	struct node *node;  /* counted or NULL: dropped after reply */
	struct node *other; /* the same */
	const char *name;   /* the request's while inline, owned once parked; may be NULL */
	const char *other_name;
	enum park_where parked_at;
	int ring; /* PARK_STORE: what it is counted for */
};

/*
 * c: size bytes, the op's.  Takes over the counts of node and other; an op that finds no
 * node for the kernel's number has replied (op_node) and does not call.
 */
void fs_call(struct call *c, size_t size);

/* Count a request that waits for the store: for which ring; -EIO: too many do; -ENOTCONN: park_end. */
int park_enter_store(struct fs *fs);
void park_leave_store(struct fs *fs, int ring);

/*
 * Waits until nothing is parked, and parks nothing more: what would have to wait gets
 * -ENOTCONN, as it will a moment later from the kernel.
 */
void park_end(struct fs *fs);

#endif
