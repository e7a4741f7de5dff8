/* SPDX-License-Identifier: MIT */
/*
 * Names: every operation that looks up or changes them, in every state.
 *
 * Who needs no row never touches the catalogue: creating, writing, renaming and
 * removing local files are system calls on the cache.  Where a row is touched the
 * order is: claim, rows (and an intent, when the cache changes too) committed, the
 * cache changed, reply.  Errors are those of the system call of the same name,
 * as ext4 gives them, and -EIO (catalogue, store), -EROFS (catalogue turned read-only and
 * the operation needs it), -ENOSPC.
 * TIER_PARK: see tier/tier.h.  Nodes returned are counted.
 */
#ifndef EBB_TIER_NS_H
#define EBB_TIER_NS_H

#include <sys/stat.h>

#include "tier/tier.h"

/* On whose behalf: new files are theirs. */
struct ns_cred {
	uid_t uid;
	gid_t gid;
	mode_t umask; /* already applied to mode by the kernel: kept for completeness */
	pid_t pid;    /* to read supplementary groups, when setgid rules need them */
};

struct row_seen; /* tier/state.h */

/* seen: what a listing has read of the name (tier/list.h), or NULL. */
int ns_lookup(struct tier *t, struct node *parent, const char *name, const struct row_seen *seen,
	      struct node **ret, struct stat *ret_st);
/* fd >= 0: the file's open cache descriptor, used when it has no name any more. */
int ns_getattr(struct tier *t, struct node *node, int fd, struct stat *ret);

struct ns_setattr {
	unsigned set; /* NS_SET_* */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec atime, mtime; /* tv_nsec may be UTIME_NOW */
	bool kill_suidgid;	      /* truncation by someone who may not keep suid and sgid */
	int fd; /* open cache descriptor of the file (any mode) or -1; needed when it has no name */
};
enum {
	NS_SET_MODE = 1,
	NS_SET_UID = 2,
	NS_SET_GID = 4,
	NS_SET_SIZE = 8,
	NS_SET_ATIME = 16,
	NS_SET_MTIME = 32
};
int ns_setattr(struct tier *t, struct node *node, const struct ns_setattr *set, bool wait,
	       struct stat *ret);

/*
 * Create and open.  The descriptor is O_RDWR whatever the flags, but for a file that was
 * made with O_RDONLY: whose bytes the kernel writes needs no writable one, and one less is
 * in the way of leases.  The node has one write handle counted (node_open_end when it is closed).
 */
struct ns_created {
	struct node *node; /* counted */
	struct stat st;
	int fd;	   /* of the cache; the caller's */
	bool made; /* else it was there: without O_EXCL that is no error */
};
int ns_create(struct tier *t, struct node *parent, const char *name, mode_t mode, int flags,
	      const struct ns_cred *cred, bool wait, struct ns_created *ret);
int ns_mknod(struct tier *t, struct node *parent, const char *name, mode_t mode, dev_t rdev,
	     const struct ns_cred *cred, bool wait, struct node **ret, struct stat *ret_st);
int ns_mkdir(struct tier *t, struct node *parent, const char *name, mode_t mode,
	     const struct ns_cred *cred, bool wait, struct node **ret, struct stat *ret_st);
int ns_symlink(struct tier *t, struct node *parent, const char *name, const char *target,
	       const struct ns_cred *cred, bool wait, struct node **ret, struct stat *ret_st);
int ns_link(struct tier *t, struct node *node, struct node *parent, const char *name, bool wait,
	    struct stat *ret_st);
int ns_unlink(struct tier *t, struct node *parent, const char *name, bool wait);
int ns_rmdir(struct tier *t, struct node *parent, const char *name, bool wait);
/* flags: 0, RENAME_NOREPLACE or RENAME_EXCHANGE; others -EINVAL. */
int ns_rename(struct tier *t, struct node *parent, const char *name, struct node *new_parent,
	      const char *new_name, unsigned flags, bool wait);
int ns_readlink(struct tier *t, struct node *node, char *buf, size_t size); /* length */

struct remote; /* tier/read.h */

/*
 * Open a file node.  O_TRUNC is honoured.  Where the bytes are local: *ret_fd is an
 * O_RDONLY cache descriptor (O_RDWR when flags ask to write), owned by the
 * caller, *ret_remote NULL.  Where they are released and flags only read:
 * *ret_fd is -1, *ret_remote counted.  Opening for writing restores first and takes
 * the row to the trash: it parks.  A handle was counted (node_open_end(write)).
 */
int ns_open(struct tier *t, struct node *node, int flags, bool wait, int *ret_fd,
	    struct remote **ret_remote);

/* The cache directory of a node, made again from its rows if it was released.  Claims it. */
int ns_materialize_dir(struct tier *t, struct node *dir, bool wait);

#endif
