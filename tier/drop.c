/* SPDX-License-Identifier: MIT */
/*
 * Emptying the trash: the only place where objects are destroyed.
 *
 * Always true: an object is dropped only for a trash row that is due, journalled, told,
 * unread and not in use by a row, and only if the store finds that row's attempt on it.
 * A time that is zero or unknown is never due.  Any error leaves the row for later.
 */
#include "tier/drop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/lock.h"
#include "tier/tier_int.h"

#define DROP_EVERY_MS 5000
#define DROP_PAGE 64
#define WARN_MS 60000

struct drop {
	struct tier *t; /* constant */
	pthread_t thread;
	bool started;
	struct lock lock;
	struct cond wake;
	bool stop; /* protected by lock */
	_Atomic long long warned_ms;
};

int drop_new(struct tier *t, struct drop **ret)
{
	struct drop *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->t = t;
	lock_init(&d->lock, LOCK_RANK_WATCH, "drop");
	cond_init(&d->wake);
	*ret = d;
	return 0;
}

/* ---- one row ------------------------------------------------------------------ */

/* 1: its object may go; 0: not yet; or an error. */
static int may_drop(struct tier *t, const struct trash_row *row)
{
	struct file_row now;
	int r;

	if (row->due_ns <= 0 || row->removed_ns <= 0)
		return 0;
	if (!journal_has(t, row->file.txn) || remote_in_use(t, row->file.attempt))
		return 0;
	r = notify_told(t, row->file.ino);
	if (r != 1)
		return r;
	if (row->file.dir > 0) {
		r = cat_file_get(t->cat, row->file.dir, row->file.name, &now);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && now.attempt == row->file.attempt)
			return 0;
	}
	return 1;
}

static int drop_objects(struct tier *t, const struct file_row *file)
{
	char attempt[STORE_ATTEMPT_MAX];
	char *key;
	int r;

	object_attempt(t, file->attempt, attempt, sizeof(attempt));
	for (unsigned i = 0; i < object_count(file); i++) {
		r = object_key(t, file, i, &key);
		if (r < 0)
			return r;
		r = store_drop_wait(t->store, key, attempt);
		free(key);
		if (r < 0 && r != -ENOENT && r != -ESTALE)
			return r;
	}
	return 0;
}

static int delete_run(struct tx *tx, void *arg)
{
	return tx_trash_delete(tx, *(int64_t *)arg);
}

/* 1 dropped, 0 not yet, or an error. */
static int drop_row(struct tier *t, struct trash_row *row)
{
	int r = may_drop(t, row);

	if (r != 1)
		return r;
	r = drop_objects(t, &row->file);
	if (r == 0)
		r = failpoint(DROP_OBJECT);
	if (r == 0)
		r = catalogue_write(t->cat, SYNC_NORMAL, delete_run, &row->id);
	return r < 0 ? r : 1;
}

/* ---- all that is due ------------------------------------------------------------ */

static bool is_asked(const struct trash_row *row, const int64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] == row->id)
			return true;
	return n == 0;
}

/* Dropped rows of all pages, or the first error. */
static int64_t drop_pages(struct tier *t, int64_t due_before_ns, const int64_t *ids, size_t n)
{
	struct trash_row *rows = calloc(DROP_PAGE, sizeof(*rows));
	int64_t after = 0, dropped = 0;
	int got, r = 0;

	if (!rows)
		return -ENOMEM;
	do {
		got = cat_trash_after(t->cat, after, due_before_ns, rows, DROP_PAGE);
		if (got < 0)
			r = got;
		for (int i = 0; i < got; i++) {
			after = rows[i].id;
			if (r >= 0 && is_asked(&rows[i], ids, n))
				r = drop_row(t, &rows[i]);
			dropped += r == 1;
			trash_row_fini(&rows[i]);
		}
	} while (got > 0 && r >= 0);
	free(rows);
	return r < 0 ? r : dropped;
}

int64_t drop_now(struct tier *t, const int64_t *ids, size_t n)
{
	if (!volume_ok(t))
		return -EAGAIN;
	return drop_pages(t, 0, ids, n);
}

static void *drop_main(void *arg)
{
	struct drop *d = arg;
	int64_t r, until;
	bool stop;

	do {
		r = volume_ok(d->t) ? drop_pages(d->t, clock_real_ns(), NULL, 0) : 0;
		if (r < 0 && log_ratelimit(&d->warned_ms, WARN_MS))
			log_warning("cannot drop objects of removed files: %s: tried again later",
				    strerror((int)-r));
		lock_take(&d->lock);
		until = clock_mono_ms() + DROP_EVERY_MS;
		while (!d->stop && cond_wait_until(&d->wake, &d->lock, until))
			;
		stop = d->stop;
		lock_drop(&d->lock);
	} while (!stop);
	return NULL;
}

int drop_start(struct drop *d)
{
	int r = pthread_create(&d->thread, NULL, drop_main, d);

	d->started = r == 0;
	return -r;
}

void drop_stop(struct drop *d)
{
	if (!d->started)
		return;
	lock_take(&d->lock);
	d->stop = true;
	cond_signal(&d->wake);
	lock_drop(&d->lock);
	pthread_join(d->thread, NULL);
	d->started = false;
}

void drop_free(struct drop *d)
{
	if (!d)
		return;
	cond_fini(&d->wake);
	lock_fini(&d->lock);
	free(d);
}
