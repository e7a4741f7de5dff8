/* SPDX-License-Identifier: MIT */
/*
 * Names beneath a directory.
 *
 * The kernel resolves them: openat2(2) refuses symlinks and ways out in one
 * step, so nobody who can write to the tree can lead the daemon elsewhere, and
 * no check can be overtaken.  ".." is refused even where it would stay inside:
 * a path is also a key of the catalogue, and has one spelling.
 */
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* Is there a component ".."? */
static bool climbs(const char *rel)
{
	for (const char *p = rel; (p = strstr(p, "..")); p += 2) {
		if ((p == rel || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
			return true;
	}
	return false;
}

int path_open(int dirfd, const char *rel, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	long r;

	if (climbs(rel))
		return -EXDEV;
	/* openat2 refuses a mode that open ignores. */
	if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
		how.mode = mode & 07777;
	do {
		r = syscall(SYS_openat2, dirfd, *rel ? rel : ".", &how, sizeof(how));
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : (int)r;
}

/* Opens the directory name in dirfd, made when it is not there. */
static int open_or_make(int dirfd, const char *name, mode_t mode)
{
	int fd = path_open(dirfd, name, O_PATH | O_DIRECTORY, 0);

	if (fd != -ENOENT)
		return fd;
	/* EEXIST: another thread was faster, or something that is no directory. */
	if (mkdirat(dirfd, name, mode) < 0 && errno != EEXIST)
		return -errno;
	return path_open(dirfd, name, O_PATH | O_DIRECTORY, 0);
}

int path_mkdirs(int dirfd, const char *rel, mode_t mode)
{
	AUTO_CLOSE int parent = -1;
	char name[NAME_MAX + 1];
	int fd;

	fd = path_open(dirfd, rel, O_PATH | O_DIRECTORY, 0);
	if (fd >= 0)
		close(fd);
	if (fd != -ENOENT)
		return fd < 0 ? fd : 0;

	while (*rel) {
		size_t len = strcspn(rel, "/");

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, rel, len);
		name[len] = '\0';
		rel += len + strspn(rel + len, "/");
		fd = open_or_make(parent < 0 ? dirfd : parent, name, mode);
		if (fd < 0)
			return fd;
		cleanup_close(&parent);
		parent = fd;
	}
	return 0;
}

bool path_is_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > NAME_MAX || strchr(name, '/'))
		return false;
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

const char *path_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strndup(path, slash ? (size_t)(slash - path) : 0);
}

char *path_join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s%s", dir, dir[0] ? "/" : "", name) < 0 ? NULL : path;
}

int path_real_parent(const char *path, char **ret)
{
	AUTO_FREE char *given = path_dir(path), *dir = NULL;
	const char *name = path_name(path);
	char *full;

	if (!given)
		return -ENOMEM;
	if (given[0] == '\0') /* no slash, or only the root's */
		dir = realpath(name == path ? "." : "/", NULL);
	else
		dir = realpath(given, NULL);
	if (!dir)
		return -errno;
	if (asprintf(&full, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name) < 0)
		return -ENOMEM;
	*ret = full;
	return 0;
}

bool path_is_inside(const char *a, const char *b)
{
	size_t len = strlen(b);

	while (len > 0 && b[len - 1] == '/')
		len--;
	return strncmp(a, b, len) == 0 && (a[len] == '\0' || a[len] == '/');
}

ssize_t path_pread_full(int fd, void *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, off + (off_t)done);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t path_pwrite_full(int fd, const void *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, off + (off_t)done);

		if (n == 0)
			return -EIO;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return (ssize_t)done;
}
