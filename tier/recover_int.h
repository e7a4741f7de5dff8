/* SPDX-License-Identifier: MIT */
/* What the parts of start-up share: tier/recover*.c, tier/intent_place.c. */
#ifndef EBB_TIER_RECOVER_INT_H
#define EBB_TIER_RECOVER_INT_H

#include "tier/intent_json.h"
#include "tier/tier_int.h"

/* What became of an intent; a negative errno is the catalogue's, or -EINVAL: not readable. */
enum outcome {
	SETTLED,   /* it has nothing more to say */
	FORGOTTEN, /* the same, and it is deleted already */
	BLOCKED,   /* perhaps another is settled first */
	PASSED_BY, /* it was logged why: to be asked again at the next start */
};

/* ---- a place of the cache now: intent_place.c ----------------------------------- */

struct place_now {
	int fd; /* owned; of the directory; -1: there is none */
	bool there;
	struct stat st;	 /* valid if there */
	int64_t born_ns; /* of it; as struct birth */
	int error;	 /* of the cache, which cannot be asked; else 0 */
};

/* 0, also where ret->error is set; or the catalogue's error. */
int place_look(struct tier *t, const struct intent_place *p, struct place_now *ret);
void place_now_fini(struct place_now *now);
/* Nothing happened to it: the object the intent speaks of, its bytes and its attributes. */
bool place_is_untouched(const struct intent_place *p, const struct place_now *now);
/*
 * What is there now is the object that was at p, written to or not.  stayed: it would be under
 * the name it had, so that without times of birth its identity has to be the same.
 */
bool place_is_object(const struct intent_place *p, const struct place_now *now, bool stayed);
int place_sync(const struct place_now *now); /* fsync of the directory, if there is one */

/* ---- all of it: recover.c ---------------------------------------------------------- */

struct recovery {
	struct tier *t;
	unsigned n_synced; /* directories */
	/* of this pass over all intents */
	unsigned n_back;    /* renamings that were taken back */
	unsigned n_blocked; /* that could not be: other rows are in their way, or theirs are gone */
	bool last;	    /* nothing more will move: these are left as they are */
};
/* What was done before the kill is on the disk, as far as this place goes.  0 or -errno. */
int recovery_sync(struct recovery *rec, const struct place_now *now);

/* ---- renamings: recover_rename.c ------------------------------------------------- */

/* What a name has now. */
enum name_now {
	NAME_SOURCE, /* what was to be renamed */
	NAME_TARGET, /* what was to be replaced, or exchanged */
	NAME_FREE,   /* nothing, or what hides no row: its own copy, a directory for a directory */
	NAME_OTHER,
};
struct rename_now {
	enum name_now from, to;
	bool exchange;
	bool source_released, target_released; /* the cache had none of it: only a row */
};
/* Were the names changed?  Then the rows stay as they are, else they go back. */
bool rename_stands(const struct rename_now *now);

int recover_rename(struct recovery *rec, int64_t intent, struct json_object *o);

#endif
