/* SPDX-License-Identifier: MIT */
/*
 * Rows of files: what is in the store under which name.
 *
 * The key is (directory, name).  A row whose name changes keeps naming its object
 * by objname (and objdir), so a rename touches one row and no object.  Every
 * change notes its transaction in the row: release asks whether it is journalled.
 */
#include <errno.h>
#include <string.h>

#include "meta/catalogue_int.h"

bool row_is_name(const char *name)
{
	size_t len = strnlen(name, ROW_NAME_MAX + 1);

	return len > 0 && len <= ROW_NAME_MAX && !strchr(name, '/');
}

void file_bind(struct query *q, const struct file_row *row, int64_t txn)
{
	bool named = row->objname[0] && strcmp(row->objname, row->name) != 0;

	query_bind_int(q, row->dir);
	query_bind_str(q, row->name);
	query_bind_int(q, (int64_t)row->ino);
	query_bind_int(q, row->attr.mode);
	query_bind_int(q, row->attr.uid);
	query_bind_int(q, row->attr.gid);
	query_bind_int(q, (int64_t)row->attr.size);
	query_bind_int(q, row->attr.atime_ns);
	query_bind_int(q, row->attr.mtime_ns);
	query_bind_int(q, row->attr.ctime_ns);
	query_bind_int(q, row->crc32c);
	query_bind_int(q, row->object);
	query_bind_int(q, row->objdir);
	query_bind_str(q, named ? row->objname : NULL);
	query_bind_int(q, (int64_t)row->attempt);
	query_bind_int_unless(q, (int64_t)row->pack, 0);
	query_bind_int_unless(q, (int64_t)row->pack_off, 0);
	query_bind_int(q, (int64_t)row->id.ino);
	query_bind_int_unless(q, row->id.mtime_ns, row->attr.mtime_ns);
	query_bind_int_unless(q, row->id.ctime_ns, row->attr.ctime_ns);
	query_bind_int(q, txn);
	query_bind_int(q, row->told);
}

int file_load(struct query *q, struct file_row *ret)
{
	ret->dir = query_int(q);
	query_name(q, ret->name);
	ret->ino = (uint64_t)query_int(q);
	ret->attr.mode = (mode_t)query_int_within(q, 0, UINT32_MAX);
	ret->attr.uid = (uid_t)query_int_within(q, 0, UINT32_MAX);
	ret->attr.gid = (gid_t)query_int_within(q, 0, UINT32_MAX);
	ret->attr.size = (uint64_t)query_int_within(q, 0, INT64_MAX);
	ret->attr.atime_ns = query_int(q);
	ret->attr.mtime_ns = query_int(q);
	ret->attr.ctime_ns = query_int(q);
	ret->crc32c = (uint32_t)query_int_within(q, 0, UINT32_MAX);
	ret->object = (enum row_object)query_int_within(q, ROW_OBJECT_PATH, ROW_OBJECT_PACK);
	ret->objdir = query_int(q);
	query_name(q, ret->objname);
	ret->attempt = (uint64_t)query_int(q);
	ret->pack = (uint64_t)query_int_or(q, 0);
	ret->pack_off = (uint64_t)query_int_or(q, 0);
	ret->id.ino = (uint64_t)query_int(q);
	ret->id.size = ret->attr.size;
	ret->id.mtime_ns = query_int_or(q, ret->attr.mtime_ns);
	ret->id.ctime_ns = query_int_or(q, ret->attr.ctime_ns);
	ret->txn = query_int(q);
	ret->told = query_int(q) != 0;
	return query_status(q);
}

static int file_get(struct db *db, dirid_t dir, const char *name, struct file_row *ret)
{
	AUTO_QUERY struct query q;
	struct file_row row;
	int r;

	query_init(&q, db, SQL_FILE_GET);
	query_bind_int(&q, dir);
	query_bind_str(&q, name);
	r = query_one(&q);
	if (r == 0)
		r = file_load(&q, &row);
	if (r == 0)
		*ret = row;
	return r;
}

/* ---- writing ---- */

static int exists(struct tx *tx, dirid_t dir)
{
	struct dir_row row;
	int r;

	if (dir == tx->known_dir)
		return 0;
	r = dir_row_get(tx->db, dir, &row);
	if (r == 0)
		tx->known_dir = dir;
	return r;
}

static int put(struct tx *tx, enum sql_id how, const struct file_row *row)
{
	AUTO_QUERY struct query q;

	query_init(&q, tx->db, how);
	file_bind(&q, row, tx->id);
	return query_run(&q);
}

static int size_of(struct tx *tx, dirid_t dir, const char *name, int64_t *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_FILE_SIZE);
	query_bind_int(&q, dir);
	query_bind_str(&q, name);
	r = query_one(&q);
	if (r == 0)
		*ret = query_int(&q);
	return r;
}

/* A new row is the common case and costs one statement. */
static int put_file(struct tx *tx, const struct file_row *row)
{
	int64_t old;
	int r = put(tx, SQL_FILE_INSERT, row);

	if (r < 0)
		return r;
	if (db_changes(tx->db) == 1) {
		tx->state.counts.files++;
		tx->state.counts.file_bytes += (int64_t)row->attr.size;
		return 0;
	}
	r = size_of(tx, row->dir, row->name, &old);
	if (r == 0)
		r = put(tx, SQL_FILE_REPLACE, row);
	if (r == 0)
		tx->state.counts.file_bytes += (int64_t)row->attr.size - old;
	return r;
}

static int delete_file(struct tx *tx, dirid_t dir, const char *name, int64_t size)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_FILE_DELETE);
	query_bind_int(&q, dir);
	query_bind_str(&q, name);
	r = query_run(&q);
	if (r < 0)
		return r;
	tx->state.counts.files--;
	tx->state.counts.file_bytes -= size;
	return 0;
}

/* The row under another key; its object keeps its name. */
static void rekey(struct file_row *row, dirid_t dir, const char *name)
{
	if (!row->objname[0])
		strcpy(row->objname, row->name);
	row->dir = dir;
	strcpy(row->name, name);
}

int tx_file_get(struct tx *tx, dirid_t dir, const char *name, struct file_row *ret)
{
	return tx_answer(tx, file_get(tx->db, dir, name, ret));
}

int tx_file_put(struct tx *tx, const struct file_row *row)
{
	int r;

	if (!row_is_name(row->name) || row->id.size != row->attr.size || row->attr.size > INT64_MAX)
		return -EINVAL;
	r = exists(tx, row->dir);
	if (r == 0)
		r = put_file(tx, row);
	return tx_answer(tx, r);
}

int tx_file_delete(struct tx *tx, dirid_t dir, const char *name)
{
	int64_t size = 0;
	int r = size_of(tx, dir, name, &size);

	if (r == 0)
		r = delete_file(tx, dir, name, size);
	return tx_answer(tx, r);
}

int tx_file_move(struct tx *tx, dirid_t dir, const char *name, dirid_t new_dir,
		 const char *new_name)
{
	struct file_row row;
	int64_t size = 0;
	int r;

	if (!row_is_name(new_name))
		return -EINVAL;
	r = file_get(tx->db, dir, name, &row);
	if (r < 0)
		return tx_answer(tx, r);
	r = size_of(tx, new_dir, new_name, &size);
	if (r == 0)
		return -EEXIST;
	if (r == -ENOENT)
		r = exists(tx, new_dir);
	if (r == 0)
		r = delete_file(tx, dir, name, (int64_t)row.attr.size);
	rekey(&row, new_dir, new_name);
	if (r == 0)
		r = put_file(tx, &row);
	return tx_answer(tx, r);
}

int tx_file_swap(struct tx *tx, dirid_t dir_a, const char *a, dirid_t dir_b, const char *b)
{
	struct file_row row_a, row_b;
	int r;

	r = file_get(tx->db, dir_a, a, &row_a);
	if (r == 0)
		r = file_get(tx->db, dir_b, b, &row_b);
	if (r < 0)
		return tx_answer(tx, r);
	rekey(&row_a, dir_b, b);
	rekey(&row_b, dir_a, a);
	r = put_file(tx, &row_a);
	if (r == 0)
		r = put_file(tx, &row_b);
	return tx_answer(tx, r);
}

/* ---- reading ---- */

int cat_file_get(struct catalogue *c, dirid_t dir, const char *name, struct file_row *ret)
{
	struct db *db;
	int r = reader_get(c, &db);

	return r < 0 ? r : file_get(db, dir, name, ret);
}

static int load_file(struct query *q, void *ret)
{
	return file_load(q, ret);
}

int cat_files_after(struct catalogue *c, dirid_t dir, const char *after, struct file_row *rows,
		    int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_FILE_AFTER, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, dir);
	query_bind_str(&q, after);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_file, NULL);
}

int cat_find_name(struct catalogue *c, const char *name, struct file_row *rows, int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_FILE_NAMED, &q);

	if (r < 0)
		return r;
	query_bind_str(&q, name);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_file, NULL);
}

static int find_packed(struct db *db, enum sql_id how, const char *name, uint64_t pack,
		       struct file_row *rows, int max)
{
	AUTO_QUERY struct query q = { 0 };

	query_init(&q, db, how);
	query_bind_str(&q, name);
	query_bind_int(&q, (int64_t)pack);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_file, NULL);
}

int cat_pack_files(struct catalogue *c, uint64_t pack, const char *name, struct file_row *rows,
		   int max)
{
	struct db *db;
	int r = reader_get(c, &db), n;

	if (r < 0)
		return r;
	n = find_packed(db, SQL_FILE_PACKED, name, pack, rows, max);
	if (n < 0)
		return n;
	r = find_packed(db, SQL_FILE_PACKED_OBJ, name, pack, rows + n, max - n);
	return r < 0 ? r : n + r;
}
