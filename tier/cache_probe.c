/* SPDX-License-Identifier: MIT */
/*
 * What the cache's file system must be able to do, tried before anything is mounted.
 *
 *	flock		one daemon on a cache
 *	trusted xattrs	the uuid on the root; needs root
 *	O_TMPFILE	restore builds files without a name and gives them one when
 *	and linkat	they are complete
 *	leases		the only proof that nobody writes a file just now
 *
 * What is tried leaves nothing behind but, when killed in between, one empty file that
 * carries the probe's xattr and that the next probe removes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "tier/cache_int.h"

#define PROBE_NAME ".ebb.probe"
#define PROBE_XATTR "trusted.ebb.probe"

/* The sentence for the user; returns r. */
static int say(int r, const char *what, char *err, size_t size)
{
	snprintf(err, size, "cannot use the cache directory: %s (%s)", what, strerror(-r));
	return r;
}

static int probe_lock(int dirfd, char *err, size_t size)
{
	if (flock(dirfd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return say(-EBUSY, "another ebbfs uses it; stop that one first", err, size);
	return say(-errno, "it cannot be locked", err, size);
}

/* A file of an earlier probe that was killed; nobody else's. */
static void remove_leftover(int dirfd)
{
	AUTO_CLOSE int fd =
		openat(dirfd, PROBE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 &&
	    fgetxattr(fd, PROBE_XATTR, NULL, 0) >= 0)
		unlinkat(dirfd, PROBE_NAME, 0);
}

/* A descriptor, O_RDONLY, of a file that was built without a name and has one no more. */
static int probe_tmpfile(int dirfd, char *err, size_t size)
{
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int ro_fd = -1;

	fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT))
		return say(-ENOTSUP, "its file system has no O_TMPFILE; use ext4, xfs or btrfs",
			   err, size);
	if (fd < 0)
		return say(-errno, "no file can be made in it", err, size);
	if (fsetxattr(fd, PROBE_XATTR, "1", 1, 0) < 0)
		return say(errno == EOPNOTSUPP ? -ENOTSUP : -errno,
			   "its file system has no trusted extended attributes", err, size);
	remove_leftover(dirfd);
	if (linkat(fd, "", dirfd, PROBE_NAME, AT_EMPTY_PATH) < 0)
		return say(errno == EEXIST ? -EEXIST : -ENOTSUP,
			   "'" PROBE_NAME "' cannot be made by linkat", err, size);
	ro_fd = openat(dirfd, PROBE_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (unlinkat(dirfd, PROBE_NAME, 0) < 0 || ro_fd < 0)
		return say(-errno, "'" PROBE_NAME "' cannot be opened and removed", err, size);
	return TAKE_FD(ro_fd);
}

static int probe_lease(int fd, char *err, size_t size)
{
	int r = cache_quiet(fd);

	if (r == 0)
		return 0;
	return say(r == -EAGAIN ? r : -ENOTSUP,
		   "its file system grants no leases (fcntl F_SETLEASE); use a local one", err,
		   size);
}

int cache_probe(int dirfd, char *err, size_t size)
{
	AUTO_CLOSE int fd = -1;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;
	int r;

	if (geteuid() != 0)
		return say(-EPERM, "ebbfs must be started by root", err, size);
	if (fstat(dirfd, &st) < 0)
		return say(-errno, "no attributes", err, size);
	r = probe_lock(dirfd, err, size);
	if (r < 0)
		return r;
	r = probe_tmpfile(dirfd, err, size);
	if (r < 0)
		return r;
	fd = r;
	r = probe_lease(fd, err, size);
	if (r < 0)
		return r;
	/* users see the root's time of change: it was not theirs */
	times[1] = st.st_mtim;
	if (futimens(dirfd, times) < 0)
		return say(-errno, "times cannot be set", err, size);
	return 0;
}
