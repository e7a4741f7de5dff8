/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing files: see fs/open.h and, for what is always true, fs/open_int.h.
 *
 * The first open decides the mode, the last close ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/open_int.h"
#include "lib/cleanup.h"
#include "lib/log.h"

int opens_new(const struct backing_ops *ops, void *arg, struct opens **ret)
{
	struct opens *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->backing = ops;
	o->backing_arg = arg;
	for (int i = 0; i < OPEN_SHARDS; i++)
		lock_init(&o->shards[i].lock, LOCK_RANK_OPEN, "open");
	*ret = o;
	return 0;
}

static void file_free(struct open_file *f)
{
	cfd_put(f->ro);
	cfd_put(f->rw);
	if (f->remote)
		remote_put(f->remote);
	free(f);
}

static bool free_one(struct node *node, void *arg)
{
	struct open_file *f = node_fs(node);

	(void)arg;
	if (f && !node_is_dir(node)) {
		node_set_fs(node, NULL);
		file_free(f);
	}
	return true;
}

void opens_free(struct opens *o, struct tree *tree)
{
	if (!o)
		return;
	tree_each(tree, free_one, NULL);
	for (int i = 0; i < OPEN_SHARDS; i++)
		lock_fini(&o->shards[i].lock);
	free(o);
}

uint64_t opens_count(struct opens *o)
{
	return atomic_load(&o->count);
}

/* ---- opening --------------------------------------------------------------- */

static int take_remote(struct open_file *f, struct opening *in)
{
	f->mode = OPEN_REMOTE;
	f->remote = in->remote;
	in->remote = NULL;
	return 0;
}

/* The backing id is made from an O_RDONLY descriptor: the kernel opens the file anew for each user. */
static int take_passthrough(struct opens *o, struct open_file *f, struct opening *in)
{
	struct cfd *ro = NULL;
	int r, id;

	r = in->fd_ro ? cfd_new(&in->fd, &ro) : cfd_reopen(in->fd, O_RDONLY, &ro);
	if (r < 0)
		return r;
	id = o->backing->open(o->backing_arg, cfd_fd(ro));
	if (id <= 0) {
		/* Then the daemon reads and writes this one. */
		f->ro = ro;
		return -EOPNOTSUPP;
	}
	f->mode = OPEN_PASSTHROUGH;
	f->backing_id = id;
	f->ro = ro;
	return 0;
}

/* A writer whose bytes come by us: what it brings, if that can be written, or the same file again. */
static int take_rw(struct open_file *f, struct opening *in)
{
	if (in->fd >= 0 && !in->fd_ro)
		return cfd_new(&in->fd, &f->rw);
	return cfd_reopen(in->fd >= 0 ? in->fd : cfd_fd(f->ro), O_RDWR, &f->rw);
}

/* The first open decides the mode. */
static int open_first(struct opens *o, struct open_file *f, struct opening *in)
{
	int r;

	if (in->remote)
		return take_remote(f, in);
	if (in->passthrough) {
		r = take_passthrough(o, f, in);
		if (r != -EOPNOTSUPP)
			return r;
	}
	f->mode = OPEN_LOCAL;
	if (in->write)
		return take_rw(f, in);
	return f->ro ? 0 : cfd_new(&in->fd, &f->ro);
}

/*
 * The mode stays.  A descriptor is taken if the file has none of that kind: REMOTE
 * files become local so.  A remote beside local bytes lost a race with a restore.
 */
static int open_next(struct open_file *f, struct opening *in)
{
	if (in->remote || f->mode == OPEN_PASSTHROUGH)
		return 0;
	if (in->write && !f->rw)
		return take_rw(f, in);
	if (!in->write && !f->ro)
		return cfd_new(&in->fd, &f->ro);
	return 0;
}

/*
 * Are the kernel's pages, if it has any, bytes of what is open now?  Of several objects, or of
 * a local file, they may be from here on: then they never are again, until it forgets the file.
 */
static bool keep_pages(struct node *node, const struct open_file *f)
{
	uint64_t pages = node_pages(node), opened = PAGES_MIXED;

	if (f->mode == OPEN_PASSTHROUGH)
		return false;
	if (open_file_is_remote(f))
		opened = remote_attempt(f->remote);
	node_set_pages(node, pages == 0 || pages == opened ? opened : PAGES_MIXED);
	return pages == opened && pages != PAGES_MIXED;
}

static int add_locked(struct opens *o, struct node *node, struct opening *in, struct opened *ret)
{
	struct open_file *f = node_fs(node);
	int r;

	if (f) {
		r = open_next(f, in);
	} else {
		f = calloc(1, sizeof(*f));
		if (!f)
			return -ENOMEM;
		r = open_first(o, f, in);
		if (r < 0) {
			file_free(f);
			return r;
		}
		node_set_fs(node, f);
		atomic_fetch_add(&o->count, 1);
	}
	if (r < 0)
		return r;
	f->handles++;
	f->writers += in->write;
	f->execs += in->exec;
	ret->mode = f->mode;
	ret->backing_id = f->backing_id;
	ret->keep_pages = keep_pages(node, f);
	return 0;
}

int opens_add(struct opens *o, struct node *node, struct opening *in, struct opened *ret)
{
	struct lock *lock = opens_lock(o, node);
	int r;

	lock_take(lock);
	r = add_locked(o, node, in, ret);
	lock_drop(lock);
	cleanup_close(&in->fd);
	if (in->remote)
		remote_put(in->remote);
	return r;
}

/* ---- closing --------------------------------------------------------------- */

/* The last writer is gone: who still reads goes on with a descriptor that permits leases. */
static struct cfd *drop_rw(struct open_file *f)
{
	struct cfd *rw = f->rw;
	int r;

	if (!rw)
		return NULL;
	if (!f->ro) {
		r = cfd_reopen(cfd_fd(rw), O_RDONLY, &f->ro);
		if (r < 0) {
			/* Archiving waits until the readers have closed, too; nothing else is lost. */
			log_warning("cannot open a file for reading again: %s", strerror(-r));
			return NULL;
		}
	}
	f->rw = NULL;
	return rw;
}

static bool is_open(const struct open_file *f, bool write)
{
	return f && (write ? f->writers > 0 : f->handles > f->writers);
}

/* What remains to be closed outside the lock: *ret_rw, and the returned state when it was the last. */
static struct open_file *drop_locked(struct opens *o, struct node *node, struct open_file *f,
				     bool write, struct cfd **ret_rw)
{
	f->handles--;
	f->writers -= write;
	if (f->handles == 0) {
		node_set_fs(node, NULL);
		atomic_fetch_sub(&o->count, 1);
		return f;
	}
	if (write && f->writers == 0)
		*ret_rw = drop_rw(f);
	return NULL;
}

int opens_drop(struct opens *o, struct node *node, bool write, bool *ret_last_writer)
{
	struct lock *lock = opens_lock(o, node);
	struct open_file *dead = NULL;
	struct cfd *rw = NULL;
	struct open_file *f;
	int r = -EBADF;

	if (node_is_dir(node))
		return r;
	lock_take(lock);
	f = node_fs(node);
	if (is_open(f, write)) {
		*ret_last_writer = write && f->writers == 1;
		dead = drop_locked(o, node, f, write, &rw);
		r = 0;
	}
	lock_drop(lock);

	cfd_put(rw);
	if (dead && dead->backing_id > 0)
		o->backing->close(o->backing_arg, dead->backing_id);
	if (dead)
		file_free(dead);
	return r;
}
