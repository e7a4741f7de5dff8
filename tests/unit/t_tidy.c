/* SPDX-License-Identifier: MIT */
/*
 * When a pack goes: none of its files is alive, its grace is over, the journal knows,
 * nobody reads; and that one which is missing or damaged is in nobody's way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "tests/unit/pack_rig.h"
#include "tier/ns.h"
#include "tier/pack.h"
#include "tier/trash.h"
#include "tier/verify.h"

static int setup(void **state)
{
	*state = pack_rig(RIG_MEM);
	return 0;
}

static uint64_t pack_of(struct rig *rig, const char *path)
{
	return rig_look(rig, path).row.pack;
}

/* ---- dropping ------------------------------------------------------------------------ */

static void dropped_with_its_last_file(void **state)
{
	struct rig *rig = *state;
	uint64_t pack = pack_archive(rig, "d", 3), new;
	struct trash_row trash;
	int64_t begun_ns;

	pack_drop_files(rig, "d", 0, 2);
	assert_true(pack_is_stored(rig, pack));
	pack_unlink(rig, "d/2");
	rig_journalled(rig);
	assert_int_equal(packs_tidy(rig->t), 1); /* rewritten: what is in the trash is alive */
	assert_int_equal(pack_get(rig, pack).files, 0);
	assert_int_equal(rig_trash(rig, &trash), 1);
	new = trash.file.pack;
	trash_row_fini(&trash);
	rig_journalled(rig);
	begun_ns = clock_real_ns();
	assert_int_equal(drop_now(rig->t, NULL, 0), 1);
	/* rows may have moved out of it just before */
	assert_true(pack_get(rig, new).due_ns >= begun_ns + PACK_GRACE_NS);
	pack_make_due(rig, pack);
	pack_make_due(rig, new);
	assert_int_equal(pack_tidy(rig), 2);
	assert_false(pack_is_known(rig, pack));
	assert_int_equal(rig_objects(rig), 0);
	pack_check(rig);
}

static void old_one_waits(void **state)
{
	struct rig *rig = *state;
	uint64_t old = pack_archive(rig, "d", 10);
	struct file_row row = rig_look(rig, "d/0").row;
	struct remote *reader;
	int64_t begun_ns;

	pack_drop_files(rig, "d", 4, 10);
	begun_ns = clock_real_ns();
	assert_int_equal(pack_tidy(rig), 1);
	/* for whoever has read a row and not yet opened its pack */
	assert_true(pack_get(rig, old).due_ns >= begun_ns + PACK_GRACE_NS);
	pack_put_off(rig, old);
	assert_int_equal(pack_tidy(rig), 0);
	assert_true(pack_is_stored(rig, old));
	/* for the journal */
	rig_faults(rig, "put error EIO key .ebb/journal/*");
	pack_make_due(rig, old);
	assert_int_equal(packs_tidy(rig->t), 0);
	assert_true(pack_is_stored(rig, old));
	rig_faults(rig, "");
	/* for readers */
	assert_int_equal(remote_open(rig->t, &row, &reader), 0);
	assert_int_equal(pack_tidy(rig), 0);
	assert_true(pack_is_stored(rig, old));
	remote_put(reader);
	assert_int_equal(pack_tidy(rig), 1);
	assert_false(pack_is_stored(rig, old));
	assert_false(pack_is_known(rig, old));
	pack_check(rig);
}

/* Objects of a page are dropped together: one that fails is not in the way of the others. */
static void one_object_fails(void **state)
{
	static const char *const paths[] = { "d/a", "d/b", "d/c" };
	static char bytes[70000];
	struct rig *rig = *state;

	for (unsigned i = 0; i < 3; i++) {
		rig_write(rig, paths[i], bytes, sizeof(bytes));
		assert_int_equal(rig_archive(rig, paths[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pack_unlink(rig, paths[i]);
	rig_journalled(rig);
	rig_faults(rig, "drop error EIO key d/a");
	assert_int_equal(drop_now(rig->t, NULL, 0), -EIO);
	assert_true(rig_has_object(rig, "d/a"));
	assert_false(rig_has_object(rig, "d/b"));
	assert_false(rig_has_object(rig, "d/c"));
	assert_int_equal(rig_trash(rig, NULL), 1);
	rig_faults(rig, "");
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), 1);
	assert_int_equal(rig_objects(rig), 0);
	pack_check(rig);
}

static int delete_event(struct tx *tx, void *arg)
{
	return tx_event_delete(tx, *(int64_t *)arg);
}

/* As if the sink had acknowledged. */
static void acknowledge(struct rig *rig)
{
	struct event_row ev;

	while (cat_events_after(rig->t->cat, 0, 0, &ev, 1) == 1) {
		assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, delete_event, &ev.id),
				 0);
		event_row_fini(&ev);
	}
}

/* Documents have its URL until the sink knows the new one. */
static void old_one_waits_for_the_sink(void **state)
{
	struct rig *rig = *state;
	uint64_t old;

	rig_free(rig);
	*state = rig = rig_new(RIG_MEM, "pack_below=64K,trash_grace=0,trash_grace_unseen=0,"
					"es=http://127.0.0.1:1/index");
	rig_open(rig);
	old = pack_archive(rig, "d", 10);
	acknowledge(rig);
	for (unsigned i = 4; i < 10; i++) {
		char path[16];

		snprintf(path, sizeof(path), "d/%u", i);
		pack_unlink(rig, path);
	}
	acknowledge(rig);
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), 6);
	assert_int_equal(pack_tidy(rig), 1);
	pack_make_due(rig, old);
	assert_int_equal(pack_tidy(rig), 0);
	assert_true(pack_is_stored(rig, old));
	acknowledge(rig);
	assert_int_equal(pack_tidy(rig), 1);
	assert_false(pack_is_stored(rig, old));
}

static void one_that_fails_is_in_nobodys_way(void **state)
{
	struct rig *rig = *state;
	uint64_t a = pack_archive(rig, "a", 2), b = pack_archive(rig, "b", 2);
	char rules[100];

	pack_drop_files(rig, "a", 0, 2);
	pack_drop_files(rig, "b", 0, 2);
	pack_make_due(rig, a);
	pack_make_due(rig, b);
	rig_journalled(rig);
	snprintf(rules, sizeof(rules), "drop error EIO key .ebb/pack/*/%llu",
		 (unsigned long long)a);
	rig_faults(rig, rules);
	assert_int_equal(packs_tidy(rig->t), -EIO);
	assert_true(pack_is_known(rig, a));
	assert_false(pack_is_known(rig, b));
	rig_faults(rig, "");
	assert_int_equal(pack_tidy(rig), 1);
	pack_check(rig);
}

/* ---- packs that cannot be rewritten -------------------------------------------------- */

/* Other bytes under its key, or none. */
static void damage(struct rig *rig, uint64_t number, const char *bytes, size_t len)
{
	AUTO_FREE char *key = object_pack_key(rig->t, number);
	char attempt[STORE_ATTEMPT_MAX];
	struct store_attrs attrs = { .attempt = attempt, .path = key };

	object_attempt(rig->t, number, attempt, sizeof(attempt));
	assert_int_equal(store_drop_wait(rig->t->store, key, attempt), 0);
	attrs.crc32c = crc32c(0, bytes, len);
	if (bytes)
		assert_int_equal(store_put_wait(rig->t->store, key, bytes, len, &attrs), 0);
}

static uint64_t gets(struct rig *rig)
{
	struct store_counts counts;

	store_counts(rig->t->store, &counts);
	return counts.ops[STORE_GET];
}

static void left_alone(struct rig *rig, const char *bytes, size_t len)
{
	uint64_t bad = pack_archive(rig, "a", 10), good = pack_archive(rig, "b", 10), before;

	pack_drop_files(rig, "a", 4, 10);
	pack_drop_files(rig, "b", 4, 10);
	damage(rig, bad, bytes, len);
	assert_int_equal(pack_tidy(rig), 1);
	assert_int_equal(pack_of(rig, "a/0"), bad);
	assert_int_equal(pack_get(rig, bad).files, 4);
	assert_int_not_equal(pack_of(rig, "b/0"), good);
	pack_put_off(rig, good);
	/* it is not read again and again */
	before = gets(rig);
	assert_int_equal(pack_tidy(rig), 0);
	assert_int_equal(gets(rig), before);
}

static void damaged_is_left_alone(void **state)
{
	char junk[11000] = "";

	left_alone(*state, "x", 1);
	rig_free(*state);
	setup(state);
	left_alone(*state, junk, sizeof(junk));
}

static void missing_is_left_alone(void **state)
{
	left_alone(*state, NULL, 0);
}

/* ---- counts --------------------------------------------------------------------------- */

/* Out of the tree and back in every way there is: as many files as before. */
static void back_and_forth(void **state)
{
	struct rig *rig = *state;
	uint64_t pack = pack_archive(rig, "d", 6);
	struct node *dir = rig_dir(rig, "d"), *node;
	struct stat st;
	char *path;
	int64_t id;

	/* whose number somebody knows keeps it */
	assert_int_equal(ns_lookup(rig->t, dir, "0", NULL, &node, &st), 0);
	rig->conf.trash_grace = rig->conf.trash_grace_unseen = 3600000;
	pack_open_for_writing(rig, "d/0"); /* to the trash; unchanged, it comes back */
	assert_int_equal(rig_trash(rig, NULL), 1);
	assert_int_equal(rig_archive(rig, "d/0"), 1);
	assert_int_equal(rig_trash(rig, NULL), 0);
	assert_int_equal(pack_of(rig, "d/0"), pack);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);
	pack_unlink(rig, "d/1");
	assert_int_equal(trash_find(rig->t, "d/1", &id), 0);
	assert_int_equal(trash_bring_back(rig->t, id, &path, rig->err, sizeof(rig->err)), 0);
	free(path);
	pack_rename(rig, "d/2", "d/3"); /* over another */
	pack_rename(rig, "d/3", "e");
	assert_int_equal(pack_get(rig, pack).files, 6);
	assert_int_equal(pack_get(rig, pack).live_bytes, 6 * PACK_FILE_BYTES);
	pack_check(rig);

	/* other bytes, archived anew: the old row waits in the trash, until that is emptied */
	rig_capture(rig, "d/4", 9);
	assert_int_equal(rig_archive(rig, "d/4"), 0);
	assert_int_equal(pack_get(rig, pack).files, 6);
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), 2);
	assert_int_equal(pack_get(rig, pack).files, 4);
	assert_int_equal(drop_now(rig->t, NULL, 0), 0);
	pack_check(rig);
}

/* ---- files that change on the way --------------------------------------------------- */

struct batch_run {
	struct rig *rig;
	int result[4];
	pthread_t thread;
};

static void *archive_four(void *arg)
{
	static const char *const names[] = { "0", "1", "2", "3" };
	struct batch_run *b = arg;

	rig_archive_names(b->rig, "d", names, 4, b->result);
	return NULL;
}

/* Four files; the batch waits there. */
static void begin_batch(struct batch_run *b, const char *point)
{
	char spec[400], path[16];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_capture(b->rig, path, i + 1);
	}
	rig_settle(b->rig, path);
	snprintf(spec, sizeof(spec), "%s=wait:%s/go", point, b->rig->dir);
	rig_failpoints(b->rig, spec);
	assert_int_equal(pthread_create(&b->thread, NULL, archive_four, b), 0);
}

static void end_batch(struct batch_run *b)
{
	char go[300];
	FILE *f;

	snprintf(go, sizeof(go), "%s/go", b->rig->dir);
	f = fopen(go, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(pthread_join(b->thread, NULL), 0);
}

/* A pack with none alive, which goes. */
static void all_change_before_the_commit(void **state)
{
	struct batch_run b = { .rig = *state };
	char path[16];

	begin_batch(&b, "archive.verify");
	rig_until(rig_objects(b.rig) == 1);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_capture(b.rig, path, i + 10);
	}
	end_batch(&b);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(b.result[i], -EAGAIN);
	pack_check(b.rig);
	assert_int_equal(rig_objects(b.rig), 1);
	assert_int_equal(pack_tidy(b.rig), 1);
	assert_int_equal(rig_objects(b.rig), 0);
	pack_check(b.rig);
}

/* Longer, shorter: they stay out, and the others share the pack. */
static void some_change_before_they_are_read(void **state)
{
	struct batch_run b = { .rig = *state };
	struct pack_row pack;
	char path[600], big[100000] = "";
	size_t len[2];

	begin_batch(&b, "archive.intent");
	rig_until(rig_intents(b.rig) == 1);
	rig_write(b.rig, "d/0", big, sizeof(big));
	rig_path(b.rig, "d/2", path, sizeof(path));
	assert_int_equal(truncate(path, 5), 0);
	end_batch(&b);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(b.result[i], i % 2 ? 0 : -EAGAIN);
	pack = pack_get(b.rig, pack_of(b.rig, "d/1"));
	free(rig_read(b.rig, "d/1", &len[0]));
	free(rig_read(b.rig, "d/3", &len[1]));
	assert_int_equal(pack.files, 2);
	assert_int_equal(pack.data_bytes, len[0] + len[1]);
	pack_check(b.rig);
}

/* pack_size below a file's size, which pack_below lets be: that one has its own object. */
static void larger_than_a_pack(void **state)
{
	static const char *const names[] = { "0", "1", "2", "3", "4", "5" };
	struct rig *rig = *state;
	char bytes[9000] = "x", path[16];
	int result[6];

	rig->conf.pack_size = 4000;
	for (unsigned i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_write(rig, path, bytes, i % 2 ? 9000 : 1000);
	}
	rig_settle(rig, path);
	assert_int_equal(rig_archive_names(rig, "d", names, 6, result), 0);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		assert_int_equal(result[i], 0);
		assert_int_equal(rig_look(rig, path).row.object,
				 i % 2 ? ROW_OBJECT_PATH : ROW_OBJECT_PACK);
	}
	assert_int_equal(rig_objects(rig), 4);
	pack_check(rig);
}

/* ---- verify ------------------------------------------------------------------------------ */

static int go_on(void *arg, const struct verify_progress *p)
{
	(void)arg;
	(void)p;
	return 0;
}

static void count_bad(void *arg, const char *path, const char *reason)
{
	(void)path;
	(void)reason;
	++*(int *)arg;
}

static void verified_over_a_rewrite(void **state)
{
	struct rig *rig = *state;
	uint64_t old = pack_archive(rig, "d", 10);
	int bad = 0;
	struct verify_request req = { .progress = go_on, .bad = count_bad, .arg = &bad };

	assert_int_equal(verify_run(rig->t, &req), 0);
	pack_drop_files(rig, "d", 4, 10);
	assert_int_equal(pack_tidy(rig), 1);
	pack_make_due(rig, old);
	assert_int_equal(pack_tidy(rig), 1);
	assert_int_equal(verify_run(rig->t, &req), 0);
	assert_int_equal(bad, 0);
	damage(rig, pack_of(rig, "d/0"), "x", 1);
	assert_int_equal(verify_run(rig->t, &req), -EIO);
	assert_int_equal(bad, 4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dropped_with_its_last_file),
		TEST(old_one_waits),
		TEST(one_object_fails),
		TEST(old_one_waits_for_the_sink),
		TEST(one_that_fails_is_in_nobodys_way),
		TEST(damaged_is_left_alone),
		TEST(missing_is_left_alone),
		TEST(back_and_forth),
		TEST(all_change_before_the_commit),
		TEST(some_change_before_they_are_read),
		TEST(larger_than_a_pack),
		TEST(verified_over_a_rewrite),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
