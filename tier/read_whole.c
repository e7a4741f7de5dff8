/* SPDX-License-Identifier: MIT */
/*
 * Small files, read whole and compared with their checksum.
 *
 *	EMPTY --first read--> LOADING --crc right--> READY --all given, or no room--> EMPTY
 *	  ^______________________|  wrong, short, error: -EIO to all who wait
 *
 * Always true: what is READY is one of those that are kept, until it is forgotten; whoever copies
 * from it is counted, and it stays as long.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/crc.h"
#include "tier/ahead.h"
#include "tier/blobs.h"
#include "tier/read_int.h"

#define KEPT_BYTES (64u << 20) /* of all small files that are open and not given to their end */

/* ---- what is kept ----------------------------------------------------------------- */

void whole_unkeep_locked(struct remotes *all, struct remote *r)
{
	if (!r->kept)
		return;
	r->kept = false;
	*(r->older ? &r->older->newer : &all->oldest) = r->newer;
	*(r->newer ? &r->newer->older : &all->newest) = r->older;
	all->kept_bytes -= r->row.attr.size;
}

static void unkeep(struct remote *r)
{
	struct remotes *all = r->t->remotes;

	lock_take(&all->lock);
	whole_unkeep_locked(all, r);
	lock_drop(&all->lock);
}

/* The one that is to make room, counted; or NULL. */
static struct remote *too_much_locked(struct remotes *all) REQUIRES(all->lock)
{
	struct remote *r = all->oldest;

	if (all->kept_bytes <= KEPT_BYTES || !r)
		return NULL;
	whole_unkeep_locked(all, r);
	/* One whose last count is gone frees itself: it waits for the lock that we have. */
	for (int refs = r->refs; refs > 0;)
		if (atomic_compare_exchange_weak(&r->refs, &refs, refs + 1))
			return r;
	return NULL;
}

static void forget_locked(struct remote *r) REQUIRES(r->lock)
{
	r->unkept = true;
	if (r->giving > 0 || r->state != WHOLE_READY)
		return;
	free(r->whole);
	r->whole = NULL;
	r->state = WHOLE_EMPTY;
}

/* It is READY. */
static void keep(struct remote *r)
{
	struct remotes *all = r->t->remotes;
	struct remote *other;

	lock_take(&all->lock);
	if (!r->kept) {
		r->kept = true;
		r->older = all->newest;
		r->newer = NULL;
		*(r->older ? &r->older->newer : &all->oldest) = r;
		all->newest = r;
		all->kept_bytes += r->row.attr.size;
	}
	while ((other = too_much_locked(all))) {
		lock_drop(&all->lock);
		lock_take(&other->lock);
		forget_locked(other);
		lock_drop(&other->lock);
		remote_put(other);
		lock_take(&all->lock);
	}
	lock_drop(&all->lock);
}

/* ---- reading -------------------------------------------------------------------- */

/* The caller is one of r->giving. */
static uint64_t give(const struct remote *r, const struct waiter *w)
{
	uint64_t left = r->row.attr.size - w->off, n = left < w->len ? left : w->len;

	w->cb(w->arg, r->whole + w->off, (int64_t)n);
	return n;
}

/* The kernel keeps what it was given: when that was all, nobody asks again. */
static void given(struct remote *r, uint64_t bytes)
{
	bool enough;

	lock_take(&r->lock);
	r->giving--;
	r->given_bytes += bytes;
	enough = r->unkept || r->given_bytes >= r->row.attr.size;
	lock_drop(&r->lock);
	if (!enough)
		return;
	unkeep(r);
	lock_take(&r->lock);
	forget_locked(r);
	lock_drop(&r->lock);
}

bool whole_read_now(struct remote *r, const struct waiter *ask)
{
	bool ready;

	lock_take(&r->lock);
	ready = r->state == WHOLE_READY;
	r->giving += ready;
	lock_drop(&r->lock);
	if (ready)
		given(r, give(r, ask));
	return ready;
}

static bool is_right(const struct remote *r, int64_t n)
{
	return n == (int64_t)r->row.attr.size && crc32c(0, r->whole, (size_t)n) == r->row.crc32c;
}

static void whole_end(struct remote *r, bool good)
{
	struct waiter *w, *next;
	uint64_t bytes = 0;

	lock_take(&r->lock);
	w = r->waiters;
	r->waiters = NULL;
	r->state = good ? WHOLE_READY : WHOLE_EMPTY;
	r->giving += good;
	r->given_bytes = 0;
	r->unkept = false;
	if (!good) {
		free(r->whole);
		r->whole = NULL;
	}
	lock_drop(&r->lock);
	if (good)
		keep(r);
	for (; w; w = next) {
		next = w->next;
		if (good)
			bytes += give(r, w);
		else
			w->cb(w->arg, NULL, -EIO);
		free(w);
	}
	if (good)
		given(r, bytes);
	remote_put(r);
}

static void whole_loaded(void *arg, int64_t n)
{
	struct remote *r = arg;
	bool good = is_right(r, n);

	if (!good && n >= 0)
		log_error("cannot read object '%s': its bytes are not those that were archived: "
			  "look at it with ebbctl verify",
			  r->keys[0]);
	whole_end(r, good);
}

/* From memory, if it was read ahead; whatever is wrong there, the store is asked. */
static void whole_from_blob(void *arg, int64_t n)
{
	struct remote *r = arg;

	if (is_right(r, n))
		whole_end(r, true);
	else
		remote_read_range(r, 0, r->whole, r->row.attr.size, r->deadline_ms, whole_loaded,
				  r);
}

/* Who comes while it is loading waits less: the deadline is that of the first. */
static void whole_load(struct remote *r)
{
	struct remote *at = remote_place(r);

	ahead_missed(r->t, &r->row);
	remote_ref(r);
	r->deadline_ms = remote_deadline(r);
	if (!blobs_read(r->t->blobs, object_number(&at->row), at->row.pack_off, r->whole,
			r->row.attr.size, whole_from_blob, r))
		remote_read_range(r, 0, r->whole, r->row.attr.size, r->deadline_ms, whole_loaded,
				  r);
	remote_put(at);
}

void whole_read(struct remote *r, const struct waiter *ask)
{
	struct waiter *w = malloc(sizeof(*w));
	bool queued = false, load = false, ready;

	lock_take(&r->lock);
	ready = r->state == WHOLE_READY;
	if (!ready && w && !r->whole)
		r->whole = malloc(r->row.attr.size);
	if (ready) {
		r->giving++;
	} else if (w && r->whole) {
		queued = true;
		load = r->state == WHOLE_EMPTY;
		r->state = WHOLE_LOADING;
		*w = *ask;
		w->next = r->waiters;
		r->waiters = w;
	}
	lock_drop(&r->lock);

	if (!queued)
		free(w);
	if (ready) {
		remote_ref(r); /* the caller's count ends with the callback */
		given(r, give(r, ask));
		remote_put(r);
	} else if (!queued)
		ask->cb(ask->arg, NULL, -ENOMEM);
	else if (load)
		whole_load(r);
}
