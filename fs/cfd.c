/* SPDX-License-Identifier: MIT */
/*
 * Counted descriptors.
 *
 * A file is opened again through /proc/self/fd: that needs no name, so it is right
 * after a rename and after an unlink.
 */
#include "fs/cfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/cleanup.h"

struct cfd {
	_Atomic unsigned refs;
	int fd; /* owned */
};

int cfd_new(int *fd, struct cfd **ret)
{
	struct cfd *c;

	if (*fd < 0)
		return -EBADF;
	c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->refs = 1;
	c->fd = TAKE_FD(*fd);
	*ret = c;
	return 0;
}

struct cfd *cfd_get(struct cfd *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void cfd_put(struct cfd *c)
{
	if (c && atomic_fetch_sub(&c->refs, 1) == 1) {
		close(c->fd);
		free(c);
	}
}

int cfd_fd(const struct cfd *c)
{
	return c->fd;
}

int cfd_open_again(int fd, int flags)
{
	char path[sizeof("/proc/self/fd/-2147483648")];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	return again < 0 ? -errno : again;
}

int cfd_reopen(int fd, int flags, struct cfd **ret)
{
	int again, r;

	again = cfd_open_again(fd, flags);
	if (again < 0)
		return again;
	r = cfd_new(&again, ret);
	cleanup_close(&again);
	return r;
}
