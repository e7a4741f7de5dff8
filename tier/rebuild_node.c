/* SPDX-License-Identifier: MIT */
/*
 * Whose catalogue is rebuilt: the node that is named, or the only one there is.
 *
 * Nobody is guessed: with several nodes in a store the user gets their list, with host
 * and date, and says which.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend/store.h"
#include "lib/cleanup.h"
#include "tier/rebuild_int.h"
#include "tier/volume.h"

#define NODE_MAX_BYTES 65536

int rebuild_refuse(struct rebuild *b, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b->err, b->size, fmt, ap);
	va_end(ap);
	return r;
}

int rebuild_refuse_store(struct rebuild *b, int r, const char *key)
{
	struct store_health health;

	store_health(b->store, &health);
	return rebuild_refuse(b, r, "cannot read '%s' in the store: %s", key,
			      health.error[0] ? health.error : strerror(-r));
}

static void put_json(struct json_object **o)
{
	json_object_put(*o);
}
#define AUTO_JSON __attribute__((cleanup(put_json)))

struct json_object *rebuild_json(const void *data, size_t len)
{
	struct json_tokener *tok = json_tokener_new();
	struct json_object *o = NULL;

	if (tok && len <= INT32_MAX)
		o = json_tokener_parse_ex(tok, data, (int)len);
	if (tok)
		json_tokener_free(tok);
	return o;
}

const char *rebuild_member(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

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
		o = rebuild_json(data, len);
	if (o && json_object_object_get_ex(o, "since", &v)) {
		when = json_object_get_int64(v);
		if (gmtime_r(&when, &tm))
			strftime(since, sizeof(since), "%Y-%m-%d %H:%M UTC", &tm);
	}
	snprintf(l->text + used, sizeof(l->text) - used, "\n\t%s  of host '%s' since %s", uuid,
		 o ? rebuild_member(o, "host") : "?", since[0] ? since : "?");
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

int rebuild_choose_node(struct rebuild *b)
{
	struct node_list l = { .b = b };
	int r;

	if (b->req->node) {
		b->ret->node = *b->req->node;
		return 0;
	}
	r = store_list(b->store, NODE_PREFIX, each_node, &l);
	if (r < 0)
		return rebuild_refuse_store(b, r, NODE_PREFIX);
	if (l.n == 0)
		return rebuild_refuse(b, -ENOENT,
				      "no node has written to this store: there is nothing to "
				      "rebuild");
	if (l.n > 1)
		return rebuild_refuse(b, -EINVAL,
				      "several nodes have written to this store: say which one's "
				      "catalogue is meant with node=UUID:%s",
				      l.text);
	b->ret->node = l.last;
	return 0;
}
