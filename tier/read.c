/* SPDX-License-Identifier: MIT */
/*
 * Reading released files.
 *
 *	small: EMPTY --first read--> LOADING --crc right--> READY --all given, or no room--+
 *	         ^________________________|  wrong, short, error: -EIO to all who wait     |
 *	         ^_________________________________________________________________________|
 *	large: each read is one or more store reads, continued until it is whole
 *
 *	an object is gone: the row is read once more --same bytes elsewhere--> read there
 *
 * A row was read before its object was registered as being read (remote_open), so a pack
 * may have been rewritten and dropped in between.  The row leads to its bytes, then; they
 * are another remote's, so that they too are not dropped, and so that rows and keys are
 * constant.
 *
 * Always true: a callback comes once, within store_timeout of the read that it answers;
 * bytes given are either compared with the row's checksum (small) or at least all there
 * (large).
 */
#include "tier/read.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/lock.h"
#include "lib/pool.h"
#include "tier/blobs.h"
#include "tier/tier_int.h"

#define BUCKETS 256
#define KEPT_BYTES (64u << 20) /* of all small files that are open and not given to their end */

struct waiter {
	uint64_t off;
	size_t len;
	remote_cb cb;
	void *arg;
	struct waiter *next;
};

enum whole { WHOLE_EMPTY, WHOLE_LOADING, WHOLE_READY };

struct remote {
	struct tier *t;	     /* borrowed */
	struct remote *next; /* in its bucket; protected by the bucket's lock */
	_Atomic int refs;
	struct file_row row; /* constant */
	unsigned nkeys;	     /* constant */
	char **keys;	     /* owned, constant */
	struct lock lock;
	struct row_attr attr;	/* protected by lock */
	struct remote *moved;	/* counted; where its bytes are since; protected by lock */
	enum whole state;	/* protected by lock */
	struct waiter *waiters; /* protected by lock */
	char *whole;		/* owned; written while LOADING, constant when READY */
	unsigned giving;	/* how many copy from whole now; protected by lock */
	bool unkept;		/* whole goes with the last of these; protected by lock */
	uint64_t given_bytes;	/* since it is READY; protected by lock */
	int64_t deadline_ms;	/* the loader's */

	/* protected by the buckets' lock */
	bool kept; /* in remotes.oldest */
	struct remote *older, *newer;
};

struct remotes {
	struct lock lock;
	struct remote *bucket[BUCKETS]; /* protected by lock; by object_number() */
	struct remote *oldest, *newest; /* READY ones; protected by lock */
	uint64_t kept_bytes;		/* of these; protected by lock */
};

int remotes_new(struct remotes **ret)
{
	struct remotes *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	lock_init(&r->lock, LOCK_RANK_LEAF, "remotes");
	*ret = r;
	return 0;
}

void remotes_free(struct remotes *r)
{
	if (!r)
		return;
	lock_fini(&r->lock);
	free(r);
}

static void remote_free(struct remote *r)
{
	for (unsigned i = 0; r->keys && i < r->nkeys; i++)
		free(r->keys[i]);
	free(r->keys);
	free(r->whole);
	lock_fini(&r->lock);
	free(r);
}

static struct remote **bucket_of(struct remotes *all, const struct file_row *row)
{
	return &all->bucket[object_number(row) % BUCKETS];
}

int remote_open(struct tier *t, const struct file_row *row, struct remote **ret)
{
	struct remote *r = calloc(1, sizeof(*r));
	struct remotes *all = t->remotes;
	int err = 0;

	if (!r)
		return -ENOMEM;
	r->t = t;
	r->refs = 1;
	r->row = *row;
	r->attr = row->attr;
	lock_init(&r->lock, LOCK_RANK_LEAF, "remote");
	r->nkeys = object_count(row);
	r->keys = calloc(r->nkeys, sizeof(*r->keys));
	if (!r->keys)
		err = -ENOMEM;
	for (unsigned i = 0; err == 0 && i < r->nkeys; i++)
		err = object_key(t, row, i, &r->keys[i]);
	if (err < 0) {
		remote_free(r);
		return err == -ENOMEM ? err : -EIO;
	}
	lock_take(&all->lock);
	r->next = *bucket_of(all, row);
	*bucket_of(all, row) = r;
	lock_drop(&all->lock);
	*ret = r;
	return 0;
}

struct remote *remote_ref(struct remote *r)
{
	r->refs++;
	return r;
}

/* ---- what is kept of small files ---------------------------------------------- */

static void unkeep_locked(struct remotes *all, struct remote *r) REQUIRES(all->lock)
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
	unkeep_locked(all, r);
	lock_drop(&all->lock);
}

/* The one that is to make room, counted; or NULL. */
static struct remote *too_much_locked(struct remotes *all) REQUIRES(all->lock)
{
	struct remote *r = all->oldest;

	if (all->kept_bytes <= KEPT_BYTES || !r)
		return NULL;
	unkeep_locked(all, r);
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

void remote_put(struct remote *r)
{
	struct remotes *all;
	struct remote **p;

	if (!r || --r->refs > 0)
		return;
	all = r->t->remotes;
	lock_take(&all->lock);
	unkeep_locked(all, r);
	for (p = bucket_of(all, &r->row); *p != r; p = &(*p)->next)
		;
	*p = r->next;
	lock_drop(&all->lock);
	remote_put(r->moved);
	remote_free(r);
}

bool remote_in_use(struct tier *t, uint64_t number)
{
	struct remotes *all = t->remotes;
	struct remote *r;

	lock_take(&all->lock);
	for (r = all->bucket[number % BUCKETS]; r && object_number(&r->row) != number; r = r->next)
		;
	lock_drop(&all->lock);
	return r != NULL;
}

uint64_t remote_size(const struct remote *r)
{
	return r->row.attr.size;
}

uint64_t remote_attempt(const struct remote *r)
{
	return r->row.attempt;
}

void remote_get_attr(struct remote *r, struct row_attr *ret)
{
	lock_take(&r->lock);
	*ret = r->attr;
	lock_drop(&r->lock);
}

void remote_set_attr(struct remote *r, const struct row_attr *attr)
{
	lock_take(&r->lock);
	r->attr = *attr;
	lock_drop(&r->lock);
}

/* ---- a range, to its end ---------------------------------------------------- */

struct range {
	struct job job;
	struct remote *r;  /* counted */
	struct remote *at; /* counted: r, or where its bytes are */
	uint64_t off;
	char *buf;
	size_t len, done, asked;
	int64_t deadline_ms;
	bool again; /* the row was read once more */
	void (*cb)(void *arg, int64_t n);
	void *arg;
};

static void range_next(struct range *g);

static struct remote *place_of(struct remote *r)
{
	struct remote *at;

	lock_take(&r->lock);
	at = remote_ref(r->moved ? r->moved : r);
	lock_drop(&r->lock);
	return at;
}

static void range_end(struct range *g, int64_t n)
{
	struct remote *r = g->r, *at = g->at;
	uint64_t part = g->off / OBJECT_PART_BYTES;

	if (n < 0)
		log_error("cannot read object '%s': %s", at->keys[part < at->nkeys ? part : 0],
			  strerror((int)-n));
	g->cb(g->arg, n < 0 ? -EIO : n);
	free(g);
	remote_put(at);
	remote_put(r);
}

/* Does the row lead to the same bytes, and to another place than was looked at? */
static bool leads_elsewhere(const struct file_row *now, const struct file_row *looked)
{
	return now->attr.size == looked->attr.size && now->crc32c == looked->crc32c &&
	       (object_number(now) != object_number(looked) || now->object != looked->object);
}

/* A pool's thread: a statement may read the disk, which a store's thread must not. */
static void look_again(struct job *job)
{
	struct range *g = (struct range *)job;
	struct remote *r = g->r, *at, *before;
	struct file_row now;
	int err = cat_file_get(r->t->cat, r->row.dir, r->row.name, &now);

	if (err == 0)
		err = leads_elsewhere(&now, &g->at->row) ? remote_open(r->t, &now, &at) : -ENOENT;
	if (err < 0) {
		range_end(g, err);
		return;
	}
	remote_put(g->at);
	g->at = remote_ref(at);
	lock_take(&r->lock);
	before = r->moved;
	r->moved = at;
	lock_drop(&r->lock);
	remote_put(before);
	range_next(g);
}

static void range_got(void *arg, int64_t n)
{
	struct range *g = arg;

	if (n == -ENOENT && !g->again) {
		g->again = true;
		g->job.run = look_again;
		pool_submit(g->r->t->pool_store, &g->job);
		return;
	}
	if (n == 0)
		n = -EBADMSG; /* shorter than its row says */
	if (n < 0) {
		range_end(g, n);
		return;
	}
	g->done += (size_t)n;
	if (g->done == g->len)
		range_end(g, (int64_t)g->done);
	else
		range_next(g);
}

static void range_next(struct range *g)
{
	struct remote *at = g->at;
	uint64_t off = g->off + g->done, in_part = off + at->row.pack_off;
	unsigned part = 0;

	g->asked = g->len - g->done;
	if (at->row.object == ROW_OBJECT_PARTS) {
		part = (unsigned)(off / OBJECT_PART_BYTES);
		in_part = off % OBJECT_PART_BYTES;
		if (g->asked > OBJECT_PART_BYTES - in_part)
			g->asked = OBJECT_PART_BYTES - in_part;
	}
	if (clock_mono_ms() >= g->deadline_ms)
		range_end(g, -ETIMEDOUT);
	else
		store_get_until(at->t->store, at->keys[part], in_part, g->buf + g->done, g->asked,
				g->deadline_ms, range_got, g);
}

static int64_t deadline_from_now(const struct remote *r)
{
	return clock_mono_ms() + r->t->conf->store_timeout;
}

static void range_read(struct remote *r, uint64_t off, void *buf, size_t len, int64_t deadline_ms,
		       void (*cb)(void *arg, int64_t n), void *arg)
{
	struct range *g = malloc(sizeof(*g));

	if (!g) {
		cb(arg, -ENOMEM);
		return;
	}
	*g = (struct range){ .r = remote_ref(r),
			     .at = place_of(r),
			     .off = off,
			     .buf = buf,
			     .len = len,
			     .deadline_ms = deadline_ms,
			     .cb = cb,
			     .arg = arg };
	range_next(g);
}

/* ---- small files: whole, checked -------------------------------------------- */

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
	bool all;

	lock_take(&r->lock);
	r->giving--;
	r->given_bytes += bytes;
	all = r->given_bytes >= r->row.attr.size;
	if (!all && r->unkept)
		forget_locked(r);
	lock_drop(&r->lock);
	if (!all)
		return;
	unkeep(r);
	lock_take(&r->lock);
	forget_locked(r);
	lock_drop(&r->lock);
}

static bool give_if_ready(struct remote *r, const struct waiter *ask)
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
		range_read(r, 0, r->whole, r->row.attr.size, r->deadline_ms, whole_loaded, r);
}

/* Who comes while it is loading waits less: the deadline is that of the first. */
static void whole_load(struct remote *r)
{
	struct remote *at = place_of(r);

	ahead_missed(r->t, &r->row);
	remote_ref(r);
	r->deadline_ms = deadline_from_now(r);
	if (!blobs_read(r->t->blobs, object_number(&at->row), at->row.pack_off, r->whole,
			r->row.attr.size, whole_from_blob, r))
		range_read(r, 0, r->whole, r->row.attr.size, r->deadline_ms, whole_loaded, r);
	remote_put(at);
}

static void whole_read(struct remote *r, const struct waiter *ask)
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
	if (ready)
		given(r, give(r, ask));
	else if (!queued)
		ask->cb(ask->arg, NULL, -ENOMEM);
	else if (load)
		whole_load(r);
}

/* ---- large ones: by range ------------------------------------------------------ */

struct large_read {
	remote_cb cb;
	void *arg;
	char buf[];
};

static void large_done(void *arg, int64_t n)
{
	struct large_read *l = arg;

	l->cb(l->arg, l->buf, n);
	free(l);
}

static void large_read(struct remote *r, const struct waiter *ask)
{
	uint64_t left = r->row.attr.size - ask->off;
	size_t len = left < ask->len ? (size_t)left : ask->len;
	struct large_read *l = malloc(sizeof(*l) + len);

	if (!l) {
		ask->cb(ask->arg, NULL, -ENOMEM);
		return;
	}
	l->cb = ask->cb;
	l->arg = ask->arg;
	range_read(r, ask->off, l->buf, len, deadline_from_now(r), large_done, l);
}

static bool is_small(const struct remote *r)
{
	return r->row.attr.size <= REMOTE_WHOLE_BYTES;
}

bool remote_read_now(struct remote *r, uint64_t off, size_t len, remote_cb cb, void *arg)
{
	struct waiter ask = { .off = off, .len = len, .cb = cb, .arg = arg };

	if (off < r->row.attr.size && len > 0)
		return is_small(r) && give_if_ready(r, &ask);
	cb(arg, NULL, 0);
	return true;
}

void remote_read(struct remote *r, uint64_t off, size_t len, remote_cb cb, void *arg)
{
	struct waiter ask = { .off = off, .len = len, .cb = cb, .arg = arg };

	if (off >= r->row.attr.size || len == 0)
		cb(arg, NULL, 0);
	else if (is_small(r))
		whole_read(r, &ask);
	else
		large_read(r, &ask);
}
