/* SPDX-License-Identifier: MIT */
/*
 * Verify: what the store holds, compared with what the catalogue says of it.
 *
 * The store reads every byte itself and nothing is changed.  A file whose row
 * changes on the way is no error: it is not the same file any more.
 */
#ifndef EBB_TIER_VERIFY_H
#define EBB_TIER_VERIFY_H

#include "tier/tier.h"

struct verify_progress {
	uint64_t files_done; /* the bad ones too */
	uint64_t files_bad;
	uint64_t files_skipped; /* changed or removed meanwhile */
	uint64_t bytes_done;
	uint64_t files_total; /* 0: not known */
};

struct verify_request {
	const char *const *paths; /* relative to the tree; a directory means all below it */
	size_t npaths;		  /* 0: everything */
	/* Both on the caller's thread.  progress may return non-zero to stop. */
	int (*progress)(void *arg, const struct verify_progress *p);
	void (*bad)(void *arg, const char *path, const char *reason);
	void *arg;
};

/*
 * 0: everything is as it was archived; -EIO: some is not, or could not be read (told one
 * by one); -ETIMEDOUT: the store does not answer, given up; -ECANCELED; others of the
 * catalogue.  A path that has nothing archived is no error, one that is not there is bad.
 */
int verify_run(struct tier *t, const struct verify_request *req);

#endif
