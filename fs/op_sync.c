/* SPDX-License-Identifier: MIT */
/*
 * Operations that wait for the cache's disk: always parked, never on a thread that
 * answers the kernel.
 */
#include <errno.h>

#include "fs/fs_fuse.h"
#include "fs/sync.h"

static enum park_where sync_where(struct call *c)
{
	(void)c;
	return PARK_SYNC;
}

static void call_sync(fuse_req_t req, fuse_ino_t ino, int (*run)(struct call *c, bool wait))
{
	struct call c = { .fs = fs_of(req),
			  .req = req,
			  .run = run,
			  .reply = call_reply_result,
			  .where = sync_where };

	c.node = op_node(req, ino);
	if (c.node)
		fs_call(&c, sizeof(c));
}

static int fsync_run(struct call *c, bool wait)
{
	return wait ? sync_file(c->fs, c->node, false) : TIER_PARK;
}

static int fdatasync_run(struct call *c, bool wait)
{
	return wait ? sync_file(c->fs, c->node, true) : TIER_PARK;
}

static int fsyncdir_run(struct call *c, bool wait)
{
	return wait ? sync_dir(c->fs, c->node) : TIER_PARK;
}

static int close_run(struct call *c, bool wait)
{
	return wait ? sync_close(c->fs, c->node) : TIER_PARK;
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)fi;
	call_sync(req, ino, datasync ? fdatasync_run : fsync_run);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	call_sync(req, ino, fsyncdir_run);
}

/* close() of a descriptor; asked for with durability=close only. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (fi->fh == HANDLE_WRITE)
		call_sync(req, ino, close_run);
	else
		fuse_reply_err(req, 0);
}

/* ---- fallocate ------------------------------------------------------------------ */

struct allocate {
	struct call call;
	int mode;
	off_t off, len;
};

static int fallocate_run(struct call *c, bool wait)
{
	struct allocate *a = (struct allocate *)c;

	return wait ? sync_fallocate(c->fs, c->node, a->mode, a->off, a->len) : TIER_PARK;
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	struct allocate a = { .call = { .fs = fs_of(req),
					.req = req,
					.run = fallocate_run,
					.reply = call_reply_result,
					.where = sync_where },
			      .mode = mode,
			      .off = off,
			      .len = len };

	(void)fi;
	a.call.node = op_node(req, ino);
	if (a.call.node)
		fs_call(&a.call, sizeof(a));
}

/* ---- copy_file_range ------------------------------------------------------------- */

struct copy {
	struct call call; /* node -> other */
	off_t off_in, off_out;
	size_t len;
	unsigned flags;
	ssize_t copied;
};

static int copy_run(struct call *c, bool wait)
{
	struct copy *p = (struct copy *)c;

	if (!wait)
		return TIER_PARK;
	p->copied = sync_copy(c->fs, c->node, p->off_in, c->other, p->off_out, p->len, p->flags);
	return p->copied < 0 ? (int)p->copied : 0;
}

static void copy_reply(struct call *c, int r)
{
	struct copy *p = (struct copy *)c;

	if (r < 0)
		reply_result(c->req, r);
	else
		fuse_reply_write(c->req, (size_t)p->copied);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct copy p = { .call = { .fs = fs_of(req),
				    .req = req,
				    .run = copy_run,
				    .reply = copy_reply,
				    .where = sync_where },
			  .off_in = off_in,
			  .off_out = off_out,
			  .len = len < 1u << 30 ? len : 1u << 30,
			  .flags = (unsigned)flags };

	(void)fi_in;
	(void)fi_out;
	p.call.node = op_node(req, ino_in);
	if (!p.call.node)
		return;
	p.call.other = op_node(req, ino_out);
	if (p.call.other)
		fs_call(&p.call, sizeof(p));
	else
		fs_put(p.call.fs, p.call.node);
}
