/* SPDX-License-Identifier: MIT */
/* What the contract suite of stores works with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "tests/unit/store_rig.h"

#define TIMEOUT_MS 120000

struct store_rig rig;

void batch_init(struct batch *b, unsigned n)
{
	*b = (struct batch){ .left = n };
	lock_init(&b->lock, LOCK_RANK_LEAF, "test batch");
	cond_init(&b->cond);
}

void batch_done(void *arg, int r)
{
	struct batch *b = arg;

	lock_take(&b->lock);
	if (r == 0) {
		b->ok++;
	} else if (r == -EEXIST) {
		b->taken++;
	} else {
		b->other++;
		b->last_other = r;
	}
	b->left--;
	cond_signal(&b->cond);
	lock_drop(&b->lock);
}

void batch_wait(struct batch *b)
{
	int64_t deadline = clock_mono_ms() + TIMEOUT_MS;

	lock_take(&b->lock);
	while (b->left)
		assert_true(cond_wait_until(&b->cond, &b->lock, deadline));
	lock_drop(&b->lock);
	cond_fini(&b->cond);
	lock_fini(&b->lock);
}

const char *rig_key(const char *name)
{
	static char keys[4][STORE_KEY_MAX];
	static unsigned next;
	char *k = keys[next++ % 4];

	snprintf(k, STORE_KEY_MAX, "%s/%s", rig.prefix, name);
	return k;
}

int rig_put_as(const char *k, const char *attempt, const void *data, size_t n)
{
	struct store_attrs attrs = { .attempt = attempt, .path = k, .crc32c = crc32c(0, data, n) };

	return store_put_wait(rig.store, k, data, n, &attrs);
}

int rig_put(const char *k, const char *text)
{
	return rig_put_as(k, "node/1", text, strlen(text));
}

void rig_assert_content(const char *k, const void *want, size_t n)
{
	size_t len;
	void *got;

	assert_int_equal(store_get_all_wait(rig.store, k, n, &got, &len), 0);
	assert_int_equal(len, n);
	assert_memory_equal(got, want, n);
	free(got);
}

int rig_open(void **state)
{
	char err[256] = "";
	int r = store_open(rig.url, TIMEOUT_MS, &rig.store, err, sizeof(err));

	(void)state;
	if (r < 0)
		print_error("cannot open '%s': %s (%s)\n", rig.url, err, strerror(-r));
	return r;
}

int rig_drop_listed(const char *k, void *arg)
{
	(void)arg;
	return store_drop_wait(rig.store, k, NULL);
}

int rig_close(void **state)
{
	(void)state;
	store_list(rig.store, rig.prefix, rig_drop_listed, NULL);
	store_close(rig.store);
	rig.store = NULL;
	return 0;
}
