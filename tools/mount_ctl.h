/* SPDX-License-Identifier: MIT */
/* The daemon's end of ebbctl: a socket, and what is done on request. */
#ifndef EBB_TOOLS_MOUNT_CTL_H
#define EBB_TOOLS_MOUNT_CTL_H

#include <sys/types.h>

#include "fs/fs.h"

struct ctl_server;

/*
 * After the mount and tier_start.  mount_dev: st_dev of the mount, which the socket is
 * named after; a socket left by a killed daemon is replaced.  -ENOMEM, -EAGAIN (no
 * thread), -errno of mkdir(2) and bind(2).
 */
int ctl_server_start(struct tier *t, struct fs *fs, dev_t mount_dev, const char *mountpoint,
		     struct ctl_server **ret);
/* Cancels what runs and waits for it.  Before tier_stop.  NULL is fine. */
void ctl_server_stop(struct ctl_server *s);

#endif
