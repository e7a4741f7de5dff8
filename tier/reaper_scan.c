/* SPDX-License-Identifier: MIT */
/*
 * In the background: at start what unfinished batches left in the store, then every
 * directory of the cache; later a directory that was renamed, and all below it.
 *
 * The tree is walked with one directory open at a time; symbolic links are not followed,
 * mount points not crossed.  What a directory holds is counted as soon as it is found, and
 * says when it is due; what is due then is a worker's, which looks again.  So status is
 * right when the scan is over, while the workers may have days to go.  An empty directory
 * that has rows becomes due at once: a kill may have come before it was removed.  What cannot
 * be read (no descriptors are left) is walked through again a minute later.
 *
 * Always true: what is renamed is walked through after that, as a walk that was on its way may
 * have passed it by, and rules may say something else of what is below it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/text.h"
#include "tier/reaper_int.h"

/* 1: a directory on the same file system. */
static int is_subdir(int dfd, const struct dirent *e, dev_t dev)
{
	struct stat st;

	if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)
		return 0;
	if (fstatat(dfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISDIR(st.st_mode) && st.st_dev == dev;
}

static int scan_stream(int dfd, int (*sub)(void *arg, const char *name), void *arg,
		       uint64_t *ret_others)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	struct stat st;
	int fd, r, err = 0;

	if (fstat(dfd, &st) < 0)
		return -errno;
	fd = openat(dfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	*ret_others = 0;
	for (;;) {
		errno = 0;
		e = readdir(dir);
		if (!e)
			return errno ? -errno : err;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = is_subdir(dfd, e, st.st_dev);
		if (r > 0)
			r = sub(arg, e->d_name);
		else if (r == 0)
			*ret_others += e->d_type != DT_DIR;
		if (r < 0 && err == 0)
			err = r; /* of this one; others may be in order */
	}
}

int scan_dir(struct tier *t, struct node *dir, int (*sub)(void *arg, const char *name), void *arg,
	     uint64_t *ret_others)
{
	struct dirfd *d;
	int r = cache_dir(t->cache, dir, &d);

	if (r < 0)
		return r;
	r = scan_stream(dirfd_fd(d), sub, arg, ret_others);
	cache_dir_put(t->cache, d);
	return r;
}

/* ---- the walk ------------------------------------------------------------------- */

struct scan {
	struct reaper *r;
	struct dir_stack stack;
	struct node *dir; /* borrowed; being read */
	uint64_t subdirs;
	uint64_t seen;
	int64_t begun_ms;
};

int dir_stack_push(struct dir_stack *s, struct node *dir)
{
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct node **v = reallocarray(s->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		s->v = v;
		s->room = room;
	}
	s->v[s->n++] = dir;
	return 0;
}

int dir_stack_push_sub(struct dir_stack *s, struct tree *tree, struct node *dir, const char *name)
{
	struct node *sub;
	int r;

	r = node_get(tree, dir, name, true, &sub);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	r = dir_stack_push(s, sub);
	if (r < 0)
		node_put(tree, sub);
	return r;
}

static int push_sub(void *arg, const char *name)
{
	struct scan *s = arg;

	s->subdirs++;
	return dir_stack_push_sub(&s->stack, s->r->t->tree, s->dir, name);
}

static void pause_for_rate(struct scan *s)
{
	uint64_t rate = s->r->t->conf->scan_rate;
	int64_t until;

	if (rate == 0)
		return;
	until = s->begun_ms + (int64_t)(s->seen * 1000 / rate);
	lock_take(&s->r->lock);
	while (!atomic_load(&s->r->stopping) && clock_mono_ms() < until)
		cond_wait_until(&s->r->wake, &s->r->lock, until);
	lock_drop(&s->r->lock);
}

/* Counts, moves nothing; what cannot be read is tried again by a worker. */
static void first_look(struct scan *s)
{
	struct reaper *r = s->r;
	struct look l = { .r = r, .dir = s->dir };
	struct reap_dir *e;
	int result;

	/* who has it may take long; it is counted after that */
	e = table_is_busy(r, s->dir) ? NULL : table_own(r, s->dir, true);
	if (!e) {
		(void)table_touch(r, s->dir, true);
		return;
	}
	table_clear_changed(r, e);
	l.future = e->future;
	result = look_dir(&l);
	table_disown(r, e, &l, result);
}

static bool dir_stack_has(const struct dir_stack *s, const struct node *dir)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i] == dir)
			return true;
	return false;
}

static void could_not_read(struct scan *s, int err)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *shown = NULL;
	struct reaper *r = s->r;
	bool noted;

	lock_take(&r->lock);
	noted = dir_stack_has(&r->unread, s->dir);
	if (!noted && dir_stack_push(&r->unread, s->dir) == 0) {
		node_ref(s->dir);
		noted = true;
	}
	r->read_again_ms = clock_mono_ms() + REAP_RETRY_MS;
	lock_drop(&r->lock);
	if (noted && !log_ratelimit(&r->told_scan_ms, REAP_RETRY_MS))
		return;
	if (node_path(r->t->tree, s->dir, &path) == 0)
		shown = text_printable(path, strlen(path));
	log_warning("cannot scan directory '%s' of the cache: %s: %s", shown ? shown : "?",
		    strerror(-err),
		    noted ? "tried again in a minute, and others that cannot be"
			  : "what is below it may stay local until 'ebbctl archive --all' or the "
			    "next start");
}

static void scan_one(struct scan *s)
{
	struct tier *t = s->r->t;
	uint64_t others = 0;
	dirid_t dirid = 0;
	int r;

	s->subdirs = 0;
	r = scan_dir(t, s->dir, push_sub, s, &others);
	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		could_not_read(s, r);
	if (r == 0 && others + s->subdirs == 0)
		(void)state_dirid(t, s->dir, &dirid);
	if (others > 0)
		first_look(s);
	else if (dirid > 0)
		(void)table_touch(s->r, s->dir, true);
	s->seen += others + s->subdirs;
	pause_for_rate(s);
}

static void walk(struct scan *s)
{
	while (s->stack.n > 0) {
		s->dir = s->stack.v[--s->stack.n];
		if (!atomic_load(&s->r->stopping))
			scan_one(s);
		node_put(s->r->t->tree, s->dir);
	}
}

/* Those that were renamed meanwhile; false: there are none, and the walk is over. */
static bool take_moved(struct scan *s)
{
	struct reaper *r = s->r;
	bool more;

	lock_take(&r->lock);
	more = r->moved.n > 0 && !atomic_load(&r->stopping);
	while (more && r->moved.n > 0 && dir_stack_push(&s->stack, r->moved.v[r->moved.n - 1]) == 0)
		r->moved.n--;
	r->walking = more && s->stack.n > 0;
	if (!r->walking)
		atomic_store(&r->scanning, false);
	more = r->walking;
	cond_broadcast(&r->wake);
	lock_drop(&r->lock);
	return more;
}

static void walk_all(struct scan *s)
{
	do {
		walk(s);
	} while (take_moved(s));
	free(s->stack.v);
}

void reap_scan(struct job *job)
{
	struct reaper *r = (struct reaper *)((char *)job - offsetof(struct reaper, scan_job));
	struct scan s = { .r = r, .begun_ms = clock_mono_ms() };
	int result;

	result = archive_recover(r->t);
	if (result < 0)
		log_error("cannot recover unfinished batches: %s: tried again at the next start",
			  strerror(-result));
	if (dir_stack_push(&s.stack, node_ref(tree_root(r->t->tree))) < 0)
		node_put(r->t->tree, tree_root(r->t->tree));
	walk_all(&s);
	if (!atomic_load(&r->stopping))
		log_info("scanned the cache: %llu entries", (unsigned long long)s.seen);
}

void reap_walk(struct job *job)
{
	struct reaper *r = (struct reaper *)((char *)job - offsetof(struct reaper, walk_job));
	struct scan s = { .r = r, .begun_ms = clock_mono_ms() };

	walk_all(&s);
}

/* ---- what could not be read --------------------------------------------------------- */

void reap_read_again(struct reaper *r)
{
	struct dir_stack none;

	lock_take(&r->lock);
	if (r->unread.n > 0 && !r->walking && clock_mono_ms() >= r->read_again_ms) {
		/* nobody walks: nothing is left that moved */
		none = r->moved;
		r->moved = r->unread;
		r->unread = none;
		r->walking = true;
		pool_submit(r->threads, &r->walk_job);
	}
	lock_drop(&r->lock);
}

/* ---- what moved ------------------------------------------------------------------ */

void reaper_moved(struct tier *t, struct node *dir)
{
	struct reaper *r = t->reaper;
	bool noted;

	if (!r)
		return;
	node_ref(dir);
	lock_take(&r->lock);
	noted = dir_stack_push(&r->moved, dir) == 0;
	if (noted && r->started && !r->walking) {
		r->walking = true;
		pool_submit(r->threads, &r->walk_job);
	}
	lock_drop(&r->lock);
	if (!noted)
		node_put(t->tree, dir);
}

static void stack_free(struct tree *tree, struct dir_stack *s)
{
	while (s->n > 0)
		node_put(tree, s->v[--s->n]);
	free(s->v);
}

void reap_scan_free(struct reaper *r)
{
	stack_free(r->t->tree, &r->moved);
	stack_free(r->t->tree, &r->unread);
}
