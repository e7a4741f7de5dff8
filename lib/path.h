/* SPDX-License-Identifier: MIT */
/*
 * Paths as text, and opening names beneath a directory: no symlink followed, nothing
 * outside reached.
 */
#ifndef EBB_LIB_PATH_H
#define EBB_LIB_PATH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS; O_CLOEXEC | O_NOFOLLOW
 * are added.  rel has no leading slash; "" means dirfd itself.  A descriptor or
 * -errno; -ELOOP says that a symlink was in rel, -EXDEV a leading slash or "..".
 * mode counts where a file is made, its permission bits alone.  With O_PATH a
 * symlink that is the last component is opened itself.
 */
int path_open(int dirfd, const char *rel, int flags, mode_t mode);

/* Of path_open: there is nothing of this name, nor can be, as something else is in its way. */
static inline bool path_is_gone(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -ELOOP;
}

/*
 * mkdir -p beneath dirfd; existing directories are kept.  0 or -errno of mkdirat(2)
 * and path_open: -ENOTDIR or -ELOOP where something else has the name.
 */
int path_mkdirs(int dirfd, const char *rel, mode_t mode);

/* A component: not empty, not . or .., no slash, at most 255 bytes. */
bool path_is_name(const char *name);

/* What stands behind the last slash, or all of path; lies in path.  "" for "a/". */
const char *path_name(const char *path);
/* What stands before the last slash, "" where there is none; heap.  NULL without memory. */
char *path_dir(const char *path);

/* "dir/name", or name alone where dir is ""; heap.  NULL without memory. */
char *path_join(const char *dir, const char *name);

/*
 * As realpath(3), but the last component need not be there and stays as it is written.
 * Heap, absolute.  0 or -errno of resolving its directory (-ENOENT, -EACCES, ...), -ENOMEM.
 */
int path_real_parent(const char *path, char **ret);

/* Is the absolute, resolved path a the same as b or inside it? */
bool path_is_inside(const char *a, const char *b);

/* Read or write a whole file or range, through short counts and EINTR.  Bytes or -errno. */
ssize_t path_pread_full(int fd, void *buf, size_t len, off_t off);
ssize_t path_pwrite_full(int fd, const void *buf, size_t len, off_t off);

#endif
