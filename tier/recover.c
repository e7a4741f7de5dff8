/* SPDX-License-Identifier: MIT */
/*
 * Start-up: what a killed daemon was about to do to the cache.
 *
 *	removal	 the name has the identity the intent holds: remove it.  Anything else
 *		 there is another file, or this one written since: it stays, local, and
 *		 the old version is in the trash.  A directory is compared in full, too:
 *		 one that was made since may have the removed one's inode number.
 *	renaming the source has its identity, and the target is as it was: rename.
 *		 The target is the source: it was done.  So it was, or does no harm, when
 *		 the source is another file and the target is gone from the cache: the row
 *		 is all that the target has.  Else somebody changed the uncovered cache:
 *		 the rows go back where nothing is lost.
 *
 * Always true: nothing is removed whose identity is not the one that was about to
 * be removed; running it twice does no more than once.  Intents are taken in the
 * order they were committed, the archive's are left to archive_recover().
 *
 * The mount comes up whatever the cache says to one intent: where it cannot be looked
 * at, or refuses, the intent is passed by, which the log tells, and kept for the next
 * start.  Only a catalogue that fails refuses the mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/failpoint.h"
#include "tier/intent_json.h"
#include "tier/tier_int.h"

#define RECOVER_PAGE 64

enum now { NOW_GONE, NOW_SAME, NOW_OTHER };

/* What became of an intent; a negative errno is the catalogue's. */
enum outcome {
	SETTLED,   /* it has nothing more to say */
	PASSED_BY, /* it was logged why: to be asked again at the next start */
};

static int dir_of(struct tier *t, const struct intent_place *p)
{
	return cache_open_dir(t->cache, p->dir_path);
}

/* Not there, nor can it be: something else has the name of a directory of its path. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -ENAMETOOLONG;
}

static bool is_same(const struct stat *st, const struct intent_place *p)
{
	struct identity id = cache_identity(st);

	if (S_ISDIR(st->st_mode) || p->is_dir)
		return S_ISDIR(st->st_mode) && p->is_dir && id.ino == p->id.ino;
	return identity_equal(&id, &p->id);
}

/* What the cache has at a place now, compared with what `want` was. */
static int look_now(int dfd, const char *name, const struct intent_place *want, enum now *ret,
		    struct stat *ret_st)
{
	struct stat st;

	int r = failpoint(RECOVER_LOOK);

	if (r < 0)
		return r;
	if (dfd < 0 || fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = dfd < 0 ? dfd : -errno;
		*ret = NOW_GONE;
		return is_gone(r) ? 0 : r;
	}
	*ret = want->there && is_same(&st, want) ? NOW_SAME : NOW_OTHER;
	*ret_st = st;
	return 0;
}

static int removal_passed_by(const struct intent_place *p, int r)
{
	log_error("cannot finish the removal of '%s/%s', during which ebbfs was killed: %s: if it "
		  "is there it stays until the next start; mount again when that is mended, or "
		  "remove it",
		  p->dir_path, p->name, strerror(-r));
	return PASSED_BY;
}

/* 0, or what the cache says. */
static int remove_same(int dfd, const struct intent_place *p)
{
	if (unlinkat(dfd, p->name, p->is_dir ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT) {
		if (errno != ENOTEMPTY && errno != EEXIST)
			return -errno;
		log_warning("directory '%s/%s' was being removed when ebbfs was killed and has "
			    "files now: it stays",
			    p->dir_path, p->name);
	}
	return 0;
}

static int recover_removal(struct tier *t, struct json_object *o)
{
	struct intent_place p;
	AUTO_CLOSE int dfd = -1;
	struct identity id;
	struct stat st;
	enum now now;
	int r;

	r = intent_place_read(o, &p);
	if (r < 0)
		return r;
	dfd = dir_of(t, &p);
	r = look_now(dfd, p.name, &p, &now, &st);
	if (r < 0)
		return removal_passed_by(&p, r);
	if (now != NOW_GONE)
		id = cache_identity(&st);
	if (now == NOW_OTHER || (now == NOW_SAME && !identity_equal(&id, &p.id))) {
		log_warning("'%s/%s' was being removed when ebbfs was killed and is another %s "
			    "now: it stays%s",
			    p.dir_path, p.name, p.is_dir ? "directory" : "file",
			    p.is_dir ? "" : ", the removed version is in the trash");
		return SETTLED;
	}
	r = now == NOW_SAME ? remove_same(dfd, &p) : 0;
	/* Also what was removed before the kill may not be on the disk. */
	if (r == 0 && dfd >= 0 && fsync(dfd) < 0)
		r = -errno;
	return r < 0 ? removal_passed_by(&p, r) : SETTLED;
}

struct back {
	struct json_object *o;
	const struct intent_place *from, *to;
};

static int dir_back(struct tx *tx, const struct back *b)
{
	struct dir_row row;
	int r;

	r = tx_dir_find(tx, intent_int(b->o, "to_id"), b->to->name, &row);
	if (r == 0)
		r = tx_dir_move(tx, row.id, intent_int(b->o, "from_id"), b->from->name);
	return r == -ENOENT || r == -EEXIST ? 0 : r;
}

static int rows_back_run(struct tx *tx, void *arg)
{
	struct back *b = arg;
	int r;

	if (b->from->is_dir && !(intent_int(b->o, "flags") & RENAME_EXCHANGE))
		return dir_back(tx, b);
	if (!intent_int(b->o, "moved"))
		return 0;
	r = tx_file_move(tx, intent_int(b->o, "to_id"), b->to->name, intent_int(b->o, "from_id"),
			 b->from->name);
	return r == -ENOENT || r == -EEXIST ? 0 : r;
}

static int rename_now(int fd, const struct intent_place *from, int td,
		      const struct intent_place *to, unsigned flags)
{
	if (!from->there && (flags & RENAME_EXCHANGE))
		return renameat2(td, to->name, fd, from->name, RENAME_NOREPLACE) < 0 ? -errno : 0;
	if (!from->there)
		return unlinkat(td, to->name, to->is_dir ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
	if (!to->there && (flags & RENAME_EXCHANGE))
		flags = RENAME_NOREPLACE;
	return renameat2(fd, from->name, td, to->name, flags) < 0 ? -errno : 0;
}

static int rename_passed_by(const struct intent_place *from, const struct intent_place *to, int r)
{
	log_error("cannot tell whether '%s/%s' was renamed to '%s/%s' when ebbfs was killed: %s: "
		  "one of the names may show what the other had until that is mended and ebbfs "
		  "mounted again",
		  from->dir_path, from->name, to->dir_path, to->name, strerror(-r));
	return PASSED_BY;
}

static int sync_both(int fd, int td)
{
	if (fd >= 0 && fsync(fd) < 0)
		return -errno;
	return td >= 0 && fsync(td) < 0 ? -errno : 0;
}

static int recover_rename(struct tier *t, struct json_object *o)
{
	struct json_object *jf = NULL, *jt = NULL;
	struct intent_place from, to;
	AUTO_CLOSE int fd = -1;
	AUTO_CLOSE int td = -1;
	bool refused = false;
	struct stat fst, gst;
	enum now f, g;
	int r;

	json_object_object_get_ex(o, "from", &jf);
	json_object_object_get_ex(o, "to", &jt);
	r = intent_place_read(jf, &from);
	if (r == 0)
		r = intent_place_read(jt, &to);
	if (r < 0)
		return r;
	fd = dir_of(t, &from);
	td = dir_of(t, &to);
	r = look_now(fd, from.name, &from, &f, &fst);
	if (r == 0)
		r = look_now(td, to.name, &to, &g, &gst);
	if (r < 0)
		return rename_passed_by(&from, &to, r);

	bool as_before = (from.there ? f == NOW_SAME : f == NOW_GONE) &&
			 (to.there ? g == NOW_SAME : g == NOW_GONE);
	if (as_before && td >= 0) {
		/* A directory that was to be replaced may have names by now, a disk be full. */
		refused = rename_now(fd, &from, td, &to, (unsigned)intent_int(o, "flags")) < 0;
		if (!refused) {
			r = sync_both(fd, td);
			return r < 0 ? rename_passed_by(&from, &to, r) : SETTLED;
		}
	}
	/* It was done, and the source's name was given anew; or that directory is gone. */
	if (f == NOW_OTHER &&
	    (g == NOW_GONE || from.is_dir || (from.there && gst.st_ino == from.id.ino)))
		return SETTLED;
	if (refused || f == NOW_OTHER || (from.there && f == NOW_SAME)) {
		struct back b = { .o = o, .from = &from, .to = &to };

		log_warning("'%s/%s' was being renamed to '%s/%s' when ebbfs was killed and was "
			    "changed since: the renaming is taken back",
			    from.dir_path, from.name, to.dir_path, to.name);
		return catalogue_write(t->cat, SYNC_NORMAL, rows_back_run, &b);
	}
	return SETTLED; /* it was done, or what was done has been changed again since */
}

/* An outcome, -EINVAL: it cannot be read, or the catalogue's error. */
static int recover_one(struct tier *t, const struct intent_row *row)
{
	struct json_object *o;
	int r;

	if (row->kind != INTENT_UNLINK && row->kind != INTENT_RMDIR && row->kind != INTENT_RENAME)
		return SETTLED;
	o = json_tokener_parse(row->payload);
	if (!o)
		return -EINVAL;
	r = row->kind == INTENT_RENAME ? recover_rename(t, o) : recover_removal(t, o);
	json_object_put(o);
	return r;
}

static int forget_run(struct tx *tx, void *arg)
{
	return tx_intent_delete(tx, *(int64_t *)arg);
}

static int recover_page(struct tier *t, struct intent_row *rows, int n)
{
	int r = 0;

	for (int i = 0; i < n && r == 0; i++) {
		if (rows[i].kind == INTENT_ARCHIVE)
			continue;
		r = recover_one(t, &rows[i]);
		if (r == -EINVAL) {
			log_error("cannot read intent %lld: it is forgotten",
				  (long long)rows[i].id);
			r = SETTLED;
		}
		if (r == SETTLED)
			r = catalogue_write(t->cat, SYNC_NORMAL, forget_run, &rows[i].id);
		else if (r == PASSED_BY)
			r = 0;
		if (r == 0)
			r = failpoint(RECOVER_INTENT);
	}
	return r;
}

int intents_recover(struct tier *t)
{
	struct intent_row rows[RECOVER_PAGE];
	int64_t after = 0;
	int n, r;

	do {
		n = cat_intents(t->cat, after, rows, RECOVER_PAGE);
		if (n < 0)
			return n;
		r = recover_page(t, rows, n);
		if (n > 0)
			after = rows[n - 1].id;
		for (int i = 0; i < n; i++)
			intent_row_fini(&rows[i]);
	} while (n > 0 && r == 0);
	return r;
}
