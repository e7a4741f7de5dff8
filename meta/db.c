/* SPDX-License-Identifier: MIT */
/*
 * Connections: opening, running text, and what SQLite's result codes mean.
 *
 *	FULL, or an I/O error whose errno is a lack of room	-ENOSPC, may pass
 *	NOMEM							-ENOMEM, may pass
 *	READONLY						-EROFS
 *	CORRUPT, NOTADB, IOERR					-EIO, read-only for good
 *	anything else is a fault of ours			-EIO
 */
#include "meta/db.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "meta/catalogue_int.h"

#define BUSY_TIMEOUT_MS 5000
#define FULL_LOG_MS 60000

static const char *const sql_text[SQL_COUNT] = {
#define SQL(id, text) [SQL_##id] = text,
#include "meta/sql.def"
#undef SQL
};

static const char *const sql_name[SQL_COUNT] = {
#define SQL(id, text) [SQL_##id] = #id,
#include "meta/sql.def"
#undef SQL
};

int db_init(struct db *db, const char *file, bool readonly, struct catalogue *owner)
{
	int flags = readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int rc;

	memset(db, 0, sizeof(*db));
	db->file = file;
	db->owner = owner;
	db->quiet = !owner;
	rc = sqlite3_open_v2(file, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
	if (!db->handle)
		return -ENOMEM;
	if (rc != SQLITE_OK)
		return db_error(db, rc, "open the database");
	sqlite3_extended_result_codes(db->handle, 1);
	sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	return 0;
}

void db_fini(struct db *db)
{
	for (int i = 0; i < SQL_COUNT; i++)
		sqlite3_finalize(db->stmts[i]);
	if (sqlite3_close(db->handle) != SQLITE_OK)
		log_error("cannot close catalogue '%s': %s", db->file, sqlite3_errmsg(db->handle));
	memset(db, 0, sizeof(*db));
}

int64_t db_changes(struct db *db)
{
	return sqlite3_changes64(db->handle);
}

bool db_in_transaction(struct db *db)
{
	return !sqlite3_get_autocommit(db->handle);
}

/* The errno that the last failed call on a file left: of the WAL or of the database. */
static int last_errno(struct db *db, int which)
{
	sqlite3_file *file = NULL;
	int e = 0;

	if (sqlite3_file_control(db->handle, "main", which, &file) != SQLITE_OK || !file ||
	    !file->pMethods)
		return 0;
	file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &e);
	return e;
}

static bool is_room(int e)
{
	return e == ENOSPC || e == EDQUOT || e == EFBIG;
}

/* SQLite knows ENOSPC; a quota or a limit is an I/O error to it. */
static bool lacks_room(struct db *db, int rc)
{
	int wal, file;

	if ((rc & 0xff) == SQLITE_FULL)
		return true;
	/* The shared-memory file is made a page at a time; SQLite keeps no errno of it. */
	if (rc == SQLITE_IOERR_SHMSIZE)
		return true;
	if (rc != SQLITE_IOERR_WRITE && rc != SQLITE_IOERR_TRUNCATE)
		return false;
	wal = last_errno(db, SQLITE_FCNTL_JOURNAL_POINTER);
	file = last_errno(db, SQLITE_FCNTL_FILE_POINTER);
	return (is_room(wal) && (file == 0 || is_room(file))) || (is_room(file) && wal == 0);
}

/* Once, here; or kept for the sentence that catalogue_open() makes. */
static void report(struct db *db, const char *what, const char *why)
{
	if (db->quiet)
		snprintf(db->why, sizeof(db->why), "%s", why);
	else
		log_error("cannot %s in catalogue '%s': %s", what, db->file, why);
}

static int go_readonly(struct db *db, const char *reason)
{
	if (db->owner)
		catalogue_set_readonly(db->owner, reason);
	return -EIO;
}

int db_error(struct db *db, int rc, const char *what)
{
	char msg[120];

	db->code = rc & 0xff;
	if (lacks_room(db, rc)) {
		if (db->quiet || log_ratelimit(&db->full_ms, FULL_LOG_MS))
			report(db, what, "disk full");
		return -ENOSPC;
	}
	if (rc == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM) {
		report(db, what, "out of memory");
		return -ENOMEM;
	}
	snprintf(msg, sizeof(msg), "%s (%d)", sqlite3_errmsg(db->handle), rc);
	report(db, what, msg);
	switch (db->code) {
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_IOERR:
		return go_readonly(db, msg);
	default:
		return -EIO;
	}
}

int db_damaged(struct db *db, const char *what)
{
	db->code = SQLITE_CORRUPT;
	report(db, "trust what is", what);
	return go_readonly(db, what);
}

int db_exec(struct db *db, enum sql_id id)
{
	int rc = sqlite3_exec(db->handle, sql_text[id], NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : db_error(db, rc, sql_name[id]);
}

int db_run(struct db *db, enum sql_id id)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, id);
	return query_run(&q);
}

/* ---- queries ---- */

static void stick(struct query *q, int rc)
{
	if (q->status == 0 && rc != SQLITE_OK)
		q->status = db_error(q->db, rc, sql_name[q->id]);
}

void query_init(struct query *q, struct db *db, enum sql_id id)
{
	sqlite3_stmt **slot = &db->stmts[id];

	*q = (struct query){ .db = db, .id = id };
	if (!*slot)
		stick(q, sqlite3_prepare_v3(db->handle, sql_text[id], -1, SQLITE_PREPARE_PERSISTENT,
					    slot, NULL));
	q->stmt = *slot;
	if (db->owner && db != &db->owner->db)
		atomic_fetch_add_explicit(&db->owner->selects, 1, memory_order_relaxed);
}

void query_fini(struct query *q)
{
	if (q->stmt)
		sqlite3_reset(q->stmt);
	q->stmt = NULL;
}

void query_bind_int(struct query *q, int64_t v)
{
	q->param++;
	if (q->status == 0)
		stick(q, sqlite3_bind_int64(q->stmt, q->param, v));
}

static void bind_null(struct query *q)
{
	q->param++;
	if (q->status == 0)
		stick(q, sqlite3_bind_null(q->stmt, q->param));
}

void query_bind_int_unless(struct query *q, int64_t v, int64_t same)
{
	if (v == same)
		bind_null(q);
	else
		query_bind_int(q, v);
}

void query_bind_bytes(struct query *q, const void *p, size_t len)
{
	q->param++;
	if (q->status == 0)
		stick(q, sqlite3_bind_blob64(q->stmt, q->param, p, len, SQLITE_STATIC));
}

void query_bind_str(struct query *q, const char *s)
{
	query_bind_bytes(q, s, s ? strlen(s) : 0);
}

int query_next(struct query *q)
{
	int rc;

	if (q->status < 0)
		return q->status;
	q->column = 0;
	rc = sqlite3_step(q->stmt);
	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	stick(q, rc);
	return q->status;
}

int query_one(struct query *q)
{
	int r = query_next(q);

	if (r < 0)
		return r;
	return r == 1 ? 0 : -ENOENT;
}

int query_run(struct query *q)
{
	int r;

	do
		r = query_next(q);
	while (r > 0);
	return r;
}

int query_status(struct query *q)
{
	return q->status;
}

int query_rows(struct query *q, void *rows, size_t row_bytes, int max,
	       int (*load)(struct query *q, void *ret), void (*fini)(void *row))
{
	char *end = rows;
	int r, n = 0;

	while (n < max && (r = query_next(q)) != 0) {
		if (r > 0)
			r = load(q, end);
		if (r < 0)
			goto undo;
		end += row_bytes;
		n++;
	}
	return n;
undo:
	for (; fini && n > 0; n--)
		fini(end -= row_bytes);
	return r;
}

int64_t query_int(struct query *q)
{
	return sqlite3_column_int64(q->stmt, q->column++);
}

int64_t query_int_or(struct query *q, int64_t same)
{
	if (sqlite3_column_type(q->stmt, q->column) != SQLITE_NULL)
		return query_int(q);
	q->column++;
	return same;
}

int64_t query_int_within(struct query *q, int64_t min, int64_t max)
{
	int64_t v = query_int(q);

	if (v >= min && v <= max)
		return v;
	if (q->status == 0)
		q->status = db_damaged(q->db, "a number is out of range");
	return min;
}

const void *query_bytes(struct query *q, size_t *ret_len)
{
	int column = q->column++;
	const void *p = sqlite3_column_blob(q->stmt, column);
	int len = sqlite3_column_bytes(q->stmt, column);

	if (!p && len > 0)
		stick(q, SQLITE_NOMEM);
	*ret_len = p ? (size_t)len : 0;
	return p;
}

void query_name(struct query *q, char name[ROW_NAME_MAX + 1])
{
	size_t len;
	const void *p = query_bytes(q, &len);

	name[0] = '\0';
	if (!p)
		return;
	if (len > ROW_NAME_MAX || memchr(p, '\0', len) || memchr(p, '/', len)) {
		if (q->status == 0)
			q->status = db_damaged(q->db, "a name is not a file name");
		return;
	}
	memcpy(name, p, len);
	name[len] = '\0';
}

char *query_str(struct query *q)
{
	bool null = sqlite3_column_type(q->stmt, q->column) == SQLITE_NULL;
	size_t len;
	const void *p = query_bytes(q, &len);
	char *s;

	if (null || q->status < 0)
		return NULL;
	s = malloc(len + 1);
	if (!s) {
		q->status = -ENOMEM;
		return NULL;
	}
	if (len > 0)
		memcpy(s, p, len);
	s[len] = '\0';
	return s;
}
