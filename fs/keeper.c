/* SPDX-License-Identifier: MIT */
/*
 * Keeping a mount in bounds.
 *
 * Inodes: the kernel remembers every name it was ever told, and each costs memory
 * here.  At max_inodes it is asked to drop names of files that are not open, until
 * a sixteenth is free; directories stay, as dropping one drops what is below it and
 * may be somebody's working directory.  Listings make none beyond (op_dir.c): they are
 * faster than this, and giving a name and having it forgotten costs more than a look-up.
 *
 * Covered processes change the cache unseen, so nothing is kept long while one lives.
 */
#include "fs/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/covered.h"
#include "lib/clock.h"
#include "lib/log.h"

#define TICK_MS 1000
#define ABOVE_TICK_MS 100 /* while there are more inodes than may be: look-ups make them */
#define SCAN_MS 10000
#define COVERED_TIMEOUT_MS 1000
#define FORGET_MAX 65536
#define NAMED_MAX 10

struct keeper {
	struct fs *fs; /* borrowed */
	pthread_t thread;
	struct lock lock;
	struct cond stop;
	bool stopping; /* protected by lock */

	/* The thread's own. */
	int covered;	 /* processes found by the last scan */
	int64_t scan_ms; /* when covered processes are looked for next */
	bool above;	 /* max_inodes were there at the last look */
};

/* ---- inodes ------------------------------------------------------------------ */

struct victims {
	struct fs *fs;
	struct node **nodes; /* counted */
	size_t n, max;
};

static bool choose(struct node *node, void *arg)
{
	struct victims *v = arg;

	if (!node_is_dir(node) && node_nopen(v->fs->tree, node) == 0)
		v->nodes[v->n++] = node_ref(node);
	return v->n < v->max;
}

static void forget(struct fs *fs, struct node *node)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;

	if (node_name(fs->tree, node, &parent, name) == 0) {
		session_forget_name(fs, node_ino(parent), name);
		fs_put(fs, parent);
	}
	fs_put(fs, node);
}

/* How many names were given back. */
static size_t forget_some(struct fs *fs, uint64_t excess)
{
	struct victims v = { .fs = fs, .max = excess < FORGET_MAX ? excess : FORGET_MAX };

	v.nodes = malloc(v.max * sizeof(*v.nodes));
	if (!v.nodes)
		return 0;
	tree_each(fs->tree, choose, &v);
	for (size_t i = 0; i < v.n; i++)
		forget(fs, v.nodes[i]);
	free(v.nodes);
	atomic_fetch_add(&fs->forgotten, v.n);
	return v.n;
}

static void bound_inodes(struct keeper *k)
{
	struct fs *fs = k->fs;
	uint64_t max = fs->conf->max_inodes;
	uint64_t count = tree_count(fs->tree);
	bool above = count >= max;

	if (above != k->above)
		log_debug("%llu inodes in memory, max_inodes=%llu: %s", (unsigned long long)count,
			  (unsigned long long)max,
			  above ? "asking the kernel to forget some" : "enough forgotten");
	k->above = above;
	if (above)
		forget_some(fs, count - max + max / 16);
}

/* ---- covered processes ---------------------------------------------------------- */

static void name_process(void *arg, pid_t pid, const char *program)
{
	int *named = arg;

	if (named && ++*named <= NAMED_MAX)
		log_warning("process %d (%s) is still inside the covered directory and writes to "
			    "it unseen: restart it",
			    (int)pid, program);
}

static void look_for_covered(struct keeper *k, bool first)
{
	struct fs *fs = k->fs;
	int named = 0;
	struct stat st;
	int n;

	if (fstat(cache_root_fd(tier_cache(fs->tier)), &st) < 0)
		return;
	n = covered_scan(fs->params.mountpoint, st.st_dev, name_process, first ? &named : NULL);
	if (n < 0)
		n = k->covered; /* not known: as it was */
	if (n > 0)
		atomic_store(&fs->timeout_ms, fs->conf->attr_timeout < COVERED_TIMEOUT_MS
						      ? fs->conf->attr_timeout
						      : COVERED_TIMEOUT_MS);
	else
		atomic_store(&fs->timeout_ms, fs->conf->attr_timeout);
	if (named > NAMED_MAX)
		log_warning("and %d more processes", named - NAMED_MAX);
	if (k->covered > 0 && n == 0)
		log_info("no process is inside the covered directory any more");
	k->covered = n;
}

/* ---- the thread ------------------------------------------------------------------ */

static bool wait_tick(struct keeper *k)
{
	bool above = tree_count(k->fs->tree) > k->fs->conf->max_inodes;
	int64_t deadline = clock_mono_ms() + (above ? ABOVE_TICK_MS : TICK_MS);
	bool go_on;

	lock_take(&k->lock);
	while (!k->stopping && cond_wait_until(&k->stop, &k->lock, deadline))
		;
	go_on = !k->stopping;
	lock_drop(&k->lock);
	return go_on;
}

static void *run(void *arg)
{
	struct keeper *k = arg;

	while (wait_tick(k)) {
		bound_inodes(k);
		if (k->covered > 0 && clock_mono_ms() >= k->scan_ms) {
			look_for_covered(k, false);
			k->scan_ms = clock_mono_ms() + SCAN_MS;
		}
	}
	return NULL;
}

int keeper_start(struct fs *fs, struct keeper **ret)
{
	struct keeper *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	k->fs = fs;
	lock_init(&k->lock, LOCK_RANK_LEAF, "keeper");
	cond_init(&k->stop);
	k->scan_ms = clock_mono_ms() + SCAN_MS;
	if (fs->params.in_place)
		look_for_covered(k, true);
	r = -pthread_create(&k->thread, NULL, run, k);
	if (r < 0) {
		cond_fini(&k->stop);
		lock_fini(&k->lock);
		free(k);
		return r;
	}
	pthread_setname_np(k->thread, "ebb-keeper");
	*ret = k;
	return 0;
}

void keeper_stop(struct keeper *k)
{
	if (!k)
		return;
	lock_take(&k->lock);
	k->stopping = true;
	cond_broadcast(&k->stop);
	lock_drop(&k->lock);
	pthread_join(k->thread, NULL);
	cond_fini(&k->stop);
	lock_fini(&k->lock);
	free(k);
}
