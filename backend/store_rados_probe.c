/* SPDX-License-Identifier: MIT */
/*
 * What the RADOS store asks of itself every few seconds, so that its health is
 * known while nobody uses it: a stat, which every OSD that works answers; a write
 * while the pool is full, because nothing else tells when it is not; its space.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/store_rados.h"
#include "lib/clock.h"

/* The number at a path of names, 0 when it is not there. */
static uint64_t json_number(struct json_object *o, const char *a, const char *b)
{
	struct json_object *x;

	if (json_object_object_get_ex(o, a, &x) && json_object_object_get_ex(x, b, &x))
		return json_object_get_uint64(x);
	return 0;
}

/* What `ceph df` says of our pool: max_avail counts replicas and the fullest OSD. */
static void parse_df(struct rstore *s, const char *pool, struct json_object *df)
{
	struct json_object *pools, *p, *name;
	uint64_t used, room, quota;

	if (!json_object_object_get_ex(df, "pools", &pools) ||
	    !json_object_is_type(pools, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(pools); i++) {
		p = json_object_array_get_idx(pools, i);
		if (!json_object_object_get_ex(p, "name", &name) ||
		    strcmp(json_object_get_string(name), pool) != 0)
			continue;
		used = json_number(p, "stats", "stored");
		room = json_number(p, "stats", "max_avail");
		quota = json_number(p, "stats", "quota_bytes");
		if (quota && quota < used + room)
			room = quota > used ? quota - used : 0;
		lock_take(&s->lock);
		s->total_bytes = used + room;
		s->free_bytes = room;
		lock_drop(&s->lock);
	}
}

/* Without the right to ask (mon 'allow r') the bytes stay unknown. */
static void probe_space(struct rstore *s, rados_t cluster)
{
	const char *cmd = "{\"prefix\": \"df\", \"detail\": \"detail\", \"format\": \"json\"}";
	char *out = NULL, *status = NULL;
	size_t out_len = 0, status_len = 0;
	struct json_tokener *tok;
	struct json_object *df;

	if (rados_mon_command(cluster, &cmd, 1, "", 0, &out, &out_len, &status, &status_len) == 0) {
		tok = json_tokener_new();
		df = tok ? json_tokener_parse_ex(tok, out, (int)out_len) : NULL;
		if (df)
			parse_df(s, s->pool, df);
		json_object_put(df);
		if (tok)
			json_tokener_free(tok);
	}
	rados_buffer_free(out);
	rados_buffer_free(status);
}

static void on_stat_probe(void *arg, int result)
{
	struct rstore *s = arg;

	(void)result; /* store_note() has heard it */
	s->probe_stat = false;
}

static void on_probe_dropped(void *arg, int result)
{
	struct rstore *s = arg;

	(void)result;
	s->probe_put = false;
}

/* Room again: what proved it goes. */
static void on_put_probe(void *arg, int result)
{
	struct rstore *s = arg;

	if (result < 0 && result != -ETIMEDOUT)
		s->probe_put = false;
	else
		store_drop(&s->base, s->probe_key, NULL, on_probe_dropped, s);
}

/* They go the way of all operations, so what they meet is what all would meet. */
static void probe_io(struct rstore *s)
{
	static const struct store_attrs attrs = { .attempt = "probe" };

	if (!s->probe_stat) {
		s->probe_stat = true;
		store_stat(&s->base, ".ebb/volume", &s->probe_found, on_stat_probe, s);
	}
	/* Only a write can tell whether a full pool is full still. */
	if (store_has_trouble(&s->base, STORE_FULL) && !s->probe_put) {
		s->probe_put = true;
		snprintf(s->probe_key, sizeof(s->probe_key), ".ebb/probe/%d-%lld", getpid(),
			 (long long)clock_real_ns());
		store_put(&s->base, s->probe_key, "?", 1, &attrs, on_put_probe, s);
	}
}

void rstore_probe(struct rstore *s, rados_t cluster)
{
	probe_io(s);
	probe_space(s, cluster);
}
