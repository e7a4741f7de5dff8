/* SPDX-License-Identifier: MIT */
/*
 * Processes inside a covered directory.
 *
 * What they hold has a path below the mount point, like everything in the mount, but
 * lies on the cache's device.  Processes that come and go while we look are missed:
 * the look is repeated while there are any (fs/keeper.c).
 */
#include "fs/covered.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/path.h"

struct place {
	const char *path;
	dev_t dev;
};

/* Does the link name of a directory in /proc lead into the place? */
static bool leads_in(int dirfd, const char *name, const struct place *place)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = '\0';
	/* Only what has such a path is asked for its device: others may be dead network mounts. */
	return path_is_inside(target, place->path) && fstatat(dirfd, name, &st, 0) == 0 &&
	       st.st_dev == place->dev;
}

static bool has_file_in(int proc, const struct place *place)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSEDIR DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (isdigit((unsigned char)entry->d_name[0]) && leads_in(fd, entry->d_name, place))
			return true;
	}
	return false;
}

static void read_program(int proc, char *buf, size_t size)
{
	AUTO_CLOSE int fd = openat(proc, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : 0;

	while (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n > 0 ? n : 0] = '\0';
}

static bool is_inside(int proc, const struct place *place)
{
	return leads_in(proc, "cwd", place) || leads_in(proc, "root", place) ||
	       has_file_in(proc, place);
}

int covered_scan(const char *path, dev_t dev,
		 void (*found)(void *arg, pid_t pid, const char *program), void *arg)
{
	const struct place place = { path, dev };
	AUTO_CLOSEDIR DIR *dir = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		AUTO_CLOSE int proc = -1;
		char program[64];

		if (pid <= 0 || pid == getpid())
			continue;
		proc = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (proc < 0 || !is_inside(proc, &place))
			continue;
		read_program(proc, program, sizeof(program));
		found(arg, pid, program);
		count++;
	}
	return count;
}
