/* SPDX-License-Identifier: MIT */
/* Payloads of intents, read back.  Names are raw bytes in JSON strings. */
#ifndef EBB_TIER_INTENT_JSON_H
#define EBB_TIER_INTENT_JSON_H

#include <json-c/json.h>

#include "tier/intent.h"

/* One name an intent speaks of, as its payload holds it. */
struct intent_place {
	const char *dir_path; /* borrowed from the payload's object */
	dirid_t dir;	      /* its directory's row; 0: none, or not said */
	struct birth dir_birth;
	const char *name; /* borrowed */
	bool there;	  /* the cache had it */
	bool is_dir;
	struct identity id; /* valid if there */
	int64_t born_ns;    /* as struct birth */
};

/* -EINVAL: not what was written. */
int intent_place_read(struct json_object *o, struct intent_place *ret);
/* Names are borrowed from o, the paths of ret are NULL: they are the caller's to set. */
int intent_rename_read(struct json_object *o, struct intent_place *ret_from,
		       struct intent_place *ret_to, struct rename_record *ret);

#endif
