/* SPDX-License-Identifier: MIT */
/*
 * The tree's inside: node.c (tables, references), node_make.c (new nodes), node_name.c
 * (names, renames), node_claim.c (claims, handles).  Only they include this.
 *
 *	                 by_name (parent, bytes)        by_ino
 *	                      |                            |
 *	    struct name ------+--> struct node <-----------+
 *	      |  \ more: hard links      ^
 *	      |                          | linked, by_cache_ino: hard links only
 *	      parent (counted) --> struct node of the directory
 *
 * A file of a capture costs 72 bytes for the node, 80 for a name of 30 bytes and
 * 16 in the tables.
 *
 * Always true under the tree's lock: a node in a table has refs > 0 (the last
 * reference is dropped under the exclusive lock only, so nobody need ever revive
 * a node); each name holds one reference on its parent.
 */
#ifndef EBB_TIER_NODE_INT_H
#define EBB_TIER_NODE_INT_H

#include <stdatomic.h>

#include "lib/lock.h"
#include "tier/node.h"
#include "tier/table.h"

struct name {
	struct tlink link;   /* in by_name */
	struct name *more;   /* the node's next name */
	struct node *node;   /* whose name it is; the node owns it */
	struct node *parent; /* counted */
	uint32_t hash;
	uint8_t len;
	char bytes[]; /* NUL-terminated */
};

/* What only directories have. */
struct node_dir {
	_Atomic dirid_t dirid;
	_Atomic uint64_t user_changes;
	struct own_times *own; /* owned; by the shard's lock; NULL: none set */
	bool own_known;	       /* by the shard's lock */
	bool own_changed;      /* by the shard's lock: one of those under way did something */
	uint32_t own_busy;     /* by the shard's lock: own actions under way */
};

struct node {
	_Atomic uint64_t refs;
	_Atomic uint64_t ino; /* set once, under the tree's lock */
	void *_Atomic fs;
	_Atomic uint64_t pages;
	/* protected by the tree's lock */
	struct tlink by_ino;
	struct name *names; /* owned */
	/* protected by the shard's lock */
	uint32_t nopen;
	uint32_t nwrite;
	uint16_t ticket_next; /* claimed while it is not ticket_now; who waits has one in between */
	uint16_t ticket_now;
	bool leaving;
	bool is_marked; /* unclaim calls the hook */
	/* protected by the tree's lock */
	bool is_linked; /* there is a struct hardlink */
	/* constant */
	bool is_dir;
	struct node_dir dir[]; /* one if is_dir */
};

struct hardlink {
	struct tlink by_cache_ino;
	struct tlink by_node;
	uint64_t cache_ino;
	struct node *node;
};

#define TREE_SHARDS 64

struct shard {
	struct lock lock;
	struct cond cond;  /* a claim ended, a node no longer leaves */
	unsigned nwaiting; /* threads in cond */
} __attribute__((aligned(64)));

struct tree {
	struct rwlock lock;
	/* protected by lock */
	struct table by_name;
	struct table by_ino;
	struct table by_cache_ino; /* struct hardlink */
	struct table linked;	   /* struct hardlink, by node */
	struct node *dead;	   /* chained by by_ino: freed when the lock is dropped */
	uint64_t changes;
	/* constant after start */
	struct node *root;
	void (*on_free)(struct node *dir, void *arg);
	void *on_free_arg;
	void *on_unclaim_arg;
	void (*_Atomic on_unclaim)(struct node *node, void *arg); /* set after its argument */
	_Atomic uint64_t count;
	struct shard shards[TREE_SHARDS];
};

#define NAME_OF(l) TABLE_ENTRY(l, struct name, link)

/* Exclusive; tree_unlock frees what died meanwhile, after dropping the lock. */
void tree_lock(struct tree *tree) ACQUIRES(tree->lock);
void tree_unlock(struct tree *tree) RELEASES(tree->lock);

struct name *name_find(struct tree *tree, const struct node *parent, const char *bytes)
	REQUIRES_SHARED(tree->lock);
struct name *name_find_like(struct tree *tree, const struct name *like) REQUIRES_SHARED(tree->lock);
/* Not in the tree yet; NULL without memory. */
struct node *node_new(struct tree *tree, bool is_dir); /* one reference */
struct name *name_new(struct node *parent, const char *bytes);
void name_add(struct tree *tree, struct node *node, struct name *name) REQUIRES(tree->lock);
void name_remove(struct tree *tree, struct name *name) REQUIRES(tree->lock);
/* It has none yet. */
void node_number_locked(struct tree *tree, struct node *node, uint64_t ino) REQUIRES(tree->lock);
void node_put_locked(struct tree *tree, struct node *node, uint64_t n) REQUIRES(tree->lock);
void node_unlink_cache_ino(struct tree *tree, struct node *node) REQUIRES(tree->lock);

struct shard *node_shard(struct tree *tree, const struct node *node);
void node_claim_fini(struct node *node);

#endif
