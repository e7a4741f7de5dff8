/* SPDX-License-Identifier: MIT */
/*
 * Looking names up and asking for attributes.
 *
 * Always true: none of this waits; a name's inode number is the row's where there
 * is one, else a number taken from the catalogue's counter when the name is first
 * looked at, kept while anybody remembers the node.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/failpoint.h"
#include "tier/ns_int.h"

/* Its row's, or a new one. */
static int number_for(struct tier *t, const struct state_of *look, uint64_t *ret)
{
	if (!look->has_row)
		return catalogue_next_ino(t->cat, ret);
	*ret = look->shown.st_ino;
	return 0;
}

static int number(struct tier *t, struct node *node, const struct state_of *look)
{
	uint64_t ino;
	int r;

	if (node_ino(node) != 0)
		return 0;
	r = number_for(t, look, &ino);
	if (r < 0)
		return r;
	node_set_ino(t->tree, node, ino);
	return 0;
}

static bool is_hard_link(const struct state_of *look)
{
	return look->has_cache && !look->is_dir && look->cache.st_nlink > 1;
}

/* A local file with several names: one node, whatever the name it is reached by. */
static int hard_link_node(struct tier *t, struct node *parent, const char *name,
			  const struct state_of *look, struct node **ret)
{
	struct node *node = node_by_cache_ino(t->tree, look->cache.st_ino);
	int r;

	if (!node) {
		r = node_get(t->tree, parent, name, false, &node);
		if (r < 0)
			return r;
	}
	r = node_add_name(t->tree, node, look->cache.st_ino, parent, name);
	if (r < 0) {
		node_put(t->tree, node);
		return r;
	}
	*ret = node;
	return 0;
}

static int node_for(struct tier *t, struct node *parent, const char *name,
		    const struct state_of *look, struct node **ret)
{
	struct node *node;
	uint64_t ino;
	int r;

	if (is_hard_link(look))
		return hard_link_node(t, parent, name, look, ret);
	node = node_find(t->tree, parent, name);
	if (!node) {
		r = number_for(t, look, &ino);
		return r < 0 ? r : node_get_new(t->tree, parent, name, look->is_dir, ino, ret);
	}
	if (node_is_dir(node) != look->is_dir) {
		node_put(t->tree, node);
		return look->is_dir ? -ENOTDIR : -EISDIR;
	}
	*ret = node;
	return 0;
}

/*
 * The node of a name that was just looked at, with its inode number in st; hard
 * links share one.  Counted.  changes: tree_changes before the look; -EAGAIN: look again.
 */
static int node_of(struct tier *t, struct node *parent, const char *name,
		   const struct state_of *look, uint64_t changes, struct node **ret,
		   struct stat *ret_st)
{
	struct node *node;
	int r;

	r = node_for(t, parent, name, look, &node);
	if (r == -ENOTDIR || r == -EISDIR) {
		/* Replaced behind our back, in the covered tree: it is another object. */
		if (!node_drop_unseen(t->tree, parent, name, changes))
			return -EAGAIN;
		r = node_for(t, parent, name, look, &node);
	}
	if (r < 0)
		return r;
	r = number(t, node, look);
	if (r < 0) {
		node_put(t->tree, node);
		return r;
	}
	*ret_st = look->shown;
	ret_st->st_ino = node_ino(node);
	*ret = node;
	return 0;
}

/*
 * -EAGAIN: names moved meanwhile, the node may be of one object and the answer of another; or it
 * may have got a row meanwhile, of a node that is gone, and the number that we gave is another.
 */
static int lookup_once(struct tier *t, struct node *parent, const char *name,
		       const struct row_seen *seen, struct node **ret, struct stat *ret_st)
{
	uint64_t changes = tree_changes(t->tree), version = catalogue_version(t->cat);
	struct state_of look;
	struct node *node;
	struct stat st;
	int r;

	r = state_look_seen(t, parent, name, seen, &look);
	if (r == 0)
		r = failpoint(LOOKUP_NODE);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	r = node_of(t, parent, name, &look, changes, &node, &st);
	if (r < 0)
		return r;
	if (tree_changes(t->tree) != changes ||
	    (!look.has_row && catalogue_version(t->cat) != version)) {
		node_put(t->tree, node);
		return -EAGAIN;
	}
	*ret = node;
	*ret_st = st;
	return 0;
}

int ns_lookup(struct tier *t, struct node *parent, const char *name, const struct row_seen *seen,
	      struct node **ret, struct stat *ret_st)
{
	int r;

	if (strlen(name) > ROW_NAME_MAX)
		return -ENAMETOOLONG;
	do {
		r = lookup_once(t, parent, name, seen, ret, ret_st);
	} while (r == -EAGAIN);
	return r;
}

int ns_getattr(struct tier *t, struct node *node, int fd, struct stat *ret)
{
	struct stat st;
	int r;

	r = state_shown(t, node, ret);
	if (r != -ENOENT || fd < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = st;
	ret->st_ino = node_ino(node);
	return 0;
}

int ns_readlink(struct tier *t, struct node *node, char *buf, size_t size)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	struct dirfd *d;
	ssize_t n;
	int r;

	r = node_name(t->tree, node, &parent, name);
	if (r < 0)
		return r;
	r = cache_dir(t->cache, parent, &d);
	node_put(t->tree, parent);
	if (r < 0)
		return r;
	n = readlinkat(dirfd_fd(d), name, buf, size);
	r = n < 0 ? -errno : (int)n;
	cache_dir_put(t->cache, d);
	return r;
}
