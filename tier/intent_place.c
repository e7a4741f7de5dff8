/* SPDX-License-Identifier: MIT */
/*
 * The places of the cache that intents speak of: noted before the commit, found again at
 * start-up.
 *
 * Always true: a place is that of the directory's row.  Its path at the time may be another
 * directory's now, as the one it was may have been renamed by the next intent.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/failpoint.h"
#include "tier/recover_int.h"

/* ---- noting ------------------------------------------------------------------- */

int intent_name_init(struct tier *t, struct node *parent, const char *name, const struct stat *st,
		     struct intent_name *ret)
{
	struct intent_name n = { .name = name, .st = st };
	int r;

	r = state_dirid(t, parent, &n.dir);
	if (r == 0)
		r = node_path(t->tree, parent, &n.dir_path);
	if (r == 0)
		*ret = n;
	return r;
}

void intent_name_fini(struct intent_name *n)
{
	free(n->dir_path);
	n->dir_path = NULL;
}

/* ---- finding again ------------------------------------------------------------ */

/* Not there, nor can it be: something else has the name of a directory of its path. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -ENAMETOOLONG;
}

/* A descriptor; -ENOENT and the like: it is gone, -errno of the cache.  *ret_r: the catalogue's. */
static int open_dir(struct tier *t, const struct intent_place *p, int *ret_r)
{
	AUTO_FREE char *path = NULL;
	int fd = cache_open_dir(t->cache, p->dir_path);

	*ret_r = 0;
	if (fd >= 0 || !is_gone(fd) || p->dir == 0)
		return fd;
	*ret_r = cat_dir_path(t->cat, p->dir, &path);
	if (*ret_r == -ENOENT)
		*ret_r = 0;
	return path ? cache_open_dir(t->cache, path) : fd;
}

int place_look(struct tier *t, const struct intent_place *p, struct place_now *ret)
{
	int r;

	*ret = (struct place_now){ .fd = -1 };
	ret->error = failpoint(RECOVER_LOOK);
	if (ret->error < 0)
		return 0;
	ret->fd = open_dir(t, p, &r);
	if (r < 0)
		return r;
	if (ret->fd < 0)
		ret->error = ret->fd;
	else if (fstatat(ret->fd, p->name, &ret->st, AT_SYMLINK_NOFOLLOW) < 0)
		ret->error = -errno;
	else
		ret->there = true;
	if (is_gone(ret->error))
		ret->error = 0;
	return 0;
}

void place_now_fini(struct place_now *now)
{
	if (now->fd >= 0)
		close(now->fd);
	now->fd = -1;
}

int place_sync(const struct place_now *now)
{
	return now->fd >= 0 && fsync(now->fd) < 0 ? -errno : 0;
}

/* ---- comparing ---------------------------------------------------------------- */

static bool is_number(const struct intent_place *p, const struct place_now *now)
{
	return p->there && now->there && now->st.st_ino == p->id.ino &&
	       (S_ISDIR(now->st.st_mode) != 0) == p->is_dir;
}

bool place_is_untouched(const struct intent_place *p, const struct place_now *now)
{
	struct identity id = cache_identity(&now->st);

	return is_number(p, now) && identity_equal(&id, &p->id);
}

bool place_is_object(const struct intent_place *p, const struct place_now *now, bool stayed)
{
	if (!stayed || p->is_dir)
		return is_number(p, now);
	return place_is_untouched(p, now);
}
