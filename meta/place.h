/* SPDX-License-Identifier: MIT */
/*
 * Where a catalogue lies: its file, and FILE-lock beside it.
 *
 * A catalogue has one owner, a daemon or a rebuild: FILE-lock is flocked for as
 * long as it is open.  SQLite never sees a file that cannot be written or is none.
 */
#ifndef EBB_META_PLACE_H
#define EBB_META_PLACE_H

#include <stddef.h>

struct place {
	const char *given; /* borrowed: the path as the user wrote it */
	char *err;	   /* borrowed: receives a sentence for the user */
	size_t size;
};

/* Writes the sentence "cannot open catalogue 'GIVEN': WHY"; returns r. */
int place_refuse(const struct place *p, int r, const char *why);
int place_refuse_errno(const struct place *p, int r);

enum place_how { PLACE_EXISTING, PLACE_EXISTING_OR_NEW, PLACE_NEW };

/*
 * Find, lock and probe, or make an empty file (PLACE_NEW: -EEXIST where one is).
 * *ret_file is the absolute path (owned), *ret_lock the descriptor that holds the
 * lock (owned).  -EBUSY: another has it; -EUCLEAN: not a file; -errno of open(2).
 */
int place_take(const struct place *p, enum place_how how, char **ret_file, int *ret_lock);

#endif
