/* SPDX-License-Identifier: MIT */
/*
 * What op_*.c and session.c share: the operations, and how they reply.
 *
 * An op reads its arguments, calls one verb, replies once.  Ops that may be parked
 * fill a struct call (fs/park.h) and leave the reply to it.
 */
#ifndef EBB_FS_FS_FUSE_H
#define EBB_FS_FS_FUSE_H

#include <fuse_lowlevel.h>

#include "fs/open.h"
#include "fs/park.h"
#include "tier/ns.h"

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* How long the kernel may keep names and attributes, in its unit. */
static inline double fs_timeout_s(struct fs *fs)
{
	return (double)atomic_load_explicit(&fs->timeout_ms, memory_order_relaxed) / 1000;
}

/* The node of a number, counted; NULL: there is none, and that was replied (ESTALE). */
struct node *op_node(fuse_req_t req, fuse_ino_t ino);
/* The same of a directory in which name is looked up or made (ENOTDIR, ENAMETOOLONG, EINVAL). */
struct node *op_parent(fuse_req_t req, fuse_ino_t ino, const char *name);
struct ns_cred op_cred(fuse_req_t req);

/* r: 0 or a negative errno. */
void reply_result(fuse_req_t req, int r);
/* node's count goes to the kernel; if the kernel does not take it, it is dropped. */
void reply_entry(struct fs *fs, fuse_req_t req, struct node *node, const struct stat *st);
void fill_entry(struct fs *fs, struct node *node, const struct stat *st,
		struct fuse_entry_param *ret);
void reply_attr(struct fs *fs, fuse_req_t req, const struct stat *st);
/* The reply() of calls that give back nothing but success. */
void call_reply_result(struct call *c, int r);

/* A file handle's number: what release has to give back. */
enum { HANDLE_READ = 1, HANDLE_WRITE = 2, HANDLE_EXEC = 3 };

/* op_init.c */
struct fuse_lowlevel_ops op_table(const struct fs *fs);
/* op_lookup.c */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
/* op_attr.c */
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
/* op_name.c */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags);
/* op_open.c */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* op_io.c */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
/* op_sync.c */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags);
/* op_dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* op_xattr.c */
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		 int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
