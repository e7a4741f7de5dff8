/* SPDX-License-Identifier: MIT */
/*
 * Parking requests: see fs/park.h.
 *
 * Always true: a parked call owns all it points to (its names are copied, its
 * nodes counted); it is counted in fs->parked from before it is queued until after
 * it was replied to, so that the end of the mount can wait for it.
 */
#include "fs/park.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/waiters.h"

/* Counted first: who drains either sees it counted, or it sees the end. */
static int count(struct fs *fs)
{
	atomic_fetch_add(&fs->parked, 1);
	if (!atomic_load(&fs->ending)) {
		atomic_fetch_add(&fs->parked_total, 1);
		return 0;
	}
	atomic_fetch_sub(&fs->parked, 1);
	return -ENOTCONN;
}

int park_enter_store(struct fs *fs)
{
	int ring, r = count(fs);

	if (r < 0)
		return r;
	ring = waiters_enter(fs->waiters);
	if (ring >= 0)
		return ring;
	atomic_fetch_sub(&fs->parked, 1);
	return -EIO;
}

void park_leave_store(struct fs *fs, int ring)
{
	waiters_leave(fs->waiters, ring);
	atomic_fetch_sub(&fs->parked, 1);
}

static int enter(struct call *c, enum park_where where)
{
	c->parked_at = where;
	if (where != PARK_STORE)
		return count(c->fs);
	c->ring = park_enter_store(c->fs);
	return c->ring < 0 ? c->ring : 0;
}

static void leave(struct fs *fs, enum park_where where, int ring)
{
	if (where == PARK_STORE)
		park_leave_store(fs, ring);
	else
		atomic_fetch_sub(&fs->parked, 1);
}

static void finish(struct call *c, int r)
{
	c->reply(c, r);
	fs_put(c->fs, c->node);
	fs_put(c->fs, c->other);
}

static void free_parked(struct call *c)
{
	free((char *)c->name);
	free((char *)c->other_name);
	free(c);
}

static void run_parked(struct job *job)
{
	struct call *c = (struct call *)((char *)job - offsetof(struct call, job));
	struct fs *fs = c->fs;
	enum park_where where = c->parked_at;
	int ring = c->ring;

	finish(c, c->run(c, true));
	free_parked(c);
	leave(fs, where, ring);
}

/* The copy that outlives the op's stack and the request's buffer; NULL without memory. */
static struct call *copy_call(const struct call *c, size_t size)
{
	struct call *copy = malloc(size);

	if (!copy)
		return NULL;
	memcpy(copy, c, size);
	copy->name = c->name ? strdup(c->name) : NULL;
	copy->other_name = c->other_name ? strdup(c->other_name) : NULL;
	if ((c->name && !copy->name) || (c->other_name && !copy->other_name)) {
		free_parked(copy);
		return NULL;
	}
	return copy;
}

static struct pool *pool_of(struct fs *fs, enum park_where where)
{
	switch (where) {
	case PARK_STORE:
		return tier_pool_store(fs->tier);
	case PARK_SYNC:
		return fs->pool_sync;
	case PARK_COMMIT:
		break;
	}
	return tier_pool_commit(fs->tier);
}

static void park(struct call *c, size_t size)
{
	enum park_where where = c->where ? c->where(c) : PARK_COMMIT;
	struct call *copy;
	int r = enter(c, where);

	if (r < 0) {
		finish(c, r);
		return;
	}
	copy = copy_call(c, size);
	if (!copy) {
		finish(c, -ENOMEM);
		leave(c->fs, where, c->ring);
		return;
	}
	copy->job.run = run_parked;
	pool_submit(pool_of(c->fs, where), &copy->job);
}

void fs_call(struct call *c, size_t size)
{
	int r = c->run(c, false);

	if (r == TIER_PARK)
		park(c, size);
	else
		finish(c, r);
}

void park_end(struct fs *fs)
{
	const struct timespec tick = { .tv_nsec = 2000000 };

	atomic_store(&fs->ending, true);
	/* Only at the end of a mount: not worth a condition on every reply. */
	while (atomic_load(&fs->parked) > 0)
		nanosleep(&tick, NULL);
}
