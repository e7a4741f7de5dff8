/* SPDX-License-Identifier: MIT */
/*
 * Archiving into a store that says no, late, wrong or nothing; keys that cannot be;
 * files in parts; many files, and several batches of the same ones.
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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "tests/unit/tier_rig.h"
#include "tier/pack.h"

static int setup(void **state)
{
	return rig_setup(state, "trash_grace=24h,pack_below=0");
}

static int setup_packed(void **state)
{
	return rig_setup(state, "trash_grace=24h,pack_below=64K");
}

/* ---- keys -------------------------------------------------------------------------- */

static void keys_that_cannot_be(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "");
	struct store_attrs attrs = { .attempt = "somebody/1", .path = "d/taken", .crc32c = 0 };
	char deep[1200] = "", path[1300];

	(void)state;
	rig_open(rig);
	assert_int_equal(store_put_wait(rig->t->store, "d/taken", "x", 1, &attrs), 0);
	assert_int_equal(store_put_wait(rig->t->store, "f", "x", 1, &attrs), 0);
	rig_capture(rig, "d/taken", 1);
	rig_capture(rig, "f/below-a-file", 2);
	rig_capture(rig, ".ebb/volume", 3);
	rig_capture(rig, ".ebb/o/x", 4);
	assert_int_equal(rig_archive(rig, "d/taken"), 0);
	assert_int_equal(rig_archive(rig, "f/below-a-file"), 0);
	assert_int_equal(rig_archive(rig, ".ebb/volume"), 0);
	assert_int_equal(rig_archive(rig, ".ebb/o/x"), 0);
	assert_int_equal(rig_look(rig, "d/taken").row.object, ROW_OBJECT_ALT);
	assert_int_equal(rig_look(rig, "f/below-a-file").row.object, ROW_OBJECT_ALT);
	assert_int_equal(rig_look(rig, ".ebb/volume").row.object, ROW_OBJECT_ALT);
	assert_int_equal(rig_look(rig, ".ebb/o/x").row.object, ROW_OBJECT_ALT);
	rig_unlink(rig, "d/taken");
	rig_assert_capture(rig, "d/taken", 1);
	assert_int_equal(store_drop_wait(rig->t->store, "d/taken", "somebody/1"), 0);
	assert_int_equal(store_drop_wait(rig->t->store, "f", "somebody/1"), 0);

	for (int i = 0; i < 10; i++)
		strcat(deep,
		       "a-directory-with-a-rather-long-name-so-that-its-path-becomes-too-long/");
	snprintf(path, sizeof(path), "%sx", deep);
	rig_capture(rig, path, 5);
	assert_int_equal(rig_archive(rig, path), 0);
	rig_check(rig);
	rig_free(rig);
}

static void answer_lost_but_written(void **state)
{
	struct rig *rig = *state;
	struct trash_row trash;

	rig_capture(rig, "d/a", 1);
	rig_faults(rig, "put lost now nth 1 key d/*");
	assert_int_equal(rig_archive(rig, "d/a"), -ETIMEDOUT);
	assert_int_equal(rig_state(rig, "d/a"), STATE_LOCAL);
	assert_int_equal(rig_trash(rig, &trash), 1);
	assert_int_equal(trash.reason, TRASH_ORPHAN);
	assert_int_equal(trash.file.object, ROW_OBJECT_PATH);
	trash_row_fini(&trash);
	assert_true(rig_has_object(rig, "d/a"));
	rig_check(rig);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	assert_int_equal(rig_look(rig, "d/a").row.object, ROW_OBJECT_ALT);
	rig_check(rig);
}

/* ---- the store fails ------------------------------------------------------------------ */

static void store_errors(void **state)
{
	static const struct {
		const char *rules;
		int result;
		int trash; /* orphans it leaves */
	} cases[] = {
		{ "put error ENOSPC key d/*", -ENOSPC, 0 },
		{ "put error EACCES key d/*", -EACCES, 0 },
		{ "put error EIO key d/*", -EIO, 1 },
		{ "put down now key d/*", -ETIMEDOUT, 1 },
		{ "verify flip key d/*", -EIO, 1 },
		{ "verify error EIO key d/*", -EIO, 1 },
		{ "verify down now key d/*", -ETIMEDOUT, 1 },
		{ "verify error ENOENT key d/*", -EIO, 1 },
	};
	struct rig *rig = *state;
	char path[64];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_capture(rig, path, i + 1);
	}
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int before = rig_trash(rig, NULL);

		snprintf(path, sizeof(path), "d/%u", i);
		rig_faults(rig, cases[i].rules);
		assert_int_equal(rig_archive(rig, path), cases[i].result);
		assert_int_equal(rig_state(rig, path), STATE_LOCAL);
		assert_int_equal(rig_trash(rig, NULL) - before, cases[i].trash);
		rig_faults(rig, "");
		rig_check(rig);
		assert_int_equal(rig_archive(rig, path), 0);
		rig_check(rig);
	}
}

static void some_files_fail(void **state)
{
	static const char *const names[] = { "0", "1", "2", "3", "4", "5", "6", "7" };
	struct rig *rig = *state;
	int result[8];

	for (unsigned i = 0; i < 8; i++) {
		char path[64];

		snprintf(path, sizeof(path), "d/%u", i);
		rig_capture(rig, path, i + 1);
	}
	rig_settle(rig, "d/7");
	rig_faults(rig, "put error EIO key d/[25]\nverify flip key d/6");
	assert_int_equal(rig_archive_names(rig, "d", names, 8, result), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(result[i], i == 2 || i == 5 || i == 6 ? -EIO : 0);
	rig_check(rig);
}

/* The same of packs: whoever is in one shares its fate, and no other's. */
static void some_packs_fail(void **state)
{
	static const char *const names[] = { "0", "1", "2", "3", "4", "5", "6", "7" };
	static const char *const rules[] = {
		"put error EIO nth 2 key .ebb/pack/*",	  "verify flip nth 2 key .ebb/pack/*",
		"put lost now nth 2 key .ebb/pack/*",	  "put down now nth 2 key .ebb/pack/*",
		"put error ENOSPC nth 2 key .ebb/pack/*", "put error EEXIST nth 2 key .ebb/pack/*",
	};
	struct rig *rig = *state;
	char bytes[2000] = "", path[64];
	int result[8];

	rig->conf.pack_size = 2 * sizeof(bytes) + 100;
	for (unsigned n = 0; n < sizeof(rules) / sizeof(rules[0]); n++) {
		unsigned failed = 0;

		for (unsigned i = 0; i < 8; i++) {
			snprintf(bytes, sizeof(bytes), "%u %u", n, i);
			snprintf(path, sizeof(path), "%u/%u", n, i);
			rig_write(rig, path, bytes, sizeof(bytes));
		}
		rig_settle(rig, path);
		snprintf(path, sizeof(path), "%u", n);
		rig_faults(rig, rules[n]);
		assert_int_equal(rig_archive_names(rig, path, names, 8, result), 0);
		for (int i = 0; i < 8; i += 2) {
			assert_int_equal(result[i], result[i + 1]);
			assert_true(result[i] == 0 || result[i] == -EIO || result[i] == -ENOSPC ||
				    result[i] == -ETIMEDOUT);
			failed += result[i] < 0;
		}
		/* one that is full or does not answer takes no more */
		assert_true(n < 2 || n == 5 ? failed == 1 : failed >= 1 && failed < 4);
		rig_faults(rig, "");
		rig_check(rig);
		assert_int_equal(rig_archive_names(rig, path, names, 8, result), 0);
		for (int i = 0; i < 8; i++)
			assert_true(result[i] == 0 || result[i] == 1);
		rig_check(rig);
	}
	assert_int_equal(rig_trash(rig, NULL), 0);
}

static void catalogue_fails(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/a", 1);
	rig_failpoints(rig, "archive.claim=error:EIO");
	assert_int_equal(rig_archive(rig, "d/a"), -EIO);
	assert_int_equal(rig_intents(rig), 0);
	assert_int_equal(rig_trash(rig, NULL), 1);
	rig_check(rig);
	catalogue_set_readonly(rig->t->cat, "a test says so");
	assert_int_equal(rig_archive(rig, "d/a"), -EROFS);
}

/* ---- a pack's answer got lost, and the store was asked again ----------------------------- */

struct two {
	struct rig *rig;
	int result[2];
};

static void *archive_two(void *arg)
{
	static const char *const names[] = { "a", "b" };
	struct two *two = arg;

	rig_archive_names(two->rig, "d", names, 2, two->result);
	return NULL;
}

/* The pack of d/a and d/b, 3000 bytes each, that this intent is about; or other bytes. */
static void put_pack_of(struct rig *rig, const char *payload, bool right)
{
	unsigned long long number, ino[2];
	char attempt[STORE_ATTEMPT_MAX];
	char *data = malloc(6000), *key;
	struct store_attrs attrs = { .attempt = attempt };
	uint64_t len = 6000;
	size_t room = 6000;

	assert_int_equal(sscanf(payload,
				"{\"packs\":[%llu],\"path\":\"d\",\"dir\":%*d,\"files\":"
				"[[\"a\",%llu,%*d,3000],[\"b\",%llu,%*d,3000]]}",
				&number, &ino[0], &ino[1]),
			 3);
	for (unsigned i = 0; i < 2; i++) {
		const char *path = i ? "d/b" : "d/a";
		struct pack_line line = { .path = path,
					  .offset = i * 3000,
					  .size = 3000,
					  .ino = ino[i],
					  .mtime_ns = ts_to_ns(rig_look(rig, path).cache.st_mtim) };

		memset(data + line.offset, right ? 'a' + (int)i : 'x', 3000);
		line.crc32c = crc32c(0, data + line.offset, 3000);
		assert_int_equal(pack_line_append(&line, &data, &len, &room), 0);
	}
	key = object_pack_key(rig->t, number);
	object_attempt(rig->t, number, attempt, sizeof(attempt));
	attrs.path = key;
	attrs.crc32c = crc32c(0, data, len);
	assert_int_equal(store_put_wait(rig->t->store, key, data, len, &attrs), 0);
	free(data);
	free(key);
}

static void pack_is_there_already(struct rig *rig, bool right)
{
	struct two two = { .rig = rig };
	char bytes[3000], go[300], spec[400];
	struct intent_row intent;
	pthread_t thread;
	FILE *f;

	rig_write(rig, "d/a", memset(bytes, 'a', sizeof(bytes)), sizeof(bytes));
	rig_write(rig, "d/b", memset(bytes, 'b', sizeof(bytes)), sizeof(bytes));
	rig_settle(rig, "d/b");
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "archive.intent=wait:%s", go);
	rig_failpoints(rig, spec);
	assert_int_equal(pthread_create(&thread, NULL, archive_two, &two), 0);
	rig_until(rig_intents(rig) == 1);
	assert_int_equal(cat_intents(rig->t->cat, 0, &intent, 1), 1);
	put_pack_of(rig, intent.payload, right);
	intent_row_fini(&intent);
	f = fopen(go, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(two.result[i], right ? 0 : -EIO);
	/* what was there is known, whatever it is */
	rig_check(rig);
}

static void pack_of_ours_is_there(void **state)
{
	pack_is_there_already(*state, true);
}

static void other_bytes_are_there(void **state)
{
	pack_is_there_already(*state, false);
}

/* ---- large and many -------------------------------------------------------------------- */

#define LARGE_BYTES (2 * OBJECT_PART_BYTES + 4711)

/* Other bytes in every block. */
static void fill(char *bytes, size_t len)
{
	memset(bytes, 'e', len);
	for (size_t i = 0; i + sizeof(i) < len; i += 4096 + sizeof(i))
		memcpy(bytes + i, &i, sizeof(i));
}

static void large_file_in_parts(void **state)
{
	struct rig *rig = *state;
	char path[600];
	uint32_t crc;
	char *bytes = malloc(LARGE_BYTES);
	struct state_of look;
	size_t len;

	assert_non_null(bytes);
	fill(bytes, LARGE_BYTES);
	crc = crc32c(0, bytes, LARGE_BYTES);
	rig_write(rig, "d/large", bytes, LARGE_BYTES);
	free(bytes);
	assert_int_equal(rig_archive(rig, "d/large"), 0);
	look = rig_look(rig, "d/large");
	assert_int_equal(look.state, STATE_ARCHIVED);
	assert_int_equal(look.row.object, ROW_OBJECT_PARTS);
	assert_int_equal(look.row.crc32c, crc);
	assert_int_equal(object_count(&look.row), 3);
	assert_int_equal(rig_objects(rig), 3);

	rig_path(rig, "d/large", path, sizeof(path));
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(rig_archive(rig, "d/large"), 1);
	assert_int_equal(rig_objects(rig), 3);

	/* a part that fails: what was written of the others is known */
	rig_write(rig, "d/large", "x", 1);
	rig_path(rig, "d/large", path, sizeof(path));
	assert_int_equal(truncate(path, LARGE_BYTES), 0);
	rig_faults(rig, "put error EIO key *.1");
	assert_int_equal(rig_archive(rig, "d/large"), -EIO);
	rig_check(rig);
	rig_faults(rig, "");
	assert_int_equal(rig_archive(rig, "d/large"), 0);
	rig_check(rig);
	rig_unlink(rig, "d/large");
	bytes = rig_read(rig, "d/large", &len);
	assert_int_equal(len, LARGE_BYTES);
	assert_int_equal(bytes[0], 'x');
	assert_int_equal(bytes[LARGE_BYTES - 1], 0);
	free(bytes);
}

#define N_MANY 1000

static void a_thousand(void **state)
{
	struct rig *rig = *state;
	const char **names = calloc(N_MANY, sizeof(*names));
	int *result = calloc(N_MANY, sizeof(*result));
	char path[64];

	for (unsigned i = 0; i < N_MANY; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		names[i] = strdup(path + 2);
		rig_capture(rig, path, i);
	}
	rig_settle(rig, path);
	assert_int_equal(rig_archive_names(rig, "d", names, N_MANY, result), 0);
	for (unsigned i = 0; i < N_MANY; i++) {
		assert_int_equal(result[i], 0);
		free((char *)names[i]);
	}
	if (rig->conf.pack_below)
		assert_true(rig_objects(rig) <= N_MANY / 16); /* so many at least are a batch */
	else
		assert_int_equal(rig_objects(rig), N_MANY);
	rig_check(rig);
	free(names);
	free(result);
}

struct rival {
	struct rig *rig;
	int result[40];
};

static void *archive_rival(void *arg)
{
	static const char *const names[] = {
		"0",  "1",  "2",  "3",	"4",  "5",  "6",  "7",	"8",  "9",  "10", "11", "12", "13",
		"14", "15", "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27",
		"28", "29", "30", "31", "32", "33", "34", "35", "36", "37", "38", "39",
	};
	struct rival *v = arg;

	rig_archive_names(v->rig, "d", names, 40, v->result);
	return NULL;
}

static void two_at_once(void **state)
{
	struct rig *rig = *state;
	struct rival v[3] = { { .rig = rig }, { .rig = rig }, { .rig = rig } };
	pthread_t thread[3];
	char path[64];

	for (unsigned i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_capture(rig, path, i);
	}
	rig_settle(rig, path);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, archive_rival, &v[i]), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	for (unsigned i = 0; i < 40; i++) {
		int won = 0;

		for (int k = 0; k < 3; k++) {
			int r = v[k].result[i];

			won += r == 0;
			assert_true(r == 0 || r == 1 || r == -EBUSY || r == -EAGAIN);
		}
		assert_true(won <= 1);
	}
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
		cmocka_unit_test(keys_that_cannot_be),
		TEST(answer_lost_but_written),
		TEST(store_errors),
		TEST(some_files_fail),
		TEST(catalogue_fails),
		TEST(large_file_in_parts),
		TEST(a_thousand),
		PACKED(some_packs_fail),
		PACKED(pack_of_ours_is_there),
		PACKED(other_bytes_are_there),
		PACKED(a_thousand),
		TEST(two_at_once),
		PACKED(two_at_once),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
