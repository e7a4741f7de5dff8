/* SPDX-License-Identifier: MIT */
/*
 * Shipping the catalogue's journal to the store, about once a second or per MiB.
 *
 * A part's number and range are fixed in the catalogue, it is created exclusively
 * as .ebb/journal/<node>/<seq>, then acknowledged.  The key being taken by other
 * bytes means another owner of this node's journal: the catalogue goes read-only.
 * Nothing is released or dropped before its transaction is here.
 *
 * The same thread first finds out whether store and catalogue belong together
 * (tier/volume.h), again and again while the store does not answer.
 */
#ifndef EBB_TIER_JOURNAL_H
#define EBB_TIER_JOURNAL_H

#include "tier/tier.h"

struct journal;

int journal_new(struct tier *t, struct journal **ret);
/*
 * Starts the thread and waits up to patience_ms for the verdict on the volume: 0
 * also when it is still open; -EXDEV, -ESTALE, -ENOTSUP with a sentence in err.
 */
int journal_start(struct journal *j, int64_t patience_ms, char *err, size_t size);
void journal_stop(struct journal *j); /* ships what is left if the store answers, briefly */
void journal_free(struct journal *j);

/* Wait until this transaction is in the store.  0, -ETIMEDOUT, -EROFS. */
int journal_wait(struct tier *t, int64_t txn, int64_t timeout_ms);
bool journal_has(struct tier *t, int64_t txn);

/* True once store and catalogue were found to belong together: archive, release, drop ask. */
bool volume_ok(struct tier *t);

#endif
