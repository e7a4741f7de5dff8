/* SPDX-License-Identifier: MIT */
/*
 * The journal as the store gets it: parts, each a run of whole transactions.
 *
 *	journal_out   ... 41 42 43 | 44 45 46 47 ...	one changeset a transaction
 *	                  fixed    | waits
 *	journal_ship  seq 7: 41-43			at most one row
 *
 * A part's sequence number and range are a row, synced, before anybody sees the
 * part; so after a crash the same number gets the same bytes, and the store's
 * create-exclusive tells our own retry from another owner.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "meta/catalogue_int.h"

int64_t catalogue_journalled_txn(struct catalogue *c)
{
	return state_now(c).journalled_txn;
}

uint64_t catalogue_journal_seq(struct catalogue *c)
{
	return state_now(c).seq;
}

int64_t catalogue_journal_backlog(struct catalogue *c)
{
	return state_now(c).journal_bytes;
}

/* The fixed part's number and range; -ENOENT when none is fixed. */
static int get_fixed(struct db *db, struct journal_part *ret)
{
	AUTO_QUERY struct query q;
	struct journal_part part = { 0 };
	int r;

	query_init(&q, db, SQL_SHIP_GET);
	r = query_one(&q);
	if (r < 0)
		return r;
	part.seq = (uint64_t)query_int_within(&q, 1, INT64_MAX);
	part.first_txn = query_int_within(&q, 1, INT64_MAX);
	part.last_txn = query_int_within(&q, part.first_txn, INT64_MAX);
	r = query_status(&q);
	if (r == 0)
		*ret = part;
	return r;
}

/* How far a part reaches that begins after txn. */
static int reach(struct db *db, int64_t txn, size_t max_bytes, int64_t *ret)
{
	AUTO_QUERY struct query q;
	size_t bytes = 0;
	int64_t last = txn;
	int r;

	query_init(&q, db, SQL_JOURNAL_SIZES);
	query_bind_int(&q, txn);
	while ((r = query_next(&q)) > 0) {
		int64_t id = query_int(&q);

		bytes += (size_t)query_int_within(&q, 0, INT32_MAX);
		if (bytes > max_bytes && last != txn)
			break;
		last = id;
	}
	if (r < 0)
		return r;
	if (last == txn)
		return -ENODATA;
	*ret = last;
	return query_status(&q);
}

static int put_fixed(struct db *db, const struct journal_part *part)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_SHIP_PUT);
	query_bind_int(&q, (int64_t)part->seq);
	query_bind_int(&q, part->first_txn);
	query_bind_int(&q, part->last_txn);
	return query_run(&q);
}

struct fix {
	size_t max_bytes;
	struct journal_part part;
};

static int run_fix(struct tx *tx, void *arg)
{
	struct fix *fix = arg;
	int r;

	fix->part.seq = tx->state.seq;
	fix->part.first_txn = tx->state.journalled_txn + 1;
	r = reach(tx->db, tx->state.journalled_txn, fix->max_bytes, &fix->part.last_txn);
	if (r == -ENODATA)
		return r;
	if (r == 0)
		r = put_fixed(tx->db, &fix->part);
	return tx_result(tx, r);
}

/* Puts the rows of one transaction after what data holds. */
static int append(struct query *q, char **data, size_t *len)
{
	size_t more;
	const void *p = query_bytes(q, &more);
	char *new;

	if (!p)
		return query_status(q);
	new = realloc(*data, *len + more);
	if (!new)
		return -ENOMEM;
	memcpy(new + *len, p, more);
	*data = new;
	*len += more;
	return 0;
}

static int read_part(struct db *db, struct journal_part *part)
{
	AUTO_QUERY struct query q;
	AUTO_FREE char *data = NULL;
	int64_t txn = part->first_txn;
	size_t len = 0;
	int r;

	query_init(&q, db, SQL_JOURNAL_READ);
	query_bind_int(&q, part->first_txn);
	query_bind_int(&q, part->last_txn);
	while ((r = query_next(&q)) > 0) {
		if (query_int(&q) != txn++)
			return db_damaged(db, "the journal has a hole");
		r = append(&q, &data, &len);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (txn != part->last_txn + 1 || len == 0)
		return db_damaged(db, "the journal lacks transactions that are to be shipped");
	part->data = TAKE_PTR(data);
	part->len_bytes = len;
	return 0;
}

int catalogue_journal_fixed(struct catalogue *c, struct journal_part *ret)
{
	struct journal_part part;
	struct db *db;
	int r;

	r = reader_get(c, &db);
	if (r == 0)
		r = get_fixed(db, &part);
	if (r == -ENOENT)
		return -ENODATA;
	if (r == 0)
		r = read_part(db, &part);
	if (r == 0)
		*ret = part;
	return r;
}

int catalogue_journal_next(struct catalogue *c, size_t max_bytes, struct journal_part *ret)
{
	struct fix fix = { .max_bytes = max_bytes };
	int r;

	if (catalogue_is_readonly(c))
		return -EROFS;
	if (catalogue_journal_backlog(c) == 0)
		return -ENODATA;
	r = catalogue_journal_fixed(c, ret);
	if (r != -ENODATA)
		return r;
	r = catalogue_write(c, SYNC_FULL, run_fix, &fix);
	return r < 0 ? r : catalogue_journal_fixed(c, ret);
}

/* ---- acknowledged ---- */

static int total(struct db *db, const struct journal_part *part, int64_t *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, SQL_JOURNAL_TOTAL);
	query_bind_int(&q, part->first_txn);
	query_bind_int(&q, part->last_txn);
	r = query_one(&q);
	if (r == 0)
		*ret = query_int(&q);
	return r;
}

static int delete_rows(struct db *db, const struct journal_part *part)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_JOURNAL_DELETE);
	query_bind_int(&q, part->first_txn);
	query_bind_int(&q, part->last_txn);
	return query_run(&q);
}

static int delete_fixed(struct db *db, const struct journal_part *part)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_SHIP_DELETE);
	query_bind_int(&q, (int64_t)part->seq);
	return query_run(&q);
}

static int run_ack(struct tx *tx, void *arg)
{
	const struct journal_part *part = arg;
	struct journal_part fixed;
	int64_t bytes = 0;
	int r;

	r = get_fixed(tx->db, &fixed);
	if (r == -ENOENT)
		return -EINVAL;
	if (r == 0 && (fixed.seq != part->seq || fixed.last_txn != part->last_txn ||
		       fixed.first_txn != part->first_txn))
		return -EINVAL;
	if (r < 0 || (r = total(tx->db, part, &bytes)) < 0 || (r = delete_rows(tx->db, part)) < 0 ||
	    (r = delete_fixed(tx->db, part)) < 0 ||
	    (r = checkpoint_count_shipped(tx->db, &tx->state, (size_t)bytes)) < 0)
		return tx_result(tx, r);
	tx->state.journal_bytes -= bytes;
	tx->state.journalled_txn = part->last_txn;
	tx->state.seq = part->seq + 1;
	return 0;
}

int catalogue_journal_acked(struct catalogue *c, const struct journal_part *part)
{
	struct journal_part range = *part;

	return catalogue_write(c, SYNC_NORMAL, run_ack, &range);
}
