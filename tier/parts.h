/* SPDX-License-Identifier: MIT */
/*
 * Parts of journals and checkpoints in a store: their keys, which of them are there,
 * and which stay.
 *
 * Listing is no way to find them: on RADOS it walks the whole pool, a hundred million
 * objects.  So parts are found by asking for keys, some dozens of them.  That works
 * because of what stays behind when a journal's beginning is dropped: for the first
 * number that is not dropped, D, the parts whose number is D with some of its lowest
 * ones cleared.
 *
 *	D = 22 = 10110b	  16 10000b, 20 10100b stay; 22 and up are all there
 *
 * Of any later number n the same holds: n with its low bits cleared is D or above, or
 * is one of those that stay.  So the newest part is found bit by bit from the top, and
 * whether there is any beyond a number by one question for each zero in it.
 */
#ifndef EBB_TIER_PARTS_H
#define EBB_TIER_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/uid128.h"

struct store;

#define PARTS_KEY_SIZE 128

/* Key of a part of a node's journal. */
void journal_key(const struct uid128 *node, uint64_t seq, char *ret, size_t size);
/* Of part n of the checkpoint after which seq is applied.  A part of length 0 ends it. */
void checkpoint_key(const struct uid128 *node, uint64_t seq, uint64_t n, char *ret, size_t size);

/* Is there a part of the journal behind seq?  1, 0 or an error of the store. */
int journal_beyond(struct store *s, const struct uid128 *node, uint64_t seq);
/* The newest part, 0: there is none.  0 or an error of the store. */
int journal_newest(struct store *s, const struct uid128 *node, uint64_t *ret);

/*
 * When seq is dropped, and everything before it was, these parts go: seq and those it kept.
 * Their numbers into ret; returns how many: 0 when seq itself is one that stays.
 */
#define PARTS_GONE_MAX 64
int journal_gone_with(uint64_t seq, uint64_t ret[PARTS_GONE_MAX]);

/*
 * How many parts checkpoint seq has before its end: 0 or more, also when it has no end.
 * ended: it is complete.  0 or an error of the store.
 */
int checkpoint_parts(struct store *s, const struct uid128 *node, uint64_t seq, uint64_t *ret,
		     bool *ended);

#endif
