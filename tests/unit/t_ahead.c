/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead: who opens the files of a directory in order finds the next ones in
 * memory, nobody else costs the store anything, and what is loaded keeps its bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"
#include "tier/ahead.h"
#include "tier/blobs.h"

#define MAX_FILES 512
#define WINDOW 32 /* most objects one job loads */

struct world {
	struct rig *rig;
	unsigned n;
	struct file_row row[MAX_FILES];
	char *buf;
	unsigned hits;
};

static void name_of(unsigned i, char ret[16])
{
	snprintf(ret, 16, "f%04u", i);
}

static void write_files(struct rig *rig, const char *dir, unsigned n, size_t size)
{
	char *data = calloc(1, size);
	char path[96];

	assert_non_null(data);
	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/f%04u", dir, i);
		data[0] = (char)i;
		rig_write(rig, path, data, size);
	}
	rig_settle(rig, path);
	free(data);
}

static void archive_some(struct rig *rig, const char *dir, unsigned n)
{
	const char *names[MAX_FILES];
	char text[MAX_FILES][16];
	int result[MAX_FILES];

	for (unsigned i = 0; i < n; i++) {
		name_of(i, text[i]);
		names[i] = text[i];
	}
	assert_int_equal(rig_archive_names(rig, dir, names, n, result), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(result[i], 0);
}

/* n archived files in d; of them every step-th one is released. */
static struct world *world(unsigned n, unsigned step, size_t size, const char *opts)
{
	struct world *w = calloc(1, sizeof(*w));
	char path[96];

	assert_non_null(w);
	w->rig = rig_idle(opts);
	w->n = n;
	w->buf = malloc(size + 1);
	write_files(w->rig, "d", n, size);
	archive_some(w->rig, "d", n);
	rig_journalled(w->rig);
	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "d/f%04u", i);
		if (i % step == 0)
			assert_int_equal(rig_release(w->rig, path), 0);
		w->row[i] = rig_look(w->rig, path).row;
	}
	return w;
}

static void world_free(struct world *w)
{
	rig_free(w->rig);
	free(w->buf);
	free(w);
}

static struct blobs_counts counts(struct world *w)
{
	struct blobs_counts n;

	blobs_counts(w->rig->t->blobs, &n);
	return n;
}

/* Opened, and the job it may have started is over. */
static void opened(struct world *w, unsigned i)
{
	ahead_opened(w->rig->t, tree_root(w->rig->t->tree), &w->row[i]);
	rig_until(pool_load(w->rig->t->pool_store) == 0);
}

static void was_read(void *arg, int64_t n)
{
	_Atomic int64_t *to = arg;

	*to = n;
}

/* From memory? */
static bool read_one(struct world *w, unsigned i)
{
	const struct file_row *row = &w->row[i];
	_Atomic int64_t n = 0;

	if (!blobs_read(w->rig->t->blobs, object_number(row), row->pack_off, w->buf, row->attr.size,
			was_read, (void *)&n))
		return false;
	rig_until(n != 0);
	assert_int_equal(n, row->attr.size);
	assert_int_equal(w->buf[0], (char)i);
	w->hits++;
	return true;
}

static bool take(struct world *w, unsigned i)
{
	opened(w, i);
	return read_one(w, i);
}

/* ---- who reads in order ------------------------------------------------------------ */

static void in_order(void **state)
{
	struct world *w = world(100, 1, 1000, "pack_below=0");

	assert_false(take(w, 0));
	assert_int_equal(counts(w).loads, 0);
	assert_false(take(w, 1));
	assert_int_equal(counts(w).loads, WINDOW);
	for (unsigned i = 2; i < 100; i++)
		assert_true(take(w, i));
	assert_int_equal(counts(w).loads, 98);
	assert_int_equal(counts(w).unused, 0);
	assert_int_equal(counts(w).bytes, 0);
	world_free(w);
}

static void from_the_middle(void **state)
{
	struct world *w = world(100, 1, 1000, "pack_below=0");

	take(w, 60);
	take(w, 61);
	for (unsigned i = 62; i < 100; i++)
		assert_true(take(w, i));
	assert_int_equal(counts(w).loads, 38);
	world_free(w);
}

static void here_and_there(void **state)
{
	static const unsigned order[] = { 10, 300, 50, 350, 100, 399, 20, 200, 5, 90, 170 };
	struct world *w = world(400, 1, 100, "pack_below=0");

	for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		opened(w, order[i]);
	for (unsigned i = 399; i > 300; i--)
		opened(w, i);
	for (unsigned i = 0; i < 20; i++)
		opened(w, 42);
	assert_int_equal(counts(w).loads, 0);
	world_free(w);
}

/* A jump out of what is loaded ends it, the second file there begins it. */
static void a_jump(void **state)
{
	struct world *w = world(400, 1, 100, "pack_below=0");

	for (unsigned i = 0; i < 10; i++)
		take(w, i);
	assert_int_equal(counts(w).loads, WINDOW);
	opened(w, 300);
	assert_int_equal(counts(w).loads, WINDOW);
	opened(w, 301);
	assert_int_equal(counts(w).loads, 2 * WINDOW);
	assert_true(take(w, 302));
	world_free(w);
}

/* Where guesses were wrong it takes more of them in order; there, and not for ever. */
static void at_random_and_then_in_order(void **state)
{
	struct world *w = world(400, 1, 100, "pack_below=0");
	unsigned first;

	for (unsigned i = 0; i < 20; i++)
		for (unsigned k = 100 - i; k < 400; k += 50)
			opened(w, k);
	assert_int_equal(counts(w).loads, 0);
	opened(w, 0);
	opened(w, 1);
	opened(w, 2);
	assert_int_equal(counts(w).loads, 0);
	for (first = 3; counts(w).loads == 0; first++)
		opened(w, first);
	assert_in_range(first, 4, 7);
	for (unsigned i = first; i < 100; i++)
		assert_true(take(w, i));
	opened(w, 200);
	opened(w, 201);
	assert_true(take(w, 202));
	world_free(w);
}

/* What the kernel kept is opened, and no more: nobody looks for what comes next. */
static void kept_by_the_kernel(void **state)
{
	struct world *w = world(100, 1, 1000, "pack_below=0");
	struct node *node = tree_root(w->rig->t->tree);

	for (unsigned i = 0; i < 50; i++) {
		node_set_pages(node, w->row[i].attempt);
		opened(w, i);
	}
	assert_int_equal(counts(w).loads, 0);
	node_set_pages(node, 0);
	opened(w, 50); /* and here it ends */
	assert_int_equal(counts(w).loads, WINDOW);
	node_set_pages(node, w->row[51].attempt);
	for (unsigned i = 51; i < 50 + WINDOW; i++)
		assert_true(take(w, i));
	assert_in_range(counts(w).loads, WINDOW + 1, 2 * WINDOW);
	node_set_pages(node, 0);
	world_free(w);
}

static void some_left_out(void **state)
{
	struct world *w = world(100, 1, 100, "pack_below=0");

	opened(w, 0);
	for (unsigned i = 5; i < 100; i += 5)
		assert_int_equal(take(w, i), i > 5);
	world_free(w);
}

static void each_opened_twice(void **state)
{
	struct world *w = world(200, 1, 1000, "pack_below=0");

	for (unsigned i = 0; i < 100; i++) {
		opened(w, i);
		opened(w, i);
		assert_in_range(counts(w).loads, 0, i + 2 * WINDOW);
	}
	world_free(w);
}

static void several_readers(void **state)
{
	struct world *w = world(200, 1, 1000, "pack_below=0");

	/* 3 1 2 0 7 5 6 4 ... */
	for (unsigned i = 0; i < 200; i++)
		take(w, (i & ~3u) | (3 - ((i & 1) << 1 | (i >> 1 & 1))));
	assert_in_range(w->hits, 190, 198);
	assert_in_range(counts(w).loads, 190, 198);
	world_free(w);
}

static void again_from_the_start(void **state)
{
	struct world *w = world(100, 1, 1000, "pack_below=0");

	for (unsigned round = 0; round < 3; round++) {
		w->hits = 0;
		for (unsigned i = 0; i < 100; i++)
			take(w, i);
		assert_int_equal(w->hits, 98);
	}
	assert_int_equal(counts(w).loads, 3 * 98);
	world_free(w);
}

static void again_before_the_end(void **state)
{
	struct world *w = world(300, 1, 1000, "pack_below=0");

	for (unsigned i = 0; i < 150; i++)
		take(w, i);
	w->hits = 0;
	for (unsigned i = 0; i < 150; i++)
		take(w, i);
	assert_int_equal(w->hits, 148);
	world_free(w);
}

/* ---- what is loaded --------------------------------------------------------------- */

static void local_ones_are_not(void **state)
{
	struct world *w = world(400, 4, 1000, "pack_below=0");

	for (unsigned i = 0; i < 400; i += 4)
		assert_int_equal(take(w, i), i > 4);
	assert_int_equal(counts(w).loads, 98);
	world_free(w);
}

static void large_ones_are_not(void **state)
{
	struct world *w = world(6, 1, AHEAD_FILE_BYTES + 1, "");

	for (unsigned i = 0; i < 6; i++)
		assert_false(take(w, i));
	assert_int_equal(counts(w).loads, 0);
	world_free(w);
}

static void bytes_are_bounded(void **state)
{
	struct world *w = world(40, 1, 400 << 10, "");

	opened(w, 0);
	opened(w, 1);
	assert_int_equal(counts(w).loads, (8 << 20) / (400 << 10));
	for (unsigned i = 2; i < 40; i++) {
		assert_true(take(w, i));
		assert_in_range(counts(w).bytes, 0, 12 << 20);
	}
	assert_int_equal(counts(w).loads, 38);
	world_free(w);
}

static void a_small_read_cache(void **state)
{
	struct world *w = world(60, 1, 100 << 10, "read_cache=1M");

	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(take(w, i), i > 1);
		assert_in_range(counts(w).bytes, 0, 1 << 20);
	}
	assert_int_equal(counts(w).loads, 58);
	assert_int_equal(counts(w).unused, 0);
	world_free(w);
}

static void no_read_cache(void **state)
{
	struct world *w = world(10, 1, 1000, "read_cache=0");

	for (unsigned i = 0; i < 10; i++)
		assert_false(take(w, i));
	assert_int_equal(counts(w).loads, 0);
	world_free(w);
}

static void packs(void **state)
{
	struct world *w = world(200, 1, 1500, "pack_size=64K");

	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(take(w, i), i > 0); /* the second is in the same pack */
	assert_int_equal(counts(w).loads, (200 * 1500 + 65535) / 65536);
	assert_int_equal(counts(w).unused, 0);
	world_free(w);
}

static void packs_larger_than_the_read_cache(void **state)
{
	struct world *w = world(100, 1, 1500, "pack_size=64K,read_cache=80K");

	for (unsigned i = 0; i < 100; i++)
		opened(w, i);
	/* The last one is not full. */
	assert_in_range(counts(w).loads, 0, 1);
	world_free(w);
}

static void rows_that_left(void **state)
{
	struct world *w = world(40, 1, 1000, "pack_below=0");
	struct file_row gone[4];

	memcpy(gone, w->row, sizeof(gone));
	for (unsigned i = 0; i < 4; i++) {
		gone[i].dir = 4711; /* no directory has it */
		ahead_opened(w->rig->t, tree_root(w->rig->t->tree), &gone[i]);
		rig_until(pool_load(w->rig->t->pool_store) == 0);
	}
	assert_int_equal(counts(w).loads, 0);
	/* Names between which no row is. */
	strcpy(gone[0].name, "x1");
	strcpy(gone[1].name, "x2");
	for (unsigned i = 0; i < 2; i++) {
		gone[i].dir = w->row[0].dir;
		ahead_opened(w->rig->t, tree_root(w->rig->t->tree), &gone[i]);
		rig_until(pool_load(w->rig->t->pool_store) == 0);
	}
	assert_int_equal(counts(w).loads, 0);
	opened(w, 0);
	opened(w, 1);
	assert_true(take(w, 2));
	world_free(w);
}

static void a_store_that_fails(void **state)
{
	struct world *w = world(100, 1, 1000, "pack_below=0");

	rig_faults(w->rig, "get error EIO");
	for (unsigned i = 0; i < 50; i++)
		opened(w, i);
	assert_int_equal(counts(w).bytes, 0);
	rig_faults(w->rig, "");
	w->hits = 0;
	for (unsigned i = 50; i < 100; i++)
		take(w, i);
	assert_true(w->hits > 0);
	world_free(w);
}

/* ---- many at once ----------------------------------------------------------------- */

#define DIRS 70 /* more than there are streams */
#define FILES 6
#define THREADS 4
#define ROUNDS 300

struct crowd {
	struct rig *rig;
	struct file_row (*row)[FILES];
	unsigned seed;
};

static void *crowd_main(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned dir = (unsigned)rand_r(&c->seed) % DIRS;

		unsigned n = 2 + (unsigned)rand_r(&c->seed) % (FILES - 2);

		for (unsigned k = 0; k < n; k++)
			ahead_opened(c->rig->t, tree_root(c->rig->t->tree), &c->row[dir][k]);
	}
	return NULL;
}

/* Streams are taken for other directories while jobs run, and jobs while the tier closes. */
static void many_directories(void **state)
{
	struct rig *rig = rig_idle("pack_below=0,read_cache=16K");
	struct file_row row[DIRS][FILES];
	struct crowd c[THREADS];
	pthread_t t[THREADS];
	struct blobs_counts n;
	char path[64];
	bool over;

	for (unsigned d = 0; d < DIRS; d++) {
		snprintf(path, sizeof(path), "d%u", d);
		write_files(rig, path, FILES, 1000);
		archive_some(rig, path, FILES);
	}
	rig_journalled(rig);
	for (unsigned d = 0; d < DIRS; d++) {
		for (unsigned k = 0; k < FILES; k++) {
			snprintf(path, sizeof(path), "d%u/f%04u", d, k);
			assert_int_equal(rig_release(rig, path), 0);
			row[d][k] = rig_look(rig, path).row;
		}
	}
	rig_faults(rig, "get delay 1ms p 20");
	for (unsigned i = 0; i < THREADS; i++) {
		c[i] = (struct crowd){ .rig = rig, .row = row, .seed = i };
		assert_int_equal(pthread_create(&t[i], NULL, crowd_main, &c[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	do {
		over = pool_load(rig->t->pool_store) == 0;
		blobs_counts(rig->t->blobs, &n);
		assert_in_range(n.bytes, 0, 16 << 10);
	} while (n.loads == 0 && !over);
	assert_true(n.loads > 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(from_the_middle),
		cmocka_unit_test(here_and_there),
		cmocka_unit_test(a_jump),
		cmocka_unit_test(at_random_and_then_in_order),
		cmocka_unit_test(kept_by_the_kernel),
		cmocka_unit_test(some_left_out),
		cmocka_unit_test(each_opened_twice),
		cmocka_unit_test(several_readers),
		cmocka_unit_test(again_from_the_start),
		cmocka_unit_test(again_before_the_end),
		cmocka_unit_test(local_ones_are_not),
		cmocka_unit_test(large_ones_are_not),
		cmocka_unit_test(bytes_are_bounded),
		cmocka_unit_test(a_small_read_cache),
		cmocka_unit_test(no_read_cache),
		cmocka_unit_test(packs),
		cmocka_unit_test(packs_larger_than_the_read_cache),
		cmocka_unit_test(rows_that_left),
		cmocka_unit_test(a_store_that_fails),
		cmocka_unit_test(many_directories),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
