/* SPDX-License-Identifier: MIT */
/* Finding, probing and locking the catalogue's file: see place.h. */
#include "meta/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/path.h"

int place_refuse(const struct place *p, int r, const char *why)
{
	snprintf(p->err, p->size, "cannot open catalogue '%s': %s", p->given, why);
	return r;
}

int place_refuse_errno(const struct place *p, int r)
{
	if (r == -ENOSPC)
		return place_refuse(p, r, "no space left on its file system");
	return place_refuse(p, r, strerror(-r));
}

/* Absolute, symlinks followed: a daemon changes its directory, and the lock must be found. */
static int resolve(const struct place *p, enum place_how how, char **ret)
{
	int r;

	*ret = realpath(p->given, NULL);
	if (*ret)
		return 0;
	if (errno != ENOENT || how == PLACE_EXISTING)
		return place_refuse_errno(p, -errno);
	r = path_real_parent(p->given, ret);
	if (r == -ENOENT)
		return place_refuse(p, r, "its directory does not exist; make it first");
	return r < 0 ? place_refuse_errno(p, r) : 0;
}

static int take_lock(const struct place *p, const char *file, int *ret)
{
	AUTO_FREE char *name = NULL;
	AUTO_CLOSE int fd = -1;

	if (asprintf(&name, "%s-lock", file) < 0)
		return place_refuse_errno(p, -ENOMEM);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return place_refuse_errno(p, -errno);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return place_refuse(p, -EBUSY, "another ebbfs has it open");
		return place_refuse_errno(p, -errno);
	}
	*ret = TAKE_FD(fd);
	return 0;
}

/* Before a lock file is put beside a directory or a device. */
static int refuse_special(const struct place *p, const char *file)
{
	struct stat st;

	if (stat(file, &st) < 0)
		return errno == ENOENT ? 0 : place_refuse_errno(p, -errno);
	if (S_ISDIR(st.st_mode))
		return place_refuse_errno(p, -EISDIR);
	return S_ISREG(st.st_mode) ? 0 : place_refuse(p, -EUCLEAN, "it is not a regular file");
}

/* SQLite would open what it may not write, and say so only later. */
static int probe(const struct place *p, const char *file, enum place_how how)
{
	static const int flags[] = {
		[PLACE_EXISTING] = O_RDWR | O_CLOEXEC,
		[PLACE_EXISTING_OR_NEW] = O_RDWR | O_CLOEXEC | O_CREAT,
		[PLACE_NEW] = O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL,
	};
	AUTO_CLOSE int fd = open(file, flags[how], 0600);

	if (fd < 0 && errno == EEXIST)
		return place_refuse(p, -EEXIST, "it exists; move it away first");
	return fd < 0 ? place_refuse_errno(p, -errno) : 0;
}

int place_take(const struct place *p, enum place_how how, char **ret_file, int *ret_lock)
{
	AUTO_FREE char *file = NULL;
	AUTO_CLOSE int fd = -1;
	int r;

	r = resolve(p, how, &file);
	if (r == 0)
		r = refuse_special(p, file);
	if (r == 0)
		r = take_lock(p, file, &fd);
	if (r == 0)
		r = probe(p, file, how);
	if (r < 0)
		return r;
	*ret_file = TAKE_PTR(file);
	*ret_lock = TAKE_FD(fd);
	return 0;
}
