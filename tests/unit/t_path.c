/* SPDX-License-Identifier: MIT */
/*
 * Nothing outside the directory is reached, by no spelling and through no
 * symlink; what is inside opens as open(2) would.  Paths are cut at the last slash, and joined.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/path.h"

/*
 *	top/secret
 *	top/root/		the directory of the tests
 *	top/root/a/b/file	"hello"
 *	top/root/a/self		-> .
 *	top/root/a/link		-> b/file
 *	top/root/out		-> ..
 *	top/root/abs		-> /
 */
struct tree {
	char top[64];
	int dirfd; /* of root */
};

static void write_file(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static int setup(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));
	char root[80];

	assert_non_null(t);
	strcpy(t->top, "/tmp/t_path.XXXXXX");
	assert_non_null(mkdtemp(t->top));
	snprintf(root, sizeof(root), "%s/root", t->top);
	assert_int_equal(mkdir(root, 0755), 0);
	t->dirfd = open(root, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	assert_true(t->dirfd >= 0);
	write_file(t->dirfd, "../secret", "secret");
	assert_int_equal(mkdirat(t->dirfd, "a", 0755), 0);
	assert_int_equal(mkdirat(t->dirfd, "a/b", 0755), 0);
	write_file(t->dirfd, "a/b/file", "hello");
	assert_int_equal(symlinkat(".", t->dirfd, "a/self"), 0);
	assert_int_equal(symlinkat("b/file", t->dirfd, "a/link"), 0);
	assert_int_equal(symlinkat("..", t->dirfd, "out"), 0);
	assert_int_equal(symlinkat("/", t->dirfd, "abs"), 0);
	*state = t;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct tree *t = *state;

	close(t->dirfd);
	nftw(t->top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(t);
	return 0;
}

static void test_opens_what_is_inside(void **state)
{
	struct tree *t = *state;
	struct stat st, st2;
	char buf[10];
	int fd;

	fd = path_open(t->dirfd, "a/b/file", O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(path_pread_full(fd, buf, sizeof(buf), 0), 5);
	assert_memory_equal(buf, "hello", 5);
	close(fd);

	fd = path_open(t->dirfd, "", O_PATH | O_DIRECTORY, 0);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(fstat(t->dirfd, &st2), 0);
	assert_true(st.st_ino == st2.st_ino);
	close(fd);

	/* Dots that are only part of a name. */
	fd = path_open(t->dirfd, "a/..b..", O_RDWR | O_CREAT | O_EXCL, 0640);
	assert_true(fd >= 0);
	close(fd);
	/* A mode is of no account when nothing is made; all of its bits may be there. */
	fd = path_open(t->dirfd, "a/..b..", O_RDONLY, S_IFREG | 0644);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	close(fd);
	fd = path_open(t->dirfd, "made", O_RDWR | O_CREAT | O_EXCL, S_IFREG | 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(path_open(t->dirfd, "made", O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
	assert_int_equal(path_open(t->dirfd, "none", O_RDONLY, 0), -ENOENT);
	assert_int_equal(path_open(t->dirfd, "made/x", O_RDONLY, 0), -ENOTDIR);
	assert_int_equal(path_open(-1, "made", O_RDONLY, 0), -EBADF);
}

static void test_unnamed_file(void **state)
{
	struct tree *t = *state;
	int fd = path_open(t->dirfd, "a", O_TMPFILE | O_RDWR, 0600);

	if (fd == -EOPNOTSUPP)
		skip();
	assert_true(fd >= 0);
	close(fd);
}

static void test_refuses_ways_out(void **state)
{
	static const char *const ways[] = {
		"..",	"../secret",	 "a/../../secret", "/etc/passwd", "/",
		"a/..", "a/../a/b/file", "a/b/../..",	   "../root/a"
	};
	struct tree *t = *state;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		assert_int_equal(path_open(t->dirfd, ways[i], O_RDONLY, 0), -EXDEV);
		assert_int_equal(path_open(t->dirfd, ways[i], O_PATH, 0), -EXDEV);
		assert_int_equal(path_mkdirs(t->dirfd, ways[i], 0755), -EXDEV);
	}
}

static void test_refuses_symlinks(void **state)
{
	static const char *const links[] = { "a/link", "a/self",     "a/self/b/file",
					     "out",    "out/secret", "abs/etc/passwd",
					     "abs" };
	struct tree *t = *state;
	int fd;

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		assert_int_equal(path_open(t->dirfd, links[i], O_RDONLY, 0), -ELOOP);
		assert_int_equal(path_open(t->dirfd, links[i], O_RDWR | O_CREAT, 0600), -ELOOP);
	}
	/* The link itself can be had, to look at. */
	fd = path_open(t->dirfd, "a/link", O_PATH, 0);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(faccessat(t->dirfd, "../made", F_OK, 0), -1);
}

static void test_mkdirs(void **state)
{
	char name[NAME_MAX + 2];
	struct tree *t = *state;
	struct stat st;

	assert_int_equal(path_mkdirs(t->dirfd, "cam/2017/12/15/15", 0750), 0);
	assert_int_equal(fstatat(t->dirfd, "cam/2017/12/15/15", &st, 0), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(path_mkdirs(t->dirfd, "cam/2017/12/15/15", 0700), 0);
	assert_int_equal(fstatat(t->dirfd, "cam", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(path_mkdirs(t->dirfd, "cam/2017/12/15/16/", 0750), 0);
	assert_int_equal(path_mkdirs(t->dirfd, "cam//2018///01", 0750), 0);
	assert_int_equal(faccessat(t->dirfd, "cam/2018/01", F_OK, 0), 0);
	assert_int_equal(path_mkdirs(t->dirfd, "", 0750), 0);

	assert_int_equal(path_mkdirs(t->dirfd, "a/b/file", 0750), -ENOTDIR);
	assert_int_equal(path_mkdirs(t->dirfd, "a/b/file/x", 0750), -ENOTDIR);
	assert_true(path_mkdirs(t->dirfd, "a/self/x", 0750) < 0);
	assert_true(path_mkdirs(t->dirfd, "out/x", 0750) < 0);
	assert_int_equal(faccessat(t->dirfd, "../x", F_OK, 0), -1);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(path_mkdirs(t->dirfd, name, 0750), -ENAMETOOLONG);
	name[sizeof(name) - 2] = '\0';
	assert_int_equal(path_mkdirs(t->dirfd, name, 0750), 0);
}

static void test_names(void **state)
{
	char name[NAME_MAX + 2];

	assert_true(path_is_name("a"));
	assert_true(path_is_name("..."));
	assert_true(path_is_name(".a"));
	assert_true(path_is_name("\xff\n"));
	assert_false(path_is_name(""));
	assert_false(path_is_name("."));
	assert_false(path_is_name(".."));
	assert_false(path_is_name("a/b"));
	assert_false(path_is_name("/"));
	memset(name, 'n', sizeof(name) - 1);
	name[NAME_MAX] = '\0';
	assert_true(path_is_name(name));
	name[NAME_MAX] = 'n';
	name[NAME_MAX + 1] = '\0';
	assert_false(path_is_name(name));
}

static void test_split(void **state)
{
	static const struct {
		const char *path, *dir, *name;
	} splits[] = {
		{ "a/b/c", "a/b", "c" }, { "a", "", "a" },	{ "/a", "", "a" }, { "", "", "" },
		{ "a//b", "a/", "b" },	 { "a/b/", "a/b", "" }, { "/", "", "" },
	};

	for (size_t i = 0; i < sizeof(splits) / sizeof(splits[0]); i++) {
		char *dir = path_dir(splits[i].path);

		assert_string_equal(dir, splits[i].dir);
		assert_string_equal(path_name(splits[i].path), splits[i].name);
		free(dir);
	}
}

static void test_join(void **state)
{
	static const char *const joins[][3] = {
		{ "a/b", "c", "a/b/c" }, { "", "c", "c" }, { "a", "", "a/" }, { "", "", "" }
	};

	for (size_t i = 0; i < sizeof(joins) / sizeof(joins[0]); i++) {
		char *path = path_join(joins[i][0], joins[i][1]);

		assert_string_equal(path, joins[i][2]);
		free(path);
	}
}

static void assert_real_parent(const char *path, const char *dir, const char *name)
{
	char want[PATH_MAX], *got;

	assert_int_equal(path_real_parent(path, &got), 0);
	snprintf(want, sizeof(want), "%s/%s", dir, name);
	assert_string_equal(got, want);
	free(got);
}

static void test_real_parent(void **state)
{
	struct tree *t = *state;
	char path[128], b[128], *got, *cwd = realpath(".", NULL);

	snprintf(b, sizeof(b), "%s/root/a/b", t->top);
	snprintf(path, sizeof(path), "%s/root/a/self/b/file", t->top);
	assert_real_parent(path, b, "file");
	snprintf(path, sizeof(path), "%s/root/a/self/b/none", t->top);
	assert_real_parent(path, b, "none");
	snprintf(b, sizeof(b), "%s/root/a", t->top);
	snprintf(path, sizeof(path), "%s/root/a/link", t->top);
	assert_real_parent(path, b, "link"); /* not followed itself */
	assert_real_parent("none", cwd, "none");
	assert_real_parent("/none", "", "none");
	assert_real_parent("/", "", "");
	snprintf(path, sizeof(path), "%s/none/x", t->top);
	assert_int_equal(path_real_parent(path, &got), -ENOENT);
	snprintf(path, sizeof(path), "%s/secret/x/y", t->top);
	assert_int_equal(path_real_parent(path, &got), -ENOTDIR);
	free(cwd);
}

static void test_inside(void **state)
{
	assert_true(path_is_inside("/a/b", "/a/b"));
	assert_true(path_is_inside("/a/b/c", "/a/b"));
	assert_true(path_is_inside("/a/b/c", "/a/b/"));
	assert_true(path_is_inside("/a", "/"));
	assert_true(path_is_inside("/", "/"));
	assert_false(path_is_inside("/a/bc", "/a/b"));
	assert_false(path_is_inside("/a", "/a/b"));
	assert_false(path_is_inside("/b", "/a"));
}

static void test_full_reads_and_writes(void **state)
{
	struct tree *t = *state;
	int fd = path_open(t->dirfd, "big", O_RDWR | O_CREAT | O_EXCL, 0600);
	char *out = malloc(1000000), *in = malloc(1000000);

	assert_true(fd >= 0 && out && in);
	for (int i = 0; i < 1000000; i++)
		out[i] = (char)(i * 7);
	assert_int_equal(path_pwrite_full(fd, out, 1000000, 5), 1000000);
	assert_int_equal(path_pread_full(fd, in, 1000000, 5), 1000000);
	assert_memory_equal(in, out, 1000000);
	assert_int_equal(path_pread_full(fd, in, 1000000, 1000000), 5); /* the end is short */
	assert_int_equal(path_pread_full(fd, in, 10, 2000000), 0);
	assert_int_equal(path_pread_full(fd, in, 0, 0), 0);
	assert_int_equal(path_pwrite_full(fd, out, 0, 0), 0);
	close(fd);
	fd = path_open(t->dirfd, "big", O_RDONLY, 0);
	assert_int_equal(path_pwrite_full(fd, out, 1, 0), -EBADF);
	close(fd);
	free(out);
	free(in);
}

/* A disk that fills in the middle of a write gives its error, not a short count. */
static void test_write_past_a_limit(void **state)
{
	struct tree *t = *state;
	int fd = path_open(t->dirfd, "limited", O_RDWR | O_CREAT | O_EXCL, 0600);
	struct rlimit old, small;
	char buf[8192] = "";

	assert_true(fd >= 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 4096;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(path_pwrite_full(fd, buf, sizeof(buf), 0), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_what_is_inside),
		cmocka_unit_test(test_unnamed_file),
		cmocka_unit_test(test_refuses_ways_out),
		cmocka_unit_test(test_refuses_symlinks),
		cmocka_unit_test(test_mkdirs),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_real_parent),
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_full_reads_and_writes),
		cmocka_unit_test(test_write_past_a_limit),
	};

	umask(0);
	return cmocka_run_group_tests(tests, setup, teardown);
}
