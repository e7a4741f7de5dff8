/* SPDX-License-Identifier: MIT */
/*
 * When the cache fills: from the high watermark down to the low one.
 *
 *	used >= high	release what was archived longest ago, directory by directory
 *	nothing of it	archive what is oldest, whatever archive_after and the windows say
 *	in vain		what was asked in vain less often comes first, whichever it is
 *	used <= low	over
 *
 * Always true: pressure changes when something is tried, never what may be destroyed; an
 * unknown fill level is no pressure.
 */
#include <stdatomic.h>

#include "lib/clock.h"
#include "tier/reaper_int.h"

#define TELL_MS 60000

static struct reap_dir *oldest_archived_locked(struct reaper *r, int64_t now, enum release_why why)
	REQUIRES(r->lock);
static struct reap_dir *oldest_local_locked(struct reaper *r, int64_t now, enum release_why why)
	REQUIRES(r->lock);
static void relieve_locked(struct reaper *r, enum release_why why) REQUIRES(r->lock);

/* Nor is it waited for longer when more may be done to it than the last time. */
static bool is_free_locked(const struct reap_dir *e, enum press what, int64_t now,
			   enum release_why why)
{
	return !e->busy && !e->queued &&
	       (e->press[what].until_ms <= now || e->press[what].why < why);
}

/* Which first: where pressure asked in vain least often, of these the oldest. */
static bool is_before(const struct reap_dir *e, int64_t ns, const struct reap_dir *best,
		      int64_t best_ns, enum press what)
{
	if (!best || e->press[what].fruitless != best->press[what].fruitless)
		return !best || e->press[what].fruitless < best->press[what].fruitless;
	return ns < best_ns;
}

/* The directory whose archived copies are oldest, or NULL. */
static struct reap_dir *oldest_archived_locked(struct reaper *r, int64_t now, enum release_why why)
{
	struct reap_dir *best = NULL;
	int64_t best_ns = 0;

	for (size_t i = 0; i < r->n_heap; i++) {
		struct reap_dir *e = r->heap[i];
		int64_t ns = e->counts.oldest_archived_ns;

		if (ns == 0 || !is_free_locked(e, PRESS_RELEASE, now, why) ||
		    !is_before(e, ns, best, best_ns, PRESS_RELEASE))
			continue;
		best = e;
		best_ns = ns;
	}
	return best;
}

/* Of those that the store did not fail; if there is none, of those that it did. */
static struct reap_dir *oldest_local_locked(struct reaper *r, int64_t now, enum release_why why)
{
	struct reap_dir *best = NULL;
	int64_t best_ns = 0;

	for (size_t i = 0; i < r->n_heap; i++) {
		struct reap_dir *e = r->heap[i];
		int64_t ns = e->counts.oldest_local_ns;
		bool failed = e->store_fails > 0;

		if (ns == 0 || !is_free_locked(e, PRESS_ARCHIVE, now, why) ||
		    backoff_waits_locked(r, e, now))
			continue;
		if (best && failed != (best->store_fails > 0)
			    ? failed
			    : !is_before(e, ns, best, best_ns, PRESS_ARCHIVE))
			continue;
		best = e;
		best_ns = ns;
	}
	if (best && best->store_fails == 0)
		return best;
	/* Not looked at yet, but something was put there. */
	for (size_t i = 0; i < r->n_heap; i++) {
		struct reap_dir *e = r->heap[i];

		if (is_free_locked(e, PRESS_ARCHIVE, now, why) && e->archive_ms != REAP_NEVER &&
		    e->store_fails == 0)
			return e;
	}
	return best;
}

static void relieve_locked(struct reaper *r, enum release_why why)
{
	int64_t now = clock_mono_ms();

	while (r->n_pressing < r->t->conf->archive_jobs) {
		struct reap_dir *e = oldest_archived_locked(r, now, why), *local = NULL;
		unsigned ask = LOOK_RELEASE | LOOK_ANY_RELEASE_AGE | LOOK_UNTIL_LOW;

		if ((!e || e->press[PRESS_RELEASE].fruitless > 0) && backoff_is_free_locked(r, now))
			local = oldest_local_locked(r, now, why);
		if (local && (!e || local->press[PRESS_ARCHIVE].fruitless <=
					    e->press[PRESS_RELEASE].fruitless)) {
			e = local;
			ask = LOOK_ARCHIVE | LOOK_ANY_ARCHIVE_AGE;
		}
		if (!e)
			return;
		r->n_pressing++;
		r->n_archiving += ask & LOOK_ARCHIVE ? 1 : 0;
		e->is_trial = r->store_fails > 0;
		table_submit_locked(r, e, ask, why);
	}
}

/* Half of what is left above the high watermark is used too. */
static bool is_critical(const struct reaper *r, unsigned used_pct)
{
	unsigned high = (unsigned)r->t->conf->high;

	return used_pct >= high + (100 - high + 1) / 2;
}

void reap_pressure(struct reaper *r)
{
	const struct conf *conf = r->t->conf;
	struct cache_room room;
	bool was;

	if (cache_room(r->t->cache, &room) < 0)
		return;
	lock_take(&r->lock);
	was = r->pressing;
	if (room.used_pct >= conf->high)
		r->pressing = true;
	else if (room.used_pct <= conf->low)
		r->pressing = false;
	if (r->pressing)
		relieve_locked(r,
			       is_critical(r, room.used_pct) ? RELEASE_CRITICAL : RELEASE_PRESSURE);
	lock_drop(&r->lock);
	if (room.used_pct >= conf->high && !was && log_ratelimit(&r->told_full_ms, TELL_MS))
		log_warning("the cache is %u%% full: releasing what is archived before its time",
			    room.used_pct);
}
