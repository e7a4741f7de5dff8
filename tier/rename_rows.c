/* SPDX-License-Identifier: MIT */
/*
 * The rows of a renaming: forth, and back.
 *
 *	source's row	 goes to the target's name
 *	replaced row	 a file's to the trash; a directory's, below which nothing is, into the
 *			 record
 *	exchange	 both rows change places
 *
 * Forth notes in a record what it did.  Back needs nothing else, so that a refused renaming
 * is taken back alike whether the daemon that refused it or the next one does so.
 *
 * Always true: back moves what forth moved: a file's row while it lies where forth put it,
 * a directory's wherever it is, and only if the way is free.  Otherwise others have gone on
 * from there, and nothing is touched.  Who was told of a file is told each time where it is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tier/rename_int.h"

/* ---- moving a row ------------------------------------------------------------- */

struct way {
	struct tier *t;
	struct tx *tx;
	bool back; /* the name that a row leaves was never replied: sinks need not hear of it */
};

static int tell_moved(const struct way *w, const struct file_row *old, const struct row_place *from,
		      const struct row_place *to)
{
	struct file_row now;
	int r = 0;

	if (!old->told)
		return 0;
	if (!w->back)
		r = rows_event(w->t, w->tx, old, from->path, EVENT_REMOVED);
	if (r == 0)
		r = tx_file_get(w->tx, to->dir, to->name, &now);
	return r < 0 ? r : rows_event(w->t, w->tx, &now, to->path, EVENT_ARCHIVED);
}

static int move_row(const struct way *w, const struct row_ref *row, const struct row_place *from,
		    const struct row_place *to)
{
	struct file_row old;
	int r;

	if (row->kind == REF_NONE)
		return 0;
	if (row->kind == REF_DIR)
		return tx_dir_move(w->tx, (dirid_t)row->id, to->dir, to->name);
	r = tx_file_get(w->tx, from->dir, from->name, &old);
	if (r == 0)
		r = tx_file_move(w->tx, from->dir, from->name, to->dir, to->name);
	return r < 0 ? r : tell_moved(w, &old, from, to);
}

static int swap_files(const struct way *w, const struct row_place *p, const struct row_place *q)
{
	struct file_row at_p, at_q;
	int r;

	r = tx_file_get(w->tx, p->dir, p->name, &at_p);
	if (r == 0)
		r = tx_file_get(w->tx, q->dir, q->name, &at_q);
	if (r == 0)
		r = tx_file_swap(w->tx, p->dir, p->name, q->dir, q->name);
	if (r == 0)
		r = tell_moved(w, &at_p, p, q);
	return r < 0 ? r : tell_moved(w, &at_q, q, p);
}

/* "" is no name a user can give: room for one of two directories that change places. */
static int swap_dirs(const struct way *w, const struct row_place *p, dirid_t at_p,
		     const struct row_place *q, dirid_t at_q)
{
	int r = tx_dir_move(w->tx, at_p, p->dir, "");

	if (r == 0)
		r = tx_dir_move(w->tx, at_q, p->dir, p->name);
	return r < 0 ? r : tx_dir_move(w->tx, at_p, q->dir, q->name);
}

static int swap_rows(const struct way *w, const struct row_place *p, const struct row_ref *at_p,
		     const struct row_place *q, const struct row_ref *at_q)
{
	int r;

	if (at_p->kind == REF_FILE && at_q->kind == REF_FILE)
		return swap_files(w, p, q);
	if (at_p->kind == REF_DIR && at_q->kind == REF_DIR)
		return swap_dirs(w, p, (dirid_t)at_p->id, q, (dirid_t)at_q->id);
	r = move_row(w, at_p, p, q);
	return r < 0 ? r : move_row(w, at_q, q, p);
}

/* ---- forth ---------------------------------------------------------------------- */

static int replaced_file_leaves(struct moving *m, struct tx *tx)
{
	struct side *b = &m->b;
	struct file_row row;
	int r;

	r = tx_file_get(tx, b->dirid, b->name, &row);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return rows_to_trash(m->t, tx, &row, b->path,
			     b->look.state == STATE_CHANGED ? TRASH_UNSEEN : TRASH_REPLACED,
			     m->a.look.has_row ? 0 : EVENT_LOCAL, &m->done.trash);
}

static int replace_rows(struct moving *m, struct tx *tx)
{
	struct rename_record *done = &m->done;
	struct way w = { .t = m->t, .tx = tx };
	int r = 0;

	if (done->to_row.kind == REF_FILE)
		r = replaced_file_leaves(m, tx);
	if (done->to_row.kind == REF_DIR) {
		done->to_dir = m->b.look.dir_row;
		r = tx_dir_delete(tx, done->to_dir.id);
	}
	return r < 0 ? r : move_row(&w, &done->from_row, &done->from, &done->to);
}

static struct row_ref row_of(const struct side *s)
{
	if (!s->look.has_row)
		return (struct row_ref){ .kind = REF_NONE };
	if (s->look.is_dir)
		return (struct row_ref){ REF_DIR, (uint64_t)s->look.dir_row.id, 0 };
	return (struct row_ref){ REF_FILE, s->look.row.ino, s->look.row.attempt };
}

static struct row_place place_of(const struct side *s)
{
	return (struct row_place){ .dir = s->dirid, .name = s->name, .path = s->path };
}

int rename_rows_run(struct tx *tx, void *arg)
{
	struct moving *m = arg;
	struct rename_record *done = &m->done;
	struct way w = { .t = m->t, .tx = tx };
	char *payload;
	int r;

	*done = (struct rename_record){
		.flags = m->flags,
		.from = place_of(&m->a),
		.to = place_of(&m->b),
		.from_row = row_of(&m->a),
		.to_row = row_of(&m->b),
	};
	if (m->flags & RENAME_EXCHANGE)
		r = swap_rows(&w, &done->from, &done->from_row, &done->to, &done->to_row);
	else
		r = replace_rows(m, tx);
	if (r < 0 || !m->in_cache)
		return r;
	payload = intent_rename_payload(&m->from, &m->to, done);
	if (!payload)
		return -ENOMEM;
	r = tx_intent_put(tx, INTENT_RENAME, payload, &m->intent);
	free(payload);
	return r;
}

/* ---- back ----------------------------------------------------------------------- */

/* attempt: of a file; an archived file's next version has the number of this one. */
static bool is_wanted(const struct row_ref *want, enum ref_kind kind, uint64_t id, uint64_t attempt)
{
	return (want->kind == kind || want->kind == REF_ANY) && (!want->id || want->id == id) &&
	       (!want->attempt || want->attempt == attempt);
}

/* A directory's row that is known by its id, wherever it is; else the one at the place. */
static int find_dir(struct tx *tx, const struct row_ref *want, const struct row_place *at,
		    struct dir_row *ret)
{
	return want->kind == REF_DIR && want->id ? tx_dir_get(tx, (dirid_t)want->id, ret)
						 : tx_dir_find(tx, at->dir, at->name, ret);
}

/* What forth put at this place.  -ENOENT: it was something, and is not there any more. */
static int find_row(struct tx *tx, const struct row_ref *want, const struct row_place *at,
		    struct row_ref *ret)
{
	struct file_row file;
	struct dir_row dir;
	int r;

	*ret = (struct row_ref){ .kind = REF_NONE };
	if (want->kind == REF_NONE)
		return 0;
	if (want->kind != REF_DIR) {
		r = tx_file_get(tx, at->dir, at->name, &file);
		if (r == 0 && is_wanted(want, REF_FILE, file.ino, file.attempt))
			*ret = (struct row_ref){ REF_FILE, file.ino, file.attempt };
		if (r < 0 && r != -ENOENT)
			return r;
	}
	if (want->kind != REF_FILE && ret->kind == REF_NONE) {
		r = find_dir(tx, want, at, &dir);
		if (r == 0 && is_wanted(want, REF_DIR, (uint64_t)dir.id, 0))
			*ret = (struct row_ref){ REF_DIR, (uint64_t)dir.id, 0 };
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return ret->kind == REF_NONE && want->kind != REF_ANY ? -ENOENT : 0;
}

/* 0; -EEXIST: another row has the place; -ENOENT: its directory has no row. */
static int is_free(struct tx *tx, const struct row_place *at)
{
	struct file_row file;
	struct dir_row dir;
	int r = tx_dir_get(tx, at->dir, &dir);

	if (r < 0)
		return r;
	r = tx_file_get(tx, at->dir, at->name, &file);
	if (r == -ENOENT)
		r = tx_dir_find(tx, at->dir, at->name, &dir);
	return r == 0 ? -EEXIST : r == -ENOENT ? 0 : r;
}

/* Others have gone on with the rows: what is there now is theirs. */
static bool is_others(int r)
{
	return r == -ENOENT || r == -EEXIST || r == -EINVAL || r == -ENOTEMPTY;
}

/* The trash may have been emptied since, or what is in it be condemned: then it is gone. */
static int file_from_trash(struct tier *t, struct tx *tx, int64_t id)
{
	struct trash_row trash;
	bool condemned;
	int r = tx_trash_get(tx, id, &trash);

	if (r < 0)
		return r;
	condemned = trash.reason == TRASH_ORPHAN;
	trash_row_fini(&trash);
	return condemned ? -ENOENT : rows_from_trash(t, tx, id);
}

static int replaced_comes_back(struct tier *t, struct tx *tx, const struct rename_record *done)
{
	struct dir_row dir = done->to_dir;
	int r = is_free(tx, &done->to);

	if (r == 0 && dir.id)
		r = tx_dir_put(tx, &dir);
	else if (r == 0 && done->trash)
		r = file_from_trash(t, tx, done->trash);
	return is_others(r) ? 0 : r;
}

static int replace_back(struct tier *t, struct tx *tx, const struct rename_record *done, bool *ret)
{
	struct way w = { .t = t, .tx = tx, .back = true };
	struct row_ref row;
	int r;

	r = find_row(tx, &done->from_row, &done->to, &row);
	if (r == 0 && row.kind != REF_NONE)
		r = is_free(tx, &done->from);
	if (r == 0)
		r = move_row(&w, &row, &done->to, &done->from);
	if (r < 0)
		return is_others(r) ? 0 : r;
	*ret = true;
	return replaced_comes_back(t, tx, done);
}

static bool is_at(struct tx *tx, const struct row_ref *row, const struct row_place *at)
{
	struct dir_row dir;

	return row->kind != REF_DIR ||
	       (tx_dir_find(tx, at->dir, at->name, &dir) == 0 && dir.id == (dirid_t)row->id);
}

static int swap_back(struct tier *t, struct tx *tx, const struct rename_record *done, bool *ret)
{
	struct way w = { .t = t, .tx = tx, .back = true };
	struct row_ref a, b;
	int r;

	r = find_row(tx, &done->from_row, &done->to, &a);
	if (r == 0)
		r = find_row(tx, &done->to_row, &done->from, &b);
	if (r == 0 && (!is_at(tx, &a, &done->to) || !is_at(tx, &b, &done->from)))
		r = -ENOENT;
	if (r == 0 && b.kind == REF_NONE && a.kind != REF_NONE)
		r = is_free(tx, &done->from);
	if (r == 0 && a.kind == REF_NONE && b.kind != REF_NONE)
		r = is_free(tx, &done->to);
	if (r < 0)
		return is_others(r) ? 0 : r;
	*ret = true;
	return swap_rows(&w, &done->from, &b, &done->to, &a);
}

int rename_rows_back(struct tier *t, struct tx *tx, const struct rename_record *done, bool *ret)
{
	*ret = false;
	return done->flags & RENAME_EXCHANGE ? swap_back(t, tx, done, ret)
					     : replace_back(t, tx, done, ret);
}

int rename_rows_undo(struct tx *tx, void *arg)
{
	struct moving *m = arg;
	bool back;
	int r = rename_rows_back(m->t, tx, &m->done, &back);

	return r < 0 ? r : tx_intent_delete(tx, m->intent);
}
