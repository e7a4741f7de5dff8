/* SPDX-License-Identifier: MIT */
/*
 * The directories that hold cache files.
 *
 * Told of by fs at every create and last close: finding the entry and seeing that it
 * is marked already is all that happens then.  What was newly marked lies on a
 * stack until somebody who holds the reaper's lock takes it over into the heap.
 *
 * Always true: an entry holds a reference on its node; a touch is never lost: it
 * lies on the stack, or came before the look that says what is due.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tier/reaper_int.h"

#define FIRST_BUCKETS 16

/* ---- the hash ---------------------------------------------------------------- */

static uint64_t hash_node(const struct node *node)
{
	return (uint64_t)(uintptr_t)node * 0x9e3779b97f4a7c15ull;
}

static struct reap_shard *shard_of(struct reaper *r, const struct node *node)
{
	return &r->shards[hash_node(node) >> 58];
}

static size_t bucket_of(const struct reap_shard *s, const struct node *node)
{
	return (size_t)(hash_node(node) >> 16) & (s->n_buckets - 1);
}

static struct reap_dir *find_locked(struct reap_shard *s, const struct node *node)
	REQUIRES(s->lock);
static void grow_locked(struct reap_shard *s) REQUIRES(s->lock);
static void add_locked(struct reap_shard *s, struct reap_dir *e) REQUIRES(s->lock);
static void touch_locked(struct reaper *r, struct reap_dir *e, bool soon);

static struct reap_dir *find_locked(struct reap_shard *s, const struct node *node)
{
	struct reap_dir *e = s->buckets[bucket_of(s, node)];

	while (e && e->node != node)
		e = e->chain;
	return e;
}

/* Without memory chains grow longer instead. */
static void grow_locked(struct reap_shard *s)
{
	size_t n = s->n_buckets;
	struct reap_dir **old = s->buckets, **new = calloc(2 * n, sizeof(*new));

	if (!new)
		return;
	s->buckets = new;
	s->n_buckets = 2 * n;
	for (size_t i = 0; i < n; i++) {
		for (struct reap_dir *e = old[i], *next; e; e = next) {
			size_t k = bucket_of(s, e->node);

			next = e->chain;
			e->chain = new[k];
			new[k] = e;
		}
	}
	free(old);
}

static void add_locked(struct reap_shard *s, struct reap_dir *e)
{
	size_t k;

	if (s->n >= 2 * s->n_buckets)
		grow_locked(s);
	k = bucket_of(s, e->node);
	e->chain = s->buckets[k];
	s->buckets[k] = e;
	s->n++;
}

/* ---- touching ---------------------------------------------------------------- */

/* Under its shard's lock. */
static void touch_locked(struct reaper *r, struct reap_dir *e, bool soon)
{
	struct reap_dir *head;

	e->changed = true;
	e->soon = e->soon || soon;
	if (e->touched)
		return;
	e->touched = true;
	head = atomic_load(&r->touched);
	do {
		e->touched_next = head;
	} while (!atomic_compare_exchange_weak(&r->touched, &head, e));
}

static struct reap_dir *entry_new(struct reaper *r, struct node *dir)
{
	struct reap_dir *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->r = r;
	e->node = node_ref(dir);
	e->pos = TABLE_NOT_IN_HEAP;
	e->archive_ms = e->release_ms = e->due_ms = REAP_NEVER;
	e->job.run = reap_job;
	return e;
}

void table_entry_free(struct reaper *r, struct reap_dir *e)
{
	if (!e)
		return;
	node_put(r->t->tree, e->node);
	free(e);
}

int table_touch(struct reaper *r, struct node *dir, bool soon)
{
	struct reap_shard *s = shard_of(r, dir);
	struct reap_dir *e, *made;

	lock_take(&s->lock);
	e = find_locked(s, dir);
	if (e)
		touch_locked(r, e, soon);
	lock_drop(&s->lock);
	if (e)
		return 0;
	made = entry_new(r, dir);
	if (!made)
		return -ENOMEM;
	lock_take(&s->lock);
	e = find_locked(s, dir);
	if (!e)
		add_locked(s, made);
	touch_locked(r, e ? e : made, soon);
	lock_drop(&s->lock);
	if (e)
		table_entry_free(r, made);
	return 0;
}

void table_clear_changed(struct reaper *r, struct reap_dir *e)
{
	struct reap_shard *s = shard_of(r, e->node);

	lock_take(&s->lock);
	e->changed = false;
	lock_drop(&s->lock);
}

bool table_is_changed(struct reaper *r, struct reap_dir *e)
{
	struct reap_shard *s = shard_of(r, e->node);
	bool changed;

	lock_take(&s->lock);
	changed = e->changed;
	lock_drop(&s->lock);
	return changed;
}

/* ---- for reaper_due.c --------------------------------------------------------- */

bool table_untouch(struct reaper *r, struct reap_dir *e, bool taken, struct reap_dir **ret_next)
{
	struct reap_shard *s = shard_of(r, e->node);
	bool soon;

	lock_take(&s->lock);
	*ret_next = e->touched_next;
	soon = e->soon;
	e->touched = false;
	if (taken)
		e->soon = false;
	else
		touch_locked(r, e, soon);
	lock_drop(&s->lock);
	return soon;
}

struct reap_dir *table_find(struct reaper *r, const struct node *dir)
{
	struct reap_shard *s = shard_of(r, dir);
	struct reap_dir *e;

	lock_take(&s->lock);
	e = find_locked(s, dir);
	lock_drop(&s->lock);
	return e;
}

bool table_unlink(struct reaper *r, struct reap_dir *e)
{
	struct reap_shard *s = shard_of(r, e->node);
	struct reap_dir **p;
	bool unlinked;

	lock_take(&s->lock);
	unlinked = !e->touched;
	if (unlinked) {
		p = &s->buckets[bucket_of(s, e->node)];
		while (*p != e)
			p = &(*p)->chain;
		*p = e->chain;
		s->n--;
	}
	lock_drop(&s->lock);
	return unlinked;
}

/* ---- all of it --------------------------------------------------------------- */

int table_new(struct reaper *r)
{
	for (unsigned i = 0; i < REAP_SHARDS; i++) {
		struct reap_shard *s = &r->shards[i];

		lock_init(&s->lock, LOCK_RANK_LEAF, "reaper shard");
		s->buckets = calloc(FIRST_BUCKETS, sizeof(*s->buckets));
		s->n_buckets = FIRST_BUCKETS;
		if (!s->buckets)
			return -ENOMEM;
	}
	return 0;
}

void table_free(struct reaper *r)
{
	for (unsigned i = 0; i < REAP_SHARDS; i++) {
		struct reap_shard *s = &r->shards[i];

		for (size_t k = 0; s->buckets && k < s->n_buckets; k++) {
			for (struct reap_dir *e = s->buckets[k], *next; e; e = next) {
				next = e->chain;
				table_entry_free(r, e);
			}
		}
		if (s->n_buckets)
			lock_fini(&s->lock);
		free(s->buckets);
	}
	free(r->heap);
}
