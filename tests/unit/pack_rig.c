/* SPDX-License-Identifier: MIT */
/* Shared by the tests of packs: see pack_rig.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/path.h"
#include "tests/unit/pack_rig.h"
#include "tier/ns.h"
#include "tier/pack.h"

#define MAX_FILES 100

struct rig *pack_rig(enum rig_store store)
{
	struct rig *rig = rig_new(store, "pack_below=64K,trash_grace=0,trash_grace_unseen=0,"
					 "store_timeout=2m,reserve=0");

	rig_open(rig);
	return rig;
}

uint64_t pack_archive(struct rig *rig, const char *dir, unsigned n)
{
	char text[MAX_FILES][12], path[200], bytes[PACK_FILE_BYTES] = "";
	const char *names[MAX_FILES];
	int result[MAX_FILES];
	uint64_t pack = 0;

	assert_true(n <= MAX_FILES);
	for (unsigned i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "%u", i);
		names[i] = text[i];
		snprintf(path, sizeof(path), "%s/%u", dir, i);
		snprintf(bytes, sizeof(bytes), "this is %s", path);
		rig_write(rig, path, bytes, sizeof(bytes));
	}
	rig_settle(rig, path);
	assert_int_equal(rig_archive_names(rig, dir, names, n, result), 0);
	for (unsigned i = 0; i < n; i++) {
		struct file_row row;

		assert_int_equal(result[i], 0);
		snprintf(path, sizeof(path), "%s/%u", dir, i);
		row = rig_look(rig, path).row;
		assert_int_equal(row.object, ROW_OBJECT_PACK);
		assert_true(pack == 0 || pack == row.pack);
		pack = row.pack;
	}
	return pack;
}

static struct node *dir_of(struct rig *rig, const char *path)
{
	AUTO_FREE char *dir = path_dir(path);

	return rig_dir(rig, dir);
}

void pack_unlink(struct rig *rig, const char *path)
{
	struct node *dir = dir_of(rig, path);

	assert_int_equal(ns_unlink(rig->t, dir, path_name(path), true), 0);
	node_put(rig->t->tree, dir);
}

void pack_open_for_writing(struct rig *rig, const char *path)
{
	struct remote *remote;
	struct node *node;
	int fd;

	assert_int_equal(node_walk(rig->t->tree, path, false, &node), 0);
	assert_int_equal(ns_open(rig->t, node, O_RDWR, true, &fd, &remote), 0);
	close(fd);
	node_open_end(rig->t->tree, node, true);
	node_put(rig->t->tree, node);
}

void pack_rename(struct rig *rig, const char *from, const char *to)
{
	struct node *a = dir_of(rig, from), *b = dir_of(rig, to);

	assert_int_equal(ns_rename(rig->t, a, path_name(from), b, path_name(to), 0, true), 0);
	node_put(rig->t->tree, a);
	node_put(rig->t->tree, b);
}

void pack_drop_files(struct rig *rig, const char *dir, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		char path[200];

		snprintf(path, sizeof(path), "%s/%u", dir, i);
		pack_unlink(rig, path);
	}
	rig_journalled(rig);
	assert_int_equal(drop_now(rig->t, NULL, 0), to - from);
}

int64_t pack_tidy(struct rig *rig)
{
	rig_journalled(rig);
	return packs_tidy(rig->t);
}

void pack_check(struct rig *rig)
{
	rig_reopen(rig);
	rig_check(rig);
}

bool pack_is_known(struct rig *rig, uint64_t number)
{
	struct pack_row row;
	int r = cat_pack_get(rig->t->cat, number, &row);

	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

struct pack_row pack_get(struct rig *rig, uint64_t number)
{
	struct pack_row row;

	assert_int_equal(cat_pack_get(rig->t->cat, number, &row), 0);
	return row;
}

bool pack_is_stored(struct rig *rig, uint64_t number)
{
	AUTO_FREE char *key = object_pack_key(rig->t, number);

	return rig_has_object(rig, key);
}

static int put_row(struct tx *tx, void *arg)
{
	return tx_pack_put(tx, arg);
}

static void put_due(struct rig *rig, uint64_t number, int64_t due_ns)
{
	struct pack_row row = pack_get(rig, number);

	row.due_ns = due_ns;
	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, put_row, &row), 0);
}

void pack_make_due(struct rig *rig, uint64_t number)
{
	put_due(rig, number, clock_real_ns());
}

void pack_put_off(struct rig *rig, uint64_t number)
{
	put_due(rig, number, clock_real_ns() + 3600 * NSEC_PER_SEC);
}
