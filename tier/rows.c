/* SPDX-License-Identifier: MIT */
/*
 * What several transactions do to rows.
 *
 * Always true: a row that leaves is in the trash before it is gone, in the same
 * transaction; who was told of it will be told what became of it.
 */
#include "tier/rows.h"

#include <errno.h>
#include <string.h>

#include "lib/clock.h"
#include "tier/tier_int.h"

void rows_attr_from_stat(const struct stat *st, struct row_attr *ret)
{
	ret->mode = st->st_mode;
	ret->uid = st->st_uid;
	ret->gid = st->st_gid;
	ret->size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size;
	ret->atime_ns = ts_to_ns(st->st_atim);
	ret->mtime_ns = ts_to_ns(st->st_mtim);
	ret->ctime_ns = ts_to_ns(st->st_ctim);
}

void rows_attr_to_stat(const struct row_attr *a, struct stat *ret)
{
	ret->st_mode = a->mode;
	ret->st_uid = a->uid;
	ret->st_gid = a->gid;
	ret->st_size = S_ISDIR(a->mode) ? 4096 : (off_t)a->size;
	ret->st_nlink = S_ISDIR(a->mode) ? 2 : 1;
	ret->st_blksize = 4096;
	/* What it would occupy: du says the same, and tar's sparse check takes it for no hole. */
	ret->st_blocks = (blkcnt_t)((a->size + 4095) / 4096 * 8);
	ret->st_atim = ns_to_ts(a->atime_ns);
	ret->st_mtim = ns_to_ts(a->mtime_ns);
	ret->st_ctim = ns_to_ts(a->ctime_ns);
}

static int queue_event(struct tx *tx, const struct file_row *row, const char *path,
		       enum event_kind kind)
{
	int64_t now = clock_real_ns();
	struct event_row ev = {
		.kind = kind,
		.ino = row->ino,
		.dir = row->dir,
		.path = (char *)path,
		.first_ns = now,
		.next_ns = now,
	};

	memcpy(ev.name, row->name, sizeof(ev.name));
	return tx_event_put(tx, &ev);
}

int rows_event(struct tier *t, struct tx *tx, const struct file_row *row, const char *path,
	       enum event_kind kind)
{
	if (!t->sink)
		return 0;
	return queue_event(tx, row, kind == EVENT_ARCHIVED ? NULL : path, kind);
}

int rows_to_trash(struct tier *t, struct tx *tx, const struct file_row *row, const char *path,
		  enum trash_reason reason, enum event_kind event, int64_t *ret_id)
{
	int64_t grace_ms = reason == TRASH_UNSEEN ? t->conf->trash_grace_unseen
						  : t->conf->trash_grace;
	int r;

	r = tx_trash_file(tx, row, path, reason, clock_real_ns() + grace_ms * 1000000, ret_id);
	if (r == 0 && row->told && event)
		r = rows_event(t, tx, row, path, event);
	return r;
}

int rows_from_trash(struct tier *t, struct tx *tx, int64_t trash_id)
{
	struct trash_row trash;
	struct file_row there;
	int r;

	r = tx_trash_get(tx, trash_id, &trash);
	if (r < 0)
		return r;
	r = tx_file_get(tx, trash.file.dir, trash.file.name, &there);
	if (r == 0)
		r = -EEXIST;
	else if (r == -ENOENT)
		r = tx_file_put(tx, &trash.file);
	if (r == 0)
		r = tx_trash_delete(tx, trash_id);
	if (r == 0 && trash.file.told)
		r = rows_event(t, tx, &trash.file, NULL, EVENT_ARCHIVED);
	trash_row_fini(&trash);
	return r;
}

struct make_dir {
	dirid_t parent;
	const char *name;
	uint64_t ino;
	const struct stat *st;
	dirid_t id; /* out */
};

static int make_dir_run(struct tx *tx, void *arg)
{
	struct make_dir *m = arg;
	struct dir_row row = { .parent = m->parent, .ino = m->ino };
	int r;

	r = tx_dir_find(tx, m->parent, m->name, &row);
	if (r == 0) {
		m->id = row.id;
		return 0;
	}
	if (r != -ENOENT)
		return r;
	row = (struct dir_row){ .parent = m->parent, .ino = m->ino };
	strcpy(row.name, m->name);
	rows_attr_from_stat(m->st, &row.attr);
	row.c_mtime_ns = row.attr.mtime_ns;
	row.c_ctime_ns = row.attr.ctime_ns;
	r = tx_dir_put(tx, &row);
	m->id = row.id;
	return r;
}

/* The claimed directory gets its row; its parent has one. */
static int make_dir_claimed(struct tier *t, struct node *dir, struct node *parent, const char *name)
{
	struct make_dir m = { .name = name, .ino = node_ino(dir) };
	struct stat st;
	int r;

	r = state_dirid(t, dir, &m.id);
	if (r < 0 || m.id > 0)
		return r;
	m.parent = node_dirid(parent);
	if (m.parent <= 0)
		return -ENOENT; /* the directory moved meanwhile: the caller looks again */
	r = cache_stat(t->cache, parent, name, &st);
	if (r < 0)
		return r;
	if (m.ino == 0) {
		r = catalogue_next_number(t->cat, &m.ino);
		if (r < 0)
			return r;
		m.ino = node_set_ino(t->tree, dir, m.ino);
	}
	m.st = &st;
	listing_note_gained(t, parent, name);
	r = catalogue_write(t->cat, SYNC_NORMAL, make_dir_run, &m);
	if (r == 0)
		node_set_dirid(dir, m.id);
	return r;
}

int rows_make_dirs(struct tier *t, struct node *dir, dirid_t *ret)
{
	char name[ROW_NAME_MAX + 1], name2[ROW_NAME_MAX + 1];
	struct node *parent, *parent2;
	dirid_t id;
	int r;

	r = state_dirid(t, dir, &id);
	if (r < 0)
		return r;
	if (id > 0) {
		*ret = id;
		return 0;
	}
	r = node_name(t->tree, dir, &parent, name);
	if (r < 0)
		return r;
	r = rows_make_dirs(t, parent, &id);
	if (r < 0)
		goto out;

	node_claim(t->tree, dir);
	r = node_name(t->tree, dir, &parent2, name2);
	if (r == 0) {
		r = parent2 == parent && strcmp(name, name2) == 0
			    ? make_dir_claimed(t, dir, parent, name)
			    : -EAGAIN;
		node_put(t->tree, parent2);
	}
	node_unclaim(t->tree, dir);
	if (r == 0)
		*ret = node_dirid(dir);
out:
	node_put(t->tree, parent);
	if (r == -EAGAIN) /* renamed between: once more under its new name */
		return rows_make_dirs(t, dir, ret);
	return r;
}

int rows_sync(struct tier *t, struct node *dir)
{
	dirid_t id;
	int r;

	r = state_dirid(t, dir, &id);
	return r < 0 || id == 0 ? r : catalogue_sync(t->cat);
}
