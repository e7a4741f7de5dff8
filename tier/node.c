/* SPDX-License-Identifier: MIT */
/*
 * Nodes in memory: the tables that find them, the references that keep them.
 *
 * Look-ups share the tree's lock, which they hold for one chain; what is allocated
 * is allocated outside it.  References are atomic, but the last one of a node is
 * dropped under the exclusive lock, where it leaves the tables at once, and with it
 * its references on the parents of its names.  Memory is freed after the lock.
 */
#include "tier/node_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void tree_lock(struct tree *tree)
{
	rwlock_write(&tree->lock);
}

static void node_free(struct tree *tree, struct node *node)
{
	if (node->is_dir && tree->on_free)
		tree->on_free(node, tree->on_free_arg);
	node_claim_fini(node);
	free(node);
	atomic_fetch_sub_explicit(&tree->count, 1, memory_order_relaxed);
}

void tree_unlock(struct tree *tree)
{
	struct node *node = tree->dead;

	tree->dead = NULL;
	rwlock_write_drop(&tree->lock);
	while (node) {
		struct tlink *next = node->by_ino.next;

		node_free(tree, node);
		node = next ? TABLE_ENTRY(next, struct node, by_ino) : NULL;
	}
}

/* ---- tables ------------------------------------------------------------- */

static uint32_t hash_of_name(const struct tlink *link)
{
	return NAME_OF(link)->hash;
}

static uint32_t hash_of_ino(const struct tlink *link)
{
	return table_hash_u64(TABLE_ENTRY(link, struct node, by_ino)->ino);
}

static uint32_t hash_of_cache_ino(const struct tlink *link)
{
	return table_hash_u64(TABLE_ENTRY(link, struct hardlink, by_cache_ino)->cache_ino);
}

static uint32_t hash_of_linked(const struct tlink *link)
{
	return table_hash_u64((uintptr_t)TABLE_ENTRY(link, struct hardlink, by_node)->node);
}

static uint32_t name_hash(const struct node *parent, const char *bytes, size_t len)
{
	return table_hash_bytes((uintptr_t)parent, bytes, len);
}

static struct name *find_hashed(struct tree *tree, const struct node *parent, const char *bytes,
				size_t len, uint32_t hash) REQUIRES_SHARED(tree->lock)
{
	for (struct tlink *l = table_chain(&tree->by_name, hash); l; l = l->next) {
		struct name *n = NAME_OF(l);

		if (n->hash == hash && n->parent == parent && n->len == len &&
		    memcmp(n->bytes, bytes, len) == 0)
			return n;
	}
	return NULL;
}

struct name *name_find(struct tree *tree, const struct node *parent, const char *bytes)
{
	size_t len = strlen(bytes);

	return find_hashed(tree, parent, bytes, len, name_hash(parent, bytes, len));
}

struct name *name_find_like(struct tree *tree, const struct name *like)
{
	return find_hashed(tree, like->parent, like->bytes, like->len, like->hash);
}

struct name *name_new(struct node *parent, const char *bytes)
{
	size_t len = strlen(bytes);
	struct name *n;

	assert(len > 0 && len <= ROW_NAME_MAX);
	n = malloc(sizeof(*n) + len + 1);
	if (!n)
		return NULL;
	n->more = NULL;
	n->node = NULL;
	n->parent = parent;
	n->hash = name_hash(parent, bytes, len);
	n->len = (uint8_t)len;
	memcpy(n->bytes, bytes, len + 1);
	return n;
}

void name_add(struct tree *tree, struct node *node, struct name *name)
{
	name->node = node;
	name->more = node->names;
	node->names = name;
	node_ref(name->parent);
	table_add(&tree->by_name, &name->link);
}

void name_remove(struct tree *tree, struct name *name)
{
	struct node *node = name->node;
	struct name **p = &node->names;

	while (*p != name)
		p = &(*p)->more;
	*p = name->more;
	if (!node->names)
		node_unlink_cache_ino(tree, node);
	table_del(&tree->by_name, &name->link);
	node_put_locked(tree, name->parent, 1);
	free(name);
}

static struct hardlink *hardlink_of(struct tree *tree, const struct node *node)
	REQUIRES_SHARED(tree->lock)
{
	uint32_t hash = table_hash_u64((uintptr_t)node);

	for (struct tlink *l = table_chain(&tree->linked, hash); l; l = l->next) {
		struct hardlink *h = TABLE_ENTRY(l, struct hardlink, by_node);

		if (h->node == node)
			return h;
	}
	return NULL;
}

void node_unlink_cache_ino(struct tree *tree, struct node *node)
{
	struct hardlink *h;

	if (!node->is_linked)
		return;
	h = hardlink_of(tree, node);
	table_del(&tree->linked, &h->by_node);
	table_del(&tree->by_cache_ino, &h->by_cache_ino);
	node->is_linked = false;
	free(h);
}

static struct node *find_cache_ino(struct tree *tree, uint64_t cache_ino)
	REQUIRES_SHARED(tree->lock)
{
	uint32_t hash = table_hash_u64(cache_ino);

	for (struct tlink *l = table_chain(&tree->by_cache_ino, hash); l; l = l->next) {
		struct hardlink *h = TABLE_ENTRY(l, struct hardlink, by_cache_ino);

		if (h->cache_ino == cache_ino)
			return h->node;
	}
	return NULL;
}

/* ---- the tree ----------------------------------------------------------- */

struct node *node_new(struct tree *tree, bool is_dir)
{
	struct node *node = calloc(1, sizeof(*node) + (is_dir ? sizeof(struct node_dir) : 0));

	if (!node)
		return NULL;
	node->refs = 1;
	node->is_dir = is_dir;
	if (is_dir)
		node->dir[0].dirid = -1;
	atomic_fetch_add_explicit(&tree->count, 1, memory_order_relaxed);
	return node;
}

int tree_new(struct tree **ret)
{
	struct tree *tree = aligned_alloc(64, sizeof(*tree));

	if (!tree)
		return -ENOMEM;
	memset(tree, 0, sizeof(*tree));
	tree->root = node_new(tree, true);
	if (!tree->root) {
		free(tree);
		return -ENOMEM;
	}
	rwlock_init(&tree->lock, LOCK_RANK_TREE, "tree");
	table_init(&tree->by_name, hash_of_name);
	table_init(&tree->by_ino, hash_of_ino);
	table_init(&tree->by_cache_ino, hash_of_cache_ino);
	table_init(&tree->linked, hash_of_linked);
	for (unsigned i = 0; i < TREE_SHARDS; i++) {
		lock_init(&tree->shards[i].lock, LOCK_RANK_NODE, "node shard");
		cond_init(&tree->shards[i].cond);
	}
	node_set_ino(tree, tree->root, 1);
	*ret = tree;
	return 0;
}

static void bury(struct tree *tree, struct node *node)
{
	node->by_ino.next = tree->dead ? &tree->dead->by_ino : NULL;
	tree->dead = node;
}

/* Whatever the references.  A node without name and inode number leaks, as a lost reference would. */
NO_TS_ANALYSIS void tree_free(struct tree *tree)
{
	struct tlink *l;

	if (!tree)
		return;
	tree_lock(tree);
	for (uint32_t i = 0; i < tree->by_name.n; i++) {
		while ((l = table_bucket(&tree->by_name, i))) {
			struct node *node = NAME_OF(l)->node;
			struct name *name = node->names;

			node->names = name->more;
			table_del(&tree->by_name, &name->link);
			free(name);
			if (!node->names)
				node_unlink_cache_ino(tree, node);
			if (!node->names && !node->ino)
				bury(tree, node);
		}
	}
	for (uint32_t i = 0; i < tree->by_ino.n; i++) {
		while ((l = table_bucket(&tree->by_ino, i))) {
			table_del(&tree->by_ino, l);
			bury(tree, TABLE_ENTRY(l, struct node, by_ino));
		}
	}
	tree_unlock(tree);
	for (unsigned i = 0; i < TREE_SHARDS; i++) {
		cond_fini(&tree->shards[i].cond);
		lock_fini(&tree->shards[i].lock);
	}
	table_fini(&tree->by_name);
	table_fini(&tree->by_ino);
	table_fini(&tree->by_cache_ino);
	table_fini(&tree->linked);
	rwlock_fini(&tree->lock);
	free(tree);
}

struct node *tree_root(struct tree *tree)
{
	return tree->root;
}

uint64_t tree_count(struct tree *tree)
{
	return atomic_load_explicit(&tree->count, memory_order_relaxed);
}

void tree_on_free(struct tree *tree, void (*hook)(struct node *dir, void *arg), void *arg)
{
	tree_lock(tree);
	tree->on_free = hook;
	tree->on_free_arg = arg;
	tree_unlock(tree);
}

/* ---- references --------------------------------------------------------- */

struct node *node_ref(struct node *node)
{
	atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
	return node;
}

void node_hand_over(struct node *node)
{
	atomic_fetch_add_explicit(&node->refs, 0, memory_order_release);
}

/*
 * A node that dies takes its references on its parents with it.  Only files have
 * several names, and directories no hard links: the recursion is one deep.
 */
void node_put_locked(struct tree *tree, struct node *node, uint64_t n)
{
	while (node) {
		uint64_t was = atomic_fetch_sub_explicit(&node->refs, n, memory_order_acq_rel);
		struct node *parent = NULL;

		assert(was >= n);
		if (was > n)
			return;
		node_unlink_cache_ino(tree, node);
		if (node->ino)
			table_del(&tree->by_ino, &node->by_ino);
		while (node->names) {
			struct name *name = node->names;

			node->names = name->more;
			table_del(&tree->by_name, &name->link);
			if (parent)
				node_put_locked(tree, parent, 1);
			parent = name->parent;
			free(name);
		}
		bury(tree, node);
		node = parent;
		n = 1;
	}
}

void node_put_n(struct tree *tree, struct node *node, uint64_t n)
{
	uint64_t refs = atomic_load_explicit(&node->refs, memory_order_relaxed);

	while (refs > n)
		if (atomic_compare_exchange_weak_explicit(&node->refs, &refs, refs - n,
							  memory_order_release,
							  memory_order_relaxed))
			return;
	tree_lock(tree);
	node_put_locked(tree, node, n);
	tree_unlock(tree);
}

void node_put(struct tree *tree, struct node *node)
{
	if (node)
		node_put_n(tree, node, 1);
}

/* ---- finding ------------------------------------------------------------ */

struct node *node_by_ino(struct tree *tree, uint64_t ino)
{
	struct node *node = NULL;

	rwlock_read(&tree->lock);
	for (struct tlink *l = table_chain(&tree->by_ino, table_hash_u64(ino)); l; l = l->next) {
		struct node *n = TABLE_ENTRY(l, struct node, by_ino);

		if (n->ino == ino) {
			node = node_ref(n);
			break;
		}
	}
	rwlock_read_drop(&tree->lock);
	return node;
}

struct node *node_by_cache_ino(struct tree *tree, uint64_t cache_ino)
{
	struct node *node;

	rwlock_read(&tree->lock);
	node = find_cache_ino(tree, cache_ino);
	if (node)
		node_ref(node);
	rwlock_read_drop(&tree->lock);
	return node;
}

struct node *node_find(struct tree *tree, struct node *parent, const char *name)
{
	struct node *node = NULL;
	struct name *n;

	rwlock_read(&tree->lock);
	n = name_find(tree, parent, name);
	if (n)
		node = node_ref(n->node);
	rwlock_read_drop(&tree->lock);
	return node;
}

/* ---- what a node is ------------------------------------------------------ */

uint64_t node_ino(const struct node *node)
{
	return atomic_load_explicit(&node->ino, memory_order_acquire);
}

void node_number_locked(struct tree *tree, struct node *node, uint64_t ino)
{
	atomic_store_explicit(&node->ino, ino, memory_order_release);
	table_add(&tree->by_ino, &node->by_ino);
}

uint64_t node_set_ino(struct tree *tree, struct node *node, uint64_t ino)
{
	uint64_t was = node_ino(node);

	if (was)
		return was;
	assert(ino);
	tree_lock(tree);
	was = node->ino;
	if (!was)
		node_number_locked(tree, node, ino);
	tree_unlock(tree);
	return was ? was : ino;
}

bool node_is_dir(const struct node *node)
{
	return node->is_dir;
}

dirid_t node_dirid(const struct node *node)
{
	return node->is_dir ? atomic_load(&node->dir[0].dirid) : 0;
}

void node_set_dirid(struct node *node, dirid_t id)
{
	assert(node->is_dir);
	atomic_store(&node->dir[0].dirid, id);
}

dirid_t node_learn_dirid(struct node *node, dirid_t id)
{
	dirid_t was = -1;

	assert(node->is_dir);
	return atomic_compare_exchange_strong(&node->dir[0].dirid, &was, id) ? id : was;
}

void *node_fs(const struct node *node)
{
	return atomic_load_explicit(&node->fs, memory_order_acquire);
}

void node_set_fs(struct node *node, void *state)
{
	atomic_store_explicit(&node->fs, state, memory_order_release);
}

uint64_t node_pages(const struct node *node)
{
	return atomic_load(&node->pages);
}

void node_set_pages(struct node *node, uint64_t pages)
{
	atomic_store(&node->pages, pages);
}
