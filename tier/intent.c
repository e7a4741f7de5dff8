/* SPDX-License-Identifier: MIT */
/*
 * Intents: settled ones are deleted here once the cache's change is durable.
 *
 * Always true: an intent is deleted only after an fsync of the directories it
 * changed that began after the change.  Many settle at once (rm -r): their
 * directories are synced once each, or the whole cache at once when there are many.
 */
#include "tier/intent.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/lock.h"
#include "tier/intent_json.h"
#include "tier/tier_int.h"

#define SETTLE_MS 1000

struct settled {
	int64_t id;
	struct node *dir[2]; /* counted; dir[1] may be NULL */
	struct node *moved;  /* counted; may be NULL */
	struct settled *next;
};

struct intents {
	struct tier *t; /* constant */
	pthread_t thread;
	bool started;
	struct lock lock;
	struct cond wake;
	struct cond done;
	/* protected by lock */
	struct settled *list;
	struct settled *finishing; /* the thread's, and constant until it is NULL again */
	unsigned n_moved;	   /* of both */
	bool hurry;
	bool stop;
};

int intents_new(struct tier *t, struct intents **ret)
{
	struct intents *i = calloc(1, sizeof(*i));

	if (!i)
		return -ENOMEM;
	i->t = t;
	lock_init(&i->lock, LOCK_RANK_WATCH, "intents");
	cond_init(&i->wake);
	cond_init(&i->done);
	*ret = i;
	return 0;
}

void intents_settle(struct intents *i, int64_t id, struct node *dir_a, struct node *dir_b,
		    struct node *moved)
{
	struct settled *s = malloc(sizeof(*s));

	if (!s)
		return; /* start-up finds it finished */
	s->id = id;
	s->dir[0] = node_ref(dir_a);
	s->dir[1] = dir_b && dir_b != dir_a ? node_ref(dir_b) : NULL;
	s->moved = moved ? node_ref(moved) : NULL;
	lock_take(&i->lock);
	s->next = i->list;
	i->list = s;
	i->n_moved += moved != NULL;
	lock_drop(&i->lock);
}

static bool has_moved_locked(const struct intents *i, const struct node *node) REQUIRES(i->lock);

static bool has_moved_locked(const struct intents *i, const struct node *node)
{
	if (i->n_moved == 0)
		return false;
	for (const struct settled *s = i->list; s; s = s->next)
		if (s->moved == node)
			return true;
	for (const struct settled *s = i->finishing; s; s = s->next)
		if (s->moved == node)
			return true;
	return false;
}

bool intents_has_moved(struct intents *i, const struct node *node)
{
	bool has;

	lock_take(&i->lock);
	has = has_moved_locked(i, node);
	lock_drop(&i->lock);
	return has;
}

void intents_wait_moved(struct intents *i, const struct node *node)
{
	lock_take(&i->lock);
	while (has_moved_locked(i, node) && i->started && !i->stop) {
		i->hurry = true;
		cond_signal(&i->wake);
		cond_wait(&i->done, &i->lock);
	}
	lock_drop(&i->lock);
}

/* A directory that is gone needs no sync: its removal is another's change. */
static int sync_dir(struct tier *t, struct node *dir)
{
	int r = cache_sync_dir(t->cache, dir);

	return r == -ENOENT ? 0 : r;
}

static bool is_repeated(const struct settled *head, const struct settled *upto,
			const struct node *dir)
{
	for (const struct settled *s = head; s != upto; s = s->next)
		if (s->dir[0] == dir || s->dir[1] == dir)
			return true;
	return false;
}

static int make_durable(struct intents *i, struct settled *list)
{
	unsigned n = 0;
	int r;

	for (struct settled *s = list; s; s = s->next)
		if (++n >= INTENT_SYNCFS_FROM)
			return syncfs(cache_root_fd(i->t->cache)) < 0 ? -errno : 0;
	for (struct settled *s = list; s; s = s->next) {
		for (int k = 0; k < 2; k++) {
			if (!s->dir[k] || is_repeated(list, s, s->dir[k]))
				continue;
			r = sync_dir(i->t, s->dir[k]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int delete_run(struct tx *tx, void *arg)
{
	int r = 0;

	for (struct settled *s = arg; s && r == 0; s = s->next)
		r = tx_intent_delete(tx, s->id);
	return r;
}

static void finish(struct intents *i, struct settled *list)
{
	struct settled *next;
	int r;

	if (!list)
		return;
	r = make_durable(i, list);
	if (r < 0)
		log_error("cannot sync the cache after a removal or renaming: %s: "
			  "start-up will look at it again",
			  strerror(-r));
	else
		(void)catalogue_write(i->t->cat, SYNC_NORMAL, delete_run, list);
	lock_take(&i->lock);
	for (const struct settled *s = list; s; s = s->next)
		i->n_moved -= s->moved != NULL;
	i->finishing = NULL;
	cond_broadcast(&i->done);
	lock_drop(&i->lock);
	for (; list; list = next) {
		next = list->next;
		if (list->moved)
			node_put(i->t->tree, list->moved);
		for (int k = 0; k < 2; k++)
			if (list->dir[k])
				node_put(i->t->tree, list->dir[k]);
		free(list);
	}
}

static void *intents_main(void *arg)
{
	struct intents *i = arg;
	struct settled *list;
	bool stop;

	do {
		lock_take(&i->lock);
		if (!i->stop && !i->hurry)
			cond_wait_until(&i->wake, &i->lock, clock_mono_ms() + SETTLE_MS);
		i->hurry = false;
		list = i->finishing = i->list;
		i->list = NULL;
		stop = i->stop;
		lock_drop(&i->lock);
		finish(i, list);
	} while (!stop);
	return NULL;
}

int intents_start(struct intents *i)
{
	int r = pthread_create(&i->thread, NULL, intents_main, i);

	i->started = r == 0;
	return -r;
}

void intents_stop(struct intents *i)
{
	if (!i->started)
		return;
	lock_take(&i->lock);
	i->stop = true;
	cond_signal(&i->wake);
	cond_broadcast(&i->done);
	lock_drop(&i->lock);
	pthread_join(i->thread, NULL);
	i->started = false;
}

void intents_free(struct intents *i)
{
	if (!i)
		return;
	finish(i, i->list);
	cond_fini(&i->done);
	cond_fini(&i->wake);
	lock_fini(&i->lock);
	free(i);
}
