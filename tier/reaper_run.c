/* SPDX-License-Identifier: MIT */
/*
 * Commands: archive, release, restore, drain, of paths or of everything.
 *
 *	round 1		walk; each directory is looked at
 *	between		files grow a second old, the journal is shipped, sinks are told
 *	round n		those directories again in which something was not ready
 *	the last	after a round in which nothing moved: what is not ready is told
 *
 * Always true: a command ends; it waits for the store, the journal and the sinks at most
 * as long as their time-outs between two rounds, and goes on only while files move.
 */
#include <errno.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tier/reaper_run.h"

#define TELL_MS 200
#define SINK_SLICE_MS 2000
#define SINK_WAIT_MS 30000 /* without a file moving */
#define NAMES_MOST 512

/* ---- jobs ---------------------------------------------------------------------- */

struct run_job *run_job_new(struct run *run, struct node *dir)
{
	struct run_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->run = run;
	job->dir = node_ref(dir);
	return job;
}

void run_job_free(struct run_job *job)
{
	if (!job)
		return;
	for (size_t i = 0; i < job->n; i++)
		free(job->names[i]);
	free(job->names);
	tdestroy(job->failed, free);
	node_put(job->run->r->t->tree, job->dir);
	free(job);
}

int run_job_name(struct run_job *job, const char *name)
{
	char *copy = strdup(name);

	if (copy && job->n == job->room) {
		size_t room = job->room ? 2 * job->room : 16;
		char **names = reallocarray(job->names, room, sizeof(*names));

		if (!names) {
			free(copy);
			return -ENOMEM;
		}
		job->names = names;
		job->room = room;
	}
	if (!copy)
		return -ENOMEM;
	job->names[job->n++] = copy;
	return 0;
}

void run_job_done(struct run_job *job, bool again)
{
	struct run *run = job->run;

	if (!again)
		run_job_free(job);
	lock_take(&run->lock);
	if (again) {
		job->next = run->again;
		run->again = job;
	}
	run->n_jobs--;
	cond_signal(&run->moved);
	lock_drop(&run->lock);
}

void run_submit(struct run *run, struct run_job *job, void (*work)(struct job *job))
{
	run_wait(run, 2 * (unsigned)run->r->t->conf->archive_jobs - 1, REAP_NEVER);
	job->job.run = work;
	lock_take(&run->lock);
	run->n_jobs++;
	lock_drop(&run->lock);
	pool_submit(run->r->commands, &job->job);
}

void run_wait(struct run *run, unsigned most_jobs, int64_t until_ms)
{
	bool enough = false;

	while (!enough) {
		int64_t now = clock_mono_ms();

		if (atomic_load(&run->r->stopping))
			atomic_store(&run->stop, true);
		lock_take(&run->lock);
		enough = run->n_jobs <= most_jobs &&
			 (until_ms == REAP_NEVER || now >= until_ms || atomic_load(&run->stop));
		if (!enough && !run->failures) {
			int64_t tick = now + TELL_MS;

			cond_wait_until(&run->moved, &run->lock, until_ms < tick ? until_ms : tick);
		}
		lock_drop(&run->lock);
		run_deliver(run);
	}
}

/* ---- what is asked for ----------------------------------------------------------- */

static void flush_pending(struct run *run)
{
	struct run_job *job = run->pending;

	run->pending = NULL;
	if (job)
		run_submit(run, job, run_look);
}

/* Names given one by one: those of one directory that follow one another are one batch. */
static int add_name(struct run *run, struct node *parent, const char *name)
{
	if (run->pending && (run->pending->dir != parent || run->pending->n >= NAMES_MOST))
		flush_pending(run);
	if (!run->pending) {
		run->pending = run_job_new(run, parent);
		if (!run->pending)
			return -ENOMEM;
		run->pending->named = true;
	}
	return run_job_name(run->pending, name);
}

struct walk {
	struct run *run;
	struct node **stack; /* owned, counted */
	size_t n, room;
	struct node *dir; /* borrowed */
};

static int push_sub(void *arg, const char *name)
{
	struct walk *w = arg;
	struct node *sub;
	int r;

	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct node **stack = reallocarray(w->stack, room, sizeof(*stack));

		if (!stack)
			return -ENOMEM;
		w->stack = stack;
		w->room = room;
	}
	r = node_get(w->run->r->t->tree, w->dir, name, true, &sub);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	w->stack[w->n++] = sub;
	return 0;
}

static void walk_one(struct walk *w, struct node *dir)
{
	struct run *run = w->run;
	struct run_job *job;
	uint64_t others;
	int r;

	w->dir = dir;
	r = scan_dir(run->r->t, dir, push_sub, w, &others);
	if (r == -ENOENT) /* not in the cache: nothing to archive or release */
		return;
	job = r < 0 ? NULL : run_job_new(run, dir);
	if (job)
		run_submit(run, job, run_look);
	else
		run_fail_node(run, dir, r < 0 ? r : -ENOMEM);
}

/* A directory and all below it that is in the cache. */
static int run_dir(struct run *run, struct node *dir)
{
	struct walk w = { .run = run };

	walk_one(&w, dir);
	while (w.n > 0) {
		struct node *sub = w.stack[--w.n];

		if (!atomic_load(&run->stop))
			walk_one(&w, sub);
		node_put(run->r->t->tree, sub);
	}
	free(w.stack);
	return 0;
}

static bool path_is_clean(const char *path)
{
	for (const char *p = path; *p; p += *p == '/') {
		size_t n = strcspn(p, "/");

		if (n == 0 || n > ROW_NAME_MAX || (n == 1 && p[0] == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
		if (p[0] == '/' && p[1] == '\0')
			return false;
	}
	return true;
}

static int run_in(struct run *run, struct node *parent, const char *name)
{
	bool restores = run->req->what == REAP_RESTORE;
	struct tier *t = run->r->t;
	struct state_of look;
	struct node *dir;
	int r;

	r = state_look(t, parent, name, &look);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	if (!look.is_dir)
		return restores ? run_restore_name(run, parent, name) : add_name(run, parent, name);
	r = node_get(t->tree, parent, name, true, &dir);
	if (r < 0)
		return r;
	r = restores ? run_restore_dir(run, dir) : run_dir(run, dir);
	node_put(t->tree, dir);
	return r;
}

static int run_clean_path(struct run *run, char *path)
{
	struct tier *t = run->r->t;
	char *slash = strrchr(path, '/');
	struct node *parent;
	int r;

	if (!*path)
		return run->req->what == REAP_RESTORE ? run_restore_dir(run, tree_root(t->tree))
						      : run_dir(run, tree_root(t->tree));
	if (!path_is_clean(path))
		return -EINVAL;
	if (slash)
		*slash = '\0';
	r = node_walk(t->tree, slash ? path : "", true, &parent);
	if (r < 0)
		return r;
	r = run_in(run, parent, slash ? slash + 1 : path);
	node_put(t->tree, parent);
	return r;
}

static void run_path(struct run *run, const char *given)
{
	const char *from = given;
	AUTO_FREE char *path = NULL;
	size_t len;
	int r = -ENOMEM;

	while (from[0] == '/' || (from[0] == '.' && (from[1] == '/' || from[1] == '\0')))
		from++;
	path = strdup(from);
	if (path) {
		for (len = strlen(path); len > 0 && path[len - 1] == '/'; len--)
			path[len - 1] = '\0';
		r = run_clean_path(run, path);
	}
	if (r < 0)
		run_fail(run, given, strerror(-r));
}

/* ---- rounds ---------------------------------------------------------------------- */

static void first_round(struct run *run)
{
	const struct reap_request *req = run->req;

	if (req->npaths == 0)
		run_path(run, "");
	for (size_t i = 0; i < req->npaths && !atomic_load(&run->stop); i++)
		run_path(run, req->paths[i]);
	flush_pending(run);
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

#define IDLE_ROUNDS 4

static int64_t events_waiting(struct tier *t)
{
	struct catalogue_counts counts;

	return catalogue_counts(t->cat, &counts) < 0 ? 0 : counts.events_waiting;
}

/* While they take anything: a slow sink is waited for, one that is down as long as it takes to say so. */
static void wait_for_sinks(struct run *run)
{
	struct tier *t = run->r->t;
	int64_t left = events_waiting(t), until = clock_mono_ms() + t->conf->es_timeout;

	while (left > 0 && clock_mono_ms() < until && !atomic_load(&run->stop)) {
		int64_t now_left;

		(void)notify_drain(t, SINK_SLICE_MS);
		run_wait(run, 0, 0);
		now_left = events_waiting(t);
		if (now_left < left)
			until = clock_mono_ms() + t->conf->es_timeout;
		left = now_left;
	}
}

static void wait_for_journal(struct run *run, int64_t txn)
{
	struct tier *t = run->r->t;
	int64_t until = clock_mono_ms() + t->conf->store_timeout;
	int r = -ETIMEDOUT;

	while (r == -ETIMEDOUT && clock_mono_ms() < until && !atomic_load(&run->stop)) {
		r = journal_wait(t, txn, TELL_MS);
		run_wait(run, 0, 0);
	}
}

/* Until files are old enough, what was archived is in the store's journal, and the sinks know. */
static void wait_between(struct run *run)
{
	int64_t young, txn;

	lock_take(&run->lock);
	young = run->young_until_ms;
	txn = run->txn;
	lock_drop(&run->lock);
	run_wait(run, 0, young);
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
