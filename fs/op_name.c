/* SPDX-License-Identifier: MIT */
/*
 * Operations that make, remove and change names.
 *
 * Each is one verb of tier/ns.h, answered at once for what is only local, parked
 * where a commit or a claim must be waited for.
 */
#include <errno.h>

#include "fs/dirs.h"
#include "fs/fs_fuse.h"

/* ---- making --------------------------------------------------------------- */

struct make {
	struct call call; /* node: the directory; other_name: a symlink's target */
	mode_t mode;
	dev_t rdev;
	struct ns_cred cred;
	struct node *made; /* counted once run() returned 0 */
	struct stat st;
};

static int mknod_run(struct call *c, bool wait)
{
	struct make *m = (struct make *)c;

	return ns_mknod(c->fs->tier, c->node, c->name, m->mode, m->rdev, &m->cred, wait, &m->made,
			&m->st);
}

static int mkdir_run(struct call *c, bool wait)
{
	struct make *m = (struct make *)c;

	return ns_mkdir(c->fs->tier, c->node, c->name, m->mode, &m->cred, wait, &m->made, &m->st);
}

static int symlink_run(struct call *c, bool wait)
{
	struct make *m = (struct make *)c;

	return ns_symlink(c->fs->tier, c->node, c->name, c->other_name, &m->cred, wait, &m->made,
			  &m->st);
}

static void make_reply(struct call *c, int r)
{
	struct make *m = (struct make *)c;

	if (r < 0)
		reply_result(c->req, r);
	else
		reply_entry(c->fs, c->req, m->made, &m->st);
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, struct make *m,
		 int (*run)(struct call *c, bool wait))
{
	m->cred = op_cred(req);
	m->call = (struct call){ .fs = fs_of(req),
				 .req = req,
				 .run = run,
				 .reply = make_reply,
				 .name = name,
				 .other_name = m->call.other_name };
	m->call.node = op_parent(req, parent, name);
	if (m->call.node)
		fs_call(&m->call, sizeof(*m));
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct make m = { .mode = mode, .rdev = rdev };

	make(req, parent, name, &m, mknod_run);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct make m = { .mode = mode };

	make(req, parent, name, &m, mkdir_run);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct make m = { .call = { .other_name = target } };

	make(req, parent, name, &m, symlink_run);
}

/* A link is an entry of a node that is there: the kernel counts it once more. */
static int link_run(struct call *c, bool wait)
{
	struct make *m = (struct make *)c;
	int r;

	r = ns_link(c->fs->tier, c->node, c->other, c->name, wait, &m->st);
	if (r == 0)
		m->made = node_ref(c->node);
	return r;
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct make m = { .call = { .fs = fs_of(req),
				    .req = req,
				    .run = link_run,
				    .reply = make_reply,
				    .name = name } };

	m.call.node = op_node(req, ino);
	if (!m.call.node)
		return;
	m.call.other = op_parent(req, parent, name);
	if (m.call.other)
		fs_call(&m.call, sizeof(m));
	else
		fs_put(m.call.fs, m.call.node);
}

/* ---- removing -------------------------------------------------------------- */

static int unlink_run(struct call *c, bool wait)
{
	return ns_unlink(c->fs->tier, c->node, c->name, wait);
}

/* The directory that is about to lose this name, if somebody may still be inside. */
static bool is_used_dir(struct fs *fs, struct node *parent, const char *name, struct stat *ret)
{
	struct node *node = node_find(fs->tree, parent, name);
	bool used = node && node_is_dir(node) && ns_getattr(fs->tier, node, -1, ret) == 0;

	fs_put(fs, node);
	return used;
}

static int rmdir_run(struct call *c, bool wait)
{
	struct stat st;
	bool used = is_used_dir(c->fs, c->node, c->name, &st);
	int r;

	r = ns_rmdir(c->fs->tier, c->node, c->name, wait);
	if (r == 0 && used)
		dirs_gone(c->fs->dirs, &st);
	return r;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name,
			int (*run)(struct call *c, bool wait))
{
	struct call c = {
		.fs = fs_of(req), .req = req, .run = run, .reply = call_reply_result, .name = name
	};

	c.node = op_parent(req, parent, name);
	if (c.node)
		fs_call(&c, sizeof(c));
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, unlink_run);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, rmdir_run);
}

/* ---- renaming --------------------------------------------------------------- */

struct move {
	struct call call; /* node, name -> other, other_name */
	unsigned flags;
};

static int rename_run(struct call *c, bool wait)
{
	struct move *m = (struct move *)c;
	struct stat st;
	bool used = m->flags == 0 && is_used_dir(c->fs, c->other, c->other_name, &st);
	int r;

	r = ns_rename(c->fs->tier, c->node, c->name, c->other, c->other_name, m->flags, wait);
	if (r == 0 && used)
		dirs_gone(c->fs->dirs, &st);
	return r;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags)
{
	struct move m = { .call = { .fs = fs_of(req),
				    .req = req,
				    .run = rename_run,
				    .reply = call_reply_result,
				    .name = name,
				    .other_name = new_name },
			  .flags = flags };

	m.call.node = op_parent(req, parent, name);
	if (!m.call.node)
		return;
	m.call.other = op_parent(req, new_parent, new_name);
	if (m.call.other)
		fs_call(&m.call, sizeof(m));
	else
		fs_put(m.call.fs, m.call.node);
}
