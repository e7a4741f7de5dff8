/* SPDX-License-Identifier: MIT */
/*
 * Payloads of intents: small JSON objects, written and read only here.
 *
 *	PLACE    {"dir": PATH, "dir_id": ROW, "dir_ino", "dir_born", "name": NAME,
 *		  and if it was there "is_dir", "ino", "size", "mtime", "ctime", "born"}
 *	removal  PLACE
 *	renaming {"from": PLACE, "to": PLACE, "flags": N, "from_id": ROW, "to_id": ROW,
 *		  "moved": a file's row moved, "rows": {"from": [KIND, ID, ATTEMPT], "to": the same,
 *		  "trash": ID, "dir": [the columns of a replaced directory's row]}}
 *
 * Older ones lack "dir_*", "born" and "rows", and are read as far as they go.
 */
#include "tier/intent_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tier/tier_int.h"

/* ---- writing ---------------------------------------------------------------- */

static void add_int(struct json_object *o, const char *key, int64_t n)
{
	json_object_object_add(o, key, json_object_new_int64(n));
}

static void push_int(struct json_object *a, int64_t n)
{
	json_object_array_add(a, json_object_new_int64(n));
}

static struct json_object *place_json(const struct intent_name *n)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_object_object_add(o, "dir", json_object_new_string(n->dir_path));
	add_int(o, "dir_id", n->dir);
	json_object_object_add(o, "dir_ino", json_object_new_uint64(n->dir_birth.ino));
	add_int(o, "dir_born", n->dir_birth.born_ns);
	json_object_object_add(o, "name", json_object_new_string(n->name));
	if (n->st) {
		struct identity id = cache_identity(n->st);

		json_object_object_add(o, "is_dir",
				       json_object_new_boolean(S_ISDIR(n->st->st_mode)));
		json_object_object_add(o, "ino", json_object_new_uint64(id.ino));
		json_object_object_add(o, "size", json_object_new_uint64(id.size));
		add_int(o, "mtime", id.mtime_ns);
		add_int(o, "ctime", id.ctime_ns);
		add_int(o, "born", n->born_ns);
	}
	return o;
}

static struct json_object *ref_json(const struct row_ref *row)
{
	struct json_object *a = json_object_new_array();

	if (!a)
		return NULL;
	push_int(a, row->kind);
	push_int(a, (int64_t)row->id);
	push_int(a, (int64_t)row->attempt);
	return a;
}

static struct json_object *dir_json(const struct dir_row *dir)
{
	struct json_object *a = json_object_new_array();

	if (!a)
		return NULL;
	push_int(a, dir->id);
	push_int(a, (int64_t)dir->ino);
	push_int(a, dir->attr.mode);
	push_int(a, dir->attr.uid);
	push_int(a, dir->attr.gid);
	push_int(a, dir->attr.atime_ns);
	push_int(a, dir->attr.mtime_ns);
	push_int(a, dir->attr.ctime_ns);
	push_int(a, dir->c_mtime_ns);
	push_int(a, dir->c_ctime_ns);
	return a;
}

static struct json_object *rows_json(const struct rename_record *done)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_object_object_add(o, "from", ref_json(&done->from_row));
	json_object_object_add(o, "to", ref_json(&done->to_row));
	if (done->trash)
		add_int(o, "trash", done->trash);
	if (done->to_dir.id)
		json_object_object_add(o, "dir", dir_json(&done->to_dir));
	return o;
}

static char *print_and_put(struct json_object *o)
{
	const char *text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : NULL;
	char *copy = text ? strdup(text) : NULL;

	json_object_put(o);
	return copy;
}

char *intent_remove_payload(const struct intent_name *n)
{
	return print_and_put(place_json(n));
}

char *intent_rename_payload(const struct intent_name *from, const struct intent_name *to,
			    const struct rename_record *done)
{
	struct json_object *o = json_object_new_object();
	bool moved = done->from_row.kind == REF_FILE && !(done->flags & RENAME_EXCHANGE);

	if (!o)
		return NULL;
	json_object_object_add(o, "from", place_json(from));
	json_object_object_add(o, "to", place_json(to));
	add_int(o, "flags", done->flags);
	json_object_object_add(o, "moved", json_object_new_boolean(moved));
	add_int(o, "from_id", done->from.dir);
	add_int(o, "to_id", done->to.dir);
	json_object_object_add(o, "rows", rows_json(done));
	return print_and_put(o);
}

/* ---- reading ---------------------------------------------------------------- */

static struct json_object *member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, type) ? v : NULL;
}

static int64_t int_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

static uint64_t uint_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v) : 0;
}

/* "" if absent. */
static const char *string_of(struct json_object *o, const char *key)
{
	struct json_object *v = member(o, key, json_type_string);

	return v ? json_object_get_string(v) : "";
}

static int64_t int_at(struct json_object *a, size_t i)
{
	return json_object_get_int64(json_object_array_get_idx(a, i));
}

int intent_place_read(struct json_object *o, struct intent_place *ret)
{
	if (!o || !json_object_is_type(o, json_type_object))
		return -EINVAL;
	*ret = (struct intent_place){
		.dir_path = string_of(o, "dir"),
		.dir = int_of(o, "dir_id"),
		.dir_birth = { uint_of(o, "dir_ino"), int_of(o, "dir_born") },
		.name = string_of(o, "name"),
		.there = json_object_object_get_ex(o, "ino", NULL),
		.is_dir = int_of(o, "is_dir"),
	};
	if (ret->there) {
		ret->id.ino = uint_of(o, "ino");
		ret->id.size = uint_of(o, "size");
		ret->id.mtime_ns = int_of(o, "mtime");
		ret->id.ctime_ns = int_of(o, "ctime");
		ret->born_ns = int_of(o, "born");
	}
	return ret->name[0] ? 0 : -EINVAL;
}

static int ref_read(struct json_object *rows, const char *key, struct row_ref *ret)
{
	struct json_object *a = member(rows, key, json_type_array);
	int64_t kind = a ? int_at(a, 0) : -1;

	if (kind < REF_NONE || kind > REF_DIR)
		return -EINVAL;
	*ret = (struct row_ref){ (enum ref_kind)kind, (uint64_t)int_at(a, 1),
				 (uint64_t)int_at(a, 2) };
	return 0;
}

static int dir_read(struct json_object *a, const struct row_place *at, struct dir_row *ret)
{
	if (json_object_array_length(a) != 10 || strlen(at->name) > ROW_NAME_MAX)
		return -EINVAL;
	*ret = (struct dir_row){
		.id = int_at(a, 0),
		.parent = at->dir,
		.ino = (uint64_t)int_at(a, 1),
		.attr.mode = (mode_t)int_at(a, 2),
		.attr.uid = (uid_t)int_at(a, 3),
		.attr.gid = (gid_t)int_at(a, 4),
		.attr.atime_ns = int_at(a, 5),
		.attr.mtime_ns = int_at(a, 6),
		.attr.ctime_ns = int_at(a, 7),
		.c_mtime_ns = int_at(a, 8),
		.c_ctime_ns = int_at(a, 9),
	};
	strcpy(ret->name, at->name);
	return 0;
}

static int rows_read(struct json_object *rows, struct rename_record *ret)
{
	struct json_object *dir = member(rows, "dir", json_type_array);
	int r;

	r = ref_read(rows, "from", &ret->from_row);
	if (r == 0)
		r = ref_read(rows, "to", &ret->to_row);
	if (r == 0 && dir)
		r = dir_read(dir, &ret->to, &ret->to_dir);
	ret->trash = int_of(rows, "trash");
	return r;
}

/* What was replaced is not known: it stays where it is. */
static void old_rows(struct json_object *o, bool is_dir, struct rename_record *ret)
{
	if (ret->flags & RENAME_EXCHANGE)
		ret->from_row.kind = ret->to_row.kind = REF_ANY;
	else if (is_dir)
		ret->from_row.kind = REF_DIR;
	else if (int_of(o, "moved"))
		ret->from_row.kind = REF_FILE;
}

int intent_rename_read(struct json_object *o, struct intent_place *ret_from,
		       struct intent_place *ret_to, struct rename_record *ret)
{
	struct json_object *rows;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return -EINVAL;
	r = intent_place_read(member(o, "from", json_type_object), ret_from);
	if (r == 0)
		r = intent_place_read(member(o, "to", json_type_object), ret_to);
	if (r < 0)
		return r;
	*ret = (struct rename_record){
		.flags = (unsigned)int_of(o, "flags"),
		.from = { .dir = int_of(o, "from_id"), .name = ret_from->name },
		.to = { .dir = int_of(o, "to_id"), .name = ret_to->name },
	};
	ret_from->dir = ret->from.dir;
	ret_to->dir = ret->to.dir;
	rows = member(o, "rows", json_type_object);
	if (rows)
		return rows_read(rows, ret);
	old_rows(o, ret_from->is_dir, ret);
	return 0;
}
