/* SPDX-License-Identifier: MIT */
/*
 * A window that is fair: who came first enters first.
 *
 * Those who must wait stand in a queue; whoever leaves lets in from its head as
 * many as fit, and counts them in before they run, so that nobody overtakes and
 * a large operation is not starved by small ones.
 *
 * Invariant, under the lock: n_ops <= max_ops, and bytes <= max_bytes or n_ops == 1.
 */
#include "lib/window.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "lib/lock.h"

/* Lives on the stack of the thread that waits. */
struct waiter {
	uint64_t bytes;
	bool inside; /* was counted in, by whoever left */
	struct cond turn;
	struct waiter *next; /* borrowed */
};

struct window {
	/* constant after start */
	unsigned max_ops;
	uint64_t max_bytes;

	/* protected by lock */
	struct lock lock;
	unsigned n_ops;
	uint64_t bytes;
	struct waiter *head; /* borrowed from the threads that wait */
	struct waiter *tail;
	unsigned n_waiting;
};

static bool try_enter_locked(struct window *w, uint64_t bytes) REQUIRES(w->lock);
static void let_in_locked(struct window *w) REQUIRES(w->lock);
static void wait_turn_locked(struct window *w, uint64_t bytes) REQUIRES(w->lock);

int window_new(unsigned max_ops, uint64_t max_bytes, struct window **ret)
{
	struct window *w;

	assert(max_ops > 0);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->max_ops = max_ops;
	w->max_bytes = max_bytes;
	lock_init(&w->lock, LOCK_RANK_WINDOW, "window");
	*ret = w;
	return 0;
}

void window_free(struct window *w)
{
	if (!w)
		return;
	assert(w->n_ops == 0 && !w->head);
	lock_fini(&w->lock);
	free(w);
}

static bool try_enter_locked(struct window *w, uint64_t bytes)
{
	bool fits = w->bytes <= w->max_bytes && bytes <= w->max_bytes - w->bytes;

	if (w->n_ops > 0 && (!fits || w->n_ops >= w->max_ops))
		return false;
	w->n_ops++;
	w->bytes += bytes;
	return true;
}

static void let_in_locked(struct window *w)
{
	while (w->head && try_enter_locked(w, w->head->bytes)) {
		struct waiter *next = w->head->next;

		/* Its memory is gone once it runs, and it cannot run before we drop the lock. */
		w->head->inside = true;
		cond_signal(&w->head->turn);
		w->head = next;
		w->n_waiting--;
	}
	if (!w->head)
		w->tail = NULL;
}

static void wait_turn_locked(struct window *w, uint64_t bytes)
{
	struct waiter self = { .bytes = bytes };

	cond_init(&self.turn);
	if (w->tail)
		w->tail->next = &self;
	else
		w->head = &self;
	w->tail = &self;
	w->n_waiting++;
	while (!self.inside)
		cond_wait(&self.turn, &w->lock);
	cond_fini(&self.turn);
}

void window_enter(struct window *w, uint64_t bytes)
{
	lock_take(&w->lock);
	if (w->head || !try_enter_locked(w, bytes))
		wait_turn_locked(w, bytes);
	lock_drop(&w->lock);
}

void window_give(struct window *w, uint64_t bytes)
{
	lock_take(&w->lock);
	assert(w->n_ops > 0 && w->bytes >= bytes);
	w->bytes -= bytes;
	let_in_locked(w);
	lock_drop(&w->lock);
}

void window_leave(struct window *w, uint64_t bytes)
{
	lock_take(&w->lock);
	assert(w->n_ops > 0 && w->bytes >= bytes);
	w->n_ops--;
	w->bytes -= bytes;
	let_in_locked(w);
	lock_drop(&w->lock);
}

unsigned window_waiting(struct window *w)
{
	unsigned n;

	lock_take(&w->lock);
	n = w->n_waiting;
	lock_drop(&w->lock);
	return n;
}
