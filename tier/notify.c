/* SPDX-License-Identifier: MIT */
/*
 * The sink's thread.
 *
 *	waiting --sent, done--> deleted
 *	  ^  |--busy----------> waiting, later (the whole sink backs off)
 *	  |  |--no document---> waiting, later; after MISSING_TRIES parked as missing,
 *	  |  |			asked again every MISSING_AGAIN_MS
 *	  |  +--refused-------> parked as poisoned
 *	  +-cannot be looked up: waiting, later, with the reason; the others go on
 *
 * Always true: an event is deleted only after the sink said it was taken, or after
 * it was found to be superseded: what is sent is what is true when it is sent, so a
 * repeated or late event says nothing wrong.  No two events of one file are in flight.
 */
#include "tier/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/lock.h"
#include "lib/text.h"
#include "tier/notify_int.h"

#define IDLE_MS 1000
#define WARN_MS 60000
#define MISSING_TRIES 3
#define MISSING_AGAIN_MS 600000
#define SCAN_PAGE 256
#define PUT_OFF_LEAST_MS 1000
#define PUT_OFF_MOST_MS 600000

static const int64_t missing_wait_ms[MISSING_TRIES] = { 1000, 5000, 30000 };

struct notify {
	struct tier *t; /* constant */
	pthread_t thread;
	bool started;
	struct lock lock;
	struct cond wake;  /* the thread */
	struct cond moved; /* waiters */
	bool kicked;	   /* protected by lock */
	bool stop;	   /* protected by lock */
	_Atomic long long warned_ms, put_off_ms;
	int64_t parked_scan_ms; /* the thread's: when parked ones are looked at next */
};

int notify_new(struct tier *t, struct notify **ret)
{
	struct notify *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->t = t;
	lock_init(&n->lock, LOCK_RANK_NOTIFY, "notify");
	cond_init(&n->wake);
	cond_init(&n->moved);
	*ret = n;
	return 0;
}

/* ---- one batch -------------------------------------------------------------- */

struct batch {
	struct tier *t;
	size_t n;
	struct event_row *ev;	/* [n] owned */
	struct sink_item *item; /* [n]; path NULL: nothing to send */
	char **text;		/* [2n] owned: path and url */
	bool *is_put_off;	/* [n] owned: it could not be looked up */
	char **why;		/* [n] owned, each may be NULL: why not */
	int64_t now_ns;
};

/* Without these nothing can be looked up; whatever else fails is this one event's. */
static bool is_of_all(struct tier *t, int r)
{
	return r == -ENOMEM || catalogue_is_readonly(t->cat);
}

/* The others of the batch go on; why is what status shows. */
static void put_off(struct notify *n, struct batch *b, size_t i, int r)
{
	const struct event_row *ev = &b->ev[i];
	const char *what = ev->path ? ev->path : ev->name;
	AUTO_FREE char *shown = text_printable(what, strlen(what));

	b->is_put_off[i] = true;
	if (asprintf(&b->why[i], "cannot look up '%s': %s", shown ? shown : "?", strerror(-r)) < 0)
		b->why[i] = NULL;
	if (log_ratelimit(&n->put_off_ms, WARN_MS))
		log_warning("cannot tell %s of '%s': cannot look it up: %s: tried again later",
			    sink_name(n->t->sink), shown ? shown : "?", strerror(-r));
}

/* 0: each is resolved, or put off. */
static int look_up_all(struct notify *n, struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		int r = notify_look_up(b->t, &b->ev[i], &b->item[i], &b->text[2 * i],
				       &b->text[2 * i + 1]);

		if (r < 0 && is_of_all(b->t, r))
			return r;
		if (r < 0)
			put_off(n, b, i, r);
	}
	return 0;
}

/*
 * It waits, so its file counts as not told: for as long again as it has waited.  tries are
 * those of the sink, which was not asked.
 */
static int record_put_off(struct tx *tx, struct event_row *ev, int64_t now_ns)
{
	int64_t wait_ms = (now_ns - ev->first_ns) / 1000000;

	if (wait_ms < PUT_OFF_LEAST_MS)
		wait_ms = PUT_OFF_LEAST_MS;
	if (wait_ms > PUT_OFF_MOST_MS)
		wait_ms = PUT_OFF_MOST_MS;
	ev->next_ns = now_ns + wait_ms * 1000000;
	return tx_event_update(tx, ev);
}

static int record_missing(struct tx *tx, struct event_row *ev, int64_t now_ns)
{
	if (ev->tries < MISSING_TRIES) {
		ev->next_ns = now_ns + missing_wait_ms[ev->tries] * 1000000;
	} else {
		ev->parked = EVENT_MISSING;
		ev->next_ns = now_ns + MISSING_AGAIN_MS * 1000000LL;
	}
	ev->tries++;
	return tx_event_update(tx, ev);
}

static int record_one(struct batch *b, struct tx *tx, size_t i)
{
	struct event_row *ev = &b->ev[i];
	struct sink_item *item = &b->item[i];
	char *kept = ev->error;
	int r;

	if (b->is_put_off[i]) {
		ev->error = b->why[i];
		r = record_put_off(tx, ev, b->now_ns);
		ev->error = kept;
		return r;
	}
	if (!item->path || item->verdict == SINK_DONE)
		return tx_event_delete(tx, ev->id);
	if (item->verdict == SINK_RETRY)
		return 0; /* the sink's back-off is the wait */
	ev->error = item->error;
	if (item->verdict == SINK_MISSING) {
		r = record_missing(tx, ev, b->now_ns);
	} else {
		ev->parked = EVENT_POISONED;
		r = tx_event_update(tx, ev);
	}
	ev->error = kept;
	return r;
}

static int record_run(struct tx *tx, void *arg)
{
	struct batch *b = arg;
	int r = 0;

	for (size_t i = 0; i < b->n && r == 0; i++)
		r = record_one(b, tx, i);
	return r;
}

/* Send what is to be sent: the items that are not superseded, in one array. */
static int send_items(struct batch *b)
{
	struct sink_item *send = calloc(b->n, sizeof(*send));
	size_t n = 0;
	int r = 0;

	if (!send)
		return -ENOMEM;
	for (size_t i = 0; i < b->n; i++)
		if (b->item[i].path)
			send[n++] = b->item[i];
	if (n > 0)
		r = sink_send(b->t->sink, send, n);
	n = 0;
	for (size_t i = 0; i < b->n; i++)
		if (b->item[i].path)
			b->item[i] = send[n++];
	free(send);
	return r;
}

static int send_batch(struct notify *n, struct batch *b)
{
	int sent, r;

	r = look_up_all(n, b);
	if (r == 0)
		r = failpoint(SINK_SEND);
	if (r < 0)
		return r;
	sent = send_items(b);
	r = failpoint(SINK_ACK);
	if (r == 0)
		r = catalogue_write(b->t->cat, SYNC_NORMAL, record_run, b);
	if (r == 0)
		r = failpoint(SINK_DONE);
	return r < 0 ? r : sent;
}

static int batch_init(struct batch *b, struct tier *t, size_t max)
{
	*b = (struct batch){ .t = t, .now_ns = clock_real_ns() };
	b->ev = calloc(max, sizeof(*b->ev));
	b->item = calloc(max, sizeof(*b->item));
	b->text = calloc(2 * max, sizeof(*b->text));
	b->is_put_off = calloc(max, sizeof(*b->is_put_off));
	b->why = calloc(max, sizeof(*b->why));
	return b->ev && b->item && b->text && b->is_put_off && b->why ? 0 : -ENOMEM;
}

static void batch_fini(struct batch *b)
{
	for (size_t i = 0; b->ev && i < b->n; i++)
		event_row_fini(&b->ev[i]);
	for (size_t i = 0; b->text && i < 2 * b->n; i++)
		free(b->text[i]);
	for (size_t i = 0; b->why && i < b->n; i++)
		free(b->why[i]);
	free(b->why);
	free(b->is_put_off);
	free(b->ev);
	free(b->item);
	free(b->text);
}

/* 1: something was sent; 0: nothing is due; or an error. */
static int round_due(struct notify *n)
{
	size_t max = n->t->conf->es_bulk;
	struct batch b;
	int r;

	r = batch_init(&b, n->t, max);
	if (r == 0)
		r = cat_events_due(n->t->cat, 0, b.now_ns, b.ev, (int)max);
	if (r > 0) {
		b.n = (size_t)r;
		r = send_batch(n, &b);
		r = r < 0 ? r : 1;
	}
	batch_fini(&b);
	return r;
}

/* ---- documents that were missing: are they there now? ------------------------- */

struct unpark {
	struct event_row *ev; /* borrowed */
	int n;
	int64_t now_ns;
};

static int unpark_run(struct tx *tx, void *arg)
{
	struct unpark *u = arg;
	int r = 0;

	for (int i = 0; i < u->n && r == 0; i++) {
		struct event_row *ev = &u->ev[i];

		if (ev->parked != EVENT_MISSING || ev->next_ns > u->now_ns)
			continue;
		ev->parked = EVENT_WAITING; /* tries stays: one more answer parks it again */
		r = tx_event_update(tx, ev);
	}
	return r;
}

static int unpark_page(struct notify *n, int64_t *after)
{
	struct event_row ev[SCAN_PAGE];
	struct unpark u = { .ev = ev, .now_ns = clock_real_ns() };
	int r;

	u.n = cat_events_after(n->t->cat, 0, *after, ev, SCAN_PAGE);
	if (u.n <= 0)
		return u.n;
	*after = ev[u.n - 1].id;
	r = catalogue_write(n->t->cat, SYNC_NORMAL, unpark_run, &u);
	for (int i = 0; i < u.n; i++)
		event_row_fini(&ev[i]);
	return r < 0 ? r : u.n;
}

static void unpark_due(struct notify *n)
{
	int64_t after = 0;

	if (clock_mono_ms() < n->parked_scan_ms)
		return;
	n->parked_scan_ms = clock_mono_ms() + MISSING_AGAIN_MS;
	while (unpark_page(n, &after) > 0)
		;
}

/* ---- the thread --------------------------------------------------------------- */

static void complain(struct notify *n, int r)
{
	struct sink_health h;

	if (r == -ECANCELED || !log_ratelimit(&n->warned_ms, WARN_MS))
		return;
	sink_health(n->t->sink, &h);
	log_warning("cannot tell %s: %s", sink_name(n->t->sink),
		    h.error[0] ? h.error : strerror(-r));
}

static bool rest(struct notify *n, int r)
{
	int64_t until;
	bool stop;

	if (r < 0)
		complain(n, r);
	lock_take(&n->lock);
	cond_broadcast(&n->moved);
	if (r != 1) {
		until = clock_mono_ms() + (r < 0 ? sink_backoff_ms(n->t->sink) : IDLE_MS);
		while (!n->stop && !(n->kicked && r == 0) && clock_mono_ms() < until)
			cond_wait_until(&n->wake, &n->lock, until);
		n->kicked = false;
	}
	stop = n->stop;
	lock_drop(&n->lock);
	return !stop;
}

static void *notify_main(void *arg)
{
	struct notify *n = arg;
	int r;

	do {
		unpark_due(n);
		r = round_due(n);
	} while (rest(n, r));
	return NULL;
}

int notify_start(struct notify *n)
{
	int r;

	if (!n->t->sink)
		return 0;
	n->parked_scan_ms = 0; /* what was parked before the restart is asked again */
	r = pthread_create(&n->thread, NULL, notify_main, n);
	n->started = r == 0;
	return -r;
}

void notify_stop(struct notify *n)
{
	if (!n->started)
		return;
	sink_stop(n->t->sink);
	lock_take(&n->lock);
	n->stop = true;
	cond_broadcast(&n->wake);
	cond_broadcast(&n->moved);
	lock_drop(&n->lock);
	pthread_join(n->thread, NULL);
	n->started = false;
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	cond_fini(&n->moved);
	cond_fini(&n->wake);
	lock_fini(&n->lock);
	free(n);
}

void notify_kick(struct tier *t)
{
	struct notify *n = t->notify;

	if (!n->started)
		return;
	lock_take(&n->lock);
	n->kicked = true;
	cond_signal(&n->wake);
	lock_drop(&n->lock);
}

int notify_told(struct tier *t, uint64_t ino)
{
	int r;

	/* Without a sink now, what was queued for one is waited for no more. */
	if (!t->sink)
		return 1;
	r = cat_event_untold(t->cat, ino, clock_real_ns() - t->conf->es_hold * 1000000);
	return r < 0 ? r : !r;
}

int notify_told_until(struct tier *t, int64_t real_ns)
{
	AUTO_FREE char *error = NULL;
	int64_t oldest_ns;
	int r;

	if (!t->sink)
		return 1;
	r = cat_event_oldest(t->cat, 0, &oldest_ns, &error);
	if (r < 0)
		return r == -ENOENT ? 1 : r;
	return oldest_ns > real_ns;
}

int notify_drain(struct tier *t, int64_t timeout_ms)
{
	struct notify *n = t->notify;
	int64_t until = clock_mono_ms() + timeout_ms;
	struct catalogue_counts counts;
	int r = 0;

	if (!t->sink)
		return 0;
	for (;;) {
		r = catalogue_counts(t->cat, &counts);
		if (r < 0 || counts.events_waiting == 0)
			return r;
		notify_kick(t);
		lock_take(&n->lock);
		if (n->stop)
			r = -ECANCELED;
		else if (!cond_wait_until(&n->moved, &n->lock, until))
			r = -EAGAIN;
		lock_drop(&n->lock);
		if (r < 0)
			return r;
	}
}
