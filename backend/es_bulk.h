/* SPDX-License-Identifier: MIT */
/*
 * _bulk: partial updates of documents, as request and as reply.
 *
 * Pure: no connection.  A bulk is one body and the list of its operations, each
 * with its place in the body, so that any run of them is a request by itself:
 * splitting after a 413 copies nothing.
 */
#ifndef EBB_BACKEND_ES_BULK_H
#define EBB_BACKEND_ES_BULK_H

#include <stddef.h>

#include "backend/es_buf.h"
#include "backend/sink.h"

#define ES_BULK_PATH                                                                               \
	"/_bulk?filter_path=took,errors,items.*._id,items.*._index,items.*.status,items.*.result," \
	"items.*.error.type,items.*.error.reason"

/* One document. */
struct es_target {
	const char *index;   /* borrowed */
	const char *type;    /* borrowed; NULL: the server wants none */
	const char *id;	     /* borrowed */
	const char *routing; /* borrowed; NULL: by its id */
};

struct es_op {
	size_t item;
	size_t off_bytes, len_bytes; /* both lines, each with its newline */
	char *id;		     /* owned */
	enum sink_verdict verdict;
	char error[160];
};

struct es_bulk {
	struct es_buf body;
	struct es_op *ops; /* owned */
	size_t n;
	size_t room;
};

void es_bulk_fini(struct es_bulk *b);
#define AUTO_BULK __attribute__((cleanup(es_bulk_fini)))

/* {"FIELD":url,"SYNCED":true}; an empty field name is left out.  0, -ENOMEM.  *ret is heap. */
int es_bulk_doc(const char *url_field, const char *synced_field, const struct sink_item *item,
		char **ret);

/* Adds the update of one document; its verdict begins as SINK_RETRY.  0, -ENOMEM. */
int es_bulk_add(struct es_bulk *b, size_t item, const struct es_target *at, const char *doc);

/* How many operations from the given one go into one request: at least 1. */
size_t es_bulk_slice(const struct es_bulk *b, size_t from, size_t max_ops, size_t max_bytes);

/*
 * Reads the reply to the n operations at ops into their verdicts.
 *	0	   each has one
 *	-EAGAIN	   the reply was cut: all SINK_RETRY
 *	-EPROTO	   not a reply to this request (all SINK_RETRY), or the index cannot be
 *		   updated this way (the others have their verdicts)
 *	-EACCES	   we may not write to the index; the others have their verdicts
 *	-ENOMEM	   all SINK_RETRY
 * All but 0 leave a sentence in why.
 */
int es_bulk_read(struct es_op *ops, size_t n, const struct es_buf *reply, char *why, size_t size);

#endif
