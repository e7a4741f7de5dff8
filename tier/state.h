/* SPDX-License-Identifier: MIT */
/*
 * The state of a name follows from two truths, the cache file and the row
 * (meta/state.def has the table).  Looked up in this order: cache, then row; the
 * other way round a file archived and released in between would be missed.
 */
#ifndef EBB_TIER_STATE_H
#define EBB_TIER_STATE_H

#include <sys/stat.h>

#include "tier/tier.h"

enum state {
	STATE_NONE,
	STATE_WRITING,
	STATE_LOCAL,
	STATE_CHANGED,
	STATE_ARCHIVED,
	STATE_RELEASED
};

const char *state_word(enum state s); /* "writing" "local" "local" "archived" "released" */

struct state_of {
	enum state state;
	bool has_cache;
	bool has_row;
	struct stat cache;	/* valid if has_cache: as the cache says */
	struct file_row row;	/* valid if has_row and not a directory */
	struct dir_row dir_row; /* valid if has_row and a directory */
	bool is_dir;
	struct stat shown; /* what a user sees: inode number, times as promised */
};

/* What somebody read of a name a moment ago: true while no transaction was committed since. */
struct row_seen {
	const struct file_row *file; /* borrowed; one of the three, or nothing is known */
	const struct dir_row *dir;   /* borrowed */
	bool none;		     /* there was no row */
	uint64_t version;	     /* catalogue_version() before it was read */
};

/*
 * Never waits (one fstatat, at most one SELECT).  0 also for STATE_NONE.
 * -ENAMETOOLONG, -ENOTDIR, -EIO of the cache or the catalogue.
 */
int state_look(struct tier *t, struct node *parent, const char *name, struct state_of *ret);
/* The same; where seen holds still it is not asked for again. */
int state_look_seen(struct tier *t, struct node *parent, const char *name,
		    const struct row_seen *seen, struct state_of *ret);
/* Of a node with a name; -ENOENT without one (fs then asks its open descriptor). */
int state_look_node(struct tier *t, struct node *node, struct state_of *ret);

/*
 * What a user sees of a node with a name.  Of a directory in the cache the row is asked
 * once: it can only tell of times, and those change with the node's (tier/own.c).
 */
int state_shown(struct tier *t, struct node *node, struct stat *ret);

/*
 * Of a path below the root.  As state_look; -EINVAL: "", "//", "." or "..".  -ENOENT and
 * -ENOTDIR too where a directory of it is none.
 */
int state_look_path(struct tier *t, const char *path, struct state_of *ret);

/* The row id of a directory, asked once: 0 none. */
int state_dirid(struct tier *t, struct node *dir, dirid_t *ret);

#endif
