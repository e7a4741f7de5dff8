/* SPDX-License-Identifier: MIT */
/* Nodes: found by name and number, kept by references, renamed, linked. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tier/node.h"

static int setup(void **state)
{
	struct tree *tree;

	assert_int_equal(tree_new(&tree), 0);
	*state = tree;
	return 0;
}

/* Each test puts what it got: only the root is left. */
static int teardown(void **state)
{
	assert_int_equal(tree_count(*state), 1);
	tree_free(*state);
	return 0;
}

static struct node *get(struct tree *tree, struct node *parent, const char *name, bool is_dir)
{
	struct node *node;

	assert_int_equal(node_get(tree, parent, name, is_dir, &node), 0);
	return node;
}

static struct node *walk(struct tree *tree, const char *path, bool is_dir)
{
	struct node *node;

	assert_int_equal(node_walk(tree, path, is_dir, &node), 0);
	return node;
}

static void assert_path(struct tree *tree, struct node *node, const char *path)
{
	char *is;

	assert_int_equal(node_path(tree, node, &is), 0);
	assert_string_equal(is, path);
	free(is);
}

static void assert_is(struct tree *tree, struct node *parent, const char *name, struct node *node)
{
	struct node *found = node_find(tree, parent, name);

	assert_ptr_equal(found, node);
	node_put(tree, found);
}

static void test_names(void **state)
{
	struct tree *tree = *state;
	struct node *root = tree_root(tree), *a, *b, *parent;
	char name[ROW_NAME_MAX + 1], *path, long_name[ROW_NAME_MAX + 2];

	assert_int_equal(node_ino(root), 1);
	assert_path(tree, root, "");
	assert_int_equal(node_name(tree, root, &parent, name), -ENOENT);
	assert_true(node_has_name(tree, root));
	assert_null(node_find(tree, root, "a"));

	b = walk(tree, "a/b", false);
	assert_path(tree, b, "a/b");
	a = node_find(tree, root, "a");
	assert_true(node_is_dir(a));
	assert_false(node_is_dir(b));
	assert_ptr_equal(get(tree, a, "b", false), b);
	node_put(tree, b);
	assert_int_equal(node_name(tree, b, &parent, name), 0);
	assert_ptr_equal(parent, a);
	assert_string_equal(name, "b");
	node_put(tree, parent);
	assert_int_equal(node_child_path(tree, a, "new", &path), 0);
	assert_string_equal(path, "a/new");
	free(path);
	assert_int_equal(node_child_path(tree, root, "new", &path), 0);
	assert_string_equal(path, "new");
	free(path);

	assert_int_equal(node_get(tree, a, "b", true, &parent), -ENOTDIR);
	assert_int_equal(node_get(tree, root, "a", false, &parent), -EISDIR);
	assert_int_equal(node_walk(tree, "a/b/c", false, &parent), -ENOTDIR);
	assert_int_equal(node_walk(tree, "a/../b", false, &parent), -EINVAL);
	assert_int_equal(node_walk(tree, "/a", false, &parent), -EINVAL);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[ROW_NAME_MAX + 1] = '\0';
	assert_int_equal(node_walk(tree, long_name, false, &parent), -ENAMETOOLONG);
	assert_int_equal(node_get(tree, root, long_name, false, &parent), -ENAMETOOLONG);
	long_name[ROW_NAME_MAX] = '\0';
	node_put(tree, walk(tree, long_name, false));

	/* a child keeps its parents */
	node_put(tree, a);
	assert_path(tree, b, "a/b");
	node_put(tree, b);
	assert_null(node_find(tree, root, "a"));
}

static void test_numbers(void **state)
{
	struct tree *tree = *state;
	struct node *root = tree_root(tree), *a = get(tree, root, "a", false), *found;

	assert_int_equal(node_ino(a), 0);
	assert_null(node_by_ino(tree, 7));
	assert_int_equal(node_set_ino(tree, a, 7), 7);
	assert_int_equal(node_set_ino(tree, a, 8), 7);
	found = node_by_ino(tree, 7);
	assert_ptr_equal(found, a);
	assert_null(node_by_ino(tree, 8));
	for (int i = 0; i < 10; i++)
		node_ref(a);
	node_put_n(tree, a, 11);
	assert_int_equal(tree_count(tree), 2);
	node_put(tree, a);
	assert_null(node_by_ino(tree, 7));
}

/* A file that was just made: whatever was known under its name is another. */
static void test_made(void **state)
{
	struct tree *tree = *state;
	struct node *root = tree_root(tree), *dir = get(tree, root, "d", true);
	struct node *seen = get(tree, dir, "a", false), *made, *again, *other;
	uint64_t changes = tree_changes(tree);

	/* who has only asked for the name means it */
	assert_int_equal(node_make(tree, dir, "a", false, 100, &made), 0);
	assert_ptr_equal(made, seen);
	assert_int_equal(node_ino(made), 100);
	assert_int_equal(tree_changes(tree), changes);
	again = node_by_ino(tree, 100);
	assert_ptr_equal(again, made);
	node_put(tree, again);
	node_put(tree, seen);

	/* what has a number was gone, unseen */
	assert_int_equal(node_make(tree, dir, "a", false, 101, &again), 0);
	assert_ptr_not_equal(again, made);
	assert_is(tree, dir, "a", again);
	assert_false(node_has_name(tree, made));
	assert_int_equal(node_ino(made), 100);
	assert_true(tree_changes(tree) != changes);

	/* and so is what is of the other kind */
	other = get(tree, dir, "b", false);
	assert_int_equal(node_make(tree, dir, "b", true, 102, &seen), 0);
	assert_true(node_is_dir(seen));
	assert_false(node_has_name(tree, other));
	node_put(tree, other);
	node_put(tree, seen);

	assert_int_equal(node_make(tree, dir, "c", false, 103, &other), 0);
	assert_path(tree, other, "d/c");
	node_put(tree, other);
	node_drop_name(tree, root, "d");
	assert_int_equal(node_make(tree, dir, "x", false, 104, &other), -ENOENT);
	assert_null(node_by_ino(tree, 104));
	node_put(tree, made);
	node_put(tree, again);
	node_put(tree, dir);
}

static void test_unlinked(void **state)
{
	struct tree *tree = *state;
	struct node *root = tree_root(tree), *d = get(tree, root, "d", true), *f, *again;
	uint64_t changes = tree_changes(tree);
	char *path;

	f = get(tree, d, "f", false);
	node_set_ino(tree, f, 5);
	node_drop_name(tree, d, "f");
	assert_int_not_equal(tree_changes(tree), changes);
	assert_false(node_has_name(tree, f));
	assert_int_equal(node_path(tree, f, &path), -ENOENT);
	assert_null(node_find(tree, d, "f"));
	again = node_by_ino(tree, 5);
	assert_ptr_equal(again, f);
	node_put(tree, again);
	again = get(tree, d, "f", false);
	assert_ptr_not_equal(again, f);
	node_put(tree, again);
	node_put(tree, f);

	f = get(tree, d, "f", false);
	node_drop_name(tree, root, "d");
	assert_int_equal(node_path(tree, f, &path), -ENOENT);
	assert_int_equal(node_get(tree, d, "g", false, &again), -ENOENT);
	node_put(tree, d);
	node_put(tree, f);
}

static void test_rename(void **state)
{
	struct tree *tree = *state;
	struct node *root = tree_root(tree), *a = walk(tree, "a", true), *b = walk(tree, "b", true);
	struct node *f = walk(tree, "a/x/f", false), *g = walk(tree, "b/g", false);
	struct node *x = node_find(tree, a, "x");

	tree_freeze(tree);
	tree_move_frozen(tree, a, "x", b, "a much longer name than it had");
	tree_thaw(tree);
	assert_path(tree, f, "b/a much longer name than it had/f");
	assert_null(node_find(tree, a, "x"));

	/* over another */
	tree_freeze(tree);
	tree_move_frozen(tree, x, "f", b, "g");
	tree_thaw(tree);
	assert_path(tree, f, "b/g");
	assert_false(node_has_name(tree, g));

	/* one that is not in memory over one that is; then nothing at all */
	tree_freeze(tree);
	tree_move_frozen(tree, a, "unknown", b, "g");
	tree_move_frozen(tree, a, "unknown", b, "g");
	tree_thaw(tree);
	assert_false(node_has_name(tree, f));
	node_put(tree, f);
	node_put(tree, g);

	f = get(tree, a, "f", false);
	g = get(tree, b, "g", false);
	tree_freeze(tree);
	tree_swap_frozen(tree, a, "f", b, "g");
	tree_thaw(tree);
	assert_is(tree, a, "f", g);
	assert_is(tree, b, "g", f);
	tree_freeze(tree);
	tree_swap_frozen(tree, a, "none", b, "g");
	tree_thaw(tree);
	assert_path(tree, f, "a/none");
	tree_freeze(tree);
	tree_swap_frozen(tree, root, "a", root, "b");
	tree_thaw(tree);
	assert_path(tree, f, "b/none");
	assert_path(tree, x, "a/a much longer name than it had");
	node_put(tree, f);
	node_put(tree, g);
	node_put(tree, x);
	node_put(tree, a);
	node_put(tree, b);
}

static void test_hard_links(void **state)
{
	struct tree *tree = *state;
	struct node *root = tree_root(tree), *d = walk(tree, "d", true), *other;
	struct node *f = get(tree, root, "f", false), *g = get(tree, d, "g", false);

	assert_null(node_by_cache_ino(tree, 99));
	assert_int_equal(node_add_name(tree, f, 99, root, "f"), 0);
	assert_int_equal(node_add_name(tree, f, 99, d, "f2"), 0);
	other = node_by_cache_ino(tree, 99);
	assert_ptr_equal(other, f);
	node_put(tree, other);
	assert_is(tree, d, "f2", f);
	assert_is(tree, root, "f", f);

	/* rename(2) of one link over the other does nothing */
	tree_freeze(tree);
	tree_move_frozen(tree, root, "f", d, "f2");
	tree_thaw(tree);
	assert_is(tree, root, "f", f);

	node_drop_name(tree, root, "f");
	assert_path(tree, f, "d/f2");
	assert_int_equal(node_add_name(tree, f, 99, d, "g"), 0);
	assert_false(node_has_name(tree, g));
	node_put(tree, g);

	/* a number given anew by the file system belongs to the newest */
	g = get(tree, root, "g", false);
	assert_int_equal(node_add_name(tree, g, 99, root, "g"), 0);
	other = node_by_cache_ino(tree, 99);
	assert_ptr_equal(other, g);
	node_put(tree, other);

	/* found no more once it leaves, or has no name */
	assert_true(node_try_claim(tree, g));
	assert_true(node_leave(tree, g));
	assert_null(node_by_cache_ino(tree, 99));
	node_unclaim(tree, g);
	assert_int_equal(node_add_name(tree, g, 98, root, "g"), 0);
	node_drop_name(tree, root, "g");
	assert_null(node_by_cache_ino(tree, 98));
	node_put(tree, g);
	node_put(tree, f);
	node_put(tree, d);
}

static void count_freed(struct node *dir, void *arg)
{
	assert_true(node_is_dir(dir));
	++*(int *)arg;
}

static bool count_each(struct node *node, void *arg)
{
	int *seen = arg;

	seen[node_ino(node)]++;
	return true;
}

static bool stop_at_ten(struct node *node, void *arg)
{
	(void)node;
	return ++*(int *)arg < 10;
}

static void test_many(void **state)
{
	enum { N = 50000 };
	struct tree *tree = *state;
	struct node *d = walk(tree, "dir", true), **nodes = calloc(N, sizeof(*nodes));
	int *seen = calloc(N + 10, sizeof(*seen)), freed = 0, ten = 0;
	char name[64];

	tree_on_free(tree, count_freed, &freed);
	node_set_ino(tree, d, 2);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "2017_12_15_15_56_49_%d_1.jpg", i);
		nodes[i] = get(tree, d, name, false);
		node_set_ino(tree, nodes[i], (uint64_t)i + 3);
		if (i % 100 == 0)
			node_drop_name(tree, d, name);
	}
	assert_int_equal(tree_count(tree), N + 2);
	tree_each(tree, count_each, seen);
	for (int i = 1; i < N + 3; i++)
		assert_int_equal(seen[i], 1);
	tree_each(tree, stop_at_ten, &ten);
	assert_int_equal(ten, 10);
	for (int i = 0; i < N; i += 7) {
		struct node *found = node_by_ino(tree, (uint64_t)i + 3);

		assert_ptr_equal(found, nodes[i]);
		node_put(tree, found);
		snprintf(name, sizeof(name), "2017_12_15_15_56_49_%d_1.jpg", i);
		assert_is(tree, d, name, i % 100 ? nodes[i] : NULL);
	}
	node_put(tree, d);
	assert_int_equal(freed, 0);
	for (int i = 0; i < N; i++)
		node_put(tree, nodes[i]);
	assert_int_equal(freed, 1);
	tree_on_free(tree, NULL, NULL);
	free(nodes);
	free(seen);
}

static void test_directory(void **state)
{
	struct tree *tree = *state;
	struct node *d = walk(tree, "d", true);
	struct own_times t = { .set = true, .mtime_ns = 1, .ctime_ns = 2, .c_mtime_ns = 3 };

	assert_int_equal(node_dirid(d), -1);
	assert_int_equal(node_learn_dirid(d, 0), 0);
	assert_int_equal(node_learn_dirid(d, 4), 0);
	node_set_dirid(d, 5);
	assert_int_equal(node_learn_dirid(d, 0), 5);
	assert_int_equal(node_dirid(d), 5);

	assert_false(node_own_times(tree, d).set);
	node_set_own_times(tree, d, &t);
	assert_int_equal(node_own_times(tree, d).c_mtime_ns, 3);
	t.set = false;
	node_set_own_times(tree, d, &t);
	assert_false(node_own_times(tree, d).set);
	t.set = true;
	node_set_own_times(tree, d, &t);
	assert_int_equal(node_user_changes(d), 0);
	node_user_changed(d);
	assert_int_equal(node_user_changes(d), 1);

	assert_false(node_own_times(tree, d).set);

	assert_null(node_fs(d));
	node_set_fs(d, &t);
	assert_ptr_equal(node_fs(d), &t);
	node_put(tree, d);
}

/* A tree is freed with whatever is still referenced. */
static void test_free_in_use(void **state)
{
	struct tree *tree;
	int freed = 0;

	(void)state;
	assert_int_equal(tree_new(&tree), 0);
	walk(tree, "a/b/c", false);
	node_set_ino(tree, node_find(tree, tree_root(tree), "a"), 3);
	node_set_ino(tree, walk(tree, "a/d", true), 4);
	node_set_ino(tree, walk(tree, "a/e", true), 5);
	assert_int_equal(node_add_name(tree, walk(tree, "f", false), 5, tree_root(tree), "g"), 0);
	node_drop_name(tree, tree_root(tree), "a");
	tree_on_free(tree, count_freed, &freed);
	tree_free(tree);
	assert_int_equal(freed, 5);
}

/* begin() with what the node has counted so far. */
static void own_begin(struct tree *tree, struct node *d, int64_t mtime_ns)
{
	node_own_begin(tree, d,
		       &(struct own_times){ .set = true,
					    .mtime_ns = mtime_ns,
					    .ctime_ns = mtime_ns,
					    .c_since_ns = mtime_ns,
					    .user_changes = node_user_changes(d) });
}

static void test_own_actions(void **state)
{
	struct tree *tree = *state;
	struct node *d = walk(tree, "d", true);
	struct stat now = { .st_mtim = { .tv_sec = 1 }, .st_ctim = { .tv_sec = 1 } };
	struct stat later = { .st_mtim = { .tv_sec = 2 }, .st_ctim = { .tv_sec = 2 } };
	struct own_times t;

	/* overlapping: the first one's are shown, the last one to end tells */
	own_begin(tree, d, 7);
	own_begin(tree, d, 8);
	assert_false(node_own_end(tree, d, true, &now, &t));
	t = node_own_times(tree, d);
	assert_true(t.set && t.known && t.mtime_ns == 7 && t.c_ctime_ns == OWN_UNDER_WAY);
	assert_true(node_own_end(tree, d, false, &now, &t));
	assert_int_equal(t.mtime_ns, 7);
	assert_int_equal(node_own_times(tree, d).c_ctime_ns, 1000000000);

	/* the last one looked before the other changed the directory */
	own_begin(tree, d, 7);
	own_begin(tree, d, 8);
	assert_false(node_own_end(tree, d, true, &later, &t));
	assert_true(node_own_end(tree, d, true, &now, &t));
	assert_int_equal(t.c_mtime_ns, 2000000000);
	assert_int_equal(t.c_ctime_ns, 2000000000);

	/* what a user changed meanwhile is shown, and the next action starts from there */
	own_begin(tree, d, 7);
	node_user_changed(d);
	assert_false(node_own_times(tree, d).set);
	own_begin(tree, d, 9);
	assert_int_equal(node_own_times(tree, d).mtime_ns, 9);
	assert_false(node_own_end(tree, d, true, &now, &t));
	node_user_changed(d);
	assert_false(node_own_end(tree, d, true, &now, &t));
	assert_false(node_own_times(tree, d).set);

	/* what a user sets meanwhile stays shown, whatever the cache's become */
	own_begin(tree, d, 7);
	node_set_own_times(tree, d, &(struct own_times){ .set = true, .mtime_ns = 3 });
	assert_int_equal(node_own_times(tree, d).c_ctime_ns, OWN_UNDER_WAY);
	assert_true(node_own_end(tree, d, true, &now, &t));
	assert_int_equal(t.mtime_ns, 3);

	/* nothing was done: nothing is hidden that was not; nothing is known: nothing is claimed */
	own_begin(tree, d, 1000000000);
	assert_false(node_own_end(tree, d, false, &now, &t));
	assert_false(node_own_times(tree, d).set);
	own_begin(tree, d, 7);
	assert_false(node_own_end(tree, d, true, NULL, &t));
	assert_false(node_own_times(tree, d).set);
	node_put(tree, d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unlinked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rename, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hard_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_actions, setup, teardown),
		cmocka_unit_test(test_free_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
