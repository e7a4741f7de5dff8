/* SPDX-License-Identifier: MIT */
/*
 * A batch on its way, as archive*.c see it.
 *
 *	archive.c		select, intent, the order of the steps
 *	archive_file.c		one file: key, parts, read, known already?
 *	archive_pack.c		many small files as one object
 *	archive_put.c		puts, and what they came to; each is proved when it is answered
 *	archive_prove.c		receipts, fdatasync
 *	archive_commit.c	claims, the transaction
 *	archive_recover.c	intents: written, and found again after a crash
 *	archive_unfinished.c	those whose batch ended without its transaction
 *
 * A file's result says how far it came: 0 still with us, else it is out.  Its
 * objects stay known (maybe_*) whatever becomes of it.  One thread at a time works on a
 * batch; a store's callback touches its own part, then counts itself off.
 */
#ifndef EBB_TIER_ARCHIVE_INT_H
#define EBB_TIER_ARCHIVE_INT_H

#include <sys/stat.h>

#include "lib/lock.h"
#include "lib/pool.h"
#include "tier/tier_int.h"

struct batch;
struct item;

/* One object: a file, a part of a large one, or a pack. */
struct part {
	struct batch *b;     /* borrowed */
	const char *attempt; /* borrowed from its item or pack */
	const char *path;    /* the same */
	char *key;	     /* owned */
	uint64_t off, size;
	uint32_t crc;
	uint64_t charged;	  /* what the window counts for it */
	void *data;		  /* owned, until the put was answered */
	struct store_attrs attrs; /* the store's until then, too */
	struct store_stat stat;
	struct receipt *receipt; /* owned */
	int result;		 /* of the put, or of whose it is; -EAGAIN: not asked */
	int proof;		 /* of the proof; -EAGAIN: not asked */
	bool landed;		 /* the store said so */
};

/* An object of many items; made, filled and put by archive_pack.c. */
struct pack {
	struct part part; /* part.data is owned by the pack */
	uint64_t number;
	char attempt_text[STORE_ATTEMPT_MAX];
	size_t room;	     /* allocated at part.data */
	uint64_t data_bytes; /* files; part.size with the lines behind them */
	unsigned n_files;
	bool asked;   /* the store was, to put it */
	bool maybe;   /* it may be in the store */
	int64_t used; /* the transaction's: files that have a row in it */
	int64_t used_bytes;
};

enum item_way {
	ITEM_SEND,    /* its bytes go to the store */
	ITEM_REFRESH, /* the row's bytes are these: only attributes and identity differ */
	ITEM_REVIVE,  /* a trash row's bytes are these: it comes back */
};

struct item {
	struct batch *b;	   /* borrowed */
	struct archive_file *file; /* borrowed */
	struct node *node;	   /* counted */
	char *path;		   /* owned; relative to the tree */
	int fd;			   /* owned; O_RDONLY, or -1 */
	struct stat st;		   /* of the identity */
	uint64_t ino, attempt;
	char attempt_text[STORE_ATTEMPT_MAX];
	enum item_way way;
	bool had_number;       /* it was known before: the trash may hold its bytes */
	bool has_old;	       /* a row of an earlier version */
	struct file_row row;   /* that one, or the trash's; from the claim on the one to commit */
	int64_t revive;	       /* trash id */
	struct receipt *proof; /* owned; that the trash row's object is what it should be */
	enum row_object object;
	uint32_t crc;
	unsigned n_parts;
	struct part *parts; /* owned */
	struct pack *pack;  /* borrowed from the batch; NULL: an object of its own */
	uint64_t pack_off;
	bool maybe_path, maybe_alt; /* objects of this attempt may be there under these keys */
	bool claimed;
	int commit_result; /* as the transaction saw it; counts only once that is committed */
};

struct batch {
	struct job job; /* batch_finish() in the pool */
	struct tier *t;
	struct node *dir; /* borrowed */
	struct dirfd *d;  /* counted */
	char *path;	  /* owned; of dir, when the intent was written */
	dirid_t dirid;
	int64_t objdir;	 /* path id of path */
	int64_t intent;	 /* 0: none */
	uint64_t number; /* by which its intent is known: archive_number() */
	struct item *items;
	size_t n;
	struct pack *packs; /* owned; as many as may be needed, all named by the intent */
	unsigned n_packs;

	_Atomic int
		store_error; /* the store as a whole does not take more: -ENOSPC, -ETIMEDOUT ... */

	struct lock lock; /* LOCK_RANK_LEAF */
	struct cond idle; /* n_flying is 0 */
	struct cond over; /* is_over */
	/* protected by lock */
	unsigned n_flying; /* operations of the store */
	bool is_over;	   /* each file has its result */
};

/* archive.c: operations of the store that are under way. */
void batch_takeoff(struct batch *b);
void batch_landed(struct batch *b); /* a callback's last touch of the batch */
void batch_wait_landed(struct batch *b);

static inline bool item_is_in(const struct item *it)
{
	return it->file->result == 0;
}

static inline void item_out(struct item *it, int result)
{
	it->file->result = result;
}

/* archive_file.c: parts for an object of this kind; -ENOMEM, or of object_key(). */
int item_make_parts(struct item *it, enum row_object object);
void item_drop_parts(struct item *it);
/* May a file's object have this key, its path?  Not one that is ours, or cannot be. */
bool archive_key_fits(struct tier *t, const char *key);
/* The same, of the kind that its size and path ask for. */
int item_choose_object(struct item *it);
/* Read and put, or find that it is known; again: under another key. */
int item_put(struct item *it, bool again);
/* Part of its path, or of a pack: puts what data holds. */
void part_put(struct part *p);
int part_read(struct part *p, int fd);
int item_unchanged(struct item *it); /* 0 or -EAGAIN: it is what it was when it was selected */
/* Are these bytes in the store already?  True: way says how. */
bool item_is_known(struct item *it, uint32_t crc);
/* The row an object of this item has, as far as its key and attempt go. */
void item_row(const struct item *it, enum row_object object, struct file_row *ret);

/* archive_pack.c: how many packs there may be, with numbers; before the intent. */
int archive_plan_packs(struct batch *b);
/* Reads the small files into packs and puts them; whoever is left alone has no pack. */
void archive_fill_packs(struct batch *b);
/* After the answers: what became of their items. */
void archive_judge_packs(struct batch *b);
/* In the transaction: rows of packs, once its items' are made. */
int archive_commit_packs(struct batch *b, struct tx *tx);
void archive_free_packs(struct batch *b);

/*
 * Those of a whole batch go over the items that are still in.
 *
 * archive_put.c: the store's answer.  What was written is proved at once.
 */
void archive_on_put(void *arg, int result);
bool put_did_nothing(int r);	       /* the store said so; of a key that is taken it does not */
void archive_put_all(struct batch *b); /* all on their way, when it returns */
void archive_judge_puts(struct batch *b); /* waits; other keys where they were taken */

/* archive_prove.c: what landed, for which the caller counts in the window and the batch. */
void part_prove(struct part *p);
void archive_judge_proofs(struct batch *b);
void archive_sync_all(struct batch *b); /* what was read is on the cache's disk */

/*
 * archive_commit.c: claims, compares, commits what is in, orphans of what is out; deletes
 * the intent.
 */
void archive_commit(struct batch *b);

/* archive_recover.c: payload of the intent; heap, NULL without memory. */
char *archive_payload(const struct batch *b);
/* The first number that the payload names: no other intent's does. */
uint64_t archive_number(const struct batch *b);

/* archive_unfinished.c: how many are noted, copied to *ret (heap); -ENOMEM. */
int64_t unfinished_all(struct unfinished *u, uint64_t **ret);
void unfinished_forget(struct unfinished *u, const uint64_t *numbers, size_t n);

#endif
