/* SPDX-License-Identifier: MIT */
/* Notify: one thread a sink takes its outbox rows, sends them, records the answers. */
#ifndef EBB_TIER_NOTIFY_H
#define EBB_TIER_NOTIFY_H

#include "tier/tier.h"

struct notify;

int notify_new(struct tier *t, struct notify **ret);
int notify_start(struct notify *n);
void notify_stop(struct notify *n);
void notify_free(struct notify *n);
void notify_kick(struct tier *t); /* rows were queued */

/*
 * Were all sinks told of this file, or does it count as told (es_hold passed)?  1, 0, -errno.
 */
int notify_told(struct tier *t, uint64_t ino);
/* Has everything that was queued until then been sent, or parked?  1, 0, -errno. */
int notify_told_until(struct tier *t, int64_t real_ns);

/* Wait until no waiting event is left, or none moves any more.  0, -EAGAIN (sink down), -ECANCELED. */
int notify_drain(struct tier *t, int64_t timeout_ms);

#endif
