/* SPDX-License-Identifier: MIT */
/*
 * Backing files.
 *
 * The two calls of <linux/fuse.h> (7.40, Linux 6.9), which older headers lack; and
 * libfuse's functions for them want a request, that is, cannot be called after a
 * reply has failed.  Only root of the initial user namespace may make them.
 *
 * A file whose backing is refused is read and written by the daemon: slower, not
 * wrong.
 */
#include "fs/backing.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "lib/log.h"

struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

#define OVERLAYFS_MAGIC 0x794c7630

static int open_backing(void *arg, int fd)
{
	static _Atomic long long last_ms;
	struct fs *fs = arg;
	struct backing_map map = { .fd = fd };
	int id = ioctl(fs->fuse_fd, BACKING_OPEN, &map);

	if (id > 0)
		return id;
	id = id < 0 ? -errno : -EIO;
	if (log_ratelimit(&last_ms, 60000))
		log_warning("cannot pass a file through: %s; it is read and written by the daemon",
			    strerror(-id));
	return id;
}

static void close_backing(void *arg, int id)
{
	struct fs *fs = arg;
	uint32_t number = (uint32_t)id;

	if (ioctl(fs->fuse_fd, BACKING_CLOSE, &number) < 0)
		log_warning("cannot close backing file %d: %s", id, strerror(errno));
}

const struct backing_ops backing_ops = { open_backing, close_backing };

bool backing_is_stacked(int cache_fd)
{
	struct statfs st;

	return fstatfs(cache_fd, &st) == 0 && st.f_type == OVERLAYFS_MAGIC;
}
