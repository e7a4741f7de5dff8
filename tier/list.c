/* SPDX-License-Identifier: MIT */
/*
 * Listing: each name exactly once, whatever archive, release and restore do meanwhile.
 *
 *	rows, in name order  -->  names of the cache  -->  noted names that were
 *	(LIST_ROWS)		  (LIST_SCAN)		   met by neither (LIST_NOTED)
 *
 * Why it is right.  R(n): name n has a row; C(n): it is in the cache; it exists if
 * either.  Whoever changes R(n) says so before the commit and holds the claim of n
 * until it is over (a change); a listing that starts in between learns of it.
 *
 * 1. A name without a record has had the same R(n) since the listing started: a
 *    commit is preceded by the note, and the note makes the record.  R true: the pages
 *    of the first pass hold it, the scan finds a row and skips it.  R false: the first
 *    pass never sees it, and while it exists it is in the cache, so the scan gives it.
 *    The scan reads R, then looks for the record again under the lock: a change in
 *    between is seen.
 * 2. A record has a bit: given or not.  Whoever meets the name gives it if not, and sets
 *    it; so no name with a record is given twice after the record was made.
 * 3. What the bit starts as.  R was constant until then, and is asked of the catalogue
 *    before the commit: true, in the first pass: given if the pass is past n; true, later:
 *    given; false, in the first pass: not given.  A change that was under way when
 *    the listing started: not given, as nothing was.  All these are known.  False, in the
 *    scan: not known, as names come in no order; the scan will meet n if it has not
 *    yet, and gives it then.
 * 4. A known name that is still not given when the scan is over (released before the
 *    scan came by, restored behind it, replaced by a released one) is looked at: if
 *    it exists, it is given.  A look during which a note came in is repeated.
 * 5. A name that is not known stays in the cache until it is released, and before that
 *    the rest of the scan is read into memory; whatever the scan was to meet it still meets.
 * 6. A name that was gone before the start is in no page and no directory entry; a
 *    record of it (unlink under way) gives it only if the look finds it.
 *
 * What the cache file system does with local names that are removed and made
 * again while it is read is its own affair (ext4: at most once).
 */
#include "tier/list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tier/list_int.h"

int listing_open(struct tier *t, struct node *dir, struct listing **ret)
{
	struct listing *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->t = t;
	l->dir = dir;
	l->page_rows = LIST_PAGE_ROWS;
	l->scan_bytes = LIST_SCAN_BYTES;
	scan_init(&l->scan);
	r = watch_listing(t->listings, l);
	if (r < 0) {
		free(l);
		return r;
	}
	node_ref(dir);
	*ret = l;
	return 0;
}

static void free_passes(struct listing *l)
{
	rows_fini(&l->rows);
	scan_fini(&l->scan);
	free(l->noted);
	l->noted = NULL;
	l->seen = (struct row_seen){ 0 };
}

void listing_close(struct listing *l)
{
	if (!l)
		return;
	unwatch_listing(l->t->listings, l);
	free_passes(l);
	for (int i = 0; i < LIST_KEPT; i++)
		free(l->kept[i]);
	node_put(l->t->tree, l->dir);
	free(l);
}

static int restart(struct listing *l)
{
	dirid_t dirid;
	int r;

	free_passes(l);
	l->off = 0;
	l->nnoted = l->noted_at = 0;
	r = listing_begin(l->t->listings, l);
	if (r < 0)
		return r;
	/* only now: rows that come after this have a record */
	r = state_dirid(l->t, l->dir, &dirid);
	if (r == -ENOENT) /* removed while it was open: it is empty */
		dirid = 0;
	else if (r < 0)
		return r;
	return rows_init(&l->rows, dirid, l->page_rows);
}

static void set_phase(struct listing *l, enum list_phase phase)
{
	struct listings *ls = l->t->listings;

	lock_take(&ls->lock);
	l->phase = phase;
	if (phase == LIST_DONE)
		records_free(l);
	lock_drop(&ls->lock);
}

/* ---- the passes -------------------------------------------------------------- */

/* The pass is past the name from here on: a record of it, made before, is not given yet. */
static bool pass_row(struct listing *l, const char *name)
{
	struct listings *ls = l->t->listings;
	struct record *rec;
	bool give;

	lock_take(&ls->lock);
	rec = record_find(l, name);
	/* twice at most when a file's row and a directory's of two moments have the name */
	give = strcmp(name, l->passed) > 0;
	if (give)
		strcpy(l->passed, name);
	if (rec)
		rec->given = true;
	lock_drop(&ls->lock);
	return give;
}

/* -1: no record. */
static int pass_record(struct listing *l, const char *name)
{
	struct listings *ls = l->t->listings;
	struct record *rec;
	int give = -1;

	lock_take(&ls->lock);
	rec = record_find(l, name);
	if (rec) {
		give = !rec->given;
		rec->given = true;
	}
	lock_drop(&ls->lock);
	return give;
}

/* 1: give it; 0; -errno.  *ret: what was read of its row. */
static int pass_scanned(struct listing *l, const char *name, struct row_seen *ret)
{
	int give = pass_record(l, name), has_row = 0;

	if (give >= 0)
		return give;
	/* rows that stayed were met by the first pass: none met, none there */
	if (l->rows.had_any) {
		ret->version = catalogue_version(l->t->cat);
		has_row = list_has_row(l->t, l->dir, name);
		if (has_row < 0)
			return has_row;
		ret->none = !has_row;
		give = pass_record(l, name);
	}
	return give >= 0 ? give : !has_row;
}

/* ---- what neither met ------------------------------------------------------------- */

static int collect_noted(struct listing *l)
{
	struct listings *ls = l->t->listings;
	int r = 0;

	lock_take(&ls->lock);
	l->noted = calloc(l->records.count + 1, sizeof(struct record *));
	if (l->noted)
		l->phase = LIST_NOTED;
	else
		r = -ENOMEM;
	for (uint32_t i = 0; i < l->records.n && l->noted; i++) {
		for (struct tlink *k = table_bucket(&l->records, i); k; k = k->next) {
			struct record *rec = TABLE_ENTRY(k, struct record, link);

			if (rec->known && !rec->given)
				l->noted[l->nnoted++] = rec;
		}
	}
	lock_drop(&ls->lock);
	return r;
}

static uint32_t count_notes(struct listing *l, const struct record *rec)
{
	struct listings *ls = l->t->listings;
	uint32_t n;

	lock_take(&ls->lock);
	n = rec->nnotes;
	lock_drop(&ls->lock);
	return n;
}

/* Records live until the listing is started again, closed or done. */
static int noted_next(struct listing *l, struct list_item *ret)
{
	while (l->noted_at < l->nnoted) {
		struct record *rec = l->noted[l->noted_at];
		uint32_t nnotes = count_notes(l, rec);
		struct state_of s;
		int r;

		r = state_look(l->t, l->dir, rec->name, &s);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r < 0) /* the directory was removed */
			s.state = STATE_NONE;
		if (s.state == STATE_NONE && count_notes(l, rec) != nnotes)
			continue;
		l->noted_at++;
		if (s.state == STATE_NONE)
			continue;
		ret->ino = s.has_row ? s.shown.st_ino : 0;
		ret->type = s.shown.st_mode & S_IFMT;
		strcpy(ret->name, rec->name);
		return 1;
	}
	return 0;
}

/* ---- the whole ---------------------------------------------------------------------- */

static int next_row(struct listing *l, struct list_item *ret)
{
	int r;

	do {
		r = rows_next(&l->rows, l->t->cat, ret);
	} while (r == 1 && !pass_row(l, ret->name));
	if (r == 0) {
		rows_fini(&l->rows);
		set_phase(l, LIST_SCAN);
	}
	return r;
}

static int next_scanned(struct listing *l, struct list_item *ret)
{
	for (;;) {
		struct row_seen seen = { 0 };
		struct scan_name found;
		int r = scan_next(&l->scan, l->t, l->dir, l->scan_bytes, &found);

		if (r == 0)
			r = collect_noted(l);
		else if (r == 1)
			r = pass_scanned(l, found.name, &seen);
		else
			return r;
		if (r < 0 || l->phase != LIST_SCAN)
			return r;
		if (r == 0)
			continue;
		ret->ino = 0;
		ret->type = found.type;
		ret->seen = seen;
		strcpy(ret->name, found.name);
		return 1;
	}
}

/* The next name.  1, 0 at the end, -errno. */
static int next_name(struct listing *l, struct list_item *ret)
{
	int r = 0;

	if (l->phase == LIST_ROWS)
		r = next_row(l, ret);
	if (r == 0 && l->phase == LIST_SCAN)
		r = next_scanned(l, ret);
	if (r == 0 && l->phase == LIST_NOTED) {
		r = noted_next(l, ret);
		if (r == 0)
			set_phase(l, LIST_DONE);
	}
	return r;
}

static void dots(struct listing *l, struct list_item *ret)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent = NULL;

	ret->type = S_IFDIR;
	ret->ino = node_ino(l->dir);
	strcpy(ret->name, l->off == 0 ? "." : "..");
	if (l->off == 1 && node_name(l->t->tree, l->dir, &parent, name) == 0) {
		ret->ino = node_ino(parent);
		node_put(l->t->tree, parent);
	}
}

/* Make the entry at l->off and keep it.  1, 0, -errno. */
static int make_entry(struct listing *l)
{
	struct list_item item = { 0 };
	struct kept *k;
	int r = 1;

	l->seen = item.seen; /* what follows may read the next page over it */

	if (l->off < 2)
		dots(l, &item);
	else
		r = next_name(l, &item);
	if (r <= 0)
		return r;
	k = malloc(sizeof(*k) + strlen(item.name) + 1);
	if (!k)
		return -ENOMEM;
	k->ino = item.ino;
	k->type = item.type;
	strcpy(k->name, item.name);
	free(l->kept[l->off % LIST_KEPT]);
	l->kept[l->off % LIST_KEPT] = k;
	l->seen = item.seen;
	l->off++;
	return 1;
}

/* After an error a name may be lost: the same again, until it starts anew. */
static int make_or_break(struct listing *l)
{
	struct listings *ls = l->t->listings;
	int r, broken;

	lock_take(&ls->lock);
	r = l->broken;
	lock_drop(&ls->lock);
	if (r < 0)
		return r;
	r = make_entry(l);
	lock_take(&ls->lock);
	if (r < 0 && !l->broken)
		l->broken = r;
	broken = l->broken;
	lock_drop(&ls->lock);
	return broken < 0 ? broken : r;
}

/* Under the turn. */
static int entry_at(struct listing *l, uint64_t off, struct list_entry *ret)
{
	const struct kept *k;
	int r = 1;

	if (off == 0) {
		r = restart(l);
		if (r < 0)
			return r;
	}
	if (off > l->off || l->off - off > LIST_KEPT)
		return -EINVAL;
	if (off == l->off) {
		r = make_or_break(l);
		if (r <= 0)
			return r;
	}
	k = l->kept[off % LIST_KEPT];
	ret->off = off + 1;
	ret->ino = k->ino;
	ret->type = k->type;
	strcpy(ret->name, k->name);
	ret->seen = ret->off == l->off ? l->seen : (struct row_seen){ 0 };
	return 1;
}

int listing_next(struct listing *l, uint64_t off, struct list_entry *ret)
{
	struct listings *ls = l->t->listings;
	int r;

	listing_turn(ls, l);
	r = entry_at(l, off, ret);
	listing_turn_end(ls, l);
	return r;
}
