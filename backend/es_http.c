/* SPDX-License-Identifier: MIT */
/*
 * libcurl, one easy handle that keeps its connections.
 *
 * A call tries each node at most once: the next living one in turn, and when all
 * are dead the one that has been so longest.  A node whose connection fails is
 * dead for DEAD_MS; one that was too slow is too, but then the call ends, so that
 * no call lasts longer than es_timeout and the time connecting takes.
 *
 * Sending twice what may have arrived is harmless: every request is idempotent, but the
 * next page of a scroll, whose pages sink_es_scan.c counts.
 */
#include "backend/es_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/es_auth.h"
#include "backend/es_json.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/conf.h"

#define DEAD_MS 15000
#define CONNECT_MS 10000L
#define KEEPALIVE_S 30L
#define REPLY_MAX (64u << 20)
#define GZIP_MIN_BYTES 1024

struct es_http {
	/* constant after es_http_new */
	struct es_url url;
	bool gzip;

	atomic_bool stopped; /* any thread */

	/* owned by the calling thread */
	CURL *curl;
	struct es_auth auth;
	bool refused; /* 401 or 403: read the secrets again before the next call */
	size_t next;
	int64_t dead_until_ms[ES_URL_NODES];
	size_t node; /* the one that answered or failed last */
	bool (*end)(void *arg);
	void *end_arg; /* borrowed */
	char error[256];
	char curl_error[CURL_ERROR_SIZE];
};

int es_http_fail(struct es_http *h, int r, const char *fmt, ...)
{
	AUTO_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	es_json_clip(h->error, sizeof(h->error), text ? text : "out of memory");
	return r;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct es_reply *reply = arg;

	(void)one;
	if (reply->body.len_bytes + n > REPLY_MAX)
		return 0;
	es_buf_add(&reply->body, data, n);
	return reply->body.failed ? 0 : n;
}

static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
	static const char product[] = "X-Elastic-Product:";
	struct es_reply *reply = arg;

	(void)one;
	if (n >= sizeof(product) - 1 && strncasecmp(line, product, sizeof(product) - 1) == 0)
		reply->elastic = true;
	return n;
}

static int on_progress(void *arg, curl_off_t down, curl_off_t down_now, curl_off_t up,
		       curl_off_t up_now)
{
	struct es_http *h = arg;

	(void)down;
	(void)down_now;
	(void)up;
	(void)up_now;
	return es_http_stopped(h) || (h->end && h->end(h->end_arg));
}

static void set_options(struct es_http *h, const struct conf *conf)
{
	long timeout_ms = (long)conf->es_timeout;

	curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->curl_error);
	curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h->curl, CURLOPT_PROXY, ""); /* whatever the environment says */
	curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h->curl, CURLOPT_ACCEPT_ENCODING, "gzip");
	curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS,
			 timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS);
	curl_easy_setopt(h->curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(h->curl, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
	curl_easy_setopt(h->curl, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
	curl_easy_setopt(h->curl, CURLOPT_MAXCONNECTS, (long)h->url.n);
	curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(h->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(h->curl, CURLOPT_XFERINFODATA, h);
	if (conf->es_ca[0])
		curl_easy_setopt(h->curl, CURLOPT_CAINFO, conf->es_ca);
}

int es_http_new(const struct conf *conf, struct es_url *url, struct es_http **ret, char *err,
		size_t size)
{
	struct es_http *h;
	int r;

	if (conf->es_ca[0] && access(conf->es_ca, R_OK) < 0) {
		snprintf(err, size, "es_ca: cannot read '%s': %s", conf->es_ca, strerror(errno));
		return -EINVAL;
	}
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) /* counted by libcurl */
		return -ENOMEM;
	h = calloc(1, sizeof(*h));
	if (!h) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	r = es_auth_init(&h->auth, conf, err, size);
	if (r == 0) {
		h->curl = curl_easy_init();
		r = h->curl ? 0 : -ENOMEM;
	}
	if (r < 0) {
		es_http_free(h);
		return r;
	}
	h->url = *url;
	*url = (struct es_url){ 0 };
	h->gzip = conf->es_gzip;
	set_options(h, conf);
	*ret = h;
	return 0;
}

void es_http_free(struct es_http *h)
{
	if (!h)
		return;
	curl_easy_cleanup(h->curl);
	es_auth_fini(&h->auth);
	es_url_fini(&h->url);
	free(h);
	curl_global_cleanup();
}

static void free_headers(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

/* 0 or -ENOMEM; *list is as long as it got either way. */
static int add_header(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = curl_slist_append(*list, line);

	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

static int add_headers(struct es_http *h, const struct es_request *q, bool gzip,
		       struct curl_slist **list)
{
	char type[128];
	int r = 0;

	/* Or libcurl waits a second for a "100 Continue" before each large body. */
	r |= add_header(list, "Expect:");
	if (q->type) {
		snprintf(type, sizeof(type), "Content-Type: %s", q->type);
		r |= add_header(list, type);
	}
	if (gzip)
		r |= add_header(list, "Content-Encoding: gzip");
	if (h->auth.key_header)
		r |= add_header(list, h->auth.key_header);
	return r ? -ENOMEM : 0;
}

/*
 * Why, in words that are the same at each try: curl's own tell how many milliseconds one took, and
 * how many bytes were missing.
 */
static const char *reason(struct es_http *h, CURLcode e)
{
	long err = 0;

	if (e == CURLE_COULDNT_CONNECT) {
		curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &err);
		return err ? strerror((int)err) : curl_easy_strerror(e);
	}
	if (e == CURLE_OPERATION_TIMEDOUT || e == CURLE_PARTIAL_FILE || !h->curl_error[0])
		return curl_easy_strerror(e);
	return h->curl_error;
}

/* A sentence for a transport's failure, and what it means. */
static int explain(struct es_http *h, CURLcode e, const struct es_reply *reply)
{
	const char *node = h->url.node[h->node];
	const char *text = reason(h, e);

	switch (e) {
	case CURLE_ABORTED_BY_CALLBACK:
		return es_http_fail(h, -ECANCELED, "stopped");
	case CURLE_OUT_OF_MEMORY:
		return es_http_fail(h, -ENOMEM, "out of memory");
	case CURLE_WRITE_ERROR:
		if (reply->body.failed)
			return es_http_fail(h, -ENOMEM, "out of memory");
		return es_http_fail(h, -EPROTO, "the answer of '%s' is larger than %u MiB", node,
				    REPLY_MAX >> 20);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_ISSUER_ERROR:
		return es_http_fail(h, -EACCES, "cannot trust '%s': %s; check es_ca", node, text);
	case CURLE_GOT_NOTHING: /* what a server that wants TLS gives, or one that is ending */
		return es_http_fail(h, -EAGAIN, "cannot reach '%s': %s%s", node, text,
				    strncmp(node, "http:", 5) == 0
					    ? "; if it wants TLS, write https:// in es="
					    : "");
	case CURLE_SSL_CONNECT_ERROR:
		return es_http_fail(
			h, -EAGAIN,
			"cannot reach '%s': %s; if it does not speak TLS, write http:// "
			"in es=",
			node, text);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		return es_http_fail(h, -EPROTO, "'%s' does not answer as a web server: %s", node,
				    text);
	default:
		return es_http_fail(h, -EAGAIN, "cannot reach '%s': %s", node, text);
	}
}

static int perform(struct es_http *h, const struct es_request *q, const struct es_buf *body,
		   bool gzip, struct es_reply *reply, CURLcode *ret)
{
	CLEANUP(free_headers) struct curl_slist *headers = NULL;
	AUTO_FREE char *url = NULL;
	CURLcode e;

	if (add_headers(h, q, gzip, &headers) < 0)
		return -ENOMEM;
	if (asprintf(&url, "%s%s", h->url.node[h->node], q->path) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	if (q->type) {
		curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body->data ? body->data : "");
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len_bytes);
	} else {
		curl_easy_setopt(h->curl, CURLOPT_HTTPGET, 1L);
	}
	curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, q->method);
	if (curl_easy_setopt(h->curl, CURLOPT_URL, url) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_USERNAME, h->auth.user) != CURLE_OK ||
	    curl_easy_setopt(h->curl, CURLOPT_PASSWORD, h->auth.password) != CURLE_OK)
		return -ENOMEM;
	curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, reply);
	curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, reply);
	h->curl_error[0] = '\0';
	e = curl_easy_perform(h->curl);
	curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, NULL);
	*ret = e;
	if (e != CURLE_OK)
		return explain(h, e, reply);
	curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &reply->status);
	return 0;
}

/* The next node to ask that is not in tried (bits). */
static size_t pick(struct es_http *h, unsigned tried)
{
	int64_t now_ms = clock_mono_ms();
	size_t best = ES_URL_NODES;

	for (size_t k = 0; k < h->url.n; k++) {
		size_t i = (h->next + k) % h->url.n;

		if (tried & 1u << i)
			continue;
		if (h->dead_until_ms[i] <= now_ms)
			return i;
		if (best == ES_URL_NODES || h->dead_until_ms[i] < h->dead_until_ms[best])
			best = i;
	}
	return best;
}

static int call(struct es_http *h, const struct es_request *q, const struct es_buf *body, bool gzip,
		struct es_reply *reply)
{
	unsigned tried = 0;
	int r;

	for (size_t left = h->url.n;;) {
		CURLcode e = CURLE_OUT_OF_MEMORY;

		if (es_http_stopped(h))
			return es_http_fail(h, -ECANCELED, "stopped");
		h->node = pick(h, tried);
		h->next = (h->node + 1) % h->url.n;
		tried |= 1u << h->node;
		es_buf_clear(&reply->body);
		*reply = (struct es_reply){ .body = reply->body };
		r = perform(h, q, body, gzip, reply, &e);
		if (r == 0 && (reply->status < 502 || reply->status > 504)) {
			h->dead_until_ms[h->node] = 0;
			return 0;
		}
		if (r == 0 || r == -EAGAIN)
			h->dead_until_ms[h->node] = clock_mono_ms() + DEAD_MS;
		if (r != -EAGAIN || e == CURLE_OPERATION_TIMEDOUT || --left == 0)
			return r;
	}
}

int es_http_call(struct es_http *h, const struct es_request *q, struct es_reply *ret)
{
	AUTO_BUF struct es_buf packed = { 0 };
	AUTO_REPLY struct es_reply reply = { 0 };
	struct es_buf plain = { .data = (char *)(uintptr_t)q->body, .len_bytes = q->len_bytes };
	bool gzip = h->gzip && q->len_bytes >= GZIP_MIN_BYTES;
	char why[sizeof(h->error)];
	int r;

	h->error[0] = '\0';
	if (h->refused) {
		r = es_auth_load(&h->auth, why, sizeof(why));
		if (r < 0)
			return es_http_fail(h, r == -EINVAL ? -EACCES : r, "%s", why);
	}
	if (gzip && es_buf_add_gzip(&packed, q->body, q->len_bytes) < 0)
		return es_http_fail(h, -ENOMEM, "out of memory");
	r = call(h, q, gzip ? &packed : &plain, gzip, &reply);
	if (r < 0)
		return r;
	h->refused = reply.status == 401 || reply.status == 403;
	*ret = reply;
	reply = (struct es_reply){ 0 };
	return 0;
}

int es_http_status(struct es_http *h, const struct es_reply *reply)
{
	const char *node = h->url.node[h->node];
	AUTO_JSON struct json_object *o = NULL;
	char why[160] = "";
	long s = reply->status;

	if (s >= 200 && s <= 299)
		return 0;
	if (es_json_parse(reply->body.data, reply->body.len_bytes, &o) == 0)
		es_json_error(o, why, sizeof(why));
	switch (s) {
	case 401:
	case 403:
		return es_http_fail(h, -EACCES,
				    "'%s' refuses us (HTTP %ld); check %s and what it may do: %s",
				    node, s,
				    h->auth.key_header ? "es_api_key_file"
				    : h->auth.user     ? "es_user, es_password_file"
						       : "whether it wants es_user or "
							 "es_api_key_file",
				    why);
	case 404: /* or a web server that has no such page */
		return es_http_fail(h, strstr(why, "index_not_found") ? -ENOENT : -EPROTO,
				    "'%s' answers HTTP 404: %s", node, why);
	case 413:
		return es_http_fail(h, -EMSGSIZE, "too large for '%s' (HTTP 413)", node);
	case 408:
	case 429:
		return es_http_fail(h, -EAGAIN, "'%s' is busy (HTTP %ld): %s", node, s, why);
	default:
		return es_http_fail(h, s >= 500 && s <= 599 ? -EAGAIN : -EPROTO,
				    "'%s' answers HTTP %ld: %s", node, s, why);
	}
}

const char *es_http_error(const struct es_http *h)
{
	return h->error;
}

const struct es_url *es_http_url(const struct es_http *h)
{
	return &h->url;
}

void es_http_stop(struct es_http *h)
{
	atomic_store(&h->stopped, true);
}

bool es_http_stopped(const struct es_http *h)
{
	return atomic_load(&h->stopped);
}

void es_http_watch(struct es_http *h, bool (*end)(void *arg), void *arg)
{
	h->end = end;
	h->end_arg = arg;
}
