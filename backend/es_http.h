/* SPDX-License-Identifier: MIT */
/*
 * HTTP to the nodes of one Elasticsearch or OpenSearch cluster.
 *
 * One connection a node, kept; one call at a time, from one thread.  A node that
 * does not answer is left alone for a while and the next one is asked.  Every
 * request has a deadline (es_timeout) and ends early once es_http_stop() was
 * called.  Nothing here knows what is said: es_bulk, es_find, es_detect do.
 */
#ifndef EBB_BACKEND_ES_HTTP_H
#define EBB_BACKEND_ES_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/es_buf.h"
#include "backend/es_url.h"

struct es_http;
struct conf;

struct es_request {
	const char *path;   /* borrowed: "/_bulk?...", behind the node's URL */
	const char *type;   /* borrowed: the content type; NULL makes it a GET */
	const char *method; /* borrowed: instead of POST; NULL mostly */
	const char *body;   /* borrowed */
	size_t len_bytes;
};

struct es_reply {
	long status;	    /* of HTTP */
	bool elastic;	    /* carried X-Elastic-Product */
	struct es_buf body; /* owned; es_reply_fini() */
};

/* *url is moved in on success.  0; -EINVAL with a sentence in err; -ENOMEM.  Connects nothing. */
int es_http_new(const struct conf *conf, struct es_url *url, struct es_http **ret, char *err,
		size_t size);
void es_http_free(struct es_http *h);

/*
 * 0: an answer came, whatever its status.  Otherwise *ret is untouched and
 * es_http_error() tells:
 *	-EAGAIN    no node could be reached, or the connection broke or was too slow
 *	-EACCES    TLS: the certificates do not let us in
 *	-EPROTO    what answers does not speak HTTP as it should
 *	-ECANCELED es_http_stop()
 *	-ENOMEM
 */
int es_http_call(struct es_http *h, const struct es_request *q, struct es_reply *ret);

/*
 * What a status means for a whole request: 0 (2xx), -EAGAIN (408, 429, 5xx), -EACCES
 * (401, 403), -ENOENT (404: no such index), -EMSGSIZE (413), -EPROTO (anything else).  All
 * but 0 leave a sentence for es_http_error().
 */
int es_http_status(struct es_http *h, const struct es_reply *reply);

/* Note a failure that was found in what a 2xx reply says.  Returns r. */
int es_http_fail(struct es_http *h, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

const char *es_http_error(const struct es_http *h); /* "" when there was none */
const struct es_url *es_http_url(const struct es_http *h);
void es_http_stop(struct es_http *h); /* any thread */
bool es_http_stopped(const struct es_http *h);
/* Asked about once a second while a call lasts: true ends it with -ECANCELED.  NULL: nobody. */
void es_http_watch(struct es_http *h, bool (*end)(void *arg), void *arg);

static inline void es_reply_fini(struct es_reply *r)
{
	es_buf_fini(&r->body);
}
#define AUTO_REPLY __attribute__((cleanup(es_reply_fini)))

#endif
