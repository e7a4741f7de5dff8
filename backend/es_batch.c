/* SPDX-License-Identifier: MIT */
/* Keys of documents, made from the names of files. */
#include "backend/es_batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/es_json.h"
#include "lib/cleanup.h"
#include "lib/text.h"

#define KEYS_PER_ITEM 3 /* the template's, the new URL, the old URL */

struct names {
	const char *path;
	const char *name;
	char *stem;   /* owned */
	char *camera; /* owned */
};

static const char *get_name(const char *key, void *arg)
{
	struct names *n = arg;

	if (strcmp(key, "name") == 0)
		return n->name;
	if (strcmp(key, "path") == 0)
		return n->path;
	if (strcmp(key, "stem") == 0)
		return n->stem;
	if (strcmp(key, "camera") == 0)
		return n->camera;
	return NULL;
}

/* The name without its extension; ".x" has none. */
static size_t stem_len(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && dot != name ? (size_t)(dot - name) : strlen(name);
}

int es_key_fill(const char *tmpl, const char *path, const char *name, char **ret)
{
	const char *slash = strchr(path, '/');
	AUTO_FREE char *stem = strndup(name, stem_len(name));
	AUTO_FREE char *camera = strndup(path, slash ? (size_t)(slash - path) : 0);
	struct names names = { path, name, stem, camera };
	AUTO_FREE char *raw = NULL;
	char *safe;
	int r;

	if (!stem || !camera)
		return -ENOMEM;
	r = text_template(tmpl, get_name, &names, &raw);
	if (r < 0)
		return r;
	safe = text_json_safe(raw, strlen(raw));
	if (!safe)
		return -ENOMEM;
	*ret = safe;
	return 0;
}

static const char *get_none(const char *key, void *arg)
{
	(void)key;
	(void)arg;
	return NULL;
}

int es_key_read(const char *tmpl, const char *key, char **ret_path, char **ret_name)
{
	char *path = NULL, *name = NULL;
	int r;

	r = text_template_read(tmpl, "path", get_none, NULL, key, &path);
	if (r == -ENOENT)
		r = text_template_read(tmpl, "name", get_none, NULL, key, &name);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_path = path;
	*ret_name = name;
	return 0;
}

static int add_url(struct es_batch *b, size_t item, const char *url)
{
	char *value;

	if (!url)
		return 0;
	value = text_json_safe(url, strlen(url));
	if (!value)
		return -ENOMEM;
	b->keys[b->n_keys++] = (struct es_key){ value, item };
	return 0;
}

static int add_item(struct es_batch *b, const struct es_rule *rule, size_t item)
{
	struct sink_item *it = &b->items[item];
	char *value;
	int r;

	if (!text_match_any(rule->match, it->name)) {
		it->verdict = SINK_DONE;
		return 0;
	}
	r = es_key_fill(rule->key, it->path, it->name, &value);
	if (r < 0)
		return r;
	if (!value[0] || strlen(value) > rule->key_max_bytes) {
		it->verdict = SINK_POISONED;
		snprintf(it->error, sizeof(it->error),
			 "no document can be named by %zu bytes (1 to %zu are possible)",
			 strlen(value), rule->key_max_bytes);
		free(value);
		return 0;
	}
	b->keys[b->n_keys++] = (struct es_key){ value, item };
	return 0;
}

static int by_value(const void *a, const void *b)
{
	const struct es_key *x = a, *y = b;
	int d = strcmp(x->value, y->value);

	return d ? d : (x->item > y->item) - (x->item < y->item);
}

/* Sort; of each value keep the last item; when lead, it stands for the others too. */
static void unite(struct es_batch *b, bool lead)
{
	size_t kept = 0;

	if (b->n_keys == 0)
		return;
	qsort(b->keys, b->n_keys, sizeof(*b->keys), by_value);
	for (size_t i = 0, end; i < b->n_keys; i = end) {
		for (end = i + 1; end < b->n_keys; end++)
			if (strcmp(b->keys[end].value, b->keys[i].value) != 0)
				break;
		for (size_t k = i; k < end - 1; k++) {
			if (lead)
				b->leader[b->keys[k].item] = b->keys[end - 1].item;
			free(b->keys[k].value);
		}
		b->keys[kept++] = b->keys[end - 1];
	}
	b->n_keys = kept;
}

static int fill(struct es_batch *b, const struct es_rule *rule)
{
	int r = 0;

	for (size_t i = 0; i < b->n_items && r == 0; i++)
		r = add_item(b, rule, i);
	unite(b, true);
	if (!rule->by_url)
		return r;
	for (size_t i = 0; i < b->n_items && r == 0; i++) {
		struct sink_item *it = &b->items[i];

		if (b->leader[i] != i || it->verdict != SINK_RETRY)
			continue;
		r = add_url(b, i, it->url);
		if (r == 0)
			r = add_url(b, i, it->old_url);
	}
	unite(b, false);
	return r;
}

int es_batch_init(struct es_batch *b, const struct es_rule *rule, struct sink_item *items, size_t n)
{
	int r;

	*b = (struct es_batch){ .items = items, .n_items = n };
	if (n == 0)
		return 0;
	b->keys = calloc(n, KEYS_PER_ITEM * sizeof(*b->keys));
	b->leader = calloc(n, sizeof(*b->leader));
	b->rank = malloc(n);
	if (!b->keys || !b->leader || !b->rank) {
		es_batch_fini(b);
		return -ENOMEM;
	}
	memset(b->rank, -1, n);
	for (size_t i = 0; i < n; i++)
		b->leader[i] = i;
	r = fill(b, rule);
	if (r < 0) {
		es_batch_fini(b);
		return r;
	}
	return 0;
}

void es_batch_fini(struct es_batch *b)
{
	for (size_t i = 0; i < b->n_keys; i++)
		free(b->keys[i].value);
	free(b->keys);
	free(b->leader);
	free(b->rank);
	*b = (struct es_batch){ 0 };
}

static int compare_value(const void *value, const void *key)
{
	return strcmp(value, ((const struct es_key *)key)->value);
}

const struct es_key *es_batch_find(const struct es_batch *b, const char *value)
{
	if (b->n_keys == 0)
		return NULL;
	return bsearch(value, b->keys, b->n_keys, sizeof(*b->keys), compare_value);
}

void es_batch_merge(struct es_batch *b, size_t item, enum sink_verdict verdict, const char *error)
{
	static const signed char rank[] = {
		[SINK_MISSING] = 0,
		[SINK_DONE] = 1,
		[SINK_POISONED] = 2,
		[SINK_RETRY] = 3,
	};
	struct sink_item *it = &b->items[item];

	if (rank[verdict] <= b->rank[item])
		return;
	b->rank[item] = rank[verdict];
	it->verdict = verdict;
	es_json_clip(it->error, sizeof(it->error), verdict == SINK_DONE ? "" : error);
}

void es_batch_finish(struct es_batch *b)
{
	for (size_t i = 0; i < b->n_items; i++) {
		size_t l = b->leader[i];

		if (l == i)
			continue;
		b->items[i].verdict = b->items[l].verdict;
		memcpy(b->items[i].error, b->items[l].error, sizeof(b->items[i].error));
	}
}
