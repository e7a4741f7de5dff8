/* SPDX-License-Identifier: MIT */
/*
 * The lines behind a pack's files: see tier/pack.h.
 *
 * Lines are read back to find the rows of what is alive, so numbers in them are only
 * hints: a row says itself where its bytes are.
 */
#include "tier/pack.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct json_object *line_json(const struct pack_line *line)
{
	struct json_object *o = json_object_new_object();
	char crc[16];

	if (!o)
		return NULL;
	snprintf(crc, sizeof(crc), "%08" PRIx32, line->crc32c);
	json_object_object_add(o, "path", json_object_new_string(line->path));
	json_object_object_add(o, "offset", json_object_new_int64((int64_t)line->offset));
	json_object_object_add(o, "size", json_object_new_int64((int64_t)line->size));
	json_object_object_add(o, "crc32c", json_object_new_string(crc));
	json_object_object_add(o, "ino", json_object_new_int64((int64_t)line->ino));
	json_object_object_add(o, "mtime", json_object_new_int64(line->mtime_ns));
	return o;
}

static int make_room(char **data, size_t *room, size_t want)
{
	size_t more = *room + *room / 8 + 65536;
	char *new;

	if (want <= *room)
		return 0;
	if (more < want)
		more = want;
	new = realloc(*data, more);
	if (!new)
		return -ENOMEM;
	*data = new;
	*room = more;
	return 0;
}

int pack_line_append(const struct pack_line *line, char **data, uint64_t *len, size_t *room)
{
	struct json_object *o = line_json(line);
	const char *text;
	size_t n;
	int r = -ENOMEM;

	text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE)
		 : NULL;
	if (text) {
		n = strlen(text);
		r = make_room(data, room, *len + n + 1);
	}
	if (r == 0) {
		memcpy(*data + *len, text, n);
		(*data)[*len + n] = '\n';
		*len += n + 1;
	}
	json_object_put(o);
	return r;
}

static int64_t number_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_int)
		       ? json_object_get_int64(v)
		       : -1;
}

/* NULL: there is none, or it is no string, or holds what no name can. */
static const char *string_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string) ||
	    strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v))
		return NULL;
	return json_object_get_string(v);
}

static int give_line(const char *text, size_t len,
		     int (*each)(const struct pack_line *line, void *arg), void *arg)
{
	struct json_tokener *parser = json_tokener_new();
	const char *path, *crc;
	struct json_object *o;
	struct pack_line line;
	int r = -EBADMSG;

	if (!parser)
		return -ENOMEM;
	o = json_tokener_parse_ex(parser, text, (int)len);
	path = string_of(o, "path");
	crc = string_of(o, "crc32c");
	if (path && crc && json_tokener_get_parse_end(parser) == len) {
		line = (struct pack_line){
			.path = path,
			.offset = (uint64_t)number_of(o, "offset"),
			.size = (uint64_t)number_of(o, "size"),
			.crc32c = (uint32_t)strtoul(crc, NULL, 16),
			.ino = (uint64_t)number_of(o, "ino"),
			.mtime_ns = number_of(o, "mtime"),
		};
		if (line.offset <= INT64_MAX && line.size <= INT64_MAX && line.ino <= INT64_MAX)
			r = each(&line, arg);
	}
	json_object_put(o);
	json_tokener_free(parser);
	return r;
}

int pack_lines(const char *text, size_t len, int (*each)(const struct pack_line *line, void *arg),
	       void *arg)
{
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;
		int r;

		if (!end)
			return -EBADMSG;
		r = give_line(text, n, each, arg);
		if (r != 0)
			return r;
		text += n + 1;
		len -= n + 1;
	}
	return 0;
}
