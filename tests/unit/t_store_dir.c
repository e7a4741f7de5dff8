/* SPDX-License-Identifier: MIT */
/* What only a dir store has: files others can see, links, caches of the kernel, pruning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backend/store_dir.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/log.h"
#include "lib/path.h"

#define TIMEOUT_MS 60000

static char root[64];
static struct store *store;

static const char *at(const char *name)
{
	static char paths[4][512];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, 512, "%s/%s", root, name);
	return p;
}

static int open_store(const char *dir, struct store **ret, char err[256])
{
	char url[128];

	snprintf(url, sizeof(url), "dir:%s", dir);
	return store_open(url, TIMEOUT_MS, ret, err, 256);
}

static int setup(void **state)
{
	char err[256];

	(void)state;
	snprintf(root, sizeof(root), "/var/tmp/t_store_dir-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	return open_store(root, &store, err);
}

static int teardown(void **state)
{
	char command[96];

	(void)state;
	store_close(store);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static int put(const char *key, const char *attempt, const char *text)
{
	struct store_attrs attrs = { .attempt = attempt,
				     .path = "as/it was",
				     .crc32c = crc32c(0, text, strlen(text)) };

	return store_put_wait(store, key, text, strlen(text), &attrs);
}

static void assert_xattr(const char *path, const char *name, const char *want)
{
	char got[256];
	ssize_t n = getxattr(path, name, got, sizeof(got) - 1);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, want);
}

/* ---- what others see ---------------------------------------------------- */

static void test_plain_file(void **state)
{
	struct stat st;
	char buf[16];
	char *url;
	int fd;

	(void)state;
	assert_int_equal(put("cam/2017/a_0.jpg", "node/1", "123456789"), 0);
	fd = open(at("cam/2017/a_0.jpg"), O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, sizeof(buf)), 9);
	assert_memory_equal(buf, "123456789", 9);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_mode & 07007, 0);
	assert_xattr(at("cam/2017/a_0.jpg"), "user.ebb.attempt", "node/1");
	assert_xattr(at("cam/2017/a_0.jpg"), "user.ebb.crc32c", "e3069283");
	assert_xattr(at("cam/2017/a_0.jpg"), "user.ebb.size", "9");
	assert_xattr(at("cam/2017/a_0.jpg"), "user.ebb.path", "as/it was");
	url = store_url(store, "cam/a b");
	assert_non_null(url);
	assert_int_equal(strncmp(url, "file:///var/tmp/", 16), 0);
	assert_non_null(strstr(url, "/cam/a%20b"));
	free(url);
}

/* A byte changed on the disk by somebody else is found; so is a file cut short. */
static void test_damage(void **state)
{
	struct receipt_want want = {
		.key = "k", .attempt = "node/1", .size = 9, .crc32c = 0xe3069283
	};
	struct receipt *r = NULL;
	struct store_stat st;
	int fd;

	(void)state;
	assert_int_equal(put("k", "node/1", "123456789"), 0);
	assert_int_equal(store_prove_wait(store, &want, &r), 0);
	receipt_free(r);
	r = NULL;
	fd = open(at("k"), O_WRONLY);
	assert_int_equal(pwrite(fd, "x", 1, 4), 1);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(store_verify_wait(store, "k", &st), 0);
	assert_int_equal(st.crc32c, crc32c(0, "1234x6789", 9));
	assert_int_equal(store_prove_wait(store, &want, &r), -EBADMSG);
	assert_int_equal(ftruncate(fd, 4), 0);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	assert_int_equal(store_prove_wait(store, &want, &r), -EBADMSG);
	assert_null(r);
}

static void test_foreign(void **state)
{
	struct store_stat st;
	int fd;

	(void)state;
	fd = open(at("foreign"), O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "f", 1), 1);
	close(fd);
	assert_int_equal(store_verify_wait(store, "foreign", &st), 0);
	assert_string_equal(st.attempt, "");
	assert_int_equal(put("foreign", "node/1", "x"), -EEXIST);
	assert_int_equal(store_drop_wait(store, "foreign", "node/1"), -ESTALE);
	assert_int_equal(access(at("foreign"), F_OK), 0);
}

static void test_no_objects(void **state)
{
	struct store_stat st;
	char c;

	(void)state;
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	assert_int_equal(mkdir(at("dir"), 0700), 0);
	assert_int_equal(store_get_wait(store, "fifo", 0, &c, 1), -ENOENT);
	assert_int_equal(store_verify_wait(store, "fifo", &st), -ENOENT);
	assert_int_equal(store_drop_wait(store, "fifo", NULL), -ENOENT);
	assert_int_equal(store_get_wait(store, "dir", 0, &c, 1), -ENOENT);
	assert_int_equal(store_verify_wait(store, "dir", &st), -ENOENT);
	assert_int_equal(put("fifo", "node/1", "x"), -EEXIST);
	assert_int_equal(put("dir", "node/1", "x"), -EISDIR);
	assert_int_equal(access(at("fifo"), F_OK), 0);
}

static void test_symlinks(void **state)
{
	char outside[] = "/var/tmp/t_store_out-XXXXXX";
	struct store_stat st;
	char c;

	(void)state;
	assert_non_null(mkdtemp(outside));
	assert_int_equal(symlink(outside, at("link")), 0);
	assert_int_equal(put("link/escaped", "node/1", "x"), -ENOTDIR);
	assert_int_equal(rmdir(outside), 0); /* empty */
	/* Not to be reached is not to be absent. */
	assert_int_equal(store_get_wait(store, "link/escaped", 0, &c, 1), -EIO);
	assert_int_equal(symlink("/etc/passwd", at("file")), 0);
	assert_int_equal(put("file", "node/1", "x"), -EEXIST);
	assert_int_equal(store_get_wait(store, "file", 0, &c, 1), -EIO);
	assert_int_equal(store_stat_wait(store, "file", &st), -EIO);
	assert_int_equal(store_drop_wait(store, "file", NULL), -EIO);
}

/* ---- directories -------------------------------------------------------- */

static void test_prune(void **state)
{
	(void)state;
	assert_int_equal(put("a/b/c/d/1", "node/1", "x"), 0);
	assert_int_equal(put("a/2", "node/1", "x"), 0);
	assert_int_equal(store_drop_wait(store, "a/b/c/d/1", "node/1"), 0);
	assert_int_not_equal(access(at("a/b"), F_OK), 0);
	assert_int_equal(access(at("a/2"), F_OK), 0);
	assert_int_equal(store_drop_wait(store, "a/2", "node/1"), 0);
	assert_int_not_equal(access(at("a"), F_OK), 0);
	assert_int_equal(access(root, F_OK), 0);
	assert_int_equal(put("a/b/c/d/1", "node/1", "x"), 0);
}

/* Two stores on one directory are two processes as far as files go. */
static void *churn(void *arg)
{
	struct store *s = arg;
	struct store_attrs attrs = { .attempt = "x" };
	char attempt[32], err[256];
	intptr_t mine = 0;

	(void)err;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(attempt, sizeof(attempt), "%p-%u", (void *)s, i);
		attrs.attempt = attempt;
		if (store_put_wait(s, "x/y/one", "1", 1, &attrs) < 0)
			continue;
		/* Nobody but who put it may take it away, however the others try. */
		mine += store_drop_wait(s, "x/y/one", "someone/else") == -ESTALE &&
			store_drop_wait(s, "x/y/one", attempt) == 0;
		mine -= 1;
	}
	return (void *)mine;
}

static void test_two_processes(void **state)
{
	struct store *other;
	pthread_t threads[4];
	char err[256];
	void *r;

	(void)state;
	assert_int_equal(open_store(root, &other, err), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, i % 2 ? other : store),
				 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &r);
		assert_int_equal((intptr_t)r, 0);
	}
	store_close(other);
	assert_int_not_equal(access(at("x"), F_OK), 0);
}

/* Is somebody waiting for an flock(2) of this file? */
static bool is_waited_for(const struct stat *st)
{
	FILE *in = fopen("/proc/locks", "r");
	char line[256], inode[32];
	bool found = false;

	assert_non_null(in);
	snprintf(inode, sizeof(inode), ":%llu ", (unsigned long long)st->st_ino);
	while (fgets(line, sizeof(line), in))
		found |= strstr(line, "-> FLOCK") && strstr(line, inode);
	fclose(in);
	return found;
}

static void *drop_first(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)store_drop_wait(store, "d/k", "node/1");
}

/* A drop that was overtaken by another drop and a put does not take the new object. */
static void test_overtaken(void **state)
{
	int64_t deadline = clock_mono_ms() + TIMEOUT_MS;
	pthread_t thread;
	struct stat st;
	void *r;
	int fd;

	(void)state;
	assert_int_equal(put("d/k", "node/1", "old"), 0);
	assert_int_equal(put("d/other", "node/1", "keeps the directory"), 0);
	fd = open(at("d/k"), O_RDONLY);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(pthread_create(&thread, NULL, drop_first, NULL), 0);
	while (!is_waited_for(&st)) {
		assert_true(clock_mono_ms() < deadline);
		sched_yield();
	}
	assert_int_equal(unlink(at("d/k")), 0);
	assert_int_equal(put("d/k", "node/2", "new"), 0);
	close(fd);
	pthread_join(thread, &r);
	assert_int_equal((intptr_t)r, -ESTALE);
	assert_int_equal(access(at("d/k"), F_OK), 0);
}

/* ---- where O_TMPFILE is not known --------------------------------------- */

static int count_key(const char *key, void *arg)
{
	assert_null(strstr(key, "tmp"));
	++*(unsigned *)arg;
	return 0;
}

static void test_named_temps(void **state)
{
	struct dir *d = (struct dir *)store;
	struct store_stat st;
	struct stat sb;
	unsigned n = 0;

	(void)state;
	assert_int_equal(path_mkdirs(d->root, DIR_TMP, DIR_MODE), 0);
	d->tmp = path_open(d->root, DIR_TMP, O_RDONLY | O_DIRECTORY, 0);
	assert_true(d->tmp >= 0);
	assert_int_equal(put("a/b", "node/1", "123456789"), 0);
	assert_int_equal(put("a/b", "node/2", "other"), -EEXIST);
	assert_int_equal(put("a", "node/2", "other"), -EISDIR);
	assert_int_equal(store_verify_wait(store, "a/b", &st), 0);
	assert_int_equal(st.crc32c, 0xe3069283);
	assert_string_equal(st.attempt, "node/1");
	assert_int_equal(stat(at("a/b"), &sb), 0);
	assert_int_equal(sb.st_nlink, 1);
	close(open(at(DIR_TMP "/tmp left by a crash"), O_CREAT, 0600));
	assert_int_equal(store_list(store, "", count_key, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(unlink(at(DIR_TMP "/tmp left by a crash")), 0);
	assert_int_equal(rmdir(at(DIR_TMP)), 0); /* nothing else was left */
}

/* ---- file systems ------------------------------------------------------- */

/* tmpfs: whatever it can, it must work or say what it lacks. */
static void test_tmpfs(void **state)
{
	char dir[] = "/dev/shm/t_store_dir-XXXXXX", err[256] = "";
	struct store_attrs attrs = { .attempt = "node/1" };
	struct store_stat st;
	struct store *s;
	int r;

	(void)state;
	if (!mkdtemp(dir))
		skip();
	r = open_store(dir, &s, err);
	if (r == 0) {
		assert_int_equal(store_put_wait(s, "k", "123456789", 9, &attrs), 0);
		assert_int_equal(store_verify_wait(s, "k", &st), 0);
		assert_int_equal(st.crc32c, 0xe3069283);
		assert_int_equal(store_drop_wait(s, "k", "node/1"), 0);
		store_close(s);
	} else {
		assert_int_equal(r, -EOPNOTSUPP);
		assert_non_null(strstr(err, "extended attributes"));
	}
	assert_int_equal(rmdir(dir), 0);
}

/* In a child of its own, with mounts nobody else sees. */
static int try_mounted(const char *type, const char *options, unsigned long flags)
{
	struct store_attrs attrs = { .attempt = "node/1" };
	char err[256] = "";
	struct store *s;
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("none", root, type, flags, options) < 0)
		return 77;
	r = open_store(root, &s, err);
	if (r < 0)
		return r == -EOPNOTSUPP && strstr(err, "extended attributes") ? 1 : 2;
	r = store_put_wait(s, "k", "x", 1, &attrs);
	store_close(s);
	return r == -EACCES ? 3 : 4;
}

static int in_child(const char *type, const char *options, unsigned long flags)
{
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		_exit(try_mounted(type, options, flags));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* not root */
	return WEXITSTATUS(status);
}

/* ramfs has no user xattrs; fork wants no threads, so the store is not open. */
static void test_no_xattrs(void **state)
{
	(void)state;
	assert_int_equal(in_child("ramfs", NULL, 0), 1);
}

static void test_read_only(void **state)
{
	(void)state;
	assert_int_equal(in_child("tmpfs", NULL, MS_RDONLY), 3);
}

static int setup_closed(void **state)
{
	int r = setup(state);

	store_close(store);
	store = NULL;
	return r;
}

static void test_has_room(void **state)
{
	const struct statvfs large = { .f_frsize = 4096,
				       .f_blocks = 1 << 28, /* 1 TiB, of which 1 GiB is kept */
				       .f_bavail = (1 << 18) + 256,
				       .f_files = 1 << 30,
				       .f_favail = 100000 };
	struct statvfs vfs = large;

	(void)state;
	assert_true(dir_has_room(&vfs, 1 << 20, 1));
	assert_false(dir_has_room(&vfs, (1 << 20) + 1, 1));
	assert_false(dir_has_room(&vfs, 0, 2));
	vfs.f_favail--;
	assert_false(dir_has_room(&vfs, 0, 1));
	vfs.f_files = vfs.f_favail = 0; /* it has no limit */
	assert_true(dir_has_room(&vfs, 0, 1));
	/* 4 GiB: a hundredth */
	vfs = (struct statvfs){ .f_frsize = 4096, .f_blocks = 1000000, .f_bavail = 10000 };
	assert_true(dir_has_room(&vfs, 0, 1));
	assert_false(dir_has_room(&vfs, 1, 1));
	/* 1 GiB: 16 MiB, which is more */
	vfs = (struct statvfs){ .f_frsize = 4096, .f_blocks = 1 << 18, .f_bavail = 4096 };
	assert_true(dir_has_room(&vfs, 0, 1));
	assert_false(dir_has_room(&vfs, 1, 1));
	/* 4 MiB: an eighth */
	vfs = (struct statvfs){ .f_frsize = 4096, .f_blocks = 1000, .f_bavail = 125 };
	assert_true(dir_has_room(&vfs, 0, 1));
	assert_false(dir_has_room(&vfs, 1, 1));
	vfs.f_blocks = vfs.f_bavail = 0; /* it does not say */
	assert_true(dir_has_room(&vfs, 1 << 20, 1));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_CLOSED(f) cmocka_unit_test_setup_teardown(f, setup_closed, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_plain_file),	     TEST(test_damage),
		TEST(test_foreign),	     TEST(test_no_objects),
		TEST(test_symlinks),	     TEST(test_prune),
		TEST(test_two_processes),    TEST(test_overtaken),
		TEST(test_named_temps),	     TEST(test_tmpfs),
		TEST(test_has_room),	     TEST_CLOSED(test_no_xattrs),
		TEST_CLOSED(test_read_only),
	};

	log_open("t_store_dir", false);
	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
