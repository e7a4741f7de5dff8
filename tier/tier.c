/* SPDX-License-Identifier: MIT */
/*
 * The stack, built and taken down in one place.
 *
 *	catalogue -> tree, cache (compared by uuid) -> store, sink -> parts
 *	  -> unfinished intents -> journal's thread: does the store belong to us?
 *	  -> (the mount) -> reaper, sinks, drop, checkpoints
 */
#include "tier/tier.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/window.h"
#include "tier/blobs.h"
#include "tier/pack.h"
#include "tier/tier_int.h"

#define COMMIT_THREADS 32
#define STORE_THREADS 16
#define VERDICT_MS 3000 /* how long a mount waits for a store that may be down */

struct tree *tier_tree(struct tier *t)
{
	return t->tree;
}

struct cache *tier_cache(struct tier *t)
{
	return t->cache;
}

struct catalogue *tier_catalogue(struct tier *t)
{
	return t->cat;
}

struct store *tier_store(struct tier *t)
{
	return t->store;
}

struct sink *tier_sink(struct tier *t)
{
	return t->sink;
}

struct blobs *tier_blobs(struct tier *t)
{
	return t->blobs;
}

struct pushes *tier_pushes(struct tier *t)
{
	return t->pushes;
}

const struct conf *tier_conf(struct tier *t)
{
	return t->conf;
}

struct pool *tier_pool_commit(struct tier *t)
{
	return t->pool_commit;
}

struct pool *tier_pool_store(struct tier *t)
{
	return t->pool_store;
}

/* ---- is it this catalogue's cache? ---------------------------------------------- */

static int set_cache_run(struct tx *tx, void *arg)
{
	return tx_set_cache(tx, arg);
}

static int take_cache(struct tier *t, const struct uid128 *uid, bool mark, char *err, size_t size)
{
	struct uid128 copy = *uid;
	int r = 0;

	if (mark)
		r = cache_set_uid(t->cache, uid);
	if (r == 0)
		r = catalogue_write(t->cat, SYNC_FULL, set_cache_run, &copy);
	if (r < 0)
		snprintf(err, size, "cannot mark the cache directory as this catalogue's: %s",
			 strerror(-r));
	return r;
}

/*
 * The first cache of a catalogue gets its node's uuid, so that a kill between
 * marking it and writing it down is recognised.
 */
static int compare_cache(struct tier *t, char *err, size_t size)
{
	struct catalogue_ids ids = catalogue_ids(t->cat);
	struct uid128 uid;
	int r = cache_get_uid(t->cache, &uid);

	if (r < 0 && r != -ENODATA) {
		snprintf(err, size, "cannot read the cache directory's mark: %s", strerror(-r));
		return r;
	}
	if (r == 0 && uid128_equal(&uid, &ids.cache))
		return 0;
	if (uid128_is_zero(&ids.cache) && (r == -ENODATA || uid128_equal(&uid, &ids.node)))
		return take_cache(t, &ids.node, r == -ENODATA, err, size);
	if (!t->conf->new_cache) {
		snprintf(err, size,
			 "%s: mount the right cache directory, or say -o new_cache if "
			 "this one is meant%s",
			 r == -ENODATA ? "the cache directory is not the one this catalogue knows"
				       : "the cache directory belongs to another catalogue",
			 uid128_is_zero(&ids.cache) ? "; this catalogue is new: if the old one was "
						      "lost, make it again with ebbctl rebuild"
						    : "");
		return -EXDEV;
	}
	if (r == -ENODATA) {
		r = uid128_new(&uid);
		return r < 0 ? r : take_cache(t, &uid, true, err, size);
	}
	return take_cache(t, &uid, false, err, size);
}

/* ---- building --------------------------------------------------------------------- */

static int open_truths(struct tier *t, int cache_fd, char *err, size_t size)
{
	int own, r;

	r = catalogue_open(t->conf->meta, true, &t->cat, err, size);
	if (r < 0)
		return r;
	r = tree_new(&t->tree);
	if (r < 0)
		return r;
	/* A descriptor of our own: the caller's stays the caller's if anything fails. */
	own = fcntl(cache_fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0)
		return -errno;
	r = cache_open(own, t->tree, &t->cache, err, size);
	if (r < 0) {
		close(own);
		return r;
	}
	return compare_cache(t, err, size);
}

static int open_others(struct tier *t, char *err, size_t size)
{
	const struct conf *c = t->conf;
	int r;

	r = policy_new(c, &t->policy, err, size);
	if (r == 0)
		r = store_open(c->store, c->store_timeout, &t->store, err, size);
	if (r == 0)
		r = sink_es_new(c, &t->sink, err, size);
	return r;
}

static int make_parts(struct tier *t)
{
	const struct conf *c = t->conf;
	int r;

	if ((r = pool_new("commit", COMMIT_THREADS, &t->pool_commit)) < 0 ||
	    (r = pool_new("store", STORE_THREADS, &t->pool_store)) < 0 ||
	    (r = pool_new_background("finish", (unsigned)c->archive_jobs, &t->pool_finish)) < 0 ||
	    (r = window_new((unsigned)c->store_window, c->store_window_bytes, &t->window)) < 0 ||
	    (r = blobs_new(t->store, c->read_cache, &t->blobs)) < 0 ||
	    (r = ahead_new(t, &t->ahead)) < 0 || (r = pushes_new(&t->pushes)) < 0 ||
	    (r = packs_new(&t->packs)) < 0 || (r = unfinished_new(&t->unfinished)) < 0 ||
	    (r = remotes_new(&t->remotes)) < 0 || (r = listings_new(&t->listings)) < 0 ||
	    (r = intents_new(t, &t->intents)) < 0 || (r = journal_new(t, &t->journal)) < 0 ||
	    (r = notify_new(t, &t->notify)) < 0 || (r = drop_new(t, &t->drop)) < 0 ||
	    (r = checkpoint_new(t, &t->checkpoint)) < 0 || (r = reaper_new(t, &t->reaper)) < 0)
		return r;
	return 0;
}

static int build(struct tier *t, int cache_fd, char *err, size_t size)
{
	int r;

	r = open_truths(t, cache_fd, err, size);
	if (r == 0)
		r = open_others(t, err, size);
	if (r == 0)
		r = make_parts(t);
	if (r == 0)
		r = intents_recover(t);
	if (r == 0)
		r = journal_start(t->journal, VERDICT_MS, err, size);
	if (r == 0)
		r = intents_start(t->intents);
	if (r < 0 && !err[0])
		snprintf(err, size, "cannot start: %s", strerror(-r));
	return r;
}

int tier_open(const struct conf *conf, int cache_fd, const char *mountpoint, struct tier **ret,
	      char *err, size_t size)
{
	struct tier *t = calloc(1, sizeof(*t));
	int r;

	err[0] = '\0';
	if (t)
		t->mountpoint = strdup(mountpoint);
	if (!t || !t->mountpoint) {
		free(t);
		snprintf(err, size, "out of memory");
		return -ENOMEM;
	}
	t->conf = conf;
	r = build(t, cache_fd, err, size);
	if (r < 0) {
		tier_close(t);
		return r;
	}
	close(cache_fd);
	*ret = t;
	return 0;
}

int tier_start(struct tier *t)
{
	int r;

	if ((r = notify_start(t->notify)) < 0 || (r = reaper_start(t->reaper)) < 0 ||
	    (r = drop_start(t->drop)) < 0 || (r = checkpoint_start(t->checkpoint)) < 0)
		return r;
	return 0;
}

void tier_stop(struct tier *t)
{
	reaper_stop(t->reaper);
	checkpoint_stop(t->checkpoint);
	drop_stop(t->drop);
	notify_stop(t->notify);
}

void tier_close(struct tier *t)
{
	if (!t)
		return;
	pool_free(t->pool_finish);
	pool_free(t->pool_store);
	pool_free(t->pool_commit);
	if (t->intents)
		intents_stop(t->intents);
	if (t->journal)
		journal_stop(t->journal);
	reaper_free(t->reaper);
	checkpoint_free(t->checkpoint);
	drop_free(t->drop);
	packs_free(t->packs);
	unfinished_free(t->unfinished);
	notify_free(t->notify);
	intents_free(t->intents);
	sink_free(t->sink);
	store_close(t->store);
	journal_free(t->journal);
	policy_free(t->policy);
	window_free(t->window);
	catalogue_close(t->cat);
	listings_free(t->listings);
	remotes_free(t->remotes);
	ahead_free(t->ahead);
	pushes_free(t->pushes);
	blobs_free(t->blobs);
	cache_close(t->cache);
	tree_free(t->tree);
	free(t->mountpoint);
	free(t);
}
