/* SPDX-License-Identifier: MIT */
/*
 * Building and reading _bulk.
 *
 * A reply is believed item by item and only as far as it matches what was asked:
 * as many items, in order, each an update of that _id with a status.  HTTP 200
 * says nothing about them.
 */
#include "backend/es_bulk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/es_json.h"
#include "lib/cleanup.h"
#include "lib/text.h"

#define RETRY_ON_CONFLICT 3 /* small: some OpenSearch 2 do not count in _bulk */

void es_bulk_fini(struct es_bulk *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->ops[i].id);
	free(b->ops);
	es_buf_fini(&b->body);
	*b = (struct es_bulk){ 0 };
}

/* Sets "a.b" as {"a":{"b":v}}, which is how a partial update merges it.  Takes v. */
static int set_field(struct json_object *o, const char *field, struct json_object *v)
{
	const char *dot = strchr(field, '.');
	struct json_object *inner;

	if (!dot)
		return json_object_object_add(o, field, v) < 0 ? -ENOMEM : 0;
	AUTO_FREE char *head = strndup(field, (size_t)(dot - field));

	inner = head ? es_json_object(o, head) : NULL;
	if (head && !inner) {
		inner = json_object_new_object();
		if (inner && json_object_object_add(o, head, inner) < 0)
			inner = NULL;
	}
	if (!inner) {
		json_object_put(v);
		return -ENOMEM;
	}
	return set_field(inner, dot + 1, v);
}

int es_bulk_doc(const char *url_field, const char *synced_field, const struct sink_item *item,
		char **ret)
{
	AUTO_JSON struct json_object *doc = json_object_new_object();
	AUTO_FREE char *url = item->url ? text_json_safe(item->url, strlen(item->url)) : NULL;
	struct json_object *v;
	struct es_buf b = { 0 };
	int r = 0;

	if (!doc || (item->url && !url))
		return -ENOMEM;
	if (url_field[0]) {
		v = url && item->kind != SINK_REMOVED ? json_object_new_string(url) : NULL;
		r = set_field(doc, url_field, v);
	}
	if (synced_field[0] && r == 0) {
		v = json_object_new_boolean(item->kind == SINK_ARCHIVED);
		r = v ? set_field(doc, synced_field, v) : -ENOMEM;
	}
	if (r < 0)
		return r;
	es_json_add(&b, doc);
	if (b.failed) {
		es_buf_fini(&b);
		return -ENOMEM;
	}
	*ret = b.data;
	return 0;
}

static void add_member(struct es_buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	es_buf_add_str(b, name);
	es_json_add_string(b, value);
}

static void add_lines(struct es_buf *b, const struct es_target *at, const char *doc)
{
	char tail[48];

	add_member(b, "{\"update\":{\"_index\":", at->index);
	add_member(b, ",\"_type\":", at->type);
	add_member(b, ",\"_id\":", at->id);
	add_member(b, ",\"routing\":", at->routing);
	snprintf(tail, sizeof(tail), ",\"retry_on_conflict\":%d}}\n{\"doc\":", RETRY_ON_CONFLICT);
	es_buf_add_str(b, tail);
	es_buf_add_str(b, doc);
	es_buf_add_str(b, "}\n");
}

int es_bulk_add(struct es_bulk *b, size_t item, const struct es_target *at, const char *doc)
{
	size_t off = b->body.len_bytes;
	char *id;

	if (b->n == b->room) {
		size_t room = b->room ? b->room * 2 : 64;
		struct es_op *ops = reallocarray(b->ops, room, sizeof(*ops));

		if (!ops)
			return -ENOMEM;
		b->ops = ops;
		b->room = room;
	}
	id = strdup(at->id);
	if (!id)
		return -ENOMEM;
	add_lines(&b->body, at, doc);
	if (b->body.failed) {
		free(id);
		return -ENOMEM;
	}
	b->ops[b->n++] = (struct es_op){
		.item = item,
		.off_bytes = off,
		.len_bytes = b->body.len_bytes - off,
		.id = id,
		.verdict = SINK_RETRY,
	};
	return 0;
}

size_t es_bulk_slice(const struct es_bulk *b, size_t from, size_t max_ops, size_t max_bytes)
{
	size_t bytes = b->ops[from].len_bytes;
	size_t n = 1;

	while (from + n < b->n && n < max_ops) {
		bytes += b->ops[from + n].len_bytes;
		if (bytes > max_bytes)
			break;
		n++;
	}
	return n;
}

/*
 * What the status of one update means; the first line that fits decides.  r is
 * what the whole call comes to: some failures of an item are the index's own.
 */
static const struct {
	int from, to;	    /* status */
	const char *type;   /* NULL: any */
	const char *reason; /* a part of it; NULL: any */
	enum sink_verdict verdict;
	int r;
} meanings[] = {
	{ 200, 201, NULL, NULL, SINK_DONE, 0 },
	{ 404, 404, "document_missing_exception", NULL, SINK_MISSING, 0 },
	{ 404, 404, "index_not_found_exception", NULL, SINK_MISSING, 0 },
	{ 404, 409, NULL, NULL, SINK_RETRY, 0 },
	{ 429, 429, NULL, NULL, SINK_RETRY, 0 },
	{ 500, 599, NULL, NULL, SINK_RETRY, 0 },
	{ 403, 403, "cluster_block_exception", NULL, SINK_RETRY, 0 },
	{ 401, 403, NULL, NULL, SINK_RETRY, -EACCES },
	{ 400, 400, "index_closed_exception", NULL, SINK_RETRY, 0 },
	{ 400, 400, "routing_missing_exception", NULL, SINK_RETRY, -EPROTO },
	{ 400, 400, "invalid_index_name_exception", NULL, SINK_RETRY, -EPROTO },
	{ 400, 400, "illegal_argument_exception", "more than one ind", SINK_RETRY, -EPROTO },
	{ 400, 400, "illegal_argument_exception", "no write index", SINK_RETRY, -EPROTO },
	{ 400, 400, "illegal_argument_exception", "data stream", SINK_RETRY, -EPROTO },
	{ 400, 400, NULL, NULL, SINK_POISONED, 0 },
	{ 413, 413, NULL, NULL, SINK_POISONED, 0 },
	{ 0, 9999, NULL, NULL, SINK_RETRY, -EPROTO },
};

static size_t meaning(int64_t status, const char *type, const char *reason)
{
	size_t i;

	for (i = 0; i < sizeof(meanings) / sizeof(meanings[0]) - 1; i++) {
		if (status < meanings[i].from || status > meanings[i].to)
			continue;
		if (meanings[i].type && (!type || strcmp(type, meanings[i].type) != 0))
			continue;
		if (meanings[i].reason && (!reason || !strstr(reason, meanings[i].reason)))
			continue;
		break;
	}
	return i;
}

/* One item of the reply.  0, -EACCES, -EPROTO: the index's; -EBADMSG: not this operation's. */
static int read_item(struct es_op *op, struct json_object *item)
{
	struct json_object *update = es_json_object(item, "update");
	struct json_object *error = es_json_object(update, "error");
	const char *id = es_json_string(update, "_id");
	int64_t status;
	size_t m;

	if (es_json_int(update, "status", &status) < 0)
		return -EBADMSG;
	if (id && strcmp(id, op->id) != 0)
		return -EBADMSG;
	es_json_error(update, op->error, sizeof(op->error));
	m = meaning(status, es_json_string(error, "type"), es_json_string(error, "reason"));
	if (meanings[m].verdict == SINK_DONE && op->error[0])
		return -EBADMSG;
	op->verdict = meanings[m].verdict;
	if (op->verdict != SINK_DONE && !op->error[0])
		snprintf(op->error, sizeof(op->error), "status %lld", (long long)status);
	return meanings[m].r;
}

static void forget(struct es_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		ops[i].verdict = SINK_RETRY;
		ops[i].error[0] = '\0';
	}
}

static int read_items(struct es_op *ops, size_t n, struct json_object *items, char *why,
		      size_t size)
{
	int ret = 0;

	for (size_t i = 0; i < n; i++) {
		int r = read_item(&ops[i], json_object_array_get_idx(items, i));

		if (r == -EBADMSG) {
			forget(ops, n);
			snprintf(why, size, "item %zu of a bulk reply is not the one that was sent",
				 i);
			return -EPROTO;
		}
		if (r < 0 && ret == 0) {
			snprintf(why, size, "%s: %s",
				 r == -EACCES ? "we may not write to the index"
					      : "the index cannot be updated this way (see es_id "
						"and es_find)",
				 ops[i].error);
			ret = r;
		}
	}
	return ret;
}

int es_bulk_read(struct es_op *ops, size_t n, const struct es_buf *reply, char *why, size_t size)
{
	AUTO_JSON struct json_object *o = NULL;
	struct json_object *items;
	int r;

	forget(ops, n);
	r = es_json_parse(reply->data, reply->len_bytes, &o);
	if (r < 0) {
		snprintf(why, size, "%s",
			 r == -EAGAIN	? "a bulk reply was cut short"
			 : r == -ENOMEM ? "out of memory"
					: "a bulk reply is not JSON");
		return r;
	}
	items = es_json_array(o, "items");
	if (!items || json_object_array_length(items) != n) {
		snprintf(why, size, "a bulk reply has %zu items where %zu were sent",
			 items ? json_object_array_length(items) : 0, n);
		return -EPROTO;
	}
	return read_items(ops, n, items, why, size);
}
