/* SPDX-License-Identifier: MIT */
/*
 * The inside of a rebuild: rebuild.c all of it and the taking over, rebuild_node.c whose
 * journal it is, rebuild_parts.c what is read and applied.
 */
#ifndef EBB_TIER_REBUILD_INT_H
#define EBB_TIER_REBUILD_INT_H

#include <stdbool.h>

#include "tier/rebuild.h"

struct cat_rebuild;
struct json_object;
struct store;

struct rebuild {
	const struct rebuild_request *req; /* borrowed */
	struct rebuild_result *ret;
	struct store *store;	     /* owned */
	struct cat_rebuild *cat;     /* owned */
	uint64_t seq;		     /* the next part of the journal */
	uint64_t epoch;		     /* of the last owner whose record was read */
	char token[UID128_STR_SIZE]; /* tells our fence from another's */
	char *err;
	size_t size;
};

/* Writes the sentence for the user; returns r. */
int rebuild_refuse(struct rebuild *b, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What the store itself has to say, or the errno. */
int rebuild_refuse_store(struct rebuild *b, int r, const char *key);

/* NULL: it is none. */
struct json_object *rebuild_json(const void *data, size_t len);
/* "" when there is no such member; borrowed from o. */
const char *rebuild_member(struct json_object *o, const char *key);

/* Into b->ret->node.  0, -ENOENT, -EINVAL, store errors. */
int rebuild_choose_node(struct rebuild *b);

/*
 * Applies the newest complete checkpoint, if there is one, and says where the journal goes
 * on: b->seq.  -ENOENT: no journal; -ENODATA, -EBADMSG, -ECANCELED, others.
 */
int rebuild_begin(struct rebuild *b);
/* The next part of the journal.  0: applied; 1: the end, or our own fence (fenced). */
int rebuild_next(struct rebuild *b, bool *fenced);

#endif
