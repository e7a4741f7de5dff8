/* SPDX-License-Identifier: MIT */
/*
 * Rebuild: a lost catalogue made anew from the newest checkpoint and the journal in the
 * store.
 *
 * No daemon runs on it.  A former owner that still runs somewhere is fenced: the
 * next part of its journal is a record of ours, and it turns read-only when it
 * finds that.
 */
#ifndef EBB_TIER_REBUILD_H
#define EBB_TIER_REBUILD_H

#include <stddef.h>
#include <stdint.h>

#include "lib/uid128.h"
#include "meta/row.h"

struct rebuild_progress {
	uint64_t parts; /* applied */
	uint64_t bytes;
};

struct rebuild_request {
	const char *file;	   /* the catalogue to make; must not exist */
	const char *store;	   /* URL */
	const struct uid128 *node; /* NULL: the only one that wrote to this store */
	int64_t timeout_ms;	   /* of a store operation */
	/* Now and then; non-zero stops. */
	int (*progress)(void *arg, const struct rebuild_progress *p);
	void *arg;
};

struct rebuild_result {
	struct uid128 node, volume;
	struct rebuild_progress done;
	struct catalogue_counts counts;
};

/*
 * 0; otherwise there is no new file, and err holds a sentence for the user:
 *	-EEXIST   the file is there already
 *	-EINVAL   several nodes wrote to this store, and none was given
 *	-ENOENT   no volume, no such node, nothing in its journal
 *	-ENODATA  a part is missing
 *	-EBADMSG  a part is not readable, or not what was written
 *	-ECANCELED, others of volume_read, cat_rebuild_*, stores
 */
int rebuild_run(const struct rebuild_request *req, struct rebuild_result *ret, char *err,
		size_t size);

#endif
