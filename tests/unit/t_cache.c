/* SPDX-License-Identifier: MIT */
/*
 * The cache: what is probed, names resolved, descriptors kept and forgotten.  Needs root,
 * and a temporary directory on a local file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/cache_rig.h"
#include "tests/unit/tier_rig.h"

static void assert_inode(struct cache_rig *f, struct node *node, const char *path)
{
	struct stat a, b;

	assert_int_equal(fstatat(f->fd, path, &a, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(cache_stat_node(f->cache, node, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
}

static void test_one_daemon(void **state)
{
	struct cache_rig *f = *state;
	struct cache *second;
	int fd = cache_rig_open(f);

	assert_int_equal(cache_open(fd, f->tree, &second, f->err, sizeof(f->err)), -EBUSY);
	assert_non_null(strstr(f->err, "another ebbfs"));
	cache_close(f->cache);
	assert_int_equal(cache_open(fd, f->tree, &f->cache, f->err, sizeof(f->err)), 0);
	assert_int_equal(cache_root_fd(f->cache), fd);
}

static void test_probe_leaves_nothing(void **state)
{
	struct cache_rig *f = *state;
	struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	struct stat st;
	int fd = cache_rig_open(f);

	/* a file of a probe that was killed, and one that only has its name */
	cache_rig_file(f, ".ebb.probe", "");
	assert_int_equal(futimens(f->fd, times), 0);
	cache_close(f->cache);
	f->cache = NULL;
	assert_int_equal(cache_open(fd, f->tree, &f->cache, f->err, sizeof(f->err)), -EEXIST);
	assert_int_equal(fchmodat(f->fd, ".ebb.probe", 0600, 0), 0);
	fd = openat(f->fd, ".ebb.probe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "trusted.ebb.probe", "1", 1, 0), 0);
	close(fd);
	fd = cache_rig_open(f);
	assert_int_equal(cache_open(fd, f->tree, &f->cache, f->err, sizeof(f->err)), 0);
	assert_int_equal(faccessat(f->fd, ".ebb.probe", F_OK, 0), -1);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
}

static void test_no_leases(void **state)
{
	struct cache_rig *f = *state;
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct cache *c;

	assert_int_equal(cache_open(fd, f->tree, &c, f->err, sizeof(f->err)), -ENOTSUP);
	assert_non_null(strstr(f->err, "O_TMPFILE"));
	close(fd);
}

static void test_uid(void **state)
{
	struct cache_rig *f = *state;
	struct uid128 uid, read;

	assert_int_equal(cache_get_uid(f->cache, &read), -ENODATA);
	assert_int_equal(uid128_new(&uid), 0);
	assert_int_equal(cache_set_uid(f->cache, &uid), 0);
	assert_int_equal(cache_get_uid(f->cache, &read), 0);
	assert_true(uid128_equal(&uid, &read));
	assert_int_equal(fsetxattr(f->fd, "trusted.ebb.cache", "nonsense", 8, 0), 0);
	assert_int_equal(cache_get_uid(f->cache, &read), -EINVAL);
}

static void test_names(void **state)
{
	struct cache_rig *f = *state;
	struct node *d, *file, *root = tree_root(f->tree);
	struct stat st;
	struct dirfd *dfd;
	char text[8] = "";
	int fd;

	cache_rig_dir(f, "d");
	cache_rig_file(f, "d/f", "hello");
	assert_int_equal(symlinkat("d", f->fd, "link"), 0);
	d = cache_rig_walk(f, "d", true);
	file = cache_rig_walk(f, "d/f", false);
	assert_inode(f, root, ".");
	assert_inode(f, d, "d");
	assert_inode(f, file, "d/f");
	assert_int_equal(cache_stat(f->cache, d, "f", &st), 0);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(cache_stat(f->cache, d, "g", &st), -ENOENT);
	assert_int_equal(cache_stat(f->cache, root, "link", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	fd = cache_open_node(f->cache, file, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	assert_string_equal(text, "hello");
	close(fd);
	fd = cache_open_node(f->cache, file, O_RDWR | O_TRUNC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	close(fd);
	assert_int_equal(cache_open_node(f->cache, d, O_RDONLY), -EISDIR);
	assert_int_equal(cache_dir(f->cache, file, &dfd), -ENOTDIR);
	assert_int_equal(cache_sync_dir(f->cache, d), 0);
	node_put(f->tree, d);
	node_put(f->tree, file);

	/* absent directories, symlinks in the way */
	d = cache_rig_walk(f, "none/at/all", true);
	assert_int_equal(cache_dir(f->cache, d, &dfd), -ENOENT);
	assert_int_equal(cache_stat(f->cache, d, "x", &st), -ENOENT);
	assert_int_equal(cache_stat_node(f->cache, d, &st), -ENOENT);
	node_put(f->tree, d);
	d = cache_rig_walk(f, "link", true);
	assert_true(cache_dir(f->cache, d, &dfd) < 0);
	node_put(f->tree, d);
}

static void test_deep(void **state)
{
	struct cache_rig *f = *state;
	struct node *d = node_ref(tree_root(f->tree)), *child;
	char name[201];
	struct stat a, b;
	int fd = dup(f->fd);

	memset(name, 'd', 200);
	name[200] = '\0';
	for (int i = 0; i < 50; i++) {
		int sub;

		assert_int_equal(mkdirat(fd, name, 0755), 0);
		sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = sub;
		assert_int_equal(node_get(f->tree, d, name, true, &child), 0);
		node_put(f->tree, d);
		d = child;
	}
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(cache_stat_node(f->cache, d, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fd);
	node_put(f->tree, d);
	/* nftw takes no such path */
	assert_int_equal(chdir(f->dir), 0);
	for (int i = 0; i < 49; i++)
		assert_int_equal(chdir(name), 0);
	for (int i = 0; i < 49; i++) {
		assert_int_equal(rmdir(name), 0);
		assert_int_equal(chdir(".."), 0);
	}
	assert_int_equal(chdir("/"), 0);
}

static void test_kept_over_rename(void **state)
{
	struct cache_rig *f = *state;
	struct node *a, *b;
	struct dirfd *d1, *d2;

	cache_rig_dir(f, "a");
	cache_rig_dir(f, "b");
	a = cache_rig_walk(f, "a", true);
	b = cache_rig_walk(f, "b", true);
	assert_int_equal(cache_dir(f->cache, a, &d1), 0);
	cache_rig_rename(f, "a", "b", RENAME_EXCHANGE);
	assert_int_equal(cache_dir(f->cache, a, &d2), 0);
	assert_ptr_equal(d1, d2);
	assert_inode(f, a, "b");
	assert_inode(f, b, "a");
	cache_dir_put(f->cache, d1);
	cache_dir_put(f->cache, d2);
	node_put(f->tree, a);
	node_put(f->tree, b);
}

static void test_made_again(void **state)
{
	struct cache_rig *f = *state;
	struct node *d;
	struct dirfd *dfd;
	struct stat st;

	cache_rig_dir(f, "d");
	d = cache_rig_walk(f, "d", true);
	assert_int_equal(cache_dir(f->cache, d, &dfd), 0);
	assert_int_equal(unlinkat(f->fd, "d", AT_REMOVEDIR), 0);
	assert_int_equal(cache_stat(f->cache, d, "x", &st), -ENOENT);
	assert_int_equal(cache_stat_node(f->cache, d, &st), -ENOENT);
	cache_rig_dir(f, "d");
	cache_rig_file(f, "d/x", "");
	cache_dir_forget(f->cache, d);
	assert_int_equal(cache_stat(f->cache, d, "x", &st), 0);
	assert_inode(f, d, "d");
	cache_dir_put(f->cache, dfd);
	node_put(f->tree, d);
}

/* More directories than are kept; freed nodes' descriptors go with them. */
static void test_bounded(void **state)
{
	enum { N = 1100 };
	struct cache_rig *f = *state;
	struct node **nodes = calloc(N, sizeof(*nodes));
	struct dirfd *first, *dfd;
	char name[16];
	int fd;

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		cache_rig_dir(f, name);
		nodes[i] = cache_rig_walk(f, name, true);
		assert_int_equal(cache_dir(f->cache, nodes[i], i ? &dfd : &first), 0);
		if (i)
			cache_dir_put(f->cache, dfd);
	}
	fd = dirfd_fd(first); /* out of the list, and still right while it is counted */
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cache_dir_put(f->cache, first);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_inode(f, nodes[0], "d0");
	assert_int_equal(cache_dir(f->cache, nodes[N - 1], &dfd), 0);
	fd = dirfd_fd(dfd);
	cache_dir_put(f->cache, dfd);
	for (int i = 0; i < N; i++)
		node_put(f->tree, nodes[i]);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	free(nodes);
}

static void test_quiet(void **state)
{
	struct cache_rig *f = *state;
	struct identity a, b;
	struct stat st;
	int fd, writer;
	void *map;

	cache_rig_file(f, "f", "bytes");
	fd = openat(f->fd, "f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	a = b = cache_identity(&st);
	assert_true(identity_equal(&a, &b));
	b.ctime_ns++;
	assert_false(identity_equal(&a, &b));
	assert_int_equal(cache_quiet(fd), 0);
	assert_int_equal(fcntl(fd, F_GETLEASE), F_UNLCK);
	writer = openat(f->fd, "f", O_RDWR | O_CLOEXEC);
	assert_int_equal(cache_quiet(fd), -EAGAIN);
	map = mmap(NULL, 4096, PROT_WRITE | PROT_READ, MAP_SHARED, writer, 0);
	close(writer);
	assert_int_equal(cache_quiet(fd), -EAGAIN);
	munmap(map, 4096);
	assert_int_equal(cache_quiet(fd), 0);
	close(fd);
	assert_int_equal(cache_quiet(fd), -EBADF);
}

static void test_room(void **state)
{
	struct cache_rig *f = *state;
	struct cache_room room;

	assert_int_equal(cache_room(f->cache, &room), 0);
	assert_true(room.used_pct <= 100);
	assert_true(room.total_bytes > room.free_bytes);
	assert_true(room.free_bytes > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, cache_rig_setup, cache_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_daemon),
		TEST(test_probe_leaves_nothing),
		TEST(test_no_leases),
		TEST(test_uid),
		TEST(test_names),
		TEST(test_deep),
		TEST(test_kept_over_rename),
		TEST(test_made_again),
		TEST(test_bounded),
		TEST(test_quiet),
		TEST(test_room),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
