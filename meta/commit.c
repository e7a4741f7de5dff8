/* SPDX-License-Identifier: MIT */
/*
 * One transaction of the writer, and its changeset.
 *
 *	begin --> jobs, each undone alone if it fails --> journal row, tally --> COMMIT
 *	  |                                                     |
 *	  +--------------------> rollback <---------------------+  any statement fails
 *
 * The session records what happens to the journalled tables.  Just before COMMIT
 * its changeset becomes a row of journal_out, so the journal and the rows it
 * tells of are committed or lost together.  The changeset carries the
 * transaction's id (meta.txn); one that journals nothing gets no row and leaves
 * its id to the next, so the ids in the journal have no holes.
 */
#include <errno.h>
#include <string.h>

#include "lib/failpoint.h"
#include "meta/catalogue_int.h"

int tx_result(struct tx *tx, int r)
{
	if (r < 0 && tx->broken == 0)
		tx->broken = r;
	return r;
}

int tx_answer(struct tx *tx, int r)
{
	return r == -ENOENT || r == -EEXIST ? r : tx_result(tx, r);
}

int64_t tx_id(struct tx *tx)
{
	return tx->id;
}

static int set_sync(struct catalogue *c, bool full)
{
	int r;

	if (c->full == full)
		return 0;
	r = db_exec(&c->db, full ? SQL_SYNC_FULL : SQL_SYNC_NORMAL);
	if (r == 0)
		c->full = full;
	return r;
}

static int attach(struct tx *tx)
{
	int rc = sqlite3session_create(tx->db->handle, "main", &tx->session);

	for (const char *const *t = schema_journalled; rc == SQLITE_OK && *t; t++)
		rc = sqlite3session_attach(tx->session, *t);
	return rc == SQLITE_OK ? 0 : db_error(tx->db, rc, "begin a changeset");
}

static void detach(struct tx *tx)
{
	if (tx->session)
		sqlite3session_delete(tx->session);
	tx->session = NULL;
}

void tx_rollback(struct tx *tx)
{
	detach(tx);
	/* SQLite itself has rolled back after some errors. */
	if (db_in_transaction(tx->db))
		db_run(tx->db, SQL_ROLLBACK);
}

int tx_begin(struct catalogue *c, enum sync sync, struct tx *ret)
{
	struct tx tx = { .c = c, .db = &c->db, .state = state_now(c) };
	int r;

	if (catalogue_is_readonly(c))
		return -EROFS;
	tx.id = tx.state.txn + 1;
	r = set_sync(c, sync == SYNC_FULL);
	if (r == 0)
		r = db_run(&c->db, SQL_BEGIN);
	if (r == 0)
		r = attach(&tx);
	if (r < 0) {
		tx_rollback(&tx);
		return r;
	}
	*ret = tx;
	return 0;
}

int tx_run_job(struct tx *tx, struct cat_job *job, bool alone)
{
	struct cat_state before = tx->state;
	int undo, r = alone ? 0 : db_run(tx->db, SQL_SAVEPOINT);

	if (r < 0)
		return tx->broken = r;
	tx->known_dir = 0;
	tx->broken = 0;
	r = job->run(tx, job);
	if (tx->broken < 0)
		r = tx->broken;
	tx->broken = 0;
	if (r < 0)
		tx->state = before;
	if (alone || !db_in_transaction(tx->db)) {
		tx->broken = r < 0 ? r : 0;
		return r;
	}
	undo = r < 0 ? db_run(tx->db, SQL_SAVEPOINT_UNDO) : 0;
	if (undo == 0)
		undo = db_run(tx->db, SQL_SAVEPOINT_RELEASE);
	tx->broken = undo;
	return r < 0 ? r : undo < 0 ? undo : r;
}

static void cleanup_sqlite(void *p)
{
	sqlite3_free(*(void **)p);
}

static int store_changeset(struct tx *tx)
{
	__attribute__((cleanup(cleanup_sqlite))) void *data = NULL;
	AUTO_QUERY struct query q = { 0 };
	int len = 0, rc, r;

	if (sqlite3session_isempty(tx->session))
		return 0;
	r = state_set_meta_int(tx->db, "txn", tx->id);
	if (r < 0)
		return r;
	rc = sqlite3session_changeset(tx->session, &len, &data);
	if (rc != SQLITE_OK)
		return db_error(tx->db, rc, "make a changeset");
	query_init(&q, tx->db, SQL_JOURNAL_PUT);
	query_bind_int(&q, tx->id);
	query_bind_bytes(&q, data, (size_t)len);
	r = query_run(&q);
	if (r < 0)
		return r;
	tx->state.txn = tx->id;
	tx->state.journal_bytes += len;
	return 0;
}

static void publish(struct tx *tx)
{
	struct catalogue *c = tx->c;

	lock_take(&c->state_lock);
	c->state = tx->state;
	lock_drop(&c->state_lock);
}

static bool tally_changed(const struct tx *tx)
{
	const struct cat_state *a = &tx->c->state, *b = &tx->state;

	return memcmp(&a->counts, &b->counts, sizeof(a->counts)) != 0 ||
	       memcmp(a->next_id, b->next_id, sizeof(a->next_id)) != 0 ||
	       a->journal_bytes != b->journal_bytes || a->journalled_txn != b->journalled_txn ||
	       a->seq != b->seq;
}

int tx_commit(struct tx *tx)
{
	struct catalogue *c = tx->c;
	int r = store_changeset(tx);

	/* c->state is read without its lock: only this thread writes it. */
	if (r == 0 && tally_changed(tx))
		r = state_save_tally(tx->db, &tx->state);
	if (r == 0 && !c->opening)
		r = failpoint(COMMIT_BEFORE);
	if (r == 0 && catalogue_is_readonly(c))
		r = -EROFS; /* fenced meanwhile */
	if (r == 0)
		r = db_run(tx->db, SQL_COMMIT);
	tx_rollback(tx); /* nothing to roll back once committed */
	if (r < 0)
		return r;
	publish(tx);
	if (!c->opening)
		(void)failpoint(COMMIT_AFTER); /* too late to fail */
	return 0;
}
