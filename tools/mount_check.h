/* SPDX-License-Identifier: MIT */
/* What must hold before anything is mounted, each with a sentence that says what to do. */
#ifndef EBB_TOOLS_MOUNT_CHECK_H
#define EBB_TOOLS_MOUNT_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/conf.h"

/*
 * Root, /dev/fuse, mount point, cache, and that mount point, cache, catalogue and
 * store do not hold one another.  Paths in conf become absolute, but one of a file whose
 * directory cannot be resolved.  *ret_in_place: the cache is the mount point.  0 or -errno,
 * with a sentence in err.
 */
int mount_check(struct conf *conf, bool *ret_in_place, char *err, size_t size);

#endif
