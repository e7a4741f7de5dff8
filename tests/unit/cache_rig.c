/* SPDX-License-Identifier: MIT */
/* A cache in a directory of its own: see cache_rig.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cache_rig.h"

int cache_rig_open(const struct cache_rig *f)
{
	int fd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

int cache_rig_setup(void **state)
{
	struct cache_rig *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");
	int r;

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "%s/ebb-cache.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(tree_new(&f->tree), 0);
	r = cache_open(cache_rig_open(f), f->tree, &f->cache, f->err, sizeof(f->err));
	if (r < 0)
		fail_msg("%d: %s", r, f->err);
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

int cache_rig_teardown(void **state)
{
	struct cache_rig *f = *state;

	cache_close(f->cache);
	assert_int_equal(tree_count(f->tree), 1);
	tree_free(f->tree);
	close(f->fd);
	assert_int_equal(nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	free(f);
	return 0;
}

void cache_rig_file(struct cache_rig *f, const char *path, const char *text)
{
	int fd = openat(f->fd, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

void cache_rig_dir(struct cache_rig *f, const char *path)
{
	assert_int_equal(mkdirat(f->fd, path, 0755), 0);
}

struct node *cache_rig_walk(struct cache_rig *f, const char *path, bool is_dir)
{
	struct node *node;

	assert_int_equal(node_walk(f->tree, path, is_dir, &node), 0);
	return node;
}

void cache_rig_rename(struct cache_rig *f, const char *a, const char *b, unsigned flags)
{
	struct node *root = tree_root(f->tree);

	tree_freeze(f->tree);
	assert_int_equal(renameat2(f->fd, a, f->fd, b, flags), 0);
	if (flags & RENAME_EXCHANGE)
		tree_swap_frozen(f->tree, root, a, root, b);
	else
		tree_move_frozen(f->tree, root, a, root, b);
	tree_thaw(f->tree);
}
