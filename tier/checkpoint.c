/* SPDX-License-Identifier: MIT */
/*
 * The checkpoints' thread.
 *
 *	waiting --due--> writing --end in the store--> complete --grace--> dropping
 *	   ^  ^            |  ^ store down: the same part again                |
 *	   |  +--other bytes at our key: abandoned                            |
 *	   +------------------------------------------------------------------+
 *
 * It waits for the store and for nobody else, and nobody waits for it.  What it has in
 * memory may be lost at any time: the next start writes a new checkpoint, under another
 * number, and what is left of this one is dropped with the journal before that.
 */
#include "tier/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "tier/checkpoint_int.h"

#define LOOK_EVERY_MS 1000
#define RETRY_MS 5000
#define WARN_MS 60000

int checkpoint_new(struct tier *t, struct checkpoint **ret)
{
	struct checkpoint *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->t = t;
	lock_init(&k->lock, LOCK_RANK_WATCH, "checkpoint");
	cond_init(&k->wake);
	*ret = k;
	return 0;
}

static int work(struct checkpoint *k)
{
	int r, dropped;

	if (!volume_ok(k->t))
		return 0;
	if (catalogue_is_readonly(k->t->cat)) {
		checkpoint_abandon(k);
		return 0;
	}
	r = checkpoint_write(k);
	if (r < 0 && r != -EROFS && log_ratelimit(&k->warned_ms, WARN_MS))
		log_warning("cannot write a checkpoint of the journal: %s: tried again later",
			    strerror(-r));
	dropped = checkpoint_drop(k);
	if (dropped < 0 && dropped != -EROFS && log_ratelimit(&k->warned_ms, WARN_MS))
		log_warning("cannot drop the journal before a checkpoint: %s: tried again later",
			    strerror(-dropped));
	return r < 0 ? r : dropped;
}

static void *checkpoint_main(void *arg)
{
	struct checkpoint *k = arg;
	int64_t until;

	while (!k->stop) {
		until = clock_mono_ms() + (work(k) < 0 ? RETRY_MS : LOOK_EVERY_MS);
		lock_take(&k->lock);
		while (!k->stop && cond_wait_until(&k->wake, &k->lock, until))
			;
		lock_drop(&k->lock);
	}
	checkpoint_abandon(k);
	return NULL;
}

int checkpoint_start(struct checkpoint *k)
{
	int r = pthread_create(&k->thread, NULL, checkpoint_main, k);

	k->started = r == 0;
	return -r;
}

void checkpoint_stop(struct checkpoint *k)
{
	if (!k->started)
		return;
	lock_take(&k->lock);
	k->stop = true;
	cond_signal(&k->wake);
	lock_drop(&k->lock);
	pthread_join(k->thread, NULL);
	k->started = false;
}

void checkpoint_free(struct checkpoint *k)
{
	if (!k)
		return;
	cond_fini(&k->wake);
	lock_fini(&k->lock);
	free(k);
}
