/* SPDX-License-Identifier: MIT */
/* Random transactions: see catalogue_world.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/catalogue_fixture.h"
#include "tests/unit/catalogue_world.h"

unsigned world_rnd(struct world *w, unsigned below)
{
	w->seed = w->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(w->seed >> 33) % below;
}

static dirid_t a_dir(struct world *w)
{
	return w->n_dirs ? w->dirs[world_rnd(w, (unsigned)w->n_dirs)] : ROW_ROOT_DIR;
}

static const char *a_name(struct world *w, char name[16])
{
	snprintf(name, 16, "\xc3%u\xff", world_rnd(w, 40));
	return name;
}

static int swap_dirs(struct tx *tx, struct world *w)
{
	dirid_t a = a_dir(w), b = a_dir(w);
	struct dir_row row_a, row_b;
	int r;

	if (a == b || tx_dir_get(tx, a, &row_a) < 0 || tx_dir_get(tx, b, &row_b) < 0)
		return 0;
	if (row_a.parent != row_b.parent)
		return 0;
	r = tx_dir_move(tx, a, row_a.parent, "");
	if (r == 0)
		r = tx_dir_move(tx, b, row_a.parent, row_a.name);
	if (r == 0)
		r = tx_dir_move(tx, a, row_a.parent, row_b.name);
	return r;
}

static int change_dir(struct tx *tx, struct world *w)
{
	struct dir_row row = { .parent = a_dir(w), .attr = { .mode = 040755 } };
	char name[16];
	dirid_t id;

	switch (world_rnd(w, 5)) {
	case 0:
		strcpy(row.name, a_name(w, name));
		if (w->n_dirs < 16 && tx_dir_put(tx, &row) == 0)
			w->dirs[w->n_dirs++] = row.id;
		return 0;
	case 1:
		id = a_dir(w);
		if (tx_dir_get(tx, id, &row) < 0)
			return 0;
		row.attr.mtime_ns = world_rnd(w, 1000);
		return tx_dir_put(tx, &row);
	case 2:
		tx_dir_move(tx, a_dir(w), a_dir(w), a_name(w, name));
		return 0;
	case 3:
		tx_dir_delete(tx, a_dir(w)); /* its id stays in dirs: dead ids are asked for, too */
		return 0;
	default:
		return swap_dirs(tx, w);
	}
}

/* ---- packs ---- */

static int lose(struct tx *tx, const struct file_row *row)
{
	return row->object == ROW_OBJECT_PACK
		       ? tx_pack_lose(tx, row->pack, 1, (int64_t)row->attr.size, 4711)
		       : 0;
}

/* row is about to point into a new pack, or one that is there. */
static int enter_pack(struct tx *tx, struct world *w, struct file_row *row)
{
	struct pack_row pack = { .id = 1 + world_rnd(w, (unsigned)w->n_packs + 1) };

	if (tx_pack_get(tx, pack.id, &pack) < 0) {
		pack.id = ++w->n_packs;
		pack.crc32c = world_rnd(w, 1000);
	}
	row->object = ROW_OBJECT_PACK;
	row->objdir = 0;
	row->pack = pack.id;
	row->pack_off = pack.data_bytes;
	pack.data_bytes += row->attr.size;
	pack.size_bytes = pack.data_bytes + 100;
	pack.live_bytes += (int64_t)row->attr.size;
	pack.files++;
	pack.due_ns = 0;
	return tx_pack_put(tx, &pack);
}

/* What a rewrite does to one row, or a drop to a pack. */
static int change_pack(struct tx *tx, struct world *w)
{
	uint64_t id = 1 + world_rnd(w, (unsigned)w->n_packs + 1);
	struct trash_row trash;
	struct pack_row pack;
	struct file_row row, old;
	char name[16];
	int r;

	switch (world_rnd(w, 3)) {
	case 0:
		return tx_pack_get(tx, id, &pack) == 0 && pack.files == 0 ? tx_pack_delete(tx, id)
									  : 0;
	case 1:
		if (tx_file_get(tx, a_dir(w), a_name(w, name), &row) < 0 || !row.pack)
			return 0;
		old = row;
		r = enter_pack(tx, w, &row);
		if (r == 0)
			r = tx_file_put(tx, &row);
		return r < 0 ? r : lose(tx, &old);
	default:
		if (tx_trash_get(tx, 1 + world_rnd(w, (unsigned)w->n_trash + 1), &trash) < 0)
			return 0;
		trash_row_fini(&trash);
		row = trash.file;
		if (!row.pack)
			return 0;
		r = enter_pack(tx, w, &row);
		if (r == 0)
			r = tx_trash_locate(tx, trash.id, row.pack, row.pack_off);
		return r < 0 ? r : lose(tx, &trash.file);
	}
}

/* ---- the others ---- */

static int change_trash(struct tx *tx, struct world *w)
{
	struct trash_row trash;
	int64_t id = 1 + world_rnd(w, (unsigned)w->n_trash + 1);
	struct file_row row;
	char name[16];
	int r = 0;

	if (world_rnd(w, 2) && tx_file_get(tx, a_dir(w), a_name(w, name), &row) == 0) {
		w->n_trash++;
		return tx_trash_file(tx, &row, world_rnd(w, 2) ? "some/path" : NULL, TRASH_REMOVED,
				     world_rnd(w, 100), NULL);
	}
	if (tx_trash_get(tx, id, &trash) < 0)
		return 0;
	trash_row_fini(&trash);
	if (world_rnd(w, 2) && tx_dir_get(tx, trash.file.dir, &(struct dir_row){ 0 }) == 0) {
		if (tx_file_get(tx, trash.file.dir, trash.file.name, &row) == 0)
			r = lose(tx, &row);
		if (r == 0)
			r = tx_file_put(tx, &trash.file); /* brought back */
	} else {
		r = lose(tx, &trash.file);
	}
	return r < 0 ? r : tx_trash_delete(tx, id);
}

static int change_event(struct tx *tx, struct world *w)
{
	struct event_row ev = { .sink = (int)world_rnd(w, 2),
				.kind = EVENT_ARCHIVED,
				.ino = world_rnd(w, 20),
				.name = "n",
				.path = world_rnd(w, 2) ? (char *)"p" : NULL };
	int64_t id = 1 + world_rnd(w, (unsigned)w->n_events + 1);

	switch (world_rnd(w, 3)) {
	case 0:
		w->n_events++;
		return tx_event_put(tx, &ev);
	case 1:
		ev.id = id;
		ev.parked = (int)world_rnd(w, 3);
		ev.tries = (int)world_rnd(w, 9);
		ev.error = world_rnd(w, 2) ? (char *)"why" : NULL;
		tx_event_update(tx, &ev);
		return 0;
	default:
		tx_event_delete(tx, id);
		return 0;
	}
}

static int new_file(struct tx *tx, struct world *w)
{
	struct file_row old, row;
	char name[16];
	int r;

	row = a_file(a_dir(w), a_name(w, name), (int)world_rnd(w, 10000));
	row.told = world_rnd(w, 2);
	if (tx_dir_get(tx, row.dir, &(struct dir_row){ 0 }) < 0)
		return 0;
	if (tx_file_get(tx, row.dir, row.name, &old) < 0)
		old.object = ROW_OBJECT_PATH;
	r = world_rnd(w, 2) ? enter_pack(tx, w, &row) : tx_path_id(tx, name, &row.objdir);
	if (r == 0)
		r = tx_file_put(tx, &row);
	return r < 0 ? r : lose(tx, &old);
}

static int change_file(struct tx *tx, struct world *w)
{
	char name[16], other[16];
	struct file_row row;
	int r;

	switch (world_rnd(w, 6)) {
	case 0:
		tx_file_move(tx, a_dir(w), a_name(w, name), a_dir(w), a_name(w, other));
		return 0;
	case 1:
		tx_file_swap(tx, a_dir(w), a_name(w, name), a_dir(w), a_name(w, other));
		return 0;
	case 2:
		if (tx_file_get(tx, a_dir(w), a_name(w, name), &row) < 0)
			return 0;
		r = tx_file_delete(tx, row.dir, row.name);
		return r < 0 ? r : lose(tx, &row);
	default:
		return new_file(tx, w);
	}
}

int world_change(struct tx *tx, void *arg)
{
	struct world *w = arg, before = *w;
	struct uid128 cache = { { (uint8_t)world_rnd(w, 3) } };
	int r = 0;

	for (unsigned n = 1 + world_rnd(w, 12); r == 0 && n > 0; n--) {
		switch (world_rnd(w, 9)) {
		case 8:
			r = change_pack(tx, w);
			break;
		case 0:
			r = change_dir(tx, w);
			break;
		case 1:
			r = change_trash(tx, w);
			break;
		case 2:
			r = change_event(tx, w);
			break;
		case 3:
			r = world_rnd(w, 8) ? 0 : tx_set_cache(tx, &cache);
			break;
		default:
			r = change_file(tx, w);
		}
	}
	if (r == 0 && world_rnd(w, 8) == 0)
		r = -ECANCELED;
	if (r < 0) {
		before.seed = w->seed;
		*w = before;
	}
	return r;
}
