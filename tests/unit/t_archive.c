/* SPDX-License-Identifier: MIT */
/*
 * A batch ends with rows that are proved, or with files left as they were and every
 * object known: whatever changes, fails or dies on the way.
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

/* An object each, or a pack of them all. */
static int setup(void **state)
{
	return rig_setup(state, "trash_grace=24h,pack_below=0");
}

static int setup_packed(void **state)
{
	return rig_setup(state, "trash_grace=24h,pack_below=64K");
}

static bool is_packed(const struct rig *rig)
{
	return rig->conf.pack_below > 0;
}

static uint64_t objects_of(const struct rig *rig, unsigned files)
{
	return is_packed(rig) ? 1 : files;
}

#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN
#define LONG_NAME                            \
	FIFTY FIFTY FIFTY FIFTY FIFTY ".jpg" \
				      "x"

static const char *const odd_names[] = {
	"a_0.jpg",  "a_1.jpg",	"a_0.json",    "with space",   "new\nline", "quote\"'`$(x)",
	"\xff\xfe", "\xc3\xa4", "back\\slash", "%41",	       "-rf",	    "tab\there",
	"*",	    "?",	"{name}",      "\x01\x02\x7f", ".hidden",   LONG_NAME,
};
#define N_ODD (sizeof(odd_names) / sizeof(odd_names[0]))

static void archives_whole_batch(void **state)
{
	struct rig *rig = *state;
	char path[600];
	int result[N_ODD];

	assert_int_equal(strlen(LONG_NAME), 255);
	for (size_t i = 0; i < N_ODD; i++) {
		snprintf(path, sizeof(path), "cam/2017/12/%s", odd_names[i]);
		rig_capture(rig, path, (unsigned)i);
	}
	rig_settle(rig, path);
	assert_int_equal(rig_archive_names(rig, "cam/2017/12", odd_names, N_ODD, result), 0);
	for (size_t i = 0; i < N_ODD; i++) {
		struct state_of look;

		snprintf(path, sizeof(path), "cam/2017/12/%s", odd_names[i]);
		assert_int_equal(result[i], 0);
		look = rig_look(rig, path);
		assert_int_equal(look.state, STATE_ARCHIVED);
		assert_int_equal(look.row.object,
				 is_packed(rig) ? ROW_OBJECT_PACK : ROW_OBJECT_PATH);
		assert_true(look.row.ino > 0);
		rig_unlink(rig, path);
		assert_int_equal(rig_state(rig, path), STATE_RELEASED);
		rig_assert_capture(rig, path, (unsigned)i);
	}
	assert_int_not_equal(rig_has_object(rig, "cam/2017/12/a_0.jpg"), is_packed(rig));
	assert_int_equal(rig_objects(rig), objects_of(rig, N_ODD));
	rig_check(rig);
	rig_reopen(rig);
	rig_check(rig);
}

static void again_is_nothing(void **state)
{
	struct rig *rig = *state;
	struct state_of look, after;

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	look = rig_look(rig, "d/a");
	assert_int_equal(rig_archive(rig, "d/a"), 1);
	after = rig_look(rig, "d/a");
	assert_int_equal(look.row.attempt, after.row.attempt);
	assert_int_equal(look.row.txn, after.row.txn);
	assert_int_equal(rig_objects(rig), 1);
}

static void number_seen_before_stays(void **state)
{
	struct rig *rig = *state;
	struct node *dir, *node;
	struct stat st;

	rig_capture(rig, "d/a", 1);
	dir = rig_dir(rig, "d");
	assert_int_equal(ns_lookup(rig->t, dir, "a", NULL, &node, &st), 0);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	assert_int_equal(rig_look(rig, "d/a").row.ino, st.st_ino);
	assert_int_equal(rig_look(rig, "d/a").shown.st_ino, st.st_ino);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);
}

/* ---- what is not archived ------------------------------------------------------ */

static void only_plain_files(void **state)
{
	static const char *const names[] = { "link", "xattr", "symlink", "fifo", "dir", "gone" };
	struct rig *rig = *state;
	char path[600], other[600];
	int result[6];

	rig_capture(rig, "d/link", 1);
	rig_capture(rig, "d/xattr", 2);
	rig_path(rig, "d/link", path, sizeof(path));
	rig_path(rig, "d/link2", other, sizeof(other));
	assert_int_equal(link(path, other), 0);
	rig_path(rig, "d/xattr", path, sizeof(path));
	assert_int_equal(setxattr(path, "user.x", "1", 1, 0), 0);
	rig_path(rig, "d/symlink", path, sizeof(path));
	assert_int_equal(symlink("link", path), 0);
	rig_path(rig, "d/fifo", path, sizeof(path));
	assert_int_equal(mkfifo(path, 0644), 0);
	rig_path(rig, "d/dir", path, sizeof(path));
	assert_int_equal(mkdir(path, 0755), 0);
	rig_settle(rig, "d/dir");
	assert_int_equal(rig_archive_names(rig, "d", names, 6, result), 0);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(result[i], -EPERM);
	assert_int_equal(result[5], -ENOENT);
	assert_int_equal(rig_objects(rig), 0);
	/* nothing to be written: no intent, no row of a directory */
	assert_int_equal(rig_intents(rig), 0);
}

static void only_quiet_files(void **state)
{
	static const char *const names[] = {
		"open", "mapped", "handle", "claimed", "good", "young"
	};
	struct rig *rig = *state;
	int64_t settle_ms = rig->t->settle_ms;
	struct node *dir, *node, *claimed;
	char path[600];
	int result[6], fd, map_fd;
	void *map;

	for (unsigned i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "d/%s", names[i]);
		rig_capture(rig, path, i + 1);
	}
	rig_settle(rig, "d/young");
	rig_path(rig, "d/open", path, sizeof(path));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	rig_path(rig, "d/mapped", path, sizeof(path));
	map_fd = open(path, O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 100, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	assert_true(map != MAP_FAILED);
	close(map_fd);
	dir = rig_dir(rig, "d");
	assert_int_equal(node_get(rig->t->tree, dir, "handle", false, &node), 0);
	node_open_begin(rig->t->tree, node, true, true);
	assert_int_equal(node_get(rig->t->tree, dir, "claimed", false, &claimed), 0);
	node_claim(rig->t->tree, claimed);

	assert_int_equal(rig_archive_names(rig, "d", names, 5, result), 0);
	assert_int_equal(result[0], -EAGAIN);
	assert_int_equal(result[1], -EAGAIN);
	assert_int_equal(result[2], -EAGAIN);
	assert_int_equal(result[3], -EBUSY);
	assert_int_equal(result[4], 0);
	rig->t->settle_ms = 3600000; /* younger than that for sure, as all are */
	assert_int_equal(rig_archive_names(rig, "d", names + 5, 1, result), 0);
	assert_int_equal(result[0], -EAGAIN);
	rig->t->settle_ms = settle_ms;

	close(fd);
	munmap(map, 100);
	node_open_end(rig->t->tree, node, true);
	node_unclaim(rig->t->tree, claimed);
	assert_int_equal(rig_archive_names(rig, "d", names, 6, result), 0);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(result[i], i == 4); /* "good" was archived before */
	node_put(rig->t->tree, claimed);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);
	rig_check(rig);
}

static void unknown_volume_waits(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");
	const char *name = "a";
	int result, fd;

	(void)state;
	rig_faults(rig, "* error EIO");
	fd = open(rig->conf.cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(tier_open(&rig->conf, fd, "/mnt", &rig->t, rig->err, sizeof(rig->err)), 0);
	rig->t->settle_ms = 30;
	rig_capture(rig, "d/a", 1);
	rig_settle(rig, "d/a");
	assert_int_equal(rig_archive_names(rig, "d", &name, 1, &result), -EAGAIN);
	assert_int_equal(result, -EAGAIN);
	rig_faults(rig, "");
	rig_until(volume_ok(rig->t));
	assert_int_equal(rig_archive_names(rig, "d", &name, 1, &result), 0);
	assert_int_equal(result, 0);
	rig_free(rig);
}

/* ---- changes on the way ---------------------------------------------------------- */

static const char *const moving_names[] = { "stays",   "written",  "removed",
					    "renamed", "replaced", "claimed" };
#define N_MOVING 6

struct moving {
	struct rig *rig;
	int r;
	int result[N_MOVING];
};

static void *archive_moving(void *arg)
{
	struct moving *m = arg;

	m->r = rig_archive_names(m->rig, "d", moving_names, N_MOVING, m->result);
	return NULL;
}

static void touch_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	close(fd);
}

static void changed_while_archiving(void **state)
{
	struct rig *rig = *state;
	struct moving m = { .rig = rig };
	char path[600], other[600], go[300], spec[400];
	struct node *dir, *claimed;
	pthread_t thread;

	for (unsigned i = 0; i < N_MOVING; i++) {
		snprintf(path, sizeof(path), "d/%s", moving_names[i]);
		rig_capture(rig, path, i + 1);
	}
	rig_settle(rig, path);
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "archive.put-all=wait:%s", go);
	rig_failpoints(rig, spec);
	assert_int_equal(pthread_create(&thread, NULL, archive_moving, &m), 0);
	rig_until(rig_objects(rig) == objects_of(rig, N_MOVING));

	rig_capture(rig, "d/written", 100);
	rig_unlink(rig, "d/removed");
	rig_path(rig, "d/renamed", path, sizeof(path));
	rig_path(rig, "d/other", other, sizeof(other));
	assert_int_equal(rename(path, other), 0);
	rig_capture(rig, "new", 101);
	rig_path(rig, "new", path, sizeof(path));
	rig_path(rig, "d/replaced", other, sizeof(other));
	assert_int_equal(rename(path, other), 0);
	dir = rig_dir(rig, "d");
	assert_int_equal(node_get(rig->t->tree, dir, "claimed", false, &claimed), 0);
	node_claim(rig->t->tree, claimed);
	touch_file(go);
	assert_int_equal(pthread_join(thread, NULL), 0);

	assert_int_equal(m.r, 0);
	assert_int_equal(m.result[0], 0);
	assert_int_equal(m.result[1], -EAGAIN);
	assert_int_equal(m.result[2], -ENOENT);
	assert_int_equal(m.result[3], -ENOENT);
	assert_int_equal(m.result[4], -EAGAIN);
	assert_int_equal(m.result[5], -EBUSY);
	assert_int_equal(rig_state(rig, "d/stays"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "d/written"), STATE_LOCAL);
	assert_int_equal(rig_state(rig, "d/removed"), STATE_NONE);
	/* a pack has no orphans: it holds one file that is alive */
	assert_int_equal(rig_trash(rig, NULL), is_packed(rig) ? 0 : N_MOVING - 1);
	rig_check(rig);
	node_unclaim(rig->t->tree, claimed);
	node_put(rig->t->tree, claimed);
	node_put(rig->t->tree, dir);

	/* another time, under another key: the orphan has the first */
	assert_int_equal(rig_archive(rig, "d/written"), 0);
	assert_int_equal(rig_look(rig, "d/written").row.object,
			 is_packed(rig) ? ROW_OBJECT_PATH : ROW_OBJECT_ALT);
	rig_assert_capture(rig, "d/written", 100);
	rig_check(rig);
}

static void changed_unseen(void **state)
{
	struct rig *rig = *state;
	struct state_of before, after;
	struct trash_row trash;
	char path[600];

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	before = rig_look(rig, "d/a");

	/* attributes alone: the row is refreshed */
	rig_path(rig, "d/a", path, sizeof(path));
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(rig_state(rig, "d/a"), STATE_CHANGED);
	assert_int_equal(rig_archive(rig, "d/a"), 1);
	after = rig_look(rig, "d/a");
	assert_int_equal(after.state, STATE_ARCHIVED);
	assert_int_equal(after.row.attempt, before.row.attempt);
	assert_int_equal(after.row.attr.mode, S_IFREG | 0600);
	assert_int_equal(rig_objects(rig), 1);
	assert_int_equal(rig_trash(rig, NULL), 0);

	/* other bytes: another object, the old row in the trash for longer */
	rig_capture(rig, "d/a", 2);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	after = rig_look(rig, "d/a");
	assert_int_equal(after.state, STATE_ARCHIVED);
	assert_int_equal(after.row.ino, before.row.ino);
	assert_int_not_equal(after.row.attempt, before.row.attempt);
	assert_int_equal(rig_trash(rig, &trash), 1);
	assert_int_equal(trash.reason, TRASH_UNSEEN);
	assert_string_equal(trash.path, "d/a");
	assert_int_equal(trash.file.attempt, before.row.attempt);
	trash_row_fini(&trash);
	rig_check(rig);
	rig_unlink(rig, "d/a");
	rig_assert_capture(rig, "d/a", 2);
}

static void same_bytes_come_back(void **state)
{
	struct rig *rig = *state;
	struct node *dir, *node;
	struct remote *remote;
	struct state_of before, after;
	struct stat st;
	int fd;

	rig_capture(rig, "d/a", 1);
	dir = rig_dir(rig, "d");
	assert_int_equal(ns_lookup(rig->t, dir, "a", NULL, &node, &st), 0);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	before = rig_look(rig, "d/a");
	assert_int_equal(ns_open(rig->t, node, O_RDWR, true, &fd, &remote), 0);
	assert_int_equal(rig_state(rig, "d/a"), STATE_LOCAL);
	assert_int_equal(rig_trash(rig, NULL), 1);
	close(fd);
	node_open_end(rig->t->tree, node, true);
	rig_capture(rig, "d/a", 1);

	assert_int_equal(rig_archive(rig, "d/a"), 1);
	after = rig_look(rig, "d/a");
	assert_int_equal(after.state, STATE_ARCHIVED);
	assert_int_equal(after.row.attempt, before.row.attempt);
	assert_int_equal(rig_trash(rig, NULL), 0);
	assert_int_equal(rig_objects(rig), 1);
	rig_check(rig);

	/* the object is not what it was: it is written anew */
	assert_int_equal(ns_open(rig->t, node, O_RDWR, true, &fd, &remote), 0);
	close(fd);
	node_open_end(rig->t->tree, node, true);
	rig_capture(rig, "d/a", 1);
	rig_faults(rig, "verify flip nth 1");
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	after = rig_look(rig, "d/a");
	assert_int_not_equal(after.row.attempt, before.row.attempt);
	assert_int_equal(after.row.object, ROW_OBJECT_ALT);
	rig_unlink(rig, "d/a");
	rig_assert_capture(rig, "d/a", 1);
	rig_check(rig);
	node_put(rig->t->tree, node);
	node_put(rig->t->tree, dir);
}

static void recovery_spares_the_living(void **state)
{
	struct rig *rig = *state;
	struct moving m = { .rig = rig };
	char path[600], go[300], spec[400];
	pthread_t thread;

	for (unsigned i = 0; i < N_MOVING; i++) {
		snprintf(path, sizeof(path), "d/%s", moving_names[i]);
		rig_capture(rig, path, i + 1);
	}
	rig_settle(rig, path);
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "archive.verify=wait:%s", go);
	rig_failpoints(rig, spec);
	assert_int_equal(pthread_create(&thread, NULL, archive_moving, &m), 0);
	rig_until(rig_objects(rig) == objects_of(rig, N_MOVING));
	assert_int_equal(archive_recover(rig->t), 0);
	assert_int_equal(rig_intents(rig), 1);
	assert_int_equal(rig_trash(rig, NULL), 0);
	touch_file(go);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (int i = 0; i < N_MOVING; i++)
		assert_int_equal(m.result[i], 0);
	rig_check(rig);
}

static void *archive_large(void *arg)
{
	static const char *const names[] = { "large" };
	struct moving *m = arg;

	rig_archive_names(m->rig, "d", names, 1, m->result);
	return NULL;
}

/* What was written follows from the size it had: all of it is known when it has another. */
static void shrinks_while_archiving(void **state)
{
	struct rig *rig = *state;
	struct moving m = { .rig = rig };
	char path[600], go[300], spec[400];
	pthread_t thread;

	rig_capture(rig, "d/large", 1);
	rig_path(rig, "d/large", path, sizeof(path));
	assert_int_equal(truncate(path, (off_t)OBJECT_PART_BYTES + 4711), 0);
	rig_settle(rig, "d/large");
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "archive.verify=wait:%s", go);
	rig_failpoints(rig, spec);
	assert_int_equal(pthread_create(&thread, NULL, archive_large, &m), 0);
	rig_until(rig_objects(rig) == 2);
	assert_int_equal(truncate(path, 10), 0);
	touch_file(go);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(m.result[0], -EAGAIN);
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
		TEST(archives_whole_batch),
		TEST(again_is_nothing),
		TEST(number_seen_before_stays),
		TEST(only_plain_files),
		TEST(only_quiet_files),
		cmocka_unit_test(unknown_volume_waits),
		TEST(changed_while_archiving),
		TEST(changed_unseen),
		TEST(same_bytes_come_back),

		TEST(recovery_spares_the_living),
		TEST(shrinks_while_archiving),
		PACKED(archives_whole_batch),
		PACKED(changed_while_archiving),

		PACKED(recovery_spares_the_living),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
