/* SPDX-License-Identifier: MIT */
/*
 * ebbctl restore: of one file, or of all rows below a directory.
 *
 * Rows are read a page at a time; a page is a job, so that many files of one directory
 * are fetched at the same time.  What is local already is passed over.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "tier/reaper_run.h"

#define PAGE 32

static const char *reason_of(int r)
{
	switch (r) {
	case -ENOSPC:
		return "there is no room for it in the cache";
	case -EIO:
		return "its bytes could not be read from the store";
	default:
		return strerror(-r);
	}
}

static int restore_one(struct run_job *job, const char *name)
{
	struct run *run = job->run;
	struct tier *t = run->r->t;
	struct state_of look;
	struct node *node;
	int r;

	r = state_look(t, job->dir, name, &look);
	if (r < 0 || look.state != STATE_RELEASED || look.is_dir)
		return r;
	if (!run->req->dry_run) {
		r = node_get(t->tree, job->dir, name, false, &node);
		if (r < 0)
			return r;
		r = restore_path(t, node);
		node_put(t->tree, node);
		if (r < 0)
			return r == -ENOENT ? 0 : r; /* it was removed meanwhile */
	}
	run_moved(run, 1, look.row.attr.size);
	return 0;
}

static void restore_names(struct job *base)
{
	struct run_job *job = (struct run_job *)base;
	struct run *run = job->run;

	for (size_t i = 0; i < job->n && !atomic_load(&run->stop); i++) {
		AUTO_FREE char *path = NULL;
		int r = restore_one(job, job->names[i]);

		if (r < 0 && node_child_path(run->r->t->tree, job->dir, job->names[i], &path) == 0)
			run_fail(run, path, reason_of(r));
	}
	run_job_done(job, false);
}

int run_restore_name(struct run *run, struct node *dir, const char *name)
{
	struct run_job *job = run_job_new(run, dir);
	int r = job ? run_job_name(job, name) : -ENOMEM;

	if (r < 0)
		run_job_free(job);
	else
		run_submit(run, job, restore_names);
	return r;
}

static int submit_page(struct run *run, struct node *dir, const struct file_row *rows, int n)
{
	struct run_job *job = run_job_new(run, dir);
	int r = job ? 0 : -ENOMEM;

	for (int i = 0; i < n && r == 0; i++)
		r = run_job_name(job, rows[i].name);
	if (r < 0)
		run_job_free(job);
	else
		run_submit(run, job, restore_names);
	return r;
}

static int restore_files(struct run *run, struct node *dir, dirid_t id)
{
	AUTO_FREE struct file_row *rows = calloc(PAGE, sizeof(*rows));
	char after[ROW_NAME_MAX + 1] = "";
	int n, r = 0;

	if (!rows)
		return -ENOMEM;
	do {
		n = cat_files_after(run->r->t->cat, id, after, rows, PAGE);
		if (n <= 0)
			return n;
		strcpy(after, rows[n - 1].name);
		r = submit_page(run, dir, rows, n);
	} while (r == 0 && n == PAGE && !atomic_load(&run->stop));
	return r;
}

/* Depth first, a page of one directory's rows in memory at each level. */
static int restore_dirs(struct run *run, struct node *dir, dirid_t id)
{
	AUTO_FREE struct dir_row *rows = calloc(PAGE, sizeof(*rows));
	char after[ROW_NAME_MAX + 1] = "";
	int n, r = 0;

	if (!rows)
		return -ENOMEM;
	do {
		n = cat_dirs_after(run->r->t->cat, id, after, rows, PAGE);
		if (n < 0)
			return n;
		for (int i = 0; i < n && r == 0; i++) {
			struct node *sub;

			strcpy(after, rows[i].name);
			r = node_get(run->r->t->tree, dir, rows[i].name, true, &sub);
			if (r < 0)
				break;
			r = run_restore_dir(run, sub);
			node_put(run->r->t->tree, sub);
		}
	} while (r == 0 && n == PAGE && !atomic_load(&run->stop));
	return r;
}

int run_restore_dir(struct run *run, struct node *dir)
{
	dirid_t id;
	int r;

	r = state_dirid(run->r->t, dir, &id);
	if (r < 0 || id == 0)
		return r;
	r = restore_files(run, dir, id);
	return r < 0 ? r : restore_dirs(run, dir, id);
}
