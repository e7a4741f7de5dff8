/* SPDX-License-Identifier: MIT */
/*
 * New names: files, directories, devices, symlinks.
 *
 * Always true: a new name touches no database, whatever its kind; it belongs to who
 * asked for it, by the rules of the cache's own file system (setgid directories,
 * quotas), because it is made with the caller's ids.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tier/local.h"
#include "tier/ns_int.h"

/* ---- as the caller -------------------------------------------------------- */

/*
 * Raw system calls: glibc's wrappers change all threads.  The kernel has checked
 * the caller's right to write the directory already (default_permissions).
 */
static void become(const struct ns_cred *cred)
{
	if (cred->gid != 0)
		syscall(SYS_setfsgid, cred->gid);
	if (cred->uid != 0)
		syscall(SYS_setfsuid, cred->uid);
}

static void become_root(const struct ns_cred *cred)
{
	if (cred->uid != 0)
		syscall(SYS_setfsuid, 0);
	if (cred->gid != 0)
		syscall(SYS_setfsgid, 0);
}

struct making {
	const char *name;
	mode_t mode;
	dev_t rdev;
	const char *target;
	int access; /* of make_file: O_RDONLY or O_RDWR */
	int fd;	    /* out, of make_file */
};

static int make_file(int dfd, struct making *m)
{
	m->fd = openat(dfd, m->name, m->access | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		       m->mode & 07777);
	return m->fd < 0 ? -errno : 0;
}

static int make_node(int dfd, struct making *m)
{
	return mknodat(dfd, m->name, m->mode, m->rdev) < 0 ? -errno : 0;
}

static int make_dir(int dfd, struct making *m)
{
	return mkdirat(dfd, m->name, m->mode & 07777) < 0 ? -errno : 0;
}

static int make_symlink(int dfd, struct making *m)
{
	return symlinkat(m->target, dfd, m->name) < 0 ? -errno : 0;
}

typedef int (*make_fn)(int dfd, struct making *m);

/* What only root may make in the cache, or a caller whose right comes from another group. */
static int make_and_give(int dfd, struct making *m, make_fn make, const struct ns_cred *cred)
{
	struct stat dir, st;
	gid_t gid;
	int r;

	if (fstat(dfd, &dir) < 0)
		return -errno;
	r = make(dfd, m);
	if (r < 0)
		return r;
	gid = dir.st_mode & S_ISGID ? dir.st_gid : cred->gid;
	if (fchownat(dfd, m->name, cred->uid, gid, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstatat(dfd, m->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (!(m->mode & (S_ISUID | S_ISGID)) || S_ISLNK(st.st_mode) ||
	     fchmodat(dfd, m->name, (m->mode & 07777) | (st.st_mode & S_ISGID), 0) == 0))
		return 0;
	r = -errno;
	unlinkat(dfd, m->name, S_ISDIR(m->mode) ? AT_REMOVEDIR : 0);
	if (make == make_file)
		close(m->fd);
	return r;
}

static int make_as(int dfd, struct making *m, make_fn make, const struct ns_cred *cred)
{
	bool device = S_ISCHR(m->mode) || S_ISBLK(m->mode);
	int r;

	if (!device) {
		become(cred);
		r = make(dfd, m);
		become_root(cred);
		if (r != -EACCES && r != -EPERM)
			return r;
	}
	return make_and_give(dfd, m, make, cred);
}

/* ---- the directory -------------------------------------------------------- */

static int make_from_row(int dfd, const char *name, const struct row_attr *attr)
{
	struct timespec times[2] = { ns_to_ts(attr->atime_ns), ns_to_ts(attr->mtime_ns) };
	struct ns_cred owner = { .uid = attr->uid, .gid = attr->gid };
	struct making m = { .name = name, .mode = attr->mode };
	int r;

	/* Its owner's from the start: a kill must not leave one that nobody may enter. */
	r = make_as(dfd, &m, make_dir, &owner);
	if (r == -EDQUOT)
		r = make_and_give(dfd, &m, make_dir, &owner);
	if (r == 0)
		r = failpoint(MKDIR_CACHE);
	if (r == 0 && (fchownat(dfd, name, attr->uid, attr->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		       fchmodat(dfd, name, attr->mode & 07777, 0) < 0 ||
		       utimensat(dfd, name, times, AT_SYMLINK_NOFOLLOW) < 0))
		r = -errno;
	if (r < 0)
		log_error("cannot make directory '%s' again in the cache: %s", name, strerror(-r));
	return r;
}

/* Nobody sees a time move, neither of the directory nor of its parent. */
static int make_unseen(struct tier *t, struct node *parent, struct node *dir, const char *name,
		       const struct row_attr *attr)
{
	struct dirfd *d;
	int r;

	r = cache_dir(t->cache, parent, &d);
	if (r < 0)
		return r;
	r = own_action_begin(t, parent);
	if (r == 0) {
		r = own_action_begin(t, dir);
		if (r == 0) {
			cache_dir_forget(t->cache, dir);
			r = make_from_row(dirfd_fd(d), name, attr);
			own_action_end(t, dir, r == 0);
		}
		own_action_end(t, parent, r == 0);
	}
	cache_dir_put(t->cache, d);
	/* whatever it was made for may fail */
	if (r == 0)
		reaper_touch(t, dir);
	return r;
}

/* The directory's own row says how it was; its parent is in the cache. */
static int make_again(struct tier *t, struct node *parent, struct node *dir, const char *name)
{
	struct dir_row row;
	struct stat st;
	int r;

	if (cache_stat(t->cache, parent, name, &st) == 0)
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	if (node_dirid(dir) <= 0)
		return -ENOENT;
	r = cat_dir_get(t->cat, node_dirid(dir), &row);
	return r < 0 ? r : make_unseen(t, parent, dir, name, &row.attr);
}

int ns_materialize_dir(struct tier *t, struct node *dir, bool wait)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	struct dirfd *d;
	dirid_t id;
	int r;

	for (int tries = 0; tries < 8; tries++) {
		r = cache_dir(t->cache, dir, &d);
		if (r == 0)
			cache_dir_put(t->cache, d);
		if (r != -ENOENT)
			return r;
		if (!wait)
			return TIER_PARK;
		r = state_dirid(t, dir, &id);
		if (r < 0)
			return r;
		r = node_name(t->tree, dir, &parent, name);
		if (r < 0)
			return r;
		r = ns_materialize_dir(t, parent, true);
		if (r == 0) {
			node_claim(t->tree, dir);
			r = local_named(t, dir, parent, name) == 0
				    ? make_again(t, parent, dir, name)
				    : -ENOENT;
			node_unclaim(t->tree, dir);
		}
		node_put(t->tree, parent);
		/* -ENOENT: it was renamed, or the parent released again, in between. */
		if (r != -ENOENT || id == 0)
			return r;
	}
	return -EBUSY;
}

int ns_dir(struct tier *t, struct node *dir, bool wait, struct dirfd **ret)
{
	int r = cache_dir(t->cache, dir, ret);

	if (r != -ENOENT)
		return r;
	r = ns_materialize_dir(t, dir, wait);
	if (r != 0)
		return r;
	return cache_dir(t->cache, dir, ret);
}

/* ---- names ---------------------------------------------------------------- */

static int stat_made(int dfd, const struct making *m, struct stat *ret)
{
	int r = m->fd >= 0 ? fstat(m->fd, ret) : fstatat(dfd, m->name, ret, AT_SYMLINK_NOFOLLOW);

	return r < 0 ? -errno : 0;
}

static int make_in(struct tier *t, struct node *parent, struct making *m, make_fn make,
		   const struct ns_cred *cred, bool wait, struct stat *ret)
{
	struct dirfd *d;
	int r;

	if (strlen(m->name) > ROW_NAME_MAX)
		return -ENAMETOOLONG;
	for (int tries = 0; tries < 8; tries++) {
		r = ns_dir(t, parent, wait, &d);
		if (r != 0)
			return r;
		r = make_as(dirfd_fd(d), m, make, cred);
		if (r == 0)
			r = stat_made(dirfd_fd(d), m, ret);
		cache_dir_put(t->cache, d);
		if (r != -ENOENT)
			return r;
		/* The kept descriptor is of a directory that was released meanwhile. */
		cache_dir_forget(t->cache, parent);
	}
	return r;
}

static int new_node(struct tier *t, struct node *parent, const char *name, struct stat *st,
		    struct node **ret)
{
	bool is_dir = S_ISDIR(st->st_mode);
	struct node *node;
	uint64_t ino;
	int r;

	r = catalogue_next_ino(t->cat, &ino);
	if (r == 0)
		r = node_make(t->tree, parent, name, is_dir, ino, &node);
	if (r < 0)
		return r;
	st->st_ino = ino;
	if (is_dir)
		node_learn_dirid(node, 0);
	node_user_changed(parent);
	*ret = node;
	return 0;
}

static int make_name(struct tier *t, struct node *parent, struct making *m, make_fn make,
		     const struct ns_cred *cred, bool wait, struct node **ret, struct stat *ret_st)
{
	struct stat st;
	int r;

	r = make_in(t, parent, m, make, cred, wait, &st);
	if (r != 0)
		return r;
	reaper_touch(t, parent);
	r = new_node(t, parent, m->name, &st, ret);
	if (r < 0)
		return r;
	*ret_st = st;
	return 0;
}

int ns_mknod(struct tier *t, struct node *parent, const char *name, mode_t mode, dev_t rdev,
	     const struct ns_cred *cred, bool wait, struct node **ret, struct stat *ret_st)
{
	struct making m = { .name = name, .mode = mode, .rdev = rdev, .fd = -1 };

	return make_name(t, parent, &m, make_node, cred, wait, ret, ret_st);
}

int ns_mkdir(struct tier *t, struct node *parent, const char *name, mode_t mode,
	     const struct ns_cred *cred, bool wait, struct node **ret, struct stat *ret_st)
{
	struct making m = { .name = name, .mode = S_IFDIR | mode, .fd = -1 };

	return make_name(t, parent, &m, make_dir, cred, wait, ret, ret_st);
}

int ns_symlink(struct tier *t, struct node *parent, const char *name, const char *target,
	       const struct ns_cred *cred, bool wait, struct node **ret, struct stat *ret_st)
{
	struct making m = { .name = name, .mode = S_IFLNK | 0777, .target = target, .fd = -1 };

	return make_name(t, parent, &m, make_symlink, cred, wait, ret, ret_st);
}

/* The name turned out to be there: open(2) without O_EXCL takes it. */
static int open_existing(struct tier *t, struct node *parent, const char *name, int flags,
			 struct ns_created *ret)
{
	struct ns_created c = { .made = false };
	struct remote *none;
	int r;

	r = ns_lookup(t, parent, name, NULL, &c.node, &c.st);
	if (r < 0)
		return r;
	r = S_ISREG(c.st.st_mode)
		    ? ns_open(t, c.node, O_RDWR | (flags & O_TRUNC), true, &c.fd, &none)
		    : -EEXIST;
	if (r < 0) {
		node_put(t->tree, c.node);
		return r;
	}
	*ret = c;
	return 0;
}

int ns_create(struct tier *t, struct node *parent, const char *name, mode_t mode, int flags,
	      const struct ns_cred *cred, bool wait, struct ns_created *ret)
{
	struct making m = { .name = name,
			    .mode = S_IFREG | mode,
			    .access = (flags & O_ACCMODE) == O_RDONLY ? O_RDONLY : O_RDWR,
			    .fd = -1 };
	struct ns_created c = { .made = true };
	int r;

	r = make_in(t, parent, &m, make_file, cred, wait, &c.st);
	if (r == -EEXIST && !(flags & O_EXCL))
		return wait ? open_existing(t, parent, name, flags, ret) : TIER_PARK;
	if (r != 0)
		return r;
	reaper_touch(t, parent);
	r = new_node(t, parent, name, &c.st, &c.node);
	if (r < 0) {
		close(m.fd);
		return r;
	}
	node_open_begin(t->tree, c.node, true, true);
	c.fd = m.fd;
	*ret = c;
	return 0;
}
