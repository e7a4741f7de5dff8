/* SPDX-License-Identifier: MIT */
/*
 * Who acts on a node just now: claims, handles, and the leaving of a local copy.
 *
 * All of it lies in the node, protected by the lock of its shard; threads that wait
 * share the shard's condition.  Claims are tickets: a node is claimed while
 * ticket_next is ahead of ticket_now, whoever waits has a number in between.
 *
 *	             ticket_now == ticket_next    nopen > 0    leaving
 *	idle         yes                          any          no
 *	claimed      no                           any          no
 *	leaving      no                           no           yes
 */
#include <assert.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "tier/node_int.h"

struct shard *node_shard(struct tree *tree, const struct node *node)
{
	return &tree->shards[table_hash_u64((uintptr_t)node) % TREE_SHARDS];
}

static void shard_wait(struct shard *s) REQUIRES(s->lock)
{
	s->nwaiting++;
	cond_wait(&s->cond, &s->lock);
	s->nwaiting--;
}

static void shard_wake(struct shard *s) REQUIRES(s->lock)
{
	if (s->nwaiting)
		cond_broadcast(&s->cond);
}

/* ---- claims ----------------------------------------------------------------- */

/*
 * Rule 2 of tier/node.h, checked where lock orders are.  What a thread holds is
 * counted by kind: files, then directories.  try: it does not wait, so it may.
 */
#ifdef EBB_DEBUG_LOCKS
static _Thread_local unsigned n_held[2];

static void check_order(const struct node *node)
{
	assert(n_held[1] == 0);
	assert(node->is_dir || n_held[0] == 0);
}

static void count_held(const struct node *node, int by)
{
	assert(by > 0 || n_held[node->is_dir] > 0);
	n_held[node->is_dir] += (unsigned)by;
}
#else
#define check_order(node) ((void)(node))
#define count_held(node, by) ((void)(node))
#endif

static void claim_waiting(struct tree *tree, struct node *node)
{
	struct shard *s = node_shard(tree, node);
	uint16_t mine;

	lock_take(&s->lock);
	mine = node->ticket_next++;
	assert(node->ticket_next != node->ticket_now);
	while (node->ticket_now != mine)
		shard_wait(s);
	lock_drop(&s->lock);
	count_held(node, 1);
}

void node_claim(struct tree *tree, struct node *node)
{
	check_order(node);
	claim_waiting(tree, node);
}

bool node_try_claim(struct tree *tree, struct node *node)
{
	struct shard *s = node_shard(tree, node);
	bool free_now;

	lock_take(&s->lock);
	free_now = node->ticket_next == node->ticket_now;
	if (free_now)
		node->ticket_next++;
	lock_drop(&s->lock);
	if (free_now)
		count_held(node, 1);
	return free_now;
}

void tree_on_unclaim(struct tree *tree, void (*hook)(struct node *node, void *arg), void *arg)
{
	tree->on_unclaim_arg = arg;
	atomic_store(&tree->on_unclaim, hook);
}

void node_mark(struct tree *tree, struct node *node)
{
	struct shard *s = node_shard(tree, node);

	lock_take(&s->lock);
	node->is_marked = true;
	lock_drop(&s->lock);
}

/* The hook still runs under the claim: what it ends cannot have begun anew. */
static void call_hook(struct tree *tree, struct node *node)
{
	void (*hook)(struct node *, void *) = atomic_load(&tree->on_unclaim);

	if (hook)
		hook(node, tree->on_unclaim_arg);
}

void node_unclaim(struct tree *tree, struct node *node)
{
	struct shard *s = node_shard(tree, node);

	lock_take(&s->lock);
	assert(node->ticket_next != node->ticket_now);
	if (node->is_marked) {
		node->is_marked = false;
		lock_drop(&s->lock);
		call_hook(tree, node);
		lock_take(&s->lock);
	}
	node->ticket_now++;
	node->leaving = false;
	shard_wake(s);
	lock_drop(&s->lock);
	count_held(node, -1);
}

static bool comes_before(const struct node *a, const struct node *b)
{
	return a->is_dir != b->is_dir ? b->is_dir : (uintptr_t)a < (uintptr_t)b;
}

static void in_order(struct node **a, struct node **b)
{
	struct node *t = *a;

	if (*b && comes_before(*b, *a)) {
		*a = *b;
		*b = t;
	}
}

void node_claim_two(struct tree *tree, struct node *a, struct node *b)
{
	in_order(&a, &b);
	node_claim(tree, a);
	if (b && b != a)
		claim_waiting(tree, b);
}

bool node_try_claim_two(struct tree *tree, struct node *a, struct node *b)
{
	if (!node_try_claim(tree, a))
		return false;
	if (!b || b == a || node_try_claim(tree, b))
		return true;
	node_unclaim(tree, a);
	return false;
}

void node_unclaim_two(struct tree *tree, struct node *a, struct node *b)
{
	node_unclaim(tree, a);
	if (b && b != a)
		node_unclaim(tree, b);
}

/* ---- handles ---------------------------------------------------------------- */

bool node_leave(struct tree *tree, struct node *node)
{
	struct shard *s = node_shard(tree, node);
	bool leaving, is_linked;

	lock_take(&s->lock);
	assert(node->ticket_next != node->ticket_now);
	leaving = node->nopen == 0;
	node->leaving = leaving;
	lock_drop(&s->lock);
	if (!leaving)
		return false;
	rwlock_read(&tree->lock);
	is_linked = node->is_linked;
	rwlock_read_drop(&tree->lock);
	if (is_linked) {
		/* the file system may give the cache inode's number to another file */
		tree_lock(tree);
		node_unlink_cache_ino(tree, node);
		tree_unlock(tree);
	}
	return true;
}

bool node_open_begin(struct tree *tree, struct node *node, bool write, bool wait)
{
	struct shard *s = node_shard(tree, node);
	bool may;

	lock_take(&s->lock);
	while (node->leaving && wait)
		shard_wait(s);
	may = !node->leaving;
	if (may) {
		node->nopen++;
		node->nwrite += write;
	}
	lock_drop(&s->lock);
	return may;
}

void node_open_end(struct tree *tree, struct node *node, bool write)
{
	struct shard *s = node_shard(tree, node);

	lock_take(&s->lock);
	assert(node->nopen > 0 && node->nwrite >= write);
	node->nopen--;
	node->nwrite -= write;
	lock_drop(&s->lock);
}

unsigned node_nopen(struct tree *tree, struct node *node)
{
	struct shard *s = node_shard(tree, node);
	unsigned n;

	lock_take(&s->lock);
	n = node->nopen;
	lock_drop(&s->lock);
	return n;
}

unsigned node_nwrite(struct tree *tree, struct node *node)
{
	struct shard *s = node_shard(tree, node);
	unsigned n;

	lock_take(&s->lock);
	n = node->nwrite;
	lock_drop(&s->lock);
	return n;
}

/* ---- times of directories ------------------------------------------------------ */

void node_user_changed(struct node *dir)
{
	assert(dir->is_dir);
	atomic_fetch_add(&dir->dir[0].user_changes, 1);
}

uint64_t node_user_changes(const struct node *dir)
{
	assert(dir->is_dir);
	return atomic_load(&dir->dir[0].user_changes);
}

/* Without memory nothing is claimed: users see the cache's times.  The shard is locked; old to be freed. */
static struct own_times *replace_own(struct node *dir, const struct own_times *times,
				     struct own_times *own)
{
	struct node_dir *d = &dir->dir[0];
	struct own_times *old = d->own;

	if (own) {
		*own = *times;
		if (d->own_busy > 0)
			own->c_ctime_ns = OWN_UNDER_WAY;
	}
	d->own = own;
	d->own_known = true;
	return old;
}

static void put_own_times(struct tree *tree, struct node *dir, const struct own_times *times,
			  bool learn)
{
	struct shard *s = node_shard(tree, dir);
	struct own_times now = *times;
	struct own_times *own = times->set ? malloc(sizeof(*own)) : NULL;

	assert(dir->is_dir);
	now.user_changes = node_user_changes(dir);
	lock_take(&s->lock);
	if (!learn || !dir->dir[0].own_known)
		own = replace_own(dir, &now, own);
	lock_drop(&s->lock);
	free(own);
}

void node_set_own_times(struct tree *tree, struct node *dir, const struct own_times *times)
{
	put_own_times(tree, dir, times, false);
}

void node_learn_own_times(struct tree *tree, struct node *dir, const struct own_times *times)
{
	put_own_times(tree, dir, times, true);
}

static bool is_under_way(const struct own_times *own)
{
	return own && own->c_ctime_ns == OWN_UNDER_WAY;
}

void node_own_begin(struct tree *tree, struct node *dir, const struct own_times *times)
{
	struct shard *s = node_shard(tree, dir);
	struct own_times *own = malloc(sizeof(*own));
	struct node_dir *d = &dir->dir[0];

	assert(dir->is_dir && times->set);
	lock_take(&s->lock);
	d->own_busy++;
	if (!is_under_way(d->own) || d->own->user_changes != times->user_changes)
		own = replace_own(dir, times, own);
	lock_drop(&s->lock);
	free(own);
}

/* They look before they take the lock: the last to end need not have looked last. */
static void note_left(struct own_times *own, const struct stat *now)
{
	if (ts_to_ns(now->st_ctim) < own->left_ctime_ns)
		return;
	own->left_mtime_ns = ts_to_ns(now->st_mtim);
	own->left_ctime_ns = ts_to_ns(now->st_ctim);
}

/* Nothing is under way.  False: nothing to be shown but the cache's. */
static bool settle_own(struct own_times *own, bool changed)
{
	own->c_mtime_ns = own->left_mtime_ns;
	own->c_ctime_ns = own->left_ctime_ns;
	return changed || own->mtime_ns != own->c_mtime_ns || own->ctime_ns != own->c_ctime_ns;
}

bool node_own_end(struct tree *tree, struct node *dir, bool changed, const struct stat *now,
		  struct own_times *ret)
{
	struct shard *s = node_shard(tree, dir);
	struct node_dir *d = &dir->dir[0];
	struct own_times *old = NULL;
	bool keep = false;

	lock_take(&s->lock);
	assert(d->own_busy > 0);
	d->own_changed |= changed;
	if (d->own && now)
		note_left(d->own, now);
	if (--d->own_busy == 0) {
		keep = d->own && now && d->own->user_changes == node_user_changes(dir) &&
		       settle_own(d->own, d->own_changed);
		if (keep) {
			*ret = *d->own;
		} else {
			old = d->own;
			d->own = NULL;
		}
		keep = keep && d->own_changed;
		d->own_changed = false;
	}
	lock_drop(&s->lock);
	free(old);
	return keep;
}

struct own_times node_own_times(struct tree *tree, struct node *dir)
{
	struct shard *s = node_shard(tree, dir);
	struct own_times times = { .set = false };

	if (!dir->is_dir)
		return times;
	lock_take(&s->lock);
	if (dir->dir[0].own)
		times = *dir->dir[0].own;
	times.known = dir->dir[0].own_known;
	lock_drop(&s->lock);
	if (times.user_changes != node_user_changes(dir))
		times.set = false;
	return times;
}

void node_claim_fini(struct node *node)
{
	if (node->is_dir)
		free(node->dir[0].own);
}
