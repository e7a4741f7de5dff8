/* SPDX-License-Identifier: MIT */
/*
 * Objects in memory: see tier/blobs.h.
 *
 * Always true, under the lock: a blob is in its bucket from blobs_load until it fails,
 * is evicted or used up; one that nobody holds is in the list of idle ones, oldest use
 * first; bytes is the sum of the sizes of all.
 */
#include "tier/blobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store.h"
#include "lib/lock.h"

#define BUCKETS 256

struct holder {
	struct holder *next;
	void (*ready)(void *arg, struct blob *x);
	void *arg;
};

struct blob {
	struct blobs *b;	    /* borrowed */
	struct blob *chain;	    /* protected by lock */
	struct blob *older, *newer; /* of the idle ones; protected by lock */
	uint64_t number, size;	    /* constant */
	char *key;		    /* owned, while it is loading */
	char *bytes;		    /* owned; written while loading, constant when ready */
	bool once;		    /* constant */
	bool ready, idle, used;	    /* protected by lock */
	unsigned users;		    /* who holds it, or loads it; protected by lock */
	bool gone;		    /* no longer in its bucket: the last user frees it */
	struct holder *waiting;	    /* protected by lock */
};

struct blobs {
	struct store *store; /* borrowed */
	uint64_t max_bytes;  /* constant */
	struct lock lock;    /* LOCK_RANK_LEAF */
	/* protected by lock */
	struct blob *bucket[BUCKETS];
	struct blob *oldest, *newest;
	struct blobs_counts counts;
};

int blobs_new(struct store *store, uint64_t max_bytes, struct blobs **ret)
{
	struct blobs *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->store = store;
	b->max_bytes = max_bytes;
	lock_init(&b->lock, LOCK_RANK_LEAF, "blobs");
	*ret = b;
	return 0;
}

static void blob_free(struct blob *x)
{
	free(x->key);
	free(x->bytes);
	free(x);
}

/* ---- under the lock ----------------------------------------------------------- */

static struct blob *find(struct blobs *b, uint64_t number) REQUIRES(b->lock)
{
	struct blob *x = b->bucket[number % BUCKETS];

	while (x && x->number != number)
		x = x->chain;
	return x;
}

static void busy(struct blobs *b, struct blob *x) REQUIRES(b->lock)
{
	x->users++;
	if (!x->idle)
		return;
	*(x->older ? &x->older->newer : &b->oldest) = x->newer;
	*(x->newer ? &x->newer->older : &b->newest) = x->older;
	x->idle = false;
}

static void leave_bucket(struct blobs *b, struct blob *x) REQUIRES(b->lock)
{
	struct blob **p = &b->bucket[x->number % BUCKETS];

	while (*p != x)
		p = &(*p)->chain;
	*p = x->chain;
	x->gone = true;
	b->counts.bytes -= x->size;
	b->counts.unused += !x->used;
}

/* True: it is the caller's to free, after the lock. */
static bool done(struct blobs *b, struct blob *x) REQUIRES(b->lock)
{
	if (--x->users > 0)
		return false;
	if (!x->gone && x->once && x->used)
		leave_bucket(b, x);
	if (x->gone)
		return true;
	x->idle = true;
	x->newer = NULL;
	x->older = b->newest;
	*(b->newest ? &b->newest->newer : &b->oldest) = x;
	b->newest = x;
	return false;
}

/* Evicts idle ones until size more fits; the list of them is the caller's to free. */
static bool make_room(struct blobs *b, uint64_t size, struct blob **ret) REQUIRES(b->lock)
{
	*ret = NULL;
	while (b->counts.bytes + size > b->max_bytes && b->oldest) {
		struct blob *x = b->oldest;

		busy(b, x);
		leave_bucket(b, x);
		x->chain = *ret;
		*ret = x;
	}
	return b->counts.bytes + size <= b->max_bytes;
}

static void free_list(struct blob *x)
{
	struct blob *next;

	for (; x; x = next) {
		next = x->chain;
		blob_free(x);
	}
}

/* ---- loading ------------------------------------------------------------------- */

static void loaded(void *arg, int64_t n)
{
	struct blob *x = arg;
	struct blobs *b = x->b;
	bool good = n == (int64_t)x->size;
	struct holder *h, *next;

	lock_take(&b->lock);
	h = x->waiting;
	x->waiting = NULL;
	x->ready = good;
	for (next = h; good && next; next = next->next)
		x->users++;
	if (!good)
		leave_bucket(b, x);
	lock_drop(&b->lock);
	for (; h; h = next) {
		next = h->next;
		h->ready(h->arg, good ? x : NULL);
		free(h);
	}
	blobs_drop(b, x, false);
}

static struct blob *blob_new(struct blobs *b, uint64_t number, const char *key, uint64_t size)
{
	struct blob *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->b = b;
	x->number = number;
	x->size = size;
	x->users = 1; /* the loading */
	x->key = strdup(key);
	x->bytes = malloc(size);
	if (x->key && x->bytes)
		return x;
	blob_free(x);
	return NULL;
}

int blobs_load(struct blobs *b, uint64_t number, const char *key, uint64_t size, bool once)
{
	struct blob *x, *evicted;
	bool there, fits;

	if (size == 0 || size > b->max_bytes / 2)
		return -ENOBUFS;
	x = blob_new(b, number, key, size);
	if (!x)
		return -ENOMEM;
	x->once = once;
	lock_take(&b->lock);
	there = find(b, number);
	evicted = NULL;
	fits = !there && make_room(b, size, &evicted);
	if (fits) {
		x->chain = b->bucket[number % BUCKETS];
		b->bucket[number % BUCKETS] = x;
		b->counts.bytes += size;
		b->counts.loads++;
	}
	lock_drop(&b->lock);
	free_list(evicted);
	if (!fits) {
		blob_free(x);
		return there ? 0 : -ENOBUFS;
	}
	store_get(b->store, x->key, 0, x->bytes, size, loaded, x);
	return 0;
}

/* ---- reading ------------------------------------------------------------------- */

static bool hold(struct blobs *b, uint64_t number, uint64_t end, struct holder *h)
{
	bool wait = false;
	struct blob *x;

	lock_take(&b->lock);
	x = find(b, number);
	if (x && end > x->size)
		x = NULL;
	if (x) {
		wait = !x->ready;
		if (wait) {
			h->next = x->waiting;
			x->waiting = h;
		} else {
			busy(b, x);
		}
	}
	lock_drop(&b->lock);
	if (x && !wait)
		h->ready(h->arg, x);
	if (!wait)
		free(h);
	return x != NULL;
}

bool blobs_hold(struct blobs *b, uint64_t number, void (*ready)(void *arg, struct blob *x),
		void *arg)
{
	struct holder *h = malloc(sizeof(*h));

	if (!h)
		return false;
	*h = (struct holder){ .ready = ready, .arg = arg };
	return hold(b, number, 0, h);
}

const char *blob_bytes(const struct blob *x, uint64_t off, size_t len)
{
	return off > x->size || len > x->size - off ? NULL : x->bytes + off;
}

static void drop(struct blobs *b, struct blob *x, bool used, unsigned reads)
{
	bool last;

	lock_take(&b->lock);
	b->counts.reads += reads;
	x->used = x->used || used;
	last = done(b, x);
	lock_drop(&b->lock);
	if (last)
		blob_free(x);
}

void blobs_drop(struct blobs *b, struct blob *x, bool used)
{
	drop(b, x, used, 0);
}

struct reader {
	struct holder h; /* first: they are freed as one */
	struct blobs *b;
	uint64_t off;
	void *buf;
	size_t len;
	void (*cb)(void *arg, int64_t n);
	void *arg;
};

static void read_ready(void *arg, struct blob *x)
{
	struct reader *r = arg;

	if (x) {
		memcpy(r->buf, x->bytes + r->off, r->len);
		drop(r->b, x, true, 1);
	}
	r->cb(r->arg, x ? (int64_t)r->len : -EAGAIN);
}

bool blobs_read(struct blobs *b, uint64_t number, uint64_t off, void *buf, size_t len,
		void (*cb)(void *arg, int64_t n), void *arg)
{
	struct reader *r = malloc(sizeof(*r));

	if (!r || len > UINT64_MAX - off) {
		free(r);
		return false;
	}
	*r = (struct reader){
		.h = { .ready = read_ready, .arg = r },
		.b = b,
		.off = off,
		.buf = buf,
		.len = len,
		.cb = cb,
		.arg = arg,
	};
	return hold(b, number, off + len, &r->h);
}

void blobs_counts(struct blobs *b, struct blobs_counts *ret)
{
	lock_take(&b->lock);
	*ret = b->counts;
	lock_drop(&b->lock);
}

void blobs_free(struct blobs *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		free_list(b->bucket[i]);
	lock_fini(&b->lock);
	free(b);
}
