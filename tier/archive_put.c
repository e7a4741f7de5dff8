/* SPDX-License-Identifier: MIT */
/*
 * Writing a batch's objects.
 *
 *	put as <path> ---------------------------------------> prove
 *	   '--taken, impossible--> put as .ebb/o/<node>/<ino>-<attempt> -^
 *
 * Always true: a put that may have happened is remembered in maybe_*, also when it
 * failed; a key that is taken is ours only if the object names this very attempt, and may
 * be ours until the store has said whose it is: an operation that was sent again finds what
 * its first time wrote.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/failpoint.h"
#include "lib/window.h"
#include "tier/archive_int.h"

/* ---- answers ---------------------------------------------------------------- */

/* This key cannot be had: there is another one. */
static bool key_is_impossible(int r)
{
	return r == -ENAMETOOLONG || r == -EINVAL || r == -ENOTDIR || r == -EISDIR;
}

bool put_did_nothing(int r)
{
	return r == -ENOSPC || r == -EDQUOT || r == -EACCES || r == -EFBIG || r == -ENOMEM ||
	       key_is_impossible(r);
}

/* No file of this batch will fare better. */
static bool store_is_out(int r)
{
	return r == -ENOSPC || r == -EDQUOT || r == -EACCES || r == -ETIMEDOUT;
}

void archive_on_put(void *arg, int result)
{
	struct part *p = arg;
	struct batch *b = p->b;

	p->landed = result == 0;
	if (result == 0)
		result = failpoint(ARCHIVE_PUT);
	else if (store_is_out(result))
		b->store_error = result;
	p->result = result;
	free(p->data);
	p->data = NULL;
	if (result == 0) {
		window_give(b->t->window, p->charged);
		part_prove(p);
	} else {
		window_leave(b->t->window, p->charged);
		batch_landed(b);
	}
}

/* What became of the puts: 0, -EEXIST and the like (another key), or the file's error. */
static int put_result(struct item *it)
{
	bool maybe = false;
	int r = 0;

	for (unsigned i = 0; i < it->n_parts; i++) {
		struct part *p = &it->parts[i];

		if (p->result < 0 && p->result != -EAGAIN && r == 0)
			r = p->result;
		maybe = maybe || p->landed ||
			(p->result < 0 && p->result != -EAGAIN && !put_did_nothing(p->result));
	}
	if (it->object == ROW_OBJECT_PATH)
		it->maybe_path = it->maybe_path || maybe;
	else
		it->maybe_alt = it->maybe_alt || maybe;
	return r;
}

/* ---- the batch -------------------------------------------------------------- */

static void on_stat(void *arg, int result)
{
	struct part *p = arg;

	p->result = result;
	batch_landed(p->b);
}

/* Of the keys that are taken: which by this very attempt, whose answer got lost? */
static void ask_whose(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];

		for (unsigned k = 0; item_is_in(it) && k < it->n_parts; k++) {
			if (it->parts[k].result != -EEXIST)
				continue;
			batch_takeoff(b);
			store_stat(b->t->store, it->parts[k].key, &it->parts[k].stat, on_stat,
				   &it->parts[k]);
		}
	}
	batch_wait_landed(b);
}

/* 0: they are ours; 1: another key is needed; -errno. */
static int judge_taken(struct item *it)
{
	for (unsigned i = 0; i < it->n_parts; i++) {
		struct part *p = &it->parts[i];

		if (p->result < 0 && p->result != -ENOENT)
			return p->result;
		if (p->landed)
			continue;
		if (p->result == -ENOENT || strcmp(p->stat.attempt, it->attempt_text) != 0) {
			if (it->object != ROW_OBJECT_PATH)
				return -EIO;
			it->maybe_path = false; /* a path is one object: another's */
			return 1;
		}
		p->landed = true;
	}
	return 0;
}

static int put_under_alternate_key(struct item *it)
{
	int r;

	item_drop_parts(it);
	r = item_make_parts(it, ROW_OBJECT_ALT);
	return r < 0 ? r : item_put(it, true);
}

/* taken: results of the first round; the others have theirs. */
static void second_round(struct batch *b, const int *first)
{
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];
		int r = first[i];

		if (!item_is_in(it) || r == 0)
			continue;
		if (r == -EEXIST)
			r = judge_taken(it);
		else
			r = 1;
		item_out(it, r == 1 ? put_under_alternate_key(it) : r);
	}
	batch_wait_landed(b);
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];

		if (first[i] != 0 && it->object == ROW_OBJECT_ALT) {
			int r = put_result(it);

			if (item_is_in(it) && r < 0)
				item_out(it, r);
		}
	}
}

void archive_put_all(struct batch *b)
{
	archive_fill_packs(b);
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];

		if (!item_is_in(it) || it->pack || it->way != ITEM_SEND)
			continue;
		item_out(it, item_choose_object(it));
		if (item_is_in(it))
			item_out(it, item_put(it, false));
	}
}

void archive_judge_puts(struct batch *b)
{
	int *first = calloc(b->n, sizeof(*first)); /* what the first keys' puts came to */
	int again = 0;

	batch_wait_landed(b);
	archive_judge_packs(b);
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];
		int r = put_result(it);

		if (!item_is_in(it) || it->way != ITEM_SEND || r == 0)
			continue;
		if (first &&
		    (r == -EEXIST || (key_is_impossible(r) && it->object == ROW_OBJECT_PATH))) {
			first[i] = r;
			again++;
		} else {
			item_out(it, r);
		}
	}
	if (again) {
		ask_whose(b);
		second_round(b, first);
	}
	free(first);
}
