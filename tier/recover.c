/* SPDX-License-Identifier: MIT */
/*
 * Start-up: what a killed daemon was about to do to the cache.
 *
 *	removal	 the name has the identity the intent holds: remove it.  Anything else
 *		 there is another file, or this one written since: it stays, local, and
 *		 the old version is in the trash.  A directory is compared in full, too:
 *		 one that was made since may have the removed one's inode number.
 *	renaming recover_rename.c
 *
 * Always true: nothing is removed whose identity is not the one that was about to
 * be removed; running it twice does no more than once.  Intents are taken in the
 * order they were committed, the archive's are left to archive_recover().
 *
 * The mount comes up whatever the cache says to one intent: where it cannot be asked,
 * or refuses, the intent is passed by, which the log tells, and kept for the next
 * start.  Only a catalogue that fails refuses the mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/failpoint.h"
#include "lib/path.h"
#include "tier/recover_int.h"

#define RECOVER_PAGE 64

/* Once everything was synced, everything that was done before the kill is. */
int recovery_sync(struct recovery *rec, const struct place_now *now)
{
	int r = 0;

	if (rec->n_synced < INTENT_SYNCFS_FROM)
		r = place_sync(now);
	else if (rec->n_synced == INTENT_SYNCFS_FROM && syncfs(cache_root_fd(rec->t->cache)) < 0)
		r = -errno;
	if (r == 0 && rec->n_synced <= INTENT_SYNCFS_FROM)
		rec->n_synced++;
	return r;
}

/* ---- removals ------------------------------------------------------------------- */

static int removal_passed_by(const char *path, int r)
{
	log_error("cannot finish the removal of '%s', during which ebbfs was killed: %s: if it is "
		  "there it stays until the next start; mount again when that is mended, or "
		  "remove it",
		  path, strerror(-r));
	return PASSED_BY;
}

/* 0, or what the cache says. */
static int remove_same(int dfd, const struct intent_place *p, const char *path)
{
	if (unlinkat(dfd, p->name, p->is_dir ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT) {
		if (errno != ENOTEMPTY && errno != EEXIST)
			return -errno;
		log_warning("directory '%s' was being removed when ebbfs was killed and has files "
			    "now: it stays",
			    path);
	}
	return 0;
}

/* One that has a row again was passed by and archived since: then it is there to stay. */
static int has_row(struct tier *t, const struct intent_place *p)
{
	struct file_row file;
	struct dir_row dir;
	int r;

	if (p->dir == 0)
		return 0;
	r = p->is_dir ? cat_dir_find(t->cat, p->dir, p->name, &dir)
		      : cat_file_get(t->cat, p->dir, p->name, &file);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

static int finish_removal(struct recovery *rec, const struct intent_place *p, const char *path,
			  const struct place_now *now)
{
	int r = has_row(rec->t, p);

	if (r < 0)
		return r;
	if (now->there && (r == 1 || !place_is_untouched(p, now))) {
		log_warning("'%s' was being removed when ebbfs was killed and is another %s now: "
			    "it stays%s",
			    path, p->is_dir ? "directory" : "file",
			    p->is_dir ? "" : ", the removed version is in the trash");
		return SETTLED;
	}
	if (now->there) {
		r = remove_same(now->fd, p, path);
		if (r == 0)
			r = place_sync(now);
	} else {
		r = recovery_sync(rec, now);
	}
	return r < 0 ? removal_passed_by(path, r) : SETTLED;
}

static int recover_removal(struct recovery *rec, struct json_object *o)
{
	AUTO_FREE char *path = NULL;
	struct intent_place p;
	struct place_now now;
	int r;

	r = intent_place_read(o, &p);
	if (r < 0)
		return r;
	path = path_join(p.dir_path, p.name);
	if (!path)
		return -ENOMEM;
	r = place_look(rec->t, &p, &now);
	if (r < 0)
		return r;
	r = now.error ? removal_passed_by(path, now.error) : finish_removal(rec, &p, path, &now);
	place_now_fini(&now);
	return r;
}

/* ---- all of them ---------------------------------------------------------------- */

static int recover_one(struct recovery *rec, const struct intent_row *row)
{
	struct json_object *o;
	int r;

	if (row->kind != INTENT_UNLINK && row->kind != INTENT_RMDIR && row->kind != INTENT_RENAME)
		return SETTLED;
	o = json_tokener_parse(row->payload);
	if (!o)
		return -EINVAL;
	r = row->kind == INTENT_RENAME ? recover_rename(rec, row->id, o) : recover_removal(rec, o);
	json_object_put(o);
	return r;
}

static int forget_run(struct tx *tx, void *arg)
{
	return tx_intent_delete(tx, *(int64_t *)arg);
}

static int recover_page(struct recovery *rec, struct intent_row *rows, int n)
{
	int r = 0;

	for (int i = 0; i < n && r == 0; i++) {
		if (rows[i].kind == INTENT_ARCHIVE)
			continue;
		r = recover_one(rec, &rows[i]);
		if (r == -EINVAL) {
			log_error("cannot read intent %lld: it is forgotten",
				  (long long)rows[i].id);
			r = SETTLED;
		}
		if (r == SETTLED)
			r = catalogue_write(rec->t->cat, SYNC_NORMAL, forget_run, &rows[i].id);
		if (r > 0)
			r = 0;
		if (r == 0)
			r = failpoint(RECOVER_INTENT);
	}
	return r;
}

static int recover_pass(struct recovery *rec)
{
	struct intent_row rows[RECOVER_PAGE];
	int64_t after = 0;
	int n, r;

	do {
		n = cat_intents(rec->t->cat, after, rows, RECOVER_PAGE);
		if (n < 0)
			return n;
		r = recover_page(rec, rows, n);
		if (n > 0)
			after = rows[n - 1].id;
		for (int i = 0; i < n; i++)
			intent_row_fini(&rows[i]);
	} while (n > 0 && r == 0);
	return r;
}

/* A renaming can be taken back only after the one that came to its name later. */
int intents_recover(struct tier *t)
{
	struct recovery rec = { .t = t };
	int r;

	do {
		rec.n_back = rec.n_blocked = 0;
		r = recover_pass(&rec);
	} while (r == 0 && rec.n_blocked > 0 && rec.n_back > 0);
	rec.last = true;
	return r == 0 && rec.n_blocked > 0 ? recover_pass(&rec) : r;
}
