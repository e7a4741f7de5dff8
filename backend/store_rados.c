/* SPDX-License-Identifier: MIT */
/*
 * The store in Ceph: "rados:POOL[/NAMESPACE][?conf=/FILE&id=NAME]".
 *
 * An object is one RADOS object under its key, with its bytes and nothing else, so
 * that `rados get` needs no ebbfs; the attributes are xattrs ebb.attempt, ebb.path,
 * ebb.crc32c and ebb.size.  Opening never waits: a mount comes up with Ceph down.
 * Keys that are not UTF-8 do not fit: the tools of Ceph could not name them.
 */
#include "backend/store_rados.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/text.h"

static const store_advice advice = {
	[STORE_DOWN] = "see `ceph -s`: OSDs may be down; what waits goes on by itself",
	[STORE_READ_REFUSED] = "its client needs caps to read the pool (ceph auth caps)",
	[STORE_WRITE_REFUSED] = "its client needs caps to write to the pool (ceph auth caps)",
	[STORE_FULL] = "make room or raise the quota (ceph df detail); archiving goes on by itself",
};

static void rstore_free(struct rstore *s)
{
	cond_fini(&s->conn_wake);
	cond_fini(&s->timer_wake);
	cond_fini(&s->ready_wake);
	lock_fini(&s->lock);
	store_fini(&s->base);
	free(s->pool);
	free(s->space);
	free(s->conf);
	free(s->id);
	free(s);
}

/* ---- the URL ------------------------------------------------------------ */

static int set_param(struct rstore *s, const char *param)
{
	if (strncmp(param, "conf=/", 6) == 0 && !s->conf) {
		s->conf = strdup(param + 5);
		return s->conf ? 0 : -ENOMEM;
	}
	if (strncmp(param, "id=", 3) == 0 && param[3] && !s->id) {
		const char *id = param + 3;

		s->id = strdup(strncmp(id, "client.", 7) == 0 ? id + 7 : id);
		return s->id ? 0 : -ENOMEM;
	}
	return -EINVAL;
}

static int parse_params(struct rstore *s, char *params)
{
	char *rest, *p;
	int r;

	for (p = strtok_r(params, "&", &rest); p; p = strtok_r(NULL, "&", &rest)) {
		r = set_param(s, p);
		if (r < 0)
			return r;
	}
	if (!s->id)
		s->id = strdup("admin");
	return s->id ? 0 : -ENOMEM;
}

/* POOL[/NAMESPACE] */
static int parse_place(struct rstore *s, const char *place)
{
	const char *slash = strchrnul(place, '/');
	const char *space = *slash ? slash + 1 : "";

	if (slash == place || strchr(space, '/') || (*slash && !*space))
		return -EINVAL;
	s->pool = strndup(place, (size_t)(slash - place));
	s->space = strdup(space);
	return s->pool && s->space ? 0 : -ENOMEM;
}

/* ---- open and close ----------------------------------------------------- */

static int start_thread(pthread_t *ret, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	int r;

	/* librados' own threads inherit the mask. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(ret, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		pthread_setname_np(*ret, name);
	return r;
}

static void stop(struct rstore *s)
{
	lock_take(&s->lock);
	s->closing = true;
	cond_broadcast(&s->conn_wake);
	cond_broadcast(&s->timer_wake);
	lock_drop(&s->lock);
}

static int start(struct rstore *s)
{
	int r = start_thread(&s->timer_thread, "rados-timer", rstore_timer_main, s);

	if (r < 0)
		return r;
	r = start_thread(&s->conn_thread, "rados-conn", rstore_conn_main, s);
	if (r < 0) {
		lock_take(&s->lock);
		s->drained = true;
		cond_signal(&s->timer_wake);
		lock_drop(&s->lock);
		pthread_join(s->timer_thread, NULL);
	}
	return r;
}

static void rstore_close(struct store *base)
{
	struct rstore *s = (struct rstore *)base;

	stop(s);
	pthread_join(s->conn_thread, NULL);
	pthread_join(s->timer_thread, NULL);
	rstore_free(s);
}

static int rstore_open(const char *rest, int64_t timeout_ms, struct store **ret, char *err,
		       size_t size)
{
	AUTO_FREE char *place = strdup(rest), *name = NULL;
	char *params;
	struct rstore *s;
	int r;

	snprintf(err, size, "no memory");
	s = calloc(1, sizeof(*s));
	if (!place || !s) {
		free(s);
		return -ENOMEM;
	}
	params = strchrnul(place, '?');
	if (*params)
		*params++ = '\0';
	if (asprintf(&name, "rados:%s", place) < 0)
		name = NULL;
	if (!name || store_init(&s->base, &store_rados_ops, &advice, name, timeout_ms, false) < 0) {
		free(s);
		return -ENOMEM;
	}
	lock_init(&s->lock, LOCK_RANK_STORE, "rados store");
	cond_init(&s->conn_wake);
	cond_init(&s->timer_wake);
	cond_init(&s->ready_wake);
	s->timer_ms = INT64_MAX;
	r = parse_place(s, place);
	if (r == 0)
		r = parse_params(s, params);
	if (r == -EINVAL)
		snprintf(err, size,
			 "'rados:%.100s': rados:POOL[/NAMESPACE][?conf=/FILE&id=NAME] is wanted",
			 rest);
	if (r == 0)
		r = start(s);
	if (r < 0) {
		rstore_free(s);
		return r;
	}
	*ret = &s->base;
	return 0;
}

/* ---- the rest ----------------------------------------------------------- */

static int list_all(struct rstore *s, rados_ioctx_t io, const char *prefix,
		    int (*each)(const char *key, void *arg), void *arg)
{
	size_t n = strlen(prefix);
	rados_list_ctx_t list;
	int r, stop = 0;

	r = rados_nobjects_list_open(io, &list);
	if (r < 0)
		return rstore_error(s, STORE_STAT, prefix, r);
	while (stop == 0) {
		const char *key;

		r = rados_nobjects_list_next(list, &key, NULL, NULL);
		if (r < 0)
			break;
		if (strncmp(key, prefix, n) == 0)
			stop = each(key, arg);
	}
	rados_nobjects_list_close(list);
	if (r == -ENOENT) /* the end */
		return 0;
	return r < 0 ? rstore_error(s, STORE_STAT, prefix, r) : stop;
}

static int rstore_list(struct store *base, const char *prefix,
		       int (*each)(const char *key, void *arg), void *arg)
{
	struct rstore *s = (struct rstore *)base;
	rados_ioctx_t io;
	int r;

	if (!rstore_use_io(s, clock_mono_ms() + base->timeout_ms, &io))
		return -ETIMEDOUT;
	r = list_all(s, io, prefix, each, arg);
	rstore_unuse_io(s);
	return r;
}

static char *rstore_url(struct store *base, const char *key)
{
	struct rstore *s = (struct rstore *)base;
	AUTO_FREE char *place = NULL, *encoded = NULL;
	char *url;
	int n;

	n = asprintf(&place, "%s/%s%s%s", s->pool, s->space, *s->space ? "/" : "", key);
	if (n < 0) {
		place = NULL;
		return NULL;
	}
	encoded = text_url_encode(place, (size_t)n);
	if (!encoded || asprintf(&url, "rados://%s", encoded) < 0)
		return NULL;
	return url;
}

static bool rstore_key_fits(struct store *base, const char *key)
{
	size_t n = strlen(key);

	(void)base;
	return n <= RADOS_NAME_MAX && text_is_utf8(key, n);
}

static void rstore_health(struct store *base, struct store_health *ret)
{
	struct rstore *s = (struct rstore *)base;

	store_fill_health(base, ret);
	lock_take(&s->lock);
	ret->total_bytes = s->total_bytes;
	ret->free_bytes = s->free_bytes;
	lock_drop(&s->lock);
}

const struct store_ops store_rados_ops = {
	.scheme = "rados",
	.open = rstore_open,
	.close = rstore_close,
	.submit = rstore_submit,
	.list = rstore_list,
	.url = rstore_url,
	.key_fits = rstore_key_fits,
	.health = rstore_health,
};
