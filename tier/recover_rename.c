/* SPDX-License-Identifier: MIT */
/*
 * Start-up: renamings a killed daemon was about to do.
 *
 * The rows are moved, and whether the cache is was never replied where it is not.  So
 * the cache is asked, and the rows follow it: they stay as they are, or are taken back.
 *
 * Always true: nothing in the cache changes.  What was to be replaced stays, may it have been
 * written to; a renaming that users were told had failed, although its rows could not be
 * taken back then, is not done behind their backs; and no cache can refuse.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/path.h"
#include "tier/recover_int.h"

/*
 *	source's   target's name now has
 *	name has   | source   | target   | nothing  | another
 *	-----------+----------+----------+----------+-----------
 *	source	   | stands   | back     | back     | back
 *	target	   | stands   | stands * | stands * | stands *	* exchanged; else as another
 *	nothing	   | stands   | back     | stands   | stands (1)
 *	another	   | stands   | back     | stands(2)| stands
 *
 * Where neither is found, they were changed again after it was done.  But what was released
 * has nothing but a row, which must not stay where another file hides it while the
 * name it had is free: (1) back if the source was released, (2) of an exchange, back if
 * the target was.
 */
bool rename_stands(const struct rename_now *now)
{
	if (now->to == NAME_SOURCE || (now->exchange && now->from == NAME_TARGET))
		return true;
	if (now->from == NAME_SOURCE || now->to == NAME_TARGET)
		return false;
	if (now->source_released && now->from == NAME_FREE && now->to == NAME_OTHER)
		return false;
	return !(now->exchange && now->target_released && now->to == NAME_FREE &&
		 now->from == NAME_OTHER);
}

struct renaming {
	struct recovery *rec;
	struct tier *t;
	int64_t intent;
	struct intent_place from, to;
	struct place_now from_now, to_now;
	struct rename_record done;
	bool back; /* out */
};

/* ---- what the names have now ---------------------------------------------------- */

/* Does the row of this name stand for what the cache has?  1, 0 or the catalogue's error. */
static int fits_its_row(struct tier *t, const struct row_place *at, const struct stat *st)
{
	struct file_row file;
	struct dir_row dir;
	int r;

	if (at->dir == 0)
		return 0;
	r = S_ISDIR(st->st_mode) ? cat_dir_find(t->cat, at->dir, at->name, &dir)
				 : cat_file_get(t->cat, at->dir, at->name, &file);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* A restored copy has the size and the time of the row, whatever its number is. */
	return S_ISDIR(st->st_mode) ||
	       (S_ISREG(st->st_mode) && (uint64_t)st->st_size == file.attr.size &&
		ts_to_ns(st->st_mtim) == file.attr.mtime_ns);
}

static int what_has(const struct renaming *m, const struct place_now *now, enum name_now *ret)
{
	bool at_from = now == &m->from_now;
	int r;

	if (!now->there) {
		*ret = NAME_FREE;
	} else if (place_is_object(&m->from, now, at_from)) {
		*ret = NAME_SOURCE;
	} else if (place_is_object(&m->to, now, !at_from)) {
		*ret = NAME_TARGET;
	} else {
		r = fits_its_row(m->t, at_from ? &m->done.from : &m->done.to, &now->st);
		if (r < 0)
			return r;
		*ret = r ? NAME_FREE : NAME_OTHER;
	}
	return 0;
}

/* 1: it stands, 0: not; or the catalogue's error. */
static int decide(const struct renaming *m)
{
	struct rename_now now = {
		.exchange = m->done.flags & RENAME_EXCHANGE,
		.source_released = !m->from.there,
		.target_released = !m->to.there,
	};
	int r;

	r = what_has(m, &m->from_now, &now.from);
	if (r == 0)
		r = what_has(m, &m->to_now, &now.to);
	return r < 0 ? r : rename_stands(&now);
}

/* ---- what becomes of it --------------------------------------------------------- */

static int pass_by(const struct renaming *m, int r)
{
	log_error("cannot tell whether '%s' was renamed to '%s' when ebbfs was killed: %s: one of "
		  "the names may show what the other had until that is mended and ebbfs is "
		  "mounted again",
		  m->done.from.path, m->done.to.path, strerror(-r));
	return PASSED_BY;
}

/* Its rows may stand for the wrong files: nothing is to believe them, or to empty the trash. */
static int leave_undecided(const struct renaming *m, int r)
{
	catalogue_set_readonly(m->t->cat, "it may not agree with the cache until ebbfs is mounted "
					  "again");
	return pass_by(m, r);
}

static int back_run(struct tx *tx, void *arg)
{
	struct renaming *m = arg;
	int r = rename_rows_back(m->t, tx, &m->done, &m->back);

	return r < 0 || !m->back ? r : tx_intent_delete(tx, m->intent);
}

/* With the intent, in one commit: who is killed here does it again or not at all. */
static int take_back(struct renaming *m)
{
	int r = catalogue_write(m->t->cat, SYNC_NORMAL, back_run, m);

	if (r == -EINVAL) /* a directory would be below itself */
		m->back = false;
	else if (r < 0)
		return r;
	if (m->back) {
		m->rec->n_back++;
		log_info("'%s' was being renamed to '%s' when ebbfs was killed: that is taken back",
			 m->done.from.path, m->done.to.path);
		return FORGOTTEN;
	}
	m->rec->n_blocked++;
	if (!m->rec->last)
		return BLOCKED;
	log_warning("'%s' was being renamed to '%s' when ebbfs was killed, and others have gone on "
		    "with these names: they stay as they are",
		    m->done.from.path, m->done.to.path);
	return SETTLED;
}

static int follow_cache(struct renaming *m)
{
	int r;

	r = place_look(m->t, &m->from, &m->from_now);
	if (r == 0)
		r = place_look(m->t, &m->to, &m->to_now);
	if (r < 0)
		return r;
	if (m->from_now.error || m->to_now.error)
		return leave_undecided(m, m->from_now.error ? m->from_now.error : m->to_now.error);
	r = decide(m);
	if (r < 0)
		return r;
	if (r == 0)
		return take_back(m);
	r = recovery_sync(m->rec, &m->from_now);
	if (r == 0)
		r = recovery_sync(m->rec, &m->to_now);
	return r < 0 ? pass_by(m, r) : SETTLED;
}

int recover_rename(struct recovery *rec, int64_t intent, struct json_object *o)
{
	struct renaming m = {
		.rec = rec,
		.t = rec->t,
		.intent = intent,
		.from_now.fd = -1,
		.to_now.fd = -1,
	};
	AUTO_FREE char *from = NULL, *to = NULL;
	int r;

	r = intent_rename_read(o, &m.from, &m.to, &m.done);
	if (r < 0)
		return r;
	m.done.from.path = from = path_join(m.from.dir_path, m.from.name);
	m.done.to.path = to = path_join(m.to.dir_path, m.to.name);
	r = from && to ? follow_cache(&m) : -ENOMEM;
	place_now_fini(&m.from_now);
	place_now_fini(&m.to_now);
	return r;
}
