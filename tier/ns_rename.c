/* SPDX-License-Identifier: MIT */
/*
 * Renaming: files and directories, over what is there, without replacing, exchanging.
 *
 *	no rows touched   freeze the tree, renameat2, move the nodes, thaw
 *	rows touched	  claims -> rows moved, replaced row to the trash, intent: one
 *			  commit -> as above -> settled
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
#include "tier/ns_int.h"

struct side {
	struct node *parent; /* borrowed */
	const char *name;    /* borrowed */
	struct node *node;   /* counted */
	struct state_of look;
	dirid_t dirid;	/* of parent */
	char *dir_path; /* owned */
	char *path;	/* owned */
};

struct moving {
	struct tier *t;
	struct side a, b;
	unsigned flags;
	char *payload; /* owned; NULL: the cache does not change */
	int64_t intent;
	int64_t trash;
	struct dir_row b_dir; /* the replaced directory's row, id 0: none */
};

/* ---- rows ----------------------------------------------------------------- */

static int tell_moved(struct moving *m, struct tx *tx, const struct file_row *old,
		      const struct side *to)
{
	const struct side *from = to == &m->b ? &m->a : &m->b;
	struct file_row now;
	int r;

	if (!old->told)
		return 0;
	r = rows_event(m->t, tx, old, from->path, EVENT_REMOVED);
	if (r == 0)
		r = tx_file_get(tx, to->dirid, to->name, &now);
	if (r == 0)
		r = rows_event(m->t, tx, &now, to->path, EVENT_ARCHIVED);
	return r;
}

static int replaced_row_leaves(struct moving *m, struct tx *tx)
{
	struct side *b = &m->b;
	struct file_row row;
	int r;

	r = tx_file_get(tx, b->dirid, b->name, &row);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return rows_to_trash(m->t, tx, &row, b->path,
			     b->look.state == STATE_CHANGED ? TRASH_UNSEEN : TRASH_REPLACED,
			     m->a.look.has_row ? 0 : EVENT_LOCAL, &m->trash);
}

static int move_rows(struct moving *m, struct tx *tx)
{
	struct side *a = &m->a, *b = &m->b;
	int r = 0;

	if (b->look.has_row && !b->look.is_dir)
		r = replaced_row_leaves(m, tx);
	if (r == 0 && b->look.has_row && b->look.is_dir) {
		m->b_dir = b->look.dir_row;
		r = tx_dir_delete(tx, m->b_dir.id);
	}
	if (r < 0 || !a->look.has_row)
		return r;
	if (a->look.is_dir)
		return tx_dir_move(tx, a->look.dir_row.id, b->dirid, b->name);
	r = tx_file_move(tx, a->dirid, a->name, b->dirid, b->name);
	return r < 0 ? r : tell_moved(m, tx, &a->look.row, b);
}

/* "" is no name a user can give: room for one of two directories that change places. */
static int swap_dirs(struct moving *m, struct tx *tx)
{
	struct side *a = &m->a, *b = &m->b;
	int r;

	r = tx_dir_move(tx, a->look.dir_row.id, a->dirid, "");
	if (r == 0)
		r = tx_dir_move(tx, b->look.dir_row.id, a->dirid, a->name);
	if (r == 0)
		r = tx_dir_move(tx, a->look.dir_row.id, b->dirid, b->name);
	return r;
}

static int swap_rows(struct moving *m, struct tx *tx)
{
	struct side *a = &m->a, *b = &m->b;
	bool a_file = a->look.has_row && !a->look.is_dir, a_dir = a->look.has_row && a->look.is_dir;
	bool b_file = b->look.has_row && !b->look.is_dir, b_dir = b->look.has_row && b->look.is_dir;
	int r = 0;

	if (a_file && b_file)
		r = tx_file_swap(tx, a->dirid, a->name, b->dirid, b->name);
	else if (a_file)
		r = tx_file_move(tx, a->dirid, a->name, b->dirid, b->name);
	else if (b_file)
		r = tx_file_move(tx, b->dirid, b->name, a->dirid, a->name);
	if (r == 0 && a_dir && b_dir)
		r = swap_dirs(m, tx);
	else if (r == 0 && a_dir)
		r = tx_dir_move(tx, a->look.dir_row.id, b->dirid, b->name);
	else if (r == 0 && b_dir)
		r = tx_dir_move(tx, b->look.dir_row.id, a->dirid, a->name);
	if (r == 0 && a_file)
		r = tell_moved(m, tx, &a->look.row, b);
	if (r == 0 && b_file)
		r = tell_moved(m, tx, &b->look.row, a);
	return r;
}

static int rename_run(struct tx *tx, void *arg)
{
	struct moving *m = arg;
	int r = m->flags & RENAME_EXCHANGE ? swap_rows(m, tx) : move_rows(m, tx);

	if (r == 0 && m->payload)
		r = tx_intent_put(tx, INTENT_RENAME, m->payload, &m->intent);
	return r;
}

static int rename_undo(struct tx *tx, void *arg)
{
	struct moving *m = arg;
	struct side *a = &m->a, *b = &m->b;
	int r = 0;

	if (m->flags & RENAME_EXCHANGE) {
		struct moving back = *m;

		back.a = *b;
		back.b = *a;
		back.a.name = a->name, back.a.parent = a->parent, back.a.dirid = a->dirid;
		back.b.name = b->name, back.b.parent = b->parent, back.b.dirid = b->dirid;
		back.a.path = a->path;
		back.b.path = b->path;
		r = swap_rows(&back, tx);
		return r < 0 ? r : tx_intent_delete(tx, m->intent);
	}
	if (a->look.has_row && a->look.is_dir)
		r = tx_dir_move(tx, a->look.dir_row.id, a->dirid, a->name);
	else if (a->look.has_row)
		r = tx_file_move(tx, b->dirid, b->name, a->dirid, a->name);
	if (r == 0 && m->b_dir.id)
		r = tx_dir_put(tx, &m->b_dir);
	if (r == 0 && m->trash)
		r = rows_from_trash(m->t, tx, m->trash);
	return r < 0 ? r : tx_intent_delete(tx, m->intent);
}

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

static char *make_payload(struct moving *m)
{
	struct side *a = &m->a, *b = &m->b;
	struct intent_name from = { a->dir_path, a->name,
				    a->look.has_cache ? &a->look.cache : NULL };
	struct intent_name to = { b->dir_path, b->name, b->look.has_cache ? &b->look.cache : NULL };
	struct intent_rows rows = {
		.dir = a->dirid,
		.new_dir = b->dirid,
		.moved = a->look.has_row && !a->look.is_dir && !(m->flags & RENAME_EXCHANGE),
	};

	return intent_rename_payload(&from, &to, m->flags, &rows);
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

/*
 * A released file replaces a local one by its row alone: the row is on the disk before
 * the local one goes, or a power cut could leave the name with neither.
 */
static enum sync sync_of(const struct moving *m)
{
	bool goes = m->b.look.has_cache && !m->a.look.has_cache && !(m->flags & RENAME_EXCHANGE);

	return goes ? SYNC_FULL : SYNC_NORMAL;
}

static int rename_with_rows(struct moving *m)
{
	struct tier *t = m->t;
	int r;

	if (m->a.look.has_cache || m->b.look.has_cache) {
		m->payload = make_payload(m);
		if (!m->payload)
			return -ENOMEM;
	}
	listing_note_lost(t, m->a.parent, m->a.name);
	listing_note_gained(t, m->b.parent, m->b.name);
	if (m->flags & RENAME_EXCHANGE)
		listing_note_gained(t, m->a.parent, m->a.name);
	r = catalogue_write(t->cat, sync_of(m), rename_run, m);
	if (r == 0)
		r = failpoint(RENAME_COMMIT);
	if (r < 0)
		return r;
	/* A released file that takes the place of a local one: the name stays, by its row. */
	listing_note_release(t, m->a.parent, m->a.name);
	listing_note_release(t, m->b.parent, m->b.name);
	r = change_cache(m);
	if (r < 0) {
		listing_note_gained(t, m->a.parent, m->a.name);
		if (catalogue_write(t->cat, SYNC_NORMAL, rename_undo, m) < 0)
			log_error("cannot take back the renaming of '%s' to '%s': "
				  "start-up will finish it",
				  m->a.path, m->b.path);
		return r;
	}
	keep_identity(m, &m->a, &m->b);
	if (m->flags & RENAME_EXCHANGE)
		keep_identity(m, &m->b, &m->a);
	r = failpoint(RENAME_CACHE);
	if (m->payload)
		intents_settle(t->intents, m->intent, m->a.parent, m->b.parent);
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
	if (!touches_rows(m))
		return change_cache(m);
	if (!wait)
		return TIER_PARK;
	if ((m->a.look.has_row && m->b.dirid == 0) ||
	    (m->b.look.has_row && m->a.dirid == 0 && (m->flags & RENAME_EXCHANGE)))
		return -EAGAIN; /* the new parent needs a row first */
	if (node_path(t->tree, m->a.parent, &m->a.dir_path) < 0 ||
	    node_path(t->tree, m->b.parent, &m->b.dir_path) < 0 ||
	    node_child_path(t->tree, m->a.parent, m->a.name, &m->a.path) < 0 ||
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
		free(sides[i]->dir_path);
		free(sides[i]->path);
	}
	free(m->payload);
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
			reaper_forget(t, m->a.node);
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
