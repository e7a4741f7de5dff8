/* SPDX-License-Identifier: MIT */
/*
 * The waiting forms of store operations: for pool threads and tools.
 *
 * A waiter lives on the caller's stack.  The callback's last touch of it is the
 * drop of its lock, which is why it may go away as soon as wait_done() has it.
 */
#include <errno.h>
#include <stdlib.h>

#include "backend/store.h"
#include "lib/lock.h"

struct waiter {
	struct lock lock; /* LOCK_RANK_LEAF */
	struct cond done_cond;
	bool done;
	int64_t result;
};

static void waiter_init(struct waiter *w)
{
	lock_init(&w->lock, LOCK_RANK_LEAF, "store waiter");
	cond_init(&w->done_cond);
	w->done = false;
}

static void on_read(void *arg, int64_t result)
{
	struct waiter *w = arg;

	lock_take(&w->lock);
	w->result = result;
	w->done = true;
	cond_signal(&w->done_cond);
	lock_drop(&w->lock);
}

static void on_done(void *arg, int result)
{
	on_read(arg, result);
}

static int64_t wait_done(struct waiter *w)
{
	lock_take(&w->lock);
	while (!w->done)
		cond_wait(&w->done_cond, &w->lock);
	lock_drop(&w->lock);
	cond_fini(&w->done_cond);
	lock_fini(&w->lock);
	return w->result;
}

int store_put_wait(struct store *s, const char *key, const void *data, size_t len_bytes,
		   const struct store_attrs *attrs)
{
	struct waiter w;

	waiter_init(&w);
	store_put(s, key, data, len_bytes, attrs, on_done, &w);
	return (int)wait_done(&w);
}

int store_verify_wait(struct store *s, const char *key, struct store_stat *ret)
{
	struct store_stat stat;
	struct waiter w;
	int r;

	waiter_init(&w);
	store_verify(s, key, &stat, on_done, &w);
	r = (int)wait_done(&w);
	if (r == 0)
		*ret = stat;
	return r;
}

int store_stat_wait(struct store *s, const char *key, struct store_stat *ret)
{
	struct store_stat stat;
	struct waiter w;
	int r;

	waiter_init(&w);
	store_stat(s, key, &stat, on_done, &w);
	r = (int)wait_done(&w);
	if (r == 0)
		*ret = stat;
	return r;
}

int64_t store_get_wait(struct store *s, const char *key, uint64_t off, void *buf, size_t len_bytes)
{
	struct waiter w;

	waiter_init(&w);
	store_get(s, key, off, buf, len_bytes, on_read, &w);
	return wait_done(&w);
}

int store_drop_wait(struct store *s, const char *key, const char *attempt)
{
	struct waiter w;

	waiter_init(&w);
	store_drop(s, key, attempt, on_done, &w);
	return (int)wait_done(&w);
}

int store_prove_wait(struct store *s, const struct receipt_want *want, struct receipt **ret)
{
	struct waiter w;

	waiter_init(&w);
	store_prove(s, want, ret, on_done, &w);
	return (int)wait_done(&w);
}

/* One byte more than the size is asked for: objects do not grow, and a test sees it. */
int store_get_all_wait(struct store *s, const char *key, size_t max_bytes, void **ret,
		       size_t *ret_len)
{
	struct store_stat stat;
	int64_t n;
	void *buf;
	int r;

	r = store_stat_wait(s, key, &stat);
	if (r < 0)
		return r;
	if (stat.size > max_bytes)
		return -EFBIG;
	buf = malloc(stat.size + 1);
	if (!buf)
		return -ENOMEM;
	n = store_get_wait(s, key, 0, buf, stat.size + 1);
	if (n < 0 || (uint64_t)n != stat.size) {
		free(buf);
		return n < 0 ? (int)n : -EIO;
	}
	*ret = buf;
	*ret_len = (size_t)n;
	return 0;
}
