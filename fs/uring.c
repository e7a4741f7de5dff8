/* SPDX-License-Identifier: MIT */
/*
 * Probing for FUSE over io_uring.
 *
 * Asked in this order: the configuration; libfuse, whose replies from any thread must
 * be safe (build-aux/libfuse-ring-lock.patch); the kernel, which has a module parameter
 * for it (Linux 6.14 and later).  The parameter only allows: a mount that does not ask
 * for rings is none the wiser, so it is switched on where we may.
 */
#include "fs/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "fs/fs_int.h"
#include "lib/cleanup.h"

#define PARAMETER "/sys/module/fuse/parameters/enable_uring"
#define BUFFER_MIN_BYTES (64u << 10)
#define DEPTH_MIN 4u

unsigned uring_buffer_bytes(unsigned rings, unsigned *depth)
{
	unsigned bytes = FS_MAX_WRITE;

	while (bytes > BUFFER_MIN_BYTES && (uint64_t)rings * *depth * bytes > URING_BYTES)
		bytes /= 2;
	while (*depth > DEPTH_MIN && (uint64_t)rings * *depth * bytes > URING_BYTES)
		*depth /= 2;
	return bytes;
}

/* 0: the kernel allows it. */
static int allow(struct uring_plan *plan)
{
	AUTO_CLOSE int fd = open(PARAMETER, O_RDWR | O_CLOEXEC);
	char now;

	if (fd < 0) {
		snprintf(plan->why_not, sizeof(plan->why_not), "%s",
			 errno == ENOENT ? "this kernel does not offer it (Linux 6.14 and later do)"
					 : strerror(errno));
		return -errno;
	}
	if (read(fd, &now, 1) == 1 && now == 'Y')
		return 0;
	if (pwrite(fd, "Y", 1, 0) == 1)
		return 0;
	snprintf(plan->why_not, sizeof(plan->why_not),
		 "the kernel's parameter fuse.enable_uring is N and cannot be set: %s",
		 strerror(errno));
	return -EPERM;
}

void uring_plan(const struct conf *conf, struct uring_plan *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->rings = 1;
	ret->depth = FS_MAX_BACKGROUND;
	ret->max_write_bytes = FS_MAX_WRITE;
	if (strcmp(conf->io_uring, "no") == 0) {
		snprintf(ret->why_not, sizeof(ret->why_not), "as configured");
		return;
	}
	ret->forced = strcmp(conf->io_uring, "yes") == 0;
	if (!EBB_FUSE_RING_SAFE) {
		snprintf(ret->why_not, sizeof(ret->why_not),
			 "this build's libfuse cannot reply to it from every thread");
		return;
	}
	if (allow(ret) < 0)
		return;
	ret->wanted = true;
	ret->rings = (unsigned)get_nprocs_conf();
	ret->depth = conf->queue_depth;
	ret->max_write_bytes = uring_buffer_bytes(ret->rings, &ret->depth);
}
