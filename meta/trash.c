/* SPDX-License-Identifier: MIT */
/*
 * The trash: rows whose names were removed or replaced, until their objects are
 * dropped.  A trash row is the whole file row, so it can come back; its txn is
 * the transaction that put it here, so that a drop can wait until that one is
 * journalled.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "meta/catalogue_int.h"

void trash_row_fini(struct trash_row *row)
{
	free(row->path);
	row->path = NULL;
}

static int load_trash(struct query *q, void *ret)
{
	struct trash_row row;
	int r;

	row.id = query_int_within(q, 1, INT64_MAX);
	row.path = query_str(q);
	row.reason = (enum trash_reason)query_int_within(q, TRASH_REMOVED, TRASH_ORPHAN);
	row.removed_ns = query_int(q);
	row.due_ns = query_int(q);
	r = file_load(q, &row.file);
	if (r < 0)
		trash_row_fini(&row);
	else
		*(struct trash_row *)ret = row;
	return r;
}

static int one_trash(struct query *q, struct trash_row *ret)
{
	int r = query_one(q);

	return r < 0 ? r : load_trash(q, ret);
}

int tx_trash_put(struct tx *tx, struct trash_row *row)
{
	AUTO_QUERY struct query q;
	int64_t id = tx->state.next_id[ROW_TRASH]++;
	int r;

	query_init(&q, tx->db, SQL_TRASH_INSERT);
	query_bind_int(&q, id);
	query_bind_str(&q, row->path);
	query_bind_int(&q, row->reason);
	query_bind_int(&q, row->removed_ns);
	query_bind_int(&q, row->due_ns);
	file_bind(&q, &row->file, tx->id);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	tx->state.counts.trash++;
	tx->state.counts.trash_bytes += (int64_t)row->file.attr.size;
	row->id = id;
	return 0;
}

int tx_trash_file(struct tx *tx, const struct file_row *row, const char *path,
		  enum trash_reason reason, int64_t due_ns, int64_t *ret_id)
{
	struct trash_row trash = {
		.path = (char *)path, /* only bound */
		.file = *row,
		.reason = reason,
		.removed_ns = clock_real_ns(),
		.due_ns = due_ns,
	};
	struct file_row now;
	int r = tx_file_get(tx, row->dir, row->name, &now);

	/* Rewriting a pack asks nobody: the place is the one of this moment. */
	if (r == 0 && now.attempt == row->attempt) {
		trash.file.pack = now.pack;
		trash.file.pack_off = now.pack_off;
	}
	if (r == 0)
		r = tx_file_delete(tx, row->dir, row->name);
	if (r == 0)
		r = tx_trash_put(tx, &trash);
	if (r == 0 && ret_id)
		*ret_id = trash.id;
	return r;
}

int tx_trash_get(struct tx *tx, int64_t id, struct trash_row *ret)
{
	AUTO_QUERY struct query q;

	query_init(&q, tx->db, SQL_TRASH_GET);
	query_bind_int(&q, id);
	return tx_answer(tx, one_trash(&q, ret));
}

static int trash_size(struct tx *tx, int64_t id, int64_t *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_TRASH_SIZE);
	query_bind_int(&q, id);
	r = query_one(&q);
	if (r == 0)
		*ret = query_int(&q);
	return r;
}

int tx_trash_delete(struct tx *tx, int64_t id)
{
	AUTO_QUERY struct query q = { 0 };
	int64_t size = 0;
	int r = trash_size(tx, id, &size);

	if (r < 0)
		return tx_answer(tx, r);
	query_init(&q, tx->db, SQL_TRASH_DELETE);
	query_bind_int(&q, id);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	tx->state.counts.trash--;
	tx->state.counts.trash_bytes -= size;
	return 0;
}

int cat_trash_find_same(struct catalogue *c, uint64_t ino, uint64_t size, uint32_t crc32c,
			struct trash_row *ret)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_TRASH_SAME, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, (int64_t)ino);
	query_bind_int(&q, (int64_t)size);
	query_bind_int(&q, crc32c);
	return one_trash(&q, ret);
}

int tx_trash_locate(struct tx *tx, int64_t id, uint64_t pack, uint64_t pack_off)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_TRASH_MOVE);
	query_bind_int(&q, id);
	query_bind_int_unless(&q, (int64_t)pack, 0);
	query_bind_int_unless(&q, (int64_t)pack_off, 0);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	return db_changes(tx->db) == 1 ? 0 : -ENOENT;
}

static void fini_trash(void *row)
{
	trash_row_fini(row);
}

int cat_trash_after(struct catalogue *c, int64_t after, struct trash_row *rows, int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_TRASH_AFTER, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, after);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_trash, fini_trash);
}

int cat_trash_due(struct catalogue *c, const struct trash_place *after, int64_t due_ns,
		  struct trash_row *rows, int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_TRASH_DUE, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, after->due_ns);
	query_bind_int(&q, after->id);
	query_bind_int(&q, due_ns);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_trash, fini_trash);
}

int cat_pack_trash(struct catalogue *c, uint64_t pack, int64_t after, struct trash_row *rows,
		   int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_TRASH_PACKED, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, (int64_t)pack);
	query_bind_int(&q, after);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_trash, fini_trash);
}
