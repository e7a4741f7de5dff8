/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes.  Only with xattr=yes are these operations given to the kernel:
 * answering them at all costs a request for each created file and two for each in
 * `ls -l`; ENOSYS stops them for the whole mount.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs_fuse.h"
#include "fs/xattr.h"

/* size 0: how long it would be. */
static void reply_bytes(fuse_req_t req, const char *bytes, ssize_t n, size_t size)
{
	if (n < 0)
		reply_result(req, (int)n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else if ((size_t)n > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, bytes, (size_t)n);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	char *value;

	if (!node)
		return;
	value = malloc(XATTR_BYTES_MAX);
	if (!value)
		fuse_reply_err(req, ENOMEM);
	else
		reply_bytes(req, value, fs_stale(node, (int)xattr_get(fs, node, name, value)),
			    size);
	free(value);
	fs_put(fs, node);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	char *names;

	if (!node)
		return;
	names = malloc(XATTR_BYTES_MAX);
	if (!names)
		fuse_reply_err(req, ENOMEM);
	else
		reply_bytes(req, names, fs_stale(node, (int)xattr_list(fs, node, names)), size);
	free(names);
	fs_put(fs, node);
}

struct change {
	struct call call; /* name: the attribute's */
	void *value;	  /* owned, freed by reply */
	size_t size;
	int flags;
};

static int set_run(struct call *c, bool wait)
{
	struct change *x = (struct change *)c;

	return fs_stale(c->node,
			xattr_set(c->fs, c->node, c->name, x->value, x->size, x->flags, wait));
}

static int remove_run(struct call *c, bool wait)
{
	return fs_stale(c->node, xattr_remove(c->fs, c->node, c->name, wait));
}

static void change_reply(struct call *c, int r)
{
	free(((struct change *)c)->value);
	reply_result(c->req, r);
}

static enum park_where change_where(struct call *c)
{
	(void)c;
	return PARK_STORE; /* a released file is restored */
}

static void change(fuse_req_t req, fuse_ino_t ino, const char *name, struct change *x,
		   int (*run)(struct call *c, bool wait))
{
	x->call = (struct call){ .fs = fs_of(req),
				 .req = req,
				 .run = run,
				 .reply = change_reply,
				 .where = change_where,
				 .name = name };
	x->call.node = op_node(req, ino);
	if (x->call.node)
		fs_call(&x->call, sizeof(*x));
	else
		free(x->value);
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		 int flags)
{
	struct change x = { .size = size, .flags = flags };

	if (size > XATTR_BYTES_MAX) {
		fuse_reply_err(req, E2BIG);
		return;
	}
	x.value = malloc(size + 1);
	if (!x.value) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	memcpy(x.value, value, size);
	change(req, ino, name, &x, set_run);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct change x = { 0 };

	change(req, ino, name, &x, remove_run);
}
