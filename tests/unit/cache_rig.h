/* SPDX-License-Identifier: MIT */
/* What the tests of tier/cache.c share: a cache in a directory of its own, names in it. */
#ifndef EBB_TESTS_CACHE_RIG_H
#define EBB_TESTS_CACHE_RIG_H

#include "tier/cache.h"

struct cache_rig {
	char dir[256];
	int fd; /* of dir, our own */
	struct tree *tree;
	struct cache *cache;
	char err[512];
};

/* cmocka setup and teardown: *state is a struct cache_rig with an open, empty cache. */
int cache_rig_setup(void **state);
int cache_rig_teardown(void **state);
int cache_rig_open(const struct cache_rig *f); /* its directory, O_PATH */

/* Straight in the directory. */
void cache_rig_file(struct cache_rig *f, const char *path, const char *text);
void cache_rig_dir(struct cache_rig *f, const char *path);
/* renameat2(2) of two names of the root, as the tier does it. */
void cache_rig_rename(struct cache_rig *f, const char *a, const char *b, unsigned flags);
struct node *cache_rig_walk(struct cache_rig *f, const char *path, bool is_dir); /* counted */

#endif
