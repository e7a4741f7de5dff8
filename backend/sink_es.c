/* SPDX-License-Identifier: MIT */
/*
 * The Elasticsearch sink: making it from the options, and knowing what it talks to.
 *
 * Nothing is asked of the server until the first call.  What it is (es_detect) is
 * asked once, and again after it answered nonsense.  Whether the index is there is
 * asked every INDEX_MS: an update that names a missing index would create it,
 * empty and with a guessed mapping.
 */
#include "backend/sink_es.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/conf.h"

#define INDEX_MS 10000
#define ID_MAX_BYTES 512    /* of _id, in every version */
#define KEY_MAX_BYTES 32766 /* of an indexed term */
#define NAME_TEMPLATE "{name}"

static const char *es_error(struct sink *base)
{
	return es_http_error(((struct sink_es *)base)->http);
}

static const char *es_notice(struct sink *base)
{
	return ((struct sink_es *)base)->absent;
}

static void es_stop(struct sink *base)
{
	es_http_stop(((struct sink_es *)base)->http);
}

static void es_free(struct sink *base)
{
	struct sink_es *s = (struct sink_es *)base;

	es_http_free(s->http);
	es_terms_fini(&s->terms);
	free(s->type);
	free(s->match);
	free(s->key);
	free(s->find);
	free(s->url_field);
	free(s->synced_field);
	sink_fini(base);
	free(s);
}

static const struct sink_ops es_ops = {
	.name = "elasticsearch",
	.send = sink_es_send,
	.query = sink_es_query,
	.scan = sink_es_scan,
	.error = es_error,
	.notice = es_notice,
	.stop = es_stop,
	.free = es_free,
};

void sink_es_rule(const struct sink_es *s, struct es_rule *ret)
{
	*ret = (struct es_rule){
		.match = s->match,
		.key = s->key,
		.by_url = s->find && strcmp(s->find, s->url_field) == 0,
		.key_max_bytes = s->find ? KEY_MAX_BYTES : ID_MAX_BYTES,
	};
}

/* By _id, or, when es_id is empty, by es_find: FIELD, whose term is the name, or FIELD=TEMPLATE. */
static int set_key(struct sink_es *s, const struct conf *conf, char *err, size_t size)
{
	bool by_id = conf->es_id[0];
	const char *from = by_id ? conf->es_id : conf->es_find;
	const char *eq = by_id ? NULL : strchr(from, '=');
	AUTO_FREE char *sample = NULL;
	int r;

	if (by_id)
		s->key = strdup(from);
	else
		s->key = strdup(eq ? eq + 1 : NAME_TEMPLATE);
	if (!by_id)
		s->find = eq ? strndup(from, (size_t)(eq - from)) : strdup(from);
	if (!s->key || (!by_id && !s->find))
		return -ENOMEM;
	r = es_key_fill(s->key, "camera/name.jpg", "name.jpg", &sample);
	if (r == -EINVAL || (r == 0 && !sample[0]) || (s->find && !s->find[0])) {
		snprintf(err, size,
			 "%s='%s': must be %s; {name}, {stem}, {path} and {camera} "
			 "are filled in",
			 by_id ? "es_id" : "es_find", from,
			 by_id ? "a template" : "FIELD or FIELD=TEMPLATE");
		return -EINVAL;
	}
	return r;
}

static int set_fields(struct sink_es *s, const struct conf *conf, char *err, size_t size)
{
	if (!conf->es_url_field[0] && !conf->es_synced_field[0]) {
		snprintf(err, size,
			 "es_url_field and es_synced_field are both empty: there is "
			 "nothing to tell");
		return -EINVAL;
	}
	s->match = strdup(conf->es_match);
	s->url_field = strdup(conf->es_url_field);
	s->synced_field = strdup(conf->es_synced_field);
	if (!s->match || !s->url_field || !s->synced_field)
		return -ENOMEM;
	s->max_ops = conf->es_bulk;
	s->max_bytes = s->limit_bytes = conf->es_bulk_bytes;
	return 0;
}

static int set_http(struct sink_es *s, const struct conf *conf, char *err, size_t size)
{
	struct es_url url;
	int r;

	r = es_url_parse(conf->es, &url, err, size);
	if (r < 0)
		return r;
	if (!s->find && es_url_is_pattern(&url)) {
		snprintf(err, size,
			 "es='%s': '%s' may name several indices, in which nothing can be "
			 "found by _id; name one, or set es_find",
			 conf->es, url.index_name);
		r = -EINVAL;
	} else {
		r = es_http_new(conf, &url, &s->http, err, size);
	}
	es_url_fini(&url);
	return r;
}

int sink_es_new(const struct conf *conf, struct sink **ret, char *err, size_t size)
{
	struct sink_es *s;
	int r;

	if (!conf->es[0]) {
		*ret = NULL;
		return 0;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	sink_init(&s->base, &es_ops);
	r = set_key(s, conf, err, size);
	if (r == 0)
		r = set_fields(s, conf, err, size);
	if (r == 0)
		r = set_http(s, conf, err, size);
	if (r < 0) {
		es_free(&s->base);
		return r;
	}
	*ret = &s->base;
	return 0;
}

static int ask(struct sink_es *s, const char *path, const char *type, struct es_buf *body,
	       struct json_object **ret)
{
	struct es_request q = { .path = path, .type = type };
	AUTO_REPLY struct es_reply reply = { 0 };
	int r;

	if (body) {
		if (body->failed)
			return es_http_fail(s->http, -ENOMEM, "out of memory");
		q.body = body->data;
		q.len_bytes = body->len_bytes;
	}
	r = es_http_call(s->http, &q, &reply);
	if (r == 0)
		r = es_http_status(s->http, &reply);
	if (r < 0)
		return r;
	r = es_json_parse(reply.body.data, reply.body.len_bytes, ret);
	if (r < 0)
		es_http_fail(s->http, r, "cannot understand the answer to '%s': %s", path,
			     r == -EAGAIN ? "it was cut short" : "it is not JSON");
	return r;
}

int sink_es_post(struct sink_es *s, const char *path, struct es_buf *body, struct json_object **ret)
{
	return ask(s, path, "application/json", body, ret);
}

static void free_escaped(char **s)
{
	curl_free(*s);
}

/* The fields of the index, and with it whether it is there. */
static int ask_caps(struct sink_es *s, struct json_object **ret)
{
	const char *field = s->find ? s->find : s->url_field[0] ? s->url_field : s->synced_field;
	CLEANUP(free_escaped) char *escaped = curl_easy_escape(NULL, field, 0);
	AUTO_FREE char *path = NULL;

	if (!escaped || asprintf(&path, "/%s/_field_caps?fields=%s,%s.*",
				 es_http_url(s->http)->index, escaped, escaped) < 0) {
		path = NULL;
		return es_http_fail(s->http, -ENOMEM, "out of memory");
	}
	return ask(s, path, NULL, NULL, ret);
}

/* Which fields to search, from what the index has. */
static int choose_terms(struct sink_es *s, struct json_object *caps)
{
	struct es_terms terms;
	int r;

	r = es_terms_read(caps, s->find, &terms);
	if (r == -ENOENT)
		snprintf(s->absent, sizeof(s->absent),
			 "no document of index '%.60s' has a field '%.60s'",
			 es_http_url(s->http)->index_name, s->find);
	if (r == -EPROTO)
		es_http_fail(s->http, r,
			     "field '%s' of index '%s' is text, of which only words can be found: "
			     "give it a keyword subfield, or set es_id",
			     s->find, es_http_url(s->http)->index_name);
	if (r < 0)
		return r;
	es_terms_fini(&s->terms);
	s->terms = terms;
	return 0;
}

static int look_at_index(struct sink_es *s)
{
	AUTO_JSON struct json_object *caps = NULL;
	char *type;
	int r;

	r = ask_caps(s, &caps);
	if (r == -ENOENT) {
		snprintf(s->absent, sizeof(s->absent), "there is no index '%.100s'",
			 es_http_url(s->http)->index_name);
		return r;
	}
	/* A user or a gateway may let us write and not read: an _id needs no reading. */
	if (r < 0 && (s->find || (r != -EACCES && r != -EPROTO)))
		return r;
	if (s->find) {
		r = choose_terms(s, caps);
		if (r < 0)
			return r;
	}
	r = es_detect_type(s->http, &s->server, &type);
	if (r < 0)
		return r;
	free(s->type);
	s->type = type;
	return 0;
}

int sink_es_ready(struct sink_es *s, bool again)
{
	int r;

	if (es_http_stopped(s->http))
		return es_http_fail(s->http, -ECANCELED, "stopped");
	if (!s->detected || again) {
		s->detected = false;
		r = es_detect(s->http, &s->server);
		if (r < 0)
			return r == -ENOENT ? -EPROTO : r;
		s->detected = true;
		sink_set_server(&s->base, s->server.name);
	}
	if (s->usable && !again && clock_mono_ms() < s->seen_ms + INDEX_MS)
		return 0;
	s->usable = false;
	r = look_at_index(s);
	if (r < 0)
		return r;
	s->usable = true;
	s->absent[0] = '\0';
	s->seen_ms = clock_mono_ms();
	return 0;
}
