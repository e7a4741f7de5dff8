/* SPDX-License-Identifier: MIT */
/*
 * The face of all stores: an URL becomes an implementation, keys are checked.
 *
 *	caller -> store_put() -> key_check -> ops->submit -> ... -> store_answer -> cb
 *
 * Behind this file every key is relative and clean, so that no implementation can
 * be led outside its pool or directory.
 */
#include "backend/store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store_ops.h"
#include "lib/clock.h"

static const struct store_ops *const implementations[] = {
	&store_dir_ops,
	&store_mem_ops,
	&store_rados_ops,
	&store_fault_ops,
};

int store_open(const char *url, int64_t timeout_ms, struct store **ret, char *err, size_t size)
{
	assert(timeout_ms > 0);
	for (size_t i = 0; i < sizeof(implementations) / sizeof(implementations[0]); i++) {
		const struct store_ops *ops = implementations[i];
		size_t n = strlen(ops->scheme);

		if (strncmp(url, ops->scheme, n) == 0 && url[n] == ':')
			return ops->open(url + n + 1, timeout_ms, ret, err, size);
	}
	snprintf(err, size,
		 "'%.100s' is no store: use dir:/path, rados:POOL, mem: or fault:RULES:STORE", url);
	return -EINVAL;
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

/* 0, -EINVAL, -ENAMETOOLONG. */
static int key_check(const char *key)
{
	const char *p = key;

	if (strnlen(key, STORE_KEY_MAX) == STORE_KEY_MAX)
		return -ENAMETOOLONG;
	for (;;) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return -EINVAL;
		if (p[n] == '\0')
			return 0;
		p += n + 1;
	}
}

static void reply(const struct store_request *q, int64_t result)
{
	if (q->op == STORE_GET)
		q->read_cb(q->arg, result);
	else
		q->cb(q->arg, (int)result);
}

void store_answer(struct store *s, const struct store_request *q, int64_t result)
{
	if (result != -ETIMEDOUT || !q->hurried)
		store_note(s, q, result);
	reply(q, result);
}

/* Within deadline_ms, or the store's timeout where that is sooner. */
static void submit_until(struct store *s, const struct store_request *asked, int64_t deadline_ms)
{
	struct store_request request = *asked, *q = &request;
	int r = key_check(q->key);

	q->deadline_ms = clock_mono_ms() + s->timeout_ms;
	q->hurried = deadline_ms < q->deadline_ms;
	if (q->hurried)
		q->deadline_ms = deadline_ms;

	/* An offset is a file's: signed everywhere behind this line. */
	if (r == 0 && q->op == STORE_GET && q->off > INT64_MAX - q->len_bytes)
		r = -EINVAL;
	/* An empty attempt is nobody's: it must not match what was put by somebody else. */
	if (r == 0 && q->op == STORE_DROP && q->attempt && !*q->attempt)
		r = -EINVAL;
	if (r < 0)
		reply(q, r);
	else
		s->ops->submit(s, q);
}

static void submit(struct store *s, const struct store_request *q)
{
	submit_until(s, q, INT64_MAX);
}

void store_put(struct store *s, const char *key, const void *data, size_t len_bytes,
	       const struct store_attrs *attrs, store_cb cb, void *arg)
{
	assert(*attrs->attempt && strlen(attrs->attempt) < STORE_ATTEMPT_MAX);
	submit(s, &(struct store_request){ .op = STORE_PUT,
					   .key = key,
					   .data = data,
					   .len_bytes = len_bytes,
					   .attrs = *attrs,
					   .cb = cb,
					   .arg = arg });
}

void store_verify(struct store *s, const char *key, struct store_stat *stat, store_cb cb, void *arg)
{
	submit(s, &(struct store_request){
			  .op = STORE_VERIFY, .key = key, .stat = stat, .cb = cb, .arg = arg });
}

void store_stat(struct store *s, const char *key, struct store_stat *stat, store_cb cb, void *arg)
{
	submit(s, &(struct store_request){
			  .op = STORE_STAT, .key = key, .stat = stat, .cb = cb, .arg = arg });
}

void store_get(struct store *s, const char *key, uint64_t off, void *buf, size_t len_bytes,
	       store_read_cb cb, void *arg)
{
	store_get_until(s, key, off, buf, len_bytes, INT64_MAX, cb, arg);
}

void store_get_until(struct store *s, const char *key, uint64_t off, void *buf, size_t len_bytes,
		     int64_t deadline_ms, store_read_cb cb, void *arg)
{
	struct store_request q = { .op = STORE_GET,
				   .key = key,
				   .off = off,
				   .buf = buf,
				   .len_bytes = len_bytes,
				   .read_cb = cb,
				   .arg = arg };

	submit_until(s, &q, deadline_ms);
}

void store_drop(struct store *s, const char *key, const char *attempt, store_cb cb, void *arg)
{
	submit(s, &(struct store_request){
			  .op = STORE_DROP, .key = key, .attempt = attempt, .cb = cb, .arg = arg });
}

int store_list(struct store *s, const char *prefix, int (*each)(const char *key, void *arg),
	       void *arg)
{
	if (strnlen(prefix, STORE_KEY_MAX) == STORE_KEY_MAX)
		return -EINVAL;
	return s->ops->list(s, prefix, each, arg);
}

char *store_url(struct store *s, const char *key)
{
	return s->ops->url(s, key);
}

bool store_key_fits(struct store *s, const char *key)
{
	return key_check(key) == 0 && s->ops->key_fits(s, key);
}

void store_health(struct store *s, struct store_health *ret)
{
	s->ops->health(s, ret);
}

const char *store_name(struct store *s)
{
	return s->name;
}

bool store_parse_crc32c(const char *text, size_t len, uint32_t *ret)
{
	char copy[9] = "";

	if (len != 8)
		return false;
	memcpy(copy, text, 8);
	if (strspn(copy, "0123456789abcdef") != 8)
		return false;
	*ret = (uint32_t)strtoul(copy, NULL, 16);
	return true;
}
