/* SPDX-License-Identifier: MIT */
/*
 * Emptying the trash: the only place where objects are destroyed.
 *
 *	trash row --due, journalled, told, unread, unused: condemn, one commit--> orphan
 *	  --that journalled, too; drop: only if the store finds its attempt on the object--> row deleted
 *
 * Always true: what is condemned cannot come back, so that nothing is dropped which
 * somebody has just brought back from the trash; nor has it come back on a node that was made
 * anew from the journal, whose fence a former owner meets there before it drops anything.
 * A time that is zero or unknown is never due.  Any error leaves the row for later.
 *
 * What is condemned comes behind all rows that were due as early: it is dropped when a pass over
 * them begins anew, at the end or once so much waits for the journal.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/lock.h"
#include "tier/drop_int.h"
#include "tier/pack.h"

#define DROP_EVERY_MS 5000
#define CONDEMNED_MS 1000 /* what was condemned is journalled by then */
#define ROUND_ROWS 4096	  /* looked at, before packs have their turn */
#define WARN_MS 60000
/*
 * Rows that are condemned and wait for the journal: each is some 600 bytes of it, which in a full store
 * come from the room that is kept.
 */
#define WAITING_MAX 16384

struct drop {
	struct tier *t; /* constant */
	pthread_t thread;
	bool started;
	struct lock lock;
	struct cond wake;
	bool stop; /* protected by lock */
	_Atomic long long warned_ms;
	/* the thread's */
	struct trash_place place; /* where the next round begins */
	int64_t waiting; /* rows before it that wait for the journal of their condemnation */
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

/* ---- rounds ------------------------------------------------------------------- */

/*
 * Rows that are due at due_ns, from *place on, which moves along: until all were looked at
 * (*place is the beginning again), or `most` of them, or one fails, which is returned.
 */
static int drop_pages(struct tier *t, struct trash_place *place, int64_t due_ns, const int64_t *ids,
		      size_t n, int64_t most, struct drop_result *ret)
{
	struct page *p = calloc(1, sizeof(*p));
	int64_t looked = 0;
	int r;

	if (!p)
		return -ENOMEM;
	do {
		p->n = cat_trash_due(t->cat, place, due_ns, p->row, DROP_PAGE);
		if (p->n <= 0) {
			r = p->n;
			*place = (struct trash_place){ 0 };
			break;
		}
		*place = (struct trash_place){ p->row[p->n - 1].due_ns, p->row[p->n - 1].id };
		looked += p->n;
		r = drop_page(t, p, ids, n, most == INT64_MAX, ret);
		for (int i = 0; i < p->n; i++)
			trash_row_fini(&p->row[i]);
	} while (r >= 0 && looked < most);
	free(p);
	return r;
}

int64_t drop_now(struct tier *t, const int64_t *ids, size_t n)
{
	struct trash_place place = { 0 };
	struct drop_result done = { 0 };
	int r;

	if (!volume_ok(t))
		return -EAGAIN;
	r = drop_pages(t, &place, INT64_MAX, ids, n, INT64_MAX, &done);
	return r < 0 ? r : done.dropped;
}

/* A round: of so many rows, that a trash of which nothing may be dropped costs no more. */
static int drop_round(struct drop *d, struct drop_result *ret)
{
	return volume_ok(d->t)
		       ? drop_pages(d->t, &d->place, clock_real_ns(), NULL, 0, ROUND_ROWS, ret)
		       : 0;
}

/* How long to rest after a round. */
static int64_t pause_after(struct drop *d, const struct drop_result *done)
{
	d->waiting += done->waiting;
	if (d->place.id > 0 && d->waiting < WAITING_MAX)
		return done->dropped > 0 || done->condemned > 0 ? 0 : DROP_EVERY_MS;
	if (d->waiting < WAITING_MAX) {
		d->waiting = 0;
		return done->condemned > 0 ? CONDEMNED_MS : DROP_EVERY_MS;
	}
	d->waiting = 0;
	d->place = (struct trash_place){ 0 };
	return journal_wait(d->t, done->txn, CONDEMNED_MS) == 0 ? 0 : DROP_EVERY_MS;
}

static void *drop_main(void *arg)
{
	struct drop *d = arg;
	int64_t r, pause_ms, until;
	bool stop;

	do {
		struct drop_result done = { 0 };

		r = drop_round(d, &done);
		pause_ms = pause_after(d, &done);
		if (r >= 0 && volume_ok(d->t))
			r = packs_tidy(d->t);
		if (r < 0 && log_ratelimit(&d->warned_ms, WARN_MS))
			log_warning("cannot drop objects of removed files: %s: tried again later",
				    strerror((int)-r));
		lock_take(&d->lock);
		until = clock_mono_ms() + pause_ms;
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
