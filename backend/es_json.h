/* SPDX-License-Identifier: MIT */
/*
 * What the Elasticsearch sink needs on top of json-c: strict reading of whole
 * replies, members by type, and clipping foreign text for messages.
 *
 * Replies come from another system: every getter takes NULL and wrong types for
 * "not there", and no order of members is relied on.
 */
#ifndef EBB_BACKEND_ES_JSON_H
#define EBB_BACKEND_ES_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/es_buf.h"

/*
 * One JSON object and nothing behind it.  0; -EAGAIN: it ends in the middle (a
 * cut reply); -EPROTO: not a JSON object; -ENOMEM.  *ret is the caller's.
 */
int es_json_parse(const char *text, size_t len_bytes, struct json_object **ret);

static inline void es_json_put(struct json_object **o)
{
	json_object_put(*o);
}
#define AUTO_JSON __attribute__((cleanup(es_json_put)))

/* Members; NULL when there is none of that type. */
struct json_object *es_json_object(struct json_object *o, const char *key);
struct json_object *es_json_array(struct json_object *o, const char *key);
const char *es_json_string(struct json_object *o, const char *key);
/* 0, or -ENOENT: no such member, or not of that type. */
int es_json_int(struct json_object *o, const char *key, int64_t *ret);
int es_json_bool(struct json_object *o, const char *key, bool *ret);

/* "a.b" as {"a":{"b":..}} or {"a.b":..}, as _source may hold it.  Borrowed or NULL. */
struct json_object *es_json_field(struct json_object *o, const char *field);
/* The same where null and absent differ: is it there? */
bool es_json_has_field(struct json_object *o, const char *field, struct json_object **ret);

/* Appends s as a JSON string, or o as one line.  Failure: as es_buf_add. */
void es_json_add_string(struct es_buf *b, const char *s);
void es_json_add(struct es_buf *b, struct json_object *o);

/* Foreign text for a message: one line, no control characters, whole characters. */
void es_json_clip(char *dst, size_t size, const char *src);
/* The "error" of a reply, as "type: reason".  "" when there is none.  Returns dst. */
char *es_json_error(struct json_object *reply, char *dst, size_t size);

#endif
