/* SPDX-License-Identifier: MIT */
/*
 * Directories whose renaming a kill interrupts, or the cache refuses: one row each, with all
 * that is below it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

/* ---- interrupted ------------------------------------------------------------------ */

static void empty_dir_with_row(struct rig *rig, const char *dir)
{
	struct node *node;
	char path[100];

	snprintf(path, sizeof(path), "%s/x", dir);
	rig_file(rig, path, 1, false);
	node = rig_dir(rig, dir);
	assert_int_equal(ns_unlink(rig->t, node, "x", true), 0);
	node_put(rig->t->tree, node);
}

static void replace_e(struct rig *rig)
{
	rig_rename(rig, "d", "e", 0);
	kill(getpid(), SIGKILL);
}

static void assert_dir_is(struct rig *rig, const char *path, const struct state_of *was)
{
	struct state_of now = rig_look(rig, path);

	assert_true(now.has_row);
	assert_int_equal(now.has_cache, was->has_cache);
	assert_int_equal(now.dir_row.id, was->dir_row.id);
	assert_int_equal(now.dir_row.ino, was->dir_row.ino);
	assert_memory_equal(&now.dir_row.attr, &was->dir_row.attr, sizeof(now.dir_row.attr));
	assert_int_equal(now.dir_row.c_ctime_ns, was->dir_row.c_ctime_ns);
}

/* in_cache: the replaced directory is; else it is released, and its row all there is. */
static void replaced_directory(bool in_cache, const char *spec)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	struct state_of d, e;
	char path[600];

	rig_open(rig);
	empty_dir_with_row(rig, "e");
	rig_file(rig, "d/a", 1, false);
	rig_path(rig, "e", path, sizeof(path));
	if (!in_cache)
		assert_int_equal(rmdir(path), 0);
	d = rig_look(rig, "d");
	e = rig_look(rig, "e");
	rig_killed(rig, spec, replace_e);
	assert_dir_is(rig, "d", &d);
	assert_dir_is(rig, "e", &e);
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

static void replaced_directory_in_cache(void **state)
{
	(void)state;
	replaced_directory(true, "rename.commit=kill");
}

static void replaced_directory_released(void **state)
{
	(void)state;
	replaced_directory(false, "rename.commit=kill");
}

static void exchange_d_and_f(struct rig *rig)
{
	rig_rename(rig, "d", "f", RENAME_EXCHANGE);
	kill(getpid(), SIGKILL);
}

/* f: a directory as well, or a file. */
static void exchanged_with(const char *f)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	rig_open(rig);
	rig_file(rig, "d/a", 1, true);
	rig_file(rig, f, 2, false);
	rig_killed(rig, "rename.commit=kill", exchange_d_and_f);
	assert_int_equal(rig_state(rig, "d/a"), STATE_RELEASED);
	rig_assert_capture(rig, "d/a", 1);
	assert_int_equal(rig_state(rig, f), STATE_ARCHIVED);
	rig_check(rig);
	rig_free(rig);
}

static void exchanged_directories(void **state)
{
	(void)state;
	exchanged_with("f/b");
}

static void exchanged_directory_and_file(void **state)
{
	(void)state;
	exchanged_with("f");
}

/* The inner one is not done, the directory around it is renamed meanwhile. */
static void inner_and_outer(struct rig *rig, bool made_again)
{
	struct node *dir = rig_dir(rig, "d");
	char from[600], to[600];

	ns_rename(rig->t, dir, "a", dir, "b", 0, true);
	rig_rename(rig, "d", "e", 0);
	/* of the outer one the cache was changed, too */
	rig_path(rig, "d", from, sizeof(from));
	rig_path(rig, "e", to, sizeof(to));
	if (rename(from, to) < 0)
		_exit(5);
	if (made_again)
		rig_capture(rig, "d/c", 4);
	kill(getpid(), SIGKILL);
}

static void rename_inner_and_outer(struct rig *rig)
{
	inner_and_outer(rig, false);
}

/* A directory has the name again: it is another. */
static void rename_and_make_again(struct rig *rig)
{
	inner_and_outer(rig, true);
}

static void renamed_around_it(void (*body)(struct rig *rig), enum state new_d)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	rig_open(rig);
	rig_file(rig, "d/a", 1, true);
	rig_file(rig, "d/b", 2, false);
	rig_killed(rig, "rename.commit=error:EIO", body);
	assert_int_equal(rig_state(rig, "e/a"), STATE_RELEASED);
	rig_assert_capture(rig, "e/a", 1);
	rig_assert_capture(rig, "e/b", 2);
	assert_true(rig_look(rig, "e/b").has_row);
	assert_int_equal(rig_state(rig, "d"), new_d);
	rig_check(rig);
	rig_free(rig);
}

static void directory_renamed_around_it(void **state)
{
	(void)state;
	renamed_around_it(rename_inner_and_outer, STATE_NONE);
}

static void directory_renamed_and_made_again(void **state)
{
	(void)state;
	renamed_around_it(rename_and_make_again, STATE_LOCAL);
}

/* ---- refused by the cache ---------------------------------------------------------- */

static void refused(struct rig *rig)
{
	char path[600];

	rig_path(rig, "e/y", path, sizeof(path));
	rig_write(rig, "e/y", "y", 1); /* ENOTEMPTY: rows say it is empty */
	rig_rename(rig, "d", "e", 0);
	if (!catalogue_is_readonly(rig->t->cat))
		_exit(8);
	kill(getpid(), SIGKILL);
}

/* The user was told: it must not happen behind his back, once the way is free. */
static void refused_and_not_taken_back(const char *spec)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	struct state_of d, e;

	rig_open(rig);
	empty_dir_with_row(rig, "e");
	rig_file(rig, "d/a", 1, false);
	d = rig_look(rig, "d");
	e = rig_look(rig, "e");
	rig_killed(rig, spec, refused);
	assert_dir_is(rig, "d", &d);
	assert_dir_is(rig, "e", &e);
	assert_int_equal(rig_state(rig, "d/a"), STATE_ARCHIVED);
	assert_int_equal(rig_intents(rig), 0);
	rig_free(rig);
}

static void refused_and_killed(void **state)
{
	(void)state;
	refused_and_not_taken_back("rename.refused=kill");
}

static void refused_and_the_catalogue_failed(void **state)
{
	(void)state;
	refused_and_not_taken_back("rename.refused=error:EIO");
}

/* ---- numbers that are given again ----------------------------------------------------- */

struct moved {
	char payload[1000];
	dirid_t dir;
};

static int moved_dir_run(struct tx *tx, void *arg)
{
	struct moved *m = arg;
	int64_t id;
	int r = tx_dir_move(tx, m->dir, ROW_ROOT_DIR, "e");

	return r < 0 ? r : tx_intent_put(tx, INTENT_RENAME, m->payload, &id);
}

/* d was renamed to e and released there; another one is made as d. */
static void directory_with_the_number_of_the_renamed(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	struct moved m = { 0 };
	struct state_of d;

	(void)state;
	rig_open(rig);
	if (rig_born_ns(rig, "") == 0)
		skip();
	rig_file(rig, "d/a", 1, false);
	rig_capture(rig, "d/b", 2);
	d = rig_look(rig, "d");
	m.dir = d.dir_row.id;
	snprintf(m.payload, sizeof(m.payload),
		 "{\"from\":{\"dir\":\"\",\"name\":\"d\",\"is_dir\":true,\"ino\":%llu,"
		 "\"born\":1},\"to\":{\"dir\":\"\",\"name\":\"e\"},\"flags\":0,"
		 "\"from_id\":1,\"to_id\":1,\"rows\":{\"from\":[2,%lld],\"to\":[0,0]}}",
		 (unsigned long long)d.cache.st_ino, (long long)m.dir);
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, moved_dir_run, &m), 0);
	rig_reopen(rig);
	assert_int_equal(rig_state(rig, "e"), STATE_RELEASED);
	assert_int_equal(rig_state(rig, "e/a"), STATE_RELEASED);
	rig_assert_capture(rig, "e/a", 1);
	assert_int_equal(rig_state(rig, "d/b"), STATE_LOCAL);
	rig_check(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replaced_directory_in_cache),
		cmocka_unit_test(replaced_directory_released),
		cmocka_unit_test(exchanged_directories),
		cmocka_unit_test(exchanged_directory_and_file),
		cmocka_unit_test(directory_renamed_around_it),
		cmocka_unit_test(directory_renamed_and_made_again),
		cmocka_unit_test(refused_and_killed),
		cmocka_unit_test(refused_and_the_catalogue_failed),
		cmocka_unit_test(directory_with_the_number_of_the_renamed),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
