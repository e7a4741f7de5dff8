/* SPDX-License-Identifier: MIT */
/*
 * The tier's own view of itself.  Only tier/ includes this.
 *
 * Everything here is set by tier_open, before any thread, and constant until
 * tier_close: each part has its own lock.
 */
#ifndef EBB_TIER_TIER_INT_H
#define EBB_TIER_TIER_INT_H

#include "backend/sink.h"
#include "backend/store.h"
#include "lib/log.h"
#include "tier/ahead.h"
#include "tier/archive.h"
#include "tier/checkpoint.h"
#include "tier/drop.h"
#include "tier/intent.h"
#include "tier/journal.h"
#include "tier/list.h"
#include "tier/notify.h"
#include "tier/ns.h"
#include "tier/object.h"
#include "tier/policy.h"
#include "tier/push.h"
#include "tier/read.h"
#include "tier/reaper.h"
#include "tier/release.h"
#include "tier/restore.h"
#include "tier/rows.h"
#include "tier/state.h"
#include "tier/tier.h"

struct blobs;	 /* blobs.h: objects in memory */
struct remotes;	 /* read.c: open remotes by attempt */
struct listings; /* list_note.c: open listings by directory */
struct window;

struct tier {
	const struct conf *conf; /* borrowed */
	char *mountpoint;	 /* owned, absolute */
	struct tree *tree;
	struct cache *cache;
	struct catalogue *cat;
	struct store *store;
	struct sink *sink; /* NULL: none; events carry sink 0 */
	struct policy *policy;
	struct pool *pool_commit;
	struct pool *pool_store;
	struct pool *pool_finish; /* ends of batches: archive.c */
	struct window *window;	  /* archiving: operations and bytes in flight */
	struct blobs *blobs;
	struct ahead *ahead;
	struct pushes *pushes;
	struct remotes *remotes;
	struct listings *listings;
	struct intents *intents;
	struct journal *journal;
	struct checkpoint *checkpoint;
	struct notify *notify;
	struct packs *packs;
	struct unfinished *unfinished;
	struct drop *drop;
	struct reaper *reaper;
	int64_t settle_ms; /* 0: LOCAL_SETTLE_MS; tests wait less */
};

int remotes_new(struct remotes **ret);
void remotes_free(struct remotes *r);
int listings_new(struct listings **ret);
void listings_free(struct listings *l);

#endif
