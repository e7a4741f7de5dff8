/* SPDX-License-Identifier: MIT */
/*
 * Drop: the only place where objects are destroyed.
 *
 * A trash row's object is dropped when its grace is over, the transaction that made
 * the trash row is journalled, the sinks were told of the replacement, nobody reads it,
 * no file row uses it, and that it is condemned is journalled, too; then the row is deleted.
 * The store compares the attempt.
 */
#ifndef EBB_TIER_DROP_H
#define EBB_TIER_DROP_H

#include "tier/tier.h"

struct drop;

int drop_new(struct tier *t, struct drop **ret);
int drop_start(struct drop *d);
void drop_stop(struct drop *d);
void drop_free(struct drop *d);

/*
 * ebbctl trash empty: now, whatever the grace; ids empty: all.  Returns how many, -errno; -ETIMEDOUT:
 * the journal cannot be written, what is condemned goes once it can.
 */
int64_t drop_now(struct tier *t, const int64_t *ids, size_t n);

#endif
