/* SPDX-License-Identifier: MIT */
/*
 * A store on the command line, for tests.
 *
 *	storecat URL TIMEOUT_MS
 *
 * Lines on standard input, fields separated by tabs; for each one line is written:
 *
 *	put KEY ATTEMPT TEXT	RESULT MS
 *	get KEY			RESULT MS TEXT
 *	stat|verify KEY		RESULT MS SIZE CRC32C ATTEMPT
 *	drop KEY ATTEMPT	RESULT MS		ATTEMPT "-": whatever it is
 *	list PREFIX		RESULT MS COUNT
 *	url KEY			URL
 *	put-many N PREFIX BYTES	started			N puts at once, PREFIX0, PREFIX1 ...
 *	get-many N PREFIX BYTES	started
 *	get-until KEY MS	as join: one get that has MS
 *	join			MS_OF_THE_SLOWEST RESULT=COUNT ...
 *	health			up|down FREE_BYTES ERROR
 *	close			closed MS
 *
 * RESULT is 0, a number of bytes, or the name of an errno.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/lock.h"
#include "lib/log.h"

#define MANY_MAX 4096
#define TEXT_MAX 65536

struct many;

struct one {
	struct many *many;
	char key[256];
	char *buf; /* owned */
	int64_t start_ms;
};

/* Operations in flight, and what became of them. */
struct many {
	struct lock lock;
	struct cond cond;
	unsigned left;
	int64_t slowest_ms;
	unsigned results[256]; /* by errno; 0 is success */
	struct one ones[MANY_MAX];
	char *data; /* owned; what all of them put */
	struct store_attrs attrs;
};

static const char *result_name(int64_t r)
{
	static char number[24];

	if (r < 0)
		return strerrorname_np((int)-r);
	snprintf(number, sizeof(number), "%lld", (long long)r);
	return number;
}

static void on_many(void *arg, int64_t r)
{
	struct one *o = arg;
	struct many *m = o->many;
	int64_t ms = clock_mono_ms() - o->start_ms;

	lock_take(&m->lock);
	m->results[r < 0 && r > -256 ? -r : 0]++;
	if (ms > m->slowest_ms)
		m->slowest_ms = ms;
	m->left--;
	cond_signal(&m->cond);
	lock_drop(&m->lock);
}

static void on_many_put(void *arg, int r)
{
	on_many(arg, r);
}

static void start_many(struct store *s, struct many *m, bool put, unsigned n, const char *prefix,
		       size_t len)
{
	free(m->data);
	m->data = calloc(1, len + 1);
	m->attrs = (struct store_attrs){ .attempt = "many", .crc32c = crc32c(0, m->data, len) };
	m->left = n;
	m->slowest_ms = 0;
	memset(m->results, 0, sizeof(m->results));
	for (unsigned i = 0; i < n; i++) {
		struct one *o = &m->ones[i];

		o->many = m;
		o->start_ms = clock_mono_ms();
		snprintf(o->key, sizeof(o->key), "%.200s%u", prefix, i);
		if (put) {
			store_put(s, o->key, m->data, len, &m->attrs, on_many_put, o);
			continue;
		}
		free(o->buf);
		o->buf = malloc(len + 1);
		store_get(s, o->key, 0, o->buf, len, on_many, o);
	}
	puts("started");
}

static void get_until(struct store *s, struct many *m, const char *key, int64_t ms)
{
	struct one *o = &m->ones[0];

	m->left = 1;
	m->slowest_ms = 0;
	memset(m->results, 0, sizeof(m->results));
	o->many = m;
	o->start_ms = clock_mono_ms();
	if (!o->buf)
		o->buf = malloc(TEXT_MAX);
	store_get_until(s, key, 0, o->buf, TEXT_MAX, o->start_ms + ms, on_many, o);
}

static void join_many(struct many *m)
{
	lock_take(&m->lock);
	while (m->left)
		cond_wait(&m->cond, &m->lock);
	printf("%lld", (long long)m->slowest_ms);
	for (int e = 0; e < 256; e++) {
		if (m->results[e])
			printf("\t%s=%u", result_name(-e), m->results[e]);
	}
	lock_drop(&m->lock);
	puts("");
}

static int count_key(const char *key, void *arg)
{
	(void)key;
	++*(unsigned *)arg;
	return 0;
}

static void show_health(struct store *s)
{
	struct store_health h;

	store_health(s, &h);
	printf("%s\t%llu\t%s\n", h.up ? "up" : "down", (unsigned long long)h.free_bytes, h.error);
}

/* f: the fields of a line, missing ones are "". */
static void run_one(struct store *s, const char *const f[4])
{
	struct store_attrs attrs = { .attempt = f[2], .path = f[1] };
	int64_t start = clock_mono_ms(), r = -ENOSYS;
	struct store_stat st = { .size = 0 };
	static char text[TEXT_MAX];
	unsigned n = 0;

	text[0] = '\0';
	if (strcmp(f[0], "put") == 0) {
		attrs.crc32c = crc32c(0, f[3], strlen(f[3]));
		r = store_put_wait(s, f[1], f[3], strlen(f[3]), &attrs);
	} else if (strcmp(f[0], "get") == 0) {
		r = store_get_wait(s, f[1], 0, text, TEXT_MAX - 1);
		text[r > 0 ? r : 0] = '\0';
	} else if (strcmp(f[0], "stat") == 0) {
		r = store_stat_wait(s, f[1], &st);
	} else if (strcmp(f[0], "verify") == 0) {
		r = store_verify_wait(s, f[1], &st);
	} else if (strcmp(f[0], "drop") == 0) {
		r = store_drop_wait(s, f[1], strcmp(f[2], "-") == 0 ? NULL : f[2]);
	} else if (strcmp(f[0], "list") == 0) {
		r = store_list(s, f[1], count_key, &n);
	}
	printf("%s\t%lld", result_name(r), (long long)(clock_mono_ms() - start));
	if (strcmp(f[0], "get") == 0)
		printf("\t%s", text);
	else if (strcmp(f[0], "list") == 0)
		printf("\t%u", n);
	else if (r == 0 && (strcmp(f[0], "stat") == 0 || strcmp(f[0], "verify") == 0))
		printf("\t%llu\t%08x\t%s", (unsigned long long)st.size, st.crc32c, st.attempt);
	puts("");
}

static void run_line(struct store *s, struct many *m, struct many *hurry, char *line)
{
	const char *f[4] = { "", "", "", "" };
	char *url;

	line[strcspn(line, "\n")] = '\0';
	for (unsigned i = 0; i < 4 && line; i++)
		f[i] = strsep(&line, "\t");
	if (strcmp(f[0], "put-many") == 0 || strcmp(f[0], "get-many") == 0) {
		unsigned n = (unsigned)atoi(f[1]);

		start_many(s, m, f[0][0] == 'p', n < MANY_MAX ? n : MANY_MAX, f[2],
			   (size_t)atoi(f[3]));
	} else if (strcmp(f[0], "get-until") == 0) {
		get_until(s, hurry, f[1], atoll(f[2]));
		join_many(hurry);
	} else if (strcmp(f[0], "join") == 0) {
		join_many(m);
	} else if (strcmp(f[0], "health") == 0) {
		show_health(s);
	} else if (strcmp(f[0], "url") == 0) {
		url = store_url(s, f[1]);
		puts(url ? url : "");
		free(url);
	} else {
		run_one(s, f);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct many many, hurry;
	char err[256], *line = NULL;
	struct store *s;
	size_t room = 0;
	int64_t start;

	log_open("storecat", false);
	if (argc != 3) {
		fputs("usage: storecat URL TIMEOUT_MS\n", stderr);
		return 2;
	}
	if (store_open(argv[1], atoll(argv[2]), &s, err, sizeof(err)) < 0) {
		fprintf(stderr, "storecat: %s\n", err);
		return 1;
	}
	lock_init(&many.lock, LOCK_RANK_LEAF, "storecat");
	cond_init(&many.cond);
	lock_init(&hurry.lock, LOCK_RANK_LEAF, "storecat");
	cond_init(&hurry.cond);
	while (getline(&line, &room, stdin) >= 0 && strcmp(line, "close\n") != 0)
		run_line(s, &many, &hurry, line);
	free(line);
	start = clock_mono_ms();
	store_close(s);
	printf("closed\t%lld\n", (long long)(clock_mono_ms() - start));
	for (unsigned i = 0; i < MANY_MAX; i++)
		free(many.ones[i].buf);
	free(hurry.ones[0].buf);
	free(many.data);
	return 0;
}
