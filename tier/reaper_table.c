/* SPDX-License-Identifier: MIT */
/*
 * The directories that hold cache files.
 *
 * Told of by fs at every create and last close: finding the entry and seeing that it
 * is marked already is all that happens then.  What was newly marked lies on a
 * stack until somebody who holds the reaper's lock takes it over into the heap.
 *
 * Always true: an entry holds a reference on its node; it is freed only when it is
 * neither touched, queued, busy nor used, which is looked at under both locks; a touch
 * is never lost, it makes the entry due or keeps it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "tier/reaper_int.h"

#define NOT_IN_HEAP SIZE_MAX
#define FIRST_BUCKETS 16
#define RETRY_MS 60000 /* a directory that could not be read */

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
	e->pos = NOT_IN_HEAP;
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

/* ---- the heap ---------------------------------------------------------------- */

static void heap_set(struct reaper *r, size_t pos, struct reap_dir *e)
{
	r->heap[pos] = e;
	e->pos = pos;
}

static void heap_settle(struct reaper *r, struct reap_dir *e)
{
	size_t pos = e->pos;

	while (pos > 0 && r->heap[(pos - 1) / 2]->due_ms > e->due_ms) {
		heap_set(r, pos, r->heap[(pos - 1) / 2]);
		pos = (pos - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * pos + 1;

		if (child + 1 < r->n_heap && r->heap[child + 1]->due_ms < r->heap[child]->due_ms)
			child++;
		if (child >= r->n_heap || r->heap[child]->due_ms >= e->due_ms)
			break;
		heap_set(r, pos, r->heap[child]);
		pos = child;
	}
	heap_set(r, pos, e);
}

static int heap_add(struct reaper *r, struct reap_dir *e)
{
	if (r->n_heap == r->room_heap) {
		size_t room = r->room_heap ? 2 * r->room_heap : 256;
		struct reap_dir **heap = reallocarray(r->heap, room, sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		r->heap = heap;
		r->room_heap = room;
	}
	heap_set(r, r->n_heap++, e);
	heap_settle(r, e);
	return 0;
}

static void heap_remove(struct reaper *r, struct reap_dir *e)
{
	struct reap_dir *last = r->heap[--r->n_heap];

	if (last != e) {
		heap_set(r, e->pos, last);
		heap_settle(r, last);
	}
	e->pos = NOT_IN_HEAP;
}

void table_schedule_locked(struct reaper *r, struct reap_dir *e)
{
	int64_t due = e->archive_ms < e->release_ms ? e->archive_ms : e->release_ms;

	e->due_ms = e->queued || e->busy ? REAP_NEVER : due;
	if (e->pos != NOT_IN_HEAP)
		heap_settle(r, e);
}

void table_adopt_locked(struct reaper *r)
{
	int64_t now = clock_mono_ms();
	int64_t least = policy_least_archive_after_ms(r->t->policy);
	struct reap_dir *next, *e = atomic_exchange(&r->touched, NULL);

	for (; e; e = next) {
		struct reap_shard *s = shard_of(r, e->node);
		int64_t due;

		lock_take(&s->lock);
		next = e->touched_next;
		if (e->pos == NOT_IN_HEAP && heap_add(r, e) < 0) {
			/* without memory: once more, later */
			e->touched = false;
			touch_locked(r, e, false);
			lock_drop(&s->lock);
			continue;
		}
		due = e->soon ? now : now + least;
		e->touched = e->soon = false;
		lock_drop(&s->lock);
		e->nothing = false;
		/* what is there may be either */
		if (due < e->archive_ms)
			e->archive_ms = due;
		if (due < e->release_ms)
			e->release_ms = due;
		table_schedule_locked(r, e);
	}
}

/* ---- owners ------------------------------------------------------------------ */

void table_submit_locked(struct reaper *r, struct reap_dir *e, unsigned ask, enum release_why why)
{
	e->queued = true;
	e->ask = ask;
	e->why = why;
	r->n_queued++;
	table_schedule_locked(r, e);
	pool_submit(r->workers, &e->job);
}

bool table_remove_locked(struct reaper *r, struct reap_dir *e)
{
	struct reap_shard *s = shard_of(r, e->node);
	struct reap_dir **p;
	bool free_it;

	lock_take(&s->lock);
	free_it = !e->touched && !e->queued && !e->busy && e->users == 0;
	if (free_it) {
		p = &s->buckets[bucket_of(s, e->node)];
		while (*p != e)
			p = &(*p)->chain;
		*p = e->chain;
		s->n--;
	}
	lock_drop(&s->lock);
	if (free_it && e->pos != NOT_IN_HEAP)
		heap_remove(r, e);
	return free_it;
}

void table_begin_locked(struct reaper *r, struct reap_dir *e, bool whole)
{
	e->busy = true;
	e->nothing = false;
	if (whole)
		e->archive_ms = e->release_ms =
			REAP_NEVER; /* the look says; touches meanwhile, too */
	table_schedule_locked(r, e);
}

struct reap_dir *table_own(struct reaper *r, struct node *dir, bool whole)
{
	struct reap_shard *s = shard_of(r, dir);
	struct reap_dir *e = NULL;

	lock_take(&r->lock);
	while (!e) {
		lock_take(&s->lock);
		e = find_locked(s, dir);
		lock_drop(&s->lock);
		if (e)
			break;
		lock_drop(&r->lock);
		if (table_touch(r, dir, false) < 0)
			return NULL;
		lock_take(&r->lock);
	}
	e->users++; /* what holds nothing stays meanwhile; it is busy with us after that */
	while (e->busy)
		cond_wait(&r->idle, &r->lock);
	e->users--;
	table_begin_locked(r, e, whole);
	lock_drop(&r->lock);
	return e;
}

/* Nothing of ours is in it: it need not be known. */
static bool holds_nothing(const struct look *l, int result)
{
	if (result == -ENOENT)
		return true;
	return result == 0 &&
	       l->counts.local_files + l->counts.archived_files + l->counts.other_files == 0 &&
	       l->next_release_ms == REAP_NEVER && l->next_archive_ms == REAP_NEVER;
}

static void take_over_locked(struct reap_dir *e, const struct look *l, int result)
{
	int64_t retry_ms = clock_mono_ms() + RETRY_MS;

	if (result == -ENOENT)
		e->counts = (struct dir_counts){ 0 };
	if (result < 0) {
		if (result != -ENOENT && retry_ms < e->archive_ms)
			e->archive_ms = retry_ms;
		return;
	}
	e->counts = l->counts;
	e->future = l->future;
	if (l->next_archive_ms < e->archive_ms)
		e->archive_ms = l->next_archive_ms;
	if (l->next_release_ms < e->release_ms)
		e->release_ms = l->next_release_ms;
}

void table_disown(struct reaper *r, struct reap_dir *e, const struct look *l, int result)
{
	bool gone = false;

	lock_take(&r->lock);
	e->busy = false;
	if (l)
		take_over_locked(e, l, result);
	table_schedule_locked(r, e);
	e->nothing = l && holds_nothing(l, result);
	gone = e->nothing && table_remove_locked(r, e);
	cond_broadcast(&r->idle);
	lock_drop(&r->lock);
	if (gone)
		table_entry_free(r, e);
}

bool table_unuse_locked(struct reaper *r, struct reap_dir *e)
{
	e->users--;
	return e->nothing && table_remove_locked(r, e);
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
