/* SPDX-License-Identifier: MIT */
/*
 * Removing the cache directory of a released directory: cold hours leave no inode.
 *
 *	claim -> it has rows, and no cache entry -> not changed lately -> its row gets
 *	the attributes users see -> rmdir
 *
 * Always true: a directory that is not a row's cannot be made again and stays; so
 * does one with what a row does not hold (xattrs, ACLs).  The file system has the last word:
 * what was created meanwhile makes the rmdir fail.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tier/local.h"
#include "tier/ns_int.h"
#include "tier/release.h"

/* 1 empty, 0 not, -errno. */
static int is_empty(int dfd)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	int fd;

	fd = openat(dfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		int r = -errno;

		close(fd);
		return r;
	}
	errno = 0;
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return 0;
	return errno ? -errno : 1;
}

/* Nobody but us changed it lately: who makes a directory is about to fill it. */
static bool is_quiet(struct tier *t, struct node *dir, const struct state_of *look)
{
	struct own_times own = node_own_times(t->tree, dir);
	int64_t m = ts_to_ns(look->cache.st_mtim), c = ts_to_ns(look->cache.st_ctim);
	int64_t age_ns = clock_real_ns() - (m > c ? m : c);

	if (own.set && own.c_mtime_ns == m && own.c_ctime_ns == c)
		return true;
	if (look->dir_row.c_mtime_ns == m && look->dir_row.c_ctime_ns == c)
		return true;
	return m > 0 && c > 0 && age_ns >= t->conf->release_after * 1000000;
}

/* 0; 1: it stays. */
static int may_go(struct tier *t, struct node *dir, const struct state_of *look)
{
	struct dirfd *d;
	int r;

	if (!look->has_cache || !look->has_row || !is_quiet(t, dir, look))
		return 1;
	r = cat_dir_is_empty(t->cat, look->dir_row.id);
	if (r != 0)
		return r;
	r = cache_dir(t->cache, dir, &d);
	if (r < 0)
		return r;
	r = is_empty(dirfd_fd(d));
	if (r >= 0)
		r = r == 0 ? 1 : local_plain_xattrs(dirfd_fd(d));
	cache_dir_put(t->cache, d);
	return r == -EPERM ? 1 : r;
}

static int put_run(struct tx *tx, void *arg)
{
	const struct dir_row *want = arg;
	struct dir_row row;
	int r;

	r = tx_dir_get(tx, want->id, &row);
	if (r < 0)
		return r;
	row.attr = want->attr;
	row.c_mtime_ns = want->c_mtime_ns;
	row.c_ctime_ns = want->c_ctime_ns;
	return tx_dir_put(tx, &row);
}

/* What users see now is what they will see. */
static int put_attributes(struct tier *t, const struct state_of *look)
{
	struct dir_row row = look->dir_row;

	rows_attr_from_stat(&look->shown, &row.attr);
	row.c_mtime_ns = ts_to_ns(look->cache.st_mtim);
	row.c_ctime_ns = ts_to_ns(look->cache.st_ctim);
	return catalogue_write(t->cat, SYNC_NORMAL, put_run, &row);
}

static int remove_dir(struct tier *t, struct node *dir, struct node *parent, const char *name)
{
	struct dirfd *d;
	int r;

	r = cache_dir(t->cache, parent, &d);
	if (r < 0)
		return r;
	r = own_action_begin(t, parent);
	if (r < 0) {
		cache_dir_put(t->cache, d);
		return r;
	}
	listing_note_release(t, parent, name);
	if (unlinkat(dirfd_fd(d), name, AT_REMOVEDIR) < 0)
		r = errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY ? 1 : -errno;
	cache_dir_put(t->cache, d);
	bool removed = r == 0;
	if (removed) {
		r = failpoint(RELEASE_DIR);
		cache_dir_forget(t->cache, dir);
	}
	own_action_end(t, parent, removed);
	return r;
}

static int release_claimed(struct tier *t, struct node *dir)
{
	uint64_t mark = node_user_changes(dir);
	char name[ROW_NAME_MAX + 1];
	struct state_of look;
	struct node *parent;
	int r;

	r = state_look_node(t, dir, &look);
	if (r == 0)
		r = may_go(t, dir, &look);
	if (r == 0)
		r = put_attributes(t, &look);
	if (r != 0)
		return r;
	if (node_user_changes(dir) != mark)
		return 1;
	r = node_name(t->tree, dir, &parent, name);
	if (r < 0)
		return r;
	r = remove_dir(t, dir, parent, name);
	node_put(t->tree, parent);
	return r;
}

int release_dir(struct tier *t, struct node *dir)
{
	int r = -EBUSY;

	if (dir == tree_root(t->tree) || !volume_ok(t) || catalogue_is_readonly(t->cat))
		return 1;
	if (!node_try_claim(t->tree, dir))
		return -EBUSY;
	if (node_leave(t->tree, dir))
		r = release_claimed(t, dir);
	node_unclaim(t->tree, dir);
	return r;
}
