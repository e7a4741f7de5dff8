/* SPDX-License-Identifier: MIT */
/*
 * Rows of packs: how much of each is still alive.
 *
 * Always true: files is the number of rows, in file and in trash, that point into
 * the pack; one with none has the time from which on it may be dropped.
 */
#include <errno.h>
#include <string.h>

#include "meta/catalogue_int.h"

static int load_pack(struct query *q, void *ret)
{
	struct pack_row row = {
		.id = (uint64_t)query_int_within(q, 1, INT64_MAX),
		.data_bytes = (uint64_t)query_int_within(q, 0, INT64_MAX),
		.size_bytes = (uint64_t)query_int_within(q, 0, INT64_MAX),
		.crc32c = (uint32_t)query_int_within(q, 0, UINT32_MAX),
		.files = query_int_within(q, 0, INT64_MAX),
		.live_bytes = query_int_within(q, 0, INT64_MAX),
		.due_ns = query_int_or(q, 0),
		.txn = query_int(q),
	};
	int r = query_status(q);

	if (r == 0)
		*(struct pack_row *)ret = row;
	return r;
}

static int get(struct db *db, uint64_t id, struct pack_row *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, SQL_PACK_GET);
	query_bind_int(&q, (int64_t)id);
	r = query_one(&q);
	return r < 0 ? r : load_pack(&q, ret);
}

int tx_pack_get(struct tx *tx, uint64_t id, struct pack_row *ret)
{
	return tx_answer(tx, get(tx->db, id, ret));
}

int tx_pack_put(struct tx *tx, const struct pack_row *row)
{
	AUTO_QUERY struct query q = { 0 };

	if (row->id == 0 || (row->files == 0) != (row->due_ns != 0))
		return -EINVAL;
	query_init(&q, tx->db, SQL_PACK_PUT);
	query_bind_int(&q, (int64_t)row->id);
	query_bind_int(&q, (int64_t)row->data_bytes);
	query_bind_int(&q, (int64_t)row->size_bytes);
	query_bind_int(&q, row->crc32c);
	query_bind_int(&q, row->files);
	query_bind_int(&q, row->live_bytes);
	query_bind_int_unless(&q, row->due_ns, 0);
	query_bind_int(&q, tx->id);
	return tx_result(tx, query_run(&q));
}

int tx_pack_lose(struct tx *tx, uint64_t id, int64_t files, int64_t bytes, int64_t due_ns)
{
	struct pack_row row;
	int r = get(tx->db, id, &row);

	if (r < 0)
		return tx_answer(tx, r);
	if (row.files < files || row.live_bytes < bytes)
		return tx_result(tx, db_damaged(tx->db, "a pack has lost more than it held"));
	row.files -= files;
	row.live_bytes -= bytes;
	if (row.files == 0)
		row.due_ns = due_ns;
	return tx_pack_put(tx, &row);
}

int tx_pack_delete(struct tx *tx, uint64_t id)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_PACK_DELETE);
	query_bind_int(&q, (int64_t)id);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	return db_changes(tx->db) == 1 ? 0 : -ENOENT;
}

int cat_pack_get(struct catalogue *c, uint64_t id, struct pack_row *ret)
{
	struct db *db;
	int r = reader_get(c, &db);

	return r < 0 ? r : get(db, id, ret);
}

int cat_packs_due(struct catalogue *c, uint64_t after, int64_t now_ns, struct pack_row *rows,
		  int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_PACK_DUE, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, (int64_t)after);
	query_bind_int(&q, now_ns);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_pack, NULL);
}

int cat_packs_poor(struct catalogue *c, uint64_t after, struct pack_row *rows, int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_PACK_POOR, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, (int64_t)after);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_pack, NULL);
}
