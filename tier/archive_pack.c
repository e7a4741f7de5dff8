/* SPDX-License-Identifier: MIT */
/*
 * Many small files of one directory as one object.
 *
 *	.ebb/pack/<node>/<number>:	bytes of file, bytes of file, ...
 *					{"path":...,"offset":...,"size":...} LF	a line each
 *
 *	plan (numbers, named by the intent) -> fill: open -> closed, put -> judge
 *
 * Always true: a file is in a pack only once its bytes were read whole and it was the
 * same before and after; a pack is closed with at least two files, as one alone has an
 * object of its own.  The lines let a pack be understood without a catalogue, and tell
 * who rewrites it which rows to look for.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/window.h"
#include "tier/archive_int.h"
#include "tier/local.h"
#include "tier/pack.h"

/* ---- the plan ------------------------------------------------------------------ */

/* One that no pack has room for is not, whatever pack_below says. */
static bool is_small(const struct batch *b, const struct item *it)
{
	uint64_t size = (uint64_t)it->st.st_size;

	return size < b->t->conf->pack_below && size <= b->t->conf->pack_size;
}

static uint64_t small_bytes(const struct batch *b, size_t *ret_files)
{
	uint64_t bytes = 0;

	*ret_files = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (!item_is_in(&b->items[i]) || !is_small(b, &b->items[i]))
			continue;
		bytes += (uint64_t)b->items[i].st.st_size;
		++*ret_files;
	}
	return bytes;
}

int archive_plan_packs(struct batch *b)
{
	size_t files;
	uint64_t bytes = small_bytes(b, &files);
	unsigned n;
	int r = 0;

	if (files < 2)
		return 0;
	/* Each two that follow one another hold more than one full pack. */
	n = (unsigned)(2 * bytes / b->t->conf->pack_size) + 1;
	b->packs = calloc(n, sizeof(*b->packs));
	if (!b->packs)
		return -ENOMEM;
	for (; b->n_packs < n && r == 0; b->n_packs++) {
		struct pack *p = &b->packs[b->n_packs];

		r = catalogue_next_number(b->t->cat, &p->number);
		object_attempt(b->t, p->number, p->attempt_text, sizeof(p->attempt_text));
		p->part = (struct part){
			.b = b,
			.attempt = p->attempt_text,
			.path = b->path,
			.result = -EAGAIN,
			.proof = -EAGAIN,
		};
	}
	return r;
}

void archive_free_packs(struct batch *b)
{
	for (unsigned i = 0; i < b->n_packs; i++) {
		free(b->packs[i].part.key);
		free(b->packs[i].part.data);
		receipt_free(b->packs[i].part.receipt);
	}
	free(b->packs);
}

/* ---- filling ------------------------------------------------------------------- */

struct filling {
	struct batch *b;
	struct pack *open; /* NULL: none */
	unsigned next;
	uint64_t left; /* bytes of small files not looked at yet */
};

static int open_pack(struct filling *f)
{
	uint64_t most = f->b->t->conf->pack_size;
	struct pack *p = &f->b->packs[f->next];

	if (f->next >= f->b->n_packs)
		return -EAGAIN; /* a file grew: another time */
	p->room = f->left < most ? f->left : most;
	if (p->room < f->b->t->conf->pack_below)
		p->room = f->b->t->conf->pack_below;
	p->part.key = object_pack_key(f->b->t, p->number);
	if (!p->part.key)
		return -ENOMEM;
	window_enter(f->b->t->window, p->room);
	p->part.charged = p->room;
	p->part.data = malloc(p->room);
	if (!p->part.data) {
		window_leave(f->b->t->window, p->room);
		return -ENOMEM;
	}
	f->next++;
	f->open = p;
	return 0;
}

static void leave_all(struct pack *p, int result)
{
	struct batch *b = p->part.b;

	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].pack != p)
			continue;
		b->items[i].pack = NULL;
		if (result < 0 && item_is_in(&b->items[i]))
			item_out(&b->items[i], result);
	}
}

/* Nothing of it is put. */
static void give_up(struct pack *p, int result)
{
	leave_all(p, result);
	free(p->part.data);
	p->part.data = NULL;
	window_leave(p->part.b->t->window, p->part.charged);
}

static int append_lines(struct pack *p)
{
	struct batch *b = p->part.b;
	struct pack_line line;
	int r = 0;

	for (size_t i = 0; i < b->n && r == 0; i++) {
		const struct item *it = &b->items[i];

		if (it->pack != p)
			continue;
		line = (struct pack_line){
			.path = it->path,
			.offset = it->pack_off,
			.size = it->file->id.size,
			.crc32c = it->crc,
			.ino = it->ino,
			.mtime_ns = it->file->id.mtime_ns,
		};
		r = pack_line_append(&line, (char **)&p->part.data, &p->part.size, &p->room);
	}
	return r;
}

static void close_pack(struct filling *f)
{
	struct pack *p = f->open;
	int r;

	f->open = NULL;
	if (!p)
		return;
	if (p->n_files < 2) {
		give_up(p, 0);
		return;
	}
	p->part.size = p->data_bytes;
	r = f->b->store_error ? f->b->store_error : append_lines(p);
	if (r < 0) {
		give_up(p, r);
		return;
	}
	p->part.crc = crc32c(0, p->part.data, p->part.size);
	p->asked = true;
	part_put(&p->part);
}

static int add_file(struct filling *f, struct item *it)
{
	uint64_t size = (uint64_t)it->st.st_size;
	struct pack *p = f->open;
	ssize_t n;
	char *at;
	int r;

	if (p && p->data_bytes + size > f->b->t->conf->pack_size) {
		close_pack(f);
		p = NULL;
	}
	if (!p) {
		r = open_pack(f);
		if (r < 0)
			return r;
		p = f->open;
	}
	if (p->data_bytes + size > p->room)
		return -EAGAIN;
	at = (char *)p->part.data + p->data_bytes;
	n = local_read(it->fd, at, size, 0);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n != size)
		return -EAGAIN;
	r = item_unchanged(it);
	if (r < 0 || item_is_known(it, crc32c(0, at, size)))
		return r;
	it->pack = p;
	it->pack_off = p->data_bytes;
	it->object = ROW_OBJECT_PACK;
	p->data_bytes += size;
	p->n_files++;
	return 0;
}

void archive_fill_packs(struct batch *b)
{
	struct filling f = { .b = b };
	size_t files;

	if (b->n_packs == 0)
		return;
	f.left = small_bytes(b, &files);
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];
		int r;

		if (!item_is_in(it) || !is_small(b, it))
			continue;
		r = b->store_error ? b->store_error : add_file(&f, it);
		f.left -= (uint64_t)it->st.st_size;
		if (r < 0)
			item_out(it, r);
	}
	close_pack(&f);
}

/* ---- what became of them --------------------------------------------------------- */

void archive_judge_packs(struct batch *b)
{
	for (unsigned i = 0; i < b->n_packs; i++) {
		struct pack *p = &b->packs[i];

		if (!p->asked)
			continue;
		/* Nobody else has its number: an earlier answer got lost.  The receipt tells. */
		if (p->part.result == -EEXIST) {
			p->part.result = 0;
			p->part.landed = true;
		}
		p->maybe = p->part.landed || !put_did_nothing(p->part.result);
		if (p->part.result < 0)
			leave_all(p, p->part.result);
	}
}

int archive_commit_packs(struct batch *b, struct tx *tx)
{
	int64_t now = clock_real_ns();
	int r = 0;

	for (unsigned i = 0; i < b->n_packs && r == 0; i++) {
		const struct pack *p = &b->packs[i];
		struct pack_row row = {
			.id = p->number,
			.data_bytes = p->data_bytes,
			.size_bytes = p->part.size,
			.crc32c = p->part.crc,
			.files = p->used,
			.live_bytes = p->used_bytes,
			.due_ns = p->used ? 0 : now + b->t->conf->trash_grace * 1000000,
		};

		if (p->maybe)
			r = tx_pack_put(tx, &row);
	}
	return r;
}
