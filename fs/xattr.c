/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes: see fs/xattr.h.
 *
 * A released file has none of its own, as files that have some are never released.
 * While one is changed the file counts as open, so that its local copy stays.
 */
#include "fs/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "lib/cleanup.h"
#include "tier/ns.h"
#include "tier/object.h"
#include "tier/reaper.h"
#include "tier/restore.h"
#include "tier/state.h"

#define USER "user."
#define MADE_UP "user.ebb."

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* ---- made up ------------------------------------------------------------------ */

static ssize_t give(const char *text, char *value)
{
	size_t len = strlen(text);

	if (len > XATTR_BYTES_MAX)
		return -E2BIG;
	memcpy(value, text, len);
	return (ssize_t)len;
}

static bool has_object(const struct state_of *look)
{
	return !look->is_dir && (look->state == STATE_ARCHIVED || look->state == STATE_RELEASED);
}

static ssize_t give_object(struct fs *fs, const struct state_of *look, char *value)
{
	AUTO_FREE char *key = NULL;
	int r;

	if (!has_object(look))
		return -ENODATA;
	r = object_key(fs->tier, &look->row, 0, &key);
	return r < 0 ? r : give(key, value);
}

static ssize_t give_crc(const struct state_of *look, char *value)
{
	char text[9];

	if (!has_object(look))
		return -ENODATA;
	snprintf(text, sizeof(text), "%08x", look->row.crc32c);
	return give(text, value);
}

static ssize_t give_url(struct fs *fs, struct node *node, const struct state_of *look, char *value)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *url = NULL;
	int r;

	if (look->is_dir)
		return -ENODATA;
	r = node_path(fs->tree, node, &path);
	if (r < 0)
		return r;
	if (has_object(look))
		r = object_url(fs->tier, &look->row, path, &url);
	else
		r = object_local_url(fs->tier, path, &url);
	return r < 0 ? r : give(url, value);
}

static ssize_t get_made_up(struct fs *fs, struct node *node, const char *name, char *value)
{
	struct state_of look;
	int r;

	r = state_look_node(fs->tier, node, &look);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	name += strlen(MADE_UP);
	if (strcmp(name, "state") == 0)
		return give(state_word(look.state), value);
	if (strcmp(name, "object") == 0)
		return give_object(fs, &look, value);
	if (strcmp(name, "crc32c") == 0)
		return give_crc(&look, value);
	if (strcmp(name, "url") == 0)
		return give_url(fs, node, &look, value);
	return -ENODATA;
}

/* ---- the cache file ------------------------------------------------------------ */

/* A descriptor of the node's file or directory; -ENOENT: not in the cache; -EPERM: another kind. */
static int open_cached(struct fs *fs, struct node *node)
{
	struct cache *cache = tier_cache(fs->tier);
	struct dirfd *dir;
	struct stat st;
	int fd, r;

	if (node_is_dir(node)) {
		r = cache_dir(cache, node, &dir);
		if (r < 0)
			return r;
		fd = fcntl(dirfd_fd(dir), F_DUPFD_CLOEXEC, 0);
		r = fd < 0 ? -errno : fd;
		cache_dir_put(cache, dir);
		return r;
	}
	r = cache_stat_node(cache, node, &st);
	if (r < 0)
		return r;
	return S_ISREG(st.st_mode) ? cache_open_node(cache, node, O_RDONLY | O_NONBLOCK) : -EPERM;
}

static int check_name(const char *name)
{
	return begins(name, USER) ? 0 : -EOPNOTSUPP;
}

ssize_t xattr_get(struct fs *fs, struct node *node, const char *name, char *value)
{
	AUTO_CLOSE int fd = -1;
	ssize_t n;

	if (begins(name, MADE_UP))
		return get_made_up(fs, node, name, value);
	if (check_name(name) < 0)
		return begins(name, "security.") ? -ENODATA : -EOPNOTSUPP;
	fd = open_cached(fs, node);
	if (fd == -ENOENT || fd == -EPERM)
		return -ENODATA;
	if (fd < 0)
		return fd;
	n = fgetxattr(fd, name, value, XATTR_BYTES_MAX);
	return n < 0 ? -errno : n;
}

/* Names of others (trusted.ebb.cache is ours) are not shown. */
static ssize_t keep_user(char *list, ssize_t n)
{
	ssize_t kept = 0;

	for (ssize_t at = 0; at < n;) {
		ssize_t len = (ssize_t)strlen(list + at) + 1;

		if (begins(list + at, USER) && !begins(list + at, MADE_UP)) {
			memmove(list + kept, list + at, (size_t)len);
			kept += len;
		}
		at += len;
	}
	return kept;
}

ssize_t xattr_list(struct fs *fs, struct node *node, char *list)
{
	AUTO_CLOSE int fd = open_cached(fs, node);
	ssize_t n;

	if (fd == -ENOENT || fd == -EPERM)
		return 0;
	if (fd < 0)
		return fd;
	n = flistxattr(fd, list, XATTR_BYTES_MAX);
	return n < 0 ? -errno : keep_user(list, n);
}

/* A descriptor of the local copy, which is made if it was released; or TIER_PARK. */
static int open_to_change(struct fs *fs, struct node *node, bool wait, int *ret)
{
	int fd, r;

	fd = open_cached(fs, node);
	if (fd == -ENOENT) {
		if (!wait)
			return TIER_PARK;
		r = node_is_dir(node) ? ns_materialize_dir(fs->tier, node, true)
				      : restore_path(fs->tier, node);
		if (r < 0)
			return r;
		fd = open_cached(fs, node);
	}
	if (fd < 0)
		return fd;
	*ret = fd;
	return 0;
}

/* What it holds decides whether it may leave the cache. */
static void look_again(struct fs *fs, struct node *node)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;

	if (node_is_dir(node)) {
		reaper_touch(fs->tier, node);
	} else if (node_name(fs->tree, node, &parent, name) == 0) {
		reaper_touch(fs->tier, parent);
		fs_put(fs, parent);
	}
}

static int change(struct fs *fs, struct node *node, bool wait, int (*act)(int fd, void *arg),
		  void *arg)
{
	AUTO_CLOSE int fd = -1;
	int r;

	if (!node_open_begin(fs->tree, node, false, wait))
		return TIER_PARK;
	r = open_to_change(fs, node, wait, &fd);
	if (r == 0)
		r = act(fd, arg);
	if (r == 0)
		look_again(fs, node);
	node_open_end(fs->tree, node, false);
	return r;
}

struct setting {
	const char *name;
	const void *value;
	size_t size;
	int flags;
};

static int act_set(int fd, void *arg)
{
	struct setting *s = arg;

	return fsetxattr(fd, s->name, s->value, s->size, s->flags) < 0 ? -errno : 0;
}

static int act_remove(int fd, void *arg)
{
	struct setting *s = arg;

	return fremovexattr(fd, s->name) < 0 ? -errno : 0;
}

static int check_change(const char *name)
{
	return begins(name, MADE_UP) ? -EPERM : check_name(name);
}

int xattr_set(struct fs *fs, struct node *node, const char *name, const void *value, size_t size,
	      int flags, bool wait)
{
	struct setting s = { name, value, size, flags };
	int r = check_change(name);

	return r < 0 ? r : change(fs, node, wait, act_set, &s);
}

int xattr_remove(struct fs *fs, struct node *node, const char *name, bool wait)
{
	struct setting s = { .name = name };
	int r = check_change(name);

	return r < 0 ? r : change(fs, node, wait, act_remove, &s);
}
