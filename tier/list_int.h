/* SPDX-License-Identifier: MIT */
/*
 * The inside of listings: list.c (passes, offsets), list_rows.c and list_scan.c (what
 * they read), list_note.c (what changes meanwhile).  Only they and their test include this.
 */
#ifndef EBB_TIER_LIST_INT_H
#define EBB_TIER_LIST_INT_H

#include "lib/lock.h"
#include "tier/list.h"
#include "tier/table.h"
#include "tier/tier_int.h"

#define LIST_PAGE_ROWS 128
#define LIST_SCAN_BYTES (64u << 10)
#define LIST_KEPT 256 /* entries that may be asked again: two replies of 4 KiB */

enum list_phase { LIST_IDLE, LIST_ROWS, LIST_SCAN, LIST_NOTED, LIST_DONE };

/* A name whose row changes or may have changed since the listing started. */
struct record {
	struct tlink link;
	uint32_t hash;
	uint32_t nnotes; /* who looks while this moves looks again */
	bool known; /* given says the truth; else the scan alone knows: it gives it if it meets it */
	bool given;
	uint8_t len;
	char name[];
};

/* A name whose row is being changed just now, from the note to the end of the claim. */
struct change {
	struct tlink by_node;
	const struct node *node; /* whose claim it is */
	struct watch *watch;
	struct change *next;
	struct change **prev;
	uint8_t len;
	char name[];
};

/* One directory that is listed or in which rows change; gone when neither. */
struct watch {
	struct tlink by_dir;
	const struct node *dir;
	struct listing *listings;
	struct change *changes;
};

struct listings {
	struct lock lock;
	struct cond cond; /* a turn ended */
	/* protected by lock */
	struct table by_dir;  /* struct watch */
	struct table by_node; /* struct change */
	unsigned nwaiting;
	struct tree *tree; /* borrowed; whose hook is set, NULL: none yet */
};

struct list_item {
	uint64_t ino;
	mode_t type;
	char name[ROW_NAME_MAX + 1];
	struct row_seen seen; /* borrowed of struct rows, until it is asked again */
};

struct rows {
	dirid_t dirid;
	int page;		/* how many rows of each kind are read at a time */
	struct file_row *files; /* owned */
	struct dir_row *dirs;	/* owned */
	int nfiles, file_at, ndirs, dir_at;
	bool last_files, last_dirs; /* there is no further page */
	bool had_any;
	uint64_t files_version, dirs_version; /* of the catalogue, before the pages were read */
};

struct scan_chunk {
	struct scan_chunk *next;
	size_t len_bytes;
	size_t at;
	char bytes[];
};

/* Of the cache directory: what was read and not yet looked at. */
struct scan {
	int fd; /* owned; -1 not open */
	bool eof;
	struct scan_chunk *first;
	struct scan_chunk **last;
};

struct scan_name {
	mode_t type;
	char name[ROW_NAME_MAX + 1];
};

struct kept {
	uint64_t ino;
	mode_t type;
	char name[];
};

struct listing {
	/* constant */
	struct tier *t;
	struct node *dir; /* counted */
	struct watch *watch;
	int page_rows;	   /* LIST_PAGE_ROWS; tests take less */
	size_t scan_bytes; /* LIST_SCAN_BYTES */
	/* protected by the lock of listings */
	struct listing *next;
	bool busy;	/* somebody has the turn: what follows below is theirs */
	unsigned npins; /* drains that wait for the turn */
	enum list_phase phase;
	bool scanned;		       /* the whole scan is in memory */
	int broken;		       /* a note was lost: -errno */
	char passed[ROW_NAME_MAX + 1]; /* the first pass's position */
	struct table records;
	/* owned by whose turn it is */
	uint64_t off;	      /* ordinal of the next new entry */
	struct row_seen seen; /* of the entry before it */
	struct kept *kept[LIST_KEPT];
	struct rows rows;
	struct scan scan;
	struct record **noted; /* owned array; borrowed records */
	size_t nnoted, noted_at;
};

/* ---- list_note.c -------------------------------------------------------- */

int watch_listing(struct listings *ls, struct listing *l);    /* 0, -ENOMEM */
void unwatch_listing(struct listings *ls, struct listing *l); /* waits for drains */
void listing_turn(struct listings *ls, struct listing *l);
void listing_turn_end(struct listings *ls, struct listing *l);
/* From now on names are recorded; those that are changing already have a record. */
int listing_begin(struct listings *ls, struct listing *l);
struct record *record_find(struct listing *l, const char *name);
void records_free(struct listing *l);
/* Is there a row of this name in the directory?  1, 0, -errno. */
int list_has_row(struct tier *t, struct node *dir, const char *name);

/* ---- list_rows.c: under the turn ----------------------------------------- */

int rows_init(struct rows *rows, dirid_t dirid, int page); /* 0, -ENOMEM */
void rows_fini(struct rows *rows);
/* The next row in name order.  1, 0 at the end, -errno. */
int rows_next(struct rows *rows, struct catalogue *cat, struct list_item *ret);

/* ---- list_scan.c: under the turn ----------------------------------------- */

void scan_init(struct scan *s);
void scan_fini(struct scan *s);
/* The next name.  1, 0 at the end, -errno. */
int scan_next(struct scan *s, struct tier *t, struct node *dir, size_t read_bytes,
	      struct scan_name *ret);
/* Read all the rest. */
int scan_drain(struct scan *s, struct tier *t, struct node *dir, size_t read_bytes);

#endif
