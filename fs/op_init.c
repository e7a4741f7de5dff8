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

/* Should the rings fail to start, libfuse says so and goes on over /dev/fuse. */
static void choose_io_uring(struct fs *fs, struct fuse_conn_info *conn)
{
	const struct uring_plan *plan = &fs->uring;
	const char *why = plan->why_not;

	if (plan->wanted) {
		fs->over_uring = wish(conn, FUSE_CAP_OVER_IO_URING);
		why = "this kernel does not offer it (Linux 6.14 and later do)";
	} else {
		fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
	}
	if (fs->over_uring)
		log_info("io_uring: yes, %u rings of %u entries of %u KiB", plan->rings,
			 plan->depth, plan->max_write_bytes >> 10);
	else if (plan->forced)
		log_warning("io_uring: no: %s", why);
	else
		log_info("io_uring: no: %s", why);
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
	conn->max_write = fs->uring.max_write_bytes;
	conn->max_background = FS_MAX_BACKGROUND;
	conn->congestion_threshold = FS_MAX_BACKGROUND * 3 / 4;
	conn->no_interrupt = 1; /* what is parked has a time limit of its own */
	choose_passthrough(fs, conn);
	choose_io_uring(fs, conn);
	session_ready(fs);
}

/* ---- the table ------------------------------------------------------------------- */

/*
 * libfuse cancels its ring threads at the end, wherever they are: with a lock held, in the
 * middle of closing a database.  It wakes them before, and they end by themselves.
 */
static void count(struct fs *fs, enum fs_request request)
{
	static _Thread_local bool kept;

	if (!kept) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		kept = true;
	}
	atomic_fetch_add_explicit(&fs->requests[request], 1, memory_order_relaxed);
}

#define OP(name, parameters, arguments)               \
	static void counted_##name parameters         \
	{                                             \
		count(fs_of(req), FS_REQUEST_##name); \
		op_##name arguments;                  \
	}
#include "fs/ops.def"

struct fuse_lowlevel_ops op_table(const struct fs *fs)
{
	struct fuse_lowlevel_ops ops = { .init = op_init };

#define OP(name, parameters, arguments) ops.name = counted_##name;
#define OP_IF(condition, name, parameters, arguments) \
	if (condition)                                \
		ops.name = counted_##name;
#include "fs/ops.def"
	return ops;
}
