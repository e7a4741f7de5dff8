/* SPDX-License-Identifier: MIT */
/*
 * A command's rounds.
 *
 *	round 1		walk; each directory is looked at
 *	between		files grow a second old, the journal is shipped, sinks are told
 *	round n		those directories again in which something was not ready
 *	the last	after some rounds in which nothing moved: what is not ready is told
 *
 * Always true: a command ends; it waits for the journal and the sinks no longer than
 * their patience without a file moving, and goes on only while files move.
 */
#include <errno.h>
#include <stdatomic.h>

#include "lib/clock.h"
#include "tier/reaper_run.h"

#define SINK_SLICE_MS 500
#define SINK_WAIT_MS 30000 /* without a file moving */
#define SINK_DOWN_FACTOR 4 /* and a sink that is down uses it up faster */
#define IDLE_ROUNDS 4

static void first_round(struct run *run)
{
	const struct reap_request *req = run->req;

	if (req->npaths == 0)
		run_path(run, "");
	for (size_t i = 0; i < req->npaths && !atomic_load(&run->stop); i++)
		run_path(run, req->paths[i]);
	run_flush(run);
	run_wait(run, 0, REAP_NEVER);
}

static struct run_job *take_again(struct run *run)
{
	struct run_job *again;

	lock_take(&run->lock);
	again = run->again;
	run->again = NULL;
	lock_drop(&run->lock);
	return again;
}

static void next_round(struct run *run, struct run_job *job)
{
	struct run_job *next;

	for (; job; job = next) {
		next = job->next;
		if (atomic_load(&run->stop))
			run_job_free(job);
		else
			run_submit(run, job, run_look);
	}
	run_wait(run, 0, REAP_NEVER);
}

static int64_t events_waiting(struct tier *t)
{
	struct catalogue_counts counts;

	return catalogue_counts(t->cat, &counts) < 0 ? 0 : counts.events_waiting;
}

/*
 * While they take anything: a slow one is waited for, one that is down not so long.  What
 * is left of the patience is kept until a file moves.
 */
static void wait_for_sinks(struct run *run)
{
	struct tier *t = run->r->t;
	int64_t left = events_waiting(t);

	while (left > 0 && run->sink_ms > 0 && !atomic_load(&run->stop)) {
		int64_t begun = clock_mono_ms(), now_left;
		struct sink_health health;

		(void)notify_drain(t, SINK_SLICE_MS);
		run_wait(run, 0, 0);
		now_left = events_waiting(t);
		sink_health(t->sink, &health);
		if (now_left < left)
			run->sink_ms = SINK_WAIT_MS;
		else
			run->sink_ms -=
				(clock_mono_ms() - begun) * (health.up ? 1 : SINK_DOWN_FACTOR);
		left = now_left;
	}
}

static void wait_for_journal(struct run *run, int64_t txn)
{
	int r = -ETIMEDOUT;

	while (r == -ETIMEDOUT && run->journal_ms > 0 && !atomic_load(&run->stop)) {
		int64_t begun = clock_mono_ms();

		r = journal_wait(run->r->t, txn, RUN_TELL_MS);
		run_wait(run, 0, 0);
		run->journal_ms -= r < 0 ? clock_mono_ms() - begun : 0;
	}
}

/* Until files are old enough, what was archived is in the store's journal, and the sinks know. */
static void wait_between(struct run *run)
{
	int64_t soon = clock_mono_ms() + RUN_TELL_MS, young, txn;

	lock_take(&run->lock);
	young = run->young_until_ms;
	txn = run->txn;
	lock_drop(&run->lock);
	/* who has it claimed or open just now may be done in a moment */
	run_wait(run, 0, young > soon ? young : soon);
	if (run->req->what == REAP_ARCHIVE)
		return;
	wait_for_journal(run, txn);
	if (run->r->t->sink)
		wait_for_sinks(run);
}

static void run_rounds(struct run *run)
{
	struct run_job *again;
	unsigned idle = 0; /* rounds in which nothing moved */
	uint64_t moves = 0;

	first_round(run);
	while ((again = take_again(run))) {
		/*
		 * moves: no job runs now.  A file may need three rounds in which it does not
		 * move: compared and its row refreshed, then journalled, then released.
		 */
		idle = run->moves == moves ? idle + 1 : 0;
		if (idle == 0) {
			run->journal_ms = run->r->t->conf->store_timeout;
			run->sink_ms = SINK_WAIT_MS;
		}
		run->last = idle >= IDLE_ROUNDS;
		moves = run->moves;
		if (!run->last && !atomic_load(&run->stop))
			wait_between(run);
		next_round(run, again);
	}
}

/* How much there is to do, where that is known without looking for it. */
static uint64_t expected_files(struct tier *t, const struct reap_request *req)
{
	struct reaper_status st;

	if (req->npaths > 0 || req->what == REAP_RESTORE || reaper_status(t, &st) < 0)
		return 0;
	return (req->what != REAP_RELEASE ? st.local_files : 0) +
	       (req->what != REAP_ARCHIVE ? st.archived_files : 0);
}

/* Between start and stop. */
static bool enter(struct reaper *r)
{
	bool may;

	lock_take(&r->lock);
	may = r->started;
	r->n_commands += may;
	lock_drop(&r->lock);
	return may;
}

static void leave(struct reaper *r)
{
	lock_take(&r->lock);
	r->n_commands--;
	cond_broadcast(&r->idle);
	lock_drop(&r->lock);
}

int reaper_run(struct tier *t, const struct reap_request *req)
{
	struct run run = {
		.r = t->reaper,
		.req = req,
		.begun_ns = clock_real_ns(),
		.journal_ms = t->conf->store_timeout,
		.sink_ms = SINK_WAIT_MS,
	};

	if (!enter(t->reaper))
		return -ECANCELED;
	lock_init(&run.lock, LOCK_RANK_LEAF, "command");
	cond_init(&run.moved);
	run.p.files_total = expected_files(t, req);
	run_rounds(&run);
	run.told_ms = 0;
	run_deliver(&run); /* the end is told whatever the time */
	cond_fini(&run.moved);
	lock_fini(&run.lock);
	leave(t->reaper);
	if (atomic_load(&run.stop))
		return -ECANCELED;
	return run.p.files_failed > 0 ? -EIO : 0;
}
