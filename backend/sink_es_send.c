/* SPDX-License-Identifier: MIT */
/*
 * The Elasticsearch sink: telling documents what became of their files.
 *
 * A batch goes in runs of keys: find the documents (by term; an _id needs no
 * finding), make the bulk, post it in slices, merge what each update came to.  When
 * something fails half way, the runs behind it are SINK_RETRY, those before keep
 * what they have.
 *
 * limit_bytes follows what the server takes: halved when a request was too large or
 * failed as a whole, growing again by a step with each that was answered.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sink_es.h"
#include "lib/cleanup.h"

#define FIND_MAX_KEYS 1000	/* in one search */
#define LIMIT_LEAST (64u << 10) /* what a failure does not go below; a 413 does */
#define LIMIT_STEPS 32

struct plan {
	struct sink_es *s;
	struct es_batch *batch;
	size_t from;
	struct es_bulk bulk;
	bool found[FIND_MAX_KEYS]; /* by term: of each key, is there a document? */
};

static int add_update(struct plan *p, const struct es_target *at, const struct es_key *key)
{
	const struct sink_es *s = p->s;
	AUTO_FREE char *doc = NULL;
	int r;

	r = es_bulk_doc(s->url_field, s->synced_field, &p->batch->items[key->item], &doc);
	if (r == 0)
		r = es_bulk_add(&p->bulk, key->item, at, doc);
	if (r < 0)
		es_http_fail(s->http, r, "out of memory");
	return r;
}

static int on_hit(const struct es_hit *hit, const struct es_key *key, void *arg)
{
	struct plan *p = arg;
	struct es_target at = hit->at;

	/* A type is what version 7 still tells, and 8 refuses. */
	if (!p->s->type)
		at.type = NULL;
	p->found[(size_t)(key - p->batch->keys) - p->from] = true;
	return add_update(p, &at, key);
}

static int plan_by_term(struct plan *p, size_t n)
{
	char why[160];
	int r;

	r = sink_es_search(p->s, p->batch, p->from, n, "", on_hit, p);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const struct es_key *key = &p->batch->keys[p->from + i];

		if (p->found[i])
			continue;
		snprintf(why, sizeof(why), "no document with %.40s '%.90s'", p->s->find,
			 key->value);
		es_batch_merge(p->batch, key->item, SINK_MISSING, why);
	}
	return 0;
}

static int plan_by_id(struct plan *p, size_t n)
{
	struct es_target at = {
		.index = es_http_url(p->s->http)->index_name,
		.type = p->s->type,
	};
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct es_key *key = &p->batch->keys[p->from + i];

		at.id = key->value;
		r = add_update(p, &at, key);
	}
	return r;
}

/* One slice.  0; -EMSGSIZE: too large; or as sink_send. */
static int post(struct sink_es *s, struct es_bulk *b, size_t from, size_t n)
{
	const struct es_op *last = &b->ops[from + n - 1];
	struct es_request q = {
		.path = ES_BULK_PATH,
		.type = "application/x-ndjson",
		.body = b->body.data + b->ops[from].off_bytes,
		.len_bytes = last->off_bytes + last->len_bytes - b->ops[from].off_bytes,
	};
	AUTO_REPLY struct es_reply reply = { 0 };
	char why[256];
	int r;

	r = es_http_call(s->http, &q, &reply);
	if (r == 0)
		r = es_http_status(s->http, &reply);
	if (r == 0) {
		r = es_bulk_read(&b->ops[from], n, &reply.body, why, sizeof(why));
		if (r < 0)
			es_http_fail(s->http, r, "%s", why);
	}
	if ((r == -EMSGSIZE || r == -EAGAIN) && q.len_bytes / 2 < s->limit_bytes)
		s->limit_bytes = q.len_bytes / 2;
	if (r == -EAGAIN && s->limit_bytes < LIMIT_LEAST)
		s->limit_bytes = LIMIT_LEAST < s->max_bytes ? LIMIT_LEAST : s->max_bytes;
	if (r == 0) {
		s->limit_bytes += s->max_bytes / LIMIT_STEPS;
		if (s->limit_bytes > s->max_bytes)
			s->limit_bytes = s->max_bytes;
	}
	return r == -ENOENT ? -EPROTO : r;
}

static int post_all(struct sink_es *s, struct es_bulk *b)
{
	int r;

	for (size_t from = 0, n; from < b->n; from += n) {
		n = es_bulk_slice(b, from, s->max_ops, s->limit_bytes);
		r = post(s, b, from, n);
		if (r == -EMSGSIZE && n > 1) {
			n = 0; /* again, with the limit that post() halved */
			continue;
		}
		if (r == -EMSGSIZE) {
			b->ops[from].verdict = SINK_POISONED;
			snprintf(b->ops[from].error, sizeof(b->ops[from].error),
				 "too large for the server (HTTP 413)");
			continue;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static void merge(struct plan *p)
{
	for (size_t i = 0; i < p->bulk.n; i++) {
		const struct es_op *op = &p->bulk.ops[i];
		enum sink_verdict v = op->verdict;

		/* It was found there a moment ago: rolled over; search again. */
		if (p->s->find && v == SINK_MISSING && strstr(op->error, "index_not_found"))
			v = SINK_RETRY;
		es_batch_merge(p->batch, op->item, v, op->error);
	}
}

static void merge_keys(struct es_batch *b, size_t from, size_t end, enum sink_verdict verdict,
		       const char *why)
{
	for (size_t i = from; i < end; i++)
		es_batch_merge(b, b->keys[i].item, verdict, why);
}

static int send_run(struct sink_es *s, struct es_batch *b, size_t from, size_t n)
{
	AUTO_FREE struct plan *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		merge_keys(b, from, from + n, SINK_RETRY, "");
		return es_http_fail(s->http, -ENOMEM, "out of memory");
	}
	*p = (struct plan){ .s = s, .batch = b, .from = from };
	r = s->find ? plan_by_term(p, n) : plan_by_id(p, n);
	if (r == 0) {
		r = post_all(s, &p->bulk);
		merge(p);
	} else if (r != -ENOENT) {
		merge_keys(b, from, from + n, SINK_RETRY, "");
	}
	es_bulk_fini(&p->bulk);
	return r;
}

static int send_all(struct sink_es *s, struct es_batch *b)
{
	size_t most = s->find && s->max_ops > FIND_MAX_KEYS ? FIND_MAX_KEYS : s->max_ops;
	size_t from = 0, n = 0;
	int r;

	r = sink_es_ready(s, b->n_items == 0);
	while (r == 0 && from < b->n_keys) {
		n = b->n_keys - from < most ? b->n_keys - from : most;
		r = send_run(s, b, from, n);
		if (r != -ENOENT)
			from += n;
	}
	if (r == -ENOENT) { /* no index, no document: what is left has none */
		if (!s->absent[0])
			es_json_clip(s->absent, sizeof(s->absent), es_http_error(s->http));
		s->usable = false;
		merge_keys(b, from, b->n_keys, SINK_MISSING, s->absent);
		return 0;
	}
	if (r < 0)
		merge_keys(b, from, b->n_keys, SINK_RETRY, "");
	return r;
}

int sink_es_send(struct sink *base, struct sink_item *items, size_t n)
{
	struct sink_es *s = (struct sink_es *)base;
	AUTO_BATCH struct es_batch batch = { 0 };
	struct es_rule rule;
	int r;

	sink_es_rule(s, &rule);
	r = es_batch_init(&batch, &rule, items, n);
	if (r < 0)
		return es_http_fail(s->http, r, "out of memory");
	if (n > 0 && batch.n_keys == 0)
		return 1;
	r = send_all(s, &batch);
	if (r == -EPROTO || r == -EACCES)
		s->detected = s->usable = false;
	es_batch_finish(&batch);
	return r;
}
