/* SPDX-License-Identifier: MIT */
/*
 * The store that fails on purpose: "fault:RULES:STORE" around any other.
 *
 *	put() -> judge --------------------------> inner -> on_inner -> finish -> cb
 *	            |  delay, hold    timer  ^        |  lost
 *	            +---------------> thread +        +------> timer thread -> finish
 *	            |  down                                         ^
 *	            +-----------------------------------------------+
 *
 * RULES is a file (store_fault_rules.c has the syntax) which is looked at before
 * every operation, so that a test turns faults on and off while a daemon runs.
 * The caller never waits here: whatever is late is on the timer thread's list.
 * At close everything on that list is due.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store_fault.h"
#include "backend/store_ops.h"
#include "lib/clock.h"
#include "lib/log.h"

#define POLL_MS 20 /* how often rules are looked at while they hold something */

struct fault {
	struct store base;

	/* constant after start */
	char *file;	     /* owned; the rules */
	struct store *inner; /* owned */
	pthread_t timer;

	/* protected by lock */
	struct lock lock;	   /* LOCK_RANK_STORE */
	struct cond wake;	   /* for the timer: the list changed, the end has come */
	struct fault_rules *rules; /* owned */
	bool rules_bad;		   /* the last read failed: told once */
	struct fault_op *late;	   /* by due_ms; owned */
	unsigned n_flying;
	bool closing;
};

enum stage { STAGE_HELD, STAGE_DELAYED, STAGE_REPLY };

struct fault_op {
	struct fault_op *next;
	struct fault *fault; /* borrowed */
	struct fault_verdict verdict;
	int64_t due_ms; /* while on the list */
	enum stage stage;

	struct store_request req;
};

/* ---- rules -------------------------------------------------------------- */

static bool rules_are_current(struct fault *f)
{
	struct fault_version now = fault_version_now(f->file);
	bool same;

	lock_take(&f->lock);
	same = fault_rules_are(f->rules, &now);
	lock_drop(&f->lock);
	return same;
}

/*
 * Installed if they are the file's still and nobody was faster: whoever reads slowly neither
 * brings older rules back nor begins the counts anew.  The stat(2) is under the lock, as newer
 * rules could be installed after any other.
 */
static void install(struct fault *f, struct fault_rules *fresh)
{
	struct fault_version now;

	lock_take(&f->lock);
	now = fault_version_now(f->file);
	f->rules_bad = false;
	if (fault_rules_are(fresh, &now) && !fault_rules_are(f->rules, &now)) {
		struct fault_rules *old = f->rules;

		f->rules = fresh;
		fresh = old;
	}
	lock_drop(&f->lock);
	fault_rules_free(fresh);
}

static void refresh_rules(struct fault *f)
{
	struct fault_rules *fresh;
	char err[256];
	bool tell;

	while (!rules_are_current(f)) {
		if (fault_rules_read(f->file, &fresh, err, sizeof(err)) < 0) {
			lock_take(&f->lock);
			tell = !f->rules_bad;
			f->rules_bad = true;
			lock_drop(&f->lock);
			if (tell)
				log_error("%s: the rules stay as they were", err);
			return;
		}
		install(f, fresh);
	}
}

static struct fault_verdict judge(struct fault *f, unsigned op, const char *key)
{
	struct fault_verdict v;

	refresh_rules(f);
	lock_take(&f->lock);
	v = fault_rules_judge(f->rules, op, key);
	lock_drop(&f->lock);
	return v;
}

/* ---- one operation ------------------------------------------------------ */

static void finish(struct fault_op *o, int64_t result)
{
	struct fault *f = o->fault;

	store_answer(&f->base, &o->req, result);
	free(o);
	lock_take(&f->lock);
	if (--f->n_flying == 0)
		cond_signal(&f->wake);
	lock_drop(&f->lock);
}

static void be_late(struct fault_op *o, enum stage stage, int64_t due_ms)
{
	struct fault *f = o->fault;
	struct fault_op **p;

	o->stage = stage;
	o->due_ms = due_ms < o->req.deadline_ms ? due_ms : o->req.deadline_ms;
	lock_take(&f->lock);
	for (p = &f->late; *p && (*p)->due_ms <= o->due_ms; p = &(*p)->next)
		;
	o->next = *p;
	*p = o;
	cond_signal(&f->wake);
	lock_drop(&f->lock);
}

static void time_out(struct fault_op *o)
{
	if (o->verdict.now)
		finish(o, -ETIMEDOUT);
	else
		be_late(o, STAGE_REPLY, o->req.deadline_ms);
}

static void on_inner_read(void *arg, int64_t result)
{
	struct fault_op *o = arg;

	if (result >= 0 && o->verdict.action == FAULT_LOST) {
		time_out(o);
		return;
	}
	if (result > 0 && o->verdict.action == FAULT_SHORT)
		result /= 2;
	if (result > 0 && o->verdict.action == FAULT_FLIP)
		((unsigned char *)o->req.buf)[result / 2] ^= 0x10;
	if (result == 0 && o->verdict.action == FAULT_FLIP && o->req.op == STORE_VERIFY)
		o->req.stat->crc32c ^= 0x10;
	finish(o, result);
}

static void on_inner(void *arg, int result)
{
	on_inner_read(arg, result);
}

/* The key was checked on the way here. */
static void forward(struct fault_op *o)
{
	struct store *inner = o->fault->inner;
	struct store_request q = o->req;

	q.cb = on_inner;
	q.read_cb = on_inner_read;
	q.arg = o;
	inner->ops->submit(inner, &q);
}

static void perform(struct fault_op *o)
{
	switch (o->verdict.action) {
	case FAULT_ERROR:
		finish(o, o->verdict.error);
		break;
	case FAULT_DOWN:
		time_out(o);
		break;
	case FAULT_FULL:
		if (!o->req.attrs.even_full) {
			finish(o, -ENOSPC);
			break;
		}
		forward(o);
		break;
	default:
		forward(o);
		break;
	}
}

static void fault_submit(struct store *s, const struct store_request *q)
{
	struct fault *f = (struct fault *)s;
	struct fault_op *o = malloc(sizeof(*o));
	int64_t now = clock_mono_ms();

	if (!o) {
		store_answer(s, q, -ENOMEM);
		return;
	}
	*o = (struct fault_op){ .fault = f, .req = *q };
	o->verdict = judge(f, q->op, q->key);
	lock_take(&f->lock);
	f->n_flying++;
	lock_drop(&f->lock);
	if (o->verdict.hold)
		be_late(o, STAGE_HELD, now + POLL_MS);
	else if (o->verdict.delay_ms > 0)
		be_late(o, STAGE_DELAYED, now + o->verdict.delay_ms);
	else
		perform(o);
}

/* ---- the timer thread --------------------------------------------------- */

static struct fault_op *take_due_locked(struct fault *f) REQUIRES(f->lock);

static struct fault_op *take_due_locked(struct fault *f)
{
	struct fault_op *o = f->late;

	if (!o || (!f->closing && o->due_ms > clock_mono_ms()))
		return NULL;
	f->late = o->next;
	return o;
}

static void go_on(struct fault *f, struct fault_op *o, bool closing)
{
	int64_t now = clock_mono_ms();
	bool held;

	if (o->stage == STAGE_REPLY || now >= o->req.deadline_ms) {
		finish(o, -ETIMEDOUT);
		return;
	}
	if (o->stage == STAGE_DELAYED) {
		perform(o);
		return;
	}
	refresh_rules(f);
	lock_take(&f->lock);
	held = fault_rules_hold(f->rules, o->req.op, o->req.key);
	lock_drop(&f->lock);
	if (held && !closing)
		be_late(o, STAGE_HELD, now + POLL_MS);
	else
		perform(o);
}

static void *timer_main(void *arg)
{
	struct fault *f = arg;
	struct fault_op *o;

	lock_take(&f->lock);
	while (!f->closing || f->n_flying) {
		o = take_due_locked(f);
		if (o) {
			bool closing = f->closing;

			lock_drop(&f->lock);
			if (closing)
				o->verdict.now = true;
			go_on(f, o, closing);
			lock_take(&f->lock);
		} else if (f->late) {
			cond_wait_until(&f->wake, &f->lock, f->late->due_ms);
		} else {
			cond_wait(&f->wake, &f->lock);
		}
	}
	lock_drop(&f->lock);
	return NULL;
}

/* ---- the rest ----------------------------------------------------------- */

/* A listing blocks anyway: it waits here, no longer than the timeout. */
static int fault_list(struct store *s, const char *prefix, int (*each)(const char *key, void *arg),
		      void *arg)
{
	struct fault *f = (struct fault *)s;
	struct fault_verdict v = judge(f, FAULT_LIST, prefix);
	int64_t wait_ms = v.delay_ms;

	if (v.hold || wait_ms >= s->timeout_ms)
		v.action = FAULT_DOWN;
	if (v.action == FAULT_DOWN)
		wait_ms = v.now ? 0 : s->timeout_ms;
	if (wait_ms > 0) {
		struct timespec t = ns_to_ts(wait_ms * (NSEC_PER_SEC / 1000));

		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	}
	if (v.action == FAULT_DOWN)
		return -ETIMEDOUT;
	if (v.action == FAULT_ERROR)
		return v.error;
	return store_list(f->inner, prefix, each, arg);
}

static char *fault_url(struct store *s, const char *key)
{
	return store_url(((struct fault *)s)->inner, key);
}

static bool fault_key_fits(struct store *s, const char *key)
{
	return store_key_fits(((struct fault *)s)->inner, key);
}

/* Asking is the probe of this store: it answers unless a rule says that nothing does. */
static void fault_health(struct store *s, struct store_health *ret)
{
	struct fault *f = (struct fault *)s;
	struct store_health own;
	bool down;

	refresh_rules(f);
	lock_take(&f->lock);
	down = fault_rules_down(f->rules);
	lock_drop(&f->lock);
	if (down)
		store_set_trouble(s, STORE_DOWN,
				  "store '%.80s' is down: a rule in '%.100s' says so", s->name,
				  f->file);
	else
		store_end_trouble(s, STORE_DOWN);
	store_health(f->inner, ret);
	store_fill_health(s, &own);
	if (own.error[0]) {
		ret->up &= own.up;
		ret->since_ms = own.since_ms;
		memcpy(ret->error, own.error, sizeof(ret->error));
	}
}

static void fault_free(struct fault *f)
{
	store_close(f->inner);
	fault_rules_free(f->rules);
	cond_fini(&f->wake);
	lock_fini(&f->lock);
	store_fini(&f->base);
	free(f->file);
	free(f);
}

static void fault_close(struct store *s)
{
	struct fault *f = (struct fault *)s;

	lock_take(&f->lock);
	f->closing = true;
	cond_broadcast(&f->wake);
	lock_drop(&f->lock);
	pthread_join(f->timer, NULL);
	fault_free(f);
}

static int start_timer(struct fault *f)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&f->timer, NULL, timer_main, f);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		pthread_setname_np(f->timer, "fault-store");
	return r;
}

static int fault_open(const char *rest, int64_t timeout_ms, struct store **ret, char *err,
		      size_t size)
{
	const char *colon = strchr(rest, ':');
	char name[128];
	struct fault *f;
	int r;

	if (!colon || colon == rest) {
		snprintf(err, size, "'fault:%.100s': fault:RULES:STORE is wanted", rest);
		return -EINVAL;
	}
	snprintf(err, size, "no memory");
	snprintf(name, sizeof(name), "fault:%.100s", colon + 1);
	f = calloc(1, sizeof(*f));
	if (!f || store_init(&f->base, &store_fault_ops, NULL, name, timeout_ms, true) < 0) {
		free(f);
		return -ENOMEM;
	}
	lock_init(&f->lock, LOCK_RANK_STORE, "fault store");
	cond_init(&f->wake);
	f->file = strndup(rest, (size_t)(colon - rest));
	r = f->file ? fault_rules_read(f->file, &f->rules, err, size) : -ENOMEM;
	if (r == 0)
		r = store_open(colon + 1, timeout_ms, &f->inner, err, size);
	if (r == 0)
		r = start_timer(f);
	if (r < 0) {
		fault_free(f);
		return r;
	}
	*ret = &f->base;
	return 0;
}

const struct store_ops store_fault_ops = {
	.scheme = "fault",
	.open = fault_open,
	.close = fault_close,
	.submit = fault_submit,
	.list = fault_list,
	.url = fault_url,
	.key_fits = fault_key_fits,
	.health = fault_health,
};
