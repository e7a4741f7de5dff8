/* SPDX-License-Identifier: MIT */
/*
 * Giving the kernel the bytes of released files before they are opened.
 *
 * What was read ahead (tier/ahead.h) is compared with its row and put into the page cache of files
 * that the kernel knows and nobody has open.  Opened and read then, they cost no READ.
 */
#ifndef EBB_TIER_PUSH_H
#define EBB_TIER_PUSH_H

#include "tier/tier.h"

/*
 * Larger ones cost less when they are asked for: pages are given one by one, and the kernel has larger
 * units for what it reads (measured with 200 KB: 0.9 times the files a second; 1.5 KB: 2.2 times).
 */
#define PUSH_BYTES (64u << 10)

/* What fs does with the bytes of a released file, an object's of this attempt: true: the kernel has them. */
typedef bool (*push_fn)(void *arg, struct node *node, uint64_t attempt, const char *bytes,
			size_t n);

struct pushes;
int pushes_new(struct pushes **ret); /* 0, -ENOMEM */
void pushes_free(struct pushes *p);  /* after the pools; NULL is fine */
/*
 * fn is called on a pool's thread, under the node's claim, while nobody has it open nor can
 * open it.  NULL: no more; returns when no job of ours is left.  It has to be NULL before the
 * pools are freed.
 */
void pushes_to(struct pushes *p, push_fn fn, void *arg);
bool pushes_wanted(struct pushes *p);
uint64_t pushes_count(struct pushes *p); /* files so far */

/* Files of one object, all in one directory, in the order in which they will be asked for. */
struct push;
struct push *push_new(struct tier *t, struct node *dir, uint64_t number); /* NULL: no memory */
void push_add(struct push *push, const char *name); /* without memory it is left out */
/* When the object is here; frees it.  Never waits. */
void push_go(struct push *push);

#endif
