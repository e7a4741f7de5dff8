/* SPDX-License-Identifier: MIT */
/*
 * Rewriting a pack: what is alive in it goes to a new one.
 *
 *	old read, compared -> its lines lead to rows -> intent -> new pack put, proved
 *		|	-> one transaction: rows moved, the old one loses them
 *		|	'--it fails: the new one is a pack with no file alive
 *		'--missing, damaged: said, left alone
 *
 * Always true: a row moves only if it is still where it was found, in the transaction
 * that makes the new pack; whoever opened the old one goes on reading it, as it is
 * dropped only when nobody does.  Nobody is asked: names and claims are not touched, and
 * what puts a row into the trash takes its place from the row as it is then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/failpoint.h"
#include "lib/path.h"
#include "tier/pack.h"
#include "tier/tier_int.h"

#define PAGE 64
#define SAME_MAX 16 /* rows that one line of a pack can stand for: one, after all */

/* ---- what is alive ----------------------------------------------------------------- */

struct live {
	struct live *next;
	dirid_t dir; /* a row; 0: in the trash */
	char *name;  /* owned */
	int64_t trash;
	uint64_t attempt, off, size, new_off;
	struct pack_line line; /* path is owned here */
};

/* Where a trash row is in the old pack. */
struct place {
	struct place *next;
	struct trash_row row; /* owned */
};

struct rewriting {
	struct tier *t;
	struct pack_row old, new;
	struct place *trash;
	void *bytes; /* owned: the old pack */
	struct live *first, **last;
	char *key; /* owned: the new pack's */
	char attempt[STORE_ATTEMPT_MAX];
	void *data; /* owned: the new pack */
	size_t room;
	struct receipt *receipt; /* owned */
	int64_t intent;
	bool told;    /* events were queued */
	bool full;    /* the store, when it began */
	bool refused; /* it said that it has no room, or was given up as it has none */
};

static int add_live(struct rewriting *w, const struct pack_line *line, const struct file_row *row,
		    int64_t trash)
{
	struct live *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	*l = (struct live){ .dir = trash ? 0 : row->dir,
			    .name = strdup(row->name),
			    .trash = trash,
			    .attempt = row->attempt,
			    .off = row->pack_off,
			    .size = row->attr.size,
			    .line = *line };
	l->line.path = strdup(line->path);
	l->line.crc32c = row->crc32c;
	*w->last = l;
	w->last = &l->next;
	return l->name && l->line.path ? 0 : -ENOMEM;
}

static bool is_there(const struct rewriting *w, const struct file_row *row,
		     const struct pack_line *line)
{
	return row->object == ROW_OBJECT_PACK && row->pack == w->old.id &&
	       row->pack_off == line->offset && row->attr.size == line->size &&
	       row->pack_off + row->attr.size <= w->old.data_bytes;
}

static const char *packed_name(const struct file_row *row)
{
	return row->objname[0] ? row->objname : row->name;
}

static int find_rows(const struct pack_line *line, void *arg)
{
	struct rewriting *w = arg;
	struct file_row rows[SAME_MAX];
	const char *name = path_name(line->path);
	int n, r = 0;

	for (const struct place *p = w->trash; p && r == 0; p = p->next)
		if (is_there(w, &p->row.file, line) && strcmp(packed_name(&p->row.file), name) == 0)
			r = add_live(w, line, &p->row.file, p->row.id);
	if (r < 0)
		return r;
	n = cat_pack_files(w->t->cat, w->old.id, name, rows, SAME_MAX);
	for (int i = 0; i < n && r == 0; i++)
		if (is_there(w, &rows[i], line))
			r = add_live(w, line, &rows[i], 0);
	return n < 0 ? n : r;
}

static int load_trash(struct rewriting *w)
{
	struct trash_row rows[PAGE];
	int64_t after = 0;
	int n, r = 0;

	do {
		n = cat_pack_trash(w->t->cat, w->old.id, after, rows, PAGE);
		for (int i = 0; i < n; i++) {
			struct place *p = calloc(1, sizeof(*p));

			after = rows[i].id;
			if (!p) {
				trash_row_fini(&rows[i]);
				r = -ENOMEM;
				continue;
			}
			p->row = rows[i];
			p->next = w->trash;
			w->trash = p;
		}
	} while (n == PAGE && r == 0);
	return n < 0 ? n : r;
}

/* Said: -EBADMSG. */
static int damaged(struct rewriting *w, const char *why)
{
	AUTO_FREE char *key = object_pack_key(w->t, w->old.id);

	log_error("cannot rewrite '%s': %s: look at its files with ebbctl verify", key ? key : "?",
		  why);
	return -EBADMSG;
}

static int read_old(struct rewriting *w)
{
	AUTO_FREE char *key = object_pack_key(w->t, w->old.id);
	size_t len;
	int r;

	if (!key)
		return -ENOMEM;
	r = store_get_all_wait(w->t->store, key, w->old.size_bytes, &w->bytes, &len);
	if (r == -ENOMEM || r == -ETIMEDOUT)
		return r;
	if (r < 0)
		return damaged(w, r == -ENOENT ? "it is missing in the store" : strerror(-r));
	if (len != w->old.size_bytes || w->old.data_bytes > len ||
	    crc32c(0, w->bytes, len) != w->old.crc32c)
		return damaged(w, "its bytes are not those that were archived");
	r = load_trash(w);
	if (r == 0)
		r = pack_lines((const char *)w->bytes + w->old.data_bytes, len - w->old.data_bytes,
			       find_rows, w);
	if (r == -EBADMSG)
		return damaged(w, "its lines cannot be read");
	if (r == 0 && !w->first)
		return damaged(w, "none of its lines leads to the files that are alive");
	return r;
}

/* ---- the new pack ------------------------------------------------------------------- */

static int fill_new(struct rewriting *w)
{
	uint64_t len = 0;
	int r = 0;

	for (struct live *l = w->first; l; l = l->next)
		w->new.data_bytes += l->size;
	w->room = w->new.data_bytes + 1;
	w->data = malloc(w->room);
	if (!w->data)
		return -ENOMEM;
	for (struct live *l = w->first; l; l = l->next) {
		memcpy((char *)w->data + len, (const char *)w->bytes + l->off, l->size);
		if (crc32c(0, (char *)w->data + len, l->size) != l->line.crc32c)
			return damaged(w, "a file's checksum is not that of its bytes");
		l->new_off = l->line.offset = len;
		len += l->size;
	}
	for (struct live *l = w->first; l && r == 0; l = l->next)
		r = pack_line_append(&l->line, (char **)&w->data, &len, &w->room);
	w->new.size_bytes = len;
	w->new.crc32c = crc32c(0, w->data, len);
	return r;
}

static int intent_run(struct tx *tx, void *arg)
{
	struct rewriting *w = arg;
	char payload[128];

	snprintf(payload, sizeof(payload),
		 "{\"path\":\"\",\"dir\":%d,\"packs\":[%" PRIu64 "],\"files\":[]}", ROW_ROOT_DIR,
		 w->new.id);
	return tx_intent_put(tx, INTENT_ARCHIVE, payload, &w->intent);
}

static int write_new(struct rewriting *w)
{
	struct store_attrs attrs = { .attempt = w->attempt, .even_full = w->full };
	struct receipt_want want = { .attempt = w->attempt };
	int r = catalogue_next_number(w->t->cat, &w->new.id);

	if (r < 0)
		return r;
	r = catalogue_write(w->t->cat, SYNC_FULL, intent_run, w);
	if (r < 0) {
		w->intent = 0; /* the id may be another's next */
		archive_note_unfinished(w->t, w->new.id);
	}
	if (r == 0)
		r = failpoint(PACK_INTENT);
	if (r < 0)
		return r;
	w->key = object_pack_key(w->t, w->new.id);
	if (!w->key)
		return -ENOMEM;
	object_attempt(w->t, w->new.id, w->attempt, sizeof(w->attempt));
	attrs.path = want.key = w->key;
	attrs.crc32c = want.crc32c = w->new.crc32c;
	want.size = w->new.size_bytes;
	r = store_put_wait(w->t->store, w->key, w->data, w->new.size_bytes, &attrs);
	w->refused = r == -ENOSPC || r == -EDQUOT;
	if (r == 0)
		r = failpoint(PACK_PUT);
	if (r == 0)
		r = store_prove_wait(w->t->store, &want, &w->receipt);
	/* logged where it was found; it is not the old one that is damaged */
	return r == -EBADMSG || r == -ESTALE || r == -ENOENT ? -EIO : r;
}

/* ---- rows move ------------------------------------------------------------------------- */

static bool url_names_object(const struct conf *conf)
{
	return !conf->url_template[0] || strstr(conf->url_template, "{object}");
}

static int move_file(struct rewriting *w, const struct live *l, struct tx *tx)
{
	struct file_row row;
	int r = tx_file_get(tx, l->dir, l->name, &row);

	if (r == -ENOENT || (r == 0 && (row.attempt != l->attempt || row.pack != w->old.id ||
					row.pack_off != l->off)))
		return 0;
	if (r < 0)
		return r;
	row.pack = w->new.id;
	row.pack_off = l->new_off;
	r = tx_file_put(tx, &row);
	if (r == 0 && row.told && url_names_object(w->t->conf)) {
		r = rows_event(w->t, tx, &row, NULL, EVENT_ARCHIVED);
		w->told = true;
	}
	return r < 0 ? r : 1;
}

static int move_trash(struct rewriting *w, const struct live *l, struct tx *tx)
{
	struct trash_row row;
	int r = tx_trash_get(tx, l->trash, &row);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	trash_row_fini(&row);
	if (row.file.attempt != l->attempt || row.file.pack != w->old.id ||
	    row.file.pack_off != l->off)
		return 0;
	r = tx_trash_locate(tx, l->trash, w->new.id, l->new_off);
	return r < 0 ? r : 1;
}

static int move_run(struct tx *tx, void *arg)
{
	struct rewriting *w = arg;
	int64_t grace_ns = w->full ? 0 : w->t->conf->trash_grace * 1000000;
	int64_t due = clock_real_ns() + (grace_ns > PACK_GRACE_NS ? grace_ns : PACK_GRACE_NS);
	int r = 0;

	w->new.files = w->new.live_bytes = 0;
	for (struct live *l = w->first; l && r >= 0; l = l->next) {
		r = l->dir ? move_file(w, l, tx) : move_trash(w, l, tx);
		if (r > 0) {
			w->new.files++;
			w->new.live_bytes += (int64_t)l->size;
		}
	}
	w->new.due_ns = w->new.files ? 0 : due;
	if (r >= 0)
		r = tx_pack_put(tx, &w->new);
	if (r == 0 && w->new.files)
		r = tx_pack_lose(tx, w->old.id, w->new.files, w->new.live_bytes, due);
	return r < 0 ? r : tx_intent_delete(tx, w->intent);
}

static int abandon_run(struct tx *tx, void *arg)
{
	struct rewriting *w = arg;
	int64_t grace_ns = w->refused ? PACK_GRACE_NS : w->t->conf->trash_grace * 1000000;
	int r;

	w->new.files = w->new.live_bytes = 0;
	w->new.due_ns = clock_real_ns() + grace_ns;
	r = tx_pack_put(tx, &w->new);
	return r < 0 ? r : tx_intent_delete(tx, w->intent);
}

/* The new pack may be there: it is one to drop.  Else the intent stays, and is noted. */
static void abandon(struct rewriting *w)
{
	int r = w->intent ? catalogue_write(w->t->cat, SYNC_NORMAL, abandon_run, w) : 0;

	if (r < 0) {
		log_warning("cannot note pack %" PRIu64 " as unused: %s: tried again later",
			    w->new.id, strerror(-r));
		archive_note_unfinished(w->t, w->new.id);
	}
}

static void rewriting_fini(struct rewriting *w)
{
	struct live *next;
	struct place *place;

	for (struct live *l = w->first; l; l = next) {
		next = l->next;
		free((char *)l->line.path);
		free(l->name);
		free(l);
	}
	while ((place = w->trash)) {
		w->trash = place->next;
		trash_row_fini(&place->row);
		free(place);
	}
	receipt_free(w->receipt);
	free(w->bytes);
	free(w->data);
	free(w->key);
}

int pack_rewrite(struct tier *t, const struct pack_row *old)
{
	struct rewriting w = { .t = t, .old = *old, .full = store_is_full(t->store) };
	int r;

	w.last = &w.first;
	if (!journal_has(t, old->txn))
		return 0;
	r = read_old(&w);
	if (r == 0)
		r = fill_new(&w);
	if (r == 0)
		r = write_new(&w);
	if (r == 0)
		r = catalogue_write(t->cat, SYNC_FULL, move_run, &w);
	if (r < 0)
		abandon(&w);
	else
		r = failpoint(PACK_MOVED);
	if (w.told)
		notify_kick(t);
	rewriting_fini(&w);
	return r < 0 ? r : 1;
}
