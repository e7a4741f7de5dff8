/* SPDX-License-Identifier: MIT */
/* Nodes: claimed in turn, left by those who hold no handle, and all of it at once by many. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "tier/node.h"

#define DEADLINE_MS 60000

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

static struct node *walk(struct tree *tree, const char *path, bool is_dir)
{
	struct node *node;

	assert_int_equal(node_walk(tree, path, is_dir, &node), 0);
	return node;
}

/* ---- claims -------------------------------------------------------------------- */

static void count_unclaims(struct node *node, void *arg)
{
	(void)node;
	++*(int *)arg;
}

static void test_claim(void **state)
{
	struct tree *tree = *state;
	struct node *a = walk(tree, "a", false), *b = walk(tree, "b", false);
	int n = 0;

	tree_on_unclaim(tree, count_unclaims, &n);
	node_claim(tree, a);
	assert_false(node_try_claim(tree, a));
	assert_false(node_try_claim_two(tree, b, a));
	assert_true(node_try_claim(tree, b));
	node_mark(tree, b);
	node_unclaim_two(tree, a, b);
	assert_int_equal(n, 1);
	node_claim_two(tree, b, b);
	node_unclaim_two(tree, b, b);
	node_claim_two(tree, a, NULL);
	node_unclaim_two(tree, a, NULL);
	assert_true(node_try_claim_two(tree, a, b));
	assert_int_equal(n, 1);

	assert_true(node_open_begin(tree, a, true, false));
	assert_true(node_open_begin(tree, a, false, false));
	assert_int_equal(node_nopen(tree, a), 2);
	assert_int_equal(node_nwrite(tree, a), 1);
	assert_false(node_leave(tree, a));
	node_open_end(tree, a, true);
	assert_int_equal(node_nwrite(tree, a), 0);
	node_open_end(tree, a, false);
	assert_true(node_leave(tree, a));
	assert_false(node_open_begin(tree, a, false, false));
	assert_true(node_open_begin(tree, b, false, false));
	node_open_end(tree, b, false);
	node_unclaim_two(tree, b, a);
	assert_true(node_open_begin(tree, a, false, false));
	node_open_end(tree, a, false);
	node_put(tree, a);
	node_put(tree, b);
	tree_on_unclaim(tree, NULL, NULL);
}

struct waiting {
	struct tree *tree;
	struct node *node;
	_Atomic int started;
	_Atomic int order; /* of those that got the claim */
};

static void *wait_for_claim(void *arg)
{
	struct waiting *w = arg;
	atomic_fetch_add(&w->started, 1);

	node_claim(w->tree, w->node);
	atomic_fetch_add(&w->order, 1);
	node_unclaim(w->tree, w->node);
	return NULL;
}

static void *wait_to_open(void *arg)
{
	struct waiting *w = arg;

	atomic_fetch_add(&w->started, 1);
	assert_true(node_open_begin(w->tree, w->node, false, true));
	atomic_fetch_add(&w->order, 1);
	node_open_end(w->tree, w->node, false);
	return NULL;
}

static void await(_Atomic int *n, int wanted)
{
	int64_t deadline = clock_mono_ms() + DEADLINE_MS;

	while (atomic_load(n) < wanted) {
		assert_true(clock_mono_ms() < deadline);
		sched_yield();
	}
}

static void test_waiting(void **state)
{
	struct tree *tree = *state;
	struct waiting w = { .tree = tree, .node = walk(tree, "a", false) };
	pthread_t threads[4];

	node_claim(tree, w.node);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_for_claim, &w), 0);
	await(&w.started, 4);
	assert_int_equal(atomic_load(&w.order), 0);
	node_unclaim(tree, w.node);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(w.order, 4);

	w.started = w.order = 0;
	node_claim(tree, w.node);
	assert_true(node_leave(tree, w.node));
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_to_open, &w), 0);
	await(&w.started, 4);
	assert_int_equal(atomic_load(&w.order), 0);
	node_unclaim(tree, w.node);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(w.order, 4);
	assert_int_equal(node_nopen(tree, w.node), 0);
	node_put(tree, w.node);
}

/* ---- everything at once --------------------------------------------------------- */

#define N_THREADS 4
#define N_NAMES 24
#define N_ROUNDS 4000

struct crowd {
	struct tree *tree;
	struct node *dirs[2];
	_Atomic unsigned seed;
	_Atomic uint64_t next_ino;
};

static bool touch(struct node *node, void *arg)
{
	(void)arg;
	return node_ino(node) != UINT64_MAX;
}

static void one_step(struct crowd *c, unsigned *seed)
{
	struct node *dir = c->dirs[rand_r(seed) % 2], *to = c->dirs[rand_r(seed) % 2], *node;
	char name[8], new_name[8], *path;
	int k = rand_r(seed) % N_NAMES;

	snprintf(name, sizeof(name), "%d", k);
	snprintf(new_name, sizeof(new_name), "%d", rand_r(seed) % N_NAMES);
	switch (rand_r(seed) % 8) {
	case 0:
		node_drop_name(c->tree, dir, name);
		return;
	case 1:
		tree_freeze(c->tree);
		tree_move_frozen(c->tree, dir, name, to, new_name);
		tree_thaw(c->tree);
		return;
	case 2:
		tree_freeze(c->tree);
		tree_swap_frozen(c->tree, dir, name, to, new_name);
		tree_thaw(c->tree);
		return;
	case 3:
		node = node_by_ino(c->tree, rand_r(seed) % (atomic_load(&c->next_ino) + 1));
		break;
	case 4:
		node = node_find(c->tree, dir, name);
		if (node && node_add_name(c->tree, node, (uint64_t)k, to, new_name) < 0)
			abort();
		break;
	case 5:
		tree_each(c->tree, touch, NULL);
		return;
	default:
		if (node_get(c->tree, dir, name, false, &node) < 0)
			abort();
		node_set_ino(c->tree, node, atomic_fetch_add(&c->next_ino, 1));
	}
	if (!node)
		return;
	if (node_path(c->tree, node, &path) == 0)
		free(path);
	if (node_open_begin(c->tree, node, false, false))
		node_open_end(c->tree, node, false);
	if (!node_is_dir(node)) {
		node_claim(c->tree, node);
		node_leave(c->tree, node);
		node_unclaim(c->tree, node);
	}
	node_put(c->tree, node);
}

static void *crowd_thread(void *arg)
{
	struct crowd *c = arg;
	unsigned seed = atomic_fetch_add(&c->seed, 1);

	for (int i = 0; i < N_ROUNDS; i++)
		one_step(c, &seed);
	return NULL;
}

static void test_crowd(void **state)
{
	struct tree *tree = *state;
	struct crowd c = { .tree = tree, .seed = 1, .next_ino = 10 };
	pthread_t threads[N_THREADS];

	c.dirs[0] = walk(tree, "a", true);
	c.dirs[1] = walk(tree, "b/c", true);
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_thread, &c), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	node_put(tree, c.dirs[0]);
	node_put(tree, c.dirs[1]);
}

struct counting {
	struct tree *tree;
	struct node *a, *b;
	int n; /* protected by the claims */
};

static void *count_claimed(void *arg)
{
	struct counting *c = arg;

	for (int i = 0; i < N_ROUNDS; i++) {
		if (i % 3)
			node_claim_two(c->tree, c->a, c->b);
		else
			while (!node_try_claim_two(c->tree, c->b, c->a))
				sched_yield();
		c->n++;
		node_unclaim_two(c->tree, c->a, c->b);
	}
	return NULL;
}

static void test_exclusion(void **state)
{
	struct tree *tree = *state;
	struct counting c = { tree, walk(tree, "a", false), walk(tree, "b", false), 0 };
	pthread_t threads[N_THREADS];

	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_claimed, &c), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.n, N_THREADS * N_ROUNDS);
	node_put(tree, c.a);
	node_put(tree, c.b);
}

/* ---- the order: files before directories ------------------------------------------ */

struct pair {
	struct tree *tree;
	struct node *dir, *file;
};

static void *claim_pair(void *arg)
{
	struct pair *p = arg;

	node_claim_two(p->tree, p->dir, p->file);
	node_unclaim_two(p->tree, p->dir, p->file);
	return NULL;
}

/* While somebody holds the directory, who wants both has the file and waits for it. */
static void check_pair(struct pair *p)
{
	int64_t deadline = clock_mono_ms() + DEADLINE_MS;
	pthread_t thread;

	node_claim(p->tree, p->dir);
	assert_int_equal(pthread_create(&thread, NULL, claim_pair, p), 0);
	while (node_try_claim(p->tree, p->file)) {
		node_unclaim(p->tree, p->file);
		assert_true(clock_mono_ms() < deadline);
		sched_yield();
	}
	node_unclaim(p->tree, p->dir);
	pthread_join(thread, NULL);
}

#define N_PAIRS 16

static void test_order(void **state)
{
	struct tree *tree = *state;
	struct node *dirs[N_PAIRS], *files[N_PAIRS];
	char name[16];

	for (int i = 0; i < N_PAIRS; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		dirs[i] = walk(tree, name, true);
		snprintf(name, sizeof(name), "f%d", i);
		files[i] = walk(tree, name, false);
	}
	/* whichever of the two lies first in memory */
	for (int i = 0; i < N_PAIRS; i++)
		for (int j = 0; j < N_PAIRS; j++)
			check_pair(&(struct pair){ tree, dirs[i], files[j] });
	for (int i = 0; i < N_PAIRS; i++) {
		node_put(tree, dirs[i]);
		node_put(tree, files[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_claim, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exclusion, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
