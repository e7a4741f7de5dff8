/* SPDX-License-Identifier: MIT */
/*
 * Going into the background without telling lies: the command that was typed ends when
 * the mount is ready, with 0, or when it failed, with the daemon's exit code.
 */
#ifndef EBB_TOOLS_MOUNT_BACKGROUND_H
#define EBB_TOOLS_MOUNT_BACKGROUND_H

/*
 * Fork, before any thread.  Returns in the child, which goes on and has the terminal's
 * stderr until background_ready; the parent waits and exits.  -errno: not forked.
 */
int background_begin(int *ret_fd);
/* The child: everything works.  Leaves the terminal; fd is closed. */
void background_ready(int fd);

#endif
