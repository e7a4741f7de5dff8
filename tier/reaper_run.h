/* SPDX-License-Identifier: MIT */
/*
 * A command from inside: reaper_run.c, reaper_rounds.c, reaper_told.c, reaper_restore.c.
 *
 *	paths -> a job a directory (or for names of one) -> workers look at it ->
 *	told of each file -> what may come later: another round
 *
 * One thread, the caller's, walks, waits, and calls back; workers only tell.
 */
#ifndef EBB_TIER_REAPER_RUN_H
#define EBB_TIER_REAPER_RUN_H

#include "tier/reaper_int.h"

#define RUN_TELL_MS 200 /* between two reports of progress */

struct run;

struct run_job {
	struct job job;
	struct run *run;  /* borrowed */
	struct node *dir; /* counted */
	char **names;	  /* owned, each too; NULL: all that is in it */
	size_t n, room;
	bool named;	      /* the user gave these names: what is skipped has failed */
	bool later;	      /* something in it may still come */
	void *failed;	      /* owned tsearch tree of names that were reported */
	struct run_job *next; /* in run.again */
};

struct failure {
	char *path;   /* owned */
	char *reason; /* owned */
	struct failure *next;
};

struct run {
	/* constant while jobs run */
	struct reaper *r;
	const struct reap_request *req;
	int64_t begun_ns;
	bool last; /* the last round: what is not there now does not come */
	_Atomic bool stop;
	int callback; /* what progress() said; the caller's thread alone */
	int64_t told_ms;
	int64_t journal_ms, sink_ms; /* how long it still waits for them without a move */
	struct run_job *pending; /* collects names of one directory; the caller's thread alone */

	/* protected by lock */
	struct lock lock; /* LOCK_RANK_LEAF */
	struct cond moved;
	unsigned n_jobs;
	struct reap_progress p;
	uint64_t moves; /* files archived, released, restored: is there progress? */
	struct failure *failures;
	struct run_job *again;
	int64_t young_until_ms;
	int64_t txn;
};

/* reaper_run.c: the caller's thread.  Waits while enough jobs run; frees or keeps the job. */
void run_submit(struct run *run, struct run_job *job, void (*work)(struct job *job));
struct run_job *run_job_new(struct run *run, struct node *dir);
void run_job_free(struct run_job *job);
int run_job_name(struct run_job *job, const char *name);
/* A job's end; again: in another round. */
void run_job_done(struct run_job *job, bool again);
/* Deliver what was told, until there are at most this many jobs or this time. */
void run_wait(struct run *run, unsigned most_jobs, int64_t until_ms);

void run_path(struct run *run, const char *given); /* jobs for a path; "" all */
void run_flush(struct run *run);		   /* those that wait for more names */

/* reaper_told.c: any thread. */
void run_fail(struct run *run, const char *path, const char *reason);
void run_fail_node(struct run *run, struct node *node, int r);
void run_moved(struct run *run, uint64_t files, uint64_t bytes);
void run_look(struct job *job);	   /* archive, release, drain of a directory or names */
void run_deliver(struct run *run); /* the caller's thread */

/* reaper_restore.c */
int run_restore_dir(struct run *run, struct node *dir);
int run_restore_name(struct run *run, struct node *dir, const char *name);

#endif
