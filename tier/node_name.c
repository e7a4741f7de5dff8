/* SPDX-License-Identifier: MIT */
/*
 * Names of nodes: given, taken, moved, turned into paths.
 *
 * A node without a name lives on while it is referenced (an open file that was
 * unlinked).  Names and parents change under the exclusive lock only, so a walk to
 * the root under the shared one sees one state of the tree.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/path.h"
#include "tier/node_int.h"

/* ---- giving and taking --------------------------------------------------- */

static void hardlink_add(struct tree *tree, struct node *node, struct hardlink *h)
	REQUIRES(tree->lock)
{
	h->node = node;
	node_unlink_cache_ino(tree, node);
	for (struct tlink *l = table_chain(&tree->by_cache_ino, table_hash_u64(h->cache_ino)); l;
	     l = l->next) {
		struct hardlink *old = TABLE_ENTRY(l, struct hardlink, by_cache_ino);

		if (old->cache_ino == h->cache_ino) {
			node_unlink_cache_ino(tree, old->node);
			break;
		}
	}
	table_add(&tree->by_cache_ino, &h->by_cache_ino);
	table_add(&tree->linked, &h->by_node);
	node->is_linked = true;
}

int node_add_name(struct tree *tree, struct node *node, uint64_t cache_ino, struct node *parent,
		  const char *name)
{
	struct hardlink *h;
	struct name *made, *old;

	if (strlen(name) > ROW_NAME_MAX)
		return -ENAMETOOLONG;
	made = name_new(parent, name);
	h = malloc(sizeof(*h));
	if (!made || !h) {
		free(made);
		free(h);
		return -ENOMEM;
	}
	h->cache_ino = cache_ino;
	tree_lock(tree);
	old = name_find(tree, parent, name);
	if (!old || old->node != node) {
		name_add(tree, node, made);
		made = NULL;
		if (old)
			name_remove(tree, old);
	}
	hardlink_add(tree, node, h);
	tree_unlock(tree);
	free(made);
	return 0;
}

void node_drop_name(struct tree *tree, struct node *parent, const char *name)
{
	struct name *n;

	tree_lock(tree);
	tree->changes++;
	n = name_find(tree, parent, name);
	if (n)
		name_remove(tree, n);
	tree_unlock(tree);
}

bool node_drop_unseen(struct tree *tree, struct node *parent, const char *name, uint64_t changes)
{
	struct name *n;
	bool same;

	tree_lock(tree);
	same = tree->changes == changes;
	n = same ? name_find(tree, parent, name) : NULL;
	if (n) {
		tree->changes++;
		name_remove(tree, n);
	}
	tree_unlock(tree);
	return same;
}

bool node_has_name(struct tree *tree, struct node *node)
{
	bool has;

	rwlock_read(&tree->lock);
	has = node->names || node == tree->root;
	rwlock_read_drop(&tree->lock);
	return has;
}

uint64_t tree_changes(struct tree *tree)
{
	uint64_t changes;

	rwlock_read(&tree->lock);
	changes = tree->changes;
	rwlock_read_drop(&tree->lock);
	return changes;
}

/* ---- renames -------------------------------------------------------------- */

NO_TS_ANALYSIS void tree_freeze(struct tree *tree)
{
	tree_lock(tree);
	tree->changes++;
}

NO_TS_ANALYSIS void tree_thaw(struct tree *tree)
{
	tree_unlock(tree);
}

NO_TS_ANALYSIS void tree_move_frozen(struct tree *tree, struct node *parent, const char *name,
				     struct node *new_parent, const char *new_name)
{
	struct name *from = name_find(tree, parent, name);
	struct name *to = name_find(tree, new_parent, new_name);
	struct name *made = NULL;

	/* rename(2) between two links of one file does nothing */
	if (from && to && from->node == to->node)
		return;
	if (to)
		name_remove(tree, to);
	if (!from)
		return;
	made = name_new(new_parent, new_name);
	if (made)
		name_add(tree, from->node, made);
	else /* what the kernel holds of it is stale until it is looked up anew */
		log_error("cannot rename '%s' in memory: %s", name, strerror(ENOMEM));
	name_remove(tree, from);
}

static void name_give(struct name *name, struct node *node)
{
	struct name **p = &name->node->names;

	while (*p != name)
		p = &(*p)->more;
	*p = name->more;
	name->node = node;
	name->more = node->names;
	node->names = name;
}

NO_TS_ANALYSIS void tree_swap_frozen(struct tree *tree, struct node *parent_a, const char *a,
				     struct node *parent_b, const char *b)
{
	struct name *in_a = name_find(tree, parent_a, a);
	struct name *in_b = name_find(tree, parent_b, b);

	if (in_a && in_b) {
		struct node *node_a = in_a->node;

		name_give(in_a, in_b->node);
		name_give(in_b, node_a);
	} else if (in_a) {
		tree_move_frozen(tree, parent_a, a, parent_b, b);
	} else if (in_b) {
		tree_move_frozen(tree, parent_b, b, parent_a, a);
	}
}

/* ---- paths ----------------------------------------------------------------- */

int node_name(struct tree *tree, struct node *node, struct node **ret_parent, char *ret_name)
{
	struct name *n;

	rwlock_read(&tree->lock);
	n = node->names;
	if (n) {
		memcpy(ret_name, n->bytes, (size_t)n->len + 1);
		*ret_parent = node_ref(n->parent);
	}
	rwlock_read_drop(&tree->lock);
	return n ? 0 : -ENOENT;
}

/* Bytes of "/a/b/c", 0 for the root; -ENOENT when a name is missing on the way up. */
static ssize_t path_len(struct tree *tree, const struct node *node) REQUIRES_SHARED(tree->lock)
{
	size_t len = 0;

	for (; node != tree->root; node = node->names->parent) {
		if (!node->names)
			return -ENOENT;
		len += 1 + (size_t)node->names->len;
	}
	return (ssize_t)len;
}

/* node's path, then "/tail" unless tail is NULL; no slash in front. */
static int path_make(struct tree *tree, const struct node *node, const char *tail, char **ret)
	REQUIRES_SHARED(tree->lock)
{
	ssize_t len = path_len(tree, node);
	size_t tail_len = tail ? 1 + strlen(tail) : 0;
	char *buf, *p;

	if (len < 0)
		return (int)len;
	buf = malloc((size_t)len + tail_len + 1);
	if (!buf)
		return -ENOMEM;
	p = buf + len + tail_len;
	*p = '\0';
	if (tail) {
		p -= tail_len;
		*p = '/';
		memcpy(p + 1, tail, tail_len - 1);
	}
	for (; node != tree->root; node = node->names->parent) {
		p -= node->names->len;
		memcpy(p, node->names->bytes, node->names->len);
		*--p = '/';
	}
	/* from the slash in front on: one to the left, with the NUL */
	if (*buf)
		memmove(buf, buf + 1, (size_t)len + tail_len);
	*ret = buf;
	return 0;
}

int node_path(struct tree *tree, struct node *node, char **ret)
{
	int r;

	rwlock_read(&tree->lock);
	r = path_make(tree, node, NULL, ret);
	rwlock_read_drop(&tree->lock);
	return r;
}

int node_child_path(struct tree *tree, struct node *parent, const char *name, char **ret)
{
	int r;

	rwlock_read(&tree->lock);
	r = path_make(tree, parent, name, ret);
	rwlock_read_drop(&tree->lock);
	return r;
}

int node_walk(struct tree *tree, const char *path, bool is_dir, struct node **ret)
{
	struct node *node = node_ref(tree->root);
	char name[ROW_NAME_MAX + 1];

	while (*path) {
		size_t len = strcspn(path, "/");
		bool last = path[len] == '\0';
		struct node *child;
		int r;

		if (len > ROW_NAME_MAX) {
			node_put(tree, node);
			return -ENAMETOOLONG;
		}
		memcpy(name, path, len);
		name[len] = '\0';
		r = path_is_name(name) ? node_get(tree, node, name, !last || is_dir, &child)
				       : -EINVAL;
		node_put(tree, node);
		if (r < 0)
			return r;
		node = child;
		path += len + !last;
	}
	*ret = node;
	return 0;
}

/* ---- walking all ------------------------------------------------------------ */

#define EACH_MAX 96
#define EACH_CHAIN 32 /* a longer chain is cut: buckets hold about one */

/* Counted nodes of whole buckets from *bucket on; 0 at the end. */
static unsigned each_collect(struct tree *tree, bool by_name, uint32_t *bucket,
			     struct node *nodes[EACH_MAX]) REQUIRES_SHARED(tree->lock)
{
	struct table *t = by_name ? &tree->by_name : &tree->by_ino;
	unsigned n = 0;

	for (; *bucket < t->n && n <= EACH_MAX - EACH_CHAIN; ++*bucket) {
		for (struct tlink *l = table_bucket(t, *bucket); l && n < EACH_MAX; l = l->next) {
			struct node *node = by_name ? NAME_OF(l)->node
						    : TABLE_ENTRY(l, struct node, by_ino);

			/* by its first name; by number only when it has none */
			if (by_name ? node->names == NAME_OF(l) : !node->names)
				nodes[n++] = node_ref(node);
		}
	}
	return n;
}

void tree_each(struct tree *tree, bool (*each)(struct node *node, void *arg), void *arg)
{
	struct node *nodes[EACH_MAX];
	bool go_on = true;

	for (int by_name = 1; by_name >= 0 && go_on; by_name--) {
		uint32_t bucket = 0;
		unsigned n = 1;

		while (n && go_on) {
			rwlock_read(&tree->lock);
			n = each_collect(tree, by_name, &bucket, nodes);
			rwlock_read_drop(&tree->lock);
			for (unsigned i = 0; i < n; i++) {
				go_on = go_on && each(nodes[i], arg);
				node_put(tree, nodes[i]);
			}
		}
	}
}
