/* SPDX-License-Identifier: MIT */
/*
 * One file: under which key, in which parts, and whether its bytes are known already.
 *
 *	read -> the row's bytes: the row is refreshed	| nothing is written
 *	     -> a trash row's, proved: it comes back	|
 *	     -> put
 *
 * Always true: bytes wait for the window before they are read into memory; a file that
 * was not the same before and after reading is out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/window.h"
#include "tier/archive_int.h"
#include "tier/local.h"

/* What comes back from the trash must not be on the point of being dropped. */
#define REVIVE_MARGIN_NS (600 * NSEC_PER_SEC)

void item_row(const struct item *it, enum row_object object, struct file_row *ret)
{
	*ret = (struct file_row){
		.dir = it->b->dirid,
		.ino = it->ino,
		.object = object,
		.objdir = object == ROW_OBJECT_PACK ? 0 : it->b->objdir,
		.attempt = it->attempt,
		.id = it->file->id,
	};
	if (object == ROW_OBJECT_PACK) {
		ret->pack = it->pack->number;
		ret->pack_off = it->pack_off;
	}
	strcpy(ret->name, it->file->name);
	rows_attr_from_stat(&it->st, &ret->attr);
}

/* ---- one part --------------------------------------------------------------- */

/* On success the window holds its bytes. */
int part_read(struct part *p, int fd)
{
	struct window *w = p->b->t->window;
	ssize_t n;

	window_enter(w, p->size);
	p->charged = p->size;
	p->data = malloc(p->size + 1);
	n = p->data ? local_read(fd, p->data, p->size, (off_t)p->off) : -ENOMEM;
	if (n >= 0 && (uint64_t)n == p->size) {
		p->crc = crc32c(0, p->data, p->size);
		return 0;
	}
	free(p->data);
	p->data = NULL;
	window_leave(w, p->size);
	return n < 0 ? (int)n : -EAGAIN;
}

static void part_forget(struct part *p)
{
	free(p->data);
	p->data = NULL;
	window_leave(p->b->t->window, p->size);
}

void part_put(struct part *p)
{
	p->attrs = (struct store_attrs){
		.attempt = p->attempt,
		.path = p->path,
		.crc32c = p->crc,
	};
	batch_takeoff(p->b);
	store_put(p->b->t->store, p->key, p->data, p->size, &p->attrs, archive_on_put, p);
}

/* ---- one file --------------------------------------------------------------- */

int item_make_parts(struct item *it, enum row_object object)
{
	struct tier *t = it->b->t;
	struct file_row row;
	unsigned n;
	int r = 0;

	item_row(it, object, &row);
	n = object_count(&row);
	it->object = object;
	it->parts = calloc(n, sizeof(*it->parts));
	if (!it->parts)
		return -ENOMEM;
	for (unsigned i = 0; i < n && r == 0; i++, it->n_parts++) {
		struct part *p = &it->parts[i];

		p->b = it->b;
		p->attempt = it->attempt_text;
		p->path = it->path;
		p->result = p->proof = -EAGAIN;
		p->off = i * OBJECT_PART_BYTES;
		p->size = n == 1 ? row.attr.size : OBJECT_PART_BYTES;
		if (p->off + p->size > row.attr.size)
			p->size = row.attr.size - p->off;
		r = object_key(t, &row, i, &p->key);
	}
	return r;
}

void item_drop_parts(struct item *it)
{
	for (unsigned i = 0; i < it->n_parts; i++)
		free(it->parts[i].key);
	free(it->parts);
	it->parts = NULL;
	it->n_parts = 0;
}

/* A user's own .ebb: those keys are ours. */
static bool path_is_ours(const char *path)
{
	return strncmp(path, ".ebb", 4) == 0 && (path[4] == '/' || path[4] == '\0');
}

/* The version before this one has the key. */
static bool path_is_taken(const struct item *it)
{
	return it->has_old && it->row.object == ROW_OBJECT_PATH &&
	       it->row.objdir == it->b->objdir && !it->row.objname[0];
}

bool archive_key_fits(struct tier *t, const char *key)
{
	return !path_is_ours(key) && store_key_fits(t->store, key);
}

int item_choose_object(struct item *it)
{
	if ((uint64_t)it->st.st_size > OBJECT_PART_BYTES)
		return item_make_parts(it, ROW_OBJECT_PARTS);
	if (!path_is_taken(it)) {
		int r = item_make_parts(it, ROW_OBJECT_PATH);

		if (r < 0 || archive_key_fits(it->b->t, it->parts[0].key))
			return r;
		item_drop_parts(it);
	}
	return item_make_parts(it, ROW_OBJECT_ALT);
}

/* Is the object of this row there, whole?  Waits: few files come back. */
static int prove_trash(struct item *it, const struct file_row *row)
{
	struct tier *t = it->b->t;
	AUTO_FREE char *key = NULL;
	char attempt[STORE_ATTEMPT_MAX];
	struct receipt_want want = { .attempt = attempt };
	int r;

	if (row->object == ROW_OBJECT_PARTS)
		return -ENOENT; /* its parts' checksums are not known */
	r = object_key(t, row, 0, &key);
	if (r == 0)
		r = object_want(t, row, &want.size, &want.crc32c, attempt, sizeof(attempt));
	if (r < 0)
		return r;
	want.key = key;
	return store_prove_wait(t->store, &want, &it->proof);
}

/* A trash row of this file, with these bytes, that is sure to stay for the time we need. */
static int find_in_trash(struct item *it, uint32_t crc)
{
	struct trash_row trash;
	int r;

	r = cat_trash_find_same(it->b->t->cat, it->ino, (uint64_t)it->st.st_size, crc, &trash);
	if (r < 0)
		return r;
	if (trash.reason == TRASH_ORPHAN || trash.due_ns < clock_real_ns() + REVIVE_MARGIN_NS)
		r = -ENOENT;
	else
		r = prove_trash(it, &trash.file);
	if (r == 0) {
		it->row = trash.file;
		it->revive = trash.id;
	}
	trash_row_fini(&trash);
	return r;
}

bool item_is_known(struct item *it, uint32_t crc)
{
	it->crc = crc;
	if (it->has_old) {
		if (it->row.attr.size == (uint64_t)it->st.st_size && it->row.crc32c == crc)
			it->way = ITEM_REFRESH;
	} else if (it->had_number && find_in_trash(it, crc) == 0) {
		it->way = ITEM_REVIVE;
	}
	return it->way != ITEM_SEND;
}

/* A large file is read once more where that may spare writing it. */
static int large_is_known(struct item *it)
{
	uint32_t crc;
	int r;

	if (!it->has_old || it->row.attr.size != (uint64_t)it->st.st_size)
		return 0;
	r = local_crc(it->fd, (uint64_t)it->st.st_size, &crc);
	return r < 0 ? r : item_is_known(it, crc);
}

int item_unchanged(struct item *it)
{
	struct identity id;
	struct stat st;

	if (fstat(it->fd, &st) < 0)
		return -errno;
	id = cache_identity(&st);
	return identity_equal(&id, &it->file->id) && st.st_nlink == 1 ? 0 : -EAGAIN;
}

/* again: under another key, after the first was refused. */
int item_put(struct item *it, bool again)
{
	struct batch *b = it->b;
	int r = 0;

	if (it->n_parts > 1 && !again)
		r = large_is_known(it);
	for (unsigned i = 0; i < it->n_parts && r == 0; i++) {
		struct part *p = &it->parts[i];

		if (b->store_error)
			return b->store_error;
		r = part_read(p, it->fd);
		if (r < 0)
			return r;
		if (again && p->crc != it->crc)
			r = -EAGAIN;
		else if (it->n_parts == 1 && !again)
			r = item_is_known(it, p->crc);
		if (r == 0)
			part_put(p);
		else
			part_forget(p);
	}
	if (r == 0 && it->n_parts > 1) {
		it->crc = 0;
		for (unsigned i = 0; i < it->n_parts; i++)
			it->crc = crc32c_combine(it->crc, it->parts[i].crc, it->parts[i].size);
	}
	return r < 0 ? r : item_unchanged(it);
}
