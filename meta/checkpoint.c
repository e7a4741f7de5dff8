/* SPDX-License-Identifier: MIT */
/*
 * What the catalogue remembers of its checkpoints in the store.
 *
 *	begun --all parts and the end in the store--> complete --grace--> what is before it goes
 *
 * A checkpoint is known by seq: the first part of the journal that is applied after
 * it.  Always true: no two begin with the same seq, so that a part which an earlier
 * try left in the store is never taken for a part of this one.
 *
 * How much journal there is counts in what it takes in a store, where an object has
 * at least a block: many small parts are as long to read as few large ones.
 */
#include <errno.h>
#include <sys/stat.h>

#include "meta/catalogue_int.h"

#define OBJECT_BLOCK 4096

static int load_newest(struct db *db, struct checkpoint_row *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, SQL_CHECKPOINT_NEWEST);
	r = query_one(&q);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	ret->seq = (uint64_t)query_int_within(&q, 1, INT64_MAX);
	ret->mark = query_int_within(&q, 0, INT64_MAX);
	ret->done_ns = query_int_within(&q, 1, INT64_MAX);
	return query_status(&q);
}

int checkpoint_load(struct db *db, struct cat_state *ret)
{
	AUTO_QUERY struct query q;
	int r;

	ret->shipped_bytes = 0;
	ret->dropped = 1;
	query_init(&q, db, SQL_SHIPPED_GET);
	r = query_one(&q);
	if (r == 0) {
		ret->shipped_bytes = query_int_within(&q, 0, INT64_MAX);
		ret->dropped = (uint64_t)query_int_within(&q, 1, INT64_MAX);
		r = query_status(&q);
	}
	return r < 0 && r != -ENOENT ? r : load_newest(db, &ret->checkpoint);
}

static int set_shipped(struct db *db, int64_t bytes, uint64_t dropped)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_SHIPPED_SET);
	query_bind_int(&q, bytes);
	query_bind_int(&q, (int64_t)dropped);
	return query_run(&q);
}

int64_t checkpoint_object_bytes(size_t bytes)
{
	return (int64_t)((bytes + OBJECT_BLOCK - 1) / OBJECT_BLOCK * OBJECT_BLOCK);
}

int checkpoint_count_shipped(struct db *db, struct cat_state *state, size_t bytes)
{
	int64_t sum = state->shipped_bytes + checkpoint_object_bytes(bytes);
	int r = set_shipped(db, sum, state->dropped);

	if (r == 0)
		state->shipped_bytes = sum;
	return r;
}

int checkpoint_read_txn(struct db *db, int64_t *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, SQL_META_TXN);
	r = query_one(&q);
	if (r < 0)
		return r == -ENOENT ? db_damaged(db, "table meta lacks the transaction") : r;
	*ret = query_int(&q);
	return 0;
}

static int put_row(struct db *db, const struct checkpoint_row *row)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_CHECKPOINT_PUT);
	query_bind_int(&q, (int64_t)row->seq);
	query_bind_int(&q, row->mark);
	query_bind_int(&q, row->done_ns);
	return query_run(&q);
}

int checkpoint_restore(struct db *db, const struct checkpoint_row *row, int64_t shipped_bytes,
		       uint64_t dropped)
{
	int r = set_shipped(db, shipped_bytes, dropped);

	return r == 0 && row->seq > 0 ? put_row(db, row) : r;
}

/* ---- begun, complete, dropped ---- */

static int ask_seq(struct db *db, enum sql_id id, const int64_t *bound, uint64_t *ret)
{
	AUTO_QUERY struct query q;
	uint64_t seq;
	int r;

	query_init(&q, db, id);
	if (bound)
		query_bind_int(&q, *bound);
	r = query_one(&q);
	if (r < 0)
		return r;
	seq = (uint64_t)query_int_within(&q, 0, INT64_MAX);
	r = query_status(&q);
	if (r == 0)
		*ret = seq;
	return r;
}

static int run_begin(struct tx *tx, void *arg)
{
	struct checkpoint_row row = { .seq = tx->state.seq, .mark = tx->state.shipped_bytes };
	uint64_t last;
	int r = ask_seq(tx->db, SQL_CHECKPOINT_BEGUN, NULL, &last);

	if (r == 0 && row.seq <= last)
		return -EAGAIN;
	if (r == 0)
		r = put_row(tx->db, &row);
	if (r == 0)
		*(uint64_t *)arg = row.seq;
	return tx_result(tx, r);
}

int catalogue_checkpoint_begin(struct catalogue *c, uint64_t *ret)
{
	return catalogue_write(c, SYNC_FULL, run_begin, ret);
}

static int run_done(struct tx *tx, void *arg)
{
	const struct checkpoint_row *row = arg;
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_CHECKPOINT_DONE);
	query_bind_int(&q, (int64_t)row->seq);
	query_bind_int(&q, row->done_ns);
	r = query_run(&q);
	if (r == 0 && db_changes(tx->db) != 1)
		return -EINVAL;
	if (r == 0)
		r = load_newest(tx->db, &tx->state.checkpoint);
	return tx_result(tx, r);
}

int catalogue_checkpoint_done(struct catalogue *c, uint64_t seq, int64_t now_ns)
{
	struct checkpoint_row row = { .seq = seq, .done_ns = now_ns };

	return now_ns <= 0 ? -EINVAL : catalogue_write(c, SYNC_FULL, run_done, &row);
}

int catalogue_checkpoint_done_by(struct catalogue *c, int64_t done_ns, uint64_t *ret)
{
	struct db *db;
	int r = reader_get(c, &db);

	return r < 0 ? r : ask_seq(db, SQL_CHECKPOINT_DONE_BY, &done_ns, ret);
}

static int run_dropped(struct tx *tx, void *arg)
{
	AUTO_QUERY struct query q = { 0 };
	uint64_t below = *(uint64_t *)arg;
	int r;

	if (below < tx->state.dropped || below > tx->state.checkpoint.seq)
		return -EINVAL;
	r = set_shipped(tx->db, tx->state.shipped_bytes, below);
	query_init(&q, tx->db, SQL_CHECKPOINT_FORGET);
	query_bind_int(&q, (int64_t)below);
	if (r == 0)
		r = query_run(&q);
	if (r == 0)
		tx->state.dropped = below;
	return tx_result(tx, r);
}

int catalogue_journal_dropped(struct catalogue *c, uint64_t below)
{
	return catalogue_write(c, SYNC_NORMAL, run_dropped, &below);
}

/* ---- what is known ---- */

int catalogue_checkpoint_status(struct catalogue *c, struct checkpoint_status *ret)
{
	struct cat_state s = state_now(c);
	struct stat st;

	if (stat(c->file, &st) < 0)
		return -errno;
	*ret = (struct checkpoint_status){
		.seq = s.checkpoint.seq,
		.done_ns = s.checkpoint.done_ns,
		.since_bytes = s.shipped_bytes - s.checkpoint.mark,
		.dropped = s.dropped,
		.catalogue_bytes = st.st_size,
	};
	return 0;
}
