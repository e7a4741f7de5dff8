/* SPDX-License-Identifier: MIT */
/*
 * Attributes of files, with a name or without one.
 *
 * A file whose name is gone is reached by what is open of it: its cache
 * descriptor, or, when its bytes are only in the store, its remote, which keeps the
 * attributes until the last close.
 */
#include "fs/attr.h"

#include <errno.h>
#include <fcntl.h>

#include "fs/dirs.h"
#include "fs/open.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tier/rows.h"
#include "tier/state.h"

static void remote_stat(struct node *node, struct remote *remote, struct stat *ret)
{
	struct row_attr attr;

	remote_get_attr(remote, &attr);
	*ret = (struct stat){ .st_ino = node_ino(node) };
	rows_attr_to_stat(&attr, ret);
	ret->st_nlink = 0;
}

int fs_getattr(struct fs *fs, struct node *node, struct stat *ret)
{
	struct bytes b = { 0 };
	int r;

	r = ns_getattr(fs->tier, node, -1, ret);
	if (r == -ENOENT && node_is_dir(node))
		return dirs_find_gone(fs->dirs, node_ino(node), ret) ? 0 : r;
	if (r != -ENOENT || opens_bytes(fs->opens, node, false, &b) < 0)
		return r;
	if (b.remote) {
		remote_stat(node, b.remote, ret);
		r = 0;
	} else {
		r = ns_getattr(fs->tier, node, bytes_fd(&b), ret);
	}
	bytes_put(&b);
	return r;
}

static int64_t time_of(const struct timespec *t, int64_t now_ns)
{
	return t->tv_nsec == UTIME_NOW ? now_ns : ts_to_ns(*t);
}

/* Of a nameless file whose bytes are only in the store: there is nothing to truncate. */
static int remote_setattr(struct remote *remote, const struct ns_setattr *set)
{
	int64_t now_ns = clock_real_ns();
	struct row_attr attr;

	remote_get_attr(remote, &attr);
	if ((set->set & NS_SET_SIZE) && set->size != attr.size)
		return -EIO;
	if (set->set & (NS_SET_UID | NS_SET_GID))
		attr.mode &= ~(mode_t)(S_ISUID | (attr.mode & S_IXGRP ? S_ISGID : 0));
	if (set->set & NS_SET_MODE)
		attr.mode = (attr.mode & S_IFMT) | (set->mode & 07777);
	if (set->set & NS_SET_UID)
		attr.uid = set->uid;
	if (set->set & NS_SET_GID)
		attr.gid = set->gid;
	if (set->set & NS_SET_ATIME)
		attr.atime_ns = time_of(&set->atime, now_ns);
	if (set->set & NS_SET_MTIME)
		attr.mtime_ns = time_of(&set->mtime, now_ns);
	attr.ctime_ns = now_ns;
	remote_set_attr(remote, &attr);
	return 0;
}

static int setattr_open(struct fs *fs, struct node *node, struct ns_setattr *set, bool wait,
			struct stat *ret)
{
	struct bytes b = { 0 };
	int r;

	set->fd = -1;
	if (opens_bytes(fs->opens, node, false, &b) == 0)
		set->fd = bytes_fd(&b);
	r = ns_setattr(fs->tier, node, set, wait, ret);
	if (r == -ENOENT && b.remote) {
		r = remote_setattr(b.remote, set);
		if (r == 0)
			remote_stat(node, b.remote, ret);
	}
	bytes_put(&b);
	return r;
}

static void now_local(struct fs *fs, struct node *node)
{
	int fd = cache_open_node(tier_cache(fs->tier), node, O_RDONLY);

	if (fd < 0)
		log_warning("cannot open a truncated file's local copy: its readers get EIO");
	opens_now_local(fs->opens, node, fd);
}

int fs_setattr(struct fs *fs, struct node *node, struct ns_setattr *set, bool wait,
	       struct stat *ret)
{
	int r;

	r = setattr_open(fs, node, set, wait, ret);
	if (r == 0 && (set->set & NS_SET_SIZE) && node_has_name(fs->tree, node) &&
	    opens_is_remote(fs->opens, node))
		now_local(fs, node);
	return r;
}

enum park_where fs_where_bytes(struct fs *fs, struct node *node, bool truncated_to_0)
{
	struct state_of look;

	if (truncated_to_0 || state_look_node(fs->tier, node, &look) < 0)
		return PARK_COMMIT;
	return look.state == STATE_RELEASED ? PARK_STORE : PARK_COMMIT;
}

int fs_kill_suidgid(int fd)
{
	struct stat st;
	mode_t kill;

	if (fstat(fd, &st) < 0)
		return -errno;
	kill = st.st_mode & S_ISUID;
	if (st.st_mode & S_IXGRP)
		kill |= st.st_mode & S_ISGID;
	if (kill && fchmod(fd, st.st_mode & 07777 & ~kill) < 0)
		return -errno;
	return 0;
}
