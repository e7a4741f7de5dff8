/* SPDX-License-Identifier: MIT */
/*
 * What the kernel's kept listings hold.
 *
 * The kernel keeps a listing page by page, shared by whoever reads the directory.  When a
 * page of it goes (memory is short, somebody lists it anew) it asks in the middle, a
 * handle that may have read nothing itself: what it gave from its pages, only the
 * offset says.  So the names of the one listing that fills the kernel's pages are
 * remembered, as hashes in the order given; who is asked in the middle starts over
 * and leaves out those before the offset.
 *
 *	none --opened--> filling --its end--> whole --asked from 0 again, room wanted--> none
 *	                    '--closed before, another fills too--> useless
 */
#ifndef EBB_FS_GIVEN_H
#define EBB_FS_GIVEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All that is remembered: 8 bytes a name. */
#define GIVEN_NAMES (4u << 20)

struct givens;

/* How a directory that is being opened may use the kernel's pages. */
enum given_use {
	GIVEN_KEPT,  /* they are whole, and what is in them is known */
	GIVEN_FILLS, /* they are to be filled anew */
	GIVEN_NOT,   /* somebody fills them: this one reads for itself */
};

/* Hashes of names, in the order they were given. */
struct given;

int givens_new(struct givens **ret); /* 0, -ENOMEM */
void givens_free(struct givens *g);  /* nothing is open any more; NULL is fine */

/*
 * fresh: what the pages hold is still as good as a new listing.  *ret: what is in them,
 * counted (GIVEN_KEPT), or NULL.
 */
enum given_use givens_open(struct givens *g, uint64_t ino, bool fresh, struct given **ret);

/*
 * A handle that uses the pages is asked from the start: the kernel has none, this handle
 * fills them.  Counted; NULL: nothing will be remembered (no memory, somebody else fills).
 */
struct given *given_begin(struct givens *g, uint64_t ino);
/* The name at this offset was given; any that is not the next one makes it useless. */
void given_add(struct givens *g, struct given *x, uint64_t off, const char *name);
void given_end(struct givens *g, struct given *x); /* there are no more */
/* NULL is fine.  Who fills says so by this that it is closed. */
void given_put(struct givens *g, struct given *x);

/* A copy of the first n hashes; heap.  NULL: there are not as many, or no memory. */
uint64_t *given_before(struct givens *g, const struct given *x, size_t n);

uint64_t given_hash(const char *name);

#endif
