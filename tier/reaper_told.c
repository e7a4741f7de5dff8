/* SPDX-License-Identifier: MIT */
/*
 * What became of each file a command asked for.
 *
 * Always true: a file that failed is reported, once; what is skipped (not complete, open,
 * under a rule, not plain) is counted, but a failure where the user gave the very name;
 * what was not ready is neither until the last round.
 */
#include <errno.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tier/reaper_run.h"

void run_fail(struct run *run, const char *path, const char *reason)
{
	struct failure *f = calloc(1, sizeof(*f));

	if (f) {
		f->path = strdup(path);
		f->reason = strdup(reason);
	}
	lock_take(&run->lock);
	run->p.files_failed++;
	if (f) {
		f->next = run->failures;
		run->failures = f;
	}
	cond_signal(&run->moved);
	lock_drop(&run->lock);
}

void run_fail_node(struct run *run, struct node *node, int r)
{
	AUTO_FREE char *path = NULL;

	if (node_path(run->r->t->tree, node, &path) == 0)
		run_fail(run, path, strerror(-r));
}

void run_moved(struct run *run, uint64_t files, uint64_t bytes)
{
	lock_take(&run->lock);
	run->moves++;
	run->p.files_done += files;
	run->p.bytes_done += files ? bytes : 0;
	lock_drop(&run->lock);
}

static void run_skipped(struct run *run, uint64_t files)
{
	lock_take(&run->lock);
	run->p.files_skipped += files;
	lock_drop(&run->lock);
}

static struct failure *reversed(struct failure *f)
{
	struct failure *first = NULL, *next;

	for (; f; f = next) {
		next = f->next;
		f->next = first;
		first = f;
	}
	return first;
}

void run_deliver(struct run *run)
{
	const struct reap_request *req = run->req;
	int64_t now = clock_mono_ms();
	struct reap_progress p;
	struct failure *f;

	lock_take(&run->lock);
	f = reversed(run->failures);
	run->failures = NULL;
	p = run->p;
	lock_drop(&run->lock);
	while (f) {
		struct failure *next = f->next;

		if (req->failed && f->path && f->reason)
			req->failed(req->arg, f->path, f->reason);
		free(f->path);
		free(f->reason);
		free(f);
		f = next;
	}
	if (!req->progress || now < run->told_ms + RUN_TELL_MS)
		return;
	run->told_ms = now;
	run->callback = req->progress(req->arg, &p);
	if (run->callback)
		atomic_store(&run->stop, true);
}

/* ---- one file ------------------------------------------------------------------ */

struct told_look {
	struct look look;
	struct run_job *job;
};

static int name_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* True the first time. */
static bool report_once(struct run_job *job, const char *name)
{
	char *copy = strdup(name);
	void *found = copy ? tsearch(copy, &job->failed, name_cmp) : NULL;

	if (found && *(char **)found == copy)
		return true;
	free(copy);
	return !found; /* without memory: rather twice than never */
}

static void told_failed(struct run_job *job, const char *name, const char *reason)
{
	AUTO_FREE char *path = NULL;

	if (report_once(job, name) &&
	    node_child_path(job->run->r->t->tree, job->dir, name, &path) == 0)
		run_fail(job->run, path, reason);
}

static void told_skipped(struct run_job *job, const char *name, const char *reason)
{
	if (job->named)
		told_failed(job, name, reason);
	else if (report_once(job, name))
		run_skipped(job->run, 1);
}

static void on_told(struct look *l, enum told told, const char *name, const char *reason,
		    uint64_t bytes, enum told later)
{
	struct run_job *job = ((struct told_look *)l)->job;
	struct run *run = job->run;
	bool drains = run->req->what == REAP_DRAIN;

	switch (told) {
	case TOLD_ARCHIVED:
		/* drained is what is released; a dry run counts each file at one place */
		run_moved(run, !drains || run->req->dry_run, bytes);
		job->later = job->later || (drains && !run->req->dry_run);
		break;
	case TOLD_RELEASED:
		run_moved(run, 1, bytes);
		break;
	case TOLD_SKIPPED:
		told_skipped(job, name, reason);
		break;
	case TOLD_FAILED:
		told_failed(job, name, reason);
		break;
	case TOLD_LATER:
		if (!run->last)
			job->later = true;
		else if (later == TOLD_SKIPPED)
			told_skipped(job, name, reason);
		else
			told_failed(job, name, reason);
		break;
	}
}

/* ---- one directory -------------------------------------------------------------- */

static unsigned what_of(const struct reap_request *req)
{
	unsigned what = req->dry_run ? LOOK_DRY : 0;

	if (req->what == REAP_ARCHIVE || req->what == REAP_DRAIN)
		what |= LOOK_ARCHIVE | LOOK_ANY_ARCHIVE_AGE;
	if (req->what == REAP_RELEASE || req->what == REAP_DRAIN)
		what |= LOOK_RELEASE | LOOK_ANY_RELEASE_AGE;
	return what;
}

static void note_wait(struct run *run, const struct look *l)
{
	int64_t until = clock_mono_ms() + l->young_ms;

	lock_take(&run->lock);
	if (l->txn > run->txn)
		run->txn = l->txn;
	if (l->young_ms > 0 && until > run->young_until_ms)
		run->young_until_ms = until;
	lock_drop(&run->lock);
}

/* A dry run, and names, leave the directory's own schedule alone. */
static int look_owned(struct run_job *job, struct look *l)
{
	struct reaper *r = job->run->r;
	bool whole = !job->names && !job->run->req->dry_run;
	struct reap_dir *e;
	int result;

	e = table_own(r, job->dir, whole);
	if (!e)
		return -ENOMEM;
	if (whole)
		table_clear_changed(r, e);
	l->future = e->future;
	if (job->names)
		result = look_names(l, (const char *const *)job->names, job->n);
	else
		result = look_dir(l);
	table_disown(r, e, whole ? l : NULL, result);
	if (!whole || (result < 0 && result != -ENOENT))
		(void)table_touch(r, job->dir, false);
	return result;
}

void run_look(struct job *base)
{
	struct run_job *job = (struct run_job *)base;
	struct run *run = job->run;
	struct told_look tl = {
		.look = {
			.r = run->r,
			.dir = job->dir,
			.what = what_of(run->req),
			.why = RELEASE_COMMAND,
			.tell = on_told,
			.stop = &run->stop,
			.begun_ns = job->named ? 0 : run->begun_ns,
		},
		.job = job,
	};
	int r;

	job->later = false;
	r = look_owned(job, &tl.look);
	if (r < 0 && r != -ENOENT && r != -ECANCELED)
		run_fail_node(run, job->dir, r);
	note_wait(run, &tl.look);
	run_job_done(job, job->later && !run->last);
}
