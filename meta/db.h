/* SPDX-License-Identifier: MIT */
/*
 * One SQLite connection and its statements: the edge where SQLite's result
 * codes become negative errnos and are logged, once.
 *
 * Statements are named (sql.def), prepared when first used and kept.  A query
 * is one run of a statement: bind every parameter in order, step, read every
 * column in order, fini.  An error sticks to the query, so binding and reading
 * need no check of their own; stepping and query_status() report it.
 *
 * A connection belongs to one thread at a time.  Corruption and I/O errors turn
 * the owner read-only.
 */
#ifndef EBB_META_DB_H
#define EBB_META_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "meta/row.h"

struct catalogue;

enum sql_id {
#define SQL(id, text) SQL_##id,
#include "meta/sql.def"
#undef SQL
	SQL_COUNT
};

struct db {
	sqlite3 *handle;		/* owned */
	struct catalogue *owner;	/* borrowed; NULL while opening and rebuilding */
	const char *file;		/* borrowed from whoever opened it; for messages */
	sqlite3_stmt *stmts[SQL_COUNT]; /* owned */
	bool quiet;			/* opening: the caller gets a sentence instead of the log */
	char why[128];			/* the last error's text, while quiet, */
	int code;			/* and its primary result code */
	_Atomic long long full_ms;	/* when "disk full" was logged last */
};

/*
 * Opens FILE (it must exist).  0, -ENOMEM, -EIO.  A half-open db must be
 * finished too: sqlite3_errmsg(db->handle) says why.
 */
int db_init(struct db *db, const char *file, bool readonly, struct catalogue *owner);
/* All queries must be finished.  Zeroed memory is fine. */
void db_fini(struct db *db);

/* The text of a statement, run at once: for pragmas, which act while they are prepared. */
int db_exec(struct db *db, enum sql_id id);
/* A statement without parameters and rows. */
int db_run(struct db *db, enum sql_id id);
/* Rows the last statement changed. */
int64_t db_changes(struct db *db);
bool db_in_transaction(struct db *db);

/* The errno of a result code, logged as "cannot WHAT in catalogue 'FILE'". */
int db_error(struct db *db, int rc, const char *what);
/* The database contradicts itself: turns the owner read-only, returns -EIO. */
int db_damaged(struct db *db, const char *what);

struct query {
	struct db *db;	    /* borrowed */
	sqlite3_stmt *stmt; /* borrowed from db; NULL once an error stuck */
	enum sql_id id;
	int param;  /* bound so far */
	int column; /* read so far of this row */
	int status; /* 0 or the error that stuck */
};

void query_init(struct query *q, struct db *db, enum sql_id id);
void query_fini(struct query *q); /* ends the read transaction, if it was one */
#define AUTO_QUERY __attribute__((cleanup(query_fini)))

/* Memory that is bound must live until query_fini(). */
void query_bind_int(struct query *q, int64_t v);
void query_bind_bytes(struct query *q, const void *p, size_t len); /* p NULL: NULL */
void query_bind_str(struct query *q, const char *s);		   /* bytes up to NUL; NULL: NULL */
/* NULL when v is what the reader can do without. */
void query_bind_int_unless(struct query *q, int64_t v, int64_t same);

int query_next(struct query *q); /* 1: a row; 0: no more; or an error */
int query_one(struct query *q);	 /* 0: a row; -ENOENT: none; or an error */
int query_run(struct query *q);	 /* to its end; 0 or an error */
int query_status(struct query *q);
/*
 * Up to max rows into rows, an array of row_bytes each.  load reads one and leaves nothing
 * to free when it fails.  How many; or an error, and fini (may be NULL) has freed the others.
 */
int query_rows(struct query *q, void *rows, size_t row_bytes, int max,
	       int (*load)(struct query *q, void *ret), void (*fini)(void *row));

int64_t query_int(struct query *q);
int64_t query_int_or(struct query *q, int64_t same);		     /* same when it is NULL */
int64_t query_int_within(struct query *q, int64_t min, int64_t max); /* else damaged */
/* Borrowed until the next step; NULL when it is NULL or empty. */
const void *query_bytes(struct query *q, size_t *ret_len);
void query_name(struct query *q, char name[ROW_NAME_MAX + 1]); /* NULL becomes "" */
char *query_str(struct query *q); /* heap; NULL when it is NULL (or query_status() says) */

#endif
