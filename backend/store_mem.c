/* SPDX-License-Identifier: MIT */
/*
 * The store in memory, for tests: "mem:NAME", or "mem:" which nobody shares.
 *
 * What is opened with one NAME shares its objects and they outlive store_close(),
 * as a store outlives a daemon that is killed and started again.  Callbacks run
 * before the call returns: a caller that holds a lock over a store operation
 * meets its own lock here, in the first test and not in the field.
 */
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store_ops.h"
#include "lib/cleanup.h"
#include "lib/crc.h"
#include "lib/text.h"

struct object {
	char *key;  /* owned; first: what tsearch compares */
	char *path; /* owned, may be NULL */
	void *data; /* owned */
	size_t len_bytes;
	uint32_t crc32c;
	char attempt[STORE_ATTEMPT_MAX];
};

struct content {
	struct content *next;
	char *name;	  /* owned; "" is never shared */
	struct lock lock; /* LOCK_RANK_STORE; protects what follows */
	void *objects;	  /* tsearch(3) tree of struct object, owned */
};

struct mem {
	struct store base;
	struct content *content; /* owned when its name is "", else the process's */
};

/* The only state of the process here: names must outlive the stores that use them. */
static struct {
	struct lock lock;
	struct content *head;
} shared = {
	.lock = { .mutex = PTHREAD_MUTEX_INITIALIZER,
		  .rank = LOCK_RANK_STORE,
		  .name = "mem stores" },
};

static int object_cmp(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static void object_free(void *p)
{
	struct object *o = p;

	if (!o)
		return;
	free(o->key);
	free(o->path);
	free(o->data);
	free(o);
}

static struct object *object_new(const char *key, const void *data, size_t len_bytes,
				 const struct store_attrs *attrs)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->key = strdup(key);
	o->path = attrs->path ? strdup(attrs->path) : NULL;
	o->data = malloc(len_bytes + 1);
	if (!o->key || !o->data || (attrs->path && !o->path)) {
		object_free(o);
		return NULL;
	}
	if (len_bytes)
		memcpy(o->data, data, len_bytes);
	o->len_bytes = len_bytes;
	o->crc32c = attrs->crc32c;
	snprintf(o->attempt, sizeof(o->attempt), "%s", attrs->attempt);
	return o;
}

static struct object *find_locked(struct content *c, const char *key) REQUIRES(c->lock);

static struct object *find_locked(struct content *c, const char *key)
{
	struct object probe = { .key = (char *)(uintptr_t)key };
	struct object *const *found = tfind(&probe, &c->objects, object_cmp);

	return found ? *found : NULL;
}

static struct content *content_new(const char *name)
{
	struct content *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->name = strdup(name);
	if (!c->name) {
		free(c);
		return NULL;
	}
	lock_init(&c->lock, LOCK_RANK_STORE, "mem store");
	return c;
}

static void content_free(struct content *c)
{
	tdestroy(c->objects, object_free);
	lock_fini(&c->lock);
	free(c->name);
	free(c);
}

/* NULL without memory. */
static struct content *content_get(const char *name)
{
	struct content *c;

	if (!*name)
		return content_new(name);
	lock_take(&shared.lock);
	for (c = shared.head; c && strcmp(c->name, name) != 0; c = c->next)
		;
	if (!c) {
		c = content_new(name);
		if (c) {
			c->next = shared.head;
			shared.head = c;
		}
	}
	lock_drop(&shared.lock);
	return c;
}

static int mem_open(const char *rest, int64_t timeout_ms, struct store **ret, char *err,
		    size_t size)
{
	struct mem *m;
	char name[64];

	if (strchr(rest, '/') || strlen(rest) > 40) {
		snprintf(err, size, "'mem:%.80s': a short name without '/' is wanted", rest);
		return -EINVAL;
	}
	snprintf(name, sizeof(name), "mem:%s", rest);
	m = calloc(1, sizeof(*m));
	if (!m || store_init(&m->base, &store_mem_ops, NULL, name, timeout_ms, true) < 0) {
		free(m);
		snprintf(err, size, "no memory");
		return -ENOMEM;
	}
	m->content = content_get(rest);
	if (!m->content) {
		store_fini(&m->base);
		free(m);
		snprintf(err, size, "no memory");
		return -ENOMEM;
	}
	*ret = &m->base;
	return 0;
}

static void mem_close(struct store *s)
{
	struct mem *m = (struct mem *)s;

	if (!*m->content->name)
		content_free(m->content);
	store_fini(s);
	free(m);
}

static int put(struct content *c, const struct store_request *q)
{
	struct object *o = object_new(q->key, q->data, q->len_bytes, &q->attrs);
	int r = -ENOMEM;

	if (!o)
		return r;
	lock_take(&c->lock);
	if (find_locked(c, q->key))
		r = -EEXIST;
	else if (tsearch(o, &c->objects, object_cmp))
		r = 0;
	lock_drop(&c->lock);
	if (r < 0)
		object_free(o);
	return r;
}

/* stat, and verify. */
static int look(struct content *c, const struct store_request *q)
{
	struct object *o;

	lock_take(&c->lock);
	o = find_locked(c, q->key);
	if (o) {
		q->stat->size = o->len_bytes;
		q->stat->crc32c = q->op == STORE_VERIFY ? crc32c(0, o->data, o->len_bytes) : 0;
		memcpy(q->stat->attempt, o->attempt, sizeof(q->stat->attempt));
		q->stat->has_written = true;
		q->stat->written_crc32c = o->crc32c;
	}
	lock_drop(&c->lock);
	return o ? 0 : -ENOENT;
}

static int64_t get(struct content *c, const struct store_request *q)
{
	int64_t n = -ENOENT;
	struct object *o;

	lock_take(&c->lock);
	o = find_locked(c, q->key);
	if (o) {
		size_t room = q->off < o->len_bytes ? o->len_bytes - (size_t)q->off : 0;

		n = (int64_t)(room < q->len_bytes ? room : q->len_bytes);
		if (n > 0)
			memcpy(q->buf, (char *)o->data + q->off, (size_t)n);
	}
	lock_drop(&c->lock);
	return n;
}

static int drop(struct content *c, const struct store_request *q)
{
	struct object *o;
	int r = -ENOENT;

	lock_take(&c->lock);
	o = find_locked(c, q->key);
	if (o && q->attempt && strcmp(o->attempt, q->attempt) != 0) {
		r = -ESTALE;
	} else if (o) {
		tdelete(o, &c->objects, object_cmp);
		r = 0;
	}
	lock_drop(&c->lock);
	if (r == 0)
		object_free(o);
	return r;
}

static void mem_submit(struct store *s, const struct store_request *q)
{
	struct content *c = ((struct mem *)s)->content;

	switch (q->op) {
	case STORE_PUT:
		store_answer(s, q, put(c, q));
		break;
	case STORE_GET:
		store_answer(s, q, get(c, q));
		break;
	case STORE_DROP:
		store_answer(s, q, drop(c, q));
		break;
	default:
		store_answer(s, q, look(c, q));
		break;
	}
}

struct collect {
	const char *prefix;
	char **keys;
	size_t n;
	bool failed;
};

static void collect_key(const void *node, VISIT which, void *arg)
{
	const struct object *o = *(const struct object *const *)node;
	struct collect *l = arg;
	char **keys;

	if ((which != postorder && which != leaf) || l->failed)
		return;
	if (strncmp(o->key, l->prefix, strlen(l->prefix)) != 0)
		return;
	if ((l->n & (l->n - 1)) == 0) { /* a power of two: full */
		keys = reallocarray(l->keys, l->n ? 2 * l->n : 1, sizeof(*keys));
		l->failed = !keys;
		if (!keys)
			return;
		l->keys = keys;
	}
	l->keys[l->n] = strdup(o->key);
	l->failed = !l->keys[l->n];
	l->n += !l->failed;
}

/* The keys are copied first: each() may put and drop. */
static int mem_list(struct store *s, const char *prefix, int (*each)(const char *key, void *arg),
		    void *arg)
{
	struct content *c = ((struct mem *)s)->content;
	struct collect l = { .prefix = prefix };
	int r = 0;

	lock_take(&c->lock);
	twalk_r(c->objects, collect_key, &l);
	lock_drop(&c->lock);
	if (l.failed)
		r = -ENOMEM;
	for (size_t i = 0; i < l.n; i++) {
		if (r == 0)
			r = each(l.keys[i], arg);
		free(l.keys[i]);
	}
	free(l.keys);
	return r;
}

static char *mem_url(struct store *s, const char *key)
{
	AUTO_FREE char *encoded = text_url_encode(key, strlen(key));
	char *url;

	if (!encoded ||
	    asprintf(&url, "mem://%s/%s", ((struct mem *)s)->content->name, encoded) < 0)
		return NULL;
	return url;
}

static bool mem_key_fits(struct store *s, const char *key)
{
	(void)s;
	(void)key;
	return true;
}

static void mem_health(struct store *s, struct store_health *ret)
{
	store_fill_health(s, ret);
}

const struct store_ops store_mem_ops = {
	.scheme = "mem",
	.open = mem_open,
	.close = mem_close,
	.submit = mem_submit,
	.list = mem_list,
	.url = mem_url,
	.key_fits = mem_key_fits,
	.health = mem_health,
};
