/* SPDX-License-Identifier: MIT */
/*
 * The open state of files: what the daemon and the kernel use of them.
 *
 * The kernel fixes how it reads and writes an inode at its first open, until the
 * last release; breaking one of these rules is an EIO for the user:
 *
 *	1. every open of an inode carries the same backing id while one is open
 *	2. no other open while a passthrough open exists, and the other way round
 *	3. passthrough excludes KEEP_CACHE
 *
 *	mode		reads and writes			descriptors
 *	PASSTHROUGH	the kernel's, on the backing file	ro
 *	LOCAL		the daemon's				ro or rw
 *	REMOTE		the daemon's, from the store		none
 *	REMOTE		once the bytes are local (a writer	ro or rw
 *			restored it, a truncation by path)
 *
 * Pages of its own the kernel fills from LOCAL and REMOTE files, and a write by passthrough leaves
 * them as they are.  They are kept at an open if all reads since it knows the file were of the
 * object that is opened; otherwise it asks anew.
 *
 * ro is dropped at the last close, rw at the last writer's: a lease on a file that is
 * only read must be possible, and an O_RDWR descriptor makes every lease fail.
 */
#ifndef EBB_FS_OPEN_H
#define EBB_FS_OPEN_H

#include "fs/fs_int.h"
#include "tier/read.h"

enum open_mode { OPEN_PASSTHROUGH, OPEN_LOCAL, OPEN_REMOTE };

/* How the kernel is told of a backing file (fs/backing.c). */
struct backing_ops {
	int (*open)(void *arg, int fd); /* an id > 0, or -errno: not possible */
	void (*close)(void *arg, int id);
};

int opens_new(const struct backing_ops *ops, void *arg, struct opens **ret); /* 0, -ENOMEM */
/* What is still open is closed, without telling the kernel. */
void opens_free(struct opens *o, struct tree *tree);

/* One more open file. */
struct opening {
	int fd;		       /* taken over; -1 with remote */
	bool fd_ro;	       /* it is O_RDONLY, else O_RDWR */
	struct remote *remote; /* taken over; NULL with fd */
	bool write;	       /* counted as a writer */
	bool exec;	       /* by execve(2): until opens_exec_ends */
	bool passthrough;      /* wanted, if this is the first open */
};
struct opened {
	enum open_mode mode;
	int backing_id;	 /* with OPEN_PASSTHROUGH */
	bool keep_pages; /* what the kernel has of it in its page cache is right */
};
/* 0; -ENOMEM, -errno of open(2): nothing is counted, fd and remote are closed all the same. */
int opens_add(struct opens *o, struct node *node, struct opening *in, struct opened *ret);
/*
 * The file is closed once more; *ret_last_writer: nobody has it open for writing now.
 * 0; -EBADF: it was not open so (a number that never was a handle's).
 */
int opens_drop(struct opens *o, struct node *node, bool write, bool *ret_last_writer);

/*
 * A program is run from the file, or was a moment ago.  The kernel refuses to open it for
 * writing then, but for O_RDONLY | O_TRUNC it asks us to truncate before it says so.
 */
bool opens_is_run(struct opens *o, struct node *node);
void opens_exec_ends(struct opens *o, struct node *node); /* before opens_drop */

/* A file without a name is opened again: by its descriptor, or the same remote.  -ENOENT: not open. */
int opens_again(struct opens *o, struct node *node, int flags, int *ret_fd,
		struct remote **ret_remote);

/* Where the bytes of an open file are, counted: one of fd and remote. */
struct bytes {
	struct cfd *fd;
	struct remote *remote;
};
/* 0; -EBADF: not open; -EIO: the local descriptor was lost; -errno of open(2). */
int opens_bytes(struct opens *o, struct node *node, bool write, struct bytes *ret);
void bytes_put(struct bytes *b);
int bytes_fd(const struct bytes *b); /* -1: remote */

/*
 * The file's bytes became local by path while it was open REMOTE (truncated): fd is
 * taken over and read from now on; fd < 0: it could not be had, reads give -EIO.
 * opens_is_remote says whether that is needed.
 */
bool opens_is_remote(struct opens *o, struct node *node);
void opens_now_local(struct opens *o, struct node *node, int fd);

/*
 * The kernel is about to be given all pages of a file, an object's of this attempt, that is
 * claimed and cannot be opened.  False: it may have others.  opens_pages_refused: it does not know
 * the file, and has none.  opens_pages_mixed: it was, or may have been, given others.
 */
bool opens_pages_come(struct opens *o, struct node *node, uint64_t attempt);
void opens_pages_refused(struct opens *o, struct node *node);
void opens_pages_mixed(struct opens *o, struct node *node);

/* How many files are open.  For tests. */
uint64_t opens_count(struct opens *o);

#endif
