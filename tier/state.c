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

/* Times of a directory that only our own action moved are shown as they were. */
static void show_dir_times(struct tier *t, struct node *node, struct state_of *s)
{
	struct own_times own = { 0 };
	int64_t m = ts_to_ns(s->cache.st_mtim), c = ts_to_ns(s->cache.st_ctim);

	if (node)
		own = node_own_times(t->tree, node);
	if (own.set && own.c_mtime_ns == m && own.c_ctime_ns == c) {
		s->shown.st_mtim = ns_to_ts(own.mtime_ns);
		s->shown.st_ctim = ns_to_ts(own.ctime_ns);
	} else if (s->has_row && s->dir_row.c_mtime_ns == m && s->dir_row.c_ctime_ns == c) {
		s->shown.st_mtim = ns_to_ts(s->dir_row.attr.mtime_ns);
		s->shown.st_ctim = ns_to_ts(s->dir_row.attr.ctime_ns);
	}
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

/* The row of a name in a directory that has rows; has_cache is decided already. */
static int look_row(struct tier *t, dirid_t dirid, const char *name, struct state_of *s)
{
	int r;

	if (!s->has_cache || !s->is_dir) {
		r = cat_file_get(t->cat, dirid, name, &s->row);
		if (r == 0)
			s->has_row = true;
		if (r != -ENOENT)
			return r;
	}
	if (!s->has_cache || s->is_dir) {
		r = cat_dir_find(t->cat, dirid, name, &s->dir_row);
		if (r == 0)
			s->has_row = s->is_dir = true;
		if (r != -ENOENT)
			return r;
	}
	return 0;
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

int state_look(struct tier *t, struct node *parent, const char *name, struct state_of *ret)
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
		r = look_row(t, dirid, name, ret);
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

	if (node == tree_root(t->tree))
		return look_root(t, node, ret);
	r = look_named(t, node, ret);
	if (r < 0)
		return r;
	if (ret->state == STATE_LOCAL && !ret->is_dir && node_nwrite(t->tree, node) > 0)
		ret->state = STATE_WRITING;
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
