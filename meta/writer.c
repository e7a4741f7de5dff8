/* SPDX-License-Identifier: MIT */
/*
 * The writer: one thread, one connection, every write and every checkpoint.
 *
 * Jobs wait in a queue while a transaction commits; the next transaction takes
 * what has gathered.  So a lone job waits for one commit, and a flood shares
 * them.  A transaction ends after GROUP_MAX jobs or GROUP_MS, that nobody waits
 * long for others' work; the rest of what was taken goes first in the next one.
 *
 * Checkpoints are the writer's alone: SQLite up to 3.51.2 may lose commits when
 * another connection's checkpoint races with the start of a new WAL.  When the
 * writer has been idle for a second it moves frames to the database (PASSIVE);
 * when the WAL passes 64 MiB it also waits for readers to leave it (RESTART), so
 * that the next commit begins it anew.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "lib/clock.h"
#include "meta/catalogue_int.h"

#define GROUP_MAX 256
#define GROUP_MS 20
#define IDLE_MS 1000
#define PAGE_BYTES 4096
#define RESTART_PAGES (64 * 1024 * 1024 / PAGE_BYTES)
#define RESTART_WAIT_MS 200
#define BUSY_WAIT_MS 5000

/* Jobs that were taken from the queue, and those of them that ran. */
struct group {
	struct cat_job *head; /* not run yet */
	struct cat_job *jobs[GROUP_MAX];
	int results[GROUP_MAX];
	int n;
};

void catalogue_submit(struct catalogue *c, struct cat_job *job)
{
	job->next = NULL;
	lock_take(&c->lock);
	*c->tail = job;
	c->tail = &job->next;
	cond_signal(&c->work);
	lock_drop(&c->lock);
}

/* ---- one transaction ---- */

static enum sync strictest(const struct cat_job *job)
{
	enum sync sync = SYNC_NORMAL;

	for (int n = 0; job && n < GROUP_MAX; job = job->next, n++)
		if (job->sync == SYNC_FULL)
			sync = SYNC_FULL;
	return sync;
}

/* Returns what becomes of the transaction: 0, or why it must be rolled back. */
static int run_jobs(struct group *g, struct tx *tx)
{
	bool alone = !g->head->next;
	int64_t end_ms = clock_mono_ms() + GROUP_MS;

	while (g->head && g->n < GROUP_MAX) {
		struct cat_job *job = g->head;

		g->head = job->next;
		g->jobs[g->n] = job;
		g->results[g->n++] = tx_run_job(tx, job, alone);
		if (tx->broken < 0)
			return tx->broken;
		if (!db_in_transaction(tx->db))
			return -EIO;
		if (clock_mono_ms() >= end_ms)
			break;
	}
	return 0;
}

static void take_failed(struct group *g)
{
	while (g->head && g->n < GROUP_MAX) {
		g->results[g->n] = 0;
		g->jobs[g->n++] = g->head;
		g->head = g->head->next;
	}
}

static void run_group(struct catalogue *c, struct group *g)
{
	enum sync sync = strictest(g->head);
	uint64_t commits = wal_commits(&c->wal);
	struct tx tx;
	int r;

	g->n = 0;
	r = tx_begin(c, sync, &tx);
	if (r < 0) {
		take_failed(g);
	} else {
		r = run_jobs(g, &tx);
		if (r < 0)
			tx_rollback(&tx);
		else
			r = tx_commit(&tx);
		/* One that wrote nothing synced nothing. */
		if (r == 0 && sync == SYNC_FULL && wal_commits(&c->wal) != commits)
			wal_is_synced(&c->wal, wal_commits(&c->wal));
	}
	for (int i = 0; i < g->n; i++) {
		int result = g->results[i];

		if (r < 0 && result >= 0)
			result = r;
		g->jobs[i]->done(g->jobs[i], result);
	}
}

/* ---- checkpoints ---- */

static int count_pages(void *arg, sqlite3 *handle, const char *name, int pages)
{
	struct catalogue *c = arg;

	(void)handle;
	(void)name;
	c->wal_pages = pages;
	c->passive_due = true;
	wal_committed(&c->wal);
	return SQLITE_OK;
}

static void checkpoint(struct catalogue *c, int mode)
{
	int rc;

	if (catalogue_is_readonly(c))
		return;
	sqlite3_busy_timeout(c->db.handle, RESTART_WAIT_MS);
	rc = sqlite3_wal_checkpoint_v2(c->db.handle, "main", mode, NULL, NULL);
	sqlite3_busy_timeout(c->db.handle, BUSY_WAIT_MS);
	c->passive_due = false;
	if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
		db_error(&c->db, rc, "move the WAL to the database");
	/* A reader that stays, or a full disk: not again for every commit. */
	c->restart_pages = RESTART_PAGES;
	if (rc != SQLITE_OK)
		c->restart_pages += c->wal_pages;
	else if (mode == SQLITE_CHECKPOINT_RESTART)
		c->wal_pages = 0;
}

/* ---- the thread ---- */

/* Waits for jobs; takes all.  False: told to stop and nothing is left. */
static bool take_jobs(struct catalogue *c, struct group *g)
{
	struct cat_job **end = &g->head;
	int64_t idle_at = clock_mono_ms() + IDLE_MS;

	while (*end)
		end = &(*end)->next;
	lock_take(&c->lock);
	while (!g->head && !c->head && !c->stop) {
		if (!c->passive_due) {
			cond_wait(&c->work, &c->lock);
		} else if (!cond_wait_until(&c->work, &c->lock, idle_at) && !c->head && !c->stop) {
			lock_drop(&c->lock);
			checkpoint(c, SQLITE_CHECKPOINT_PASSIVE);
			lock_take(&c->lock);
		}
	}
	*end = c->head;
	c->head = NULL;
	c->tail = &c->head;
	lock_drop(&c->lock);
	return g->head != NULL;
}

static void *writer_main(void *arg)
{
	struct catalogue *c = arg;
	struct group g = { 0 };

	while (take_jobs(c, &g)) {
		run_group(c, &g);
		if (c->wal_pages >= c->restart_pages)
			checkpoint(c, SQLITE_CHECKPOINT_RESTART);
	}
	return NULL;
}

int writer_start(struct catalogue *c)
{
	sigset_t all, old;
	int r;

	c->restart_pages = RESTART_PAGES;
	c->passive_due = true; /* what a killed process left in the WAL */
	sqlite3_wal_hook(c->db.handle, count_pages, c);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&c->thread, NULL, writer_main, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		pthread_setname_np(c->thread, "ebb-writer");
	return r;
}

void writer_stop(struct catalogue *c)
{
	lock_take(&c->lock);
	c->stop = true;
	cond_signal(&c->work);
	lock_drop(&c->lock);
	pthread_join(c->thread, NULL);
}

/* ---- submit and wait ---- */

struct waiting {
	struct cat_job job; /* first */
	int (*run)(struct tx *tx, void *arg);
	void *arg;
	struct lock lock;
	struct cond cond;
	bool done;
	int result;
};

static int waiting_run(struct tx *tx, struct cat_job *job)
{
	struct waiting *w = (struct waiting *)job;

	return w->run(tx, w->arg);
}

static void waiting_done(struct cat_job *job, int result)
{
	struct waiting *w = (struct waiting *)job;

	lock_take(&w->lock);
	w->result = result;
	w->done = true;
	cond_signal(&w->cond);
	lock_drop(&w->lock);
}

int catalogue_write(struct catalogue *c, enum sync sync, int (*run)(struct tx *tx, void *arg),
		    void *arg)
{
	struct waiting w = { .job = { waiting_run, waiting_done, sync, NULL },
			     .run = run,
			     .arg = arg };

	lock_init(&w.lock, LOCK_RANK_LEAF, "catalogue write");
	cond_init(&w.cond);
	catalogue_submit(c, &w.job);
	lock_take(&w.lock);
	while (!w.done)
		cond_wait(&w.cond, &w.lock);
	lock_drop(&w.lock);
	cond_fini(&w.cond);
	lock_fini(&w.lock);
	return w.result;
}
