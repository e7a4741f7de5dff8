/* SPDX-License-Identifier: MIT */
/*
 * Recognising the server.
 *
 * GET / says it all, except where it is forbidden (403: the right to monitor is
 * not needed to write) or not built in (405: test builds of 8.17).  Then the
 * node's own version is asked, then the header X-Elastic-Product (since
 * 7.14) will do: all that matters is whether documents have a _type.
 */
#include "backend/es_detect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

#define OLDEST_ELASTICSEARCH 6
#define NEWEST_WITH_TYPES 6
#define TYPE_BY_CUSTOM "_doc" /* when we may not ask */

static int set_version(struct es_server *s, const char *number, bool opensearch)
{
	unsigned long major;
	char *end;

	if (!number)
		return -EPROTO;
	major = strtoul(number, &end, 10);
	if (end == number || *end != '.' || major == 0 || major > 1000)
		return -EPROTO;
	s->major = (unsigned)major;
	s->opensearch = opensearch;
	snprintf(s->name, sizeof(s->name), "%s %.40s", opensearch ? "opensearch" : "elasticsearch",
		 number);
	es_json_clip(s->name, sizeof(s->name), s->name);
	return 0;
}

int es_detect_root(struct json_object *reply, struct es_server *ret)
{
	struct json_object *version = es_json_object(reply, "version");
	const char *distribution = es_json_string(version, "distribution");
	const char *tagline = es_json_string(reply, "tagline");

	if (!distribution && !tagline)
		return -EPROTO;
	return set_version(ret, es_json_string(version, "number"),
			   (distribution && strcmp(distribution, "opensearch") == 0) ||
				   (tagline && strstr(tagline, "OpenSearch")));
}

int es_detect_nodes(struct json_object *reply, bool elastic, struct es_server *ret)
{
	struct json_object *nodes = es_json_object(reply, "nodes");
	const char *number = NULL;

	if (!nodes)
		return -EPROTO;
	json_object_object_foreach(nodes, id, node)
	{
		(void)id;
		number = es_json_string(node, "version");
	}
	/* Elasticsearch without the header is before 7.14; OpenSearch counts from 1. */
	return set_version(ret, number, !elastic && number && strtoul(number, NULL, 10) < 6);
}

/* {"properties":..} has no types; {"TYPE":{"properties":..}} has one.  NULL or borrowed. */
static const char *type_of(struct json_object *mappings)
{
	if (es_json_object(mappings, "properties"))
		return NULL;
	json_object_object_foreach(mappings, name, mapping)
	{
		if (es_json_object(mapping, "properties") && strcmp(name, "_default_") != 0)
			return name;
	}
	return NULL;
}

int es_detect_mapping(struct json_object *reply, char **ret)
{
	json_object_object_foreach(reply, index, about)
	{
		struct json_object *mappings = es_json_object(about, "mappings");
		const char *type;
		char *copy;

		(void)index;
		if (!mappings)
			continue;
		type = type_of(mappings);
		copy = type ? strdup(type) : NULL;
		if (type && !copy)
			return -ENOMEM;
		*ret = copy;
		return 0;
	}
	return -ENOENT;
}

/* GET path: 0 and the parsed reply, of any status; *o NULL when it is not JSON. */
static int get(struct es_http *h, const char *path, struct es_reply *reply, struct json_object **o)
{
	struct es_request q = { .path = path };
	int r;

	r = es_http_call(h, &q, reply);
	if (r < 0)
		return r;
	r = es_json_parse(reply->body.data, reply->body.len_bytes, o);
	return r == -ENOMEM ? r : 0;
}

/* A refusal in Elasticsearch's or OpenSearch's own words. */
static bool speaks_json(const struct es_reply *reply, struct json_object *o)
{
	char why[64];

	return reply->elastic || (reply->status >= 400 && *es_json_error(o, why, sizeof(why)));
}

static int detect(struct es_http *h, struct es_server *s)
{
	AUTO_REPLY struct es_reply root = { 0 }, nodes = { 0 };
	AUTO_JSON struct json_object *o = NULL, *o2 = NULL;
	int r;

	r = get(h, "/", &root, &o);
	if (r < 0)
		return r;
	if (root.status == 200 && es_detect_root(o, s) == 0)
		return 0;
	if (root.status != 403 && root.status != 404 && root.status != 405) {
		r = es_http_status(h, &root);
		return r < 0 ? r : -EPROTO;
	}
	r = get(h, "/_nodes/_local?filter_path=nodes.*.version", &nodes, &o2);
	if (r < 0)
		return r;
	if (nodes.status == 200 && es_detect_nodes(o2, nodes.elastic, s) == 0)
		return 0;
	if (nodes.status == 401 || nodes.status >= 500)
		return es_http_status(h, &nodes);
	if (!speaks_json(&root, o) && !speaks_json(&nodes, o2))
		return -EPROTO;
	s->major = 0;
	snprintf(s->name, sizeof(s->name), "%s, version not told",
		 root.elastic || nodes.elastic ? "elasticsearch" : "elasticsearch or opensearch");
	return 0;
}

int es_detect(struct es_http *h, struct es_server *ret)
{
	struct es_server s = { 0 };
	int r;

	r = detect(h, &s);
	if (r == -EPROTO && !*es_http_error(h))
		return es_http_fail(h, r,
				    "what answers at '%s' is neither Elasticsearch nor OpenSearch",
				    es_http_url(h)->node[0]);
	if (r < 0)
		return r;
	if (!s.opensearch && s.major > 0 && s.major < OLDEST_ELASTICSEARCH)
		return es_http_fail(h, -EPROTO, "%s is too old: %d or newer is needed", s.name,
				    OLDEST_ELASTICSEARCH);
	*ret = s;
	return 0;
}

int es_detect_type(struct es_http *h, const struct es_server *server, char **ret)
{
	AUTO_REPLY struct es_reply reply = { 0 };
	AUTO_JSON struct json_object *o = NULL;
	AUTO_FREE char *path = NULL;
	char *type = NULL;
	int r;

	if (server->opensearch || server->major > NEWEST_WITH_TYPES) {
		*ret = NULL;
		return 0;
	}
	if (asprintf(&path, "/%s/_mapping", es_http_url(h)->index) < 0) {
		path = NULL;
		return es_http_fail(h, -ENOMEM, "out of memory");
	}
	r = get(h, path, &reply, &o);
	if (r < 0)
		return r;
	if (reply.status == 200) {
		r = es_detect_mapping(o, &type);
		if (r == -ENOMEM)
			return es_http_fail(h, r, "out of memory");
	} else if (reply.status != 403) {
		return es_http_status(h, &reply);
	}
	if (!type && server->major == NEWEST_WITH_TYPES) {
		type = strdup(TYPE_BY_CUSTOM);
		if (!type)
			return es_http_fail(h, -ENOMEM, "out of memory");
	}
	*ret = type;
	return 0;
}
