/* SPDX-License-Identifier: MIT */
/*
 * The Elasticsearch sink: going through all documents that do not say synced.
 *
 * By scroll, because it alone is the same in Elasticsearch 6 to 9 and in OpenSearch, and
 * needs no field: search_after wants one that is unique and sortable everywhere, and
 * there is none (sorting by _id is switched off by default since 8, _shard_doc needs a
 * point in time, which version 6 does not have and OpenSearch spells differently).
 * A scroll is one instant's view, which who asks may rely on, and in the order of _doc a
 * page costs the server no more than its documents.
 *
 * A page cannot be asked for twice: one that was lost on the way, and asked for again
 * underneath us, is a gap.  So the documents are counted and compared with the total.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sink_es.h"
#include "lib/cleanup.h"

#define PAGE_DOCS 1000
#define KEEP "5m" /* how long the server waits for us to come back for the next page */
#define FILTER "filter_path=_scroll_id,timed_out,_shards.failed,hits.total,hits.hits"

struct scan {
	struct sink_es *s;
	const struct sink_scan *asked;
	char *cursor; /* owned; NULL: no scroll is open */
	uint64_t total, seen;
	int ended; /* what each returned below 0 */
};

/* ---- one document ---------------------------------------------------------- */

struct key_names {
	const char *tmpl;
	char *path, *name; /* owned */
};

static int on_value(const char *value, void *arg)
{
	struct key_names *k = arg;

	return k->path || k->name ? 0 : es_key_read(k->tmpl, value, &k->path, &k->name);
}

static int tell(struct scan *x, const struct es_hit *hit, const struct key_names *k)
{
	struct json_object *url = NULL;
	bool has_url = x->s->url_field[0] && es_json_has_field(hit->source, x->s->url_field, &url);
	struct sink_doc doc = {
		.index = hit->at.index,
		.id = hit->at.id,
		.path = k->path,
		.name = k->name,
		.url = json_object_is_type(url, json_type_string) ? json_object_get_string(url)
								  : NULL,
		.removed = has_url && !url,
	};

	x->ended = x->asked->each(x->asked->arg, &doc, x->total);
	return x->ended;
}

static int on_hit(const struct es_hit *hit, void *arg)
{
	struct scan *x = arg;
	struct key_names k = { .tmpl = x->s->key };
	int r;

	x->seen++;
	/* The mapping may index "true" so that the query does not see it. */
	if (sink_es_says_synced(x->s, hit->source))
		return 0;
	r = x->s->find ? es_values_read(hit->source, x->s->find, on_value, &k)
		       : on_value(hit->at.id, &k);
	r = r < 0 ? es_http_fail(x->s->http, r, "out of memory") : tell(x, hit, &k);
	free(k.path);
	free(k.name);
	return r < 0 ? r : 0;
}

/* ---- pages ------------------------------------------------------------------ */

/* A number in version 6, an object since 7. */
static int read_total(struct json_object *reply, uint64_t *ret)
{
	struct json_object *hits = es_json_object(reply, "hits");
	int64_t total;

	if (es_json_int(hits, "total", &total) < 0 &&
	    es_json_int(es_json_object(hits, "total"), "value", &total) < 0)
		return -EPROTO;
	if (total < 0)
		return -EPROTO;
	*ret = (uint64_t)total;
	return 0;
}

static int keep_cursor(struct scan *x, struct json_object *reply)
{
	const char *cursor = es_json_string(reply, "_scroll_id");
	char *copy;

	if (!cursor)
		return x->cursor ? 0 : -EPROTO;
	copy = strdup(cursor);
	if (!copy)
		return -ENOMEM;
	free(x->cursor);
	x->cursor = copy;
	return 0;
}

static int ask_first(struct scan *x, struct json_object **ret)
{
	const struct sink_es *s = x->s;
	const char *fields[] = { s->url_field, s->synced_field, s->find ? s->find : "" };
	AUTO_BUF struct es_buf body = { 0 };
	AUTO_FREE char *path = NULL;
	char head[80];
	bool more = false;

	/* Without a refusal, a pattern that names no index would be an empty one. */
	if (asprintf(&path,
		     "/%s/_search?scroll=" KEEP "&allow_no_indices=false&"
		     "allow_partial_search_results=false&" FILTER,
		     es_http_url(s->http)->index) < 0) {
		path = NULL;
		return es_http_fail(s->http, -ENOMEM, "out of memory");
	}
	snprintf(head, sizeof(head), "{\"size\":%d,\"track_total_hits\":true,\"sort\":[\"_doc\"],",
		 PAGE_DOCS);
	es_buf_add_str(&body, head);
	es_buf_add_str(&body, "\"_source\":[");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (!fields[i][0])
			continue;
		if (more)
			es_buf_add_str(&body, ",");
		es_json_add_string(&body, fields[i]);
		more = true;
	}
	es_buf_add_str(&body, "],\"query\":");
	if (s->synced_field[0]) {
		es_buf_add_str(&body, "{\"bool\":{\"must_not\":[{\"term\":{");
		es_json_add_string(&body, s->synced_field);
		es_buf_add_str(&body, ":true}}]}}}");
	} else {
		es_buf_add_str(&body, "{\"match_all\":{}}}");
	}
	return sink_es_post(x->s, path, &body, ret);
}

static int ask_next(struct scan *x, struct json_object **ret)
{
	AUTO_BUF struct es_buf body = { 0 };

	es_buf_add_str(&body, "{\"scroll\":\"" KEEP "\",\"scroll_id\":");
	es_json_add_string(&body, x->cursor);
	es_buf_add_str(&body, "}");
	return sink_es_post(x->s, "/_search/scroll?" FILTER, &body, ret);
}

/* How many documents were in it, or as sink_scan. */
static int page(struct scan *x)
{
	AUTO_JSON struct json_object *reply = NULL;
	struct es_http *h = x->s->http;
	bool first = !x->cursor;
	int n, r;

	r = first ? ask_first(x, &reply) : ask_next(x, &reply);
	if (r < 0)
		return r;
	r = keep_cursor(x, reply);
	if (r == 0 && first)
		r = read_total(reply, &x->total);
	n = r < 0 ? r : es_hits_count(reply);
	if (n < 0)
		return es_http_fail(h, n, "%s",
				    n == -EAGAIN   ? "a search did not reach every shard"
				    : n == -ENOMEM ? "out of memory"
						   : "a search was not answered as one");
	r = es_hits_read(reply, on_hit, x);
	return r < 0 ? r : n;
}

/* So that the server need not keep it for KEEP; if it cannot be said, that is all that is lost. */
static void forget(struct scan *x)
{
	AUTO_BUF struct es_buf body = { 0 };
	AUTO_REPLY struct es_reply reply = { 0 };
	struct es_request q = { .path = "/_search/scroll",
				.type = "application/json",
				.method = "DELETE" };

	es_buf_add_str(&body, "{\"scroll_id\":[");
	es_json_add_string(&body, x->cursor);
	es_buf_add_str(&body, "]}");
	if (body.failed)
		return;
	q.body = body.data;
	q.len_bytes = body.len_bytes;
	(void)es_http_call(x->s->http, &q, &reply);
}

static int scan_all(struct scan *x)
{
	struct es_http *h = x->s->http;
	int n;

	do
		n = page(x);
	while (n > 0);
	if (x->cursor && (n == 0 || x->ended < 0))
		forget(x);
	if (n == 0 && x->seen != x->total)
		return es_http_fail(h, -EAGAIN,
				    "%" PRIu64 " of %" PRIu64 " documents came: a page was lost on "
				    "the way",
				    x->seen, x->total);
	return n;
}

int sink_es_scan(struct sink *base, const struct sink_scan *scan)
{
	struct sink_es *s = (struct sink_es *)base;
	struct scan x = { .s = s, .asked = scan };
	int r;

	if (es_http_stopped(s->http))
		return es_http_fail(s->http, -ECANCELED, "stopped");
	es_http_watch(s->http, scan->end, scan->arg);
	r = es_detect(s->http, &s->server);
	if (r == 0)
		r = scan_all(&x);
	else if (r == -ENOENT)
		r = -EPROTO;
	if (r == -ENOENT && x.ended == 0)
		es_http_fail(s->http, r, "there is no index '%s'",
			     es_http_url(s->http)->index_name);
	es_http_watch(s->http, NULL, NULL);
	free(x.cursor);
	return r;
}
