/* SPDX-License-Identifier: MIT */
/*
 * Nodes for names: of what somebody asks for, and of what was just made.
 *
 * What is allocated is allocated before the tree's lock, which everything that looks
 * names up shares: it is held exclusively once a node, for two table entries.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tier/node_int.h"

/* Of a name that nobody has found; not in the tree yet. */
struct making {
	struct name *name;
	struct node *node;
};

static void making_free(struct tree *tree, struct making *m)
{
	free(m->name);
	if (m->node)
		atomic_fetch_sub_explicit(&tree->count, 1, memory_order_relaxed);
	free(m->node);
}

static int making_new(struct tree *tree, struct node *parent, const char *name, bool is_dir,
		      struct making *ret)
{
	struct making m;

	if (strlen(name) > ROW_NAME_MAX)
		return -ENAMETOOLONG;
	m.name = name_new(parent, name);
	m.node = m.name ? node_new(tree, is_dir) : NULL;
	if (!m.node) {
		making_free(tree, &m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

/* The parent lost its name: what is below it has none either. */
static bool is_gone(struct tree *tree, const struct node *parent) REQUIRES_SHARED(tree->lock)
{
	return !parent->names && parent != tree->root;
}

static int right_kind(struct tree *tree, struct node *node, bool is_dir, struct node **ret)
{
	if (node->is_dir != is_dir) {
		node_put(tree, node);
		return is_dir ? -ENOTDIR : -EISDIR;
	}
	*ret = node;
	return 0;
}

int node_get_new(struct tree *tree, struct node *parent, const char *name, bool is_dir,
		 uint64_t ino, struct node **ret)
{
	struct node *node = NULL;
	struct name *there;
	struct making m;
	int r;

	r = making_new(tree, parent, name, is_dir, &m);
	if (r < 0)
		return r;
	tree_lock(tree);
	there = name_find_like(tree, m.name);
	if (there) {
		node = node_ref(there->node);
	} else if (is_gone(tree, parent)) {
		r = -ENOENT;
	} else {
		name_add(tree, m.node, m.name);
		if (ino)
			node_number_locked(tree, m.node, ino);
		node = m.node;
	}
	tree_unlock(tree);
	if (node != m.node)
		making_free(tree, &m);
	return r < 0 ? r : right_kind(tree, node, is_dir, ret);
}

int node_get(struct tree *tree, struct node *parent, const char *name, bool is_dir,
	     struct node **ret)
{
	struct node *node = node_find(tree, parent, name);

	if (node)
		return right_kind(tree, node, is_dir, ret);
	return node_get_new(tree, parent, name, is_dir, 0, ret);
}

/* What is remembered under the name, if it may be of the new object: looked at, not yet numbered. */
static struct node *unnumbered(struct tree *tree, const struct making *m) REQUIRES(tree->lock)
{
	struct name *there = name_find_like(tree, m->name);

	if (!there)
		return NULL;
	if (!there->node->ino && there->node->is_dir == m->node->is_dir)
		return node_ref(there->node);
	tree->changes++;
	name_remove(tree, there);
	return NULL;
}

int node_make(struct tree *tree, struct node *parent, const char *name, bool is_dir, uint64_t ino,
	      struct node **ret)
{
	struct node *node;
	struct making m;
	int r;

	assert(ino);
	r = making_new(tree, parent, name, is_dir, &m);
	if (r < 0)
		return r;
	tree_lock(tree);
	node = unnumbered(tree, &m);
	if (!node && is_gone(tree, parent)) {
		r = -ENOENT;
	} else {
		if (!node) {
			name_add(tree, m.node, m.name);
			node = m.node;
		}
		node_number_locked(tree, node, ino);
	}
	tree_unlock(tree);
	if (node != m.node)
		making_free(tree, &m);
	if (r == 0)
		*ret = node;
	return r;
}
