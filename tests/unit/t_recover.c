/* SPDX-License-Identifier: MIT */
/*
 * Start-up with an intent left: what was acknowledged before the kill, and what was made
 * after the intent, are there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"
#include "tier/parts.h"

static void released(struct rig *rig, const char *path)
{
	assert_int_equal(rig_archive(rig, path), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, path), 0);
}

static void rename_in(struct rig *rig, const char *from, const char *to)
{
	struct node *dir = rig_dir(rig, "d");

	assert_int_equal(ns_rename(rig->t, dir, from, dir, to, 0, true), 0);
	node_put(rig->t->tree, dir);
}

static void rename_write_again(struct rig *rig)
{
	rename_in(rig, "a", "b");
	rig_capture(rig, "d/a", 3);
	kill(getpid(), SIGKILL);
}

/* The row is all that the new name has: it must not go back to the old one. */
static void released_over_local(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	released(rig, "d/a");
	rig_capture(rig, "d/b", 2);
	rig_killed(rig, "", rename_write_again);
	assert_int_equal(rig_state(rig, "d/b"), STATE_RELEASED);
	rig_assert_capture(rig, "d/b", 1);
	assert_int_equal(rig_state(rig, "d/a"), STATE_LOCAL);
	rig_assert_capture(rig, "d/a", 3);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

/* An archived file keeps its row under the new name. */
static void archived_and_made_again(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	rig_killed(rig, "", rename_write_again);
	assert_true(rig_look(rig, "d/b").has_row);
	rig_assert_capture(rig, "d/b", 1);
	assert_false(rig_look(rig, "d/a").has_row);
	rig_assert_capture(rig, "d/a", 3);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

static void rename_dir_and_write(struct rig *rig)
{
	struct node *root = tree_root(rig->t->tree);

	ns_rename(rig->t, root, "d", root, "e", 0, true);
	rig_capture(rig, "e/new", 4);
	kill(getpid(), SIGKILL);
}

/* It cannot be finished any more, and nobody is kept from starting by that. */
static void over_a_directory_with_names(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	char path[600];

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	rig_capture(rig, "d/b", 2);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	released(rig, "d/b");
	rig_path(rig, "e", path, sizeof(path));
	assert_int_equal(mkdir(path, 0755), 0);
	rig_killed(rig, "rename.commit=error:EIO", rename_dir_and_write);
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "d/b"), STATE_RELEASED);
	rig_assert_capture(rig, "d/b", 2);
	rig_assert_capture(rig, "e/new", 4);
	assert_int_equal(rig_state(rig, "e/b"), STATE_NONE);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

static void rmdir_to_kill(struct rig *rig)
{
	struct node *root = tree_root(rig->t->tree);

	ns_rmdir(rig->t, root, "d", true);
}

static void empty_with_row(struct rig *rig)
{
	struct node *dir;

	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	dir = rig_dir(rig, "d");
	assert_int_equal(ns_unlink(rig->t, dir, "a", true), 0);
	node_put(rig->t->tree, dir);
}

static void removed_directory(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "");

	(void)state;
	rig_open(rig);
	empty_with_row(rig);
	rig_killed(rig, "rmdir.commit=kill", rmdir_to_kill);
	assert_int_equal(rig_state(rig, "d"), STATE_NONE);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

/* The number of one that was removed is soon another's. */
static void rmdir_make_again(struct rig *rig)
{
	const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	char path[600];

	rmdir_to_kill(rig);
	rig_path(rig, "d", path, sizeof(path));
	utimensat(AT_FDCWD, path, times, 0);
	kill(getpid(), SIGKILL);
}

static void directory_made_again(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "");

	(void)state;
	rig_open(rig);
	empty_with_row(rig);
	rig_killed(rig, "rmdir.commit=error:EIO", rmdir_make_again);
	assert_int_equal(rig_state(rig, "d"), STATE_LOCAL);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

/* ---- what cannot be finished refuses no mount ------------------------------------- */

struct put_intent {
	enum intent_kind kind;
	const char *payload;
};

static int put_intent_run(struct tx *tx, void *arg)
{
	struct put_intent *p = arg;
	int64_t id;

	return tx_intent_put(tx, p->kind, p->payload, &id);
}

/* What the first format does not say is 0. */
struct removed {
	const char *dir, *name;
	const struct stat *st;
	int64_t born_ns;
	dirid_t dir_id;
};

static void removal_of(struct rig *rig, const struct removed *f)
{
	struct put_intent p = { .kind = INTENT_UNLINK };
	char *text;

	assert_true(asprintf(&text,
			     "{\"dir\":\"%s\",\"dir_id\":%lld,\"name\":\"%s\",\"is_dir\":false,"
			     "\"ino\":%llu,\"size\":%llu,\"mtime\":%lld,\"ctime\":%lld,"
			     "\"born\":%lld}",
			     f->dir, (long long)f->dir_id, f->name,
			     (unsigned long long)f->st->st_ino, (unsigned long long)f->st->st_size,
			     (long long)ts_to_ns(f->st->st_mtim),
			     (long long)ts_to_ns(f->st->st_ctim), (long long)f->born_ns) > 0);
	p.payload = text;
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, put_intent_run, &p), 0);
	free(text);
}

static void removal_of_capture(struct rig *rig, const char *dir, const char *name)
{
	char path[300], full[600];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	rig_capture(rig, path, 1);
	rig_path(rig, path, full, sizeof(full));
	assert_int_equal(lstat(full, &st), 0);
	removal_of(rig, &(struct removed){ .dir = dir, .name = name, .st = &st });
}

#define DEEP 200 /* directories with names of 40: more than PATH_MAX */

/* Makes them and returns the innermost; ret_path is the caller's to free. */
static int make_deep(struct rig *rig, char **ret_path)
{
	static const char name[] = "0123456789012345678901234567890123456789";
	char *path = calloc(DEEP, sizeof(name));
	int fd = open(rig->conf.cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; i < DEEP; i++) {
		int next;

		assert_true(mkdirat(fd, name, 0755) == 0 || errno == EEXIST);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(fd);
		fd = next;
		strcat(strcat(path, i ? "/" : ""), name);
	}
	*ret_path = path;
	return fd;
}

static void remove_deep(struct rig *rig)
{
	char cmd[300];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'/0*", rig->conf.cache);
	assert_int_equal(system(cmd), 0);
}

static void path_longer_than_the_kernel_takes(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");
	AUTO_FREE char *path = NULL;
	struct stat st;
	int dir, fd;

	(void)state;
	rig_open(rig);
	dir = make_deep(rig, &path);
	fd = openat(dir, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	removal_of(rig, &(struct removed){ .dir = path, .name = "f", .st = &st });
	rig_reopen(rig);
	assert_int_equal(rig_intents(rig), 0);
	assert_int_equal(faccessat(dir, "f", F_OK, 0), -1);
	close(dir);
	remove_deep(rig);
	rig_free(rig);
}

/* Neither is a directory that may be entered: it is another's file, or nobody's. */
static void directory_that_is_a_symlink_now(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");
	char from[600], to[600];

	(void)state;
	rig_open(rig);
	removal_of_capture(rig, "d", "a");
	removal_of_capture(rig, "d/below", "b");
	rig_path(rig, "d", from, sizeof(from));
	rig_path(rig, "e", to, sizeof(to));
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(symlink("e", from), 0);
	rig_reopen(rig);
	assert_int_equal(rig_intents(rig), 0);
	rig_assert_capture(rig, "e/a", 1);
	rig_assert_capture(rig, "e/below/b", 1);
	rig_free(rig);
}

static void set_immutable(struct rig *rig, const char *path, bool on)
{
	char full[600];
	int fd, flags;

	rig_path(rig, path, full, sizeof(full));
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		skip(); /* tmpfs before Linux 6.6 */
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
}

/* It is kept, and what was asked for is done once that is possible. */
static void refused_removal_is_kept(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");

	(void)state;
	rig_open(rig);
	removal_of_capture(rig, "d", "a");
	removal_of_capture(rig, "e", "b");
	set_immutable(rig, "d", true);
	rig_reopen(rig);
	assert_int_equal(rig_intents(rig), 1);
	rig_assert_capture(rig, "d/a", 1);
	assert_int_equal(rig_state(rig, "e/b"), STATE_NONE);
	set_immutable(rig, "d", false);
	rig_reopen(rig);
	assert_int_equal(rig_intents(rig), 0);
	assert_int_equal(rig_state(rig, "d/a"), STATE_NONE);
	rig_free(rig);
}

static void rename_to_kill(struct rig *rig)
{
	rename_in(rig, "a", "b");
}

/* An archived file whose renaming was killed, and whose names cannot be looked at. */
static struct rig *undecided(const char *spec, void (*body)(struct rig *rig))
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	assert_int_equal(failpoint_init("recover.look=error:EIO"), 0);
	rig_killed(rig, spec, body);
	return rig;
}

static void names_that_cannot_be_looked_at(void **state)
{
	struct rig *rig = undecided("rename.cache=kill", rename_to_kill);

	(void)state;
	rig_reopen(rig);
	assert_int_equal(rig_intents(rig), 1);
	/* nobody believes the rows, or empties the trash, until it is decided */
	assert_true(catalogue_is_readonly(rig->t->cat));
	rig_failpoints(rig, NULL);
	assert_false(catalogue_is_readonly(rig->t->cat));
	assert_int_equal(rig_intents(rig), 0);
	rig_assert_capture(rig, "d/b", 1);
	rig_free(rig);
}

static void rename_once_a_part_is_put(struct rig *rig)
{
	struct catalogue_ids ids = catalogue_ids(rig->t->cat);
	struct store_stat stat;
	char key[PARTS_KEY_SIZE];

	journal_key(&ids.node, catalogue_journal_seq(rig->t->cat), key, sizeof(key));
	rig_until(store_stat_wait(rig->t->store, key, &stat) == 0);
	rename_in(rig, "a", "b");
}

/* What nobody may write is judged to be ours all the same. */
static void undecided_and_a_part_that_was_put(void **state)
{
	struct rig *rig = undecided("journal.put=wait:/nonexistent,rename.cache=kill",
				    rename_once_a_part_is_put);

	(void)state;
	assert_true(catalogue_is_readonly(rig->t->cat));
	assert_true(volume_ok(rig->t));
	rig_failpoints(rig, NULL);
	rig_assert_capture(rig, "d/b", 1);
	rig_free(rig);
}

/* The same number, the same bytes, the same times: but not the same file. */
static void number_given_again(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "");
	char same[600], other[600];
	struct removed f;
	struct stat st;

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/same", 1);
	rig_capture(rig, "d/other", 2);
	rig_path(rig, "d/same", same, sizeof(same));
	rig_path(rig, "d/other", other, sizeof(other));
	if (rig_born_ns(rig, "d/same") == 0)
		skip();
	assert_int_equal(lstat(same, &st), 0);
	f = (struct removed){ "d", "same", &st, .born_ns = rig_born_ns(rig, "d/same") };
	removal_of(rig, &f);
	assert_int_equal(lstat(other, &st), 0);
	f = (struct removed){ "d", "other", &st, .born_ns = rig_born_ns(rig, "d/other") - 1 };
	removal_of(rig, &f);
	rig_reopen(rig);
	assert_int_equal(rig_intents(rig), 0);
	assert_int_equal(rig_state(rig, "d/same"), STATE_NONE);
	rig_assert_capture(rig, "d/other", 2);
	rig_free(rig);
}

/* It was passed by, went on to be there, and was archived: it is not removed any more. */
static void archived_since(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	struct state_of look;

	(void)state;
	rig_open(rig);
	rig_capture(rig, "d/a", 1);
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	look = rig_look(rig, "d/a");
	removal_of(rig, &(struct removed){ "d", "a", &look.cache, .dir_id = look.row.dir });
	rig_reopen(rig);
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	rig_check(rig);
	rig_free(rig);
}

static void intent_that_cannot_be_read(void **state)
{
	struct put_intent bad[] = {
		{ INTENT_UNLINK, "{" },
		{ INTENT_RENAME, "{\"from\":1}" },
		{ INTENT_RMDIR, "[]" },
	};
	struct rig *rig = rig_new(RIG_MEM, "");

	(void)state;
	rig_open(rig);
	for (int i = 0; i < 3; i++)
		assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, put_intent_run, &bad[i]),
				 0);
	rig_reopen(rig);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(released_over_local),
		cmocka_unit_test(archived_and_made_again),
		cmocka_unit_test(over_a_directory_with_names),
		cmocka_unit_test(removed_directory),
		cmocka_unit_test(directory_made_again),
		cmocka_unit_test(path_longer_than_the_kernel_takes),
		cmocka_unit_test(directory_that_is_a_symlink_now),
		cmocka_unit_test(refused_removal_is_kept),
		cmocka_unit_test(names_that_cannot_be_looked_at),
		cmocka_unit_test(undecided_and_a_part_that_was_put),
		cmocka_unit_test(number_given_again),
		cmocka_unit_test(archived_since),
		cmocka_unit_test(intent_that_cannot_be_read),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
