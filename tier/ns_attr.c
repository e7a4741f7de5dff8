/* SPDX-License-Identifier: MIT */
/*
 * Changing attributes, in every state.
 *
 *	local		the cache file
 *	archived	the cache file, then the row in the next commit (not waited for:
 *			until then the identity differs, and release compares bytes)
 *	released	the row, waited for; a new size restores first
 *	no name		the open descriptor
 *
 * Always true: a row's identity is refreshed only when the file had the row's identity
 * before the change and nothing but the change can have moved it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tier/ns_int.h"

/* Where a change is applied: a descriptor, or a name in a directory. */
struct target {
	int fd;	 /* >= 0: the object itself, any mode but O_PATH */
	int dfd; /* else this directory */
	const char *name;
};

static int stat_target(const struct target *g, struct stat *ret)
{
	int r = g->fd >= 0 ? fstat(g->fd, ret) : fstatat(g->dfd, g->name, ret, AT_SYMLINK_NOFOLLOW);

	return r < 0 ? -errno : 0;
}

static int chmod_target(const struct target *g, mode_t mode)
{
	struct stat st;
	int r;

	if (g->fd >= 0)
		return fchmod(g->fd, mode & 07777) < 0 ? -errno : 0;
	r = stat_target(g, &st);
	if (r < 0)
		return r;
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	return fchmodat(g->dfd, g->name, mode & 07777, 0) < 0 ? -errno : 0;
}

static int chown_target(const struct target *g, uid_t uid, gid_t gid)
{
	int r = g->fd >= 0 ? fchown(g->fd, uid, gid)
			   : fchownat(g->dfd, g->name, uid, gid, AT_SYMLINK_NOFOLLOW);

	return r < 0 ? -errno : 0;
}

static int utimes_target(const struct target *g, const struct ns_setattr *set)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	int r;

	if (set->set & NS_SET_ATIME)
		times[0] = set->atime;
	if (set->set & NS_SET_MTIME)
		times[1] = set->mtime;
	r = g->fd >= 0 ? futimens(g->fd, times)
		       : utimensat(g->dfd, g->name, times, AT_SYMLINK_NOFOLLOW);
	return r < 0 ? -errno : 0;
}

static int truncate_target(const struct target *g, const struct ns_setattr *set)
{
	char proc[64];
	struct stat st;
	int fd, r;

	if (g->fd >= 0) {
		/* Ours may be read-only; the object's own path is always there. */
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", g->fd);
		fd = open(proc, O_WRONLY | O_CLOEXEC);
	} else {
		fd = openat(g->dfd, g->name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)set->size) < 0 ? -errno : 0;
	if (r == 0 && set->kill_suidgid && fstat(fd, &st) == 0) {
		mode_t keep = st.st_mode & ~S_ISUID;

		if (st.st_mode & S_IXGRP)
			keep &= ~S_ISGID;
		if (keep != st.st_mode && fchmod(fd, keep & 07777) < 0)
			r = -errno;
	}
	close(fd);
	return r;
}

static int apply(const struct target *g, const struct ns_setattr *set)
{
	int r = 0;

	if (set->set & NS_SET_SIZE)
		r = truncate_target(g, set);
	if (r == 0 && (set->set & (NS_SET_UID | NS_SET_GID)))
		r = chown_target(g, set->set & NS_SET_UID ? set->uid : (uid_t)-1,
				 set->set & NS_SET_GID ? set->gid : (gid_t)-1);
	if (r == 0 && (set->set & NS_SET_MODE))
		r = chmod_target(g, set->mode);
	if (r == 0 && (set->set & (NS_SET_ATIME | NS_SET_MTIME)))
		r = utimes_target(g, set);
	return r;
}

/* ---- rows ----------------------------------------------------------------- */

static int64_t time_of(struct timespec ts, int64_t now)
{
	return ts.tv_nsec == UTIME_NOW ? now : ts_to_ns(ts);
}

/* The same change on a row: what the file system would have done. */
static void apply_attr(struct row_attr *a, const struct ns_setattr *set)
{
	int64_t now = clock_real_ns();

	if (set->set & NS_SET_UID)
		a->uid = set->uid;
	if (set->set & NS_SET_GID)
		a->gid = set->gid;
	if ((set->set & (NS_SET_UID | NS_SET_GID)) && S_ISREG(a->mode)) {
		a->mode &= ~S_ISUID;
		if (a->mode & S_IXGRP)
			a->mode &= ~S_ISGID;
	}
	if (set->set & NS_SET_MODE)
		a->mode = (a->mode & S_IFMT) | (set->mode & 07777);
	if (set->set & NS_SET_ATIME)
		a->atime_ns = time_of(set->atime, now);
	if (set->set & NS_SET_MTIME)
		a->mtime_ns = time_of(set->mtime, now);
	a->ctime_ns = now;
}

struct attr_job {
	struct cat_job job;
	bool is_dir;
	dirid_t dir; /* of the file's directory, or the directory itself */
	char name[ROW_NAME_MAX + 1];
	uint64_t attempt; /* a file: only this version of the row */
	struct row_attr attr;
	bool new_identity;
	struct identity id;
	struct own_times own; /* a directory's */
	struct tree *tree;    /* borrowed; of node */
	struct node
		*node; /* a directory's, counted until the row has what the node knows; or NULL */
};

static int attr_run(struct tx *tx, struct cat_job *job)
{
	struct attr_job *a = (struct attr_job *)job;
	struct file_row row;
	struct dir_row dir;
	int r;

	if (a->is_dir) {
		r = tx_dir_get(tx, a->dir, &dir);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		dir.attr = a->attr;
		if (a->own.set) {
			dir.c_mtime_ns = a->own.c_mtime_ns;
			dir.c_ctime_ns = a->own.c_ctime_ns;
		}
		return tx_dir_put(tx, &dir);
	}
	r = tx_file_get(tx, a->dir, a->name, &row);
	if (r == -ENOENT || (r == 0 && row.attempt != a->attempt))
		return 0;
	if (r < 0)
		return r;
	a->attr.size = row.attr.size;
	row.attr = a->attr;
	if (a->new_identity)
		row.id = a->id;
	return tx_file_put(tx, &row);
}

static int attr_run_wait(struct tx *tx, void *arg)
{
	return attr_run(tx, arg);
}

static void attr_free(struct cat_job *job, int result)
{
	struct attr_job *a = (struct attr_job *)job;

	(void)result; /* logged by the catalogue; the cache has the truth, release compares */
	node_put(a->tree, a->node);
	free(a);
}

static void submit_attr(struct tier *t, const struct attr_job *what)
{
	struct attr_job *a = malloc(sizeof(*a));

	if (!a)
		return; /* the identity differs from the row's: release compares the bytes */
	*a = *what;
	if (a->node)
		node_ref(a->node);
	a->job.run = attr_run;
	a->job.done = attr_free;
	a->job.sync = SYNC_NORMAL;
	catalogue_submit(t->cat, &a->job);
}

/* ---- files ---------------------------------------------------------------- */

void ns_identity_moved(struct tier *t, dirid_t dir, const char *name, const struct file_row *row,
		       const struct identity *before, const struct stat *after)
{
	struct attr_job a = { .dir = dir, .attempt = row->attempt, .id = cache_identity(after) };

	strcpy(a.name, name);
	rows_attr_from_stat(after, &a.attr);
	/* A new mtime would hide that somebody wrote just now: bytes will be compared. */
	a.new_identity = identity_equal(before, &row->id) && a.id.mtime_ns == before->mtime_ns &&
			 a.id.size == before->size && a.id.ino == before->ino;
	submit_attr(t, &a);
}

static int set_archived(struct tier *t, const struct target *g, const struct ns_setattr *set,
			const struct state_of *look)
{
	struct identity id;
	struct stat before, after;
	int r;

	r = stat_target(g, &before);
	if (r == 0)
		r = apply(g, set);
	if (r == 0)
		r = stat_target(g, &after);
	if (r < 0)
		return r;
	id = cache_identity(&before);
	ns_identity_moved(t, look->row.dir, look->row.name, &look->row, &id, &after);
	return 0;
}

static int set_released(struct tier *t, const struct ns_setattr *set, const struct state_of *look)
{
	struct attr_job a = {
		.dir = look->row.dir,
		.attempt = look->row.attempt,
		.attr = look->row.attr,
	};
	int r;

	strcpy(a.name, look->row.name);
	apply_attr(&a.attr, set);
	r = catalogue_write(t->cat, SYNC_NORMAL, attr_run_wait, &a);
	return r < 0 ? r : failpoint(SETATTR_COMMIT);
}

static int set_claimed(struct tier *t, struct node *node, struct node *parent, const char *name,
		       const struct ns_setattr *set, bool wait)
{
	struct target g = { .fd = -1, .name = name };
	struct state_of look;
	struct dirfd *d;
	int r;

	r = state_look(t, parent, name, &look);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	if (look.has_row && (look.state == STATE_RELEASED || (set->set & NS_SET_SIZE))) {
		if (!wait)
			return TIER_PARK;
		if (!(set->set & NS_SET_SIZE))
			return set_released(t, set, &look);
		r = ns_make_local(t, node, parent, name, &look, set->size == 0, TRASH_REPLACED);
		if (r < 0)
			return r;
	}
	r = cache_dir(t->cache, parent, &d);
	if (r < 0)
		return r;
	g.dfd = dirfd_fd(d);
	if (look.state == STATE_ARCHIVED && !(set->set & NS_SET_SIZE))
		r = set_archived(t, &g, set, &look);
	else
		r = apply(&g, set);
	cache_dir_put(t->cache, d);
	return r;
}

static int set_file(struct tier *t, struct node *node, const struct ns_setattr *set, bool wait)
{
	struct target g = { .fd = set->fd };
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	int r;

	r = ns_claim(t, node, wait);
	if (r != 0)
		return r;
	r = node_name(t->tree, node, &parent, name);
	if (r == 0) {
		r = set_claimed(t, node, parent, name, set, wait);
		if (r == 0)
			reaper_touch(t, parent);
		node_put(t->tree, parent);
	} else if (r == -ENOENT && set->fd >= 0) {
		r = apply(&g, set);
	}
	node_unclaim(t->tree, node);
	return r;
}

/* ---- directories ---------------------------------------------------------- */

/*
 * Times that only we had moved stay hidden over a chmod, which moves the ctime; those we are about to
 * move, too.
 */
static void keep_own_times(struct tier *t, struct node *dir, const struct ns_setattr *set,
			   const struct state_of *before, struct attr_job *a)
{
	bool hidden = ts_to_ns(before->shown.st_mtim) != ts_to_ns(before->cache.st_mtim);
	struct stat st;

	if (cache_stat_node(t->cache, dir, &st) < 0)
		return;
	rows_attr_from_stat(&st, &a->attr);
	hidden = hidden && !(set->set & NS_SET_MTIME);
	if (!hidden && node_own_times(t->tree, dir).c_ctime_ns != OWN_UNDER_WAY)
		return;
	if (hidden)
		a->attr.mtime_ns = ts_to_ns(before->shown.st_mtim);
	a->own = (struct own_times){
		.set = true,
		.mtime_ns = a->attr.mtime_ns,
		.ctime_ns = a->attr.ctime_ns,
		.c_mtime_ns = ts_to_ns(st.st_mtim),
		.c_ctime_ns = ts_to_ns(st.st_ctim),
		.c_since_ns = ts_to_ns(st.st_ctim),
	};
	node_set_own_times(t->tree, dir, &a->own);
}

static int set_cached_dir(struct tier *t, struct node *dir, const struct ns_setattr *set,
			  const struct state_of *look)
{
	struct attr_job a = { .is_dir = true };
	struct target g;
	struct dirfd *d;
	int r;

	r = cache_dir(t->cache, dir, &d);
	if (r < 0)
		return r;
	g = (struct target){ .fd = dirfd_fd(d) };
	r = apply(&g, set);
	cache_dir_put(t->cache, d);
	if (r < 0)
		return r;
	keep_own_times(t, dir, set, look, &a);
	if (look->has_row) {
		a.dir = look->dir_row.id;
		a.tree = t->tree;
		a.node = dir;
		submit_attr(t, &a);
	}
	return 0;
}

static int set_dir_claimed(struct tier *t, struct node *dir, const struct ns_setattr *set,
			   bool wait)
{
	struct state_of look;
	int r;

	if (set->set & NS_SET_SIZE)
		return -EISDIR;
	r = state_look_node(t, dir, &look);
	if (r < 0)
		return r;
	if (look.has_cache)
		return set_cached_dir(t, dir, set, &look);
	if (look.state == STATE_NONE)
		return -ENOENT;
	if (!wait)
		return TIER_PARK;

	struct attr_job a = { .is_dir = true, .dir = look.dir_row.id, .attr = look.dir_row.attr };

	apply_attr(&a.attr, set);
	r = catalogue_write(t->cat, SYNC_NORMAL, attr_run_wait, &a);
	return r < 0 ? r : failpoint(SETATTR_COMMIT);
}

static int set_dir(struct tier *t, struct node *dir, const struct ns_setattr *set, bool wait)
{
	int r = ns_claim(t, dir, wait);

	if (r != 0)
		return r;
	r = set_dir_claimed(t, dir, set, wait);
	node_unclaim(t->tree, dir);
	return r;
}

int ns_setattr(struct tier *t, struct node *node, const struct ns_setattr *set, bool wait,
	       struct stat *ret)
{
	int r;

	r = node_is_dir(node) ? set_dir(t, node, set, wait) : set_file(t, node, set, wait);
	if (r != 0)
		return r;
	return ns_getattr(t, node, set->fd, ret);
}
