/* SPDX-License-Identifier: MIT */
/*
 * Objects of which it is not known whether they are there: each that may be is an orphan, and
 * dropped if it is ours; what cannot be there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"

static int setup(void **state)
{
	return rig_setup(state, "trash_grace=24h,archive_after=1h,pack_below=0");
}

static int setup_packed(void **state)
{
	return rig_setup(state, "trash_grace=24h,archive_after=1h,pack_below=64K");
}

/* ---- a key that is taken: by whom? ------------------------------------------------------ */

struct one {
	struct rig *rig;
	int result;
};

static void *archive_one(void *arg)
{
	struct one *one = arg;

	one->result = rig_archive(one->rig, "d/a");
	return NULL;
}

/*
 * The object is there when it is put: attempt NULL, under this very attempt, as if the
 * put had been sent twice.
 */
static int archive_where_taken(struct rig *rig, const char *attempt, const char *rules)
{
	struct store_attrs attrs = { .path = "d/a" };
	char go[300], spec[400], ours[STORE_ATTEMPT_MAX];
	struct one one = { .rig = rig };
	struct intent_row intent;
	unsigned long long number;
	pthread_t thread;
	FILE *f;

	rig_capture(rig, "d/a", 1);
	rig_settle(rig, "d/a");
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "archive.intent=wait:%s", go);
	rig_failpoints(rig, spec);
	assert_int_equal(pthread_create(&thread, NULL, archive_one, &one), 0);
	rig_until(rig_intents(rig) == 1);
	assert_int_equal(cat_intents(rig->t->cat, 0, &intent, 1), 1);
	assert_int_equal(sscanf(strstr(intent.payload, "[[\"a\","), "[[\"a\",%*u,%llu", &number),
			 1);
	intent_row_fini(&intent);
	object_attempt(rig->t, number, ours, sizeof(ours));
	attrs.attempt = attempt ? attempt : ours;
	assert_int_equal(store_put_wait(rig->t->store, "d/a", "x", 1, &attrs), 0);
	rig_faults(rig, rules);
	f = fopen(go, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(pthread_join(thread, NULL), 0);
	rig_faults(rig, "");
	return one.result;
}

/* Everything in the trash that may go. */
static void empty_trash(struct rig *rig)
{
	rig_start(rig);
	rig_journalled(rig);
	assert_true(drop_now(rig->t, NULL, 0) >= 0);
	assert_int_equal(rig_trash(rig, NULL), 0);
}

static void taken_by_us_and_no_answer(void **state)
{
	static const struct {
		const char *rules;
		int result;
	} cases[] = {
		{ "stat error EIO key d/*", -EIO },
		{ "stat down now key d/*", -ETIMEDOUT },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *rig = rig_new(RIG_MEM, "archive_after=1h,pack_below=0");
		struct trash_row trash;

		rig_open(rig);
		assert_int_equal(archive_where_taken(rig, NULL, cases[i].rules), cases[i].result);
		assert_int_equal(rig_trash(rig, &trash), 1);
		assert_int_equal(trash.reason, TRASH_ORPHAN);
		assert_int_equal(trash.file.object, ROW_OBJECT_PATH);
		trash_row_fini(&trash);
		rig_check(rig);
		empty_trash(rig);
		assert_false(rig_has_object(rig, "d/a"));
		rig_free(rig);
	}
}

/* An orphan that is somebody else's object does it no harm. */
static void taken_by_others_and_no_answer(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(archive_where_taken(rig, "somebody/1", "stat error EIO key d/*"), -EIO);
	empty_trash(rig);
	assert_true(rig_has_object(rig, "d/a"));
}

static void taken_by_others(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(archive_where_taken(rig, "somebody/1", ""), 0);
	assert_int_equal(rig_look(rig, "d/a").row.object, ROW_OBJECT_ALT);
	assert_int_equal(rig_trash(rig, NULL), 0);
}

/* ---- keys that cannot be ----------------------------------------------------------------- */

static void archive_to_kill(struct rig *rig)
{
	static const char *const names[] = { "volume", "pack" };
	int result[2];

	rig_archive_names(rig, ".ebb", names, 2, result);
}

/* A user's own .ebb: the files' objects have the alternate key, or none. */
static void killed_with_keys_of_ours(void **state)
{
	struct rig *rig = *state;
	struct trash_row row;
	int64_t after = 0;
	int n = 0;

	rig_capture(rig, ".ebb/volume", 1);
	rig_capture(rig, ".ebb/pack", 2);
	rig_settle(rig, ".ebb/pack");
	rig_killed(rig, "archive.put-all=kill", archive_to_kill);
	assert_int_equal(archive_recover(rig->t), 0);
	while (cat_trash_after(rig->t->cat, after, &row, 1) == 1) {
		after = row.id;
		assert_int_equal(row.file.object, ROW_OBJECT_ALT);
		trash_row_fini(&row);
		n++;
	}
	assert_int_equal(n, 2);
	assert_int_equal(rig_intents(rig), 0);
	empty_trash(rig);
}

static int orphan_run(struct tx *tx, void *arg)
{
	struct trash_row trash = {
		.reason = TRASH_ORPHAN,
		.removed_ns = 1,
		.due_ns = 2,
		.file = { .dir = ROW_ROOT_DIR,
			  .ino = 1024,
			  .name = "a",
			  .attempt = 1025,
			  .object = ROW_OBJECT_PATH,
			  .attr.mode = S_IFREG },
	};
	int r = tx_path_id(tx, arg, &trash.file.objdir);

	return r < 0 ? r : tx_trash_put(tx, &trash);
}

/* A row that names a key that no store has is forgotten, not tried for ever. */
static void impossible_keys_are_forgotten(void **state)
{
	struct rig *rig = *state;
	char deep[STORE_KEY_MAX + 1];

	memset(deep, 'd', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, orphan_run, deep), 0);
	assert_int_equal(
		catalogue_write(rig->t->cat, SYNC_NORMAL, orphan_run, (char[]){ "d/../e" }), 0);
	assert_int_equal(rig_trash(rig, NULL), 2);
	empty_trash(rig);
}

/* ---- a commit that failed ------------------------------------------------------------------ */

#define N_FAILED 4

static const char *const failed_names[N_FAILED] = { "a", "b", "c", "d" };

struct some {
	struct rig *rig;
	int result[N_FAILED];
};

static void *archive_some(void *arg)
{
	struct some *some = arg;

	rig_archive_names(some->rig, "d", failed_names, N_FAILED, some->result);
	return NULL;
}

static void capture_some(struct rig *rig)
{
	char path[16];

	for (unsigned i = 0; i < N_FAILED; i++) {
		snprintf(path, sizeof(path), "d/%s", failed_names[i]);
		rig_capture(rig, path, i + 1);
	}
	rig_settle(rig, path);
}

/* The last transaction of a batch fails, and whatever comes after it, until told otherwise. */
static void fail_commit(struct rig *rig)
{
	struct some some = { .rig = rig };
	uint64_t before = rig_objects(rig);
	char go[300], spec[400];
	pthread_t thread;
	FILE *f;

	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "archive.claim=wait:%s", go);
	assert_int_equal(failpoint_init(spec), 0);
	assert_int_equal(pthread_create(&thread, NULL, archive_some, &some), 0);
	rig_until(rig_objects(rig) > before);
	assert_int_equal(failpoint_init("commit.before=error:ENOSPC"), 0);
	f = fopen(go, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(unlink(go), 0);
	for (int i = 0; i < N_FAILED; i++)
		assert_int_equal(some.result[i], -ENOSPC);
}

/* Tried again, one is left at any time; and what comes of it at last is right. */
static void failed_commits_do_not_pile_up(void **state)
{
	struct rig *rig = *state;
	struct some some = { .rig = rig };

	capture_some(rig);
	for (int i = 0; i < 4; i++) {
		fail_commit(rig);
		assert_int_equal(rig_intents(rig), 1);
		/* no batch begins while the catalogue takes nothing */
		archive_some(&some);
		for (int k = 0; k < N_FAILED; k++)
			assert_int_equal(some.result[k], -ENOSPC);
		assert_int_equal(rig_intents(rig), 1);
		assert_int_equal(failpoint_init(NULL), 0);
	}
	archive_some(&some);
	for (unsigned i = 0; i < N_FAILED; i++) {
		char path[16];

		assert_int_equal(some.result[i], 0);
		snprintf(path, sizeof(path), "d/%s", failed_names[i]);
		assert_int_equal(rig_state(rig, path), STATE_ARCHIVED);
		rig_unlink(rig, path);
	}
	rig_check(rig);
	empty_trash(rig);
	for (unsigned i = 0; i < N_FAILED; i++) {
		char path[16];

		snprintf(path, sizeof(path), "d/%s", failed_names[i]);
		rig_assert_capture(rig, path, i + 1);
	}
}

/* Nobody archives anything any more: the objects are found all the same. */
static void failed_commit_without_another(void **state)
{
	struct rig *rig = *state;

	capture_some(rig);
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	fail_commit(rig);
	assert_int_equal(rig_intents(rig), 1);
	for (unsigned i = 0; i < N_FAILED; i++) {
		char path[16];

		snprintf(path, sizeof(path), "d/%s", failed_names[i]);
		rig_unlink(rig, path);
	}
	assert_int_equal(failpoint_init(NULL), 0);
	rig_until(rig_intents(rig) == 0);
	rig_check(rig);
}

/* An intent that was not made: its id is the next one's, which is left alone. */
static void failed_intent(void **state)
{
	struct rig *rig = *state;
	struct some some = { .rig = rig };
	uint64_t before = rig_objects(rig);
	char go[300], spec[400];
	pthread_t thread;
	FILE *f;

	rig_capture(rig, "e/a", 1);
	assert_int_equal(rig_archive(rig, "e/a"), 0);
	capture_some(rig);
	/* the directory's row is made before */
	fail_commit(rig);
	assert_int_equal(failpoint_init(NULL), 0);
	assert_int_equal(archive_settle(rig->t), 0);
	assert_int_equal(failpoint_init("commit.before=error:ENOSPC"), 0);
	archive_some(&some);
	for (int i = 0; i < N_FAILED; i++)
		assert_int_equal(some.result[i], -ENOSPC);
	assert_true(archive_has_unfinished(rig->t));

	before = rig_objects(rig);
	/* the next batch settles it first; and is not taken for it while it is under way */
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "archive.claim=wait:%s", go);
	assert_int_equal(failpoint_init(spec), 0);
	assert_int_equal(pthread_create(&thread, NULL, archive_some, &some), 0);
	rig_until(rig_objects(rig) > before);
	assert_false(archive_has_unfinished(rig->t));
	assert_int_equal(archive_recover(rig->t), 0);
	assert_int_equal(rig_intents(rig), 1);
	f = fopen(go, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (int i = 0; i < N_FAILED; i++)
		assert_int_equal(some.result[i], 0);
	rig_check(rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
#define PACKED(f)                                                 \
	{                                                         \
#f " packed", f, setup_packed, rig_teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(failed_commits_do_not_pile_up),
		PACKED(failed_commits_do_not_pile_up),
		TEST(failed_commit_without_another),
		PACKED(failed_commit_without_another),
		TEST(failed_intent),
		PACKED(failed_intent),
		cmocka_unit_test(taken_by_us_and_no_answer),
		TEST(taken_by_others_and_no_answer),
		TEST(taken_by_others),
		TEST(killed_with_keys_of_ours),
		TEST(impossible_keys_are_forgotten),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
