/* SPDX-License-Identifier: MIT */
/*
 * The cache: what is probed, names resolved while they are renamed, descriptors kept
 * and forgotten.  Needs root, and a temporary directory on a local file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/tier_rig.h"
#include "tier/cache.h"

struct fixture {
	char dir[256];
	int fd; /* of dir, our own */
	struct tree *tree;
	struct cache *cache;
	char err[512];
};

static int open_dir(const struct fixture *f)
{
	int fd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");
	int r;

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "%s/ebb-cache.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(tree_new(&f->tree), 0);
	r = cache_open(open_dir(f), f->tree, &f->cache, f->err, sizeof(f->err));
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

static int teardown(void **state)
{
	struct fixture *f = *state;

	cache_close(f->cache);
	assert_int_equal(tree_count(f->tree), 1);
	tree_free(f->tree);
	close(f->fd);
	assert_int_equal(nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	free(f);
	return 0;
}

static void make_file(struct fixture *f, const char *path, const char *text)
{
	int fd = openat(f->fd, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void make_dir(struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(f->fd, path, 0755), 0);
}

static struct node *walk(struct fixture *f, const char *path, bool is_dir)
{
	struct node *node;

	assert_int_equal(node_walk(f->tree, path, is_dir, &node), 0);
	return node;
}

static void assert_inode(struct fixture *f, struct node *node, const char *path)
{
	struct stat a, b;

	assert_int_equal(fstatat(f->fd, path, &a, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(cache_stat_node(f->cache, node, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
}

static void test_one_daemon(void **state)
{
	struct fixture *f = *state;
	struct cache *second;
	int fd = open_dir(f);

	assert_int_equal(cache_open(fd, f->tree, &second, f->err, sizeof(f->err)), -EBUSY);
	assert_non_null(strstr(f->err, "another ebbfs"));
	cache_close(f->cache);
	assert_int_equal(cache_open(fd, f->tree, &f->cache, f->err, sizeof(f->err)), 0);
	assert_int_equal(cache_root_fd(f->cache), fd);
}

static void test_probe_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	struct stat st;
	int fd = open_dir(f);

	/* a file of a probe that was killed, and one that only has its name */
	make_file(f, ".ebb.probe", "");
	assert_int_equal(futimens(f->fd, times), 0);
	cache_close(f->cache);
	f->cache = NULL;
	assert_int_equal(cache_open(fd, f->tree, &f->cache, f->err, sizeof(f->err)), -EEXIST);
	assert_int_equal(fchmodat(f->fd, ".ebb.probe", 0600, 0), 0);
	fd = openat(f->fd, ".ebb.probe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "trusted.ebb.probe", "1", 1, 0), 0);
	close(fd);
	fd = open_dir(f);
	assert_int_equal(cache_open(fd, f->tree, &f->cache, f->err, sizeof(f->err)), 0);
	assert_int_equal(faccessat(f->fd, ".ebb.probe", F_OK, 0), -1);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
}

static void test_no_leases(void **state)
{
	struct fixture *f = *state;
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct cache *c;

	assert_int_equal(cache_open(fd, f->tree, &c, f->err, sizeof(f->err)), -ENOTSUP);
	assert_non_null(strstr(f->err, "O_TMPFILE"));
	close(fd);
}

static void test_uid(void **state)
{
	struct fixture *f = *state;
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
	struct fixture *f = *state;
	struct node *d, *file, *root = tree_root(f->tree);
	struct stat st;
	struct dirfd *dfd;
	char text[8] = "";
	int fd;

	make_dir(f, "d");
	make_file(f, "d/f", "hello");
	assert_int_equal(symlinkat("d", f->fd, "link"), 0);
	d = walk(f, "d", true);
	file = walk(f, "d/f", false);
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
	d = walk(f, "none/at/all", true);
	assert_int_equal(cache_dir(f->cache, d, &dfd), -ENOENT);
	assert_int_equal(cache_stat(f->cache, d, "x", &st), -ENOENT);
	assert_int_equal(cache_stat_node(f->cache, d, &st), -ENOENT);
	node_put(f->tree, d);
	d = walk(f, "link", true);
	assert_true(cache_dir(f->cache, d, &dfd) < 0);
	node_put(f->tree, d);
}

static void test_deep(void **state)
{
	struct fixture *f = *state;
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

static void rename_in_cache(struct fixture *f, const char *a, const char *b, unsigned flags)
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

static void test_kept_over_rename(void **state)
{
	struct fixture *f = *state;
	struct node *a, *b;
	struct dirfd *d1, *d2;

	make_dir(f, "a");
	make_dir(f, "b");
	a = walk(f, "a", true);
	b = walk(f, "b", true);
	assert_int_equal(cache_dir(f->cache, a, &d1), 0);
	rename_in_cache(f, "a", "b", RENAME_EXCHANGE);
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
	struct fixture *f = *state;
	struct node *d;
	struct dirfd *dfd;
	struct stat st;

	make_dir(f, "d");
	d = walk(f, "d", true);
	assert_int_equal(cache_dir(f->cache, d, &dfd), 0);
	assert_int_equal(unlinkat(f->fd, "d", AT_REMOVEDIR), 0);
	assert_int_equal(cache_stat(f->cache, d, "x", &st), -ENOENT);
	assert_int_equal(cache_stat_node(f->cache, d, &st), -ENOENT);
	make_dir(f, "d");
	make_file(f, "d/x", "");
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
	struct fixture *f = *state;
	struct node **nodes = calloc(N, sizeof(*nodes));
	struct dirfd *first, *dfd;
	char name[16];
	int fd;

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		make_dir(f, name);
		nodes[i] = walk(f, name, true);
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
	struct fixture *f = *state;
	struct identity a, b;
	struct stat st;
	int fd, writer;
	void *map;

	make_file(f, "f", "bytes");
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
	struct fixture *f = *state;
	struct cache_room room;

	assert_int_equal(cache_room(f->cache, &room), 0);
	assert_true(room.used_pct <= 100);
	assert_true(room.total_bytes > room.free_bytes);
	assert_true(room.free_bytes > 0);
}

/* ---- resolving while names change ----------------------------------------------- */

struct race {
	struct fixture *f;
	struct node *dirs[2], *files[2];
	ino_t dir_inos[2], file_inos[2];
	_Atomic bool stop;
	_Atomic int n_wrong;
};

static void *rename_on(void *arg)
{
	struct race *r = arg;
	struct fixture *f = r->f;

	for (int i = 0; !atomic_load(&r->stop); i++) {
		rename_in_cache(f, "a", "b", RENAME_EXCHANGE);
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
	struct fixture *f = *state;
	struct race r = { .f = f };
	static const char *const dirs[] = { "a", "b" }, *const files[] = { "x", "y" };
	pthread_t renamer, lookers[2];
	struct stat st;

	for (int k = 0; k < 2; k++) {
		make_dir(f, dirs[k]);
		make_file(f, files[k], files[k]);
		r.dirs[k] = walk(f, dirs[k], true);
		r.files[k] = walk(f, files[k], false);
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
	struct fixture *f = *state;
	struct race r = { .f = f };
	pthread_t resolver;
	int n_wrong = 0;

	make_dir(f, "d");
	r.dirs[0] = walk(f, "d", true);
	assert_int_equal(pthread_create(&resolver, NULL, resolve_on, &r), 0);
	for (int i = 0; i < 4000; i++) {
		struct dirfd *d;
		struct stat is, st;

		assert_int_equal(unlinkat(f->fd, "d", AT_REMOVEDIR), 0);
		make_dir(f, "d");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probe_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_leases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_uid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept_over_rename, setup, teardown),
		cmocka_unit_test_setup_teardown(test_made_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forget_race, setup, teardown),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
