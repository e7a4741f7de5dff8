/* SPDX-License-Identifier: MIT */
/*
 * Names of the cache: nodes to descriptors.
 *
 * A directory without a kept descriptor is opened by its path beneath the root,
 * with one openat2.  No lock is held meanwhile: a cold directory on a slow disk must
 * not stop creates elsewhere.  The tree counts its renames and removals instead,
 * and what was resolved while one happened is resolved again; the same holds for a
 * file that is reached by its name.  A file is thus never taken for another.
 */
#include "tier/cache.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/path.h"
#include "tier/cache_int.h"

struct cache {
	int root_fd;	   /* owned, in whatever mode it was given */
	int own_fd;	   /* owned, O_RDONLY: xattrs, statvfs, and the lock on the directory */
	struct tree *tree; /* borrowed */
	struct dirfds kept;
};

static void forget_freed(struct node *dir, void *arg)
{
	struct cache *c = arg;

	dirfds_forget(&c->kept, dir);
}

int cache_open(int root_fd, struct tree *tree, struct cache **ret, char *err, size_t size)
{
	AUTO_CLOSE int own_fd = -1;
	struct cache *c;
	int r;

	own_fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own_fd < 0) {
		r = -errno;
		snprintf(err, size, "cannot open the cache directory: %s", strerror(-r));
		return r;
	}
	r = cache_probe(own_fd, err, size);
	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c) {
		snprintf(err, size, "cannot open the cache directory: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	c->root_fd = root_fd;
	c->own_fd = TAKE_FD(own_fd);
	c->tree = tree;
	dirfds_init(&c->kept);
	tree_on_free(tree, forget_freed, c);
	*ret = c;
	return 0;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	tree_on_free(c->tree, NULL, NULL);
	dirfds_fini(&c->kept);
	close(c->own_fd);
	close(c->root_fd);
	free(c);
}

int cache_root_fd(struct cache *c)
{
	return c->root_fd;
}

int cache_get_uid(struct cache *c, struct uid128 *ret)
{
	char text[UID128_STR_SIZE];
	ssize_t n = fgetxattr(c->own_fd, CACHE_UID_XATTR, text, sizeof(text) - 1);

	if (n < 0)
		return errno == ERANGE ? -EINVAL : -errno;
	text[n] = '\0';
	return uid128_parse(text, ret);
}

int cache_set_uid(struct cache *c, const struct uid128 *uid)
{
	char text[UID128_STR_SIZE];

	uid128_print(uid, text);
	if (fsetxattr(c->own_fd, CACHE_UID_XATTR, text, strlen(text), 0) < 0)
		return -errno;
	return fsync(c->own_fd) < 0 ? -errno : 0;
}

/* ---- directories --------------------------------------------------------- */

/* path_open of a directory, in several steps where the path is longer than the kernel takes. */
static int open_long(int root_fd, char *path)
{
	AUTO_CLOSE int step_fd = -1;
	int flags = O_RDONLY | O_DIRECTORY;

	while (strlen(path) >= PATH_MAX) {
		char *cut = path + PATH_MAX - 1;
		int fd;

		while (cut > path && *cut != '/')
			cut--;
		if (cut == path)
			return -ENAMETOOLONG; /* of one component */
		*cut = '\0';
		fd = path_open(step_fd >= 0 ? step_fd : root_fd, path, flags, 0);
		if (fd < 0)
			return fd;
		cleanup_close(&step_fd);
		step_fd = fd;
		path = cut + 1;
	}
	return path_open(step_fd >= 0 ? step_fd : root_fd, path, flags, 0);
}

int cache_open_dir(struct cache *c, const char *path)
{
	AUTO_FREE char *copy = strdup(path);

	return copy ? open_long(c->root_fd, copy) : -ENOMEM;
}

/* -EAGAIN: a name changed meanwhile. */
static int resolve_dir(struct cache *c, struct node *dir, struct dirfd **ret)
{
	uint64_t nforgets = dirfds_nforgets(&c->kept);
	uint64_t changes = tree_changes(c->tree);
	AUTO_FREE char *path = NULL;
	AUTO_CLOSE int fd = -1;
	int r;

	r = node_path(c->tree, dir, &path);
	if (r < 0)
		return r;
	r = open_long(c->root_fd, path);
	if (r >= 0)
		fd = r;
	if (tree_changes(c->tree) != changes)
		return -EAGAIN;
	if (r < 0)
		return r;
	r = dirfds_keep(&c->kept, dir, fd, nforgets, ret);
	if (r == 0)
		fd = -1;
	return r;
}

int cache_dir(struct cache *c, struct node *dir, struct dirfd **ret)
{
	struct dirfd *d;
	int r;

	if (!node_is_dir(dir))
		return -ENOTDIR;
	d = dirfds_get(&c->kept, dir);
	if (d) {
		*ret = d;
		return 0;
	}
	do {
		r = resolve_dir(c, dir, ret);
	} while (r == -EAGAIN);
	return r;
}

void cache_dir_forget(struct cache *c, struct node *dir)
{
	dirfds_forget(&c->kept, dir);
}

int cache_sync_dir(struct cache *c, struct node *dir)
{
	struct dirfd *d;
	int r = cache_dir(c, dir, &d);

	if (r < 0)
		return r;
	r = fsync(dirfd_fd(d)) < 0 ? -errno : 0;
	cache_dir_put(c, d);
	return r;
}

/* ---- names ------------------------------------------------------------------ */

int cache_stat(struct cache *c, struct node *dir, const char *name, struct stat *ret)
{
	struct stat st;
	struct dirfd *d;
	int r = cache_dir(c, dir, &d);

	if (r < 0)
		return r;
	r = fstatat(dirfd_fd(d), name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	cache_dir_put(c, d);
	if (r == 0)
		*ret = st;
	return r;
}

/* A directory's descriptor outlives its removal; one that was made again has another inode. */
static int stat_dir(struct cache *c, struct node *dir, struct stat *ret)
{
	for (int tries = 0; tries < 2; tries++) {
		struct dirfd *d;
		struct stat st;
		int r = cache_dir(c, dir, &d);

		if (r < 0)
			return r;
		r = fstat(dirfd_fd(d), &st) < 0 ? -errno : 0;
		cache_dir_put(c, d);
		if (r < 0)
			return r;
		if (st.st_nlink > 0) {
			*ret = st;
			return 0;
		}
		cache_dir_forget(c, dir);
	}
	return -ENOENT;
}

/* Do something to a file by one of its names, again if names changed: -errno or what act says. */
static int by_name(struct cache *c, struct node *node,
		   int (*act)(int dirfd, const char *name, void *arg), void (*undo)(int result),
		   void *arg)
{
	for (;;) {
		uint64_t changes = tree_changes(c->tree);
		char name[ROW_NAME_MAX + 1];
		struct node *parent;
		struct dirfd *d;
		int r = node_name(c->tree, node, &parent, name);

		if (r < 0)
			return r;
		r = cache_dir(c, parent, &d);
		node_put(c->tree, parent);
		if (r == 0) {
			r = act(dirfd_fd(d), name, arg);
			cache_dir_put(c, d);
		}
		if (tree_changes(c->tree) == changes)
			return r;
		if (undo && r >= 0)
			undo(r);
	}
}

static int act_stat(int dirfd, const char *name, void *arg)
{
	return fstatat(dirfd, name, arg, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int cache_stat_node(struct cache *c, struct node *node, struct stat *ret)
{
	struct stat st;
	int r;

	if (node_is_dir(node))
		return stat_dir(c, node, ret);
	r = by_name(c, node, act_stat, NULL, &st);
	if (r == 0)
		*ret = st;
	return r;
}

static int act_open(int dirfd, const char *name, void *arg)
{
	const int *flags = arg;
	int fd = openat(dirfd, name, *flags | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

static void undo_open(int fd)
{
	close(fd);
}

/* Truncates only once it is sure which file it is. */
int cache_open_node(struct cache *c, struct node *node, int flags)
{
	int open_flags = flags & ~O_TRUNC;
	int fd;

	assert(!(flags & (O_CREAT | O_EXCL)));
	if (node_is_dir(node))
		return -EISDIR;
	fd = by_name(c, node, act_open, undo_open, &open_flags);
	if (fd >= 0 && (flags & O_TRUNC) && ftruncate(fd, 0) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* ---- files -------------------------------------------------------------------- */

struct identity cache_identity(const struct stat *st)
{
	return (struct identity){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_ns = ts_to_ns(st->st_mtim),
		.ctime_ns = ts_to_ns(st->st_ctim),
	};
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

/* Dropped at once: whoever opens it meanwhile waits no longer than that, and SIGIO is blocked. */
int cache_quiet(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return -errno;
	return fcntl(fd, F_SETLEASE, F_UNLCK) < 0 ? -errno : 0;
}

static unsigned used_pct(uint64_t total, uint64_t free_all, uint64_t avail)
{
	uint64_t used = total - (free_all < total ? free_all : total);

	if (used + avail == 0)
		return 0;
	/* as df: of what unprivileged users may have, rounded up; in doubles, which do not overflow */
	return (unsigned)((double)used * 100 / (double)(used + avail) + 0.999);
}

int cache_room(struct cache *c, struct cache_room *ret)
{
	struct statvfs sv;
	unsigned inodes_pct;

	if (fstatvfs(c->own_fd, &sv) < 0)
		return -errno;
	ret->used_pct = used_pct(sv.f_blocks, sv.f_bfree, sv.f_bavail);
	ret->free_bytes = (uint64_t)sv.f_bavail * sv.f_frsize;
	ret->total_bytes = (uint64_t)sv.f_blocks * sv.f_frsize;
	ret->free_inodes = sv.f_favail;
	inodes_pct = sv.f_files ? used_pct(sv.f_files, sv.f_ffree, sv.f_favail) : 0;
	if (inodes_pct > ret->used_pct)
		ret->used_pct = inodes_pct;
	return 0;
}
