/* SPDX-License-Identifier: MIT */
/*
 * A hash table of links that lie in the caller's structs, and that grows one bucket
 * at a time (linear hashing): adding to a table of millions never stops anybody.
 *
 *	buckets in use:  0 1 2 ... half-1 | half ... n-1		half <= n < 2 half
 *	bucket of h:     h mod 2 half if that is below n, else h mod half
 *
 * One more entry than buckets: bucket n - half is split into itself and a new
 * bucket n.  Buckets lie in segments of doubling size that never move.  Entries
 * thus only move to higher buckets, so that a walk by bucket number over a table that
 * grows meanwhile skips none.  It never shrinks.  The locking is the owner's.
 */
#ifndef EBB_TIER_TABLE_H
#define EBB_TIER_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define TABLE_FIRST 16 /* buckets of the first segment, in the struct itself */

struct tlink {
	struct tlink *next;
};

struct table {
	uint32_t (*hash)(const struct tlink *link);
	uint32_t n;
	uint32_t half; /* a power of two times TABLE_FIRST */
	size_t count;
	struct tlink *first[TABLE_FIRST];
	struct tlink **segment[28]; /* owned; [k] has TABLE_FIRST << k buckets */
};

#define TABLE_ENTRY(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

void table_init(struct table *t, uint32_t (*hash)(const struct tlink *link));
void table_fini(struct table *t); /* the entries are the caller's */
/* The chain that holds every entry of this hash, and others. */
struct tlink *table_chain(const struct table *t, uint32_t hash);
void table_add(struct table *t, struct tlink *link); /* without memory it just does not grow */
void table_del(struct table *t, struct tlink *link); /* it is in there */
/* Chain of bucket i < t->n, for walks. */
struct tlink *table_bucket(const struct table *t, uint32_t i);

uint32_t table_hash_u64(uint64_t x);
uint32_t table_hash_bytes(uint64_t seed, const char *bytes, size_t len);

#endif
