/* SPDX-License-Identifier: MIT */
/*
 * One call's items: which document each is about, and what became of it.
 *
 * A document is named by a key: its _id, or the term it is searched by.  Two
 * items with one key are about one document, and every update sets all of our
 * fields: only the last is sent, and its verdict is the others' too.  That way
 * an older truth can never be written over a newer one of the same batch.
 *
 * A key may have several documents, an item several keys: verdicts are merged,
 * SINK_RETRY > SINK_POISONED > SINK_DONE > SINK_MISSING.
 */
#ifndef EBB_BACKEND_ES_BATCH_H
#define EBB_BACKEND_ES_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/sink.h"

struct es_rule {
	const char *match; /* borrowed: es_match */
	const char *key;   /* borrowed: template of the key */
	bool by_url;	   /* the key's field is the one we change: look for our URLs too */
	size_t key_max_bytes;
};

struct es_key {
	char *value; /* owned */
	size_t item;
};

struct es_batch {
	struct sink_item *items; /* borrowed */
	size_t n_items;
	struct es_key *keys; /* owned; sorted by value, each value once */
	size_t n_keys;
	size_t *leader;	   /* owned, n_items: the item sent in its place, or itself */
	signed char *rank; /* owned, n_items: the merged verdict's, below 0 when there is none */
};

/*
 * Items without a document (es_match) get SINK_DONE, those without a possible
 * key SINK_POISONED: they have no key.  0, -ENOMEM.
 */
int es_batch_init(struct es_batch *b, const struct es_rule *rule, struct sink_item *items,
		  size_t n);
void es_batch_fini(struct es_batch *b);
#define AUTO_BATCH __attribute__((cleanup(es_batch_fini)))

/* The key of that value, NULL when there is none. */
const struct es_key *es_batch_find(const struct es_batch *b, const char *value);
void es_batch_merge(struct es_batch *b, size_t item, enum sink_verdict verdict, const char *error);
/* Give every item that has none the verdict of its leader. */
void es_batch_finish(struct es_batch *b);

/* One key.  0; -EINVAL: the template has unknown names or unclosed braces; -ENOMEM. */
int es_key_fill(const char *tmpl, const char *path, const char *name, char **ret);

/*
 * The reverse, as far as it goes: the path, or else the name, that a key was made from.
 * Heap or NULL, both NULL: the template does not tell, or the key is not made by it.  -ENOMEM.
 */
int es_key_read(const char *tmpl, const char *key, char **ret_path, char **ret_name);

#endif
