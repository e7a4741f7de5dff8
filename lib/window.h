/* SPDX-License-Identifier: MIT */
/*
 * A bounded window of operations and bytes in flight, shared by threads.
 * One operation larger than the whole window is let in alone.
 */
#ifndef EBB_LIB_WINDOW_H
#define EBB_LIB_WINDOW_H

#include <stdint.h>

struct window;

int window_new(unsigned max_ops, uint64_t max_bytes, struct window **ret); /* 0, -ENOMEM */
void window_free(struct window *w);
void window_enter(struct window *w, uint64_t bytes); /* waits for room */
/* Any thread, callbacks too: bytes are what it still holds. */
void window_leave(struct window *w, uint64_t bytes);
/* The operation goes on, these bytes of it are free. */
void window_give(struct window *w, uint64_t bytes);
unsigned window_waiting(struct window *w); /* how many threads wait for room; for tests */

#endif
