/* SPDX-License-Identifier: MIT */
/*
 * Deciding which directory is looked at, and when again.
 *
 *	due -> may it be archived, released now (windows, back-off)? -> a worker looks
 *	at it, archives, releases -> when is it due again?
 *
 * Always true: directories are handed out in the order in which they became due; a
 * directory has one owner; while the store takes nothing, one directory at a time is
 * tried, after pauses that grow (reaper_backoff.c), and nothing is lost by waiting.
 */
#include "tier/reaper.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/text.h"
#include "tier/reaper_look.h"

#define TICK_MS 1000
#define HOLD_MS 2000 /* due, but not now: outside the windows, the store is down */
#define HOLD_STEP_MS 100
#define HOLD_AT_ONCE 1000 /* in a step */
#define GAP_LEAST_MS 200
#define ARCHIVE_GAP_MS 60000 /* a directory that is being filled is looked at no more often */
#define RELEASE_GAP_MS 900000
#define TELL_MS 60000

void reaper_touch(struct tier *t, struct node *dir)
{
	if (t->reaper)
		(void)table_touch(t->reaper, dir,
				  false); /* without memory: the next touch, or start */
}

void reaper_forget(struct tier *t, struct node *dir)
{
	if (t->reaper)
		(void)table_touch(t->reaper, dir, true);
}

/* ---- one directory ------------------------------------------------------------ */

/* Logged here, where it is swallowed: whatever failed is tried again. */
static void log_troubles(struct reaper *r, const struct look *l, int result)
{
	int error = l->file_error ? l->file_error : l->store_error ? l->store_error : result;
	_Atomic long long *last = l->file_error ? &r->told_file_ms : &r->told_store_ms;
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *shown = NULL;

	if (error >= 0 || error == -ENOENT || error == -ECANCELED || !log_ratelimit(last, TELL_MS))
		return;
	if (node_path(r->t->tree, l->dir, &path) == 0)
		shown = text_printable(path, strlen(path));
	log_warning("cannot archive or release all of '%s': %s: tried again later",
		    shown ? shown : "?",
		    error == -EAGAIN ? "the store has not answered yet" : strerror(-error));
}

static int64_t clamp(int64_t ms, int64_t least, int64_t most)
{
	return ms < least ? least : ms > most ? most : ms;
}

/* Not at once again for each file that becomes due: a directory's files come one by one. */
static void space_out(struct reaper *r, struct look *l)
{
	int64_t now = clock_mono_ms();
	int64_t archive = now + clamp(policy_least_archive_after_ms(r->t->policy) / 4, GAP_LEAST_MS,
				      ARCHIVE_GAP_MS);
	int64_t release = now + clamp(policy_least_release_after_ms(r->t->policy) / 64,
				      GAP_LEAST_MS, RELEASE_GAP_MS);

	if (l->next_archive_ms < archive)
		l->next_archive_ms = archive;
	if (l->next_release_ms < release)
		l->next_release_ms = release;
}

/* A look that only releases, as pressure asks for again and again, puts off no archiving. */
static void keep_due(struct look *l, int64_t archive_ms)
{
	if (!(l->what & LOOK_ARCHIVE) && l->next_archive_ms != REAP_NEVER)
		look_sooner(&l->next_archive_ms, archive_ms);
}

static int look_at(struct reaper *r, struct reap_dir *e, struct look *l)
{
	int result;

	table_clear_changed(r, e);
	l->future = e->future;
	result = look_dir(l);
	log_troubles(r, l, result);
	space_out(r, l);
	backoff_note(r, e, l);
	return result;
}

static void put_off_locked(struct reaper *r, struct reap_dir *e, int64_t now) REQUIRES(r->lock);

/* Not all at the same time: a million of them would be seconds under the lock. */
static void put_off_locked(struct reaper *r, struct reap_dir *e, int64_t now)
{
	e->hold_ms = now + HOLD_MS +
		     (int64_t)(r->n_put_off++ % (r->n_heap / HOLD_AT_ONCE + 1)) * HOLD_STEP_MS;
	table_schedule_locked(r, e);
}

static void job_ends_locked(struct reaper *r, unsigned asked) REQUIRES(r->lock);

static void job_ends_locked(struct reaper *r, unsigned asked)
{
	r->n_archiving -= asked & LOOK_ARCHIVE ? 1 : 0;
	r->n_pressing -= asked & (LOOK_ANY_ARCHIVE_AGE | LOOK_UNTIL_LOW) ? 1 : 0;
	cond_broadcast(&r->wake);
}

void reap_job(struct job *job)
{
	struct reap_dir *e = (struct reap_dir *)((char *)job - offsetof(struct reap_dir, job));
	struct reaper *r = e->r;
	struct look l = { .r = r, .dir = e->node };
	int64_t archive_ms;
	unsigned asked;
	bool mine;
	int result;

	lock_take(&r->lock);
	e->queued = false;
	r->n_queued--;
	asked = e->ask;
	archive_ms = e->archive_ms;
	l.what = backoff_left_locked(r, e, asked);
	if (asked & ~l.what & LOOK_ARCHIVE) {
		/* it is not one that the others wait for */
		r->n_archiving--;
		asked &= ~(unsigned)LOOK_ARCHIVE;
		if (!(l.what & LOOK_UNTIL_LOW) && e->release_ms > clock_mono_ms())
			l.what = 0;
	}
	l.why = e->why;
	mine = l.what && !e->busy && !atomic_load(&r->stopping);
	if (mine) {
		table_begin_locked(r, e, true);
	} else {
		job_ends_locked(r, asked);
		if (!l.what)
			put_off_locked(r, e, clock_mono_ms());
		else
			table_schedule_locked(r, e);
	}
	lock_drop(&r->lock);
	if (!mine)
		return; /* whoever has it may have freed it by now */
	result = look_at(r, e, &l);
	keep_due(&l, archive_ms);
	lock_take(&r->lock);
	job_ends_locked(r, asked);
	lock_drop(&r->lock);
	table_disown(r, e, &l, result);
}

/* ---- deciding ------------------------------------------------------------------ */

/* What the policy's windows permit now. */
struct open {
	bool archive, release;
};

static void decide_locked(struct reaper *r, struct reap_dir *e, int64_t now, struct open open)
	REQUIRES(r->lock);
static void try_one_locked(struct reaper *r, int64_t now, struct open open) REQUIRES(r->lock);
static int64_t decide_all_locked(struct reaper *r) REQUIRES(r->lock);

static void decide_locked(struct reaper *r, struct reap_dir *e, int64_t now, struct open open)
{
	bool archive = open.archive && r->store_fails == 0 && !backoff_waits_locked(r, e, now);

	if (!(archive && e->archive_ms <= now) && !(open.release && e->release_ms <= now)) {
		put_off_locked(r, e, now);
		return;
	}
	r->n_archiving += archive;
	e->is_trial = false;
	table_submit_locked(r, e, (archive ? LOOK_ARCHIVE : 0) | (open.release ? LOOK_RELEASE : 0),
			    RELEASE_AGE);
}

/* While the store takes nothing. */
static void try_one_locked(struct reaper *r, int64_t now, struct open open)
{
	struct reap_dir *e = open.archive ? backoff_trial_locked(r, now) : NULL;

	if (!e)
		return;
	r->n_archiving++;
	e->is_trial = true;
	table_submit_locked(r, e, LOOK_ARCHIVE | (open.release ? LOOK_RELEASE : 0), RELEASE_AGE);
}

/* When the next one is due. */
static int64_t decide_all_locked(struct reaper *r)
{
	int64_t now = clock_mono_ms(), real_ns = clock_real_ns();
	struct open open = { .archive = policy_archive_open(r->t->policy, real_ns),
			     .release = policy_release_open(r->t->policy, real_ns) };

	table_adopt_locked(r);
	try_one_locked(r, now, open);
	while (r->n_heap > 0 && r->heap[0]->due_ms <= now)
		decide_locked(r, r->heap[0], now, open);
	return r->n_heap > 0 && r->heap[0]->due_ms < now + TICK_MS ? r->heap[0]->due_ms
								   : now + TICK_MS;
}

/* Nobody may begin a batch for long, and then their intents would stay. */
static void settle_job(struct job *job)
{
	struct reaper *r = (struct reaper *)((char *)job - offsetof(struct reaper, settle_job));

	(void)archive_settle(r->t); /* the catalogue said what is wrong with it */
	atomic_store(&r->settling, false);
}

static void settle_soon(struct reaper *r)
{
	if (archive_has_unfinished(r->t) && !atomic_exchange(&r->settling, true))
		pool_submit(r->workers, &r->settle_job);
}

static void decide_job(struct job *job)
{
	struct reaper *r = (struct reaper *)((char *)job - offsetof(struct reaper, decide_job));
	int64_t until, tick_ms = 0;

	while (!atomic_load(&r->stopping)) {
		lock_take(&r->lock);
		until = decide_all_locked(r);
		if (!atomic_load(&r->stopping))
			cond_wait_until(&r->wake, &r->lock, until);
		lock_drop(&r->lock);
		if (clock_mono_ms() >= tick_ms) {
			reap_pressure(r);
			settle_soon(r);
			reap_read_again(r);
			tick_ms = clock_mono_ms() + TICK_MS;
		}
	}
}

/* ---- start and stop ------------------------------------------------------------- */

int reaper_new(struct tier *t, struct reaper **ret)
{
	struct reaper *r = calloc(1, sizeof(*r));
	int result;

	if (!r)
		return -ENOMEM;
	r->t = t;
	r->spell = 1;
	r->decide_job.run = decide_job;
	r->scan_job.run = reap_scan;
	r->walk_job.run = reap_walk;
	r->settle_job.run = settle_job;
	lock_init(&r->lock, LOCK_RANK_REAPER, "reaper");
	cond_init(&r->wake);
	cond_init(&r->idle);
	rates_init(&r->rates);
	result = table_new(r);
	if (result == 0)
		result = catalogue_next_number(t->cat, &r->first_number);
	if (result < 0) {
		reaper_free(r);
		return result;
	}
	*ret = r;
	return 0;
}

int reaper_start(struct reaper *r)
{
	unsigned jobs = (unsigned)r->t->conf->archive_jobs;
	int result;

	if ((result = pool_new("reaper", 2, &r->threads)) < 0 ||
	    (result = pool_new_background("archive", jobs, &r->workers)) < 0 ||
	    (result = pool_new("command", jobs, &r->commands)) < 0)
		return result;
	atomic_store(&r->scanning, true);
	lock_take(&r->lock);
	r->started = r->walking = true;
	lock_drop(&r->lock);
	pool_submit(r->threads, &r->decide_job);
	pool_submit(r->threads, &r->scan_job);
	return 0;
}

void reaper_stop(struct reaper *r)
{
	atomic_store(&r->stopping, true);
	lock_take(&r->lock);
	r->started = false;
	cond_broadcast(&r->wake);
	while (r->n_commands > 0)
		cond_wait(&r->idle, &r->lock);
	lock_drop(&r->lock);
	pool_free(r->threads);
	pool_free(r->commands);
	pool_free(r->workers);
	r->threads = r->commands = r->workers = NULL;
}

void reaper_free(struct reaper *r)
{
	if (!r)
		return;
	reaper_stop(r);
	reap_scan_free(r);
	table_free(r);
	lock_fini(&r->rates.lock);
	cond_fini(&r->idle);
	cond_fini(&r->wake);
	lock_fini(&r->lock);
	free(r);
}
