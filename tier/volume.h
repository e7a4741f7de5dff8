/* SPDX-License-Identifier: MIT */
/* ebbfs's own objects in a store (DESIGN: "In the store", format 1). */
#ifndef EBB_TIER_VOLUME_H
#define EBB_TIER_VOLUME_H

#include <stddef.h>
#include <stdint.h>

#include "lib/uid128.h"

struct store;
struct tier;

#define VOLUME_KEY ".ebb/volume"
#define VOLUME_FORMAT 1
#define NODE_PREFIX ".ebb/node/"
#define JOURNAL_PREFIX ".ebb/journal/"
#define CHECKPOINT_PREFIX ".ebb/checkpoint/"
#define JOURNAL_PART_BYTES (1u << 20)

/* 0; -ENOENT no volume; -EXDEV not readable, -ENOTSUP newer (err says so); store errors. */
int volume_read(struct store *store, struct uid128 *ret, char *err, size_t size);

/*
 * The volume object, made once or compared; the node object; is the journal where
 * the catalogue thinks.  Blocks for the store.  0; -EXDEV, -ESTALE, -ENOTSUP: they do
 * not belong together; store errors.  err: a sentence for the user.
 */
int volume_check(struct tier *t, char *err, size_t size);

#endif
