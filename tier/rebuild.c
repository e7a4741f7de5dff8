/* SPDX-License-Identifier: MIT */
/*
 * Rebuilding.
 *
 *	which node? -> part 1, 2, 3 ... -> the end -> fence there -> finish
 *	                 ^                              |
 *	                 +------ somebody was faster ---+
 *
 * A part is a changeset, or a record of an owner: {"epoch": n, ...}, written by a
 * rebuild at the number where it stopped reading.  So the journal never has a hole
 * and says how often it changed hands.
 *
 * Always true: the new file is finished only when the fence is in the store and
 * every part before it was applied; else it is removed.
 */
#include "tier/rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/store.h"
#include "lib/cleanup.h"
#include "lib/crc.h"
#include "meta/catalogue.h"
#include "tier/volume.h"

#define PART_MAX_BYTES (1u << 30) /* a transaction is one part, however large */
#define NODE_MAX_BYTES 65536

struct rebuild {
	const struct rebuild_request *req; /* borrowed */
	struct rebuild_result *ret;
	struct store *store;	     /* owned */
	struct cat_rebuild *cat;     /* owned */
	uint64_t seq;		     /* the next part */
	uint64_t epoch;		     /* of the last owner */
	char token[UID128_STR_SIZE]; /* tells our fence from another's */
	char *err;
	size_t size;
};

static int refuse(struct rebuild *b, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct rebuild *b, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b->err, b->size, fmt, ap);
	va_end(ap);
	return r;
}

/* What the store itself has to say, or the errno. */
static int refuse_store(struct rebuild *b, int r, const char *key)
{
	struct store_health health;

	store_health(b->store, &health);
	return refuse(b, r, "cannot read '%s' in the store: %s", key,
		      health.error[0] ? health.error : strerror(-r));
}

static void put_json(struct json_object **o)
{
	json_object_put(*o);
}
#define AUTO_JSON __attribute__((cleanup(put_json)))

static struct json_object *parse(const void *data, size_t len)
{
	struct json_tokener *tok = json_tokener_new();
	struct json_object *o = NULL;

	if (tok && len <= INT32_MAX)
		o = json_tokener_parse_ex(tok, data, (int)len);
	if (tok)
		json_tokener_free(tok);
	return o;
}

static const char *member(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

/* ---- whose journal ---------------------------------------------------------------- */

struct node_list {
	struct rebuild *b;
	size_t n;
	struct uid128 last;
	char text[2048]; /* "\n\tUUID host since" for each */
};

static void describe_node(struct node_list *l, const char *key, const char *uuid)
{
	AUTO_JSON struct json_object *o = NULL;
	AUTO_FREE void *data = NULL;
	char since[32] = "";
	struct json_object *v;
	struct tm tm;
	size_t len, used = strlen(l->text);
	time_t when;

	if (store_get_all_wait(l->b->store, key, NODE_MAX_BYTES, &data, &len) == 0)
		o = parse(data, len);
	if (o && json_object_object_get_ex(o, "since", &v)) {
		when = json_object_get_int64(v);
		if (gmtime_r(&when, &tm))
			strftime(since, sizeof(since), "%Y-%m-%d %H:%M UTC", &tm);
	}
	snprintf(l->text + used, sizeof(l->text) - used, "\n\t%s  of host '%s' since %s", uuid,
		 o ? member(o, "host") : "?", since[0] ? since : "?");
}

static int each_node(const char *key, void *arg)
{
	struct node_list *l = arg;
	const char *uuid = key + strlen(NODE_PREFIX);

	if (uid128_parse(uuid, &l->last) < 0)
		return 0;
	l->n++;
	describe_node(l, key, uuid);
	return 0;
}

static int choose_node(struct rebuild *b)
{
	struct node_list l = { .b = b };
	int r;

	if (b->req->node) {
		b->ret->node = *b->req->node;
		return 0;
	}
	r = store_list(b->store, NODE_PREFIX, each_node, &l);
	if (r < 0)
		return refuse_store(b, r, NODE_PREFIX);
	if (l.n == 0)
		return refuse(b, -ENOENT,
			      "no node has written to this store: there is nothing to "
			      "rebuild");
	if (l.n > 1)
		return refuse(b, -EINVAL,
			      "several nodes have written to this store: say which one's "
			      "catalogue is meant with node=UUID:%s",
			      l.text);
	b->ret->node = l.last;
	return 0;
}

/* ---- parts ------------------------------------------------------------------------ */

static void key_of(const struct rebuild *b, uint64_t seq, char *ret, size_t size)
{
	journal_key(&b->ret->node, seq, ret, size);
}

/* 1: no such part, nor one after it: the journal ends here. */
static int at_end(struct rebuild *b)
{
	struct store_stat stat;
	char key[128];
	int r;

	key_of(b, b->seq + 1, key, sizeof(key));
	r = store_stat_wait(b->store, key, &stat);
	if (r == 0)
		return refuse(b, -ENODATA,
			      "part %" PRIu64 " of the journal is missing and part %" PRIu64
			      " is there: the store has lost objects",
			      b->seq, b->seq + 1);
	return r == -ENOENT ? 1 : refuse_store(b, r, key);
}

/* A record of an owner.  1: it is the fence we just put. */
static int owner_record(struct rebuild *b, const void *data, size_t len)
{
	AUTO_JSON struct json_object *o = parse(data, len);
	struct json_object *v;

	if (!o || !json_object_object_get_ex(o, "epoch", &v))
		return refuse(b, -EBADMSG, "part %" PRIu64 " of the journal is not readable",
			      b->seq);
	b->epoch = (uint64_t)json_object_get_int64(v);
	return strcmp(member(o, "token"), b->token) == 0;
}

static int apply(struct rebuild *b, const void *data, size_t len)
{
	bool is_record = len > 0 && *(const char *)data == '{';
	int r = is_record ? owner_record(b, data, len) : 0;
	int e;

	if (r < 0)
		return r;
	if (len == 0)
		e = -EBADMSG;
	else
		e = cat_rebuild_apply(b->cat, b->seq, is_record ? NULL : data, is_record ? 0 : len);
	if (e < 0)
		return refuse(b, e, "part %" PRIu64 " of the journal cannot be applied: %s", b->seq,
			      e == -EBADMSG ? "it is damaged" : strerror(-e));
	b->seq++;
	b->ret->done.parts++;
	b->ret->done.bytes += len;
	if (b->req->progress && b->req->progress(b->req->arg, &b->ret->done))
		return refuse(b, -ECANCELED, "stopped");
	return r;
}

/* 0: applied; 1: the end (or our own fence, which is the end). */
static int next_part(struct rebuild *b, bool *fenced)
{
	AUTO_FREE void *data = NULL;
	char key[128];
	size_t len;
	int r;

	key_of(b, b->seq, key, sizeof(key));
	r = store_get_all_wait(b->store, key, PART_MAX_BYTES, &data, &len);
	if (r == -ENOENT)
		return at_end(b);
	if (r < 0)
		return refuse_store(b, r, key);
	r = apply(b, data, len);
	*fenced = r == 1;
	return r;
}

/* ---- taking over -------------------------------------------------------------------- */

static struct json_object *fence_record(const struct rebuild *b)
{
	struct json_object *o = json_object_new_object();
	char host[256] = "";

	if (!o)
		return NULL;
	gethostname(host, sizeof(host) - 1);
	json_object_object_add(o, "epoch", json_object_new_int64((int64_t)b->epoch + 1));
	json_object_object_add(o, "host", json_object_new_string(host));
	json_object_object_add(o, "since", json_object_new_int64(time(NULL)));
	json_object_object_add(o, "token", json_object_new_string(b->token));
	return o;
}

/* 0: it is there, or may be, or another part is: read on.  What is read decides. */
static int put_fence(struct rebuild *b)
{
	AUTO_JSON struct json_object *o = fence_record(b);
	char node[UID128_STR_SIZE], attempt[STORE_ATTEMPT_MAX], key[128];
	struct store_attrs attrs = { .attempt = attempt, .path = key };
	const char *text;
	int r;

	if (!o)
		return refuse(b, -ENOMEM, "out of memory");
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	key_of(b, b->seq, key, sizeof(key));
	snprintf(attempt, sizeof(attempt), "%s/0", uid128_print(&b->ret->node, node));
	attrs.crc32c = crc32c(0, text, strlen(text));
	r = store_put_wait(b->store, key, text, strlen(text), &attrs);
	if (r == 0 || r == -EEXIST)
		return 0;
	return refuse(b, r, "cannot take the journal over: cannot write '%s' to the store: %s", key,
		      strerror(-r));
}

static int read_all(struct rebuild *b)
{
	bool fenced = false;
	int r;

	do {
		do
			r = next_part(b, &fenced);
		while (r == 0);
		if (r == 1 && !fenced && b->seq == 1)
			return refuse(b, -ENOENT, "node %s has no journal in this store",
				      uid128_print(&b->ret->node, b->token));
		if (r == 1 && !fenced)
			r = put_fence(b);
	} while (r == 0);
	return r < 0 ? r : 0;
}

/* ---- all of it ------------------------------------------------------------------------ */

/* What the finished catalogue holds: opened once, as a mount would, which proves that it opens. */
static int count(struct rebuild *b)
{
	struct catalogue *c;
	int r = catalogue_open(b->req->file, false, &c, b->err, b->size);

	if (r < 0)
		return r;
	r = catalogue_counts(c, &b->ret->counts);
	catalogue_close(c);
	return r < 0 ? refuse(b, r, "the new catalogue cannot be read: %s", strerror(-r)) : 0;
}

static int build(struct rebuild *b)
{
	const struct rebuild_request *req = b->req;
	struct uid128 token;
	int r;

	r = volume_read(b->store, &b->ret->volume, b->err, b->size);
	if (r == -ENOENT)
		return refuse(b, r,
			      "the store '%s' holds no volume of ebbfs: is it the right one, "
			      "and mounted?",
			      req->store);
	if (r < 0)
		return b->err[0] ? r : refuse_store(b, r, VOLUME_KEY);
	r = choose_node(b);
	if (r < 0)
		return r;
	r = uid128_new(&token);
	if (r < 0)
		return refuse(b, r, "cannot make a uuid: %s", strerror(-r));
	uid128_print(&token, b->token);
	r = cat_rebuild_begin(req->file, &b->ret->volume, &b->ret->node, &b->cat, b->err, b->size);
	if (r < 0)
		return r;
	r = read_all(b);
	if (r < 0) {
		cat_rebuild_abort(b->cat);
		return r;
	}
	r = cat_rebuild_finish(b->cat);
	if (r < 0)
		return refuse(b, r,
			      "the new catalogue cannot be finished: %s: remove '%s' and see "
			      "whether its disk is full",
			      strerror(-r), req->file);
	return count(b);
}

int rebuild_run(const struct rebuild_request *req, struct rebuild_result *ret, char *err,
		size_t size)
{
	struct rebuild b = {
		.req = req, .ret = ret, .seq = 1, .epoch = 1, .err = err, .size = size
	};
	int r;

	memset(ret, 0, sizeof(*ret));
	err[0] = '\0';
	r = store_open(req->store, req->timeout_ms, &b.store, err, size);
	if (r < 0)
		return r;
	r = build(&b);
	store_close(b.store);
	return r;
}
