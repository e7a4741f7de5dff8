/* SPDX-License-Identifier: MIT */
/*
 * The directories of a dir store: made, put on disk, pruned, listed.
 *
 * An object is durable when its directory is synced after the link, and when each
 * directory above was synced after the one below was made, by whomever: another
 * put may have made it a moment ago and not be done yet.  So a put syncs upwards
 * until it meets a directory it knows to be durable; in the steady state that is
 * the first.  A directory is known by inode number and birth, so that one removed
 * and made again is not taken for the old one.
 *
 * Pruning races with puts: rmdir fails when a put was first, and a put that finds
 * its directory gone (ENOENT) makes it again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/store_dir.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/path.h"

#define MAKE_TRIES 1000 /* how often others may prune under our feet */

const char *dir_split(const char *key, char parent[STORE_KEY_MAX])
{
	const char *slash = strrchr(key, '/');

	if (!slash) {
		parent[0] = '\0';
		return key;
	}
	memcpy(parent, key, (size_t)(slash - key));
	parent[slash - key] = '\0';
	return slash + 1;
}

/* Cuts the last component off.  Returns it: it stays where it was, behind the new end. */
static char *cut(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		return NULL;
	*slash = '\0';
	return slash + 1;
}

int dir_make_parent(struct dir *d, const char *parent)
{
	int fd = -ENOENT;

	for (int i = 0; i < MAKE_TRIES && fd == -ENOENT; i++) {
		int r = 0;

		fd = path_open(d->root, parent, O_RDONLY | O_DIRECTORY, 0);
		if (fd == -ENOENT)
			r = path_mkdirs(d->root, parent, DIR_MODE);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return fd;
}

static int identify(int fd, struct dir_id *ret)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) < 0)
		return -errno;
	*ret = (struct dir_id){
		.dev = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor,
		.ino = stx.stx_ino,
		.born_ns = stx.stx_mask & STATX_BTIME
				   ? stx.stx_btime.tv_sec * NSEC_PER_SEC + stx.stx_btime.tv_nsec
				   : 0,
	};
	return 0;
}

static bool is_durable(struct dir *d, const struct dir_id *id)
{
	const struct dir_id *slot = &d->durable[id->ino & (DURABLE_SLOTS - 1)];
	bool known;

	lock_take(&d->lock);
	known = slot->ino == id->ino && slot->dev == id->dev && slot->born_ns == id->born_ns;
	lock_drop(&d->lock);
	return known && id->born_ns;
}

static void set_durable(struct dir *d, const struct dir_id *ids, unsigned n)
{
	lock_take(&d->lock);
	for (unsigned i = 0; i < n; i++)
		d->durable[ids[i].ino & (DURABLE_SLOTS - 1)] = ids[i];
	lock_drop(&d->lock);
}

int dir_sync(struct dir *d, int fd, const char *path)
{
	char up[STORE_KEY_MAX];
	AUTO_CLOSE int up_fd = -1;
	struct dir_id ids[32];
	unsigned n = 0;
	int r;

	if (fsync(fd) < 0)
		return -errno;
	snprintf(up, sizeof(up), "%s", path);
	while (*up) {
		struct dir_id id;

		r = identify(up_fd < 0 ? fd : up_fd, &id);
		if (r < 0)
			return r;
		if (is_durable(d, &id))
			break;
		if (n < sizeof(ids) / sizeof(ids[0]))
			ids[n++] = id;
		if (!cut(up))
			*up = '\0';
		cleanup_close(&up_fd);
		up_fd = path_open(d->root, up, O_RDONLY | O_DIRECTORY, 0);
		if (up_fd < 0)
			return up_fd;
		if (fsync(up_fd) < 0)
			return -errno;
	}
	set_durable(d, ids, n);
	return 0;
}

int dir_prune(struct dir *d, int fd, const char *path)
{
	char up[STORE_KEY_MAX];
	AUTO_CLOSE int up_fd = -1;

	snprintf(up, sizeof(up), "%s", path);
	while (*up) {
		char *name = cut(up);
		int next;

		next = path_open(d->root, name ? up : "", O_RDONLY | O_DIRECTORY, 0);
		if (next < 0)
			break;
		if (unlinkat(next, name ? name : up, AT_REMOVEDIR) < 0) {
			close(next);
			break;
		}
		cleanup_close(&up_fd);
		up_fd = next;
		if (!name)
			*up = '\0';
	}
	/* The lowest directory that is left tells of what is gone. */
	if (fsync(up_fd < 0 ? fd : up_fd) < 0)
		return -errno;
	return 0;
}

/* Directories still to be listed: a stack of paths, so that no descriptors pile up. */
struct todo {
	char **paths; /* owned */
	size_t n;
	size_t room;
};

static int todo_push(struct todo *t, const char *path)
{
	if (t->n == t->room) {
		size_t room = t->room ? 2 * t->room : 16;
		char **paths = reallocarray(t->paths, room, sizeof(*paths));

		if (!paths)
			return -ENOMEM;
		t->paths = paths;
		t->room = room;
	}
	t->paths[t->n] = strdup(path);
	if (!t->paths[t->n])
		return -ENOMEM;
	t->n++;
	return 0;
}

static unsigned char entry_type(int fd, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type;
	if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return DT_UNKNOWN;
	return IFTODT(st.st_mode);
}

/* Could something below this directory begin with prefix? */
static bool leads_to(const char *path, const char *prefix)
{
	size_t n = strlen(path), m = strlen(prefix);

	return n < m ? strncmp(path, prefix, n) == 0 && prefix[n] == '/'
		     : strncmp(path, prefix, m) == 0;
}

static int list_entry(struct todo *t, int fd, const char *dir, const struct dirent *e,
		      const char *prefix, int (*each)(const char *key, void *arg), void *arg)
{
	char key[STORE_KEY_MAX];
	int n;

	if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
		return 0;
	n = snprintf(key, sizeof(key), "%s%s%s", dir, *dir ? "/" : "", e->d_name);
	if (n >= (int)sizeof(key) || strcmp(key, DIR_TMP) == 0)
		return 0; /* no key of ours is that long */
	switch (entry_type(fd, e)) {
	case DT_DIR:
		return leads_to(key, prefix) ? todo_push(t, key) : 0;
	case DT_REG:
		return strncmp(key, prefix, strlen(prefix)) == 0 ? each(key, arg) : 0;
	default:
		return 0;
	}
}

static int list_one(struct dir *d, struct todo *t, const char *dir, const char *prefix,
		    int (*each)(const char *key, void *arg), void *arg)
{
	AUTO_CLOSEDIR DIR *stream = NULL;
	int fd, r = 0;

	fd = path_open(d->root, dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0; /* pruned since; or a prefix that names nothing */
	if (fd < 0)
		return fd;
	stream = fdopendir(fd);
	if (!stream) {
		r = -errno;
		close(fd);
		return r;
	}
	while (r == 0) {
		const struct dirent *e;

		errno = 0;
		e = readdir(stream);
		if (!e)
			return -errno;
		r = list_entry(t, fd, dir, e, prefix, each, arg);
	}
	return r;
}

int dir_list(struct dir *d, const char *prefix, int (*each)(const char *key, void *arg), void *arg)
{
	struct todo t = { .n = 0 };
	char start[STORE_KEY_MAX];
	int r;

	dir_split(prefix, start);
	r = todo_push(&t, start);
	while (r == 0 && t.n > 0) {
		AUTO_FREE char *dir = t.paths[--t.n];

		r = list_one(d, &t, dir, prefix, each, arg);
	}
	while (t.n > 0)
		free(t.paths[--t.n]);
	free(t.paths);
	return r;
}
