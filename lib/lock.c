/* SPDX-License-Identifier: MIT */
/*
 * Locks that know their place in the lock order.
 *
 * With EBB_DEBUG_LOCKS each thread keeps a list of the locks it holds; taking
 * one whose rank is not above all of theirs, or dropping one it does not hold,
 * aborts at the first wrong step, whether or not another thread happened to be
 * in the way.  Without it the list costs nothing.
 *
 * pthread's errors here (not initialised, taken twice, not the owner) are bugs
 * and end the program: going on would be without the lock.
 */
#include "lib/lock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

/* r is pthread's: 0 or an errno. */
static void must(int r, const char *verb, const char *name)
{
	if (r == 0)
		return;
	log_error("cannot %s lock '%s': %s", verb, name, strerror(r));
	abort();
}

#ifdef EBB_DEBUG_LOCKS

#define HELD_MAX 32

struct held {
	const void *lock; /* borrowed */
	enum lock_rank rank;
	const char *name; /* borrowed */
};

static _Thread_local struct held held[HELD_MAX];
static _Thread_local unsigned n_held;

/* Before the lock is waited for: a wrong order aborts even where it would deadlock. */
static void held_push(const void *lock, enum lock_rank rank, const char *name)
{
	for (unsigned i = 0; i < n_held; i++) {
		if (held[i].rank < rank)
			continue;
		log_error("wrong lock order: '%s' (rank %d) taken while '%s' (rank %d) is held",
			  name, (int)rank, held[i].name, (int)held[i].rank);
		abort();
	}
	if (n_held == HELD_MAX)
		must(EOVERFLOW, "take", name);
	held[n_held++] = (struct held){ lock, rank, name };
}

static unsigned held_find(const void *lock)
{
	unsigned i = 0;

	while (i < n_held && held[i].lock != lock)
		i++;
	return i;
}

static void held_check(const void *lock, const char *verb, const char *name)
{
	if (held_find(lock) == n_held)
		must(EPERM, verb, name);
}

/* Locks may be dropped in any order. */
static void held_pop(const void *lock, const char *name)
{
	unsigned i = held_find(lock);

	held_check(lock, "drop", name);
	n_held--;
	memmove(&held[i], &held[i + 1], (n_held - i) * sizeof(held[0]));
}

#else

#define held_push(lock, rank, name) ((void)0)
#define held_check(lock, verb, name) ((void)0)
#define held_pop(lock, name) ((void)0)

#endif

void lock_init(struct lock *l, enum lock_rank rank, const char *name)
{
	l->rank = rank;
	l->name = name;
	must(pthread_mutex_init(&l->mutex, NULL), "make", name);
}

void lock_fini(struct lock *l)
{
	must(pthread_mutex_destroy(&l->mutex), "destroy", l->name);
}

NO_TS_ANALYSIS void lock_take(struct lock *l)
{
	held_push(l, l->rank, l->name);
	must(pthread_mutex_lock(&l->mutex), "take", l->name);
}

NO_TS_ANALYSIS void lock_drop(struct lock *l)
{
	/* Once it is unlocked, whoever waited for it may free it. */
	const char *name = l->name;

	held_pop(l, name);
	must(pthread_mutex_unlock(&l->mutex), "drop", name);
}

void rwlock_init(struct rwlock *l, enum lock_rank rank, const char *name)
{
	pthread_rwlockattr_t attr;

	l->rank = rank;
	l->name = name;
	must(pthread_rwlockattr_init(&attr), "make", name);
	must(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP),
	     "make", name);
	must(pthread_rwlock_init(&l->rw, &attr), "make", name);
	must(pthread_rwlockattr_destroy(&attr), "make", name);
}

void rwlock_fini(struct rwlock *l)
{
	must(pthread_rwlock_destroy(&l->rw), "destroy", l->name);
}

NO_TS_ANALYSIS void rwlock_read(struct rwlock *l)
{
	held_push(l, l->rank, l->name);
	must(pthread_rwlock_rdlock(&l->rw), "take", l->name);
}

NO_TS_ANALYSIS void rwlock_read_drop(struct rwlock *l)
{
	held_pop(l, l->name);
	must(pthread_rwlock_unlock(&l->rw), "drop", l->name);
}

NO_TS_ANALYSIS void rwlock_write(struct rwlock *l)
{
	held_push(l, l->rank, l->name);
	must(pthread_rwlock_wrlock(&l->rw), "take", l->name);
}

NO_TS_ANALYSIS void rwlock_write_drop(struct rwlock *l)
{
	held_pop(l, l->name);
	must(pthread_rwlock_unlock(&l->rw), "drop", l->name);
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr), "make", "condition");
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), "make", "condition");
	must(pthread_cond_init(&c->cond, &attr), "make", "condition");
	must(pthread_condattr_destroy(&attr), "make", "condition");
}

void cond_fini(struct cond *c)
{
	must(pthread_cond_destroy(&c->cond), "destroy", "condition");
}

void cond_signal(struct cond *c)
{
	must(pthread_cond_signal(&c->cond), "signal", "condition");
}

void cond_broadcast(struct cond *c)
{
	must(pthread_cond_broadcast(&c->cond), "signal", "condition");
}

/*
 * While a thread waits its lock stays on its list: it takes no other meanwhile,
 * and has the lock again before it does anything.
 */
NO_TS_ANALYSIS void cond_wait(struct cond *c, struct lock *l)
{
	held_check(l, "wait with", l->name);
	must(pthread_cond_wait(&c->cond, &l->mutex), "wait with", l->name);
}

NO_TS_ANALYSIS bool cond_wait_until(struct cond *c, struct lock *l, int64_t deadline_ms)
{
	struct timespec t = { .tv_sec = 0 };
	int r;

	if (deadline_ms > 0) {
		t.tv_sec = deadline_ms / 1000;
		t.tv_nsec = deadline_ms % 1000 * (NSEC_PER_SEC / 1000);
	}
	held_check(l, "wait with", l->name);
	r = pthread_cond_timedwait(&c->cond, &l->mutex, &t);
	if (r == ETIMEDOUT)
		return false;
	must(r, "wait with", l->name);
	return true;
}
