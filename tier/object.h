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
/* URL users are given (url_template or the store's own); local: the local_url.  Heap. */
int object_url(struct tier *t, const struct file_row *row, const char *path, char **ret);
int object_local_url(struct tier *t, const char *path, char **ret);

#endif
