/* SPDX-License-Identifier: MIT */
/*
 * What a name is now: one fstatat, at most one SELECT, no memory.
 *
 * Always true: the cache is asked before the row, and asked again when neither has
 * the name.  Asking the row first would miss a file archived and released in
 * between; not asking twice would miss one restored and rewritten in between.
 * Whether a directory has rows at all is asked after the cache, too: the reaper
 * sets a directory's id before it commits the first row in it.
 */
#include "tier/state.h"

#include <errno.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/path.h"
#include "tier/rows.h"
#include "tier/tier_int.h"

const char *state_word(enum state s)
{
	switch (s) {
	case STATE_WRITING:
		return "writing";
	case STATE_LOCAL:
	case STATE_CHANGED:
		return "local";
	case STATE_ARCHIVED:
		return "archived";
	case STATE_RELEASED:
		return "released";
	case STATE_NONE:
		break;
	}
	return "none";
}

int state_dirid(struct tier *t, struct node *dir, dirid_t *ret)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	struct dir_row row;
	dirid_t id = node_dirid(dir);
	int r;

	if (id >= 0) {
		*ret = id;
		return 0;
	}
	if (dir == tree_root(t->tree)) {
		*ret = node_learn_dirid(dir, ROW_ROOT_DIR);
		return 0;
	}
	r = node_name(t->tree, dir, &parent, name);
	if (r < 0)
		return r;
	r = state_dirid(t, parent, &id);
	node_put(t->tree, parent);
	if (r < 0)
		return r;
	if (id > 0) {
		r = cat_dir_find(t->cat, id, name, &row);
		if (r < 0 && r != -ENOENT)
			return r;
		id = r == 0 ? row.id : 0;
	}
	node_learn_dirid(dir, id);
	*ret = node_dirid(dir);
	return 0;
}

/*
 * Times of a cache directory that only our own action moved are shown as they were, also
 * where the look at the cache was taken while it moved them.
 */
static void show_own_times(const struct own_times *own, struct stat *st)
{
	int64_t c = ts_to_ns(st->st_ctim);

	if (!own->set || c < own->c_since_ns || c > own->c_ctime_ns ||
	    (c == own->c_ctime_ns && ts_to_ns(st->st_mtim) != own->c_mtime_ns))
		return;
	st->st_mtim = ns_to_ts(own->mtime_ns);
	st->st_ctim = ns_to_ts(own->ctime_ns);
}

static struct own_times row_times(const struct state_of *s)
{
	struct own_times own = { .set = s->has_row };

	if (s->has_row) {
		own.mtime_ns = s->dir_row.attr.mtime_ns;
		own.ctime_ns = s->dir_row.attr.ctime_ns;
		own.c_mtime_ns = s->dir_row.c_mtime_ns;
		own.c_ctime_ns = own.c_since_ns = s->dir_row.c_ctime_ns;
	}
	/* a row that was just made, or nothing hidden since */
	if (own.mtime_ns == own.c_mtime_ns && own.ctime_ns == own.c_ctime_ns)
		own.set = false;
	return own;
}

/* node, which has the name now, or NULL: what it knows comes first. */
static void show_dir_times(struct tier *t, struct node *node, struct state_of *s)
{
	struct own_times own = { .known = false };

	if (node)
		own = node_own_times(t->tree, node);
	if (!own.known)
		own = row_times(s);
	show_own_times(&own, &s->shown);
}

static void decide(struct state_of *s)
{
	struct identity id;

	memset(&s->shown, 0, sizeof(s->shown));
	if (s->has_cache)
		s->shown = s->cache;
	else if (s->has_row)
		rows_attr_to_stat(s->is_dir ? &s->dir_row.attr : &s->row.attr, &s->shown);

	if (s->is_dir) {
		s->state = s->has_cache ? STATE_LOCAL : s->has_row ? STATE_RELEASED : STATE_NONE;
		if (s->has_row)
			s->shown.st_ino = s->dir_row.ino;
		return;
	}
	if (s->has_row)
		s->shown.st_ino = s->row.ino;
	if (!s->has_cache) {
		s->state = s->has_row ? STATE_RELEASED : STATE_NONE;
		return;
	}
	if (!s->has_row) {
		s->state = STATE_LOCAL;
		return;
	}
	id = cache_identity(&s->cache);
	if (!S_ISREG(s->cache.st_mode) || !identity_equal(&id, &s->row.id)) {
		s->state = STATE_CHANGED;
		return;
	}
	s->state = STATE_ARCHIVED;
	s->shown.st_mtim = ns_to_ts(s->row.attr.mtime_ns);
	s->shown.st_ctim = ns_to_ts(s->row.attr.ctime_ns);
}

/* Does what was seen answer the question, which depends on what the cache has? */
static bool answers(const struct row_seen *seen, const struct state_of *s)
{
	if (!s->has_cache)
		return seen->file || seen->dir;
	return seen->none || (s->is_dir ? seen->dir != NULL : seen->file != NULL);
}

/* 0, -ENOENT as the catalogue would say now, asked after the cache as it is; -EAGAIN: ask it. */
static int take_seen(struct tier *t, const struct row_seen *seen, struct state_of *s)
{
	if (!seen || !answers(seen, s) || catalogue_version(t->cat) != seen->version)
		return -EAGAIN;
	if (seen->none)
		return -ENOENT;
	if (seen->dir)
		s->dir_row = *seen->dir;
	else
		s->row = *seen->file;
	s->is_dir = seen->dir != NULL;
	return 0;
}

/* The row of a name in a directory that has rows; has_cache is decided already. */
static int look_row(struct tier *t, dirid_t dirid, const char *name, const struct row_seen *seen,
		    struct state_of *s)
{
	int r = take_seen(t, seen, s);

	if (r == -EAGAIN && !s->has_cache)
		r = cat_name_get(t->cat, dirid, name, &s->row, &s->dir_row, &s->is_dir);
	else if (r == -EAGAIN && s->is_dir)
		r = cat_dir_find(t->cat, dirid, name, &s->dir_row);
	else if (r == -EAGAIN)
		r = cat_file_get(t->cat, dirid, name, &s->row);
	s->has_row = r == 0;
	return r == -ENOENT ? 0 : r;
}

static int ask_cache(struct tier *t, struct node *parent, const char *name, struct state_of *s)
{
	int r = cache_stat(t->cache, parent, name, &s->cache);

	if (r < 0 && r != -ENOENT)
		return r;
	s->has_cache = r == 0;
	s->is_dir = s->has_cache && S_ISDIR(s->cache.st_mode);
	return 0;
}

int state_look_seen(struct tier *t, struct node *parent, const char *name,
		    const struct row_seen *seen, struct state_of *ret)
{
	dirid_t dirid;
	int r;

	ret->has_row = false;
	r = ask_cache(t, parent, name, ret);
	if (r < 0)
		return r;
	r = state_dirid(t, parent, &dirid);
	if (r < 0)
		return r;
	if (dirid > 0) {
		r = look_row(t, dirid, name, seen, ret);
		if (r < 0)
			return r;
		if (!ret->has_cache && !ret->has_row) {
			r = ask_cache(t, parent, name, ret);
			if (r < 0)
				return r;
		}
	}
	decide(ret);
	if (ret->is_dir && ret->has_cache) {
		struct node *node = node_find(t->tree, parent, name);

		show_dir_times(t, node, ret);
		if (node)
			node_put(t->tree, node);
	}
	return 0;
}

int state_look(struct tier *t, struct node *parent, const char *name, struct state_of *ret)
{
	return state_look_seen(t, parent, name, NULL, ret);
}

static int look_root(struct tier *t, struct node *root, struct state_of *ret)
{
	int r = cache_stat_node(t->cache, root, &ret->cache);

	if (r < 0)
		return r;
	ret->has_cache = ret->is_dir = true;
	r = cat_dir_get(t->cat, ROW_ROOT_DIR, &ret->dir_row);
	if (r < 0)
		return r;
	ret->has_row = true;
	decide(ret);
	ret->shown.st_ino = node_ino(root);
	show_dir_times(t, root, ret);
	return 0;
}

/* By its name: again if names moved meanwhile, or it would be told of another's object. */
static int look_named(struct tier *t, struct node *node, struct state_of *ret)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	uint64_t changes;
	int r;

	do {
		changes = tree_changes(t->tree);
		r = node_name(t->tree, node, &parent, name);
		if (r < 0)
			return r;
		r = state_look(t, parent, name, ret);
		node_put(t->tree, parent);
	} while (tree_changes(t->tree) != changes);
	return r;
}

int state_look_node(struct tier *t, struct node *node, struct state_of *ret)
{
	int r;

	r = node == tree_root(t->tree) ? look_root(t, node, ret) : look_named(t, node, ret);
	if (r < 0)
		return r;
	if (ret->is_dir && ret->has_cache && node_is_dir(node)) {
		/* Here alone: that the name was this node's all the while is sure. */
		struct own_times own = row_times(ret);

		node_learn_own_times(t->tree, node, &own);
	}
	if (ret->state == STATE_LOCAL && !ret->is_dir && node_nwrite(t->tree, node) > 0)
		ret->state = STATE_WRITING;
	return 0;
}

/* The cache directory of this name, now. */
static int stat_named(struct tier *t, struct node *dir, struct stat *ret)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	uint64_t changes;
	int r;

	if (dir == tree_root(t->tree))
		return cache_stat_node(t->cache, dir, ret);
	do {
		changes = tree_changes(t->tree);
		r = node_name(t->tree, dir, &parent, name);
		if (r < 0)
			return r;
		r = cache_stat(t->cache, parent, name, ret);
		node_put(t->tree, parent);
	} while (tree_changes(t->tree) != changes);
	return r;
}

int state_shown(struct tier *t, struct node *node, struct stat *ret)
{
	struct own_times own = node_own_times(t->tree, node);
	struct state_of look;
	int r;

	if (own.known && stat_named(t, node, &look.shown) == 0 && S_ISDIR(look.shown.st_mode)) {
		own = node_own_times(t->tree, node);
		show_own_times(&own, &look.shown);
	} else {
		r = state_look_node(t, node, &look);
		if (r == 0 && look.state == STATE_NONE)
			r = -ENOENT;
		if (r < 0)
			return r;
	}
	*ret = look.shown;
	ret->st_ino = node_ino(node);
	return 0;
}

int state_look_path(struct tier *t, const char *path, struct state_of *ret)
{
	AUTO_FREE char *dir_path = path_dir(path);
	struct node *dir;
	int r;

	if (!dir_path)
		return -ENOMEM;
	r = node_walk(t->tree, dir_path, true, &dir);
	if (r < 0)
		return r;
	r = state_look(t, dir, path_name(path), ret);
	node_put(t->tree, dir);
	return r;
}
