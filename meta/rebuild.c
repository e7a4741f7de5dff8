/* SPDX-License-Identifier: MIT */
/*
 * Making a catalogue anew from the journal in the store.
 *
 *	begin: tables and first rows, marked "rebuilding"
 *	apply: one transaction a part; its changesets in order
 *	finish: counters counted, marks set, checked, marked "finished"
 *
 * Applied in order from the first transaction on, nothing conflicts: the rows are
 * what they were.  After a checkpoint, which is read while its owner goes on
 * writing, rows may be ahead of the changes that follow; then the change wins,
 * and one to a row that is gone is left out, because a later one removed it
 * (checkpoint_read.c says why that gives the rows as they were).
 *
 * What the lost catalogue had not shipped is undone, but its numbers may be in
 * the store already: the number counter jumps.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "meta/catalogue_int.h"
#include "meta/place.h"

#define NUMBER_JUMP (1ULL << 40) /* more than was ever used between two parts */
#define RESTART_PAGES 16384	 /* as the writer does */

struct cat_rebuild {
	char *file;	 /* owned, absolute */
	int lock_fd;	 /* owned */
	uint64_t seq;	 /* applied last */
	uint64_t merged; /* changes that met another row than they expected */
	bool journal;	 /* a part of the journal was applied */
	struct checkpoint_row checkpoint;
	int64_t checkpoint_txn; /* the journal must reach it */
	int64_t shipped_bytes;	/* by the parts that were applied */
	uint64_t dropped;
	int wal_pages;
	struct db db;
};

static void remove_files(const char *file)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };

	for (int i = 0; i < 3; i++) {
		AUTO_FREE char *name = NULL;

		if (asprintf(&name, "%s%s", file, suffixes[i]) < 0)
			return;
		if (unlink(name) < 0 && errno != ENOENT)
			log_warning("cannot remove '%s': %s", name, strerror(errno));
	}
}

static void free_rebuild(struct cat_rebuild *r)
{
	if (r->db.handle)
		db_fini(&r->db);
	if (r->lock_fd >= 0)
		close(r->lock_fd);
	free(r->file);
	free(r);
}

void cat_rebuild_abort(struct cat_rebuild *r)
{
	if (!r)
		return;
	if (r->db.handle)
		db_fini(&r->db);
	remove_files(r->file);
	free_rebuild(r);
}

/* ---- begin ---- */

static int count_pages(void *arg, sqlite3 *handle, const char *name, int pages)
{
	(void)handle;
	(void)name;
	((struct cat_rebuild *)arg)->wal_pages = pages;
	return SQLITE_OK;
}

static int create_tables(struct db *db, const struct uid128 *volume, const struct uid128 *node)
{
	int r;

	if ((r = db_exec(db, SQL_PRAGMA_NEW)) < 0 || (r = db_exec(db, SQL_PRAGMA_COMMON)) < 0 ||
	    (r = schema_set_wal(db)) < 0 || (r = db_exec(db, SQL_PRAGMA_WRITER)) < 0 ||
	    (r = db_exec(db, SQL_SYNC_NORMAL)) < 0 || (r = db_run(db, SQL_BEGIN)) < 0 ||
	    (r = schema_create(db, volume, node)) < 0 || (r = db_exec(db, SQL_MARK_REBUILDING)) < 0)
		return r;
	return db_run(db, SQL_COMMIT);
}

/* A -wal file that a lost database left behind would be taken for the new one's. */
static int refuse_wal(const struct place *p)
{
	AUTO_FREE char *name = NULL;

	if (asprintf(&name, "%s-wal", p->given) < 0)
		return place_refuse_errno(p, -ENOMEM);
	if (access(name, F_OK) == 0)
		return place_refuse(p, -EEXIST, "its -wal file exists; move that away first");
	return 0;
}

static int open_new(struct cat_rebuild *new, const struct place *p, const struct uid128 *volume,
		    const struct uid128 *node)
{
	int r = db_init(&new->db, new->file, false, NULL);

	if (r == 0)
		r = create_tables(&new->db, volume, node);
	if (r < 0)
		return place_refuse(p, r, new->db.why);
	new->db.quiet = false;
	sqlite3_wal_hook(new->db.handle, count_pages, new);
	return 0;
}

int cat_rebuild_begin(const char *file, const struct uid128 *volume, const struct uid128 *node,
		      struct cat_rebuild **ret, char *err, size_t size)
{
	struct place p = { .given = file, .err = err, .size = size };
	struct cat_rebuild *new;
	int r = refuse_wal(&p);

	if (r < 0)
		return r;
	new = calloc(1, sizeof(*new));
	if (!new)
		return place_refuse_errno(&p, -ENOMEM);
	new->lock_fd = -1;
	new->dropped = 1;
	r = place_take(&p, PLACE_NEW, &new->file, &new->lock_fd);
	if (r < 0) {
		free_rebuild(new);
		return r;
	}
	r = open_new(new, &p, volume, node);
	if (r < 0) {
		cat_rebuild_abort(new);
		return r;
	}
	*ret = new;
	return 0;
}

/* ---- apply ---- */

static int on_conflict(void *arg, int what, sqlite3_changeset_iter *iter)
{
	struct cat_rebuild *r = arg;

	(void)iter;
	r->merged++;
	switch (what) {
	case SQLITE_CHANGESET_DATA:
	case SQLITE_CHANGESET_CONFLICT:
		return SQLITE_CHANGESET_REPLACE;
	case SQLITE_CHANGESET_NOTFOUND:
		return SQLITE_CHANGESET_OMIT;
	default:
		return SQLITE_CHANGESET_ABORT;
	}
}

static int apply(struct cat_rebuild *r, void *data, int len)
{
	int rc = sqlite3changeset_apply_v2(r->db.handle, len, data, NULL, on_conflict, r, NULL,
					   NULL, SQLITE_CHANGESETAPPLY_NOSAVEPOINT);

	if (rc == SQLITE_ABORT) /* on_conflict() met a value that the table refuses */
		return -EBADMSG;
	return rc == SQLITE_OK ? 0 : db_error(&r->db, rc, "apply a part of the journal");
}

static void restart_wal(struct cat_rebuild *r)
{
	int rc;

	if (r->wal_pages < RESTART_PAGES)
		return;
	rc = sqlite3_wal_checkpoint_v2(r->db.handle, "main", SQLITE_CHECKPOINT_RESTART, NULL, NULL);
	if (rc != SQLITE_OK)
		db_error(&r->db, rc, "move the WAL to the database");
}

static int apply_part(struct cat_rebuild *r, const void *data, size_t len)
{
	int ret = changeset_check(&r->db, data, len);

	if (ret < 0)
		return ret;
	ret = db_run(&r->db, SQL_BEGIN);
	if (ret == 0)
		ret = apply(r, (void *)data, (int)len);
	if (ret == 0)
		ret = db_run(&r->db, SQL_COMMIT);
	if (ret < 0 && db_in_transaction(&r->db))
		db_run(&r->db, SQL_ROLLBACK);
	return ret;
}

int cat_rebuild_apply(struct cat_rebuild *r, uint64_t seq, const void *data, size_t len_bytes)
{
	int ret;

	if (seq <= r->seq || len_bytes > INT32_MAX)
		return -EBADMSG;
	if (len_bytes > 0) {
		ret = apply_part(r, data, len_bytes);
		if (ret < 0)
			return ret;
		restart_wal(r);
	}
	r->seq = seq;
	r->journal = true;
	r->shipped_bytes += checkpoint_object_bytes(len_bytes);
	return 0;
}

int cat_rebuild_checkpoint(struct cat_rebuild *r, uint64_t seq, const void *data, size_t len_bytes)
{
	int ret;

	if (r->journal || seq == 0 || len_bytes > INT32_MAX ||
	    (r->checkpoint.seq != 0 && r->checkpoint.seq != seq))
		return -EBADMSG;
	ret = apply_part(r, data, len_bytes);
	if (ret < 0)
		return ret;
	restart_wal(r);
	r->checkpoint.seq = seq;
	r->seq = seq - 1;
	return checkpoint_read_txn(&r->db, &r->checkpoint_txn);
}

void cat_rebuild_dropped(struct cat_rebuild *r, uint64_t below)
{
	r->dropped = below;
}

/* ---- finish ---- */

/* There is a part after every checkpoint, and it tells of a later transaction. */
static bool too_short(const struct cat_rebuild *r, int64_t txn)
{
	return r->checkpoint.seq > 0 && (!r->journal || txn <= r->checkpoint_txn);
}

int cat_rebuild_check(struct cat_rebuild *r)
{
	int64_t txn;
	int ret = checkpoint_read_txn(&r->db, &txn);

	if (ret < 0)
		return ret;
	return too_short(r, txn) ? -ENODATA : 0;
}

static int finish_tables(struct cat_rebuild *r, char *err, size_t size)
{
	struct db *db = &r->db;
	struct cat_state s;
	int ret = state_load(db, &s);

	if (ret == 0)
		ret = state_count(db, &s);
	if (ret < 0)
		return ret;
	if (too_short(r, s.txn)) {
		snprintf(err, size, "the journal ends before its checkpoint does");
		return -ENODATA;
	}
	s.number += NUMBER_JUMP;
	s.journal_bytes = 0;
	s.journalled_txn = s.txn;
	s.seq = r->seq + 1;
	ret = state_save_tally(db, &s);
	if (ret == 0)
		ret = state_set_meta_int(db, "number", (int64_t)s.number);
	r->checkpoint.done_ns = clock_real_ns(); /* whoever was the owner may still read */
	if (ret == 0)
		ret = checkpoint_restore(db, &r->checkpoint, r->shipped_bytes, r->dropped);
	if (ret == 0)
		ret = check_db(db, err, size);
	if (ret == 0)
		ret = db_exec(db, SQL_MARK_FINISHED);
	return ret;
}

int cat_rebuild_finish(struct cat_rebuild *r)
{
	char err[200] = "";
	int ret = db_exec(&r->db, SQL_SYNC_FULL);

	if (ret == 0)
		ret = db_run(&r->db, SQL_BEGIN);
	if (ret == 0)
		ret = finish_tables(r, err, sizeof(err));
	if (ret == 0)
		ret = db_run(&r->db, SQL_COMMIT);
	if (ret < 0) {
		if (err[0])
			log_error("cannot finish catalogue '%s': %s", r->file, err);
		if (db_in_transaction(&r->db))
			db_run(&r->db, SQL_ROLLBACK);
	} else if (r->merged > 0) {
		log_info("catalogue '%s': %llu changes met another row than they expected", r->file,
			 (unsigned long long)r->merged);
	}
	free_rebuild(r);
	return ret;
}
