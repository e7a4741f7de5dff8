/* SPDX-License-Identifier: MIT */
/*
 * What is open, used: bytes for a read or a write, pages that the kernel keeps.
 *
 * A file that was opened REMOTE and becomes local meanwhile gives its local bytes from then on.
 */
#include <errno.h>
#include <fcntl.h>

#include "fs/open_int.h"
#include "lib/cleanup.h"

/* ---- bytes ----------------------------------------------------------------- */

static int local_bytes(struct open_file *f, bool write, struct bytes *ret)
{
	int r;

	if (!write) {
		ret->fd = cfd_get(f->ro ? f->ro : f->rw);
		return 0;
	}
	if (!f->rw) {
		r = cfd_reopen(cfd_fd(f->ro), O_RDWR, &f->rw);
		if (r < 0)
			return r;
	}
	ret->fd = cfd_get(f->rw);
	return 0;
}

static int find_bytes(struct open_file *f, bool write, struct bytes *ret)
{
	if (!f)
		return -EBADF;
	if (f->lost)
		return -EIO;
	if (f->ro || f->rw)
		return local_bytes(f, write, ret);
	if (write)
		return -EBADF;
	ret->remote = remote_ref(f->remote);
	return 0;
}

int opens_bytes(struct opens *o, struct node *node, bool write, struct bytes *ret)
{
	struct lock *lock = opens_lock(o, node);
	struct bytes b = { 0 };
	int r;

	if (node_is_dir(node))
		return -EBADF;
	lock_take(lock);
	r = find_bytes(node_fs(node), write, &b);
	lock_drop(lock);
	if (r == 0)
		*ret = b;
	return r;
}

void bytes_put(struct bytes *b)
{
	cfd_put(b->fd);
	if (b->remote)
		remote_put(b->remote);
	*b = (struct bytes){ 0 };
}

int bytes_fd(const struct bytes *b)
{
	return b->fd ? cfd_fd(b->fd) : -1;
}

int opens_again(struct opens *o, struct node *node, int flags, int *ret_fd,
		struct remote **ret_remote)
{
	bool write = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	struct bytes b = { 0 };
	int r, fd;

	r = opens_bytes(o, node, false, &b);
	if (r == -EBADF || (r == 0 && b.remote && write)) {
		/* Bytes that are only in the store and have no name cannot be restored to one. */
		bytes_put(&b);
		return -ENOENT;
	}
	if (r < 0)
		return r;
	if (b.remote) {
		*ret_fd = -1;
		*ret_remote = b.remote;
		return 0;
	}
	fd = cfd_open_again(bytes_fd(&b), (write ? O_RDWR : O_RDONLY) | (flags & O_TRUNC));
	bytes_put(&b);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	*ret_remote = NULL;
	return 0;
}

/* ---- a file that is open REMOTE becomes local --------------------------------- */

bool opens_is_remote(struct opens *o, struct node *node)
{
	struct lock *lock = opens_lock(o, node);
	struct open_file *f;
	bool yes;

	lock_take(lock);
	f = node_fs(node);
	yes = f && open_file_is_remote(f);
	lock_drop(lock);
	return yes;
}

void opens_now_local(struct opens *o, struct node *node, int fd)
{
	struct lock *lock = opens_lock(o, node);
	struct open_file *f;

	lock_take(lock);
	f = node_fs(node);
	if (f && open_file_is_remote(f)) {
		f->lost = cfd_new(&fd, &f->ro) < 0;
		node_set_pages(node, PAGES_MIXED);
	}
	lock_drop(lock);
	cleanup_close(&fd);
}

/* ---- pages that nobody asked for ------------------------------------------------- */

bool opens_pages_come(struct opens *o, struct node *node, uint64_t attempt)
{
	struct lock *lock = opens_lock(o, node);
	bool none;

	lock_take(lock);
	none = !node_fs(node) && node_pages(node) == 0;
	if (none)
		node_set_pages(node, attempt);
	lock_drop(lock);
	return none;
}

static void set_pages(struct opens *o, struct node *node, uint64_t pages)
{
	struct lock *lock = opens_lock(o, node);

	lock_take(lock);
	node_set_pages(node, pages);
	lock_drop(lock);
}

void opens_pages_refused(struct opens *o, struct node *node)
{
	set_pages(o, node, 0);
}

void opens_pages_mixed(struct opens *o, struct node *node)
{
	set_pages(o, node, PAGES_MIXED);
}

/* ---- programs that run ------------------------------------------------------ */

bool opens_is_run(struct opens *o, struct node *node)
{
	struct lock *lock = opens_lock(o, node);
	struct open_file *f;
	bool yes;

	lock_take(lock);
	f = node_fs(node);
	yes = f && f->execs > 0;
	lock_drop(lock);
	return yes;
}

void opens_exec_ends(struct opens *o, struct node *node)
{
	struct lock *lock = opens_lock(o, node);
	struct open_file *f;

	if (node_is_dir(node))
		return;
	lock_take(lock);
	f = node_fs(node);
	if (f && f->execs > 0)
		f->execs--;
	lock_drop(lock);
}
