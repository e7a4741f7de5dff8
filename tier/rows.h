/* SPDX-License-Identifier: MIT */
/* What several transactions do to rows, in one place; all run inside a catalogue job. */
#ifndef EBB_TIER_ROWS_H
#define EBB_TIER_ROWS_H

#include "tier/tier.h"

/*
 * The row leaves through the trash; if a sink was told of it, an event says what
 * became of it (EVENT_LOCAL or EVENT_REMOVED).  path: where the name was, bytes.
 * *ret_id (may be NULL): the trash row.
 */
int rows_to_trash(struct tier *t, struct tx *tx, const struct file_row *row, const char *path,
		  enum trash_reason reason, enum event_kind event, int64_t *ret_id);
/* Tell the sinks, when there are any.  path is kept for EVENT_LOCAL and EVENT_REMOVED. */
int rows_event(struct tier *t, struct tx *tx, const struct file_row *row, const char *path,
	       enum event_kind kind);
/* Back to its name: nothing there (-EEXIST).  Undoing, ebbctl trash, same bytes archived again. */
int rows_from_trash(struct tier *t, struct tx *tx, int64_t trash_id);

/*
 * Rows for a directory and all above it, made or found; sets node_dirid.  Takes each
 * directory's claim in turn: waits.  -ENOENT: it was removed meanwhile.
 */
int rows_make_dirs(struct tier *t, struct node *dir, dirid_t *ret);

/*
 * fsync of what the catalogue holds of dir's names: every change that was replied to
 * survives a power cut.  Nothing to do where dir never had a row.  Waits.
 */
int rows_sync(struct tier *t, struct node *dir);

/* Attributes of a row from a stat, and back. */
void rows_attr_from_stat(const struct stat *st, struct row_attr *ret);
void rows_attr_to_stat(const struct row_attr *a,
		       struct stat *ret); /* sets type, mode, owner, size, times, blocks */

#endif
