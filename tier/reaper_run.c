/* SPDX-License-Identifier: MIT */
/*
 * Commands: what was asked for, paths or everything, becomes jobs.
 *
 *	a file		one of the names of its directory; names that follow one another
 *			are one job, and one batch
 *	a directory	a job for itself and for each below it that is in the cache
 *
 * The caller's thread walks and hands out; it never has many more jobs out than there
 * are workers, and delivers what they tell meanwhile.
 */
#include <errno.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tier/reaper_run.h"

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
			int64_t tick = now + RUN_TELL_MS;

			cond_wait_until(&run->moved, &run->lock, until_ms < tick ? until_ms : tick);
		}
		lock_drop(&run->lock);
		run_deliver(run);
	}
}

/* ---- what is asked for ----------------------------------------------------------- */

void run_flush(struct run *run)
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
		run_flush(run);
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
	struct dir_stack stack;
	struct node *dir; /* borrowed */
};

static int push_sub(void *arg, const char *name)
{
	struct walk *w = arg;

	return dir_stack_push_sub(&w->stack, w->run->r->t->tree, w->dir, name);
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
	job = run_job_new(run, dir);
	if (job)
		run_submit(run, job, run_look);
	/* what is below one of those in it that could not be asked for is not looked at */
	if (r < 0 || !job)
		run_fail_node(run, dir, r < 0 ? r : -ENOMEM);
}

/* A directory and all below it that is in the cache. */
static int run_dir(struct run *run, struct node *dir)
{
	struct walk w = { .run = run };

	walk_one(&w, dir);
	while (w.stack.n > 0) {
		struct node *sub = w.stack.v[--w.stack.n];

		if (!atomic_load(&run->stop))
			walk_one(&w, sub);
		node_put(run->r->t->tree, sub);
	}
	free(w.stack.v);
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

void run_path(struct run *run, const char *given)
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
