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
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "tests/unit/store_rig.h"

#define TIMEOUT_MS 120000

struct store_rig sut;

void crowd_init(struct crowd *b, unsigned n)
{
	*b = (struct crowd){ .left = n };
	lock_init(&b->lock, LOCK_RANK_LEAF, "test batch");
	cond_init(&b->cond);
}

void crowd_done(void *arg, int r)
{
	struct crowd *b = arg;

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

void crowd_wait(struct crowd *b)
{
	int64_t deadline = clock_mono_ms() + TIMEOUT_MS;

	lock_take(&b->lock);
	while (b->left)
		assert_true(cond_wait_until(&b->cond, &b->lock, deadline));
	lock_drop(&b->lock);
	cond_fini(&b->cond);
	lock_fini(&b->lock);
}

const char *sut_key(const char *name)
{
	static char keys[4][STORE_KEY_MAX];
	static unsigned next;
	char *k = keys[next++ % 4];

	snprintf(k, STORE_KEY_MAX, "%s/%s", sut.prefix, name);
	return k;
}

int sut_put_as(const char *k, const char *attempt, const void *data, size_t n)
{
	struct store_attrs attrs = { .attempt = attempt, .path = k, .crc32c = crc32c(0, data, n) };

	return store_put_wait(sut.store, k, data, n, &attrs);
}

int sut_put(const char *k, const char *text)
{
	return sut_put_as(k, "node/1", text, strlen(text));
}

void sut_assert_content(const char *k, const void *want, size_t n)
{
	size_t len;
	void *got;

	assert_int_equal(store_get_all_wait(sut.store, k, n, &got, &len), 0);
	assert_int_equal(len, n);
	assert_memory_equal(got, want, n);
	free(got);
}

int sut_open(void **state)
{
	char err[256] = "";
	int r = store_open(sut.url, TIMEOUT_MS, &sut.store, err, sizeof(err));

	(void)state;
	if (r < 0)
		print_error("cannot open '%s': %s (%s)\n", sut.url, err, strerror(-r));
	return r;
}

int sut_count_listed(const char *k, void *arg)
{
	(void)k;
	++*(unsigned *)arg;
	return 0;
}

int sut_drop_listed(const char *k, void *arg)
{
	(void)arg;
	return store_drop_wait(sut.store, k, NULL);
}

int sut_close(void **state)
{
	(void)state;
	store_list(sut.store, sut.prefix, sut_drop_listed, NULL);
	store_close(sut.store);
	sut.store = NULL;
	return 0;
}

/* Once bare and once inside a fault store whose rules file does not exist. */
static int run_on(const char *url, bool is_dir, bool durable, const struct CMUnitTest *suite,
		  size_t n)
{
	char *wrapped;
	int failed;

	sut.url = url;
	sut.is_dir = is_dir;
	sut.durable = durable;
	failed = _cmocka_run_group_tests(url, suite, n, sut_open, sut_close);

	if (asprintf(&wrapped, "fault:/nonexistent/rules:%s", url) < 0)
		abort();
	sut.url = wrapped;
	failed += _cmocka_run_group_tests(wrapped, suite, n, sut_open, sut_close);
	free(wrapped);
	return failed;
}

int sut_run(const char *name, const struct CMUnitTest *suite, size_t n)
{
	const char *rados = getenv("EBB_TEST_RADOS");
	char dir[64], url[80], command[160];
	int failed;

	snprintf(sut.prefix, sizeof(sut.prefix), "%s-%d", name, getpid());
	if (rados)
		return run_on(rados, false, true, suite, n);

	snprintf(dir, sizeof(dir), "/var/tmp/%s-XXXXXX", name);
	if (!mkdtemp(dir))
		return 1;
	failed = run_on("mem:t_store", false, true, suite, n);
	failed += run_on("mem:", false, false, suite, n);
	snprintf(url, sizeof(url), "dir:%s", dir);
	failed += run_on(url, true, true, suite, n);
	/* Nothing may be left of all this but the directory itself. */
	if (rmdir(dir) < 0) {
		fprintf(stderr, "%s: left in %s:\n", name, dir);
		snprintf(command, sizeof(command), "find %s; rm -rf %s", dir, dir);
		failed += system(command) != 0;
		failed++;
	}
	return failed;
}
