/* SPDX-License-Identifier: MIT */
/* Notify from inside: notify.c sends and records, notify_look.c looks up what is sent. */
#ifndef EBB_TIER_NOTIFY_INT_H
#define EBB_TIER_NOTIFY_INT_H

#include "tier/tier_int.h"

/*
 * Fills item, which borrows *path and *url (heap, also after an error).  item->path stays
 * NULL: the event is superseded, there is nothing to send.  0; an error of the catalogue, or
 * of the name: -ENAMETOOLONG, -EACCES, -EINVAL, -EIO ...
 */
int notify_look_up(struct tier *t, const struct event_row *ev, struct sink_item *item, char **path,
		   char **url);

#endif
