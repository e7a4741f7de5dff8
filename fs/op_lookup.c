/* SPDX-License-Identifier: MIT */
/*
 * Operations that ask what is there, and those that say what the kernel forgot.
 *
 * Always true: none of them waits.  A name that is not there is never cached by the
 * kernel: its creation would have to be told to it.
 */
#include <errno.h>
#include <limits.h>

#include "fs/fs_fuse.h"
#include "fs/room.h"

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *dir = op_parent(req, parent, name);
	struct node *node;
	struct stat st;
	int r;

	if (!dir)
		return;
	r = ns_lookup(fs->tier, dir, name, NULL, &node, &st);
	fs_put(fs, dir);
	if (r < 0)
		reply_result(req, r);
	else
		reply_entry(fs, req, node, &st);
}

static void forget(struct fs *fs, fuse_ino_t ino, uint64_t nlookup)
{
	struct node *node;

	/* The root is the tree's own. */
	if (ino == FUSE_ROOT_ID || nlookup == 0 || nlookup == UINT64_MAX)
		return;
	node = fs_node(fs, ino);
	if (node)
		node_put_n(fs->tree, node, nlookup + 1); /* and the one just taken */
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	forget(fs_of(req), ino, nlookup);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(fs_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	char target[PATH_MAX + 1];
	int r;

	if (!node)
		return;
	r = fs_stale(node, ns_readlink(fs->tier, node, target, sizeof(target) - 1));
	fs_put(fs, node);
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	target[r] = '\0';
	fuse_reply_readlink(req, target);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	int r;

	(void)ino;
	r = fs_room(fs_of(req), &st);
	if (r < 0)
		reply_result(req, r);
	else
		fuse_reply_statfs(req, &st);
}
