/* SPDX-License-Identifier: MIT */
/*
 * Receipts: what stands between "we sent it" and "it is there".
 *
 * Bytes may be destroyed only by a function that was given a receipt, and this
 * file holds the only line that makes one: after the store itself has read the
 * object and named its size, its checksum and the attempt that wrote it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/text.h"

struct receipt {
	uint64_t size;
	uint32_t crc32c;
	char attempt[STORE_ATTEMPT_MAX];
	char key[]; /* NUL-terminated */
};

/* A proof under way: what is wanted is the receipt that would be given. */
struct proof {
	struct store *store;	/* borrowed */
	struct receipt *wanted; /* owned; handed out when it is true */
	struct receipt **ret;	/* borrowed from the caller */
	struct store_stat found;
	store_cb cb;
	void *arg;
};

static struct receipt *receipt_wanted(const struct receipt_want *want)
{
	size_t n = strlen(want->key) + 1;
	struct receipt *r = calloc(1, sizeof(*r) + n);

	if (!r)
		return NULL;
	r->size = want->size;
	r->crc32c = want->crc32c;
	snprintf(r->attempt, sizeof(r->attempt), "%s", want->attempt);
	memcpy(r->key, want->key, n);
	return r;
}

static int compare(struct store *s, const struct receipt *want, const struct store_stat *found)
{
	AUTO_FREE char *shown = NULL;

	if (strcmp(found->attempt, want->attempt) != 0)
		return -ESTALE;
	if (found->size == want->size && found->crc32c == want->crc32c)
		return 0;
	shown = text_printable(want->key, strlen(want->key));
	log_error(
		"cannot prove '%s' in %s: it has %llu bytes with crc32c %08x, should be %llu with %08x",
		shown ? shown : "?", store_name(s), (unsigned long long)found->size, found->crc32c,
		(unsigned long long)want->size, want->crc32c);
	return -EBADMSG;
}

static void on_verified(void *arg, int result)
{
	struct proof *p = arg;
	store_cb cb = p->cb;
	void *cb_arg = p->arg;

	if (result == 0)
		result = compare(p->store, p->wanted, &p->found);
	if (result == 0)
		*p->ret = TAKE_PTR(p->wanted);
	receipt_free(p->wanted);
	free(p);
	cb(cb_arg, result);
}

void store_prove(struct store *s, const struct receipt_want *want, struct receipt **ret,
		 store_cb cb, void *arg)
{
	struct proof *p;

	/* What others put has no attempt: an empty one must not match it. */
	if (!*want->attempt || strlen(want->attempt) >= STORE_ATTEMPT_MAX) {
		cb(arg, -EINVAL);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (p)
		p->wanted = receipt_wanted(want);
	if (!p || !p->wanted) {
		free(p);
		cb(arg, -ENOMEM);
		return;
	}
	p->store = s;
	p->ret = ret;
	p->cb = cb;
	p->arg = arg;
	store_verify(s, want->key, &p->found, on_verified, p);
}

const char *receipt_attempt(const struct receipt *r)
{
	return r->attempt;
}

uint64_t receipt_size(const struct receipt *r)
{
	return r->size;
}

uint32_t receipt_crc32c(const struct receipt *r)
{
	return r->crc32c;
}

void receipt_free(struct receipt *r)
{
	free(r);
}
