/* SPDX-License-Identifier: MIT */
/*
 * Names in use: what the kernel knows, what the reaper works on.
 *
 * A node is one file, directory or other object of the tree while somebody needs
 * it.  It has a name (parent and bytes), more than one only when it is a local
 * hard link, none once it was unlinked.  Nothing here is truth: a node can be
 * forgotten and made again at any time, its state is asked of the cache and the
 * catalogue (tier/state.h).  What is only here is who acts on it just now:
 *
 *	claim	one owner may change what a name stands for (row or cache name);
 *		others queue.  It is no lock: it is held over commits and downloads.
 *	leaving	its owner is about to unlink the local copy: opens wait
 *	nopen	open handles; nwrite of them may write
 *
 *	idle --claim--> claimed --node_leave (nopen == 0)--> leaving --node_unclaim--> idle
 *
 * Rules
 *	1. A row of a file or directory changes only under the claim of its node.
 *	2. Who holds a claim may wait for a commit or a store.  Claims that are waited
 *	   for come in one order: at most one file, then at most one directory;
 *	   node_claim_two takes two of a kind by their addresses.  So who holds a
 *	   directory's claim waits for no other.  Whatever else is held at once (a batch
 *	   of the reaper's) is taken with node_try_claim.  A claim ends on the thread that
 *	   took it.  Builds with EBB_DEBUG_LOCKS abort on a wrong order.
 *	3. A write handle is counted under the claim; a read handle needs none, but
 *	   waits while the node is leaving.
 *	4. Renaming happens with the tree frozen: names and paths are stable while
 *	   the tree's lock is held shared.
 */
#ifndef EBB_TIER_NODE_H
#define EBB_TIER_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "meta/row.h"

struct tree;
struct node;

int tree_new(struct tree **ret); /* with its root, inode 1; 0 or -ENOMEM */
void tree_free(struct tree *tree);
struct node *tree_root(struct tree *tree); /* borrowed */
uint64_t tree_count(struct tree *tree);	   /* nodes in memory */

/* Counted references.  A kernel look-up is one reference; FORGET n drops n. */
struct node *node_ref(struct node *node);
void node_put(struct tree *tree, struct node *node);
void node_put_n(struct tree *tree, struct node *node, uint64_t n);
/*
 * The reference is about to be the kernel's, whose order of things C does not know: what this
 * thread did with the node comes before whatever the thread does that is told to FORGET it.
 */
void node_hand_over(struct node *node);

/* The node with this inode number, counted; NULL when there is none: check before use. */
struct node *node_by_ino(struct tree *tree, uint64_t ino);
/* The node of a name, counted; NULL when nobody uses it. */
struct node *node_find(struct tree *tree, struct node *parent, const char *name);
/*
 * The same, made if needed; *ret is counted.  0, -ENOMEM, -ENOENT: the parent was
 * removed, -ENOTDIR, -EISDIR: the name's node is of the other kind; what the caller
 * knows is old, or the name changed unseen: look again, node_drop_name if it is so
 * still; -ENAMETOOLONG.
 */
int node_get(struct tree *tree, struct node *parent, const char *name, bool is_dir,
	     struct node **ret);

/*
 * node_get for a name that node_find did not find a moment ago: what is made gets this
 * inode number (0: none yet), and whoever came first keeps what it has.
 */
int node_get_new(struct tree *tree, struct node *parent, const char *name, bool is_dir,
		 uint64_t ino, struct node **ret);
/*
 * The node of an object that was just made under this name, with its inode number.  What
 * was remembered under the name is of something else and loses it, but for a node without a
 * number: who made that asks for the name.  0, -ENOMEM, -ENOENT, -ENAMETOOLONG as above.
 */
int node_make(struct tree *tree, struct node *parent, const char *name, bool is_dir, uint64_t ino,
	      struct node **ret);

/*
 * Inode numbers are given once.  node_ino is 0 before; node_set_ino keeps the
 * first and returns the one that counts.
 */
uint64_t node_ino(const struct node *node);
uint64_t node_set_ino(struct tree *tree, struct node *node, uint64_t ino);
bool node_is_dir(const struct node *node);

/* Hard links of local files: the node that has this cache inode, counted, or NULL. */
struct node *node_by_cache_ino(struct tree *tree, uint64_t cache_ino);
/* Give node another name; it is found by cache_ino from now on.  0, -ENOMEM. */
int node_add_name(struct tree *tree, struct node *node, uint64_t cache_ino, struct node *parent,
		  const char *name);
/* The name was removed (unlink, rmdir, renamed over). */
void node_drop_name(struct tree *tree, struct node *parent, const char *name);
/* The same, unless names moved since changes (tree_changes): then false, it may be right. */
bool node_drop_unseen(struct tree *tree, struct node *parent, const char *name, uint64_t changes);
bool node_has_name(struct tree *tree, struct node *node);

/*
 * One name of the node, copied: *parent is counted.  -ENOENT when it has none.
 * name is of ROW_NAME_MAX + 1.
 */
int node_name(struct tree *tree, struct node *node, struct node **ret_parent, char *ret_name);
/* Path from the root, "" for it; heap.  -ENOENT: unlinked, here or above. */
int node_path(struct tree *tree, struct node *node, char **ret);
/* parent's path, a slash, name; heap. */
int node_child_path(struct tree *tree, struct node *parent, const char *name, char **ret);
/*
 * Walk a relative path, making nodes; the last is_dir as told.  Asks nobody whether
 * it exists.  As node_get; -EINVAL: "//", "." or "..".
 */
int node_walk(struct tree *tree, const char *path, bool is_dir, struct node **ret);

/* Renames: freeze, renameat2, move or swap, thaw. */
void tree_freeze(struct tree *tree);
void tree_thaw(struct tree *tree);
/* The target's old node, if any, loses that name. */
void tree_move_frozen(struct tree *tree, struct node *parent, const char *name,
		      struct node *new_parent, const char *new_name);
void tree_swap_frozen(struct tree *tree, struct node *parent_a, const char *a,
		      struct node *parent_b, const char *b);

/*
 * How often names moved or went so far, asked under the tree's lock.  What was
 * resolved between two equal answers was right; otherwise resolve again.
 */
uint64_t tree_changes(struct tree *tree);

/* Claims.  node_claim is first come, first served; node_try_claim does not overtake who waits. */
void node_claim(struct tree *tree, struct node *node); /* waits: not on a FUSE thread */
bool node_try_claim(struct tree *tree, struct node *node);
/* Two nodes (b may be NULL or equal a), in an order that cannot deadlock. */
void node_claim_two(struct tree *tree, struct node *a, struct node *b);
bool node_try_claim_two(struct tree *tree, struct node *a, struct node *b);
void node_unclaim(struct tree *tree, struct node *node); /* ends leaving too */
void node_unclaim_two(struct tree *tree, struct node *a, struct node *b);

/*
 * Have the hook called, without any lock, before the present claim of this node
 * ends; once a mark.  One hook a tree, set before the first mark.
 */
void node_mark(struct tree *tree, struct node *node);
void tree_on_unclaim(struct tree *tree, void (*hook)(struct node *node, void *arg), void *arg);

/*
 * Claimed and no open handle: from now until unclaim opens wait.  False: a handle
 * is open.  A node that leaves is no longer found by its cache inode.
 */
bool node_leave(struct tree *tree, struct node *node);

/* Count a handle.  wait false: returns false instead of waiting for a leaving node. */
bool node_open_begin(struct tree *tree, struct node *node, bool write, bool wait);
void node_open_end(struct tree *tree, struct node *node, bool write);
unsigned node_nopen(struct tree *tree, struct node *node);
unsigned node_nwrite(struct tree *tree, struct node *node);

/*
 * Directories: the row's id; 0: known to have no row (so nothing below it has one),
 * -1: not asked yet.  Set under the directory's claim; what a look-up read is learned only
 * while nothing is known, as the claim's owner may have changed it meanwhile.
 */
dirid_t node_dirid(const struct node *node);
void node_set_dirid(struct node *node, dirid_t id);
dirid_t node_learn_dirid(struct node *node, dirid_t id); /* returns the one that counts */

/*
 * Times of a directory that only our own action moved (a released name, a restored
 * file): while the cache still has what that left, or was left on the way, users see the shown ones.
 * What users change in it is counted, so that an own action that overlaps one claims nothing.
 */
struct own_times {
	bool set;   /* else the cache's are shown */
	bool known; /* as node_own_times answers: the directory's row has nothing to add */
	int64_t mtime_ns, ctime_ns;	/* shown */
	int64_t c_since_ns;		/* the cache's ctime before our action */
	int64_t c_mtime_ns, c_ctime_ns; /* the cache's after it; OWN_UNDER_WAY: it is not over */
	uint64_t user_changes;		/* node_user_changes() that it holds for */
	/* the node's own: the newest of the cache's that overlapping actions have left so far */
	int64_t left_mtime_ns, left_ctime_ns;
};
#define OWN_UNDER_WAY INT64_MAX
void node_user_changed(struct node *dir);
uint64_t node_user_changes(const struct node *dir);
/* It holds for what users changed until now, and while own actions are under way for what those leave. */
void node_set_own_times(struct tree *tree, struct node *dir, const struct own_times *times);
/* Each begin has an end.  Of those that overlap, the first one's shown times count, unless a user changed something. */
void node_own_begin(struct tree *tree, struct node *dir, const struct own_times *times);
/* now: the cache's, NULL: not known.  True, and what is shown for now on: its row wants to know. */
bool node_own_end(struct tree *tree, struct node *dir, bool changed, const struct stat *now,
		  struct own_times *ret);
/* What its row says, for a node that does not know yet: what is set here comes before it gets there. */
void node_learn_own_times(struct tree *tree, struct node *dir, const struct own_times *times);
struct own_times node_own_times(struct tree *tree, struct node *dir);

/* fs keeps the open state of a file here; NULL when nothing is open.  fs's own locking. */
void *node_fs(const struct node *node);
void node_set_fs(struct node *node, void *state);
/* fs remembers here whose bytes the kernel may have in its page cache; 0 at first.  fs's own locking. */
uint64_t node_pages(const struct node *node);
void node_set_pages(struct node *node, uint64_t pages);

/* Called, without any lock, with each directory's node just before its memory goes.  One. */
void tree_on_free(struct tree *tree, void (*hook)(struct node *dir, void *arg), void *arg);

/*
 * Call each node in memory (for the inode cap) until it returns false; it may not
 * block.  Counted for the call.  Nodes that come or are renamed meanwhile may be
 * met twice or not at all.
 */
void tree_each(struct tree *tree, bool (*each)(struct node *node, void *arg), void *arg);

#endif
