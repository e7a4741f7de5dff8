/* SPDX-License-Identifier: MIT */
/*
 * A pack that is rewritten: every row that points into it is found and moves, or stays
 * where it is if it changed meanwhile; whatever fails or dies, nothing is lost.
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
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/pack_rig.h"
#include "tier/ns.h"
#include "tier/pack.h"
#include "tier/trash.h"

static int setup(void **state)
{
	*state = pack_rig(RIG_MEM);
	return 0;
}

static uint64_t pack_of(struct rig *rig, const char *path)
{
	return rig_look(rig, path).row.pack;
}

static void half_is_enough(void **state)
{
	struct rig *rig = *state;
	uint64_t old = pack_archive(rig, "d", 10);

	pack_drop_files(rig, "d", 5, 10);
	assert_int_equal(pack_tidy(rig), 0);
	assert_int_equal(pack_of(rig, "d/0"), old);
	pack_drop_files(rig, "d", 4, 5);
	assert_int_equal(pack_tidy(rig), 1);
	assert_int_not_equal(pack_of(rig, "d/0"), old);
	pack_check(rig);
}

/* In the tree, renamed, in the trash, renamed and then in the trash. */
static void all_rows_move(void **state)
{
	struct rig *rig = *state;
	uint64_t old = pack_archive(rig, "d", 12), new;
	struct pack_row row;
	struct trash_row trash;
	int64_t after = 0;
	char *path;

	pack_drop_files(rig, "d", 5, 12);
	rig_capture(rig, "e/x", 3);
	pack_rename(rig, "d/1", "e/other");
	pack_rename(rig, "d/2", "d/in-place");
	rig->conf.trash_grace = rig->conf.trash_grace_unseen = 3600000;
	pack_unlink(rig, "d/3");
	pack_rename(rig, "d/4", "e/gone");
	pack_unlink(rig, "e/gone");
	pack_check(rig);

	assert_int_equal(pack_tidy(rig), 1);
	new = pack_of(rig, "d/0");
	assert_int_not_equal(new, old);
	assert_int_equal(pack_of(rig, "e/other"), new);
	assert_int_equal(pack_of(rig, "d/in-place"), new);
	while (cat_trash_after(rig->t->cat, after, &trash, 1) == 1) {
		after = trash.id;
		assert_int_equal(trash.file.pack, new);
		trash_row_fini(&trash);
	}
	row = pack_get(rig, new);
	assert_int_equal(row.files, 5);
	assert_int_equal(row.live_bytes, 5 * PACK_FILE_BYTES);
	assert_int_equal(row.data_bytes, 5 * PACK_FILE_BYTES);
	row = pack_get(rig, old);
	assert_int_equal(row.files, 0);
	assert_int_equal(row.live_bytes, 0);
	pack_check(rig);

	/* from the trash they come back out of the new one, and it can be rewritten, too */
	assert_int_equal(trash_bring_back(rig->t, after, &path, rig->err, sizeof(rig->err)), 0);
	assert_string_equal(path, "e/gone");
	free(path);
	assert_int_equal(pack_of(rig, "e/gone"), new);
	pack_check(rig);
	rig->conf.trash_grace = rig->conf.trash_grace_unseen = 0;
	pack_unlink(rig, "d/0");
	pack_unlink(rig, "d/in-place");
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), 3);
	assert_int_equal(pack_tidy(rig), 1);
	assert_int_not_equal(pack_of(rig, "e/gone"), new);
	assert_int_equal(pack_of(rig, "e/gone"), pack_of(rig, "e/other"));
	pack_check(rig);
}

static void empty_and_odd_names_move(void **state)
{
	static const char *const names[] = { "new\nline", "\xff\xfe", "empty1",
					     "empty2",	  "\"",	      "big" };
	struct rig *rig = *state;
	char path[64], big[9000] = "b";
	int result[6];
	uint64_t old;

	for (unsigned i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "d/%s", names[i]);
		rig_capture(rig, path, i == 2 || i == 3 ? 7 : i + 1);
	}
	rig_write(rig, "d/big", big, sizeof(big));
	rig_settle(rig, "d/big");
	assert_int_equal(rig_archive_names(rig, "d", names, 6, result), 0);
	old = pack_of(rig, "d/empty1");
	assert_true(old > 0);
	pack_unlink(rig, "d/big");
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), 1);
	assert_int_equal(pack_tidy(rig), 1);
	assert_int_equal(pack_get(rig, old).files, 0);
	pack_check(rig);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "d/%s", names[i]);
		rig_unlink(rig, path);
		rig_assert_capture(rig, path, i == 2 || i == 3 ? 7 : i + 1);
	}
}

/* ---- rows that change meanwhile -------------------------------------------------------- */

struct tidying {
	struct rig *rig;
	int64_t r;
};

static void *tidy(void *arg)
{
	struct tidying *y = arg;

	y->r = packs_tidy(y->rig->t);
	return NULL;
}

static void rows_that_change_stay(void **state)
{
	struct rig *rig = *state;
	struct tidying y = { .rig = rig };
	uint64_t old = pack_archive(rig, "d", 14), new;
	char go[300], spec[400];
	pthread_t thread;
	int fd;

	pack_drop_files(rig, "d", 6, 14);
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "pack.put=wait:%s", go);
	rig_failpoints(rig, spec);
	rig_journalled(rig);
	assert_int_equal(pthread_create(&thread, NULL, tidy, &y), 0);
	rig_until(rig_objects(rig) == 2);
	rig->conf.trash_grace = rig->conf.trash_grace_unseen = 3600000;
	pack_unlink(rig, "d/1");
	pack_rename(rig, "d/2", "d/renamed");
	pack_open_for_writing(rig, "d/3");
	pack_rename(rig, "d/4", "d/5"); /* the row of 5 leaves, that of 4 has its name */
	fd = open(go, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(y.r, 1);

	new = pack_of(rig, "d/0");
	assert_int_not_equal(new, old);
	assert_int_equal(pack_get(rig, new).files, 1);
	assert_int_equal(pack_get(rig, new).live_bytes, PACK_FILE_BYTES);
	assert_int_equal(pack_get(rig, old).files, 5);
	assert_int_equal(pack_of(rig, "d/renamed"), old);
	assert_int_equal(pack_of(rig, "d/5"), old);
	pack_check(rig);

	/* they are found where they are now, next time */
	assert_int_equal(pack_tidy(rig), 2); /* the new one is poor from the start */
	assert_int_equal(pack_get(rig, old).files, 0);
	pack_check(rig);
}

/* A row that was read before its pack was rewritten. */
static void restored_with_an_old_row(void **state)
{
	struct rig *rig = *state;
	uint64_t old = pack_archive(rig, "d", 10);
	struct file_row stale;
	struct node *node;

	rig_unlink(rig, "d/0");
	stale = rig_look(rig, "d/0").row;
	pack_drop_files(rig, "d", 3, 10);
	assert_int_equal(pack_tidy(rig), 1);
	pack_make_due(rig, old);
	assert_int_equal(pack_tidy(rig), 1);
	assert_false(pack_is_stored(rig, old));
	assert_int_equal(node_walk(rig->t->tree, "d/0", false, &node), 0);
	node_claim(rig->t->tree, node);
	assert_int_equal(restore_claimed(rig->t, node, &stale, false, true), 0);
	node_unclaim(rig->t->tree, node);
	node_put(rig->t->tree, node);
	assert_int_equal(rig_state(rig, "d/0"), STATE_ARCHIVED);
	assert_int_not_equal(pack_of(rig, "d/0"), old);
	pack_check(rig);
}

/* ---- failures ---------------------------------------------------------------------------- */

static void store_fails(void **state)
{
	static const struct {
		const char *rules;
		int result;
		bool known; /* the new pack, as one to drop */
	} cases[] = {
		{ "put error EIO key .ebb/pack/*", -EIO, true },
		{ "put lost now key .ebb/pack/*", -ETIMEDOUT, true },
		{ "put error ENOSPC key .ebb/pack/*", -ENOSPC, true },
		{ "verify flip key .ebb/pack/*", -EIO, true },
		{ "verify error ENOENT key .ebb/pack/*", -EIO, true },
		{ "get down now key .ebb/pack/*", -ETIMEDOUT, false },
	};
	struct rig *rig = *state;
	char dir[8];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pack_row dead[4];
		uint64_t old;

		snprintf(dir, sizeof(dir), "d%u", i);
		old = pack_archive(rig, dir, 10);
		pack_drop_files(rig, dir, 4, 10);
		rig_journalled(rig);
		rig_faults(rig, cases[i].rules);
		assert_int_equal(packs_tidy(rig->t), cases[i].result);
		rig_faults(rig, "");
		assert_int_equal(pack_get(rig, old).files, 4);
		assert_int_equal(cat_packs_due(rig->t->cat, old, INT64_MAX, dead, 4),
				 cases[i].known);
		pack_check(rig); /* no intent is left, no object unknown */
		/* after a start it is tried again */
		rig_reopen(rig);
		assert_true(pack_tidy(rig) >= 1);
		assert_int_equal(pack_get(rig, old).files, 0);
		pack_check(rig);
	}
}

static void *tidy_again(void *arg)
{
	(void)packs_tidy(arg);
	return NULL;
}

/* Nor can it be noted that the new pack is of no use: it is, once the catalogue takes that. */
static void rows_cannot_move(void **state)
{
	struct rig *rig = *state;
	char go[300], spec[400];
	pthread_t thread;
	uint64_t old, n;
	FILE *f;

	old = pack_archive(rig, "d", 10);
	pack_drop_files(rig, "d", 4, 10);
	rig_journalled(rig);
	rig_until(rig_intents(rig) == 0); /* those of the removals */
	n = rig_objects(rig);
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "pack.put=wait:%s", go);
	assert_int_equal(failpoint_init(spec), 0);
	assert_int_equal(pthread_create(&thread, NULL, tidy_again, rig->t), 0);
	rig_until(rig_objects(rig) > n);
	assert_int_equal(failpoint_init("commit.before=error:ENOSPC"), 0);
	f = fopen(go, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(rig_intents(rig), 1);
	assert_int_equal(archive_settle(rig->t), -ENOSPC);
	assert_int_equal(failpoint_init(NULL), 0);
	assert_int_equal(archive_settle(rig->t), 0);
	assert_int_equal(pack_get(rig, old).files, 4);
	pack_check(rig); /* no intent is left, no object unknown */
}

static void tidy_to_kill(struct rig *rig)
{
	(void)pack_tidy(rig);
}

static void killed_anywhere(void **state)
{
	static const char *const points[] = { "pack.intent", "pack.put", "pack.moved",
					      "pack.drop" };

	(void)state;
	for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		struct rig *rig = pack_rig(RIG_DIR);
		uint64_t old = pack_archive(rig, "d", 10);
		char spec[64];

		pack_drop_files(rig, "d", 4, 10);
		if (i == 3) {
			assert_int_equal(pack_tidy(rig), 1);
			pack_make_due(rig, old);
		}
		snprintf(spec, sizeof(spec), "%s=kill", points[i]);
		rig_killed(rig, spec, tidy_to_kill);
		assert_int_equal(archive_recover(rig->t), 0);
		pack_check(rig);
		assert_true(pack_tidy(rig) >= (i == 2 ? 0 : 1));
		pack_check(rig);
		if (pack_is_known(rig, old)) {
			assert_int_equal(pack_get(rig, old).files, 0);
			pack_make_due(rig, old);
			assert_true(pack_tidy(rig) >= 1);
		}
		/* what is alive, and nothing else */
		assert_int_equal(rig_objects(rig), 1);
		pack_check(rig);
		rig_free(rig);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(half_is_enough),		TEST(all_rows_move),
		TEST(empty_and_odd_names_move), TEST(rows_that_change_stay),
		TEST(restored_with_an_old_row), TEST(store_fails),
		TEST(rows_cannot_move),		cmocka_unit_test(killed_anywhere),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
