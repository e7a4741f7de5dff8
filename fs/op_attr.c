/* SPDX-License-Identifier: MIT */
/*
 * getattr and setattr.
 *
 * Permissions were checked by the kernel (default_permissions).  It leaves clearing
 * suid and sgid to us (HANDLE_KILLPRIV_V2): here, when a file is truncated.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/attr.h"
#include "fs/fs_fuse.h"

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	struct stat st;
	int r;

	(void)fi;
	if (!node)
		return;
	r = fs_stale(node, fs_getattr(fs, node, &st));
	fs_put(fs, node);
	if (r < 0)
		reply_result(req, r);
	else
		reply_attr(fs, req, &st);
}

struct setattr {
	struct call call;
	struct ns_setattr set;
	struct stat st;
};

static int setattr_run(struct call *c, bool wait)
{
	struct setattr *s = (struct setattr *)c;

	return fs_stale(c->node, fs_setattr(c->fs, c->node, &s->set, wait, &s->st));
}

static enum park_where setattr_where(struct call *c)
{
	struct setattr *s = (struct setattr *)c;

	if (!(s->set.set & NS_SET_SIZE))
		return PARK_COMMIT;
	return fs_where_bytes(c->fs, c->node, s->set.size == 0);
}

static void setattr_reply(struct call *c, int r)
{
	struct setattr *s = (struct setattr *)c;

	if (r < 0)
		reply_result(c->req, r);
	else
		reply_attr(c->fs, c->req, &s->st);
}

static const struct {
	int fuse;
	unsigned ns;
} set_bits[] = {
	{ FUSE_SET_ATTR_MODE, NS_SET_MODE },
	{ FUSE_SET_ATTR_UID, NS_SET_UID },
	{ FUSE_SET_ATTR_GID, NS_SET_GID },
	{ FUSE_SET_ATTR_SIZE, NS_SET_SIZE },
	{ FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW, NS_SET_ATIME },
	{ FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW, NS_SET_MTIME },
};

static void read_set(const struct stat *attr, int to_set, struct ns_setattr *ret)
{
	*ret = (struct ns_setattr){
		.mode = attr->st_mode,
		.uid = attr->st_uid,
		.gid = attr->st_gid,
		.size = (uint64_t)attr->st_size,
		.atime = attr->st_atim,
		.mtime = attr->st_mtim,
		.kill_suidgid = to_set & FUSE_SET_ATTR_KILL_SUID, /* FATTR_KILL_SUIDGID */
		.fd = -1,
	};
	for (size_t i = 0; i < sizeof(set_bits) / sizeof(set_bits[0]); i++) {
		if (to_set & set_bits[i].fuse)
			ret->set |= set_bits[i].ns;
	}
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		ret->atime.tv_nsec = UTIME_NOW;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		ret->mtime.tv_nsec = UTIME_NOW;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct setattr s = { .call = { .fs = fs_of(req),
				       .req = req,
				       .run = setattr_run,
				       .reply = setattr_reply,
				       .where = setattr_where } };

	(void)fi;
	s.call.node = op_node(req, ino);
	if (!s.call.node)
		return;
	if ((to_set & FUSE_SET_ATTR_SIZE) && attr->st_size < 0) {
		fs_put(s.call.fs, s.call.node);
		fuse_reply_err(req, EINVAL);
		return;
	}
	read_set(attr, to_set, &s.set);
	fs_call(&s.call, sizeof(s));
}
