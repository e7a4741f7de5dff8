/* SPDX-License-Identifier: MIT */
/*
 * How operations begin and end: numbers from the kernel become nodes, results
 * become replies.
 *
 * Always true: an entry that the kernel got counts one reference of its node, which
 * FORGET gives back; an entry whose reply failed (the request was interrupted, the
 * mount is gone) counts none.
 */
#include <errno.h>
#include <string.h>

#include "fs/fs_fuse.h"

struct node *op_node(fuse_req_t req, fuse_ino_t ino)
{
	struct node *node = fs_node(fs_of(req), ino);

	if (!node)
		fuse_reply_err(req, ESTALE);
	return node;
}

static int check_name(const char *name)
{
	size_t len = strlen(name);

	if (len > ROW_NAME_MAX)
		return ENAMETOOLONG;
	return len == 0 || strchr(name, '/') ? EINVAL : 0;
}

struct node *op_parent(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct node *node = op_node(req, ino);
	int err;

	if (!node)
		return NULL;
	err = node_is_dir(node) ? check_name(name) : ENOTDIR;
	if (err) {
		fs_put(fs_of(req), node);
		fuse_reply_err(req, err);
		return NULL;
	}
	return node;
}

struct ns_cred op_cred(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct ns_cred){
		.uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask, .pid = ctx->pid
	};
}

void reply_result(fuse_req_t req, int r)
{
	fuse_reply_err(req, -r);
}

void call_reply_result(struct call *c, int r)
{
	reply_result(c->req, r);
}

void fill_entry(struct fs *fs, struct node *node, const struct stat *st,
		struct fuse_entry_param *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ino = node_ino(node);
	ret->attr = *st;
	ret->attr.st_ino = ret->ino;
	ret->attr_timeout = ret->entry_timeout = fs_timeout_s(fs);
	node_hand_over(node);
}

void reply_entry(struct fs *fs, fuse_req_t req, struct node *node, const struct stat *st)
{
	struct fuse_entry_param e;

	fill_entry(fs, node, st, &e);
	if (fuse_reply_entry(req, &e) != 0)
		fs_put(fs, node);
}

void reply_attr(struct fs *fs, fuse_req_t req, const struct stat *st)
{
	fuse_reply_attr(req, st, fs_timeout_s(fs));
}
