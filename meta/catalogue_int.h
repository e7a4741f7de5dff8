/* SPDX-License-Identifier: MIT */
/*
 * The inside of the catalogue, for meta/ only.
 *
 *	catalogue.c  open, close, ids, read-only	file.c dir.c name.c
 *	place.c	     the file and its lock		trash.c outbox.c intent.c pack.c
 *	writer.c     the queue, its thread, the WAL	  the rows: tx_ and cat_
 *	commit.c     one transaction, its changeset	journal.c rebuild.c changeset.c
 *	checkpoint.c checkpoint_read.c			  the journal's and its checkpoints
 *	reader.c     a connection for each thread	check.c
 *	state.c	     what is kept in memory		db.c schema.c: SQLite's edge
 *	wal.c	     syncing what was committed
 *
 * Three locks: `lock` (the queue, the readers' list), `state_lock` and `wal.lock`
 * (leaves); none is held over a statement or an fsync.
 */
#ifndef EBB_META_CATALOGUE_INT_H
#define EBB_META_CATALOGUE_INT_H

#include "lib/lock.h"
#include "meta/catalogue.h"
#include "meta/db.h"

struct sqlite3_session;
struct reader;

struct checkpoint_row {
	uint64_t seq;
	int64_t mark;	 /* shipped_bytes when it was begun */
	int64_t done_ns; /* 0: not complete */
};

/* Row ids, never reused by a catalogue, even once their rows are gone. */
enum row_ids { ROW_DIR, ROW_PATH, ROW_TRASH, ROW_EVENT, ROW_INTENT, ROW_IDS };

/*
 * What a transaction changes besides rows.  Kept in memory as of the last
 * commit; a transaction works on a copy, which a job that fails leaves as it was.
 */
struct cat_state {
	/* table meta: journalled */
	struct catalogue_ids ids;
	uint64_t number; /* numbers below it are reserved: used or not, gone after a crash */
	int64_t txn;	 /* the last one that journalled anything; they have no holes */
	/* table tally: this file's own */
	struct catalogue_counts counts;
	int64_t next_id[ROW_IDS];
	int64_t journal_bytes;	/* in journal_out */
	int64_t journalled_txn; /* the store has everything up to it */
	uint64_t seq;		/* of the next part to fix, or of the fixed one */
	/* tables shipped and checkpoint: this file's own */
	int64_t shipped_bytes;		  /* what the journal took in the store, ever */
	uint64_t dropped;		  /* journal parts below it are gone from the store */
	struct checkpoint_row checkpoint; /* the newest complete one; seq 0: none */
};

/* How far the WAL is on the disk: wal.c. */
struct wal {
	_Atomic uint64_t commits;
	int fd; /* owned, by who syncs; -1 until then */
	/* protected by lock */
	struct lock lock;
	struct cond done;
	uint64_t synced;
	bool syncing; /* by one thread, without the lock */
	bool failed;  /* what is not synced by now never will be */
};

struct catalogue {
	/* constant after open */
	char *file;   /* owned, absolute */
	int lock_fd;  /* owned; flocked */
	bool opening; /* before the writer's thread runs: failpoints do not count */
	pthread_key_t reader_key;
	pthread_t thread;

	_Atomic bool readonly;	  /* never false again */
	_Atomic uint64_t selects; /* statements run on readers' connections */

	/* protected by lock */
	struct lock lock;
	struct cond work;
	struct cat_job *head;
	struct cat_job **tail;
	bool stop;
	struct reader *readers; /* list of owned */

	/* protected by state_lock */
	struct lock state_lock;
	struct cat_state state;
	uint64_t number_next;
	bool number_asked; /* number_job is queued */
	struct cat_job number_job;

	struct wal wal;

	/* the writer thread's own */
	struct db db;
	bool full;	   /* PRAGMA synchronous as it is set */
	int wal_pages;	   /* in the WAL after the last commit */
	int restart_pages; /* a RESTART checkpoint is due beyond */
	bool passive_due;  /* there are frames a checkpoint was not tried on */
};

struct tx {
	struct catalogue *c;		 /* borrowed */
	struct db *db;			 /* borrowed: c->db */
	struct sqlite3_session *session; /* owned */
	struct cat_state state;		 /* as it will be */
	int64_t id;
	dirid_t known_dir; /* exists: checked by this job */
	int broken;	   /* a statement failed: the job is undone whatever it returns */
};

/* ---- state.c ---- */
int state_load(struct db *db, struct cat_state *ret);
int state_save_tally(struct db *db, const struct cat_state *s);
int state_set_meta_int(struct db *db, const char *key, int64_t v);
int state_set_meta_uid(struct db *db, const char *key, const struct uid128 *u);
/* What the tables hold, counted; only counts and next_id of *ret are written. */
int state_count(struct db *db, struct cat_state *ret);
struct cat_state state_now(struct catalogue *c);
/* A block of numbers at open: nothing is shared yet. */
int state_reserve_first(struct catalogue *c);
/* One more block, waiting for the commit: a transaction that the journal carries. */
int state_reserve_more(struct catalogue *c);

/* ---- schema.c ---- */
#define SCHEMA_FORMAT 1
#define SCHEMA_MAX_COLUMNS 32
extern const char *const schema_journalled[]; /* names, NULL at the end */
/* SQLite keeps the old mode without an error where shared memory does not work. */
int schema_set_wal(struct db *db);
/* How many columns a journalled table has (0: it is none), and their places in its key, or 0. */
int schema_columns(struct db *db, const char *table, unsigned char key[SCHEMA_MAX_COLUMNS]);
/* The tables and first rows; inside a transaction. */
int schema_create(struct db *db, const struct uid128 *volume, const struct uid128 *node);
/* Its journalled tables alone, empty, without indexes. */
int schema_create_journalled(struct db *db);
/* What a catalogue that an older ebbfs made may lack. */
int schema_add(struct db *db);
/* 1: a catalogue of this format; 0: empty; -ENOTSUP, -EUCLEAN (err says why), or an error. */
int schema_recognise(struct db *db, char *err, size_t size);

/* ---- changeset.c ---- */
/* Are these bytes changesets of our tables, whole?  0, -EBADMSG, or an error of db. */
int changeset_check(struct db *db, const void *data, size_t len);

/* ---- commit.c ---- */
int tx_begin(struct catalogue *c, enum sync sync, struct tx *ret);
int tx_commit(struct tx *tx); /* ends it in any case */
void tx_rollback(struct tx *tx);
/* Runs one job in a savepoint (when it is not alone); its result. */
int tx_run_job(struct tx *tx, struct cat_job *job, bool alone);
/* Notes a failed statement, which undoes the job; returns r. */
int tx_result(struct tx *tx, int r);
/* The same, but -ENOENT and -EEXIST are answers. */
int tx_answer(struct tx *tx, int r);

/* ---- writer.c ---- */
int writer_start(struct catalogue *c);
void writer_stop(struct catalogue *c);

/* ---- wal.c ---- */
void wal_init(struct wal *w);
void wal_fini(struct wal *w);
uint64_t wal_commits(struct wal *w);
void wal_committed(struct wal *w); /* one more, not reported yet */
/* The first so many commits are on the disk. */
void wal_is_synced(struct wal *w, uint64_t commits);

/* ---- check.c ---- */
/* Inside a transaction.  -EUCLEAN: err says what is wrong. */
int check_db(struct db *db, char *err, size_t size);

/* ---- reader.c ---- */
int reader_start(struct catalogue *c);
void reader_stop(struct catalogue *c);
/* The calling thread's connection; borrowed until the thread ends. */
int reader_get(struct catalogue *c, struct db **ret);
/* A statement on it; ret is untouched on an error. */
int reader_query(struct catalogue *c, enum sql_id how, struct query *ret);

/* ---- checkpoint.c ---- */
/* A checkpoint begins at the journal's next number: see cat_checkpoint_begin(). */
int catalogue_checkpoint_begin(struct catalogue *c, uint64_t *ret);
/* shipped_bytes, dropped and checkpoint of *ret. */
int checkpoint_load(struct db *db, struct cat_state *ret);
/* What an object of so many bytes takes in a store. */
int64_t checkpoint_object_bytes(size_t bytes);
/* The last transaction of what db holds, as table meta says it. */
int checkpoint_read_txn(struct db *db, int64_t *ret);
/* A part of so many bytes is in the store; inside a transaction, state is the transaction's. */
int checkpoint_count_shipped(struct db *db, struct cat_state *state, size_t bytes);
/* What a rebuild knows of the store; inside a transaction.  row->seq 0: no checkpoint. */
int checkpoint_restore(struct db *db, const struct checkpoint_row *row, int64_t shipped_bytes,
		       uint64_t dropped);

/* ---- rows: the same on the writer's and on a reader's connection ---- */
bool row_is_name(const char *name);
void file_bind(struct query *q, const struct file_row *row, int64_t txn);
int file_load(struct query *q, struct file_row *ret);
int dir_load(struct query *q, struct dir_row *ret);
int dir_row_get(struct db *db, dirid_t id, struct dir_row *ret);

#endif
