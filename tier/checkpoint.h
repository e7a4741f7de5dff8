/* SPDX-License-Identifier: MIT */
/*
 * Checkpoints: the catalogue's rows in the store, so that the journal before them
 * need not be kept.
 *
 * One is written when the journal since the last has outgrown checkpoint_min and the
 * catalogue's own size, in parts of about a MiB, each proved by the store; its last
 * part, of length 0, says that it is complete.  trash_grace later what is before it is
 * dropped: parts of the journal and other checkpoints, complete or not.
 */
#ifndef EBB_TIER_CHECKPOINT_H
#define EBB_TIER_CHECKPOINT_H

#include "tier/tier.h"

struct checkpoint;

int checkpoint_new(struct tier *t, struct checkpoint **ret);
int checkpoint_start(struct checkpoint *k);
void checkpoint_stop(struct checkpoint *k); /* one that is not complete is left, and begun anew */
void checkpoint_free(struct checkpoint *k);

#endif
