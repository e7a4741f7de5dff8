/* SPDX-License-Identifier: MIT */
/*
 * The open state of files: see fs/open.h.
 *
 * It hangs at node_fs() from the first open to the last close and is protected by
 * one of SHARDS locks, chosen by inode number.  Under it only descriptors are
 * opened again (/proc/self/fd) and the kernel is told of a backing file: neither
 * waits for a disk, and the second must happen once an inode.
 *
 *	handles > 0, writers <= handles
 *	PASSTHROUGH	backing_id > 0, ro
 *	LOCAL		backing_id == 0, ro or rw
 *	REMOTE		backing_id == 0, remote, perhaps ro or rw
 */
#include "fs/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cfd.h"
#include "lib/cleanup.h"
#include "lib/log.h"

#define SHARDS 64
#define PAGES_MIXED UINT64_MAX /* no attempt's number */

struct open_file {
	unsigned handles;
	unsigned writers;
	unsigned execs;	       /* of the handles */
	enum open_mode mode;   /* constant */
	int backing_id;	       /* constant */
	struct cfd *ro;	       /* counted, or NULL */
	struct cfd *rw;	       /* counted, or NULL */
	struct remote *remote; /* counted, or NULL */
	bool lost;	       /* local bytes that cannot be reached: reads fail */
};

struct shard {
	struct lock lock;
	char pad[64];
};

struct opens {
	struct shard shards[SHARDS];
	_Atomic uint64_t count;
	const struct backing_ops *backing; /* constant */
	void *backing_arg;		   /* constant, borrowed */
};

static struct lock *lock_of(struct opens *o, const struct node *node)
{
	return &o->shards[node_ino(node) % SHARDS].lock;
}

int opens_new(const struct backing_ops *ops, void *arg, struct opens **ret)
{
	struct opens *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->backing = ops;
	o->backing_arg = arg;
	for (int i = 0; i < SHARDS; i++)
		lock_init(&o->shards[i].lock, LOCK_RANK_OPEN, "open");
	*ret = o;
	return 0;
}

/* Its bytes are in the store alone. */
static bool is_remote(const struct open_file *f)
{
	return f->mode == OPEN_REMOTE && !f->ro && !f->rw;
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
	for (int i = 0; i < SHARDS; i++)
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
	if (is_remote(f))
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
	struct lock *lock = lock_of(o, node);
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
	struct lock *lock = lock_of(o, node);
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

bool opens_is_run(struct opens *o, struct node *node)
{
	struct lock *lock = lock_of(o, node);
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
	struct lock *lock = lock_of(o, node);
	struct open_file *f;

	if (node_is_dir(node))
		return;
	lock_take(lock);
	f = node_fs(node);
	if (f && f->execs > 0)
		f->execs--;
	lock_drop(lock);
}

/* ---- using ----------------------------------------------------------------- */

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
	struct lock *lock = lock_of(o, node);
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
	struct lock *lock = lock_of(o, node);
	struct open_file *f;
	bool yes;

	lock_take(lock);
	f = node_fs(node);
	yes = f && is_remote(f);
	lock_drop(lock);
	return yes;
}

void opens_now_local(struct opens *o, struct node *node, int fd)
{
	struct lock *lock = lock_of(o, node);
	struct open_file *f;

	lock_take(lock);
	f = node_fs(node);
	if (f && is_remote(f)) {
		f->lost = cfd_new(&fd, &f->ro) < 0;
		node_set_pages(node, PAGES_MIXED);
	}
	lock_drop(lock);
	cleanup_close(&fd);
}

/* ---- pages that nobody asked for ------------------------------------------------- */

bool opens_pages_come(struct opens *o, struct node *node, uint64_t attempt)
{
	struct lock *lock = lock_of(o, node);
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
	struct lock *lock = lock_of(o, node);

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
