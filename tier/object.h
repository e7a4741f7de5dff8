/* SPDX-License-Identifier: MIT */
/* How objects are named: rows to keys, attempts, URLs. */
#ifndef EBB_TIER_OBJECT_H
#define EBB_TIER_OBJECT_H

#include "tier/tier.h"

#define OBJECT_PART_BYTES (64ull << 20)

/* Number of objects of a row: 1, or the number of parts. */
unsigned object_count(const struct file_row *row);
/* Key of part n; heap.  -ENOENT when its objdir is unknown, -ENOMEM. */
int object_key(struct tier *t, const struct file_row *row, unsigned n, char **ret);
/* "<node uuid>/<attempt>": what the object's attempt attribute says. */
void object_attempt(struct tier *t, uint64_t attempt, char *ret, size_t size);
/*
 * What the store must hold under object_key(row, 0): of a pack, the whole of it.  -ENOENT
 * when the pack is unknown, or an error of the catalogue.
 */
int object_want(struct tier *t, const struct file_row *row, uint64_t *ret_size, uint32_t *ret_crc,
		char *ret_attempt, size_t size);
/* The number that its attempt and its readers go by. */
static inline uint64_t object_number(const struct file_row *row)
{
	return row->object == ROW_OBJECT_PACK ? row->pack : row->attempt;
}
/* Key of a pack; heap, NULL without memory. */
char *object_pack_key(struct tier *t, uint64_t number);
/* URL users are given (url_template or the store's own); local: the local_url.  Heap. */
int object_url(struct tier *t, const struct file_row *row, const char *path, char **ret);
int object_local_url(struct tier *t, const char *path, char **ret);

#endif
