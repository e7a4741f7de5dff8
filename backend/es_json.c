/* SPDX-License-Identifier: MIT */
/* Reading and writing JSON for the Elasticsearch sink. */
#include "backend/es_json.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/text.h"

#define AS_TEXT (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

/* How many bytes of white space s begins with. */
static size_t space(const char *s, size_t len)
{
	size_t n = 0;

	while (n < len && memchr(" \t\r\n", s[n], 4))
		n++;
	return n;
}

int es_json_parse(const char *text, size_t len_bytes, struct json_object **ret)
{
	struct json_tokener *tok;
	enum json_tokener_error e;
	AUTO_JSON struct json_object *o = NULL;
	size_t end = space(text, len_bytes);

	if (end == len_bytes)
		return -EAGAIN;
	if (text[end] != '{' || len_bytes > INT_MAX)
		return -EPROTO;
	tok = json_tokener_new();
	if (!tok)
		return -ENOMEM;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	o = json_tokener_parse_ex(tok, text, (int)len_bytes);
	e = json_tokener_get_error(tok);
	end = json_tokener_get_parse_end(tok);
	json_tokener_free(tok);
	if (e == json_tokener_continue)
		return -EAGAIN;
	if (e != json_tokener_success || !json_object_is_type(o, json_type_object) ||
	    end + space(text + end, len_bytes - end) < len_bytes)
		return -EPROTO;
	*ret = TAKE_PTR(o);
	return 0;
}

static struct json_object *member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v;

	if (!json_object_is_type(o, json_type_object))
		return NULL;
	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, type))
		return NULL;
	return v;
}

struct json_object *es_json_object(struct json_object *o, const char *key)
{
	return member(o, key, json_type_object);
}

struct json_object *es_json_array(struct json_object *o, const char *key)
{
	return member(o, key, json_type_array);
}

const char *es_json_string(struct json_object *o, const char *key)
{
	struct json_object *v = member(o, key, json_type_string);

	return v ? json_object_get_string(v) : NULL;
}

int es_json_int(struct json_object *o, const char *key, int64_t *ret)
{
	struct json_object *v = member(o, key, json_type_int);

	if (!v)
		return -ENOENT;
	*ret = json_object_get_int64(v);
	return 0;
}

int es_json_bool(struct json_object *o, const char *key, bool *ret)
{
	struct json_object *v = member(o, key, json_type_boolean);

	if (!v)
		return -ENOENT;
	*ret = json_object_get_boolean(v);
	return 0;
}

bool es_json_has_field(struct json_object *o, const char *field, struct json_object **ret)
{
	const char *dot = field;

	if (!json_object_is_type(o, json_type_object))
		return false;
	if (json_object_object_get_ex(o, field, ret))
		return true;
	while ((dot = strchr(dot, '.'))) {
		AUTO_FREE char *head = strndup(field, (size_t)(dot - field));

		dot++;
		if (head && es_json_has_field(es_json_object(o, head), dot, ret))
			return true;
	}
	return false;
}

struct json_object *es_json_field(struct json_object *o, const char *field)
{
	struct json_object *v;

	return es_json_has_field(o, field, &v) ? v : NULL;
}

void es_json_add(struct es_buf *b, struct json_object *o)
{
	size_t len;
	const char *text = o ? json_object_to_json_string_length(o, AS_TEXT, &len) : NULL;

	if (text)
		es_buf_add(b, text, len);
	else
		b->failed = true;
}

void es_json_add_string(struct es_buf *b, const char *s)
{
	AUTO_JSON struct json_object *o = json_object_new_string(s);

	es_json_add(b, o);
}

void es_json_clip(char *dst, size_t size, const char *src)
{
	AUTO_FREE char *safe = text_json_safe(src, strlen(src));
	size_t len;

	dst[0] = '\0';
	if (!safe)
		return;
	for (char *p = safe; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	len = strlen(safe);
	if (len >= size) {
		len = size - 1;
		while (len > 0 && (safe[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(dst, safe, len);
	dst[len] = '\0';
}

char *es_json_error(struct json_object *reply, char *dst, size_t size)
{
	struct json_object *error = es_json_object(reply, "error");
	const char *type = es_json_string(error, "type");
	const char *reason = es_json_string(error, "reason");
	AUTO_FREE char *text = NULL;

	dst[0] = '\0';
	if (!error)
		reason = es_json_string(reply, "error");
	if (!type && !reason)
		return dst;
	if (asprintf(&text, "%s%s%s", type ? type : "", type && reason ? ": " : "",
		     reason ? reason : "") < 0)
		text = NULL;
	if (text)
		es_json_clip(dst, size, text);
	return dst;
}
