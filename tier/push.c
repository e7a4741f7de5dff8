/* SPDX-License-Identifier: MIT */
/*
 * Giving the kernel the bytes of released files before they are opened: see tier/push.h.
 *
 *	object is here -> a pool's thread, for each name: the kernel knows it, and has no
 *	pages of it -> claim -> leave (no handle; opens wait) -> no cache file, and the row
 *	says this object -> checksum -> pages
 *
 * Always true: pages are put while nobody has the file open, so that no READ is under way (it
 * would hold the lock of its page until we answer it), and while it is claimed, so that what
 * would change its bytes, or where they are, comes before it looks at the row or after
 * the pages: and that makes the kernel drop pages as if it had read them.
 */
#include "tier/push.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc.h"
#include "lib/lock.h"
#include "lib/pool.h"
#include "tier/blobs.h"
#include "tier/local.h"
#include "tier/tier_int.h"

struct pushes {
	struct lock lock; /* LOCK_RANK_LEAF */
	struct cond idle;
	_Atomic uint64_t count;
	/* protected by lock */
	push_fn fn;
	void *arg;
	unsigned running; /* jobs, also those that wait for a thread */
};

struct push {
	struct job job;
	struct tier *t;
	struct node *dir; /* counted */
	uint64_t number;  /* of the object */
	struct blob *blob;
	push_fn fn; /* and arg: good until end() */
	void *arg;
	char *names; /* owned: one after the other, each with its NUL */
	size_t len, room;
};

int pushes_new(struct pushes **ret)
{
	struct pushes *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	lock_init(&p->lock, LOCK_RANK_LEAF, "pushes");
	cond_init(&p->idle);
	*ret = p;
	return 0;
}

void pushes_free(struct pushes *p)
{
	if (!p)
		return;
	cond_fini(&p->idle);
	lock_fini(&p->lock);
	free(p);
}

void pushes_to(struct pushes *p, push_fn fn, void *arg)
{
	lock_take(&p->lock);
	p->fn = fn;
	p->arg = arg;
	while (!fn && p->running > 0)
		cond_wait(&p->idle, &p->lock);
	lock_drop(&p->lock);
}

bool pushes_wanted(struct pushes *p)
{
	bool yes;

	lock_take(&p->lock);
	yes = p->fn != NULL;
	lock_drop(&p->lock);
	return yes;
}

uint64_t pushes_count(struct pushes *p)
{
	return atomic_load(&p->count);
}

/* ---- one file ------------------------------------------------------------------- */

/* Claimed, and nobody has it open. */
static bool push_leaving(struct push *p, struct node *node)
{
	const struct file_row *row;
	struct state_of look;
	const char *bytes;
	size_t n;

	if (state_look_node(p->t, node, &look) < 0 || look.state != STATE_RELEASED || look.is_dir ||
	    look.row.ino != node_ino(node) || object_number(&look.row) != p->number)
		return false;
	row = &look.row;
	n = (size_t)row->attr.size;
	bytes = blob_bytes(p->blob, row->pack_off, n);
	if (!bytes || crc32c(0, bytes, n) != row->crc32c)
		return false; /* whoever reads it is told why */
	return p->fn(p->arg, node, row->attempt, bytes, n);
}

static bool push_node(struct push *p, struct node *node, const char *name)
{
	struct tree *tree = p->t->tree;
	bool given;

	if (node_pages(node) != 0 || node_is_dir(node) || !node_try_claim(tree, node))
		return false;
	given = local_named(p->t, node, p->dir, name) == 0 && node_leave(tree, node) &&
		push_leaving(p, node);
	node_unclaim(tree, node);
	return given;
}

static bool push_name(struct push *p, const char *name)
{
	struct node *node = node_find(p->t->tree, p->dir, name);
	bool given = node && push_node(p, node, name);

	node_put(p->t->tree, node);
	p->t->pushes->count += given;
	return given;
}

/* ---- all of an object ------------------------------------------------------------- */

static void push_free(struct push *p)
{
	node_put(p->t->tree, p->dir);
	free(p->names);
	free(p);
}

/* False: no more are wanted, and the pools may be gone. */
static bool begin(struct push *p)
{
	struct pushes *all = p->t->pushes;

	lock_take(&all->lock);
	p->fn = all->fn;
	p->arg = all->arg;
	all->running += p->fn != NULL;
	lock_drop(&all->lock);
	return p->fn != NULL;
}

static void end(struct pushes *p)
{
	lock_take(&p->lock);
	if (--p->running == 0)
		cond_broadcast(&p->idle);
	lock_drop(&p->lock);
}

static void run(struct job *job)
{
	struct push *p = (struct push *)job;
	struct pushes *all = p->t->pushes;
	bool given = true;

	for (size_t at = 0; at < p->len && pushes_wanted(all); at += strlen(p->names + at) + 1)
		given = push_name(p, p->names + at) && given;
	blobs_drop(p->t->blobs, p->blob, given);
	push_free(p);
	end(all);
}

/* On a thread of the store's, which must not wait for the catalogue. */
static void ready(void *arg, struct blob *x)
{
	struct push *p = arg;

	if (!x || !begin(p)) {
		if (x)
			blobs_drop(p->t->blobs, x, false);
		push_free(p);
		return;
	}
	p->blob = x;
	p->job.run = run;
	pool_submit(p->t->pool_store, &p->job);
}

struct push *push_new(struct tier *t, struct node *dir, uint64_t number)
{
	struct push *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->t = t;
	p->dir = node_ref(dir);
	p->number = number;
	return p;
}

void push_add(struct push *p, const char *name)
{
	size_t n = strlen(name) + 1;

	if (p->len + n > p->room) {
		size_t room = p->room ? 2 * p->room : 2 * (ROW_NAME_MAX + 1);
		char *names = realloc(p->names, room);

		if (!names)
			return;
		p->names = names;
		p->room = room;
	}
	memcpy(p->names + p->len, name, n);
	p->len += n;
}

void push_go(struct push *p)
{
	if (p && !blobs_hold(p->t->blobs, p->number, ready, p))
		push_free(p);
}
