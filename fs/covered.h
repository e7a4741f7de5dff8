/* SPDX-License-Identifier: MIT */
/*
 * Processes that are still inside a directory that was mounted over: their working
 * directory, root, or an open file is in it, so they see and write the cache itself.
 */
#ifndef EBB_FS_COVERED_H
#define EBB_FS_COVERED_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Looks through /proc for processes inside `path` on the device dev, ourselves
 * excepted, and calls found() for each.  How many there were; -errno: no /proc.
 */
int covered_scan(const char *path, dev_t dev,
		 void (*found)(void *arg, pid_t pid, const char *program), void *arg);

#endif
