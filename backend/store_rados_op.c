/* SPDX-License-Identifier: MIT */
/*
 * Operations on RADOS objects.
 *
 *	submit -> queued --pump--> sent -> librados -> on_complete -> answer -> cb
 *	             |               |                      ^
 *	             +- timer: cb    +- timer: aio_cancel --+
 *
 * Each is one RADOS operation, so it happens whole or not at all.  librados blocks
 * a caller who has too much in flight (1,024 operations, 100 MiB): the window here
 * is smaller, and what does not fit waits in `queued`, as does everything while
 * there is no connection.  librados' own timeout (rados_osd_op_timeout) starts when
 * an operation is sent, and is there in case the timer's cancelling should fail;
 * that it is set at all also keeps librados from receiving into the buffer of a
 * read that was given up.
 *
 * A put that may go into a full store is tried like any other first.  At its failsafe ratio an
 * OSD answers those alone that do not insist (PrimaryLogPG::do_op drops what comes without
 * FULL_TRY), and what is there already, or is refused, must be said at once.
 *
 * Callbacks come on librados' threads.  They may send (the window keeps them from
 * blocking) and must not use its waiting functions.
 */
#include "backend/store_rados.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

#define WINDOW_OPS 256
#define WINDOW_BYTES (64ULL << 20)
#define CANCEL_RETRY_MS 20

/* ---- lists -------------------------------------------------------------- */

/* By their deadlines: the timer looks at the first only. */
static void list_add(struct rop_list *l, struct rop *o)
{
	o->prev = l->tail;
	while (o->prev && o->prev->req.deadline_ms > o->req.deadline_ms)
		o->prev = o->prev->prev;
	o->next = o->prev ? o->prev->next : l->head;
	*(o->prev ? &o->prev->next : &l->head) = o;
	*(o->next ? &o->next->prev : &l->tail) = o;
}

static void list_remove(struct rop_list *l, struct rop *o)
{
	if (o->prev)
		o->prev->next = o->next;
	else
		l->head = o->next;
	if (o->next)
		o->next->prev = o->prev;
	else
		l->tail = o->prev;
}

static void rop_free(struct rop *o)
{
	if (o->xattrs)
		rados_getxattrs_end(o->xattrs);
	if (o->done)
		rados_aio_release(o->done);
	free(o);
}

/* Every reference is also a user of io: what librados made is freed before its end. */
static void put_ref(struct rop *o, bool flown)
{
	struct rstore *s = o->s;
	bool last;

	lock_take(&s->lock);
	last = --o->refs == 0;
	lock_drop(&s->lock);
	if (last)
		rop_free(o);
	lock_take(&s->lock);
	s->io_users--;
	s->flying -= flown;
	cond_signal(&s->conn_wake);
	lock_drop(&s->lock);
}

/* ---- answers ------------------------------------------------------------ */

/* Runs cb.  Afterwards only o's own memory is ours, and s only until flying goes down. */
static void answer(struct rop *o, int64_t result)
{
	store_answer(&o->s->base, &o->req, result);
}

/* Instead of an answer: the put is queued again, and will insist. */
static bool force(struct rop *o, int r)
{
	struct rstore *s = o->s;
	struct rop *again;

	if (!o->req.attrs.even_full || o->forced || (r != -ENOSPC && r != -EDQUOT))
		return false;
	again = calloc(1, sizeof(*again));
	if (!again)
		return false;
	again->s = s;
	again->req = o->req;
	again->forced = true;
	lock_take(&s->lock);
	s->flying++;
	list_add(&s->queued, again);
	if (again->req.deadline_ms < s->timer_ms)
		cond_signal(&s->timer_wake);
	lock_drop(&s->lock);
	return true;
}

/* Of an operation that was sent. */
static void finish(struct rop *o, int r)
{
	struct rstore *s = o->s;
	bool expired;

	lock_take(&s->lock);
	list_remove(&s->sent, o);
	s->n_sent--;
	s->sent_bytes -= o->req.len_bytes;
	expired = o->expired;
	lock_drop(&s->lock);

	o->req.concluded = expired && o->forced;
	if (expired || !force(o, r))
		answer(o, rop_result(o, r, expired));
	rstore_pump(s);
	put_ref(o, true);
}

static void on_complete(rados_completion_t done, void *arg)
{
	finish(arg, rados_aio_get_return_value(done));
}

/* ---- sending ------------------------------------------------------------ */

/* Once librados has it, the callback may run, and even be done, before this returns. */
static void send_op(struct rop *o, rados_ioctx_t io)
{
	struct rstore *s = o->s;
	int r;

	r = rados_aio_create_completion2(o, on_complete, &o->done);
	if (r == 0)
		r = rop_send(o, io);
	if (r < 0)
		finish(o, r);
	lock_take(&s->lock);
	o->in_flight = r == 0;
	lock_drop(&s->lock);
	put_ref(o, false);
}

static struct rop *next_to_send_locked(struct rstore *s) REQUIRES(s->lock);

static struct rop *next_to_send_locked(struct rstore *s)
{
	struct rop *o = s->queued.head;

	if (!o || !s->ready)
		return NULL;
	/* One that is larger than the window goes alone. */
	if (s->n_sent > 0 &&
	    (s->n_sent >= WINDOW_OPS || s->sent_bytes + o->req.len_bytes > WINDOW_BYTES))
		return NULL;
	list_remove(&s->queued, o);
	list_add(&s->sent, o);
	s->n_sent++;
	s->sent_bytes += o->req.len_bytes;
	o->refs = 2; /* the callback's and the sender's */
	s->io_users += 2;
	return o;
}

void rstore_pump(struct rstore *s)
{
	struct rop *o;

	lock_take(&s->lock);
	while ((o = next_to_send_locked(s))) {
		rados_ioctx_t io = s->io;

		lock_drop(&s->lock);
		send_op(o, io);
		lock_take(&s->lock);
	}
	lock_drop(&s->lock);
}

void rstore_submit(struct store *base, const struct store_request *q)
{
	struct rstore *s = (struct rstore *)base;
	struct rop *o;

	if (q->op == STORE_PUT && !store_key_fits(base, q->key)) {
		q->cb(q->arg, strlen(q->key) > RADOS_NAME_MAX ? -ENAMETOOLONG : -EINVAL);
		return;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		store_answer(base, q, -ENOMEM);
		return;
	}
	o->s = s;
	o->req = *q;
	lock_take(&s->lock);
	s->flying++;
	list_add(&s->queued, o);
	if (o->req.deadline_ms < s->timer_ms)
		cond_signal(&s->timer_wake);
	lock_drop(&s->lock);
	rstore_pump(s);
}

/* ---- the timer ---------------------------------------------------------- */

static struct rop *take_late_queued_locked(struct rstore *s, int64_t now) REQUIRES(s->lock);
static struct rop *take_late_sent_locked(struct rstore *s, int64_t now) REQUIRES(s->lock);
static int64_t next_deadline_locked(struct rstore *s) REQUIRES(s->lock);

/* When the store is closed without a connection nobody will send them: all are late. */
static struct rop *take_late_queued_locked(struct rstore *s, int64_t now)
{
	struct rop *o = s->queued.head;

	if (!o || (o->req.deadline_ms > now && !(s->closing && !s->ready)))
		return NULL;
	list_remove(&s->queued, o);
	return o;
}

/* Probes, whose arg is the store itself, are late as soon as it is being closed. */
static bool is_late(const struct rop *o, int64_t now)
{
	return o->req.deadline_ms <= now || (o->s->closing && o->req.arg == o->s);
}

/* Both counts keep what the cancelling needs: the operation and io. */
static struct rop *take_late_sent_locked(struct rstore *s, int64_t now)
{
	for (struct rop *o = s->sent.head; o; o = o->next) {
		if (o->req.deadline_ms > now && !s->closing)
			break;
		if (o->expired || !o->in_flight || !is_late(o, now))
			continue;
		o->expired = true;
		o->refs++;
		s->io_users++;
		return o;
	}
	return NULL;
}

static int64_t next_deadline_locked(struct rstore *s)
{
	int64_t at = s->queued.head ? s->queued.head->req.deadline_ms : INT64_MAX;
	int64_t soon = clock_mono_ms() + CANCEL_RETRY_MS;
	struct rop *o = s->sent.head;

	while (o && o->expired)
		o = o->next;
	if (o && o->req.deadline_ms < at)
		at = o->req.deadline_ms;
	/* What is late and not yet in flight is being sent at this moment. */
	return o && !o->in_flight && at < soon ? soon : at;
}

static void time_out_queued(struct rop *o)
{
	struct rstore *s = o->s;

	answer(o, -ETIMEDOUT);
	rop_free(o);
	lock_take(&s->lock);
	s->flying--;
	cond_signal(&s->conn_wake);
	lock_drop(&s->lock);
}

static void cancel_sent(struct rop *o)
{
	rados_aio_cancel(o->s->io, o->done);
	put_ref(o, false);
}

void *rstore_timer_main(void *arg)
{
	struct rstore *s = arg;

	lock_take(&s->lock);
	while (!s->drained) {
		int64_t now = clock_mono_ms();
		struct rop *queued = take_late_queued_locked(s, now);
		struct rop *sent = queued ? NULL : take_late_sent_locked(s, now);

		if (queued || sent) {
			lock_drop(&s->lock);
			if (queued)
				time_out_queued(queued);
			else
				cancel_sent(sent);
			lock_take(&s->lock);
			continue;
		}
		s->timer_ms = next_deadline_locked(s);
		if (s->timer_ms == INT64_MAX)
			cond_wait(&s->timer_wake, &s->lock);
		else
			cond_wait_until(&s->timer_wake, &s->lock, s->timer_ms);
	}
	lock_drop(&s->lock);
	return NULL;
}
