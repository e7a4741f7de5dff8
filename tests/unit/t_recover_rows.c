/* SPDX-License-Identifier: MIT */
/*
 * The rows of a renaming that a kill interrupts: after start-up they say what the cache has,
 * and what was replaced is there again, row and all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/path.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

/* ---- every pair of files -------------------------------------------------------- */

enum has { HAS_NONE, HAS_LOCAL, HAS_ARCHIVED, HAS_RELEASED };
enum meanwhile { UNCHANGED, SOURCE_WRITTEN, TARGET_WRITTEN, N_MEANWHILE };

struct pair {
	char from[40], to[40];
	unsigned flags;
	enum has source, target;
	enum meanwhile meanwhile;
};

#define SOURCE_BYTES 1
#define TARGET_BYTES 2
#define OTHER_BYTES 3

static struct pair pairs[200];
static unsigned n_pairs;

/* Has the cache a part in it, and are there rows? */
static bool has_intent(const struct pair *p)
{
	bool rows = p->source >= HAS_ARCHIVED || p->target >= HAS_ARCHIVED;
	bool cache = (p->source == HAS_LOCAL || p->source == HAS_ARCHIVED) ||
		     (p->target == HAS_LOCAL || p->target == HAS_ARCHIVED);

	return rows && cache;
}

static bool is_possible(const struct pair *p)
{
	if ((p->flags & RENAME_NOREPLACE) && p->target != HAS_NONE)
		return false;
	if ((p->flags & RENAME_EXCHANGE) && p->target == HAS_NONE)
		return false;
	if (p->meanwhile == SOURCE_WRITTEN)
		return false;
	if (p->meanwhile == TARGET_WRITTEN && p->target != HAS_LOCAL && p->target != HAS_ARCHIVED)
		return false;
	return has_intent(p);
}

static void make_pairs(void)
{
	static const unsigned flags[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE };

	n_pairs = 0;
	for (unsigned n = 0; n < 3 * 3 * 4 * N_MEANWHILE; n++) {
		struct pair p = {
			.flags = flags[n % 3],
			.source = (enum has)(n / 3 % 3 + HAS_LOCAL),
			.target = (enum has)(n / 9 % 4),
			.meanwhile = (enum meanwhile)(n / 36),
		};

		if (!is_possible(&p))
			continue;
		snprintf(p.from, sizeof(p.from), "d/%03u.a", n);
		snprintf(p.to, sizeof(p.to), "d/%03u.b", n);
		pairs[n_pairs++] = p;
	}
}

static void make_files(struct rig *rig, enum has least, void (*act)(struct rig *, const char *))
{
	for (unsigned i = 0; i < n_pairs; i++) {
		if (pairs[i].source >= least)
			act(rig, pairs[i].from);
		if (pairs[i].target >= least)
			act(rig, pairs[i].to);
	}
}

static void write_one(struct rig *rig, const char *path)
{
	rig_capture(rig, path, path[strlen(path) - 1] == 'a' ? SOURCE_BYTES : TARGET_BYTES);
}

static void archive_one(struct rig *rig, const char *path)
{
	assert_int_equal(rig_archive(rig, path), 0);
}

static void release_one(struct rig *rig, const char *path)
{
	assert_int_equal(rig_release(rig, path), 0);
}

/* Archived as well: rows of the objects are what the store has, whatever the states are. */
static struct rig *rig_of_pairs(void)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	make_pairs();
	rig_open(rig);
	make_files(rig, HAS_LOCAL, write_one);
	make_files(rig, HAS_ARCHIVED, archive_one);
	rig_journalled(rig);
	make_files(rig, HAS_RELEASED, release_one);
	return rig;
}

/* Each pair is renamed, or its rows alone; then one of the files is written, in place. */
static void rename_pairs(struct rig *rig, bool done)
{
	struct node *dir = rig_dir(rig, "d");

	for (unsigned i = 0; i < n_pairs; i++) {
		const struct pair *p = &pairs[i];
		bool swapped = done && (p->flags & RENAME_EXCHANGE);
		int r = ns_rename(rig->t, dir, path_name(p->from), dir, path_name(p->to), p->flags,
				  true);

		if (r != (done ? 0 : -EIO))
			_exit(4);
		if (p->meanwhile == SOURCE_WRITTEN)
			rig_capture(rig, done ? p->to : p->from, OTHER_BYTES);
		if (p->meanwhile == TARGET_WRITTEN && (!done || swapped))
			rig_capture(rig, swapped ? p->from : p->to, OTHER_BYTES);
	}
	kill(getpid(), SIGKILL);
}

static void rename_rows_of_pairs(struct rig *rig)
{
	rename_pairs(rig, false);
}

static void rename_whole_pairs(struct rig *rig)
{
	rename_pairs(rig, true);
}

/* moved: a renaming has given the local copy another ctime, its bytes have to be compared. */
static void check_name(struct rig *rig, const char *name, enum has has, unsigned bytes,
		       bool written, bool moved)
{
	static const enum state states[] = { STATE_NONE, STATE_LOCAL, STATE_ARCHIVED,
					     STATE_RELEASED };
	enum state want = states[has], found = rig_state(rig, name);

	if (has == HAS_ARCHIVED && (written || (moved && found == STATE_CHANGED)))
		want = STATE_CHANGED;
	if (found != want)
		fail_msg("'%s' is %d instead of %d", name, found, want);
	if (has != HAS_NONE)
		rig_assert_capture(rig, name, written ? OTHER_BYTES : bytes);
}

static void check_not_done(struct rig *rig)
{
	for (unsigned i = 0; i < n_pairs; i++) {
		const struct pair *p = &pairs[i];

		check_name(rig, p->from, p->source, SOURCE_BYTES, p->meanwhile == SOURCE_WRITTEN,
			   false);
		check_name(rig, p->to, p->target, TARGET_BYTES, p->meanwhile == TARGET_WRITTEN,
			   false);
	}
	assert_int_equal(rig_trash(rig, NULL), 0);
	rig_check(rig);
}

static void check_done(struct rig *rig)
{
	for (unsigned i = 0; i < n_pairs; i++) {
		const struct pair *p = &pairs[i];
		bool exchange = p->flags & RENAME_EXCHANGE;

		check_name(rig, p->to, p->source, SOURCE_BYTES, p->meanwhile == SOURCE_WRITTEN,
			   true);
		check_name(rig, p->from, exchange ? p->target : HAS_NONE, TARGET_BYTES,
			   p->meanwhile == TARGET_WRITTEN, true);
	}
	rig_check(rig);
}

static void rows_follow_a_cache_that_was_not_changed(void **state)
{
	struct rig *rig = rig_of_pairs();

	(void)state;
	rig_killed(rig, "rename.commit=error:EIO", rename_rows_of_pairs);
	check_not_done(rig);
	rig_free(rig);
}

static void rows_follow_a_cache_that_was_changed(void **state)
{
	struct rig *rig = rig_of_pairs();

	(void)state;
	rig_killed(rig, "", rename_whole_pairs);
	check_done(rig);
	rig_free(rig);
}

static void nothing(struct rig *rig)
{
	(void)rig;
}

static void killed_again_and_again(void **state)
{
	struct rig *rig = rig_of_pairs();
	int before;

	(void)state;
	/* what is passed by in this process is left to the children */
	assert_int_equal(failpoint_init("recover.look=error:EIO"), 0);
	rig_killed(rig, "rename.commit=error:EIO", rename_rows_of_pairs);
	before = rig_intents(rig);
	for (int i = 0; i < 3; i++)
		rig_killed(rig, "recover.intent=kill@5", nothing);
	assert_int_equal(before, 16); /* as many as are counted */
	rig_failpoints(rig, NULL);
	check_not_done(rig);
	rig_free(rig);
}

/* ---- others came to the names in between ------------------------------------------- */

static void rename_top(struct rig *rig, const char *from, const char *to, unsigned flags)
{
	struct node *root = tree_root(rig->t->tree);

	ns_rename(rig->t, root, from, root, to, flags, true);
}

/* Another file, which has another number as the old one is still there. */
static void replace(struct rig *rig, const char *path, unsigned n)
{
	char from[600], to[600];

	rig_capture(rig, "new", n);
	rig_path(rig, "new", from, sizeof(from));
	rig_path(rig, path, to, sizeof(to));
	if (rename(from, to) < 0)
		_exit(5);
}

static void file(struct rig *rig, const char *path, unsigned n, enum has has)
{
	rig_capture(rig, path, n);
	if (has >= HAS_ARCHIVED)
		archive_one(rig, path);
	if (has == HAS_RELEASED) {
		rig_journalled(rig);
		release_one(rig, path);
	}
}

static void rename_and_replace_target(struct rig *rig)
{
	rename_top(rig, "a", "b", 0);
	replace(rig, "b", 3);
	kill(getpid(), SIGKILL);
}

/* Its row is all there is of it: it must not stay where it is hidden. */
static void released_source_and_a_new_target(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	file(rig, "a", 1, HAS_RELEASED);
	file(rig, "b", 2, HAS_ARCHIVED);
	rig_killed(rig, "rename.commit=error:EIO", rename_and_replace_target);
	assert_int_equal(rig_state(rig, "a"), STATE_RELEASED);
	rig_assert_capture(rig, "a", 1);
	assert_int_equal(rig_state(rig, "b"), STATE_CHANGED);
	rig_assert_capture(rig, "b", 3);
	rig_check(rig);
	rig_free(rig);
}

static void rename_and_restore(struct rig *rig)
{
	struct node *root = tree_root(rig->t->tree), *node;

	rename_top(rig, "a", "b", 0);
	if (node_get(rig->t->tree, root, "b", false, &node) < 0)
		_exit(6);
	restore_path(rig->t, node);
	_exit(7);
}

/* A copy that came back there hides nothing, although the row does not know it yet. */
static void released_source_that_came_back(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	file(rig, "a", 1, HAS_RELEASED);
	file(rig, "b", 2, HAS_ARCHIVED);
	rig_killed(rig, "restore.link=kill", rename_and_restore);
	assert_int_equal(rig_state(rig, "a"), STATE_NONE);
	rig_assert_capture(rig, "b", 1);
	assert_true(rig_look(rig, "b").has_row);
	rig_free(rig);
}

static void exchange_and_replace(struct rig *rig)
{
	rename_top(rig, "a", "b", RENAME_EXCHANGE);
	replace(rig, "a", 3);
	kill(getpid(), SIGKILL);
}

static void exchange_with_a_released_target(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	file(rig, "a", 1, HAS_ARCHIVED);
	file(rig, "b", 2, HAS_RELEASED);
	rig_killed(rig, "rename.commit=error:EIO", exchange_and_replace);
	assert_int_equal(rig_state(rig, "b"), STATE_RELEASED);
	rig_assert_capture(rig, "b", 2);
	assert_int_equal(rig_state(rig, "a"), STATE_CHANGED);
	rig_assert_capture(rig, "a", 3);
	rig_check(rig);
	rig_free(rig);
}

/* ---- directories ------------------------------------------------------------------ */

static void empty_dir_with_row(struct rig *rig, const char *dir)
{
	struct node *node;
	char path[100];

	snprintf(path, sizeof(path), "%s/x", dir);
	file(rig, path, 1, HAS_ARCHIVED);
	node = rig_dir(rig, dir);
	assert_int_equal(ns_unlink(rig->t, node, "x", true), 0);
	node_put(rig->t->tree, node);
}

static void replace_e(struct rig *rig)
{
	rename_top(rig, "d", "e", 0);
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
	file(rig, "d/a", 1, HAS_ARCHIVED);
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
	rename_top(rig, "d", "f", RENAME_EXCHANGE);
	kill(getpid(), SIGKILL);
}

/* f: a directory as well, or a file. */
static void exchanged_with(const char *f)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	rig_open(rig);
	file(rig, "d/a", 1, HAS_RELEASED);
	file(rig, f, 2, HAS_ARCHIVED);
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
static void rename_inner_and_outer(struct rig *rig)
{
	struct node *dir = rig_dir(rig, "d");
	char from[600], to[600];

	ns_rename(rig->t, dir, "a", dir, "b", 0, true);
	rename_top(rig, "d", "e", 0);
	/* the outer one: the rows were moved, the cache, too */
	rig_path(rig, "d", from, sizeof(from));
	rig_path(rig, "e", to, sizeof(to));
	if (rename(from, to) < 0)
		_exit(5);
	kill(getpid(), SIGKILL);
}

static void directory_renamed_around_it(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	(void)state;
	rig_open(rig);
	file(rig, "d/a", 1, HAS_RELEASED);
	file(rig, "d/b", 2, HAS_ARCHIVED);
	rig_killed(rig, "rename.commit=error:EIO", rename_inner_and_outer);
	assert_int_equal(rig_state(rig, "e/a"), STATE_RELEASED);
	rig_assert_capture(rig, "e/a", 1);
	rig_assert_capture(rig, "e/b", 2);
	assert_true(rig_look(rig, "e/b").has_row);
	assert_int_equal(rig_state(rig, "d"), STATE_NONE);
	rig_check(rig);
	rig_free(rig);
}

/* ---- refused by the cache ---------------------------------------------------------- */

static void refused(struct rig *rig)
{
	char path[600];

	rig_path(rig, "e/y", path, sizeof(path));
	rig_write(rig, "e/y", "y", 1); /* ENOTEMPTY: rows say it is empty */
	rename_top(rig, "d", "e", 0);
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
	file(rig, "d/a", 1, HAS_ARCHIVED);
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

/* ---- an older ebbfs's ---------------------------------------------------------------- */

struct old {
	struct node *root;
	char payload[2000];
	dirid_t dir;
};

static int old_run(struct tx *tx, void *arg)
{
	struct old *o = arg;
	int64_t id;
	int r;

	r = tx_file_swap(tx, ROW_ROOT_DIR, "a", ROW_ROOT_DIR, "b");
	if (r == 0)
		r = tx_file_move(tx, ROW_ROOT_DIR, "x", ROW_ROOT_DIR, "y");
	return r < 0 ? r : tx_intent_put(tx, INTENT_RENAME, o->payload, &id);
}

static int old_name(struct rig *rig, const char *key, const char *name, char *buf, size_t size)
{
	struct state_of look = rig_look(rig, name);

	if (!look.has_cache)
		return snprintf(buf, size, "\"%s\":{\"dir\":\"\",\"name\":\"%s\"}", key, name);
	return snprintf(buf, size,
			"\"%s\":{\"dir\":\"\",\"name\":\"%s\",\"is_dir\":false,\"ino\":%llu,"
			"\"size\":%llu,\"mtime\":%lld,\"ctime\":%lld}",
			key, name, (unsigned long long)look.cache.st_ino,
			(unsigned long long)look.cache.st_size,
			(long long)ts_to_ns(look.cache.st_mtim),
			(long long)ts_to_ns(look.cache.st_ctim));
}

static void old_payload(struct rig *rig, struct old *o, const char *from, const char *to,
			unsigned flags)
{
	size_t size = sizeof(o->payload);
	int n = snprintf(o->payload, size, "{");

	n += old_name(rig, "from", from, o->payload + n, size - (size_t)n);
	n += snprintf(o->payload + n, size - (size_t)n, ",");
	n += old_name(rig, "to", to, o->payload + n, size - (size_t)n);
	snprintf(o->payload + n, size - (size_t)n,
		 ",\"flags\":%u,\"moved\":%s,\"from_id\":1,\"to_id\":1}", flags,
		 flags ? "false" : "true");
}

static int intent_run(struct tx *tx, void *arg)
{
	struct old *o = arg;
	int64_t id;

	return tx_intent_put(tx, INTENT_RENAME, o->payload, &id);
}

static void intents_of_an_older_ebbfs(void **state)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");
	struct old swapped = { 0 }, moved = { 0 };

	(void)state;
	rig_open(rig);
	file(rig, "a", 1, HAS_ARCHIVED);
	file(rig, "b", 2, HAS_RELEASED);
	file(rig, "x", 3, HAS_ARCHIVED);
	old_payload(rig, &swapped, "a", "b", RENAME_EXCHANGE);
	old_payload(rig, &moved, "x", "y", 0);
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, old_run, &swapped), 0);
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, intent_run, &moved), 0);
	rig_reopen(rig);
	assert_int_equal(rig_state(rig, "a"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "b"), STATE_RELEASED);
	assert_int_equal(rig_state(rig, "x"), STATE_ARCHIVED);
	assert_int_equal(rig_state(rig, "y"), STATE_NONE);
	rig_check(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_follow_a_cache_that_was_not_changed),
		cmocka_unit_test(rows_follow_a_cache_that_was_changed),
		cmocka_unit_test(killed_again_and_again),
		cmocka_unit_test(released_source_and_a_new_target),
		cmocka_unit_test(released_source_that_came_back),
		cmocka_unit_test(exchange_with_a_released_target),
		cmocka_unit_test(replaced_directory_in_cache),
		cmocka_unit_test(replaced_directory_released),
		cmocka_unit_test(exchanged_directories),
		cmocka_unit_test(exchanged_directory_and_file),
		cmocka_unit_test(directory_renamed_around_it),
		cmocka_unit_test(refused_and_killed),
		cmocka_unit_test(refused_and_the_catalogue_failed),
		cmocka_unit_test(intents_of_an_older_ebbfs),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
