/* SPDX-License-Identifier: MIT */
/*
 * What looking costs the catalogue, and that it is right all the same: what was read before
 * is believed exactly as long as nothing was committed since.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"
#include "tier/ns_int.h"

static int setup(void **state)
{
	return rig_setup(state, "");
}

static uint64_t selects(struct rig *rig)
{
	struct catalogue_work work;

	catalogue_work(rig->t->cat, &work);
	return work.selects;
}

/* The journal's thread selects, too, while it has something to write: rig_journalled() before. */
#define ASSERT_SELECTS(rig, n, call)                         \
	do {                                                 \
		uint64_t before_ = selects(rig);             \
		assert_int_equal(call, 0);                   \
		assert_int_equal(selects(rig) - before_, n); \
	} while (0)

static void released(struct rig *rig, const char *path, unsigned n)
{
	rig_capture(rig, path, n);
	assert_int_equal(rig_archive(rig, path), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, path), 0);
	rig_journalled(rig);
}

static int look(struct rig *rig, struct node *dir, const char *name, const struct row_seen *seen,
		struct stat *ret)
{
	struct node *node;
	int r = ns_lookup(rig->t, dir, name, seen, &node, ret);

	if (r == 0)
		node_put(rig->t->tree, node);
	return r;
}

/* ---- one statement --------------------------------------------------------------- */

static void a_name_is_one_statement(void **state)
{
	struct rig *rig = *state;
	struct node *dir;
	struct stat st;

	released(rig, "cam/d/a", 1);
	dir = rig_dir(rig, "cam/d");
	assert_int_equal(look(rig, dir, "none", NULL, &st), -ENOENT); /* its rows are found once */
	ASSERT_SELECTS(rig, 1, look(rig, dir, "a", NULL, &st));
	ASSERT_SELECTS(rig, 1, look(rig, dir, "none", NULL, &st) + ENOENT);
	node_put(rig->t->tree, dir);
	dir = rig_dir(rig, "cam");
	assert_int_equal(look(rig, dir, "none", NULL, &st), -ENOENT);
	ASSERT_SELECTS(rig, 1, look(rig, dir, "d", NULL, &st));
	assert_true(S_ISDIR(st.st_mode));
	node_put(rig->t->tree, dir);
}

static int shown(struct rig *rig, struct node *node, struct stat *ret)
{
	return ns_getattr(rig->t, node, -1, ret);
}

static void assert_same_times(const struct stat *a, const struct stat *b)
{
	assert_int_equal(ts_to_ns(a->st_mtim), ts_to_ns(b->st_mtim));
	assert_int_equal(ts_to_ns(a->st_ctim), ts_to_ns(b->st_ctim));
}

static void a_directory_asks_once(void **state)
{
	struct ns_setattr chmod = { .set = NS_SET_MODE, .mode = 0710, .fd = -1 };
	struct rig *rig = *state;
	struct stat before, st;
	struct node *dir;

	rig_capture(rig, "d/a", 1);
	released(rig, "d/b", 2);
	dir = rig_dir(rig, "d");
	assert_int_equal(shown(rig, dir, &before), 0);
	ASSERT_SELECTS(rig, 0, shown(rig, dir, &st));
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "d/a"), 0);
	rig_journalled(rig);
	ASSERT_SELECTS(rig, 0, shown(rig, dir, &st));
	assert_same_times(&st, &before);
	node_put(rig->t->tree, dir);

	/* a node that knows nothing asks its row, for what no cache can tell */
	rig_reopen(rig);
	rig_journalled(rig);
	dir = rig_dir(rig, "d");
	assert_int_equal(shown(rig, dir, &st), 0);
	assert_same_times(&st, &before);
	ASSERT_SELECTS(rig, 0, shown(rig, dir, &st));
	assert_same_times(&st, &before);

	assert_int_equal(ns_setattr(rig->t, dir, &chmod, true, &st), 0);
	rig_journalled(rig);
	ASSERT_SELECTS(rig, 0, shown(rig, dir, &st));
	assert_int_equal(st.st_mode, S_IFDIR | 0710);
	assert_int_equal(ts_to_ns(st.st_mtim), ts_to_ns(before.st_mtim));
	node_put(rig->t->tree, dir);
	rig_reopen(rig);
	dir = rig_dir(rig, "d");
	assert_int_equal(shown(rig, dir, &before), 0);
	assert_same_times(&st, &before);
	node_put(rig->t->tree, dir);
}

static void a_directory_without_row_asks_once(void **state)
{
	struct rig *rig = *state;
	struct node *dir;
	struct stat st;

	released(rig, "cam/a/1", 1);
	rig_capture(rig, "cam/b/1", 2);
	dir = rig_dir(rig, "cam/b");
	assert_int_equal(shown(rig, dir, &st), 0);
	ASSERT_SELECTS(rig, 0, shown(rig, dir, &st));
	node_put(rig->t->tree, dir);
	dir = rig_dir(rig, "");
	assert_int_equal(shown(rig, dir, &st), 0);
	ASSERT_SELECTS(rig, 0, shown(rig, dir, &st));
	node_put(rig->t->tree, dir);
}

/* Its row is all there is of a released one: it is asked each time. */
static void a_released_directory(void **state)
{
	struct ns_setattr chmod = { .set = NS_SET_MODE, .mode = 0710, .fd = -1 };
	struct rig *rig = *state;
	struct node *dir;
	struct stat st;

	released(rig, "d/a", 1);
	dir = rig_dir(rig, "d");
	assert_int_equal(shown(rig, dir, &st), 0);
	rig->conf.release_after = 0;
	assert_int_equal(release_dir(rig->t, dir), 0);
	assert_false(rig_is_local(rig, "d"));
	assert_int_equal(ns_setattr(rig->t, dir, &chmod, true, &st), 0);
	assert_int_equal(shown(rig, dir, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0710);
	assert_int_equal(ns_materialize_dir(rig->t, dir, true), 0);
	assert_int_equal(shown(rig, dir, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0710);
	node_put(rig->t->tree, dir);
}

/* A removal's times are in the row; what was made again meanwhile has those of before. */
static void made_again_while_a_name_goes(void **state)
{
	const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct rig *rig = *state;
	struct node *dir;
	struct stat st;
	char path[600];

	released(rig, "d/a", 1);
	dir = rig_dir(rig, "d");
	rig->conf.release_after = 0;
	assert_int_equal(release_dir(rig->t, dir), 0);
	assert_int_equal(look(rig, dir, "a", NULL, &st), 0); /* its row's number is known then */
	assert_true(user_times_in_row(rig->t, dir) > 0);
	assert_int_equal(ns_materialize_dir(rig->t, dir, true), 0);
	rig_path(rig, "d", path, sizeof(path));
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	user_action_done(rig->t, dir, MOVED_BY_COMMIT);
	assert_int_equal(shown(rig, dir, &st), 0);
	assert_true(st.st_mtim.tv_sec > 1000);
	node_put(rig->t->tree, dir);
}

/* ---- what a listing has read ---------------------------------------------------- */

struct open {
	struct node *dir;
	struct listing *l;
	struct list_entry e;
};

static struct open open_listing(struct rig *rig, const char *path)
{
	struct open o = { .dir = rig_dir(rig, path) };

	assert_int_equal(listing_open(rig->t, o.dir, &o.l), 0);
	return o;
}

/* The entry of this name: everything before it is passed. */
static void until(struct open *o, const char *name)
{
	do
		assert_int_equal(listing_next(o->l, o->e.off, &o->e), 1);
	while (strcmp(o->e.name, name) != 0);
}

static void close_listing(struct rig *rig, struct open *o)
{
	listing_close(o->l);
	node_put(rig->t->tree, o->dir);
}

static void listed_names_ask_nothing(void **state)
{
	struct rig *rig = *state;
	struct list_entry again;
	struct stat st, listed;
	struct open o;

	released(rig, "d/a", 1);
	released(rig, "d/b", 2);
	rig_capture(rig, "d/c", 3);
	rig_capture(rig, "d/local", 4);
	assert_int_equal(rig_archive(rig, "d/c"), 0);
	released(rig, "d/sub/x", 5);
	o = open_listing(rig, "d");
	for (const char *const *name = (const char *const[]){ "a", "b", "c", "sub", "local", NULL };
	     *name; name++) {
		until(&o, *name);
		ASSERT_SELECTS(rig, 0, look(rig, o.dir, *name, &o.e.seen, &listed));
		assert_int_equal(look(rig, o.dir, *name, NULL, &st), 0);
		if (strcmp(*name, "local") == 0) /* its number is its node's, which was forgotten */
			st.st_ino = listed.st_ino;
		assert_memory_equal(&st, &listed, sizeof(st));
		/* the kernel's buffer was full: it asks again */
		assert_int_equal(listing_next(o.l, o.e.off - 1, &again), 1);
		ASSERT_SELECTS(rig, 0, look(rig, o.dir, *name, &again.seen, &listed));
	}
	assert_int_equal(listing_next(o.l, o.e.off, &again), 0);
	assert_int_equal(listing_next(o.l, o.e.off - 1, &again), 1);
	assert_int_equal(look(rig, o.dir, "local", &again.seen, &listed), 0);
	close_listing(rig, &o);
}

static void listed_attributes_changed(void **state)
{
	struct ns_setattr chmod = { .set = NS_SET_MODE, .mode = 0600, .fd = -1 };
	struct rig *rig = *state;
	struct node *node;
	struct stat st;
	struct open o;

	released(rig, "d/a", 1);
	released(rig, "d/b", 2);
	o = open_listing(rig, "d");
	until(&o, "a");
	assert_int_equal(ns_lookup(rig->t, o.dir, "a", NULL, &node, &st), 0);
	assert_int_not_equal(st.st_mode & 07777, 0600);
	assert_int_equal(ns_setattr(rig->t, node, &chmod, true, &st), 0);
	node_put(rig->t->tree, node);
	assert_int_equal(look(rig, o.dir, "a", &o.e.seen, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	close_listing(rig, &o);
}

static void listed_names_gone_or_new(void **state)
{
	struct rig *rig = *state;
	struct stat st;
	struct open o;

	released(rig, "d/a", 1);
	released(rig, "d/b", 2);
	rig_capture(rig, "d/local", 3);
	o = open_listing(rig, "d");
	until(&o, "a");
	assert_int_equal(ns_unlink(rig->t, o.dir, "a", true), 0);
	assert_int_equal(look(rig, o.dir, "a", &o.e.seen, &st), -ENOENT);
	until(&o, "b");
	assert_int_equal(ns_rename(rig->t, o.dir, "b", o.dir, "moved", 0, true), 0);
	assert_int_equal(look(rig, o.dir, "b", &o.e.seen, &st), -ENOENT);
	until(&o, "local");
	assert_int_equal(rig_archive(rig, "d/local"), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "d/local"), 0);
	assert_int_equal(look(rig, o.dir, "local", &o.e.seen, &st), 0);
	assert_true(st.st_size > 0);
	close_listing(rig, &o);
}

struct looking {
	struct rig *rig;
	struct node *dir;
	struct node *node;
	int r;
};

static void *look_slowly(void *arg)
{
	struct looking *l = arg;
	struct stat st;

	l->r = ns_lookup(l->rig->t, l->dir, "a", NULL, &l->node, &st);
	return NULL;
}

/* It gets a row, and nobody remembers its node, after it was found to have none: one number. */
static void archived_while_it_is_looked_up(void **state)
{
	struct rig *rig = *state;
	struct looking l = { .rig = rig };
	char go[300], spec[400];
	pthread_t thread;

	rig_capture(rig, "d/a", 1);
	rig_settle(rig, "d/a");
	l.dir = rig_dir(rig, "d");
	snprintf(go, sizeof(go), "%s/go", rig->dir);
	snprintf(spec, sizeof(spec), "lookup.node=wait:%s", go);
	assert_int_equal(failpoint_init(spec), 0);
	assert_int_equal(pthread_create(&thread, NULL, look_slowly, &l), 0);
	poll(NULL, 0, 300); /* it waits there by now, or has nothing to be told */
	assert_int_equal(rig_archive(rig, "d/a"), 0);
	close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	pthread_join(thread, NULL);
	assert_int_equal(failpoint_init(NULL), 0);
	assert_int_equal(l.r, 0);
	assert_int_equal(node_ino(l.node), rig_look(rig, "d/a").row.ino);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "d/a"), 0);
	node_put(rig->t->tree, l.node);
	node_put(rig->t->tree, l.dir);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_name_is_one_statement),		 TEST(a_directory_asks_once),
		TEST(a_directory_without_row_asks_once), TEST(a_released_directory),
		TEST(made_again_while_a_name_goes),	 TEST(listed_names_ask_nothing),
		TEST(listed_attributes_changed),	 TEST(listed_names_gone_or_new),
		TEST(archived_while_it_is_looked_up),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
