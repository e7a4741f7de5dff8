/* SPDX-License-Identifier: MIT */
/* Building and reading _search. */
#include "backend/es_find.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

void es_terms_fini(struct es_terms *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->field[i]);
	*t = (struct es_terms){ 0 };
}

/* Types of which single words are indexed, not the value; and what is no value at all. */
static bool is_whole(const char *type)
{
	static const char *const partial[] = {
		"text",	       "match_only_text", "annotated_text", "search_as_you_type",
		"token_count", "object",	  "nested",	    "unmapped",
		NULL,
	};

	for (size_t i = 0; partial[i]; i++)
		if (strcmp(type, partial[i]) == 0)
			return false;
	return true;
}

static int add_term(struct es_terms *t, const char *field)
{
	if (t->n == ES_FIND_FIELDS)
		return 0;
	t->field[t->n] = strdup(field);
	return t->field[t->n++] ? 0 : -ENOMEM;
}

/* 1 when the field holds whole values in some index (and is added), 0, -ENOMEM. */
static int try_field(struct es_terms *t, struct json_object *fields, const char *field)
{
	struct json_object *types = es_json_object(fields, field);

	if (!types)
		return 0;
	json_object_object_foreach(types, type, how)
	{
		bool searchable;

		if (!is_whole(type))
			continue;
		if (es_json_bool(how, "searchable", &searchable) == 0 && !searchable)
			continue;
		return add_term(t, field) < 0 ? -ENOMEM : 1;
	}
	return 0;
}

/* FIELD.keyword if there is one, else the first FIELD.X that holds whole values. */
static int try_subfields(struct es_terms *t, struct json_object *fields, const char *field)
{
	AUTO_FREE char *keyword = NULL;
	size_t len = strlen(field);
	int r;

	if (asprintf(&keyword, "%s.keyword", field) < 0) {
		keyword = NULL;
		return -ENOMEM;
	}
	r = try_field(t, fields, keyword);
	if (r != 0)
		return r;
	json_object_object_foreach(fields, name, types)
	{
		(void)types;
		if (strncmp(name, field, len) != 0 || name[len] != '.')
			continue;
		r = try_field(t, fields, name);
		if (r != 0)
			return r;
	}
	return 0;
}

int es_terms_read(struct json_object *caps, const char *field, struct es_terms *ret)
{
	struct json_object *fields = es_json_object(caps, "fields");
	struct json_object *types = es_json_object(fields, field);
	struct es_terms t = { 0 };
	int r;

	if (!fields)
		return -EPROTO;
	if (!types)
		return -ENOENT;
	r = try_field(&t, fields, field);
	if (r >= 0 && json_object_object_get_ex(types, "text", NULL))
		r = try_subfields(&t, fields, field);
	if (r >= 0 && t.n == 0)
		r = -EPROTO;
	if (r < 0) {
		es_terms_fini(&t);
		return r;
	}
	*ret = t;
	return 0;
}

static void add_values(struct es_buf *b, const struct es_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			es_buf_add_str(b, ",");
		es_json_add_string(b, keys[i].value);
	}
}

void es_find_build(struct es_buf *b, const struct es_terms *t, const struct es_key *keys, size_t n,
		   const char *field, const char *field2)
{
	char head[80];

	snprintf(head, sizeof(head), "{\"size\":%d,\"track_total_hits\":false,\"sort\":[\"_doc\"],",
		 ES_FIND_HITS);
	es_buf_add_str(b, head);
	es_buf_add_str(b, "\"_source\":[");
	es_json_add_string(b, field);
	if (field2[0]) {
		es_buf_add_str(b, ",");
		es_json_add_string(b, field2);
	}
	es_buf_add_str(b, "],\"query\":{\"bool\":{\"filter\":{\"bool\":{\"should\":[");
	for (size_t i = 0; i < t->n; i++) {
		es_buf_add_str(b, i > 0 ? ",{\"terms\":{" : "{\"terms\":{");
		es_json_add_string(b, t->field[i]);
		es_buf_add_str(b, ":[");
		add_values(b, keys, n);
		es_buf_add_str(b, "]}}");
	}
	es_buf_add_str(b, "]}}}}}");
}

int es_hits_count(struct json_object *reply)
{
	struct json_object *hits = es_json_array(es_json_object(reply, "hits"), "hits");
	struct json_object *shards = es_json_object(reply, "_shards");
	size_t n = hits ? json_object_array_length(hits) : 0;
	bool timed_out = false;
	int64_t failed = 0;

	if (!shards || n > INT_MAX)
		return -EPROTO;
	es_json_bool(reply, "timed_out", &timed_out);
	es_json_int(shards, "failed", &failed);
	return timed_out || failed > 0 ? -EAGAIN : (int)n;
}

int es_hits_read(struct json_object *reply, int (*each)(const struct es_hit *hit, void *arg),
		 void *arg)
{
	struct json_object *hits = es_json_array(es_json_object(reply, "hits"), "hits");
	size_t n = hits ? json_object_array_length(hits) : 0;
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++) {
		struct json_object *o = json_object_array_get_idx(hits, i);
		struct es_hit hit = {
			.at = { .index = es_json_string(o, "_index"),
				.type = es_json_string(o, "_type"),
				.id = es_json_string(o, "_id"),
				.routing = es_json_string(o, "_routing") },
			.source = es_json_object(o, "_source"),
		};

		if (!hit.at.index || !hit.at.id)
			return -EPROTO;
		r = each(&hit, arg);
	}
	return r < 0 ? r : 0;
}

int es_values_read(struct json_object *source, const char *field,
		   int (*each)(const char *value, void *arg), void *arg)
{
	struct json_object *v = es_json_field(source, field);
	int r = 0;

	if (json_object_is_type(v, json_type_string))
		return each(json_object_get_string(v), arg);
	if (!json_object_is_type(v, json_type_array))
		return 0;
	for (size_t i = 0; i < json_object_array_length(v) && r >= 0; i++) {
		struct json_object *o = json_object_array_get_idx(v, i);

		if (json_object_is_type(o, json_type_string))
			r = each(json_object_get_string(o), arg);
	}
	return r < 0 ? r : 0;
}
