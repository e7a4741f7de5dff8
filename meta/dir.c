/* SPDX-License-Identifier: MIT */
/*
 * Rows of directories, and the texts of the paths they had.
 *
 * A directory's row holds its parent and its name, so renaming one, with
 * everything below it, changes one row.  Objects keep the path under which they
 * were written: table path holds each such text once.  (parent, name) is unique
 * because it is looked up here before it is written; see schema.def for why no
 * index enforces it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "meta/catalogue_int.h"

#define DEPTH_MAX 100000 /* of a tree; beyond it the rows go in a circle */

static void bind_dir(struct query *q, const struct dir_row *row)
{
	query_bind_int(q, row->id);
	query_bind_int(q, row->parent);
	query_bind_str(q, row->name);
	query_bind_int(q, (int64_t)row->ino);
	query_bind_int(q, row->attr.mode);
	query_bind_int(q, row->attr.uid);
	query_bind_int(q, row->attr.gid);
	query_bind_int(q, row->attr.atime_ns);
	query_bind_int(q, row->attr.mtime_ns);
	query_bind_int(q, row->attr.ctime_ns);
	query_bind_int(q, row->c_mtime_ns);
	query_bind_int(q, row->c_ctime_ns);
}

int dir_load(struct query *q, struct dir_row *row)
{
	row->id = query_int_within(q, 1, INT64_MAX);
	row->parent = query_int_within(q, 0, INT64_MAX);
	query_name(q, row->name);
	row->ino = (uint64_t)query_int(q);
	row->attr.mode = (mode_t)query_int_within(q, 0, UINT32_MAX);
	row->attr.uid = (uid_t)query_int_within(q, 0, UINT32_MAX);
	row->attr.gid = (gid_t)query_int_within(q, 0, UINT32_MAX);
	row->attr.size = 0;
	row->attr.atime_ns = query_int(q);
	row->attr.mtime_ns = query_int(q);
	row->attr.ctime_ns = query_int(q);
	row->c_mtime_ns = query_int(q);
	row->c_ctime_ns = query_int(q);
	return query_status(q);
}

static int one_dir(struct query *q, struct dir_row *ret)
{
	struct dir_row row;
	int r = query_one(q);

	if (r == 0)
		r = dir_load(q, &row);
	if (r == 0)
		*ret = row;
	return r;
}

int dir_row_get(struct db *db, dirid_t id, struct dir_row *ret)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_DIR_GET);
	query_bind_int(&q, id);
	return one_dir(&q, ret);
}

static int dir_find(struct db *db, dirid_t parent, const char *name, struct dir_row *ret)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_DIR_FIND);
	query_bind_int(&q, parent);
	query_bind_str(&q, name);
	return one_dir(&q, ret);
}

static int any(struct db *db, enum sql_id id, dirid_t dir)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, id);
	query_bind_int(&q, dir);
	return query_next(&q);
}

/* 1, 0 or an error. */
static int dir_is_empty(struct db *db, dirid_t id)
{
	int r = any(db, SQL_FILE_ANY, id);

	if (r == 0)
		r = any(db, SQL_DIR_ANY, id);
	return r < 0 ? r : !r;
}

/* ---- writing ---- */

int tx_dir_get(struct tx *tx, dirid_t id, struct dir_row *ret)
{
	return tx_answer(tx, dir_row_get(tx->db, id, ret));
}

int tx_dir_find(struct tx *tx, dirid_t parent, const char *name, struct dir_row *ret)
{
	return tx_answer(tx, dir_find(tx->db, parent, name, ret));
}

/* 0 when the place is free and its directory there; -EEXIST, -ENOENT. */
static int is_free(struct tx *tx, dirid_t parent, const char *name)
{
	struct dir_row row;
	int r = dir_row_get(tx->db, parent, &row);

	if (r < 0)
		return r;
	r = dir_find(tx->db, parent, name, &row);
	return r == 0 ? -EEXIST : r == -ENOENT ? 0 : r;
}

static int insert(struct tx *tx, const struct dir_row *row)
{
	AUTO_QUERY struct query q = { 0 };
	int r = is_free(tx, row->parent, row->name);

	if (r < 0)
		return r;
	query_init(&q, tx->db, SQL_DIR_INSERT);
	bind_dir(&q, row);
	r = query_run(&q);
	if (r == 0)
		tx->state.counts.dirs++;
	return r;
}

static int insert_new(struct tx *tx, struct dir_row *row)
{
	struct dir_row new = *row;
	int r;

	new.id = tx->state.next_id[ROW_DIR]++;
	r = insert(tx, &new);
	if (r == 0)
		row->id = new.id;
	return r;
}

/* Attributes of a row that stays where it is, or the whole row if it was deleted. */
static int update(struct tx *tx, const struct dir_row *row)
{
	AUTO_QUERY struct query q;
	struct dir_row old;
	int r;

	query_init(&q, tx->db, SQL_DIR_UPDATE);
	bind_dir(&q, row);
	r = query_run(&q);
	if (r < 0 || db_changes(tx->db) == 1)
		return r;
	r = dir_row_get(tx->db, row->id, &old);
	if (r == 0)
		return -EINVAL;
	if (r == -ENOENT && row->id > 0 && row->id < tx->state.next_id[ROW_DIR])
		return insert(tx, row);
	return r;
}

int tx_dir_put(struct tx *tx, struct dir_row *row)
{
	int r;

	if (row->id != ROW_ROOT_DIR && !row_is_name(row->name))
		return -EINVAL;
	r = row->id == 0 ? insert_new(tx, row) : update(tx, row);
	return r == -EINVAL ? r : tx_answer(tx, r);
}

int tx_dir_delete(struct tx *tx, dirid_t id)
{
	AUTO_QUERY struct query q = { 0 };
	int r = dir_is_empty(tx->db, id);

	if (r < 0)
		return tx_result(tx, r);
	if (r == 0)
		return -ENOTEMPTY;
	if (id == ROW_ROOT_DIR)
		return -EBUSY;
	tx->known_dir = 0;
	query_init(&q, tx->db, SQL_DIR_DELETE);
	query_bind_int(&q, id);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	if (db_changes(tx->db) == 0)
		return -ENOENT;
	tx->state.counts.dirs--;
	return 0;
}

/* 1: id is dir or above it; 0; or an error. */
static int is_above(struct tx *tx, dirid_t id, dirid_t dir)
{
	struct dir_row row;
	int r;

	for (int depth = 0; dir != 0; depth++) {
		if (dir == id)
			return 1;
		if (depth > DEPTH_MAX)
			return db_damaged(tx->db, "directories go in a circle");
		r = dir_row_get(tx->db, dir, &row);
		if (r < 0)
			return r;
		dir = row.parent;
	}
	return 0;
}

int tx_dir_move(struct tx *tx, dirid_t id, dirid_t new_parent, const char *new_name)
{
	AUTO_QUERY struct query q = { 0 };
	int r;

	if (new_name[0] && !row_is_name(new_name))
		return -EINVAL;
	r = is_above(tx, id, new_parent);
	if (r > 0)
		return -EINVAL;
	if (r == 0)
		r = is_free(tx, new_parent, new_name);
	if (r < 0)
		return tx_answer(tx, r);
	query_init(&q, tx->db, SQL_DIR_MOVE);
	query_bind_int(&q, id);
	query_bind_int(&q, new_parent);
	query_bind_str(&q, new_name);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	return db_changes(tx->db) == 1 ? 0 : -ENOENT;
}

static int find_path(struct db *db, const char *path, int64_t *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, SQL_PATH_FIND);
	query_bind_str(&q, path);
	r = query_one(&q);
	if (r == 0)
		*ret = query_int(&q);
	return r;
}

int tx_path_id(struct tx *tx, const char *path, int64_t *ret)
{
	AUTO_QUERY struct query q = { 0 };
	int64_t id;
	int r = find_path(tx->db, path, ret);

	if (r != -ENOENT)
		return tx_result(tx, r);
	id = tx->state.next_id[ROW_PATH]++;
	query_init(&q, tx->db, SQL_PATH_INSERT);
	query_bind_int(&q, id);
	query_bind_str(&q, path);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	*ret = id;
	return 0;
}

/* ---- reading ---- */

int cat_dir_get(struct catalogue *c, dirid_t id, struct dir_row *ret)
{
	struct db *db;
	int r = reader_get(c, &db);

	return r < 0 ? r : dir_row_get(db, id, ret);
}

int cat_dir_find(struct catalogue *c, dirid_t parent, const char *name, struct dir_row *ret)
{
	struct db *db;
	int r = reader_get(c, &db);

	return r < 0 ? r : dir_find(db, parent, name, ret);
}

int cat_dir_is_empty(struct catalogue *c, dirid_t id)
{
	struct db *db;
	int r = reader_get(c, &db);

	return r < 0 ? r : dir_is_empty(db, id);
}

static int load_dir(struct query *q, void *ret)
{
	return dir_load(q, ret);
}

int cat_dirs_after(struct catalogue *c, dirid_t parent, const char *after, struct dir_row *rows,
		   int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_DIR_AFTER, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, parent);
	query_bind_str(&q, after);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_dir, NULL);
}

/* Puts "name" or "name/" before what text holds; text is replaced. */
static int prepend(const char *name, char **text)
{
	size_t len = strlen(name), rest = strlen(*text);
	char *new = malloc(len + rest + 2);

	if (!new)
		return -ENOMEM;
	memcpy(new, name, len);
	if (rest > 0)
		new[len++] = '/';
	memcpy(new + len, *text, rest + 1);
	free(*text);
	*text = new;
	return 0;
}

/* One statement, so that a rename meanwhile cannot mix two paths. */
int cat_dir_path(struct catalogue *c, dirid_t id, char **ret)
{
	AUTO_QUERY struct query q = { 0 };
	AUTO_FREE char *text = strdup("");
	char name[ROW_NAME_MAX + 1];
	int64_t parent = -1;
	struct db *db;
	int r = text ? reader_get(c, &db) : -ENOMEM;

	if (r < 0)
		return r;
	query_init(&q, db, SQL_DIR_UP);
	query_bind_int(&q, id);
	query_bind_int(&q, DEPTH_MAX);
	while ((r = query_next(&q)) > 0) {
		parent = query_int_within(&q, 0, INT64_MAX);
		query_name(&q, name);
		r = query_status(&q);
		if (r == 0 && parent != 0)
			r = prepend(name, &text);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (parent == -1)
		return -ENOENT;
	if (parent != 0)
		return db_damaged(db, "a directory does not hang below the root");
	*ret = TAKE_PTR(text);
	return 0;
}

int cat_path_text(struct catalogue *c, int64_t path_id, char **ret)
{
	AUTO_QUERY struct query q = { 0 };
	char *text = NULL;
	int r = reader_query(c, SQL_PATH_GET, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, path_id);
	r = query_one(&q);
	if (r == 0) {
		text = query_str(&q);
		r = query_status(&q);
	}
	if (r < 0)
		return r;
	*ret = text;
	return 0;
}
