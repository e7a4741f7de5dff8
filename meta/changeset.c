/* SPDX-License-Identifier: MIT */
/*
 * Looking over bytes from the store before SQLite applies them.
 *
 * SQLite's own reader trusts a changeset: it may loop for ever on bytes that are
 * none, and it passes over tables that it does not know without an error.  So a
 * part is walked once here, and every table, length and type in it is checked.
 *
 *	part	= { table { change } }
 *	table	= 'T' varint(columns) key-byte*columns name NUL
 *	change	= 18 (insert) | 9 (delete), indirect, row
 *		| 23 (update), indirect, row of old values, row of new values
 *	row	= { 0 (not given) | 5 (null) | 1 int64 | 2 double | 3, 4 varint(length) bytes }
 */
#include <errno.h>
#include <string.h>

#include "meta/catalogue_int.h"

#define TABLE_NAME_MAX 15

struct cursor {
	const unsigned char *p;
	size_t left;
};

static bool skip(struct cursor *c, size_t n)
{
	if (n > c->left)
		return false;
	c->p += n;
	c->left -= n;
	return true;
}

static bool take_byte(struct cursor *c, int *ret)
{
	if (c->left == 0)
		return false;
	*ret = *c->p;
	return skip(c, 1);
}

/* SQLite's varint, up to 32 bits, as sessions write them. */
static bool take_varint(struct cursor *c, size_t *ret)
{
	size_t v = 0;
	int b;

	for (int i = 0; i < 5; i++) {
		if (!take_byte(c, &b))
			return false;
		v = v << 7 | (size_t)(b & 0x7f);
		if (!(b & 0x80)) {
			*ret = v;
			return v <= INT32_MAX;
		}
	}
	return false;
}

static bool skip_value(struct cursor *c, bool may_lack)
{
	size_t len;
	int type;

	if (!take_byte(c, &type))
		return false;
	switch (type) {
	case 0:
		return may_lack;
	case SQLITE_NULL:
		return true;
	case SQLITE_INTEGER:
	case SQLITE_FLOAT:
		return skip(c, 8);
	case SQLITE_TEXT:
	case SQLITE_BLOB:
		return take_varint(c, &len) && skip(c, len);
	default:
		return false;
	}
}

static bool skip_row(struct cursor *c, int columns, bool may_lack)
{
	for (int i = 0; i < columns; i++)
		if (!skip_value(c, may_lack))
			return false;
	return true;
}

static bool skip_change(struct cursor *c, int op, int columns)
{
	int indirect;

	if (columns == 0 || !take_byte(c, &indirect))
		return false;
	if (op == SQLITE_UPDATE)
		return skip_row(c, columns, true) && skip_row(c, columns, true);
	return (op == SQLITE_INSERT || op == SQLITE_DELETE) && skip_row(c, columns, false);
}

/* Its columns, or an error. */
static int take_table(struct db *db, struct cursor *c)
{
	unsigned char want[SCHEMA_MAX_COLUMNS];
	const unsigned char *key, *name, *end;
	size_t columns;
	int n;

	if (!take_varint(c, &columns))
		return -EBADMSG;
	key = c->p;
	if (!skip(c, columns))
		return -EBADMSG;
	name = c->p;
	end = memchr(name, 0, c->left < TABLE_NAME_MAX ? c->left : TABLE_NAME_MAX);
	if (!end)
		return -EBADMSG;
	skip(c, (size_t)(end - name) + 1);
	n = schema_columns(db, (const char *)name, want);
	if (n < 0)
		return n;
	if (n == 0 || (size_t)n != columns || memcmp(key, want, columns) != 0)
		return -EBADMSG;
	return n;
}

int changeset_check(struct db *db, const void *data, size_t len)
{
	struct cursor c = { data, len };
	int op, columns = 0;

	while (take_byte(&c, &op)) {
		if (op == 'T') {
			columns = take_table(db, &c);
			if (columns < 0)
				return columns;
		} else if (!skip_change(&c, op, columns)) {
			return -EBADMSG;
		}
	}
	return 0;
}
