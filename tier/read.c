/* SPDX-License-Identifier: MIT */
/*
 * Reading released files.
 *
 *	small: whole, compared with its checksum (read_whole.c)
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
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/pool.h"
#include "tier/read_int.h"

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
	return &all->bucket[object_number(row) % REMOTE_BUCKETS];
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
	whole_unkeep_locked(all, r);
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
	for (r = all->bucket[number % REMOTE_BUCKETS]; r && object_number(&r->row) != number;
	     r = r->next)
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

struct remote *remote_place(struct remote *r)
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

int64_t remote_deadline(const struct remote *r)
{
	return clock_mono_ms() + r->t->conf->store_timeout;
}

void remote_read_range(struct remote *r, uint64_t off, void *buf, size_t len, int64_t deadline_ms,
		       void (*cb)(void *arg, int64_t n), void *arg)
{
	struct range *g = malloc(sizeof(*g));

	if (!g) {
		cb(arg, -ENOMEM);
		return;
	}
	*g = (struct range){ .r = remote_ref(r),
			     .at = remote_place(r),
			     .off = off,
			     .buf = buf,
			     .len = len,
			     .deadline_ms = deadline_ms,
			     .cb = cb,
			     .arg = arg };
	range_next(g);
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
	remote_read_range(r, ask->off, l->buf, len, remote_deadline(r), large_done, l);
}

static bool is_small(const struct remote *r)
{
	return r->row.attr.size <= REMOTE_WHOLE_BYTES;
}

bool remote_read_now(struct remote *r, uint64_t off, size_t len, remote_cb cb, void *arg)
{
	struct waiter ask = { .off = off, .len = len, .cb = cb, .arg = arg };

	if (off < r->row.attr.size && len > 0)
		return is_small(r) && whole_read_now(r, &ask);
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
