/* SPDX-License-Identifier: MIT */
/*
 * The inside of checkpoints: checkpoint.c the thread, checkpoint_write.c one that is being
 * written, checkpoint_drop.c what goes afterwards.
 */
#ifndef EBB_TIER_CHECKPOINT_INT_H
#define EBB_TIER_CHECKPOINT_INT_H

#include <pthread.h>

#include "lib/lock.h"
#include "tier/checkpoint.h"
#include "tier/parts.h"
#include "tier/tier_int.h"

struct cat_checkpoint;

struct checkpoint {
	struct tier *t; /* constant */
	pthread_t thread;
	bool started;
	struct lock lock;
	struct cond wake;
	_Atomic bool stop; /* set under lock */
	_Atomic long long warned_ms, damaged_ms;

	/* the thread's own: the one that is being written */
	struct cat_checkpoint *rows; /* owned; NULL: none */
	uint64_t n;		     /* the part that is next */
	void *data;		     /* owned: that part, read and not acknowledged */
	size_t len;
	bool all; /* every row was read */

	/* the thread's own */
	uint64_t proved; /* this checkpoint was found whole before dropping; 0: none */
};

/*
 * Begins one when it is due, or goes on with it: 0 when nothing is left to do now, or an
 * error of store or catalogue; called again, it goes on with the same part.
 */
int checkpoint_write(struct checkpoint *k);
/* Forgets one that is not complete. */
void checkpoint_abandon(struct checkpoint *k);

/* Drops what is before the newest checkpoint whose grace is over.  0 or an error. */
int checkpoint_drop(struct checkpoint *k);

#endif
