/* SPDX-License-Identifier: MIT */
/*
 * Remembering what was given: see fs/given.h.
 *
 * Always true, under the lock: a directory has at most one record in the slot of its
 * number; one that is in no slot lives as long as handles that were opened with it.
 * names is the room of all of them together; the slots are a clock whose hand takes whole
 * ones when there is no more.
 */
#include "fs/given.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lock.h"

#define SLOTS 16384
#define ROOM_MIN 32

struct given {
	uint64_t ino;
	unsigned refs;	/* its slot's, who fills it, those who read from what it tells of */
	uint64_t *hash; /* owned */
	size_t n, room;
	bool filling, whole;
	bool placed; /* in its slot */
};

struct givens {
	struct lock lock; /* LOCK_RANK_LEAF: protects what follows, and all records */
	struct given *slot[SLOTS];
	size_t names; /* room of all */
	unsigned hand;
};

int givens_new(struct givens **ret)
{
	struct givens *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	lock_init(&g->lock, LOCK_RANK_LEAF, "given");
	*ret = g;
	return 0;
}

uint64_t given_hash(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return h;
}

static struct given **slot_of(struct givens *g, uint64_t ino) REQUIRES(g->lock)
{
	return &g->slot[(ino * 0x9e3779b97f4a7c15u >> 32) % SLOTS];
}

static void drop_ref(struct givens *g, struct given *x) REQUIRES(g->lock)
{
	if (--x->refs > 0)
		return;
	g->names -= x->room;
	free(x->hash);
	free(x);
}

static void displace(struct givens *g, struct given *x) REQUIRES(g->lock)
{
	*slot_of(g, x->ino) = NULL;
	x->placed = false;
	drop_ref(g, x);
}

static struct given *find(struct givens *g, uint64_t ino) REQUIRES(g->lock)
{
	struct given *x = *slot_of(g, ino);

	return x && x->ino == ino ? x : NULL;
}

void givens_free(struct givens *g)
{
	if (!g)
		return;
	lock_take(&g->lock);
	for (unsigned i = 0; i < SLOTS; i++)
		if (g->slot[i])
			displace(g, g->slot[i]);
	lock_drop(&g->lock);
	lock_fini(&g->lock);
	free(g);
}

enum given_use givens_open(struct givens *g, uint64_t ino, bool fresh, struct given **ret)
{
	enum given_use use = GIVEN_FILLS;
	struct given *x;

	*ret = NULL;
	lock_take(&g->lock);
	x = find(g, ino);
	if (x && x->filling) {
		use = GIVEN_NOT;
	} else if (x && x->whole && fresh) {
		use = GIVEN_KEPT;
		x->refs++;
		*ret = x;
	}
	lock_drop(&g->lock);
	return use;
}

/* ---- filling -------------------------------------------------------------------- */

struct given *given_begin(struct givens *g, uint64_t ino)
{
	struct given *x = NULL, *old;

	lock_take(&g->lock);
	old = *slot_of(g, ino);
	if (old && old->ino == ino && old->filling) {
		/* two fill the same pages: nobody knows what will be in them */
		displace(g, old);
	} else {
		if (old)
			displace(g, old);
		x = calloc(1, sizeof(*x));
	}
	if (x) {
		x->ino = ino;
		x->refs = 2;
		x->filling = x->placed = true;
		*slot_of(g, ino) = x;
	}
	lock_drop(&g->lock);
	return x;
}

/* Whole ones go, until so much more fits. */
static bool make_room(struct givens *g, size_t more) REQUIRES(g->lock)
{
	for (unsigned i = 0; i < SLOTS && g->names + more > GIVEN_NAMES; i++) {
		struct given *x = g->slot[g->hand++ % SLOTS];

		if (x && !x->filling)
			displace(g, x);
	}
	return g->names + more <= GIVEN_NAMES;
}

static bool grow(struct givens *g, struct given *x) REQUIRES(g->lock)
{
	size_t room = x->room ? 2 * x->room : ROOM_MIN;
	uint64_t *hash;

	if (x->n < x->room)
		return true;
	if (!make_room(g, room - x->room))
		return false;
	hash = realloc(x->hash, room * sizeof(*hash));
	if (!hash)
		return false;
	g->names += room - x->room;
	x->hash = hash;
	x->room = room;
	return true;
}

void given_add(struct givens *g, struct given *x, uint64_t off, const char *name)
{
	lock_take(&g->lock);
	if (x->placed && off >= x->n) {
		if (off == x->n && grow(g, x))
			x->hash[x->n++] = given_hash(name);
		else
			displace(g, x);
	}
	lock_drop(&g->lock);
}

void given_end(struct givens *g, struct given *x)
{
	lock_take(&g->lock);
	x->whole = x->placed;
	x->filling = false;
	lock_drop(&g->lock);
}

void given_put(struct givens *g, struct given *x)
{
	if (!x)
		return;
	lock_take(&g->lock);
	if (x->filling && x->placed) {
		*slot_of(g, x->ino) = NULL;
		x->placed = false;
		x->refs--; /* the slot's: ours is left */
	}
	drop_ref(g, x);
	lock_drop(&g->lock);
}

uint64_t *given_before(struct givens *g, const struct given *x, size_t n)
{
	uint64_t *copy = NULL;

	lock_take(&g->lock);
	if (x->n >= n)
		copy = malloc((n + 1) * sizeof(*copy));
	if (copy)
		memcpy(copy, x->hash, n * sizeof(*copy));
	lock_drop(&g->lock);
	return copy;
}
