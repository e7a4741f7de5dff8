/* SPDX-License-Identifier: MIT */
/*
 * What was done and how fast; what there is, for status; what is only local, for locate.
 *
 * Always true: status adds up what directories held when they were last looked at, and
 * looks again at those that were touched since, as long as it has time for that; so what it
 * says is true now, but for what the scan at start has not come to (scanning), or on a large
 * site as old as the directories' last looks, a minute; where hundreds of thousands of files
 * in one directory are being archived, as old as the beginning of that.  The scan counts what
 * it finds, so there is nothing that was never looked at once it is over.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tier/reaper_int.h"

#define LOOK_BUDGET_MS 3000 /* for looking again before status answers */

uint64_t reaper_first_number(struct tier *t)
{
	return t->reaper ? t->reaper->first_number : UINT64_MAX;
}

/* ---- rates -------------------------------------------------------------------- */

void rates_init(struct reap_rates *x)
{
	lock_init(&x->lock, LOCK_RANK_LEAF, "reaper rates");
}

static void rates_add(struct reap_rates *x, uint64_t archived, uint64_t bytes, uint64_t released)
{
	int64_t second = clock_mono_ms() / 1000;
	size_t i = (size_t)(second % RATE_SECONDS);

	lock_take(&x->lock);
	if (x->slot[i].second != second) {
		memset(&x->slot[i], 0, sizeof(x->slot[i]));
		x->slot[i].second = second;
	}
	x->slot[i].archived += archived;
	x->slot[i].archived_bytes += bytes;
	x->slot[i].released += released;
	lock_drop(&x->lock);
}

static void rates_read(struct reap_rates *x, struct reaper_status *ret)
{
	int64_t second = clock_mono_ms() / 1000;
	uint64_t archived = 0, bytes = 0, released = 0;

	lock_take(&x->lock);
	for (size_t i = 0; i < RATE_SECONDS; i++) {
		if (second - x->slot[i].second >= RATE_SECONDS)
			continue;
		archived += x->slot[i].archived;
		bytes += x->slot[i].archived_bytes;
		released += x->slot[i].released;
	}
	lock_drop(&x->lock);
	ret->archive_files_per_s = (double)archived / RATE_SECONDS;
	ret->archive_bytes_per_s = (double)bytes / RATE_SECONDS;
	ret->release_files_per_s = (double)released / RATE_SECONDS;
}

void reaper_count_archived(struct reaper *r, uint64_t files, uint64_t bytes)
{
	atomic_fetch_add(&r->archived_total, files);
	rates_add(&r->rates, files, bytes, 0);
}

void reaper_count_released(struct reaper *r, uint64_t files)
{
	atomic_fetch_add(&r->released_total, files);
	rates_add(&r->rates, 0, 0, files);
}

void reaper_count_restored(struct tier *t)
{
	if (t->reaper)
		atomic_fetch_add(&t->reaper->restored_total, 1);
}

/* ---- status ------------------------------------------------------------------- */

/* All entries there are, used: *ret is an array of *n to give back. */
static int use_all(struct reaper *r, struct reap_dir ***ret, size_t *n)
{
	lock_take(&r->lock);
	table_adopt_locked(r);
	*n = r->n_heap;
	*ret = calloc(*n + 1, sizeof(**ret));
	for (size_t i = 0; *ret && i < *n; i++) {
		(*ret)[i] = r->heap[i];
		r->heap[i]->users++;
	}
	lock_drop(&r->lock);
	return *ret ? 0 : -ENOMEM;
}

static void unuse_all(struct reaper *r, struct reap_dir **all, size_t n)
{
	lock_take(&r->lock);
	for (size_t i = 0; i < n; i++)
		if (!table_unuse_locked(r, all[i]))
			all[i] = NULL;
	lock_drop(&r->lock);
	for (size_t i = 0; i < n; i++)
		table_entry_free(r, all[i]);
	free(all);
}

static void add_up(struct dir_counts *sum, const struct dir_counts *c)
{
	sum->local_files += c->local_files;
	sum->local_bytes += c->local_bytes;
	sum->archived_files += c->archived_files;
	sum->archived_bytes += c->archived_bytes;
	sum->other_files += c->other_files;
	sum->stale_files += c->stale_files;
	sum->stale_bytes += c->stale_bytes;
	if (c->oldest_local_ns &&
	    (!sum->oldest_local_ns || c->oldest_local_ns < sum->oldest_local_ns))
		sum->oldest_local_ns = c->oldest_local_ns;
}

/* Gone: nothing is there.  What could not be read, or not in time, was not counted. */
static bool is_counted(int result)
{
	return result == 0 || result == -ENOENT;
}

/* What was counted is what it holds; false: it was looked at for nothing. */
static bool count_end(struct reaper *r, struct reap_dir *e, const struct look *l, int result)
{
	bool ours;

	lock_take(&r->lock);
	ours = e->counter == l;
	if (ours)
		e->counter = NULL;
	if (ours && is_counted(result))
		e->counts = l->counts;
	lock_drop(&r->lock);
	return ours && is_counted(result);
}

/*
 * What a directory holds now, if it was touched and there is time; else what it held then.
 * While somebody works on it, or counts it, that moves: then its mark stays, and it is counted for
 * us alone.
 */
static void count_dir(struct reaper *r, struct reap_dir *e, int64_t until_ms,
		      struct dir_counts *sum)
{
	struct look l = { .r = r, .dir = e->node, .until_ms = until_ms };
	bool may_look = clock_mono_ms() < until_ms;
	/* before busy: who works on it clears the mark once it is busy, and counts before it ends */
	bool changed = may_look && table_is_changed(r, e), moves;
	struct dir_counts was;
	int result;

	lock_take(&r->lock);
	moves = e->busy || e->counter;
	was = e->counts;
	l.future = e->future;
	if (changed && !moves) {
		e->counter = &l;
		table_clear_changed(r, e);
	}
	lock_drop(&r->lock);
	if (!changed && !(may_look && moves)) {
		add_up(sum, &was);
		return;
	}
	result = look_dir(&l);
	add_up(sum, is_counted(result) ? &l.counts : &was);
	if (!moves && !count_end(r, e, &l, result))
		(void)table_touch(r, e->node, false); /* its mark is back */
}

int reaper_status(struct tier *t, struct reaper_status *ret)
{
	struct reaper *r = t->reaper;
	int64_t until = clock_mono_ms() + LOOK_BUDGET_MS;
	bool scanning = atomic_load(&r->scanning); /* it may end while we count */
	struct dir_counts sum = { 0 };
	struct reap_dir **all;
	size_t n;
	int result;

	result = use_all(r, &all, &n);
	if (result < 0)
		return result;
	for (size_t i = 0; i < n; i++)
		count_dir(r, all[i], until, &sum);
	unuse_all(r, all, n);

	memset(ret, 0, sizeof(*ret));
	ret->scanning = scanning;
	ret->local_files = sum.local_files;
	ret->local_bytes = sum.local_bytes;
	ret->archived_files = sum.archived_files;
	ret->archived_bytes = sum.archived_bytes;
	ret->other_files = sum.other_files;
	ret->stale_files = sum.stale_files;
	ret->stale_bytes = sum.stale_bytes;
	if (sum.oldest_local_ns) {
		int64_t age_ms = (clock_real_ns() - sum.oldest_local_ns) / 1000000;

		ret->oldest_unarchived_ms = age_ms > 1 ? age_ms : 1; /* 0 would say: none */
	}
	ret->archived_total = atomic_load(&r->archived_total);
	ret->released_total = atomic_load(&r->released_total);
	ret->restored_total = atomic_load(&r->restored_total);
	ret->failed_total = atomic_load(&r->failed_total);
	rates_read(&r->rates, ret);
	lock_take(&r->lock);
	ret->dirs_waiting = r->n_queued;
	lock_drop(&r->lock);
	return 0;
}

/* ---- locate ------------------------------------------------------------------- */

/*
 * False: all it holds has rows, and nothing was touched since that was seen.  The mark is
 * asked first: who cleared it is counted or has it busy until what was seen is in counts.
 */
static bool may_hold_local(struct reaper *r, struct reap_dir *e)
{
	bool may = table_is_changed(r, e);

	lock_take(&r->lock);
	may = may || e->busy || e->counter || e->counts.local_files + e->counts.other_files > 0;
	lock_drop(&r->lock);
	return may;
}

static int find_in(struct reaper *r, struct reap_dir *e, const char *name,
		   void (*each)(void *arg, const char *path), void *arg)
{
	AUTO_FREE char *path = NULL;
	struct state_of look;
	struct stat st;
	int result;

	/* one system call says no almost everywhere */
	if (cache_stat(r->t->cache, e->node, name, &st) < 0 || S_ISDIR(st.st_mode))
		return 0;
	result = state_look(r->t, e->node, name, &look);
	if (result < 0)
		return result;
	/* those with a row are found by it */
	if (!look.has_cache || look.has_row || look.is_dir)
		return 0;
	result = node_child_path(r->t->tree, e->node, name, &path);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	each(arg, path);
	return 0;
}

bool reaper_scanning(struct tier *t)
{
	return atomic_load(&t->reaper->scanning);
}

int reaper_find_local(struct tier *t, const char *name, void (*each)(void *arg, const char *path),
		      void *arg)
{
	struct reap_dir **all;
	size_t n;
	int r;

	if (strlen(name) > ROW_NAME_MAX || strchr(name, '/'))
		return 0;
	r = use_all(t->reaper, &all, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++)
		if (may_hold_local(t->reaper, all[i]))
			r = find_in(t->reaper, all[i], name, each, arg);
	unuse_all(t->reaper, all, n);
	return r;
}
