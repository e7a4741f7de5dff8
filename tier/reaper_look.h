/* SPDX-License-Identifier: MIT */
/* A look at a directory, from inside: reaper_look.c and reaper_flush.c. */
#ifndef EBB_TIER_REAPER_LOOK_H
#define EBB_TIER_REAPER_LOOK_H

#include "tier/reaper_int.h"

/* What is young, open or not journalled: again after at least this. */
#define LOOK_AGAIN_MS 1000
#define LOOK_NOT_PLAIN "it has several links, extended attributes or ACLs"
#define LOOK_BEING_WRITTEN "it is being written"

static inline void look_sooner(int64_t *next, int64_t ms)
{
	if (ms < *next)
		*next = ms;
}

/* To a command, if one asked. */
void look_tell(struct look *l, enum told told, const char *name, const char *reason,
	       uint64_t bytes);
/* Another time; what it is to be called if that does not come. */
void look_tell_later(struct look *l, const char *name, const char *reason, enum told later);

/* It failed, and is tried again some time. */
void look_failed(struct look *l, const char *name, int r);

/* waits: for its age, or for the store; else it stays local for ever. */
void look_count_local(struct look *l, uint64_t size, int64_t ctime_ns, bool waits);
/* may_go: some time its local copy is released; no rule is against it. */
void look_count_archived(struct look *l, uint64_t size, int64_t ctime_ns, bool may_go);

/* A file that stays or waits has a row, which proves nothing for it. */
void look_count_stale(struct look *l, const struct file_row *row);
/* The same of a name, if it has one. */
void look_count_stale_name(struct look *l, const char *name);
/* It has other names, extended attributes or ACLs: another look in an hour, as those may go. */
void look_not_plain(struct look *l, const char *name);

/* Of struct look: it is not to begin anything more. */
bool look_is_stopped(void *look);
void look_flush_due(struct look *l);
void look_flush_cold(struct look *l);

#endif
