/* SPDX-License-Identifier: MIT */
/*
 * The Elasticsearch sink's own state, shared by its files: sink_es.c (making it,
 * connecting), sink_es_send.c (updates), sink_es_find.c (searches by term),
 * sink_es_query.c (what documents say) and sink_es_scan.c (all of them).
 *
 *	items -> es_batch (keys) -> [es_find: key -> documents] -> es_bulk -> es_http
 *	verdicts <- es_batch (merge) <--------------------------- es_bulk
 */
#ifndef EBB_BACKEND_SINK_ES_H
#define EBB_BACKEND_SINK_ES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/es_batch.h"
#include "backend/es_bulk.h"
#include "backend/es_detect.h"
#include "backend/es_find.h"
#include "backend/es_http.h"
#include "backend/sink_ops.h"

struct sink_es {
	struct sink base;

	/* constant after sink_es_new */
	char *match;	    /* owned */
	char *key;	    /* owned: template of the _id, or of the term */
	char *find;	    /* owned: the field to search; NULL: the key is the _id */
	char *url_field;    /* owned, may be "" */
	char *synced_field; /* owned, may be "" */
	size_t max_ops;
	size_t max_bytes;
	struct es_http *http; /* owned */

	/* owned by the sending thread */
	bool detected;
	struct es_server server;
	char *type;	       /* owned; NULL: none is sent */
	struct es_terms terms; /* when find */
	bool usable;	       /* the index was there at seen_ms */
	int64_t seen_ms;
	size_t limit_bytes; /* what a request may be now: learnt, at most max_bytes */
	char absent[160];   /* why there can be no document now, or "" */
};

/*
 * Know the server and the index.  0; -ENOENT: there can be no document, absent says
 * why; or as sink_send.  again: ask even if it was
 * asked a moment ago.
 */
int sink_es_ready(struct sink_es *s, bool again);

/* Does a document say synced? */
bool sink_es_says_synced(const struct sink_es *s, struct json_object *source);

/* POST a JSON body; 0 and the parsed reply of a 2xx, or as es_http_call and es_http_status. */
int sink_es_post(struct sink_es *s, const char *path, struct es_buf *body,
		 struct json_object **ret);

int sink_es_send(struct sink *base, struct sink_item *items, size_t n);
int sink_es_query(struct sink *base, const char *const *paths, int *found, size_t n);
int sink_es_scan(struct sink *base, const struct sink_scan *scan);

/*
 * Calls each for every document of n keys, from the given one on.  A key with more
 * documents than a search can give is SINK_POISONED.  0, what each returned below
 * 0, -ENOENT: the index is gone; as sink_es_post.
 */
typedef int sink_es_hit_fn(const struct es_hit *hit, const struct es_key *key, void *arg);
int sink_es_search(struct sink_es *s, struct es_batch *b, size_t from, size_t n,
		   const char *also_field, sink_es_hit_fn *each, void *arg);

void sink_es_rule(const struct sink_es *s, struct es_rule *ret);

#endif
