/* SPDX-License-Identifier: MIT */
/*
 * Sinks: other systems that are told what became of a file.
 *
 * A sink gets batches from the outbox (tier/notify.c) and answers for every item.
 * Sending is idempotent: the same item may come again after a crash or a lost
 * reply.  One thread a sink; calls block, at most es_timeout a request, and return
 * early once sink_stop() was called.
 */
#ifndef EBB_BACKEND_SINK_H
#define EBB_BACKEND_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sink;
struct conf;

enum sink_kind {
	SINK_ARCHIVED, /* url is the store's, synced is true */
	SINK_LOCAL,    /* url is the local one, synced is false */
	SINK_REMOVED,  /* the name is gone: url becomes null, synced false */
};

enum sink_verdict {
	SINK_DONE,     /* told; or nothing to tell (the name has no document: es_match) */
	SINK_RETRY,    /* not taken: again later (busy, connection, conflict, shard not there) */
	SINK_MISSING,  /* there is no document for this file (yet) */
	SINK_POISONED, /* refused for good: mapping, too large */
};

struct sink_item {
	enum sink_kind kind;
	const char *path;    /* borrowed; bytes, relative to the tree */
	const char *name;    /* borrowed; the last component */
	const char *url;     /* borrowed; NULL for SINK_REMOVED */
	const char *old_url; /* borrowed; what the document may say now, NULL when not known: only
				needed where documents are searched by the field that url changes */
	/* out: */
	enum sink_verdict verdict;
	char error[160]; /* why, unless SINK_DONE */
};

/* NULL, 0 when conf has no es=.  -EINVAL with a sentence in err; never connects here. */
int sink_es_new(const struct conf *conf, struct sink **ret, char *err, size_t size);

/*
 * Send items, split as the sink needs it.  Of two that name one document the later
 * one is sent and its verdict is both's.  Across calls order is the caller's: an item
 * must not come again after a later one of the same name was SINK_DONE.
 * n may be 0: only connects, for health.  Returns 0
 * when every item has a verdict.  Otherwise the items without one are SINK_RETRY and:
 *	-EAGAIN   the sink is down or busy: back off (sink_backoff_ms)
 *	-EACCES   it refuses us (401, 403): needs an operator; nothing is lost
 *	-EPROTO   it answers nonsense or is a version we do not know: the same
 *	-ECANCELED sink_stop()
 */
int sink_send(struct sink *s, struct sink_item *items, size_t n);
/*
 * How long to wait before the next try: 0 after a call that left nothing to retry,
 * else exponential with full jitter, 0.5 to 60 s.
 */
int64_t sink_backoff_ms(struct sink *s);
void sink_stop(struct sink *s); /* any thread */
void sink_free(struct sink *s);
const char *sink_name(struct sink *s); /* "elasticsearch" */

/*
 * For reconciliation: which of these files have a document that says synced
 * (found[i] = 1; also when they need none: es_match), one that does not (0), or
 * none (-1).  found is written only on success.  As sink_send's errors.
 */
int sink_query(struct sink *s, const char *const *paths, int *found, size_t n);

/*
 * A document that does not say synced.  Borrowed, for the call; NULL: it does not say.
 * Text: bytes of names that are not UTF-8 are %XX.
 */
struct sink_doc {
	const char *index;
	const char *id;
	const char *path; /* its file's, if what documents are found by has it */
	const char *name; /* its file's, the same */
	const char *url;
	bool removed; /* it was told that its file is gone (SINK_REMOVED) */
};

struct sink_scan {
	/* Each one, of total; below 0 ends the scan with that. */
	int (*each)(void *arg, const struct sink_doc *doc, uint64_t total);
	bool (*end)(void *arg); /* asked about once a second while the sink is waited for */
	void *arg;
};

/*
 * All documents that do not say synced, as they are at one instant soon after the call,
 * in no order, with the memory of a page.  Asks once and gives up at the first failure:
 *	-ENOENT	  there is no such index
 *	as sink_send; what each returned
 * All but what each returned leave a sentence in sink_health().
 */
int sink_scan(struct sink *s, const struct sink_scan *scan);

struct sink_health {
	bool up;
	char error[256]; /* a sentence that says what to do */
	char server[64]; /* "opensearch 2.19.1" once connected */
};
void sink_health(struct sink *s, struct sink_health *ret);

#endif
