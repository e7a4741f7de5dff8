/* SPDX-License-Identifier: MIT */
/*
 * Which mount is meant, and where a path lies in it.
 *
 * From /proc/self/mountinfo alone, so that a mount whose daemon is gone is still
 * found and can be named in the message.
 */
#ifndef EBB_TOOLS_CTL_FIND_H
#define EBB_TOOLS_CTL_FIND_H

#include <stdbool.h>
#include <sys/types.h>

struct ctl_mount {
	dev_t dev;
	char *path; /* owned: the mount point */
	char *root; /* owned: what of the file system is there, "/" mostly (else a bind mount) */
};

/*
 * The mount on `given` (any path that leads to it, or one inside it), or the only one.
 * CTL_OK, or an exit status after a message.
 */
int ctl_mount_find(const char *given, struct ctl_mount *ret);
void ctl_mount_fini(struct ctl_mount *m);

/*
 * The path relative to the tree, heap: the parent resolved, the last component taken as
 * it is (it may be a symlink, or anything that has a row and no cache file).  NULL after
 * a message: not inside this mount, or a parent that is not there.
 */
char *ctl_mount_relative(const struct ctl_mount *m, const char *path);

#endif
