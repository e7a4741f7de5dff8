/* SPDX-License-Identifier: MIT */
/*
 * What answers at es=: Elasticsearch 6 to 9 or OpenSearch, and does it want a
 * _type with each document (Elasticsearch 6) or refuse one (8 and later)?
 */
#ifndef EBB_BACKEND_ES_DETECT_H
#define EBB_BACKEND_ES_DETECT_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/es_http.h"
#include "backend/es_json.h"

struct es_server {
	unsigned major; /* 0: it would not say */
	bool opensearch;
	char name[64]; /* "opensearch 2.19.1" */
};

/*
 * Asks until something tells.  0; -EPROTO: neither of them, or too old; as
 * es_http_call and es_http_status.  es_http_error() has the sentence.
 */
int es_detect(struct es_http *h, struct es_server *ret);

/*
 * The _type that documents of the index have.  0 and NULL in *ret: send none;
 * else heap.  -ENOENT: there is no such index; as es_detect.
 */
int es_detect_type(struct es_http *h, const struct es_server *server, char **ret);

/* The pure parts.  0, or -EPROTO: it is not in there. */
int es_detect_root(struct json_object *reply, struct es_server *ret);
int es_detect_nodes(struct json_object *reply, bool elastic, struct es_server *ret);
/* 0 (NULL in *ret: a mapping without types), -ENOENT: no index in it, -ENOMEM. */
int es_detect_mapping(struct json_object *reply, char **ret);

#endif
