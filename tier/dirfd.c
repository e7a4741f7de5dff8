/* SPDX-License-Identifier: MIT */
/*
 * Directory descriptors that are kept, so that a create is one system call.
 *
 * An entry is of the directory's inode, so that it stays right when the directory
 * is renamed; it goes when the directory is removed or made again, when its node's
 * memory goes, or when DIRFDS_MAX others were used since.  It is counted: one for
 * being kept, one for each user; the last closes it, outside the lock.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tier/cache_int.h"

struct dirfd {
	struct tlink link;	/* in by_dir while it is kept */
	const struct node *dir; /* borrowed: forgotten before the node goes */
	int fd;			/* owned */
	_Atomic unsigned refs;
	struct dirfd *newer;
	struct dirfd *older;
};

#define DIRFD_OF(l) TABLE_ENTRY(l, struct dirfd, link)

static uint32_t hash_of_dir(const struct tlink *link)
{
	return table_hash_u64((uintptr_t)DIRFD_OF(link)->dir);
}

void dirfds_init(struct dirfds *k)
{
	*k = (struct dirfds){ .n = 0 };
	lock_init(&k->lock, LOCK_RANK_DIRFD, "kept descriptors");
	table_init(&k->by_dir, hash_of_dir);
}

static void dirfd_put(struct dirfd *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
		return;
	close(d->fd);
	free(d);
}

static struct dirfd *find(struct dirfds *k, const struct node *dir) REQUIRES(k->lock)
{
	struct tlink *l = table_chain(&k->by_dir, table_hash_u64((uintptr_t)dir));

	while (l && DIRFD_OF(l)->dir != dir)
		l = l->next;
	return l ? DIRFD_OF(l) : NULL;
}

static void lru_remove(struct dirfds *k, struct dirfd *d) REQUIRES(k->lock)
{
	*(d->newer ? &d->newer->older : &k->newest) = d->older;
	*(d->older ? &d->older->newer : &k->oldest) = d->newer;
}

static void lru_add(struct dirfds *k, struct dirfd *d) REQUIRES(k->lock)
{
	d->newer = NULL;
	d->older = k->newest;
	*(k->newest ? &k->newest->newer : &k->oldest) = d;
	k->newest = d;
}

/* The caller puts it, after the lock. */
static struct dirfd *take_out(struct dirfds *k, struct dirfd *d) REQUIRES(k->lock)
{
	if (!d)
		return NULL;
	table_del(&k->by_dir, &d->link);
	lru_remove(k, d);
	k->n--;
	return d;
}

void dirfds_fini(struct dirfds *k)
{
	struct dirfd *d;

	do {
		lock_take(&k->lock);
		d = take_out(k, k->oldest);
		lock_drop(&k->lock);
		dirfd_put(d);
	} while (d);
	table_fini(&k->by_dir);
	lock_fini(&k->lock);
}

struct dirfd *dirfds_get(struct dirfds *k, const struct node *dir)
{
	struct dirfd *d;

	lock_take(&k->lock);
	d = find(k, dir);
	if (d) {
		atomic_fetch_add(&d->refs, 1);
		if (d != k->newest) {
			lru_remove(k, d);
			lru_add(k, d);
		}
	}
	lock_drop(&k->lock);
	return d;
}

uint64_t dirfds_nforgets(struct dirfds *k)
{
	uint64_t n;

	lock_take(&k->lock);
	n = k->nforgets;
	lock_drop(&k->lock);
	return n;
}

int dirfds_keep(struct dirfds *k, struct node *dir, int fd, uint64_t nforgets, struct dirfd **ret)
{
	struct dirfd *made = malloc(sizeof(*made)), *d, *old = NULL;

	if (!made)
		return -ENOMEM;
	*made = (struct dirfd){ .dir = dir, .fd = fd, .refs = 1 };
	lock_take(&k->lock);
	if (k->nforgets != nforgets) {
		lock_drop(&k->lock);
		free(made);
		return -EAGAIN;
	}
	d = find(k, dir);
	if (!d) {
		d = made;
		table_add(&k->by_dir, &d->link);
		lru_add(k, d);
		if (++k->n > DIRFDS_MAX)
			old = take_out(k, k->oldest);
	}
	atomic_fetch_add(&d->refs, 1);
	lock_drop(&k->lock);
	if (d != made)
		dirfd_put(made);
	dirfd_put(old);
	*ret = d;
	return 0;
}

void dirfds_forget(struct dirfds *k, const struct node *dir)
{
	struct dirfd *d;

	lock_take(&k->lock);
	k->nforgets++;
	d = take_out(k, find(k, dir));
	lock_drop(&k->lock);
	dirfd_put(d);
}

int dirfd_fd(const struct dirfd *d)
{
	return d->fd;
}

void cache_dir_put(struct cache *c, struct dirfd *d)
{
	(void)c;
	dirfd_put(d);
}
