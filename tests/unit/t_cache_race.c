/* SPDX-License-Identifier: MIT */
/*
 * The cache while names change: what is resolved is what has the name, and a forgotten
 * directory is not kept.  Needs root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cache_rig.h"
#include "tests/unit/tier_rig.h"

struct race {
	struct cache_rig *f;
	struct node *dirs[2], *files[2];
	ino_t dir_inos[2], file_inos[2];
	_Atomic bool stop;
	_Atomic int n_wrong;
};

static void *rename_on(void *arg)
{
	struct race *r = arg;
	struct cache_rig *f = r->f;

	for (int i = 0; !atomic_load(&r->stop); i++) {
		cache_rig_rename(f, "a", "b", RENAME_EXCHANGE);
		tree_freeze(f->tree);
		if (renameat2(f->fd, "x", f->fd, "y", RENAME_EXCHANGE) < 0)
			abort();
		tree_swap_frozen(f->tree, tree_root(f->tree), "x", tree_root(f->tree), "y");
		tree_thaw(f->tree);
	}
	return NULL;
}

/* The only one that forgets: what another forgets is resolved again anyway. */
static void *look_at_dirs(void *arg)
{
	struct race *r = arg;
	struct cache *c = r->f->cache;

	for (int i = 0; i < 20000; i++) {
		struct dirfd *d;
		struct stat st;

		cache_dir_forget(c, r->dirs[i % 2]);
		if (cache_dir(c, r->dirs[i % 2], &d) < 0 || fstat(dirfd_fd(d), &st) < 0)
			abort();
		r->n_wrong += st.st_ino != r->dir_inos[i % 2];
		cache_dir_put(c, d);
	}
	return NULL;
}

static void *look_at_files(void *arg)
{
	struct race *r = arg;
	struct cache *c = r->f->cache;

	for (int i = 0; i < 20000; i++) {
		struct stat st;
		int fd;

		if (cache_stat_node(c, r->files[i % 2], &st) < 0)
			abort();
		r->n_wrong += st.st_ino != r->file_inos[i % 2];
		fd = cache_open_node(c, r->files[i % 2], O_RDONLY);
		if (fd < 0 || fstat(fd, &st) < 0)
			abort();
		r->n_wrong += st.st_ino != r->file_inos[i % 2];
		close(fd);
	}
	return NULL;
}

static void test_race(void **state)
{
	struct cache_rig *f = *state;
	struct race r = { .f = f };
	static const char *const dirs[] = { "a", "b" }, *const files[] = { "x", "y" };
	pthread_t renamer, lookers[2];
	struct stat st;

	for (int k = 0; k < 2; k++) {
		cache_rig_dir(f, dirs[k]);
		cache_rig_file(f, files[k], files[k]);
		r.dirs[k] = cache_rig_walk(f, dirs[k], true);
		r.files[k] = cache_rig_walk(f, files[k], false);
		assert_int_equal(fstatat(f->fd, dirs[k], &st, 0), 0);
		r.dir_inos[k] = st.st_ino;
		assert_int_equal(fstatat(f->fd, files[k], &st, 0), 0);
		r.file_inos[k] = st.st_ino;
	}
	assert_int_equal(pthread_create(&renamer, NULL, rename_on, &r), 0);
	assert_int_equal(pthread_create(&lookers[0], NULL, look_at_dirs, &r), 0);
	assert_int_equal(pthread_create(&lookers[1], NULL, look_at_files, &r), 0);
	for (int k = 0; k < 2; k++)
		pthread_join(lookers[k], NULL);
	atomic_store(&r.stop, true);
	pthread_join(renamer, NULL);
	assert_int_equal(r.n_wrong, 0);
	for (int k = 0; k < 2; k++) {
		node_put(f->tree, r.dirs[k]);
		node_put(f->tree, r.files[k]);
	}
}

static void *resolve_on(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&r->stop)) {
		struct dirfd *d;

		if (cache_dir(r->f->cache, r->dirs[0], &d) == 0)
			cache_dir_put(r->f->cache, d);
	}
	return NULL;
}

/* Who opened the old directory just before it was forgotten must not keep it after. */
static void test_forget_race(void **state)
{
	struct cache_rig *f = *state;
	struct race r = { .f = f };
	pthread_t resolver;
	int n_wrong = 0;

	cache_rig_dir(f, "d");
	r.dirs[0] = cache_rig_walk(f, "d", true);
	assert_int_equal(pthread_create(&resolver, NULL, resolve_on, &r), 0);
	for (int i = 0; i < 4000; i++) {
		struct dirfd *d;
		struct stat is, st;

		assert_int_equal(unlinkat(f->fd, "d", AT_REMOVEDIR), 0);
		cache_rig_dir(f, "d");
		cache_dir_forget(f->cache, r.dirs[0]);
		assert_int_equal(fstatat(f->fd, "d", &is, 0), 0);
		assert_int_equal(cache_dir(f->cache, r.dirs[0], &d), 0);
		assert_int_equal(fstat(dirfd_fd(d), &st), 0);
		n_wrong += st.st_nlink == 0 || st.st_ino != is.st_ino;
		cache_dir_put(f->cache, d);
	}
	atomic_store(&r.stop, true);
	pthread_join(resolver, NULL);
	assert_int_equal(n_wrong, 0);
	node_put(f->tree, r.dirs[0]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, cache_rig_setup, cache_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(test_race), TEST(test_forget_race) };

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
