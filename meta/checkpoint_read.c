/* SPDX-License-Identifier: MIT */
/*
 * The rows of a checkpoint: everything the journal carries, as changesets that
 * insert it.
 *
 *	dir ... path ... file ... trash ... pack ... outbox ... meta
 *	    | part 0 | part 1 | ...        each read for itself, in key order
 *
 * Each page is one statement that begins behind the last key: no read lasts longer
 * than a part, and the WAL is free between two.  The parts are of different moments;
 * the journal that is applied after them makes one of it:
 *
 *	- a row is found by its key alone (no other unique index: schema.def), so rows
 *	  do not mind each other;
 *	- applied from a transaction before a row was read, the changes of this row up to
 *	  that moment end with what was read: the last insert or delete tells the whole
 *	  row, later updates every column that changed since; a row that was not there
 *	  ends deleted, or was never touched;
 *	- from there on they are what happened.
 *
 * This needs every transaction up to the last read.  So meta comes last, whose row
 * 'txn' says how far the journal must reach: a rebuild compares.  And a transaction
 * of its own follows, so that there is a part of the journal after every checkpoint:
 * one without any has lost them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "meta/catalogue_int.h"

#define ROWS_MAX 65536 /* of a part */
#define KEY_MAX 2

static const struct source {
	enum sql_id read, copy;
	int key; /* so many columns, the first */
	bool text;
	const char *table;
} sources[] = {
	{ SQL_READ_DIR, SQL_COPY_DIR, 1, false, "dir" },
	{ SQL_READ_PATH, SQL_COPY_PATH, 1, false, "path" },
	{ SQL_READ_FILE, SQL_COPY_FILE, 2, false, "file" },
	{ SQL_READ_TRASH, SQL_COPY_TRASH, 1, false, "trash" },
	{ SQL_READ_PACK, SQL_COPY_PACK, 1, false, "pack" },
	{ SQL_READ_OUTBOX, SQL_COPY_OUTBOX, 1, false, "outbox" },
	{ SQL_READ_META, SQL_COPY_META, 1, true, "meta" },
};
#define SOURCES ((int)(sizeof(sources) / sizeof(*sources)))

/* Everything up to and with this key was given. */
struct position {
	int source;
	sqlite3_value *key[KEY_MAX]; /* owned; NULL: nothing of this source */
};

struct cat_checkpoint {
	struct catalogue *c; /* borrowed */
	uint64_t seq;
	struct position at;
	int64_t txn;
};

/* One part in the making: rows copied to memory, with a session that watches. */
struct part {
	struct db mem;
	struct sqlite3_session *session; /* owned */
	struct position at;		 /* after it; owned */
	size_t bytes, max_bytes;
	int rows;
};

static void clear_key(struct position *at)
{
	for (int i = 0; i < KEY_MAX; i++) {
		sqlite3_value_free(at->key[i]);
		at->key[i] = NULL;
	}
}

static int set_key(struct position *at, sqlite3_value *const *key)
{
	clear_key(at);
	for (int i = 0; i < KEY_MAX && key[i]; i++) {
		at->key[i] = sqlite3_value_dup(key[i]);
		if (!at->key[i])
			return -ENOMEM;
	}
	return 0;
}

static void part_fini(struct part *p)
{
	clear_key(&p->at);
	if (p->session)
		sqlite3session_delete(p->session);
	if (p->mem.handle)
		db_fini(&p->mem);
}

static int part_init(struct part *p, const struct position *at, size_t max_bytes)
{
	int rc, r;

	*p = (struct part){ .max_bytes = max_bytes, .at.source = at->source };
	r = set_key(&p->at, at->key);
	if (r == 0)
		r = db_init(&p->mem, ":memory:", false, NULL);
	p->mem.quiet = false;
	if (r == 0)
		r = schema_create_journalled(&p->mem);
	if (r == 0)
		r = db_run(&p->mem, SQL_BEGIN);
	if (r < 0)
		return r;
	rc = sqlite3session_create(p->mem.handle, "main", &p->session);
	for (int i = 0; rc == SQLITE_OK && i < SOURCES; i++)
		rc = sqlite3session_attach(p->session, sources[i].table);
	return rc == SQLITE_OK ? 0 : db_error(&p->mem, rc, "begin a checkpoint's part");
}

static void bind_value(struct query *q, sqlite3_value *v)
{
	q->param++;
	if (q->status == 0 && sqlite3_bind_value(q->stmt, q->param, v) != SQLITE_OK)
		q->status = -ENOMEM;
}

/* The key that a page begins behind; there is none below these. */
static void bind_position(struct query *q, const struct position *at)
{
	const struct source *s = &sources[at->source];

	for (int i = 0; i < s->key; i++) {
		q->param++;
		if (q->status < 0)
			return;
		if (at->key[i])
			q->status = sqlite3_bind_value(q->stmt, q->param, at->key[i]);
		else if (s->text)
			q->status = sqlite3_bind_text(q->stmt, q->param, "", 0, SQLITE_STATIC);
		else if (i > 0)
			q->status = sqlite3_bind_zeroblob(q->stmt, q->param, 0);
		else
			q->status = sqlite3_bind_int64(q->stmt, q->param, INT64_MIN);
		q->status = q->status == SQLITE_OK ? 0 : -ENOMEM;
	}
}

static int copy_row(struct part *p, struct query *from)
{
	AUTO_QUERY struct query to;
	int columns = sqlite3_column_count(from->stmt);

	query_init(&to, &p->mem, sources[p->at.source].copy);
	for (int i = 0; i < columns; i++) {
		bind_value(&to, sqlite3_column_value(from->stmt, i));
		p->bytes += 9 + (sqlite3_column_type(from->stmt, i) == SQLITE_INTEGER
					 ? 0
					 : (size_t)sqlite3_column_bytes(from->stmt, i));
	}
	p->rows++;
	return query_run(&to);
}

static int note_key(struct part *p, struct query *q)
{
	sqlite3_value *key[KEY_MAX] = { NULL };

	for (int i = 0; i < sources[p->at.source].key; i++)
		key[i] = sqlite3_column_value(q->stmt, i);
	return set_key(&p->at, key);
}

static bool is_full(const struct part *p)
{
	return p->rows >= ROWS_MAX || p->bytes >= p->max_bytes;
}

/* Rows of one source until the part is full.  1: full; 0: the source is at its end. */
static int copy_page(struct part *p, struct db *db)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, sources[p->at.source].read);
	bind_position(&q, &p->at);
	while ((r = query_next(&q)) > 0) {
		r = copy_row(p, &q);
		if (r == 0 && is_full(p))
			r = note_key(p, &q);
		if (r < 0)
			return r;
		if (is_full(p))
			return 1;
	}
	return r;
}

static int fill(struct part *p, struct db *db)
{
	int r;

	while (p->at.source < SOURCES) {
		r = copy_page(p, db);
		if (r != 0)
			return r < 0 ? r : 0;
		clear_key(&p->at);
		p->at.source++;
	}
	return 0;
}

/* SQLite's allocator made it; callers know free() alone. */
static int take_changeset(struct part *p, void **ret, size_t *ret_len)
{
	void *data = NULL, *copy;
	int len = 0, rc = sqlite3session_changeset(p->session, &len, &data);

	if (rc != SQLITE_OK)
		return db_error(&p->mem, rc, "make a checkpoint's part");
	copy = malloc((size_t)len);
	if (copy) {
		memcpy(copy, data, (size_t)len);
		*ret = copy;
		*ret_len = (size_t)len;
	}
	sqlite3_free(data);
	return copy ? 0 : -ENOMEM;
}

int cat_checkpoint_begin(struct catalogue *c, struct cat_checkpoint **ret)
{
	struct cat_checkpoint *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->c = c;
	r = catalogue_checkpoint_begin(c, &p->seq);
	if (r < 0)
		free(p);
	else
		*ret = p;
	return r;
}

uint64_t cat_checkpoint_seq(const struct cat_checkpoint *p)
{
	return p->seq;
}

int64_t cat_checkpoint_txn(const struct cat_checkpoint *p)
{
	return p->txn;
}

/* Everything was read: the journal must tell of it, and of something after it. */
static int end(struct cat_checkpoint *p)
{
	int r = p->txn > 0 ? 0 : state_reserve_more(p->c);

	if (r == 0 && p->txn == 0)
		p->txn = state_now(p->c).txn;
	return r;
}

int cat_checkpoint_next(struct cat_checkpoint *p, size_t max_bytes, void **ret, size_t *ret_len)
{
	struct part part;
	struct db *db;
	int rows, r = reader_get(p->c, &db);

	if (r < 0)
		return r;
	if (p->at.source == SOURCES)
		return end(p);
	r = part_init(&part, &p->at, max_bytes);
	if (r == 0)
		r = fill(&part, db);
	if (r == 0 && part.rows > 0)
		r = take_changeset(&part, ret, ret_len);
	if (r == 0) {
		struct position before = p->at;

		p->at = part.at;
		part.at = before;
	}
	rows = part.rows;
	part_fini(&part);
	if (r < 0)
		return r;
	return rows > 0 ? 1 : end(p);
}

void cat_checkpoint_free(struct cat_checkpoint *p)
{
	if (!p)
		return;
	clear_key(&p->at);
	free(p);
}
