/* SPDX-License-Identifier: MIT */
/* Payloads of intents, read back.  Names are raw bytes in JSON strings. */
#ifndef EBB_TIER_INTENT_JSON_H
#define EBB_TIER_INTENT_JSON_H

#include <json-c/json.h>

#include "tier/intent.h"

/* One name an intent speaks of, as its payload holds it. */
struct intent_place {
	const char *dir_path; /* borrowed from the payload's object */
	const char *name;
	bool there; /* the cache had it */
	bool is_dir;
	struct identity id; /* valid if there; of a directory that is renamed only ino counts */
};

/* -EINVAL: not what was written. */
int intent_place_read(struct json_object *o, struct intent_place *ret);
int64_t intent_int(struct json_object *o, const char *key);

#endif
