/* SPDX-License-Identifier: MIT */
/*
 * The tables, and whether a file holds them.
 *
 * The header of the file says what it is: application id "Ebbs" and user version
 * (the format).  Both are written in the transaction that makes the tables, so a
 * creation that was cut short leaves an empty database, not half of one.  A
 * rebuild begins with the id "Ebbr" and ends with "Ebbs".
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "meta/catalogue_int.h"

#define ID_CATALOGUE 0x45626273	 /* "Ebbs" */
#define ID_REBUILDING 0x45626272 /* "Ebbr" */

static const char *const statements[] = {
#define TABLE(name, journalled, text) "CREATE TABLE " #name text,
#define ADDED(name, text) "CREATE TABLE " #name text,
#define INDEX(text) "CREATE INDEX " text,
#define ROW(text) "INSERT INTO " text,
#include "meta/schema.def"
#undef TABLE
#undef ADDED
#undef INDEX
#undef ROW
};

#define JOURNALLED_0(name)
#define JOURNALLED_1(name) #name,
const char *const schema_journalled[] = {
#define TABLE(name, journalled, text) JOURNALLED_##journalled(name)
#define ADDED(name, text)
#define INDEX(text)
#define ROW(text)
#include "meta/schema.def"
#undef TABLE
#undef ADDED
#undef INDEX
#undef ROW
	NULL
};

#define JOURNALLED_TEXT_0(name, text)
#define JOURNALLED_TEXT_1(name, text) "CREATE TABLE " #name text,
static const char *const journalled_statements[] = {
#define TABLE(name, journalled, text) JOURNALLED_TEXT_##journalled(name, text)
#define ADDED(name, text)
#define INDEX(text)
#define ROW(text)
#include "meta/schema.def"
#undef TABLE
#undef ADDED
#undef INDEX
#undef ROW
};

static const char *const added_statements[] = {
#define TABLE(name, journalled, text)
#define ADDED(name, text) "CREATE TABLE IF NOT EXISTS " #name text,
#define INDEX(text)
#define ROW(text)
#include "meta/schema.def"
#undef TABLE
#undef ADDED
#undef INDEX
#undef ROW
};

static int exec_all(struct db *db, const char *const *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int rc = sqlite3_exec(db->handle, text[i], NULL, NULL, NULL);

		if (rc != SQLITE_OK)
			return db_error(db, rc, "make the tables");
	}
	return 0;
}

int schema_add(struct db *db)
{
	return exec_all(db, added_statements, sizeof(added_statements) / sizeof(*added_statements));
}

int schema_create_journalled(struct db *db)
{
	return exec_all(db, journalled_statements,
			sizeof(journalled_statements) / sizeof(*journalled_statements));
}

int schema_create(struct db *db, const struct uid128 *volume, const struct uid128 *node)
{
	int r = exec_all(db, statements, sizeof(statements) / sizeof(*statements));

	if (r == 0)
		r = state_set_meta_uid(db, "node", node);
	if (r == 0)
		r = state_set_meta_uid(db, "volume", volume);
	return r;
}

int schema_set_wal(struct db *db)
{
	AUTO_QUERY struct query q;
	const char *mode;
	size_t len;
	int r;

	query_init(&q, db, SQL_JOURNAL_MODE);
	r = query_one(&q);
	if (r < 0)
		return r;
	mode = query_bytes(&q, &len);
	if (mode && len == 3 && memcmp(mode, "wal", 3) == 0)
		return 0;
	return db_error(db, SQLITE_CANTOPEN, "share memory on this file system");
}

int schema_columns(struct db *db, const char *table, unsigned char key[SCHEMA_MAX_COLUMNS])
{
	AUTO_QUERY struct query q = { 0 };
	bool known = false;
	int r, n = 0;

	for (const char *const *t = schema_journalled; *t; t++)
		known = known || strcmp(*t, table) == 0;
	if (!known)
		return 0;
	query_init(&q, db, SQL_TABLE_COLUMNS);
	query_bind_str(&q, table);
	while ((r = query_next(&q)) > 0 && n < SCHEMA_MAX_COLUMNS)
		key[n++] = (unsigned char)query_int(&q);
	return r < 0 ? r : n;
}

static int ask(struct db *db, enum sql_id id, int64_t *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, id);
	r = query_one(&q);
	if (r < 0)
		return r;
	*ret = query_int(&q);
	return 0;
}

static int refuse(char *err, size_t size, int r, const char *file, const char *why)
{
	snprintf(err, size, "cannot open catalogue '%s': %s", file, why);
	return r;
}

int schema_recognise(struct db *db, char *err, size_t size)
{
	int64_t id, version, objects;
	char why[160];
	int r;

	if ((r = ask(db, SQL_APPLICATION_ID, &id)) < 0 ||
	    (r = ask(db, SQL_USER_VERSION, &version)) < 0 ||
	    (r = ask(db, SQL_OBJECTS, &objects)) < 0)
		return r;
	if (id == ID_REBUILDING)
		return refuse(
			err, size, -EUCLEAN, db->file,
			"its rebuild was cut short; remove it and run 'ebbctl rebuild' again");
	if (id == 0 && version == 0 && objects == 0)
		return 0;
	if (id != ID_CATALOGUE)
		return refuse(err, size, -EUCLEAN, db->file,
			      "it is a database of another program; choose another file");
	if (version == SCHEMA_FORMAT)
		return 1;
	snprintf(why, sizeof(why),
		 "it has format %lld and this ebbfs knows up to %d; an ebbfs that knows "
		 "format %lld is needed",
		 (long long)version, SCHEMA_FORMAT, (long long)version);
	return refuse(err, size, -ENOTSUP, db->file, why);
}
