/* SPDX-License-Identifier: MIT */
/*
 * Who waits after a failure, and for how long.
 *
 *	a directory fails		it waits by itself, each time for twice as long; others go on
 *	several fail, nothing works	all wait the same way, but not for long: then one at a time
 *					is tried
 *	the store is full, is not	all at once
 *	  known to be ours, or the
 *	  catalogue is read-only
 *	something was archived		all go on, but for those that wait by themselves
 *	a directory's batches fail,	the rest of it is left alone, too
 *	  several, nothing works
 *	pressure asks in vain		it asks others first, and that one again after a wait
 *					of its own
 *
 * Always true: no wait is longer than BACKOFF_MOST_MS; directories that fail for ever hold
 * back no other: tried are first those that the store failed least often, of these the one
 * that has waited longest and the one that has waited least in turn, or it would be behind
 * all of those that have not failed yet but will.
 */
#include <errno.h>

#include "lib/clock.h"
#include "tier/reaper_int.h"

#define BACKOFF_LEAST_MS 1000
#define BACKOFF_MOST_MS 60000
#define BACKOFF_SHORT_MS 8000 /* for what may be better at any time: another directory, a sink */
#define FAILING_MOST 3	      /* so many different directories, or batches: it is the store */

static int64_t backoff_ms(unsigned fails, int64_t most_ms)
{
	int64_t ms = BACKOFF_LEAST_MS;

	for (unsigned i = 1; i < fails && ms < most_ms; i++)
		ms *= 2;
	return ms < most_ms ? ms : most_ms;
}

/* ---- after a look ---------------------------------------------------------------- */

/* No directory would fare better. */
static bool is_of_all(struct tier *t, int error)
{
	return error == -ENOSPC || error == -EDQUOT || store_is_full(t->store) || !volume_ok(t) ||
	       catalogue_is_readonly(t->cat);
}

static void note_store_locked(struct reaper *r, struct reap_dir *e, const struct look *l, bool all)
	REQUIRES(r->lock);

static void note_store_locked(struct reaper *r, struct reap_dir *e, const struct look *l, bool all)
{
	int64_t now = clock_mono_ms();

	e->store_fails = l->store_error ? e->store_fails + 1 : 0;
	if (!l->store_error)
		return;
	if (e->failed_in != r->spell) {
		e->failed_in = r->spell;
		r->n_failing++;
	}
	/* while all wait, those that were under way say nothing new */
	if ((all || r->n_failing >= FAILING_MOST) && now >= r->pause_until_ms) {
		r->store_fails++;
		r->pause_until_ms =
			now + backoff_ms(r->store_fails, all ? BACKOFF_MOST_MS : BACKOFF_SHORT_MS);
	}
}

static void note_archive_locked(struct reaper *r, struct reap_dir *e, struct look *l, bool all)
	REQUIRES(r->lock);

static void note_archive_locked(struct reaper *r, struct reap_dir *e, struct look *l, bool all)
{
	int64_t again;

	note_store_locked(r, e, l, all);
	e->fails = l->file_error || l->store_error ? e->fails + 1 : 0;
	e->retry_ms = 0;
	if (e->fails == 0)
		return;
	again = all ? r->pause_until_ms : clock_mono_ms() + backoff_ms(e->fails, BACKOFF_MOST_MS);
	if (l->store_error)
		e->retry_ms = again; /* also if it is touched before */
	if (l->store_error || again < l->next_archive_ms)
		l->next_archive_ms = again;
}

static void note_press_locked(struct reap_dir *e, const struct look *l)
{
	enum press what = l->what & LOOK_UNTIL_LOW ? PRESS_RELEASE : PRESS_ARCHIVE;
	bool fruitless = (what == PRESS_RELEASE ? l->released : l->archived) == 0;
	int64_t most_ms = l->again_release ? BACKOFF_SHORT_MS : BACKOFF_MOST_MS;

	e->press[what].why = l->why;
	e->press[what].fruitless = fruitless ? e->press[what].fruitless + 1 : 0;
	e->press[what].until_ms = 0;
	if (fruitless)
		e->press[what].until_ms =
			clock_mono_ms() + backoff_ms(e->press[what].fruitless, most_ms);
}

void backoff_worked(struct reaper *r)
{
	if (is_of_all(r->t, 0))
		return;
	lock_take(&r->lock);
	r->spell++;
	r->n_failing = r->store_fails = 0;
	r->pause_until_ms = 0;
	lock_drop(&r->lock);
}

bool backoff_is_hopeless(const struct look *l)
{
	/* a command tells of each file */
	return !l->tell && l->n_refused >= FAILING_MOST;
}

void backoff_note(struct reaper *r, struct reap_dir *e, struct look *l)
{
	bool all = l->store_error && is_of_all(r->t, l->store_error);
	int64_t again;

	lock_take(&r->lock);
	if (l->what & LOOK_ARCHIVE)
		note_archive_locked(r, e, l, all);
	e->release_fails = l->again_release ? e->release_fails + 1 : 0;
	again = clock_mono_ms() + backoff_ms(e->release_fails, BACKOFF_MOST_MS);
	if (l->again_release && again < l->next_release_ms)
		l->next_release_ms = again;
	if (l->what & (LOOK_ANY_ARCHIVE_AGE | LOOK_UNTIL_LOW))
		note_press_locked(e, l);
	lock_drop(&r->lock);
}

/* ---- before one ------------------------------------------------------------------ */

bool backoff_waits_locked(const struct reaper *r, const struct reap_dir *e, int64_t now)
{
	return now < r->pause_until_ms || now < e->retry_ms;
}

bool backoff_is_free_locked(const struct reaper *r, int64_t now)
{
	return now >= r->pause_until_ms && !(r->store_fails > 0 && r->n_archiving > 0);
}

unsigned backoff_left_locked(const struct reaper *r, const struct reap_dir *e, unsigned ask)
{
	if (r->store_fails > 0 && !e->is_trial && (ask & LOOK_ARCHIVE))
		ask &= ~(unsigned)(LOOK_ARCHIVE | LOOK_ANY_ARCHIVE_AGE);
	return ask;
}

struct reap_dir *backoff_trial_locked(struct reaper *r, int64_t now)
{
	bool newest = r->store_fails % 2 == 0;
	struct reap_dir *best = NULL;

	if (r->store_fails == 0 || !backoff_is_free_locked(r, now))
		return NULL;
	for (size_t i = 0; i < r->n_heap; i++) {
		struct reap_dir *e = r->heap[i];

		if (e->queued || e->busy || now < e->archive_ms || now < e->retry_ms)
			continue;
		if (!best || e->store_fails < best->store_fails ||
		    (e->store_fails == best->store_fails &&
		     (newest ? e->archive_ms > best->archive_ms
			     : e->archive_ms < best->archive_ms)))
			best = e;
	}
	return best;
}
