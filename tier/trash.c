/* SPDX-License-Identifier: MIT */
/*
 * Bringing back from the trash.
 *
 * Always true: the trash row leaves in the transaction in which the file row comes, so
 * that an object never has neither; the name is claimed, and was found free
 * under the claim.
 */
#include "tier/trash.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/path.h"
#include "tier/ns_int.h"

#define PAGE_ROWS 64
#define MARGIN_NS (30 * NSEC_PER_SEC) /* what is due so soon may be dropped while it comes back */

struct back {
	struct tier *t;	      /* borrowed */
	struct trash_row row; /* owned */
	const char *name;     /* borrowed from row.path */
	struct node *dir;     /* counted */
	struct node *node;    /* counted, claimed by bring_claimed's caller */
	dirid_t dirid;
	uint64_t ino; /* the row gets this number; 0: it cannot come back as a row */
	char *err;
	size_t size;
};

static int refuse(struct back *b, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct back *b, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b->err, b->size, fmt, ap);
	va_end(ap);
	return r;
}

static bool can_come_back(const struct trash_row *row)
{
	return row->reason != TRASH_ORPHAN && row->path && row->path[0];
}

int trash_find(struct tier *t, const char *path, int64_t *ret_id)
{
	AUTO_FREE struct trash_row *rows = calloc(PAGE_ROWS, sizeof(*rows));
	int64_t after = 0, found = 0;
	int n;

	if (!rows)
		return -ENOMEM;
	while ((n = cat_trash_after(t->cat, after, rows, PAGE_ROWS)) > 0) {
		after = rows[n - 1].id;
		for (int i = 0; i < n; i++) {
			if (can_come_back(&rows[i]) && strcmp(rows[i].path, path) == 0)
				found = rows[i].id;
			trash_row_fini(&rows[i]);
		}
	}
	if (n < 0)
		return n;
	if (!found)
		return -ENOENT;
	*ret_id = found;
	return 0;
}

static int load(struct back *b, int64_t id)
{
	int n;

	if (id < 1)
		return refuse(b, -ENOENT, "there is no such entry in the trash");
	n = cat_trash_after(b->t->cat, id - 1, &b->row, 1);
	if (n < 0)
		return refuse(b, n, "the catalogue cannot be read: %s", strerror(-n));
	if (n == 1 && b->row.id != id)
		trash_row_fini(&b->row);
	if (n == 0 || b->row.id != id)
		return refuse(b, -ENOENT,
			      "there is no such entry in the trash (it may have been "
			      "dropped: see ebbctl trash list)");
	if (!can_come_back(&b->row))
		return refuse(b, -ENODATA,
			      "it is left over from an unfinished archiving and has no "
			      "name to come back to");
	if (b->row.due_ns < clock_real_ns() + MARGIN_NS)
		return refuse(b, -ENODATA, "its time is over and it is about to be dropped");
	return 0;
}

/* ---- where it was --------------------------------------------------------------- */

static int find_dir(struct back *b)
{
	AUTO_FREE char *dir_path = path_dir(b->row.path);
	struct state_of look;
	int r;

	if (!dir_path)
		return refuse(b, -ENOMEM, "out of memory");
	b->name = path_name(b->row.path);
	r = node_walk(b->t->tree, dir_path, true, &b->dir);
	if (r == 0)
		r = state_look_node(b->t, b->dir, &look);
	if (r == -ENOENT || r == -ENOTDIR || r == -EISDIR ||
	    (r == 0 && (look.state == STATE_NONE || !look.is_dir)))
		return refuse(b, -ENOENT, "its directory '%s' is gone: make it first", dir_path);
	if (r == 0)
		r = rows_make_dirs(b->t, b->dir, &b->dirid);
	if (r == 0)
		r = node_get(b->t->tree, b->dir, b->name, false, &b->node);
	if (r == -EISDIR)
		return refuse(b, -EEXIST, "a directory has its name now");
	return r < 0 ? refuse(b, r, "its directory cannot be used: %s", strerror(-r)) : 0;
}

/* The number it may have again; 0: a copy has to be made. */
static int choose_ino(struct back *b)
{
	const struct file_row *file = &b->row.file;
	struct node *other;

	if (file->object == ROW_OBJECT_PATH || file->object == ROW_OBJECT_PACK)
		return catalogue_next_number(b->t->cat, &b->ino);
	if (b->row.reason != TRASH_REMOVED)
		return 0;
	other = node_by_ino(b->t->tree, file->ino);
	if (other)
		node_put(b->t->tree, other);
	else
		b->ino = file->ino;
	return 0;
}

/* ---- coming back ---------------------------------------------------------------- */

static int back_run(struct tx *tx, void *arg)
{
	struct back *b = arg;
	struct trash_row now;
	struct file_row row;
	int r;

	r = tx_trash_get(tx, b->row.id, &now);
	if (r < 0)
		return r;
	row = now.file;
	r = can_come_back(&now) ? 0 : -ENODATA;
	trash_row_fini(&now);
	if (r < 0)
		return r;
	/* The object keeps its name where the file's is another now. */
	if (!row.objname[0] && strcmp(row.name, b->name) != 0)
		strcpy(row.objname, row.name);
	row.dir = b->dirid;
	strcpy(row.name, b->name);
	row.ino = b->ino;
	r = tx_file_put(tx, &row);
	if (r == 0)
		r = tx_trash_delete(tx, b->row.id);
	if (r == 0 && row.told)
		r = rows_event(b->t, tx, &row, NULL, EVENT_ARCHIVED);
	return r;
}

static int row_back(struct back *b)
{
	int r;

	listing_note_gained(b->t, b->dir, b->name);
	r = catalogue_write(b->t->cat, SYNC_FULL, back_run, b);
	if (r == 0)
		user_action_done(b->t, b->dir, MOVED_BY_NOBODY);
	if (r == 0 && b->row.file.told)
		notify_kick(b->t);
	if (r == -ENOENT || r == -ENODATA)
		return refuse(b, r, "it was dropped meanwhile");
	return r < 0 ? refuse(b, r, "the catalogue refuses it: %s", strerror(-r)) : 0;
}

static int copy_back(struct back *b)
{
	int r = restore_claimed(b->t, b->node, &b->row.file, false, false);

	if (r < 0)
		return refuse(b, r, "its bytes cannot be copied: %s", strerror(-r));
	user_action_done(b->t, b->dir, MOVED_BY_NOBODY);
	reaper_touch(b->t, b->dir);
	return 0;
}

static int bring_claimed(struct back *b)
{
	struct state_of look;
	int r;

	r = state_look(b->t, b->dir, b->name, &look);
	if (r < 0)
		return refuse(b, r, "its name cannot be looked up: %s", strerror(-r));
	if (look.state != STATE_NONE)
		return refuse(b, -EEXIST, "its name is taken: rename what has it first");
	r = choose_ino(b);
	if (r < 0)
		return refuse(b, r, "the catalogue refuses it: %s", strerror(-r));
	return b->ino ? row_back(b) : copy_back(b);
}

int trash_bring_back(struct tier *t, int64_t id, char **ret_path, char *err, size_t size)
{
	struct back b = { .t = t, .err = err, .size = size };
	int r;

	r = load(&b, id);
	if (r < 0)
		return r;
	r = find_dir(&b);
	if (r == 0) {
		node_claim(t->tree, b.node);
		r = bring_claimed(&b);
		node_unclaim(t->tree, b.node);
	}
	if (b.node)
		node_put(t->tree, b.node);
	if (b.dir)
		node_put(t->tree, b.dir);
	if (r == 0)
		*ret_path = TAKE_PTR(b.row.path);
	trash_row_fini(&b.row);
	return r;
}
