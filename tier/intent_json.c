/* SPDX-License-Identifier: MIT */
/* Payloads of intents: small JSON objects, written and read only here. */
#include "tier/intent_json.h"

#include <errno.h>
#include <string.h>

#include "tier/tier_int.h"

static struct json_object *place_json(const struct intent_name *n)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_object_object_add(o, "dir", json_object_new_string(n->dir_path));
	json_object_object_add(o, "name", json_object_new_string(n->name));
	if (n->st) {
		struct identity id = cache_identity(n->st);

		json_object_object_add(o, "is_dir",
				       json_object_new_boolean(S_ISDIR(n->st->st_mode)));
		json_object_object_add(o, "ino", json_object_new_uint64(id.ino));
		json_object_object_add(o, "size", json_object_new_uint64(id.size));
		json_object_object_add(o, "mtime", json_object_new_int64(id.mtime_ns));
		json_object_object_add(o, "ctime", json_object_new_int64(id.ctime_ns));
	}
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
			    unsigned flags, const struct intent_rows *rows)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_object_object_add(o, "from", place_json(from));
	json_object_object_add(o, "to", place_json(to));
	json_object_object_add(o, "flags", json_object_new_int64(flags));
	json_object_object_add(o, "moved", json_object_new_boolean(rows->moved));
	json_object_object_add(o, "from_id", json_object_new_int64(rows->dir));
	json_object_object_add(o, "to_id", json_object_new_int64(rows->new_dir));
	return print_and_put(o);
}

int64_t intent_int(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

/* "" if absent. */
static const char *string_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return "";
	return json_object_get_string(v);
}

int intent_place_read(struct json_object *o, struct intent_place *ret)
{
	struct json_object *v;

	if (!o || !json_object_is_type(o, json_type_object))
		return -EINVAL;
	*ret = (struct intent_place){
		.dir_path = string_of(o, "dir"),
		.name = string_of(o, "name"),
		.there = json_object_object_get_ex(o, "ino", &v),
		.is_dir = intent_int(o, "is_dir"),
	};
	if (ret->there) {
		ret->id.ino = json_object_get_uint64(v);
		ret->id.size = (uint64_t)intent_int(o, "size");
		ret->id.mtime_ns = intent_int(o, "mtime");
		ret->id.ctime_ns = intent_int(o, "ctime");
	}
	return ret->name[0] ? 0 : -EINVAL;
}
