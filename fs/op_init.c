/* SPDX-License-Identifier: MIT */
/*
 * What the kernel and we agree on: capabilities, sizes, and which operations exist.
 *
 * What the kernel does not offer is done without, and said once.  An operation that
 * is not in the table is ENOSYS, and the kernel does not ask again: so no FLUSH
 * without durability=close, no GETXATTR without xattr=yes, and locks are its own.
 */
#include <string.h>

#include "fs/backing.h"
#include "fs/fs_fuse.h"
#include "lib/log.h"

static bool wish(struct fuse_conn_info *conn, uint64_t flag)
{
	return fuse_set_feature_flag(conn, flag);
}

static void choose_passthrough(struct fs *fs, struct fuse_conn_info *conn)
{
	const char *want = fs->conf->passthrough;

	if (strcmp(want, "no") == 0) {
		log_info("passthrough: no, as configured");
		return;
	}
	fs->passthrough = wish(conn, FUSE_CAP_PASSTHROUGH);
	if (fs->passthrough) {
		/* A stacked cache (overlayfs) costs that nothing can be stacked on us. */
		bool stacked = backing_is_stacked(cache_root_fd(tier_cache(fs->tier)));

		conn->max_backing_stack_depth = stacked ? FUSE_BACKING_STACKED_OVER
							: FUSE_BACKING_STACKED_UNDER;
		log_info("passthrough: yes");
	} else if (strcmp(want, "yes") == 0) {
		log_warning(
			"passthrough: no: this kernel does not offer it (Linux 6.9 and later do)");
	} else {
		log_info("passthrough: no: this kernel does not offer it");
	}
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	wish(conn, FUSE_CAP_ASYNC_READ);
	wish(conn, FUSE_CAP_ATOMIC_O_TRUNC);
	wish(conn, FUSE_CAP_PARALLEL_DIROPS);
	wish(conn, FUSE_CAP_AUTO_INVAL_DATA);
	wish(conn, FUSE_CAP_CACHE_SYMLINKS);
	wish(conn, FUSE_CAP_EXPIRE_ONLY);
	wish(conn, FUSE_CAP_NO_EXPORT_SUPPORT);
	/* Saves a GETXATTR before each first write; clearing suid and sgid is ours then. */
	wish(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	/* AUTO would go back to plain listings, and thousands of look-ups. */
	wish(conn, FUSE_CAP_READDIRPLUS);
	fuse_unset_feature_flag(conn, FUSE_CAP_READDIRPLUS_AUTO);
	/* Excludes passthrough, and its errors come when nobody looks. */
	fuse_unset_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	/* See op_io.c. */
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_WRITE);
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_MOVE);
	fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
	conn->max_write = FS_MAX_WRITE;
	conn->max_background = FS_MAX_BACKGROUND;
	conn->congestion_threshold = FS_MAX_BACKGROUND * 3 / 4;
	conn->no_interrupt = 1; /* what is parked has a time limit of its own */
	choose_passthrough(fs, conn);
	session_ready(fs);
}

struct fuse_lowlevel_ops op_table(const struct fs *fs)
{
	struct fuse_lowlevel_ops ops = {
		.init = op_init,
		.lookup = op_lookup,
		.forget = op_forget,
		.forget_multi = op_forget_multi,
		.getattr = op_getattr,
		.setattr = op_setattr,
		.readlink = op_readlink,
		.mknod = op_mknod,
		.mkdir = op_mkdir,
		.unlink = op_unlink,
		.rmdir = op_rmdir,
		.symlink = op_symlink,
		.rename = op_rename,
		.link = op_link,
		.open = op_open,
		.create = op_create,
		.read = op_read,
		.write = op_write,
		.release = op_release,
		.fsync = op_fsync,
		.opendir = op_opendir,
		.readdir = op_readdir,
		.readdirplus = op_readdirplus,
		.releasedir = op_releasedir,
		.fsyncdir = op_fsyncdir,
		.statfs = op_statfs,
		.fallocate = op_fallocate,
		.lseek = op_lseek,
		.copy_file_range = op_copy_file_range,
	};

	if (fs->durable_close)
		ops.flush = op_flush;
	if (fs->conf->xattr) {
		ops.setxattr = op_setxattr;
		ops.getxattr = op_getxattr;
		ops.listxattr = op_listxattr;
		ops.removexattr = op_removexattr;
	}
	return ops;
}
