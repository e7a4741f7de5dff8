/* SPDX-License-Identifier: MIT */
/*
 * Our own actions leave no trace that a user sees.
 *
 * Releasing, restoring and making directories again change the times of cache
 * directories; users are shown the times of before for as long as nothing of
 * theirs changed.  The node keeps it for now, the directory's row for later.
 *
 * Users' actions do, also those that the cache has no part in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "tier/ns_int.h"

struct own_job {
	struct cat_job job;
	dirid_t dir;
	struct own_times times;
	struct tree *tree; /* borrowed; of node */
	struct node *node; /* counted; NULL: who waits has it */
};

static int own_run_wait(struct tx *tx, void *arg)
{
	const struct own_job *o = arg;
	struct dir_row row;
	int r;

	r = tx_dir_get(tx, o->dir, &row);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	row.attr.mtime_ns = o->times.mtime_ns;
	row.attr.ctime_ns = o->times.ctime_ns;
	row.c_mtime_ns = o->times.c_mtime_ns;
	row.c_ctime_ns = o->times.c_ctime_ns;
	return tx_dir_put(tx, &row);
}

static int own_run(struct tx *tx, struct cat_job *job)
{
	return own_run_wait(tx, job);
}

static void own_free(struct cat_job *job, int result)
{
	struct own_job *o = (struct own_job *)job;

	(void)result; /* the catalogue has logged it; the times are only cosmetic */
	node_put(o->tree, o->node);
	free(o);
}

int own_action_begin(struct tier *t, struct node *dir)
{
	struct own_times times = { .set = true, .user_changes = node_user_changes(dir) };
	struct state_of look;
	int r;

	r = state_look_node(t, dir, &look);
	if (r < 0)
		return r;
	times.mtime_ns = ts_to_ns(look.shown.st_mtim);
	times.ctime_ns = ts_to_ns(look.shown.st_ctim);
	times.c_since_ns = look.has_cache ? ts_to_ns(look.cache.st_ctim) : 0;
	node_own_begin(t->tree, dir, &times);
	return 0;
}

void own_action_end(struct tier *t, struct node *dir, bool changed)
{
	struct own_times times;
	struct own_job *o;
	struct stat st;
	int r;

	r = cache_stat_node(t->cache, dir, &st);
	if (!node_own_end(t->tree, dir, changed, r < 0 ? NULL : &st, &times) ||
	    node_dirid(dir) <= 0)
		return;
	o = calloc(1, sizeof(*o));
	if (!o)
		return;
	o->job.run = own_run;
	o->job.done = own_free;
	o->dir = node_dirid(dir);
	o->times = times;
	/* Forgotten and made anew before the commit, it would learn what the row said before. */
	o->tree = t->tree;
	o->node = node_ref(dir);
	catalogue_submit(t->cat, &o->job);
}

dirid_t user_times_in_row(struct tier *t, struct node *dir)
{
	dirid_t id = node_dirid(dir);
	struct dirfd *d;
	int r;

	if (id <= 0)
		return 0;
	r = cache_dir(t->cache, dir, &d);
	if (r == 0)
		cache_dir_put(t->cache, d);
	return r == -ENOENT ? id : 0;
}

int tx_user_times(struct tx *tx, dirid_t dir)
{
	struct own_job o = { .dir = dir };

	o.times.mtime_ns = o.times.ctime_ns = clock_real_ns();
	return own_run_wait(tx, &o);
}

/* A released directory's are in its row.  Waited for: the kernel asks next, and keeps the answer. */
void user_action_done(struct tier *t, struct node *dir, enum moved_by by)
{
	const struct timespec now[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };
	struct own_job o = { .dir = node_dirid(dir) };
	struct dirfd *d;
	int r;

	node_user_changed(dir);
	if (by == MOVED_BY_CACHE)
		return;
	/* Also after a commit: it may have been made again from what the row said before. */
	r = cache_dir(t->cache, dir, &d);
	if (r == 0) {
		r = futimens(dirfd_fd(d), now) < 0 ? -errno : 0;
		cache_dir_put(t->cache, d);
	} else if (r == -ENOENT && o.dir > 0 && by == MOVED_BY_NOBODY) {
		o.times.mtime_ns = o.times.ctime_ns = clock_real_ns();
		r = catalogue_write(t->cat, SYNC_NORMAL, own_run_wait, &o);
	}
	if (r < 0 && r != -ENOENT)
		log_warning("cannot set the time of a directory: %s", strerror(-r));
}
