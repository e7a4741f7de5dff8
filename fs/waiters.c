/* SPDX-License-Identifier: MIT */
/*
 * Counting who waits for the store: see fs/waiters.h.
 *
 * Always true: a counter is never above its limit, and what was counted is counted
 * off the same ring, whatever core the answer comes on.
 */
#include "fs/waiters.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/log.h"

/* A store that gave no answer for so long, with so many waiting, is taken for hanging. */
#define STALL_MS 500

struct waiters {
	unsigned rings, half, most; /* constant */
	_Atomic int64_t answered_ms;
	_Atomic uint64_t refused;
	_Atomic unsigned waiting[]; /* a ring each */
};

int waiters_new(unsigned rings, unsigned entries, struct waiters **ret)
{
	struct waiters *w = calloc(1, sizeof(*w) + rings * sizeof(w->waiting[0]));

	if (!w)
		return -ENOMEM;
	w->rings = rings;
	w->half = entries / 2;
	w->most = entries - entries / 8;
	if (w->half == 0)
		w->half = w->most = 1;
	*ret = w;
	return 0;
}

void waiters_free(struct waiters *w)
{
	free(w);
}

static unsigned limit(struct waiters *w)
{
	return clock_mono_ms() - atomic_load(&w->answered_ms) < STALL_MS ? w->most : w->half;
}

int waiters_enter(struct waiters *w)
{
	static _Atomic long long last_ms;
	/* A ring's thread is bound to its core. */
	int cpu = w->rings > 1 ? sched_getcpu() : 0;
	unsigned ring = cpu < 0 ? 0 : (unsigned)cpu % w->rings;
	unsigned before = atomic_fetch_add(&w->waiting[ring], 1);

	if (before < w->half || before < limit(w))
		return (int)ring;
	atomic_fetch_sub(&w->waiting[ring], 1);
	atomic_fetch_add(&w->refused, 1);
	if (log_ratelimit(&last_ms, 60000))
		log_warning("refusing requests with EIO: %u wait for the store already", before);
	return -1;
}

void waiters_leave(struct waiters *w, int ring)
{
	atomic_store(&w->answered_ms, clock_mono_ms());
	atomic_fetch_sub(&w->waiting[ring], 1);
}

unsigned waiters_now(const struct waiters *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->rings; i++)
		n += atomic_load(&w->waiting[i]);
	return n;
}

uint64_t waiters_refused(const struct waiters *w)
{
	return atomic_load(&w->refused);
}
