/* SPDX-License-Identifier: MIT */
/*
 * When each directory is due, and who has it just now.
 *
 *	touched --adopt--> heap --submit--> queued --begin--> busy --disown--> heap, or freed
 *
 * Always true, under the reaper's lock: an entry in the heap is due at the earlier of
 * archive_ms and release_ms, if nothing puts that off, and never while it is queued or busy;
 * it is freed only when it is neither, nobody uses it, and no touch came since it was seen to
 * hold nothing.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "tier/reaper_int.h"

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
	e->pos = TABLE_NOT_IN_HEAP;
}

void table_schedule_locked(struct reaper *r, struct reap_dir *e)
{
	int64_t archive = e->archive_ms > e->retry_ms ? e->archive_ms : e->retry_ms;
	int64_t due = archive < e->release_ms ? archive : e->release_ms;

	if (due < e->hold_ms)
		due = e->hold_ms;
	e->due_ms = e->queued || e->busy ? REAP_NEVER : due;
	if (e->pos != TABLE_NOT_IN_HEAP)
		heap_settle(r, e);
}

void table_adopt_locked(struct reaper *r)
{
	int64_t now = clock_mono_ms();
	int64_t least = policy_least_archive_after_ms(r->t->policy);
	struct reap_dir *next, *e = atomic_exchange(&r->touched, NULL);

	for (; e; e = next) {
		bool fits = e->pos != TABLE_NOT_IN_HEAP || heap_add(r, e) == 0;
		int64_t due;

		/* without memory it goes back, for another time */
		due = table_untouch(r, e, fits, &next) ? now : now + least;
		if (!fits)
			continue;
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
	if (e->queued || e->busy || e->users > 0 || !table_unlink(r, e))
		return false;
	if (e->pos != TABLE_NOT_IN_HEAP)
		heap_remove(r, e);
	return true;
}

void table_begin_locked(struct reaper *r, struct reap_dir *e, bool whole)
{
	e->busy = true;
	e->counter = NULL;
	e->nothing = false;
	if (whole)
		e->archive_ms = e->release_ms =
			REAP_NEVER; /* the look says; touches meanwhile, too */
	table_schedule_locked(r, e);
}

bool table_is_busy(struct reaper *r, struct node *dir)
{
	struct reap_dir *e;
	bool busy;

	lock_take(&r->lock);
	e = table_find(r, dir);
	busy = e && e->busy;
	lock_drop(&r->lock);
	return busy;
}

struct reap_dir *table_own(struct reaper *r, struct node *dir, bool whole)
{
	struct reap_dir *e;

	lock_take(&r->lock);
	/* found under the reaper's lock it stays until we drop that */
	while (!(e = table_find(r, dir))) {
		lock_drop(&r->lock);
		if (table_touch(r, dir, false) < 0)
			return NULL;
		lock_take(&r->lock);
	}
	e->users++; /* what holds nothing stays meanwhile; it is busy with us after that */
	while (e->busy)
		cond_wait(&r->idle, &r->lock);
	e->users--;
	table_adopt_locked(r); /* our own touch, too: it asks for no look after this one */
	table_begin_locked(r, e, whole);
	lock_drop(&r->lock);
	return e;
}

/*
 * Nothing of ours is in it, and nothing is due: it need not be known.  What was touched while
 * it was looked at, and taken into the heap by then, is due.
 */
static bool holds_nothing(const struct reap_dir *e, const struct look *l, int result)
{
	if (e->archive_ms != REAP_NEVER || e->release_ms != REAP_NEVER)
		return false;
	if (result == -ENOENT)
		return true;
	return result == 0 &&
	       l->counts.local_files + l->counts.archived_files + l->counts.other_files == 0;
}

static void take_over_locked(struct reap_dir *e, const struct look *l, int result)
{
	int64_t retry_ms = clock_mono_ms() + REAP_RETRY_MS;

	if (result == -ENOENT)
		e->counts = (struct dir_counts){ 0 };
	if (result < 0) {
		if (result != -ENOENT && retry_ms < e->archive_ms)
			e->archive_ms = retry_ms;
		if (result != -ENOENT && retry_ms < e->release_ms)
			e->release_ms = retry_ms;
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
	e->nothing = l && holds_nothing(e, l, result);
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
