/* SPDX-License-Identifier: MIT */
/*
 * Open directories.
 *
 * A handle's number is its slot and how often the slot was used, so that a number
 * that was never given, or was given back, is recognised.
 *
 * Which directories were listed is remembered in a table without chains: who loses
 * its place there is listed anew, which is only slower.
 */
#include "fs/dirs.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LISTED_SLOTS 65536

struct slot {
	struct open_dir *dir; /* owned; NULL: free */
	uint32_t used;	      /* how often */
	uint32_t next_free;   /* slot + 1, 0: none */
};

struct dirs {
	struct lock lock;   /* protects what follows */
	struct slot *slots; /* owned */
	uint32_t nslots;
	uint32_t free_slots; /* slot + 1, 0: none */
	struct stat gone[DIRS_GONE];
	uint64_t ngone; /* since the mount: the ring's next place */

	struct givens *givens; /* owned */

	_Atomic uint64_t listed[LISTED_SLOTS]; /* inode numbers */
};

int dirs_new(struct dirs **ret)
{
	struct dirs *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	if (givens_new(&d->givens) < 0) {
		free(d);
		return -ENOMEM;
	}
	lock_init(&d->lock, LOCK_RANK_LEAF, "dirs");
	*ret = d;
	return 0;
}

static void open_dir_free(struct dirs *d, struct open_dir *dir)
{
	if (!dir)
		return;
	given_put(d->givens, dir->given);
	dir_resumed_free(dir->resumed);
	listing_close(dir->listing);
	lock_fini(&dir->lock);
	free(dir);
}

void dirs_free(struct dirs *d)
{
	if (!d)
		return;
	for (uint32_t i = 0; i < d->nslots; i++)
		open_dir_free(d, d->slots[i].dir);
	givens_free(d->givens);
	free(d->slots);
	lock_fini(&d->lock);
	free(d);
}

static int grow(struct dirs *d) REQUIRES(d->lock)
{
	uint32_t n = d->nslots ? d->nslots * 2 : 64;
	struct slot *slots = realloc(d->slots, n * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = n; i-- > d->nslots;) {
		slots[i] = (struct slot){ .next_free = d->free_slots };
		d->free_slots = i + 1;
	}
	d->slots = slots;
	d->nslots = n;
	return 0;
}

static int place(struct dirs *d, struct open_dir *dir, uint64_t *ret) REQUIRES(d->lock)
{
	struct slot *slot;
	uint32_t i;

	if (d->free_slots == 0 && grow(d) < 0)
		return -ENOMEM;
	i = d->free_slots - 1;
	slot = &d->slots[i];
	d->free_slots = slot->next_free;
	slot->dir = dir;
	slot->used++;
	*ret = (uint64_t)slot->used << 32 | i;
	return 0;
}

static _Atomic uint64_t *listed_slot(struct dirs *d, uint64_t ino)
{
	return &d->listed[ino * 0x9e3779b97f4a7c15u >> 48];
}

/* Remembers that the directory is listed now.  Was it, and no file of it opened since? */
static bool listed(struct dirs *d, uint64_t ino)
{
	return atomic_exchange_explicit(listed_slot(d, ino), ino, memory_order_relaxed) == ino;
}

int dirs_add(struct dirs *d, uint64_t ino, struct listing *listing, uint64_t *ret,
	     enum given_use *ret_use)
{
	struct open_dir *dir = calloc(1, sizeof(*dir));
	int r;

	if (!dir)
		return -ENOMEM;
	lock_init(&dir->lock, LOCK_RANK_HANDLE, "directory handle");
	dir->listing = listing;
	dir->ino = ino;
	*ret_use = givens_open(d->givens, ino, listed(d, ino), &dir->given);
	dir->pages = *ret_use != GIVEN_NOT;
	lock_take(&d->lock);
	r = place(d, dir, ret);
	lock_drop(&d->lock);
	if (r < 0) {
		dir->listing = NULL; /* the caller's still */
		open_dir_free(d, dir);
	}
	return r;
}

static struct slot *find(struct dirs *d, uint64_t number) REQUIRES(d->lock)
{
	uint32_t i = (uint32_t)number;

	if (i >= d->nslots || !d->slots[i].dir || d->slots[i].used != number >> 32)
		return NULL;
	return &d->slots[i];
}

struct open_dir *dirs_get(struct dirs *d, uint64_t number)
{
	struct open_dir *dir;
	struct slot *slot;

	lock_take(&d->lock);
	slot = find(d, number);
	dir = slot ? slot->dir : NULL;
	lock_drop(&d->lock);
	return dir;
}

int dirs_remove(struct dirs *d, uint64_t number)
{
	struct open_dir *dir = NULL;
	struct slot *slot;

	lock_take(&d->lock);
	slot = find(d, number);
	if (slot) {
		dir = slot->dir;
		slot->dir = NULL;
		slot->next_free = d->free_slots;
		d->free_slots = (uint32_t)number + 1;
	}
	lock_drop(&d->lock);
	if (!dir)
		return -EBADF;
	/* whoever read it has replied: only the kernel has put that before this, no lock of ours */
	lock_take(&dir->lock);
	lock_drop(&dir->lock);
	open_dir_free(d, dir);
	return 0;
}

int dirs_next(struct dirs *d, struct open_dir *dir, uint64_t off, struct list_entry *ret)
{
	return dir_next(d->givens, dir, off, ret);
}

void dirs_stale(struct dirs *d, uint64_t ino)
{
	_Atomic uint64_t *slot = listed_slot(d, ino);
	uint64_t listed = ino;

	/* Compare first: a cache line that is only read is shared by the cores. */
	if (atomic_load_explicit(slot, memory_order_relaxed) == ino)
		atomic_compare_exchange_strong_explicit(slot, &listed, 0, memory_order_relaxed,
							memory_order_relaxed);
}

void dirs_gone(struct dirs *d, const struct stat *st)
{
	struct stat *to;

	lock_take(&d->lock);
	to = &d->gone[d->ngone++ % DIRS_GONE];
	*to = *st;
	to->st_nlink = 0;
	lock_drop(&d->lock);
}

bool dirs_find_gone(struct dirs *d, uint64_t ino, struct stat *ret)
{
	bool found = false;

	lock_take(&d->lock);
	for (unsigned i = 0; i < DIRS_GONE && !found; i++) {
		found = d->gone[i].st_ino == ino;
		if (found)
			*ret = d->gone[i];
	}
	lock_drop(&d->lock);
	return found;
}
