/* SPDX-License-Identifier: MIT */
/*
 * The reaper from inside.
 *
 *	reaper.c	  decides which directory is due, hands it to a worker
 *	reaper_table.c	  the directories it knows; touching them
 *	reaper_due.c	  when they are due, and who has them
 *	reaper_backoff.c  who waits after a failure
 *	reaper_look.c	  one directory: what is in it, what of it is due
 *	reaper_flush.c	  archives and releases what was due there
 *	reaper_scan.c	  finds the directories that hold something: at start, and where one moved
 *	reaper_pressure.c what goes first when the cache fills
 *	reaper_count.c	  what was done, how fast; status; locate
 *	reaper_run.c	  commands: what is to be looked at
 *	reaper_rounds.c	  commands: again, until all is done or told
 *	reaper_told.c	  commands: what became of each file
 *	reaper_restore.c  commands: ebbctl restore
 *
 * Locks: reaper.lock (LOCK_RANK_REAPER), under it a shard's or a LEAF.  Neither
 * is held while a directory is looked at: its entry is busy instead, which is one owner.
 *
 *	fs --touch--> stack --adopt--> heap --due--> queued --> busy (looked at) --> heap
 */
#ifndef EBB_TIER_REAPER_INT_H
#define EBB_TIER_REAPER_INT_H

#include "lib/lock.h"
#include "lib/pool.h"
#include "tier/archive.h"
#include "tier/reaper.h"
#include "tier/release.h"
#include "tier/tier_int.h"

#define REAP_NEVER INT64_MAX
#define REAP_RETRY_MS 60000 /* what failed is due again by then, unless a back-off says sooner */
#define REAP_SHARDS 64

/* What a directory held when it was looked at. */
struct dir_counts {
	uint64_t local_files, local_bytes;
	uint64_t archived_files, archived_bytes;
	uint64_t other_files;
	uint64_t stale_files, stale_bytes; /* rows of local or other files: they prove nothing */
	int64_t oldest_local_ns;	   /* ctime; 0 none; of those that will be archived */
	int64_t oldest_archived_ns;	   /* ctime; 0 none; of those that may be released */
};

/* Files from the future are aged from when they were first seen; one mark a directory. */
struct future {
	int64_t ctime_ns;
	int64_t seen_ms;
};

/* ---- looking at a directory ------------------------------------------------- */

enum {
	LOOK_ARCHIVE = 1,
	LOOK_RELEASE = 2,
	LOOK_ANY_ARCHIVE_AGE = 4, /* but a second: timestamps are coarse */
	LOOK_ANY_RELEASE_AGE = 8,
	LOOK_UNTIL_LOW = 16, /* release until the low watermark */
	LOOK_DRY = 32,
};

enum told { TOLD_ARCHIVED, TOLD_RELEASED, TOLD_SKIPPED, TOLD_FAILED, TOLD_LATER };

struct look {
	/* in */
	struct reaper *r;
	struct node *dir;
	unsigned what;
	enum release_why why;
	/* A command wants to know of each file; later: what it is if that never comes. */
	void (*tell)(struct look *l, enum told told, const char *name, const char *reason,
		     uint64_t bytes, enum told later);
	const _Atomic bool *stop;
	int64_t until_ms;     /* -ECANCELED when that is past; 0: as long as it takes */
	int64_t begun_ns;     /* what has changed since is another's work; 0: all is ours */
	struct future future; /* in and out */
	/* out */
	struct dir_counts counts;
	int64_t next_archive_ms, next_release_ms; /* clock_mono_ms; REAP_NEVER */
	uint64_t archived, released;
	uint64_t n_entries; /* in the cache directory */
	bool again_release; /* not journalled, not told: soon */
	int store_error;    /* the store took nothing of something */
	unsigned n_refused; /* so many batches in a row it took nothing of at all */
	int file_error;	    /* some file failed for a reason of its own */
	int64_t young_ms;   /* how long until the last file is old enough to be read */
	int64_t txn;	    /* newest transaction a release has to wait for */
	/* within */
	struct dirfd *d;
	dirid_t dirid;
	char *path; /* owned: the directory's, with room for a name */
	size_t dir_len;
	int64_t now_ms, now_ns;
	bool enough;		  /* the low watermark is reached */
	bool gave_up;		  /* the store takes nothing: no more of it is archived */
	struct archive_file *due; /* owned */
	size_t n_due, due_room;
	uint64_t due_bytes;
	int64_t due_since_ms;	   /* how long the first of them has been due */
	int64_t due_wait_ms;	   /* how long they may wait for company */
	bool company;		   /* others will be due */
	struct release_item *cold; /* owned, as many */
	struct cold_info {
		int64_t ctime_ns;
		uint64_t size;
		int64_t txn;
	} * cold_info; /* owned */
	size_t n_cold;
};

/* All names of the directory, or the n given.  0, -ENOENT: it is not in the cache, -errno. */
int look_dir(struct look *l);
int look_names(struct look *l, const char *const *names, size_t n);

/* Directories that are still to be walked through. */
struct dir_stack {
	struct node **v; /* owned, counted */
	size_t n, room;
};
/* Takes over the count of dir.  0, -ENOMEM: it did not. */
int dir_stack_push(struct dir_stack *s, struct node *dir);
/* A sub-directory of dir; one that went meanwhile is none.  0, -ENOMEM, others of node_get. */
int dir_stack_push_sub(struct dir_stack *s, struct tree *tree, struct node *dir, const char *name);

/* A directory's sub-directories (not mount points); how many other entries.  0, -errno. */
int scan_dir(struct tier *t, struct node *dir, int (*sub)(void *arg, const char *name), void *arg,
	     uint64_t *ret_others);

/* ---- directories ------------------------------------------------------------- */

/* What pressure asks of a directory. */
enum press { PRESS_RELEASE, PRESS_ARCHIVE, N_PRESS };

struct reap_dir {
	struct reaper *r;  /* constant */
	struct node *node; /* counted; constant */
	/* protected by its shard's lock */
	struct reap_dir *chain;
	struct reap_dir *touched_next;
	bool touched; /* on the stack */
	bool soon;    /* look at it at once */
	bool changed; /* since it was last looked at */
	/* protected by reaper.lock */
	size_t pos; /* in the heap */
	int64_t due_ms;
	int64_t hold_ms;		/* not before: it was due, and could not be done */
	int64_t archive_ms, release_ms; /* REAP_NEVER: nothing known to be due */
	bool queued;			/* its job is with the workers */
	bool busy;			/* somebody works on it */
	bool nothing;			/* it held nothing: who uses it last forgets it */
	unsigned users;			/* who waits for it or looks at its counts */
	const struct look *counter;	/* the look that a status has it counted by, or NULL */
	unsigned fails, release_fails;	/* in a row */
	unsigned store_fails;		/* of fails: the store's */
	int64_t retry_ms;		/* the store failed it: nothing of it is archived before */
	uint64_t failed_in;		/* the spell in which it did so last */
	struct {
		int64_t until_ms;     /* it does not ask again before */
		unsigned fruitless;   /* asked in vain, in a row */
		enum release_why why; /* the last time */
	} press[N_PRESS];
	unsigned ask;  /* LOOK_*, for the job */
	bool is_trial; /* the one that is tried while the store takes nothing */
	enum release_why why;
	struct dir_counts counts;
	/* owned by who made it busy */
	struct future future;
	struct job job;
};

struct reap_shard {
	struct lock lock;	   /* LOCK_RANK_LEAF */
	struct reap_dir **buckets; /* owned */
	size_t n_buckets, n;
};

#define RATE_SECONDS 60

struct reap_rates {
	struct lock lock; /* LOCK_RANK_LEAF */
	struct {
		int64_t second;
		uint64_t archived, archived_bytes, released;
	} slot[RATE_SECONDS];
};

struct reaper {
	/* constant after start */
	struct tier *t;
	uint64_t first_number; /* attempts from here on are this daemon's */
	struct pool *threads;  /* the deciding one, the scanning one */
	struct pool *workers;
	struct pool *commands; /* the same work, asked for by commands */
	struct job decide_job, scan_job, walk_job, settle_job;

	struct reap_shard shards[REAP_SHARDS];
	_Atomic(struct reap_dir *) touched;
	_Atomic bool stopping, scanning;
	_Atomic bool settling; /* settle_job is with the workers */
	_Atomic uint64_t archived_total, released_total, restored_total, failed_total;
	struct reap_rates rates;
	_Atomic long long told_store_ms, told_file_ms, told_full_ms, told_scan_ms;

	/* protected by lock */
	struct lock lock;	/* LOCK_RANK_REAPER */
	struct cond wake;	/* the deciding thread; the scanning one's pauses */
	struct cond idle;	/* an entry is no longer busy; a command ended */
	struct reap_dir **heap; /* owned; by due_ms */
	size_t n_heap, room_heap;
	unsigned n_queued, n_commands;
	uint64_t n_put_off;
	unsigned n_archiving, n_pressing; /* jobs at the store; jobs for pressure */
	uint64_t spell;			  /* from one success at the store to the next; from 1 */
	unsigned n_failing;		  /* directories that the store failed in this one */
	unsigned store_fails; /* of those that were tried, in a row, as it takes nothing */
	int64_t pause_until_ms;
	bool pressing;
	bool started;
	struct dir_stack moved;	 /* renamed since they were walked through */
	bool walking;		 /* somebody does, and comes to those */
	struct dir_stack unread; /* the walk could not read them: again at read_again_ms */
	int64_t read_again_ms;
};

#define TABLE_NOT_IN_HEAP SIZE_MAX

/* reaper_table.c */
int table_new(struct reaper *r);
void table_free(struct reaper *r);
bool table_is_busy(struct reaper *r, struct node *dir); /* somebody works on it just now */
/* -ENOMEM, or 0; soon: look at once. */
int table_touch(struct reaper *r, struct node *dir, bool soon);
void table_entry_free(struct reaper *r, struct reap_dir *e);
/* Its counts are taken from now on / were they outdated? */
void table_clear_changed(struct reaper *r, struct reap_dir *e);
bool table_is_changed(struct reaper *r, struct reap_dir *e);
/* Taken from the stack (*ret_next: the one below), or put back.  Was it wanted soon? */
bool table_untouch(struct reaper *r, struct reap_dir *e, bool taken, struct reap_dir **ret_next);
/* NULL: not known.  Entries go only under the reaper's lock. */
struct reap_dir *table_find(struct reaper *r, const struct node *dir);
bool table_unlink(struct reaper *r, struct reap_dir *e); /* false: it was touched */

/* reaper_due.c.  Those that say _locked want the reaper's lock held. */
void table_adopt_locked(struct reaper *r);
void table_schedule_locked(struct reaper *r, struct reap_dir *e);
/* Hand it to the workers; it is neither queued nor busy. */
void table_submit_locked(struct reaper *r, struct reap_dir *e, unsigned ask, enum release_why why);
/* True: nobody needs it, and it is the caller's to free, after the lock. */
bool table_remove_locked(struct reaper *r, struct reap_dir *e);
/* Who used it has done; true: as above. */
bool table_unuse_locked(struct reaper *r, struct reap_dir *e);
/* Busy from now on; whole: all of it is looked at, and what is due follows from that. */
void table_begin_locked(struct reaper *r, struct reap_dir *e, bool whole);
/* The same, found or made, waiting for who has it; NULL without memory.  Then table_disown. */
struct reap_dir *table_own(struct reaper *r, struct node *dir, bool whole);
/* What was seen (NULL: nothing whole) is its state now; it may be forgotten. */
void table_disown(struct reaper *r, struct reap_dir *e, const struct look *l, int result);

/* reaper_backoff.c: the store took something.  The reaper's lock is not held. */
void backoff_worked(struct reaper *r);
/* It took nothing of so many batches of one look: it is not asked for the rest. */
bool backoff_is_hopeless(const struct look *l);
/* After a look; when it is due again is put into l. */
void backoff_note(struct reaper *r, struct reap_dir *e, struct look *l);
/* Nothing of it is archived now. */
bool backoff_waits_locked(const struct reaper *r, const struct reap_dir *e, int64_t now);
/* One more may be archived now: none is while all wait, nor a second one after that. */
bool backoff_is_free_locked(const struct reaper *r, int64_t now);
/* Of what the job was asked: others may have failed since then. */
unsigned backoff_left_locked(const struct reaper *r, const struct reap_dir *e, unsigned ask);
/* Which is to be tried, while the store takes nothing; NULL: none now. */
struct reap_dir *backoff_trial_locked(struct reaper *r, int64_t now);

/* reaper.c */
void reap_job(struct job *job);

/* reaper_scan.c: all of it at start; later what has moved. */
void reap_scan(struct job *job);
void reap_walk(struct job *job);
/* What could not be read, when its time has come. */
void reap_read_again(struct reaper *r);
void reap_scan_free(struct reaper *r);

/* reaper_pressure.c */
void reap_pressure(struct reaper *r);

/* reaper_count.c */
uint64_t reaper_first_number(struct tier *t);
void reaper_count_archived(struct reaper *r, uint64_t files, uint64_t bytes);
void reaper_count_released(struct reaper *r, uint64_t files);
void reaper_count_restored(struct tier *t);
void rates_init(struct reap_rates *x);

#endif
