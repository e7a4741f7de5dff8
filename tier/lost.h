/* SPDX-License-Identifier: MIT */
/*
 * Lost: documents whose file is nowhere, neither in the cache nor in the catalogue.
 *
 * After a cache disk was lost, what was only local is gone, and nothing here remembers
 * its names: a file that was never archived has no row.  Its document does.
 */
#ifndef EBB_TIER_LOST_H
#define EBB_TIER_LOST_H

#include "tier/tier.h"

struct sink_doc;

enum lost_is {
	LOST_THERE, /* its file is in the cache or in the catalogue */
	LOST_NOWHERE,
	LOST_NOT_OURS, /* es_match leaves its name out, or it was told that its file is removed */
	LOST_UNKNOWN,  /* it says neither a path nor a name */
};

/*
 * Looks once, without a commit or a claim.  The path decides where the document says it
 * exactly (es_id, es_find, local_url or url_template with {path}); else a path that its URL
 * ends in, or else any file of its name, is its file.  *ret_name (heap; NULL: unknown) is the
 * file's name.
 *	-EBUSY	nothing was found by name, but the scan at start has not seen everything
 *	-ENOMEM; -EIO and others of the cache and the catalogue
 */
int lost_look(struct tier *t, const struct sink_doc *doc, enum lost_is *ret, char **ret_name);

struct lost_progress {
	uint64_t docs_done, docs_total; /* total: those that do not say synced */
	uint64_t lost, unknown;
};

struct lost_request {
	const char *url; /* only documents whose URL begins so; NULL: all */
	/* All on the caller's thread. */
	void (*lost)(void *arg, const char *name, const struct sink_doc *doc);
	void (*progress)(void *arg, const struct lost_progress *p);
	bool (*end)(void *arg); /* asked often: true stops */
	void *arg;
};

#define LOST_YOUNG_MS 10000

/*
 * Goes through all documents that do not say synced, over a connection of its own; waits
 * for the server, so not on a FUSE thread.  A document is lost only if its file is
 * nowhere LOST_YOUNG_MS after the documents were taken stock of: who writes the document
 * before the file has that long.  err: a sentence for the user.
 *	-ENODATA no es=
 *	-EBUSY, -ECANCELED, others of sink_scan, sink_es_new and lost_look: the list is
 *	not complete
 */
int lost_run(struct tier *t, const struct lost_request *req, struct lost_progress *ret, char *err,
	     size_t size);

#endif
