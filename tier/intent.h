/* SPDX-License-Identifier: MIT */
/*
 * Intents: what was about to happen to the cache when rows were committed.
 *
 * committed with the row changes -> the cache is changed -> settled (in memory)
 * -> the cache's change is durable (fsync of the directory, gathered for about a
 * second) -> deleted.  A cache call that fails undoes the rows before the reply.  Start-up
 * finishes a removal where the cache name still has the identity the intent holds.  Of a
 * renaming it asks the cache whether it was done, and takes the rows back where it was not.
 */
#ifndef EBB_TIER_INTENT_H
#define EBB_TIER_INTENT_H

#include "tier/tier.h"

struct intents;

int intents_new(struct tier *t, struct intents **ret);
int intents_start(struct intents *i); /* the thread that deletes settled ones */
void intents_stop(struct intents *i);
void intents_free(struct intents *i);

#define INTENT_SYNCFS_FROM 16 /* directories: from here one syncfs is cheaper than fsyncs */

/* Which object of the cache: numbers are given again, the time of birth tells them apart. */
struct birth {
	uint64_t ino;	 /* 0: not known */
	int64_t born_ns; /* 0: the file system does not say, or an older ebbfs did not ask */
};

/*
 * A name of the cache that an intent speaks of, as it was.  Its directory is found again by
 * its path at the time, or by its row.
 */
struct intent_name {
	char *dir_path; /* owned; relative */
	dirid_t dir;	/* its row; 0: none */
	struct birth dir_birth;
	const char *name;      /* borrowed */
	const struct stat *st; /* borrowed; the cache's; NULL: nothing there */
	int64_t born_ns;       /* of it; as struct birth */
};
/* 0, or -errno of the cache or the catalogue. */
int intent_name_init(struct tier *t, struct node *parent, const char *name, const struct stat *st,
		     struct intent_name *ret);
void intent_name_fini(struct intent_name *n); /* also of one that is all zero */

/* What a renaming did to rows: all that taking it back needs (tier/rename_rows.c). */
struct row_place {
	dirid_t dir; /* 0: has no row */
	const char *name;
	const char *path; /* of the name, for sinks */
};
enum ref_kind {
	REF_NONE, /* there was no row */
	REF_FILE,
	REF_DIR,
	REF_ANY, /* an older ebbfs did not say: whatever is there */
};
struct row_ref {
	enum ref_kind kind;
	uint64_t id;	  /* a file's number, the id of a directory's row; 0: not said */
	uint64_t attempt; /* a file's; 0: not said */
};
struct rename_record {
	unsigned flags; /* of renameat2 */
	struct row_place from, to;
	struct row_ref from_row, to_row; /* before */
	int64_t trash;			 /* the row of a replaced file; 0: none */
	struct dir_row to_dir;		 /* of a replaced directory; id 0: none */
};
/*
 * The rows as they were; *ret: false: others have gone on with them and nothing was touched.
 * What was in the trash stays away if it was dropped meanwhile.  In a job.
 */
int rename_rows_back(struct tier *t, struct tx *tx, const struct rename_record *done, bool *ret);

/* Payloads; heap, NULL without memory. */
char *intent_remove_payload(const struct intent_name *n);
char *intent_rename_payload(const struct intent_name *from, const struct intent_name *to,
			    const struct rename_record *done);

/*
 * The cache has changed in these directories (b may be NULL): delete id once that is durable.
 * moved: what was renamed; NULL: nothing was.
 */
void intents_settle(struct intents *i, int64_t id, struct node *dir_a, struct node *dir_b,
		    struct node *moved);
/* Was it renamed, and start-up would ask where it is? */
bool intents_has_moved(struct intents *i, const struct node *node);
/* Until that is durable, or nobody can make it so; at once. */
void intents_wait_moved(struct intents *i, const struct node *node);

/*
 * At start, before the mount: every intent but the archive's.  O(intents).  What cannot be
 * decided now is logged and kept.  0 or the catalogue's error.
 */
int intents_recover(struct tier *t);

#endif
