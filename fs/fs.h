/* SPDX-License-Identifier: MIT */
/*
 * The FUSE face of a tier: one mount.
 *
 *	fs_mount	the kernel's mount, the threads that answer it
 *	fs_wait		until it is unmounted or a signal asks for the end
 *	fs_quiesce	no request is being answered any more
 *	fs_unmount	the mount is gone, everything is freed
 *
 * The caller blocks SIGINT, SIGTERM, SIGHUP, SIGIO and SIGPIPE before it makes
 * any thread (fs_block_signals): one thread of fs waits for the first three.
 */
#ifndef EBB_FS_FS_H
#define EBB_FS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tier/tier.h"

struct fs;

struct fs_params {
	struct tier *tier;	   /* borrowed until fs_unmount */
	const char *mountpoint;	   /* borrowed until fs_unmount; absolute */
	const char *mount_options; /* for the kernel, "noatime,ro"; may be "" */
	bool in_place;		   /* the cache is the directory mounted over */
	/* What the store has, for df; total 0: unknown.  Never blocks. */
	void (*store_room)(void *arg, uint64_t *total_bytes, uint64_t *free_bytes);
	void *store_room_arg;
};

/* In the first thread, before any other. */
void fs_block_signals(void);

/*
 * Mount and begin to answer.  When it returns the kernel has agreed on the
 * protocol.  0; -errno, with a sentence in err.
 */
int fs_mount(const struct fs_params *params, struct fs **ret, char *err, size_t size);
/* 0: unmounted, or ended by a signal; -errno: the connection broke. */
int fs_wait(struct fs *fs);
/* Waits for parked requests to be replied to; the tier must still be running. */
void fs_quiesce(struct fs *fs);
/* NULL is fine.  The tier must still be open. */
void fs_unmount(struct fs *fs);

/* What the kernel asks for, by FUSE's names. */
enum fs_request {
#define OP(name, parameters, arguments) FS_REQUEST_##name,
#include "fs/ops.def"
	FS_REQUESTS
};
const char *fs_request_name(enum fs_request request);

struct fs_counts {
	bool passthrough;		/* offered by the kernel and used */
	bool io_uring;			/* the same */
	uint64_t requests[FS_REQUESTS]; /* since the mount */
	uint64_t parked_total;		/* since the mount: of them, what had to wait */
	uint64_t parked;		/* requests that wait now */
	uint64_t parked_store;		/* of them for the store */
	uint64_t refused;	   /* since the mount: EIO because too many waited for the store */
	uint64_t inodes;	   /* in memory now: files and directories */
	uint64_t inodes_forgotten; /* since the mount: asked back from the kernel (max_inodes) */
};
void fs_counts(struct fs *fs, struct fs_counts *ret);

/*
 * A name came to be without the kernel (path: from the root): what it keeps of the directory is
 * out of date.  When this returns, who lists or looks up sees the name.  From a thread
 * that answers no request; holds no lock.
 */
void fs_name_appeared(struct fs *fs, const char *path);

#endif
