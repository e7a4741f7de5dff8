/* SPDX-License-Identifier: MIT */
/*
 * Renaming: files and directories, over what is there, without replacing, exchanging.
 *
 *	no rows touched   freeze the tree, renameat2, move the nodes, thaw
 *	rows touched	  claims -> rows moved, replaced row to the trash, intent: one
 *			  commit -> as above -> settled
 *
 * The rows are tier/rename_rows.c's.
 *
 * Always true: a directory is one row, whatever is below it; objects keep their
 * names; a released file moves by its row alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/failpoint.h"
#include "tier/rename_int.h"

/* ---- the cache ------------------------------------------------------------ */

static int rename_between(int from, const char *name, int to, const char *new_name, unsigned flags)
{
	return renameat2(from, name, to, new_name, flags) < 0 ? -errno : 0;
}

/*
 * What the rename means for the cache.  A side that is released has nothing there:
 * an exchange becomes a rename of the other, and a released source replaces by removing.
 */
static int cache_change(struct moving *m, int adir, int bdir)
{
	struct side *a = &m->a, *b = &m->b;
	bool exchange = m->flags & RENAME_EXCHANGE;

	if (a->look.has_cache && exchange && !b->look.has_cache)
		return rename_between(adir, a->name, bdir, b->name, RENAME_NOREPLACE);
	if (a->look.has_cache)
		return rename_between(adir, a->name, bdir, b->name, m->flags);
	if (!b->look.has_cache)
		return 0;
	if (exchange)
		return rename_between(bdir, b->name, adir, a->name, RENAME_NOREPLACE);
	return unlinkat(bdir, b->name, b->look.is_dir ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}

static void move_nodes(struct moving *m)
{
	struct tree *tree = m->t->tree;

	if (m->flags & RENAME_EXCHANGE)
		tree_swap_frozen(tree, m->a.parent, m->a.name, m->b.parent, m->b.name);
	else
		tree_move_frozen(tree, m->a.parent, m->a.name, m->b.parent, m->b.name);
}

/* Which cache directories the change needs: a released one has none. */
static bool needs_dir(const struct moving *m, const struct side *s)
{
	const struct side *other = s == &m->a ? &m->b : &m->a;

	if (s->look.has_cache)
		return true;
	return other->look.has_cache && (s == &m->b || (m->flags & RENAME_EXCHANGE));
}

static int change_cache(struct moving *m)
{
	struct tier *t = m->t;
	struct dirfd *ad = NULL, *bd = NULL;
	int r = 0;

	if (needs_dir(m, &m->a))
		r = cache_dir(t->cache, m->a.parent, &ad);
	if (r == 0 && needs_dir(m, &m->b))
		r = cache_dir(t->cache, m->b.parent, &bd);
	if (r == 0) {
		tree_freeze(t->tree);
		r = cache_change(m, ad ? dirfd_fd(ad) : -1, bd ? dirfd_fd(bd) : -1);
		if (r == 0)
			move_nodes(m);
		tree_thaw(t->tree);
	}
	if (ad)
		cache_dir_put(t->cache, ad);
	if (bd)
		cache_dir_put(t->cache, bd);
	if (r != -ENOENT)
		return r;
	/* A parent was released meanwhile, its descriptor may be kept: look again. */
	cache_dir_forget(t->cache, m->a.parent);
	cache_dir_forget(t->cache, m->b.parent);
	return -ESTALE;
}

/* ---- the whole ------------------------------------------------------------ */

static int check(const struct moving *m)
{
	const struct side *a = &m->a, *b = &m->b;
	bool there = b->look.state != STATE_NONE;

	if (a->look.state == STATE_NONE)
		return -ENOENT;
	if (m->flags & RENAME_EXCHANGE)
		return there ? 0 : -ENOENT;
	if (!there)
		return 0;
	if (m->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (a->look.is_dir && !b->look.is_dir)
		return -ENOTDIR;
	if (!a->look.is_dir && b->look.is_dir)
		return -EISDIR;
	if (b->look.is_dir && b->look.has_row &&
	    cat_dir_is_empty(m->t->cat, b->look.dir_row.id) != 1)
		return -ENOTEMPTY;
	return 0;
}

static bool same_file(const struct moving *m)
{
	return m->a.look.has_cache && m->b.look.has_cache &&
	       m->a.look.cache.st_ino == m->b.look.cache.st_ino;
}

static bool touches_rows(const struct moving *m)
{
	return m->a.look.has_row || m->b.look.has_row;
}

/* The cache changes, too: what its names have is noted for the intent. */
static int note_names(struct moving *m)
{
	struct side *a = &m->a, *b = &m->b;
	int r;

	if (!a->look.has_cache && !b->look.has_cache)
		return 0;
	m->in_cache = true;
	r = intent_name_init(m->t, a->parent, a->name, a->look.has_cache ? &a->look.cache : NULL,
			     &m->from);
	if (r < 0)
		return r;
	return intent_name_init(m->t, b->parent, b->name, b->look.has_cache ? &b->look.cache : NULL,
				&m->to);
}

/* A rename moves the file's ctime: its row goes on proving what it proved. */
static void keep_identity(struct moving *m, const struct side *was, const struct side *is)
{
	struct identity before;
	struct stat st;

	if (was->look.state != STATE_ARCHIVED ||
	    cache_stat(m->t->cache, is->parent, is->name, &st) < 0)
		return;
	before = cache_identity(&was->look.cache);
	ns_identity_moved(m->t, is->dirid, is->name, &was->look.row, &before, &st);
}

/* ---- what a power cut must not separate ------------------------------------------- */

static bool is_released(const struct side *s)
{
	return s->look.has_row && !s->look.has_cache;
}

/*
 * What is released is nowhere but in its row: that is on the disk where it moves to before the
 * cache has another file under one of the names.  A directory has all that is below it with it.
 */
static enum sync sync_of(const struct moving *m)
{
	const struct side *a = &m->a, *b = &m->b;
	bool exchange = m->flags & RENAME_EXCHANGE;

	if (is_released(a) || (a->look.has_row && a->look.is_dir))
		return SYNC_FULL;
	if (exchange && (is_released(b) || (b->look.has_row && b->look.is_dir)))
		return SYNC_FULL;
	return SYNC_NORMAL;
}

static int sync_source(struct moving *m)
{
	struct tier *t = m->t;
	int fd = cache_open_node(t->cache, m->a.node, O_RDONLY);
	int r;

	if (fd < 0)
		return fd;
	r = fdatasync(fd) < 0 ? -errno : 0;
	close(fd);
	return r < 0 ? r : cache_sync_dir(t->cache, m->a.parent);
}

/*
 * A row leaves for bytes that are on the disk.  And a row does not come to a name whose old
 * file may be there again: what is removed, if it is, is so on the disk.
 */
static int sync_before(struct moving *m)
{
	const struct side *a = &m->a, *b = &m->b;
	bool exchange = m->flags & RENAME_EXCHANGE;
	int r = 0;

	if (!exchange && is_released(b) && a->look.has_cache && S_ISREG(a->look.cache.st_mode))
		r = sync_source(m);
	else if (is_released(a) && !b->look.has_cache)
		r = cache_sync_dir(m->t->cache, b->parent);
	return r == -ENOENT ? 0 : r;
}

/* ---- the rows, then the cache ------------------------------------------------------- */

/*
 * The cache refused.  Rows that cannot go back would stand for the wrong files, and be
 * believed: nothing may change any more until start-up has taken them back.
 */
static void take_rows_back(struct moving *m)
{
	struct tier *t = m->t;
	int r = failpoint(RENAME_REFUSED);

	listing_note_gained(t, m->a.parent, m->a.name);
	if (r == 0)
		r = catalogue_write(t->cat, SYNC_NORMAL, rename_rows_undo, m);
	if (r == 0)
		return;
	log_error("cannot take back the renaming of '%s' to '%s', which the cache refused: %s: "
		  "mount again",
		  m->a.path, m->b.path, strerror(-r));
	catalogue_set_readonly(t->cat, "it does not agree with the cache until ebbfs is mounted "
				       "again");
}

static int rename_with_rows(struct moving *m)
{
	struct tier *t = m->t;
	int r;

	r = note_names(m);
	if (r == 0)
		r = sync_before(m);
	if (r < 0)
		return r;
	listing_note_lost(t, m->a.parent, m->a.name);
	listing_note_gained(t, m->b.parent, m->b.name);
	if (m->flags & RENAME_EXCHANGE)
		listing_note_gained(t, m->a.parent, m->a.name);
	r = catalogue_write(t->cat, sync_of(m), rename_rows_run, m);
	if (r == 0)
		r = failpoint(RENAME_COMMIT);
	if (r < 0)
		return r;
	/* A released file that takes the place of a local one: the name stays, by its row. */
	listing_note_release(t, m->a.parent, m->a.name);
	listing_note_release(t, m->b.parent, m->b.name);
	r = change_cache(m);
	if (r < 0) {
		take_rows_back(m);
		return r;
	}
	keep_identity(m, &m->a, &m->b);
	if (m->flags & RENAME_EXCHANGE)
		keep_identity(m, &m->b, &m->a);
	r = failpoint(RENAME_CACHE);
	if (m->in_cache)
		intents_settle(t->intents, m->intent, m->a.parent, m->b.parent, m->a.node);
	return r;
}

static int look_side(struct tier *t, struct side *s)
{
	int r = state_look(t, s->parent, s->name, &s->look);

	if (r == 0)
		r = state_dirid(t, s->parent, &s->dirid);
	/* Asked by its old name later, a directory would be taken for one without rows. */
	if (r == 0 && s->look.is_dir && node_is_dir(s->node)) {
		dirid_t own;

		r = state_dirid(t, s->node, &own);
	}
	return r;
}

/* Under the claims of both nodes. */
static int rename_claimed(struct moving *m, bool wait)
{
	struct tier *t = m->t;
	int r;

	r = look_side(t, &m->a);
	if (r == 0)
		r = look_side(t, &m->b);
	if (r == 0)
		r = check(m);
	if (r < 0 || same_file(m))
		return r;
	if (!wait && (touches_rows(m) || intents_has_moved(t->intents, m->a.node)))
		return TIER_PARK;
	/* Back where it was, it would look to start-up as if it had never been renamed. */
	intents_wait_moved(t->intents, m->a.node);
	if (!touches_rows(m))
		return change_cache(m);
	if ((m->a.look.has_row && m->b.dirid == 0) ||
	    (m->b.look.has_row && m->a.dirid == 0 && (m->flags & RENAME_EXCHANGE)))
		return -EAGAIN; /* the new parent needs a row first */
	if (node_child_path(t->tree, m->a.parent, m->a.name, &m->a.path) < 0 ||
	    node_child_path(t->tree, m->b.parent, m->b.name, &m->b.path) < 0)
		return -ENOMEM;
	return rename_with_rows(m);
}

static void moving_fini(struct moving *m)
{
	struct side *sides[] = { &m->a, &m->b };

	for (int i = 0; i < 2; i++) {
		if (sides[i]->node)
			node_put(m->t->tree, sides[i]->node);
		free(sides[i]->path);
	}
	intent_name_fini(&m->from);
	intent_name_fini(&m->to);
}

static int side_node(struct tier *t, struct side *s)
{
	int r = state_look(t, s->parent, s->name, &s->look);

	if (r < 0)
		return r;
	return node_get(t->tree, s->parent, s->name, s->look.is_dir, &s->node);
}

static enum moved_by moved_by(const struct moving *m, const struct side *s)
{
	return needs_dir(m, s) ? MOVED_BY_CACHE : MOVED_BY_NOBODY;
}

static int try_rename(struct moving *m, bool wait)
{
	struct tier *t = m->t;
	int r;

	r = side_node(t, &m->a);
	if (r == 0)
		r = side_node(t, &m->b);
	if (r < 0)
		return r;
	if (wait)
		node_claim_two(t->tree, m->a.node, m->b.node);
	else if (!node_try_claim_two(t->tree, m->a.node, m->b.node))
		return TIER_PARK;
	r = rename_claimed(m, wait);
	node_unclaim_two(t->tree, m->a.node, m->b.node);
	if (r == 0 && !same_file(m)) {
		user_action_done(t, m->a.parent, moved_by(m, &m->a));
		user_action_done(t, m->b.parent, moved_by(m, &m->b));
		if (m->a.look.is_dir)
			reaper_moved(t, m->a.node);
		if (m->b.look.is_dir && (m->flags & RENAME_EXCHANGE))
			reaper_moved(t, m->b.node);
		if (m->b.look.state != STATE_NONE && !m->b.look.is_dir)
			ns_touch_left(t, m->b.node);
		reaper_touch(t, m->b.parent);
		reaper_touch(t, m->a.parent);
	}
	return r;
}

/* Cache directories of both sides: a local name cannot move into a released one. */
static int make_parents(struct tier *t, struct node *parent, struct node *new_parent, bool wait)
{
	int r = ns_materialize_dir(t, new_parent, wait);

	return r != 0 ? r : ns_materialize_dir(t, parent, wait);
}

int ns_rename(struct tier *t, struct node *parent, const char *name, struct node *new_parent,
	      const char *new_name, unsigned flags, bool wait)
{
	dirid_t id;
	int r;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (strlen(new_name) > ROW_NAME_MAX)
		return -ENAMETOOLONG;
	for (int tries = 0; tries < 8; tries++) {
		struct moving m = {
			.t = t,
			.a = { .parent = parent, .name = name },
			.b = { .parent = new_parent, .name = new_name },
			.flags = flags,
		};

		r = make_parents(t, parent, new_parent, wait);
		if (r == 0) {
			r = try_rename(&m, wait);
			moving_fini(&m);
		}
		if (r != -EAGAIN && r != -ESTALE)
			return r;
		if (r == -EAGAIN)
			r = rows_make_dirs(t, new_parent, &id);
		if (r == 0 && (flags & RENAME_EXCHANGE))
			r = rows_make_dirs(t, parent, &id);
		if (r < 0 && r != -ESTALE)
			return r;
	}
	return -EBUSY;
}
