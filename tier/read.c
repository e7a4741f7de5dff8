/* SPDX-License-Identifier: MIT */
/*
 * Reading released files.
 *
 *	small: EMPTY --first read--> LOADING --crc right--> READY
 *	         ^________________________|  wrong, short, error: -EIO to all who wait
 *	large: each read is one or more store reads, continued until it is whole
 *
 * Always true: a callback comes once, within the timeout of each operation; bytes given are
 * either compared with the row's checksum (small) or at least all there (large).
 */
#include "tier/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc.h"
#include "lib/lock.h"
#include "tier/blobs.h"
#include "tier/tier_int.h"

#define BUCKETS 256

struct waiter {
	uint64_t off;
	void *buf;
	size_t len;
	void (*cb)(void *arg, int64_t n);
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
	enum whole state;	/* protected by lock */
	struct waiter *waiters; /* protected by lock */
	char *whole;		/* owned; written while LOADING, constant when READY */
	size_t loaded;		/* the loader's */
};

struct remotes {
	struct lock lock;
	struct remote *bucket[BUCKETS]; /* protected by lock; by object_number() */
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

void remote_put(struct remote *r)
{
	struct remotes *all;
	struct remote **p;

	if (!r || --r->refs > 0)
		return;
	all = r->t->remotes;
	lock_take(&all->lock);
	for (p = bucket_of(all, &r->row); *p != r; p = &(*p)->next)
		;
	*p = r->next;
	lock_drop(&all->lock);
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
	struct remote *r; /* counted */
	uint64_t off;
	char *buf;
	size_t len, done, asked;
	void (*cb)(void *arg, int64_t n);
	void *arg;
};

static void range_next(struct range *g);

static void range_end(struct range *g, int64_t n)
{
	struct remote *r = g->r;

	if (n < 0)
		log_error("cannot read object '%s': %s",
			  r->keys[g->off / OBJECT_PART_BYTES < r->nkeys ? g->off / OBJECT_PART_BYTES
									: 0],
			  strerror((int)-n));
	g->cb(g->arg, n < 0 ? -EIO : n);
	free(g);
	remote_put(r);
}

static void range_got(void *arg, int64_t n)
{
	struct range *g = arg;

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
	struct remote *r = g->r;
	uint64_t at = g->off + g->done, in_part = at + r->row.pack_off;
	unsigned part = 0;

	g->asked = g->len - g->done;
	if (r->row.object == ROW_OBJECT_PARTS) {
		part = (unsigned)(at / OBJECT_PART_BYTES);
		in_part = at % OBJECT_PART_BYTES;
		if (g->asked > OBJECT_PART_BYTES - in_part)
			g->asked = OBJECT_PART_BYTES - in_part;
	}
	store_get(r->t->store, r->keys[part], in_part, g->buf + g->done, g->asked, range_got, g);
}

static void range_read(struct remote *r, uint64_t off, void *buf, size_t len,
		       void (*cb)(void *arg, int64_t n), void *arg)
{
	struct range *g = malloc(sizeof(*g));

	if (!g) {
		cb(arg, -ENOMEM);
		return;
	}
	*g = (struct range){
		.r = remote_ref(r), .off = off, .buf = buf, .len = len, .cb = cb, .arg = arg
	};
	range_next(g);
}

/* ---- small files: whole, checked -------------------------------------------- */

static int64_t copy_out(const struct remote *r, const struct waiter *w)
{
	uint64_t size = r->row.attr.size;
	size_t n;

	if (w->off >= size)
		return 0;
	n = size - w->off < w->len ? (size_t)(size - w->off) : w->len;
	memcpy(w->buf, r->whole + w->off, n);
	return (int64_t)n;
}

static void whole_loaded(void *arg, int64_t n)
{
	struct remote *r = arg;
	struct waiter *w, *next;
	bool good = n == (int64_t)r->row.attr.size;

	if (good && crc32c(0, r->whole, (size_t)n) != r->row.crc32c) {
		log_error("cannot read object '%s': its bytes are not those that were archived: "
			  "look at it with ebbctl verify",
			  r->keys[0]);
		good = false;
	}
	lock_take(&r->lock);
	w = r->waiters;
	r->waiters = NULL;
	r->state = good ? WHOLE_READY : WHOLE_EMPTY;
	lock_drop(&r->lock);
	for (; w; w = next) {
		next = w->next;
		w->cb(w->arg, good ? copy_out(r, w) : -EIO);
		free(w);
	}
	remote_put(r);
}

/* From memory, if it was read ahead; whatever is wrong there, the store is asked. */
static void whole_from_blob(void *arg, int64_t n)
{
	struct remote *r = arg;

	if (n >= 0 && crc32c(0, r->whole, (size_t)n) == r->row.crc32c)
		whole_loaded(r, n);
	else
		range_read(r, 0, r->whole, r->row.attr.size, whole_loaded, r);
}

static void whole_load(struct remote *r)
{
	remote_ref(r);
	if (!blobs_read(r->t->blobs, object_number(&r->row), r->row.pack_off, r->whole,
			r->row.attr.size, whole_from_blob, r))
		range_read(r, 0, r->whole, r->row.attr.size, whole_loaded, r);
}

static void whole_read(struct remote *r, const struct waiter *ask)
{
	struct waiter *w = NULL;
	enum whole state;

	lock_take(&r->lock);
	if (r->state != WHOLE_READY) {
		w = malloc(sizeof(*w));
		if (w && !r->whole)
			r->whole = malloc(r->row.attr.size);
		if (w && r->whole) {
			*w = *ask;
			w->next = r->waiters;
			r->waiters = w;
		}
	}
	state = r->state;
	if (state == WHOLE_EMPTY && w && r->whole)
		r->state = WHOLE_LOADING;
	lock_drop(&r->lock);

	if (state == WHOLE_READY) {
		ask->cb(ask->arg, copy_out(r, ask));
	} else if (!w || !r->whole) {
		free(w);
		ask->cb(ask->arg, -ENOMEM);
	} else if (state == WHOLE_EMPTY) {
		whole_load(r);
	}
}

void remote_read(struct remote *r, uint64_t off, void *buf, size_t len,
		 void (*cb)(void *arg, int64_t bytes_or_errno), void *arg)
{
	struct waiter ask = { .off = off, .buf = buf, .len = len, .cb = cb, .arg = arg };
	uint64_t size = r->row.attr.size;

	if (off >= size || len == 0) {
		cb(arg, 0);
	} else if (size <= REMOTE_WHOLE_BYTES) {
		whole_read(r, &ask);
	} else {
		if (len > size - off)
			len = (size_t)(size - off);
		range_read(r, off, buf, len, cb, arg);
	}
}
