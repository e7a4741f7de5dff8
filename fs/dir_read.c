/* SPDX-License-Identifier: MIT */
/*
 * The entries of an open directory, at whatever offset the kernel asks for.
 *
 *	in order --an offset it has not reached, or long left--> resumed --0--> in order
 *
 * In order, an offset is the listing's own.  Resumed: the listing starts over, and what
 * the kernel gave before the offset, from its pages or from us, is left out; so each
 * name is given once, whatever was archived or removed meanwhile.  Where nobody knows
 * what was given, as many entries are left out as the offset says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dirs.h"

#define OFFSET_MAX (1ull << 40) /* what is asked is a number of names */

struct resumed {
	uint64_t at;	 /* the listing's offset of the next entry */
	uint64_t *given; /* owned: hashes, in order; the kernel's offset is how many */
	size_t n, room;
	uint64_t *left_out; /* owned, sorted */
	size_t n_left_out;
	struct list_entry last; /* given last: asked again when there was no room for it */
};

void dir_resumed_free(struct resumed *s)
{
	if (!s)
		return;
	free(s->given);
	free(s->left_out);
	free(s);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_left_out(const struct resumed *s, const char *name)
{
	uint64_t h = given_hash(name);

	return s->n_left_out && bsearch(&h, s->left_out, s->n_left_out, sizeof(h), compare) != NULL;
}

static int add(struct resumed *s, const char *name)
{
	size_t room = s->room ? 2 * s->room : 64;
	uint64_t *given;

	if (s->n == s->room) {
		given = realloc(s->given, room * sizeof(*given));
		if (!given)
			return -ENOMEM;
		s->given = given;
		s->room = room;
	}
	s->given[s->n++] = given_hash(name);
	return 0;
}

/* ---- resuming ------------------------------------------------------------------- */

/* What was given before off: by ourselves, or by the listing that filled the kernel's pages. */
static uint64_t *known_before(struct givens *g, struct open_dir *dir, size_t off)
{
	uint64_t *copy;

	if (!dir->resumed || dir->resumed->n < off)
		return dir->given ? given_before(g, dir->given, off) : NULL;
	copy = malloc((off + 1) * sizeof(*copy));
	if (copy)
		memcpy(copy, dir->resumed->given, off * sizeof(*copy));
	return copy;
}

static int skip(struct open_dir *dir, struct resumed *s, uint64_t off)
{
	struct list_entry entry;
	int r = 1;

	while (s->at < off && r == 1) {
		r = listing_next(dir->listing, s->at, &entry);
		if (r == 1) {
			s->at = entry.off;
			r = add(s, entry.name);
			r = r < 0 ? r : 1;
		}
	}
	return r < 0 ? r : 0;
}

static int resume(struct givens *g, struct open_dir *dir, uint64_t off)
{
	struct resumed *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->given = known_before(g, dir, off);
	if (s->given) {
		s->n = off;
		s->room = off + 1;
		s->left_out = malloc((off + 1) * sizeof(*s->left_out));
		if (s->left_out) {
			memcpy(s->left_out, s->given, off * sizeof(*s->left_out));
			s->n_left_out = off;
			qsort(s->left_out, off, sizeof(*s->left_out), compare);
		} else {
			r = -ENOMEM;
		}
	} else {
		r = skip(dir, s, off);
	}
	if (r < 0) {
		dir_resumed_free(s);
		return r;
	}
	dir_resumed_free(dir->resumed);
	dir->resumed = s;
	return 0;
}

static bool is_again(const struct resumed *s, uint64_t off)
{
	return off + 1 == s->n && s->last.off == s->n;
}

static bool is_next(const struct resumed *s, uint64_t off)
{
	return off == s->n || is_again(s, off);
}

static int next_resumed(struct resumed *s, struct listing *listing, uint64_t off,
			struct list_entry *ret)
{
	struct list_entry entry;
	int r;

	if (is_again(s, off)) {
		*ret = s->last;
		return 1;
	}
	do {
		r = listing_next(listing, s->at, &entry);
		if (r <= 0)
			return r;
		s->at = entry.off;
	} while (is_left_out(s, entry.name));
	r = add(s, entry.name);
	if (r < 0)
		return r;
	entry.off = s->n;
	s->last = entry;
	s->last.seen = (struct row_seen){ 0 };
	*ret = entry;
	return 1;
}

/* ---- the kernel's pages ------------------------------------------------------------ */

/* It asks from the start: it has none. */
static void begin(struct givens *g, struct open_dir *dir)
{
	given_put(g, dir->given);
	dir->given = given_begin(g, dir->ino);
	dir->fills = dir->given != NULL;
}

static int next_in_order(struct givens *g, struct open_dir *dir, uint64_t off,
			 struct list_entry *ret)
{
	int r = listing_next(dir->listing, off, ret);

	if (dir->fills && r == 1)
		given_add(g, dir->given, off, ret->name);
	else if (dir->fills && r == 0)
		given_end(g, dir->given);
	return r;
}

int dir_next(struct givens *g, struct open_dir *dir, uint64_t off, struct list_entry *ret)
{
	int r;

	if (off == 0) {
		dir_resumed_free(dir->resumed);
		dir->resumed = NULL;
		if (dir->pages)
			begin(g, dir);
	}
	if (!dir->resumed) {
		r = next_in_order(g, dir, off, ret);
		if (r != -EINVAL || off == 0 || off > OFFSET_MAX)
			return r;
	}
	if (!dir->resumed || !is_next(dir->resumed, off)) {
		r = resume(g, dir, off);
		if (r < 0)
			return r;
	}
	return next_resumed(dir->resumed, dir->listing, off, ret);
}
