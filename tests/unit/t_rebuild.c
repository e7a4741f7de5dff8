/* SPDX-License-Identifier: MIT */
/*
 * Rebuilding from a store: the same rows, the former owner shut out, and whatever
 * is missing or wrong leaves no file behind.
 */
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

#include "backend/store.h"
#include "lib/crc.h"
#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"
#include "tier/parts.h"
#include "tier/rebuild.h"
#include "tier/volume.h"

#define TIMEOUT_MS 60000
#define PART_BYTES 2000
#define OTHER_NODE "0f0e0d0c-0b0a-4908-8706-050403020100"

/* A store's name is the test's own: what is in memory stays for the process. */
struct world {
	struct fixture *f;
	struct store *store;
	char url[64];
	char file[310]; /* of the new catalogue */
	uint64_t parts; /* shipped */
	struct rebuild_result res;
	char err[4096];
	int (*progress)(void *arg, const struct rebuild_progress *p);
};

static void put(struct world *w, const char *key, const void *data, size_t len)
{
	struct store_attrs attrs = { .attempt = "t/1", .crc32c = crc32c(0, data, len) };

	assert_int_equal(store_put_wait(w->store, key, data, len, &attrs), 0);
}

static void put_node(struct world *w, const char *uuid, const char *host)
{
	char key[128], text[200];

	snprintf(key, sizeof(key), NODE_PREFIX "%s", uuid);
	snprintf(text, sizeof(text), "{\"node\":\"%s\",\"host\":\"%s\",\"since\":1513353409}", uuid,
		 host);
	put(w, key, text, strlen(text));
}

static struct uid128 node_of(struct world *w)
{
	return catalogue_ids(w->f->c).node;
}

static void key_of(struct world *w, uint64_t seq, char *key, size_t size)
{
	struct uid128 node = node_of(w);

	journal_key(&node, seq, key, size);
}

/* What the journal's thread does; 0, or -EEXIST: another owner. */
static int ship_to_store(struct world *w)
{
	struct journal_part part;
	char key[128];
	int r = 0;

	while (r == 0 && catalogue_journal_next(w->f->c, PART_BYTES, &part) == 0) {
		struct store_attrs attrs = { .attempt = "t/1" };

		key_of(w, part.seq, key, sizeof(key));
		attrs.crc32c = crc32c(0, part.data, part.len_bytes);
		r = store_put_wait(w->store, key, part.data, part.len_bytes, &attrs);
		if (r == 0) {
			assert_int_equal(catalogue_journal_acked(w->f->c, &part), 0);
			w->parts = part.seq;
		}
		free(part.data);
	}
	return r;
}

/* Of the catalogue as it is now; n parts of few rows; false: the end is left out. */
static uint64_t put_checkpoint(struct world *w, bool complete)
{
	struct cat_checkpoint *p;
	struct uid128 node = node_of(w);
	uint64_t seq, n = 0;
	char key[PARTS_KEY_SIZE];
	size_t len;
	void *data;

	assert_int_equal(cat_checkpoint_begin(w->f->c, &p), 0);
	seq = cat_checkpoint_seq(p);
	while (cat_checkpoint_next(p, PART_BYTES, &data, &len) == 1) {
		checkpoint_key(&node, seq, n++, key, sizeof(key));
		put(w, key, data, len);
		free(data);
	}
	cat_checkpoint_free(p);
	assert_int_equal(ship_to_store(w), 0);
	checkpoint_key(&node, seq, n, key, sizeof(key));
	if (complete)
		put(w, key, "", 0);
	return seq;
}

static int run_set_volume(struct tx *tx, void *arg)
{
	return tx_set_volume(tx, arg);
}

static int setup(void **state)
{
	static int n;
	struct world *w = calloc(1, sizeof(*w));
	char text[200], uuid[UID128_STR_SIZE];
	struct uid128 node;

	assert_int_equal(fixture_setup((void **)&w->f), 0);
	snprintf(w->url, sizeof(w->url), "mem:rebuild-%d", n++);
	snprintf(w->file, sizeof(w->file), "%s-new", w->f->file);
	assert_int_equal(store_open(w->url, TIMEOUT_MS, &w->store, w->err, sizeof(w->err)), 0);
	node = node_of(w);
	uid128_print(&node, uuid);
	write_ok(w->f->c, run_set_volume, &node);
	snprintf(text, sizeof(text), "{\"volume\":\"%s\",\"format\":1,\"created\":1}", uuid);
	put(w, VOLUME_KEY, text, strlen(text));
	put_node(w, uuid, "the-host");
	put_some(w->f->c, 0, 60);
	make_dir(w->f->c, ROW_ROOT_DIR, "cam");
	assert_int_equal(ship_to_store(w), 0);
	assert_true(w->parts >= 3);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	store_close(w->store);
	fixture_teardown((void **)&w->f);
	free(w);
	return 0;
}

static int rebuild(struct world *w, const struct uid128 *node)
{
	const struct rebuild_request req = { .file = w->file,
					     .store = w->url,
					     .node = node,
					     .timeout_ms = TIMEOUT_MS,
					     .progress = w->progress,
					     .arg = w };

	return rebuild_run(&req, &w->res, w->err, sizeof(w->err));
}

static void assert_refused(struct world *w, int want, const char *text)
{
	int r = rebuild(w, NULL);

	if (r != want || !strstr(w->err, text))
		fail_msg("%d: %s", r, w->err);
	assert_int_equal(access(w->file, F_OK), -1);
}

static void drop(struct world *w, uint64_t seq)
{
	char key[128];

	key_of(w, seq, key, sizeof(key));
	assert_int_equal(store_drop_wait(w->store, key, NULL), 0);
}

/* ---- the same rows ---------------------------------------------------------------------- */

/* All journalled rows; opening reserves numbers anew, which is a transaction. */
static char *rows_of(const char *file)
{
	return sql(file, "SELECT * FROM meta WHERE key NOT IN ('number','txn') ORDER BY key;"
			 "SELECT * FROM dir ORDER BY id; SELECT * FROM path ORDER BY id;"
			 "SELECT * FROM file ORDER BY dir,name; SELECT * FROM trash ORDER BY id;"
			 "SELECT * FROM outbox ORDER BY id");
}

static void assert_same_rows(struct world *w)
{
	struct catalogue_counts counts;
	struct uid128 node = node_of(w);
	char *old, *new;

	assert_int_equal(catalogue_counts(w->f->c, &counts), 0);
	assert_memory_equal(&counts, &w->res.counts, sizeof(counts));
	assert_true(uid128_equal(&w->res.node, &node));
	assert_true(uid128_equal(&w->res.volume, &node));
	fixture_close(w->f);
	old = rows_of(w->f->file);
	new = rows_of(w->file);
	assert_same_text(old, new);
	free(old);
	free(new);
}

static void t_same(void **state)
{
	struct world *w = *state;
	uint64_t parts = w->parts;

	if (rebuild(w, NULL) != 0)
		fail_msg("%s", w->err);
	assert_int_equal(w->res.done.parts, parts + 1); /* and the fence */
	assert_same_rows(w);

	/* It goes on after the fence. */
	strcpy(w->f->file, w->file);
	fixture_open(w->f);
	assert_int_equal(catalogue_journal_seq(w->f->c), parts + 2);
	put_some(w->f->c, 100, 3);
	assert_int_equal(ship_to_store(w), 0);
	assert_true(w->parts >= parts + 2);
}

/* A second loss: the first rebuild's record is passed by, and counts. */
static void t_twice(void **state)
{
	struct world *w = *state;
	char key[128];
	void *data;
	size_t len;

	assert_int_equal(rebuild(w, NULL), 0);
	fixture_close(w->f);
	strcpy(w->f->file, w->file);
	fixture_open(w->f);
	put_some(w->f->c, 100, 3);
	assert_int_equal(ship_to_store(w), 0);
	strcat(w->file, "-2");
	if (rebuild(w, NULL) != 0)
		fail_msg("%s", w->err);
	key_of(w, w->parts + 1, key, sizeof(key));
	assert_int_equal(store_get_all_wait(w->store, key, 10000, &data, &len), 0);
	assert_non_null(memmem(data, len, "\"epoch\":3", strlen("\"epoch\":3")));
	free(data);
	assert_same_rows(w);
}

/* ---- checkpoints --------------------------------------------------------------------------- */

/* What a drop leaves of the numbers before seq. */
static void drop_before(struct world *w, uint64_t from, uint64_t seq)
{
	for (; from < seq; from++) {
		uint64_t gone[PARTS_GONE_MAX];

		for (int n = journal_gone_with(from, gone); n > 0; n--)
			drop(w, gone[n - 1]);
	}
}

static void t_checkpoint(void **state)
{
	struct world *w = *state;
	struct checkpoint_status s;
	uint64_t first, seq;

	put_checkpoint(w, true);
	put_some(w->f->c, 400, 40);
	assert_int_equal(ship_to_store(w), 0);
	first = put_checkpoint(w, true);
	put_some(w->f->c, 500, 40);
	assert_int_equal(ship_to_store(w), 0);
	seq = put_checkpoint(w, false); /* passed over */
	put_some(w->f->c, 30, 20);
	assert_int_equal(ship_to_store(w), 0);
	assert_true(seq > first && first > 4);
	drop_before(w, 1, first - 2); /* as far as it came */
	if (rebuild(w, NULL) != 0)
		fail_msg("%s", w->err);
	assert_same_rows(w);

	strcpy(w->f->file, w->file);
	fixture_open(w->f);
	assert_int_equal(catalogue_checkpoint_status(w->f->c, &s), 0);
	assert_int_equal(s.seq, first);
	assert_true(s.dropped <= first - 2 && s.dropped + 2 >= first - 2);
	assert_true(s.since_bytes > 0);
}

/* The checkpoint saw more than the journal has. */
static void t_end_lost(void **state)
{
	struct world *w = *state;
	uint64_t seq = put_checkpoint(w, true);

	for (uint64_t i = w->parts; i >= seq; i--)
		drop(w, i);
	assert_refused(w, -ENODATA, "of the journal is missing");
}

static void t_checkpoint_lost(void **state)
{
	struct world *w = *state;
	struct uid128 node = node_of(w);
	uint64_t seq = put_checkpoint(w, true);
	char key[PARTS_KEY_SIZE];

	checkpoint_key(&node, seq, 1, key, sizeof(key));
	assert_int_equal(store_drop_wait(w->store, key, NULL), 0);
	drop_before(w, 1, seq);
	assert_refused(w, -ENODATA, "of the journal is missing");
}

/* A bit that turned in the store: still a changeset, and not the one that was written. */
static void put_flipped(struct world *w, const char *key)
{
	struct store_attrs attrs = { .attempt = "t/1" };
	void *data;
	size_t len;

	assert_int_equal(store_get_all_wait(w->store, key, 1 << 20, &data, &len), 0);
	assert_int_equal(store_drop_wait(w->store, key, NULL), 0);
	attrs.crc32c = crc32c(0, data, len);
	((char *)data)[len - 3] ^= 1;
	assert_int_equal(store_put_wait(w->store, key, data, len, &attrs), 0);
	free(data);
}

static void t_flipped(void **state)
{
	struct world *w = *state;
	struct uid128 node = node_of(w);
	char key[PARTS_KEY_SIZE];

	key_of(w, 2, key, sizeof(key));
	put_flipped(w, key);
	assert_refused(w, -EBADMSG, key);
	checkpoint_key(&node, put_checkpoint(w, true), 1, key, sizeof(key));
	put_flipped(w, key);
	assert_refused(w, -EBADMSG, key);
}

/* A part of which nothing is left has the length of an end, and is none. */
static void t_emptied(void **state)
{
	struct world *w = *state;
	struct uid128 node = node_of(w);
	uint64_t seq = put_checkpoint(w, true);
	struct store_attrs attrs = { .attempt = "t/1" };
	char key[PARTS_KEY_SIZE];
	void *data;
	size_t len;

	checkpoint_key(&node, seq, 1, key, sizeof(key));
	assert_int_equal(store_get_all_wait(w->store, key, 1 << 20, &data, &len), 0);
	attrs.crc32c = crc32c(0, data, len);
	free(data);
	assert_int_equal(store_drop_wait(w->store, key, NULL), 0);
	assert_int_equal(store_put_wait(w->store, key, "", 0, &attrs), 0);
	drop_before(w, 1, seq);
	assert_refused(w, -EBADMSG, key);
}

/* ---- the former owner -------------------------------------------------------------------- */

static void t_fenced(void **state)
{
	struct world *w = *state;

	assert_int_equal(rebuild(w, NULL), 0);
	put_some(w->f->c, 200, 1);
	assert_int_equal(ship_to_store(w), -EEXIST);
}

/* It is still at work while its journal is read: what it ships before the fence counts. */
static int ship_more(void *arg, const struct rebuild_progress *p)
{
	struct world *w = arg;

	if (p->parts == w->parts && w->parts < 12) {
		put_some(w->f->c, 300 + 10 * (int)w->parts, 4);
		assert_int_equal(ship_to_store(w), 0);
	}
	return 0;
}

static void t_overtaken(void **state)
{
	struct world *w = *state;

	w->progress = ship_more;
	if (rebuild(w, NULL) != 0)
		fail_msg("%s", w->err);
	assert_true(w->parts >= 12);
	assert_same_rows(w);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void t_exists(void **state)
{
	struct world *w = *state;
	FILE *f = fopen(w->file, "w");
	char text[8] = "";

	fputs("mine", f);
	fclose(f);
	assert_int_equal(rebuild(w, NULL), -EEXIST);
	assert_non_null(strstr(w->err, "exists"));
	f = fopen(w->file, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "mine");
	/* and nobody was shut out */
	put_some(w->f->c, 200, 1);
	assert_int_equal(ship_to_store(w), 0);
}

static void t_missing(void **state)
{
	struct world *w = *state;

	drop(w, 2);
	assert_refused(w, -ENODATA, "part 2 of the journal is missing");
	drop(w, 1);
	drop(w, 3);
	for (uint64_t i = 4; i <= w->parts; i++)
		drop(w, i);
	assert_refused(w, -ENOENT, "has no journal");
}

static void t_damaged(void **state)
{
	struct world *w = *state;
	char key[128];

	drop(w, 2);
	key_of(w, 2, key, sizeof(key));
	put(w, key, "Tnonsense", 9);
	assert_refused(w, -EBADMSG, "part 2");
	drop(w, 2);
	put(w, key, "{\"epo", 5);
	assert_refused(w, -EBADMSG, "part 2");
	drop(w, 2);
	put(w, key, "", 0);
	assert_refused(w, -EBADMSG, "part 2");
}

static int stop_at_once(void *arg, const struct rebuild_progress *p)
{
	(void)arg;
	(void)p;
	return 1;
}

static void t_stopped(void **state)
{
	struct world *w = *state;

	w->progress = stop_at_once;
	assert_refused(w, -ECANCELED, "stopped");
}

/* ---- whose --------------------------------------------------------------------------------- */

static void t_nodes(void **state)
{
	struct world *w = *state;
	struct uid128 node = node_of(w), other;
	char uuid[UID128_STR_SIZE];

	put_node(w, OTHER_NODE, "another-host");
	assert_refused(w, -EINVAL, "node=UUID");
	assert_non_null(strstr(w->err, OTHER_NODE));
	assert_non_null(strstr(w->err, "another-host"));
	assert_non_null(strstr(w->err, uid128_print(&node, uuid)));
	assert_non_null(strstr(w->err, "2017-12-15 15:56 UTC"));
	assert_int_equal(uid128_parse(OTHER_NODE, &other), 0);
	assert_int_equal(rebuild(w, &other), -ENOENT);
	assert_int_equal(access(w->file, F_OK), -1);
	assert_int_equal(rebuild(w, &node), 0);
	assert_same_rows(w);
}

static void t_empty_store(void **state)
{
	struct world *w = *state;

	strcat(w->url, "-empty");
	assert_refused(w, -ENOENT, "holds no volume");
	strcpy(w->url, "nonsense:");
	assert_int_equal(rebuild(w, NULL), -EINVAL);
	assert_true(w->err[0]);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(t_same),	 TEST(t_twice),	      TEST(t_fenced),	  TEST(t_overtaken),
		TEST(t_exists),	 TEST(t_missing),     TEST(t_damaged),	  TEST(t_stopped),
		TEST(t_nodes),	 TEST(t_empty_store), TEST(t_checkpoint), TEST(t_checkpoint_lost),
		TEST(t_emptied), TEST(t_end_lost),    TEST(t_flipped),
	};

	log_open("t_rebuild", false);
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
