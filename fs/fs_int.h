/* SPDX-License-Identifier: MIT */
/*
 * One mount, as the files of fs/ see it.  Nothing of FUSE is here: what speaks to
 * it is in session.c and op_*.c, which include fs/fs_fuse.h.
 */
#ifndef EBB_FS_FS_INT_H
#define EBB_FS_FS_INT_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "fs/fs.h"
#include "fs/uring.h"
#include "lib/lock.h"

struct dirs;
struct fuse_session;
struct keeper;
struct opens;
struct waiters;

#define FS_MAX_BACKGROUND 512 /* requests the kernel may have in the background */
#define FS_MAX_WRITE (1u << 20)

struct fs {
	/* Constant after fs_mount. */
	struct fs_params params;
	struct tier *tier;	 /* borrowed */
	struct tree *tree;	 /* borrowed from tier */
	const struct conf *conf; /* borrowed from tier */
	struct opens *opens;	 /* owned */
	struct dirs *dirs;	 /* owned */
	struct pool *pool_sync;	 /* owned: fsync, fallocate, copying */
	struct keeper *keeper;	 /* owned */
	struct waiters *waiters; /* owned */
	struct uring_plan uring;
	bool durable_close; /* durability=close */

	/* Constant after the kernel's first message (INIT). */
	bool passthrough, over_uring;

	/* Any thread. */
	_Atomic int64_t timeout_ms; /* how long the kernel may keep names and attributes */
	_Atomic unsigned parked;
	_Atomic bool ending; /* nothing more is parked */
	_Atomic uint64_t parked_total;
	_Atomic uint64_t requests[FS_REQUESTS];
	_Atomic uint64_t forgotten;

	/* session.c's. */
	struct fuse_session *session; /* owned */
	int fuse_fd;		      /* of the session: for fs/backing.c */
	pthread_t loop_thread, signal_thread;
	bool loop_runs, signal_runs;
	struct lock lock; /* protects what follows */
	struct cond changed;
	bool ready, ended, stopping;
	int result;
};

/* The node of a number the kernel gave, counted; NULL (ESTALE) when there is none. */
static inline struct node *fs_node(struct fs *fs, uint64_t nodeid)
{
	return nodeid ? node_by_ino(fs->tree, nodeid) : NULL;
}

static inline void fs_put(struct fs *fs, struct node *node)
{
	if (node)
		node_put(fs->tree, node);
}

/*
 * The result of an operation on a file that was reached by its name: if it has none any more, the
 * kernel is to look the name up again (ESTALE makes it, once) and finds what took its place.
 */
static inline int fs_stale(const struct node *node, int r)
{
	return r == -ENOENT && !node_is_dir(node) ? -ESTALE : r;
}

/* The kernel's INIT was answered. */
void session_ready(struct fs *fs);
/*
 * Ask the kernel to forget a name.  Only from a thread that answers no request and
 * holds no lock: the kernel may send FORGETs before this returns.
 */
void session_forget_name(struct fs *fs, uint64_t parent, const char *name);

#endif
