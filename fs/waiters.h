/* SPDX-License-Identifier: MIT */
/*
 * How many requests may wait for the store.
 *
 * The kernel hands out a fixed number of entries: per core over io_uring, in all
 * over /dev/fuse.  A request that waits keeps its entry; were all of them to wait for
 * a store that hangs, nothing local would be answered either.  So half of a ring's
 * entries may wait; while the store answers, up to seven eighths may.  Past that a
 * request fails at once.
 */
#ifndef EBB_FS_WAITERS_H
#define EBB_FS_WAITERS_H

#include <stdint.h>

struct waiters;

/* 0 or -ENOMEM.  rings: 1 over /dev/fuse, one a core over io_uring. */
int waiters_new(unsigned rings, unsigned entries, struct waiters **ret);
void waiters_free(struct waiters *w); /* NULL is fine */

/* The ring it was counted for, of the core this runs on; -1: too many wait. */
int waiters_enter(struct waiters *w);
/* An answer came. */
void waiters_leave(struct waiters *w, int ring);

/* Requests that wait now; those turned away so far. */
unsigned waiters_now(const struct waiters *w);
uint64_t waiters_refused(const struct waiters *w);

#endif
