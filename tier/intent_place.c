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
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/path.h"
#include "tier/recover_int.h"

/* Of a name of dfd, or of dfd itself where it is "".  0 or -errno. */
static int birth_of(int dfd, const char *name, struct birth *ret)
{
	struct statx stx;

	if (statx(dfd, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) <
	    0)
		return -errno;
	*ret = (struct birth){ .ino = stx.stx_ino };
	if (stx.stx_mask & STATX_BTIME)
		ret->born_ns = stx.stx_btime.tv_sec * NSEC_PER_SEC + stx.stx_btime.tv_nsec;
	return 0;
}

/* When the object was born that st tells of; 0: not known, or it is another one by now. */
static int64_t born_of(int dfd, const char *name, const struct stat *st)
{
	struct birth birth;

	return birth_of(dfd, name, &birth) == 0 && birth.ino == st->st_ino ? birth.born_ns : 0;
}

static bool may_be_same(int64_t born_a, int64_t born_b)
{
	return born_a == 0 || born_b == 0 || born_a == born_b;
}

/* ---- noting ------------------------------------------------------------------- */

static int note_births(struct tier *t, struct node *parent, struct intent_name *n)
{
	struct dirfd *d;
	int r = cache_dir(t->cache, parent, &d);

	if (r < 0)
		return r == -ENOENT ? 0 : r; /* released: nothing is there to be noted */
	r = birth_of(dirfd_fd(d), "", &n->dir_birth);
	if (n->st)
		n->born_ns = born_of(dirfd_fd(d), n->name, n->st);
	cache_dir_put(t->cache, d);
	return r;
}

int intent_name_init(struct tier *t, struct node *parent, const char *name, const struct stat *st,
		     struct intent_name *ret)
{
	struct intent_name n = { .name = name, .st = st };
	int r;

	r = state_dirid(t, parent, &n.dir);
	if (r == 0)
		r = note_births(t, parent, &n);
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
	return path_is_gone(r) || r == -ENAMETOOLONG;
}

/* Is it the directory that was noted?  Also where none was. */
static bool is_noted(int fd, const struct birth *want)
{
	struct birth now;

	if (want->ino == 0)
		return true;
	return birth_of(fd, "", &now) == 0 && now.ino == want->ino &&
	       may_be_same(now.born_ns, want->born_ns);
}

/*
 * *ret: a descriptor or -errno of the cache.  By the path at the time, if that is the
 * directory still; else by the path of its row, where its files are looked for from now on.
 */
static int open_dir(struct tier *t, const struct intent_place *p, int *ret)
{
	AUTO_CLOSE int then = cache_open_dir(t->cache, p->dir_path);
	AUTO_FREE char *path = NULL;
	int r = -ENOENT;

	if (p->dir != 0 && (then >= 0 ? !is_noted(then, &p->dir_birth) : is_gone(then)))
		r = cat_dir_path(t->cat, p->dir, &path);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret = r == 0 ? cache_open_dir(t->cache, path) : then >= 0 ? TAKE_FD(then) : then;
	return 0;
}

int place_look(struct tier *t, const struct intent_place *p, struct place_now *ret)
{
	int fd = -1, r;

	*ret = (struct place_now){ .fd = -1 };
	ret->error = failpoint(RECOVER_LOOK);
	if (ret->error < 0)
		return 0;
	r = open_dir(t, p, &fd);
	if (r < 0)
		return r;
	if (fd < 0)
		ret->error = fd;
	else if (fstatat(fd, p->name, &ret->st, AT_SYMLINK_NOFOLLOW) < 0)
		ret->error = -errno;
	else
		ret->there = true;
	ret->fd = fd < 0 ? -1 : fd;
	if (ret->there)
		ret->born_ns = born_of(fd, p->name, &ret->st);
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
	       (S_ISDIR(now->st.st_mode) != 0) == p->is_dir &&
	       may_be_same(now->born_ns, p->born_ns);
}

bool place_is_untouched(const struct intent_place *p, const struct place_now *now)
{
	struct identity id = cache_identity(&now->st);

	return is_number(p, now) && identity_equal(&id, &p->id);
}

bool place_is_object(const struct intent_place *p, const struct place_now *now, bool stayed)
{
	bool born = p->born_ns != 0 && now->born_ns != 0;

	return born || !stayed || p->is_dir ? is_number(p, now) : place_is_untouched(p, now);
}
