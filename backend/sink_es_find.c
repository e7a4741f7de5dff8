/* SPDX-License-Identifier: MIT */
/*
 * The Elasticsearch sink: finding documents by a term.
 *
 * A search gives at most ES_FIND_HITS documents.  When it gives that many there may
 * be more, so it is asked again for half of the keys.  The value that a document
 * holds decides which key found it, not the query: hits for anything else
 * (a normalizer, a field with several values) are passed over.
 */
#include "backend/sink_es.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"

struct search {
	const struct sink_es *s;
	const struct es_batch *batch;
	size_t from, end;	  /* the keys asked for */
	const struct es_hit *hit; /* the one at hand */
	sink_es_hit_fn *each;
	void *arg;
};

static int on_value(const char *value, void *arg)
{
	struct search *x = arg;
	const struct es_key *key = es_batch_find(x->batch, value);

	if (!key || key < x->batch->keys + x->from || key >= x->batch->keys + x->end)
		return 0;
	return x->each(x->hit, key, x->arg);
}

static int on_hit(const struct es_hit *hit, void *arg)
{
	struct search *x = arg;

	x->hit = hit;
	return es_values_read(hit->source, x->s->find, on_value, x);
}

/* One request.  The number of hits, or as sink_es_search. */
static int ask(struct sink_es *s, const struct es_key *keys, size_t n, const char *also_field,
	       struct json_object **ret)
{
	AUTO_BUF struct es_buf body = { 0 };
	AUTO_FREE char *path = NULL;
	int r;

	if (asprintf(&path,
		     "/%s/_search?allow_partial_search_results=false&"
		     "filter_path=timed_out,_shards.failed,hits.hits",
		     es_http_url(s->http)->index) < 0) {
		path = NULL;
		return es_http_fail(s->http, -ENOMEM, "out of memory");
	}
	es_find_build(&body, &s->terms, keys, n, s->find, also_field);
	r = sink_es_post(s, path, &body, ret);
	if (r < 0)
		return r;
	r = es_hits_count(*ret);
	if (r < 0)
		es_http_fail(s->http, r, "%s",
			     r == -EAGAIN ? "a search did not reach every shard"
					  : "a search was not answered as one");
	return r;
}

int sink_es_search(struct sink_es *s, struct es_batch *b, size_t from, size_t n,
		   const char *also_field, sink_es_hit_fn *each, void *arg)
{
	struct search x = { .s = s, .batch = b, .each = each, .arg = arg };
	size_t most = n, end = from + n;
	int r;

	for (x.from = from; x.from < end; x.from = x.end) {
		AUTO_JSON struct json_object *reply = NULL;

		x.end = end - x.from > most ? x.from + most : end;
		r = ask(s, &b->keys[x.from], x.end - x.from, also_field, &reply);
		if (r < 0)
			return r;
		if (r >= ES_FIND_HITS && x.end - x.from > 1) {
			most = (x.end - x.from) / 2;
			x.end = x.from;
			continue;
		}
		if (r >= ES_FIND_HITS) {
			es_batch_merge(b, b->keys[x.from].item, SINK_POISONED,
				       "too many documents are found by it");
			continue;
		}
		r = es_hits_read(reply, on_hit, &x);
		if (r < 0)
			return r;
	}
	return 0;
}
