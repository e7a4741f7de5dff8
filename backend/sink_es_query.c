/* SPDX-License-Identifier: MIT */
/*
 * The Elasticsearch sink: asking what documents say, for reconciliation.  Paths
 * become keys as for sending; by _id it is _mget (which sees updates at once), by
 * term a search (which sees them after a refresh).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sink_es.h"
#include "lib/cleanup.h"

#define RUN_MAX_KEYS 1000

struct query {
	struct sink_es *s;
	struct es_batch *batch;
	int *said; /* a key's: -1 no document, 0 one that does not say synced, 1 */
};

bool sink_es_says_synced(const struct sink_es *s, struct json_object *source)
{
	struct json_object *v = s->synced_field[0] ? es_json_field(source, s->synced_field) : NULL;

	return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}

static int on_hit(const struct es_hit *hit, const struct es_key *key, void *arg)
{
	struct query *q = arg;
	int *said = &q->said[key - q->batch->keys];
	int says = sink_es_says_synced(q->s, hit->source);

	if (*said < 0 || says < *said)
		*said = says;
	return 0;
}

static int read_doc(struct query *q, size_t key, struct json_object *doc)
{
	const char *id = es_json_string(doc, "_id");
	struct json_object *error = es_json_object(doc, "error");
	const char *type = es_json_string(error, "type");
	char why[160];
	bool found;

	if (!id || strcmp(id, q->batch->keys[key].value) != 0)
		return es_http_fail(q->s->http, -EPROTO,
				    "a document that was not asked for came back");
	if (error && (!type || strcmp(type, "index_not_found_exception") != 0))
		return es_http_fail(q->s->http, -EAGAIN, "cannot read document '%s': %s", id,
				    es_json_error(doc, why, sizeof(why)));
	if (es_json_bool(doc, "found", &found) == 0 && found)
		q->said[key] = sink_es_says_synced(q->s, es_json_object(doc, "_source"));
	return 0;
}

static int get_by_id(struct query *q, size_t from, size_t n)
{
	const char *index = es_http_url(q->s->http)->index;
	AUTO_BUF struct es_buf body = { 0 };
	AUTO_JSON struct json_object *reply = NULL;
	AUTO_FREE char *path = NULL;
	struct json_object *docs;
	int r;

	if (asprintf(&path, "/%s/_mget", index) < 0) {
		path = NULL;
		return es_http_fail(q->s->http, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < n; i++) {
		es_buf_add_str(&body, i > 0 ? ",{\"_id\":" : "{\"docs\":[{\"_id\":");
		es_json_add_string(&body, q->batch->keys[from + i].value);
		es_buf_add_str(&body, ",\"_source\":[");
		es_json_add_string(&body, q->s->synced_field);
		es_buf_add_str(&body, "]}");
	}
	es_buf_add_str(&body, "]}");
	r = sink_es_post(q->s, path, &body, &reply);
	if (r < 0)
		return r;
	docs = es_json_array(reply, "docs");
	if (!docs || json_object_array_length(docs) != n)
		return es_http_fail(q->s->http, -EPROTO,
				    "an answer has not the number of documents asked for");
	for (size_t i = 0; i < n && r == 0; i++)
		r = read_doc(q, from + i, json_object_array_get_idx(docs, i));
	return r;
}

static int ask_all(struct query *q)
{
	struct sink_es *s = q->s;
	struct es_batch *b = q->batch;
	int r;

	r = sink_es_ready(s, false);
	for (size_t from = 0, n; r == 0 && from < b->n_keys; from += n) {
		n = b->n_keys - from < RUN_MAX_KEYS ? b->n_keys - from : RUN_MAX_KEYS;
		r = s->find ? sink_es_search(s, b, from, n, s->synced_field, on_hit, q)
			    : get_by_id(q, from, n);
	}
	if (r == -EPROTO || r == -EACCES)
		s->detected = s->usable = false;
	return r == -ENOENT ? 0 : r; /* no index, no documents */
}

static int make_items(const char *const *paths, size_t n, struct sink_item **ret)
{
	struct sink_item *items = calloc(n ? n : 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const char *slash = strrchr(paths[i], '/');

		items[i] = (struct sink_item){
			.path = paths[i],
			.name = slash ? slash + 1 : paths[i],
			.verdict = SINK_RETRY,
		};
	}
	*ret = items;
	return 0;
}

static void answer(const struct query *q, int *found)
{
	const struct es_batch *b = q->batch;

	for (size_t i = 0; i < b->n_items; i++)
		found[i] = b->items[i].verdict == SINK_DONE ? 1 : -1;
	for (size_t k = 0; k < b->n_keys; k++)
		found[b->keys[k].item] = q->said[k];
	for (size_t i = 0; i < b->n_items; i++)
		found[i] = found[b->leader[i]];
}

int sink_es_query(struct sink *base, const char *const *paths, int *found, size_t n)
{
	struct sink_es *s = (struct sink_es *)base;
	AUTO_FREE struct sink_item *items = NULL;
	AUTO_BATCH struct es_batch batch = { 0 };
	AUTO_FREE int *said = NULL;
	struct query q = { .s = s, .batch = &batch };
	struct es_rule rule;
	int r;

	sink_es_rule(s, &rule);
	r = make_items(paths, n, &items);
	if (r == 0)
		r = es_batch_init(&batch, &rule, items, n);
	if (r == 0) {
		q.said = said = malloc((batch.n_keys + 1) * sizeof(*said));
		r = said ? 0 : -ENOMEM;
	}
	if (r < 0)
		return es_http_fail(s->http, r, "out of memory");
	for (size_t k = 0; k < batch.n_keys; k++)
		said[k] = -1;
	r = batch.n_keys > 0 ? ask_all(&q) : 1;
	if (r >= 0)
		answer(&q, found);
	return r;
}
