/* SPDX-License-Identifier: MIT */
/*
 * Finding documents by a term, and reading what they say.
 *
 * Pure: no connection.  Which field to ask is read from _field_caps, not from
 * the mapping: one short answer for any number of indices behind an alias or a
 * pattern, the same in every version, and it takes no more than the right to read.
 */
#ifndef EBB_BACKEND_ES_FIND_H
#define EBB_BACKEND_ES_FIND_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/es_batch.h"
#include "backend/es_bulk.h"
#include "backend/es_json.h"

#define ES_FIND_FIELDS 4
#define ES_FIND_HITS 10000 /* index.max_result_window of a default index */

/* The fields that hold whole values: FIELD itself, FIELD.keyword, in mixed indices both. */
struct es_terms {
	size_t n;
	char *field[ES_FIND_FIELDS]; /* owned */
};

/*
 * caps: the reply to GET /INDEX/_field_caps?fields=FIELD,FIELD.*
 * 0; -ENOENT: no index has the field (yet); -EPROTO: it is only there as text, of
 * which whole values cannot be asked; -ENOMEM.
 */
int es_terms_read(struct json_object *caps, const char *field, struct es_terms *ret);
void es_terms_fini(struct es_terms *t);

/* The body of _search: documents with any of these values, and of each the fields named. */
void es_find_build(struct es_buf *b, const struct es_terms *t, const struct es_key *keys, size_t n,
		   const char *field, const char *field2);

struct es_hit {
	struct es_target at;	    /* where the document is; type NULL when not told */
	struct json_object *source; /* borrowed */
};

/*
 * How many there are, or -EAGAIN: shards were missing or it timed out, so that a
 * document not found may exist; -EPROTO: not a search's reply.
 */
int es_hits_count(struct json_object *reply);
/* Calls each for every hit.  0, what each returned below 0, -EPROTO. */
int es_hits_read(struct json_object *reply, int (*each)(const struct es_hit *hit, void *arg),
		 void *arg);

/* Calls each for every string in a field of a document.  0, or what each returned below 0. */
int es_values_read(struct json_object *source, const char *field,
		   int (*each)(const char *value, void *arg), void *arg);

#endif
