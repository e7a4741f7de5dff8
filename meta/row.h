/* SPDX-License-Identifier: MIT */
/*
 * The catalogue's rows, as C.
 *
 * Times are nanoseconds since 1970.  Names are bytes without NUL and '/', at
 * most 255, NUL-terminated here.  Directory id 1 is the root of the tree; it has
 * a row from the start.
 */
#ifndef EBB_META_ROW_H
#define EBB_META_ROW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ROW_NAME_MAX 255
#define ROW_ROOT_DIR 1

typedef int64_t dirid_t;

/* Which cache file's bytes were archived: it proves something only for that file. */
struct identity {
	uint64_t ino;  /* st_ino in the cache */
	uint64_t size; /* bytes */
	int64_t mtime_ns;
	int64_t ctime_ns;
};

/* Attributes a user sees and may change. */
struct row_attr {
	mode_t mode; /* with the file type */
	uid_t uid;
	gid_t gid;
	uint64_t size; /* bytes; 0 for a directory */
	int64_t atime_ns;
	int64_t mtime_ns;
	int64_t ctime_ns;
};

/* How the object of a row is named in the store (DESIGN.md, "In the store"). */
enum row_object {
	ROW_OBJECT_PATH = 0,  /* <path of objdir>/<objname or name> */
	ROW_OBJECT_ALT = 1,   /* .ebb/o/<node>/<ino>-<attempt> */
	ROW_OBJECT_PARTS = 2, /* the same with .<n>, each 64 MiB but the last */
	ROW_OBJECT_PACK = 3,  /* .ebb/pack/<node>/<pack>, from pack_off on; objdir is 0 */
};

struct file_row {
	dirid_t dir;
	char name[ROW_NAME_MAX + 1];
	uint64_t ino; /* the file's id: never reused, survives rename, release, restart */
	struct row_attr attr;
	uint32_t crc32c; /* of all bytes */
	enum row_object object;
	int64_t objdir; /* path id (table path) the directory had when it was archived */
	char objname[ROW_NAME_MAX + 1]; /* "" while equal to name */
	uint64_t attempt;   /* unique a node: the object's xattr says <node uuid>/<attempt> */
	uint64_t pack;	    /* ROW_OBJECT_PACK: the pack's number, which is its attempt; else 0 */
	uint64_t pack_off;  /* where the bytes begin in it */
	struct identity id; /* id.size == attr.size, id.mtime_ns as the cache had it */
	int64_t txn;	    /* transaction that wrote the row last: journalled up to where? */
	bool told;	    /* some sink was given this object's URL */
};

/*
 * An object that holds many small files back to back, then a line of JSON for each.
 * Files count as alive while a row, also one in the trash, points into it.
 */
struct pack_row {
	uint64_t id;	     /* its number and attempt */
	uint64_t data_bytes; /* the files; the lines begin here */
	uint64_t size_bytes; /* of the whole object */
	uint32_t crc32c;     /* of the whole object */
	int64_t files;	     /* alive */
	int64_t live_bytes;  /* of them */
	int64_t due_ns;	     /* once none is alive: when it may be dropped; else 0 */
	int64_t txn;	     /* transaction that changed the row last */
};

struct dir_row {
	dirid_t id;
	dirid_t parent; /* 0 for the root */
	char name[ROW_NAME_MAX + 1];
	uint64_t ino;
	struct row_attr attr; /* what a user saw last; counts while released or c_* match */
	/* The cache directory's times after our own last action; if it still has them, attr's are shown. */
	int64_t c_mtime_ns;
	int64_t c_ctime_ns;
};

enum trash_reason {
	TRASH_REMOVED = 1,
	TRASH_REPLACED = 2, /* renamed over, opened for writing, truncated */
	TRASH_LINKED = 3,
	TRASH_UNSEEN = 4, /* changed without ebbfs seeing it */
	TRASH_ORPHAN = 5, /* an object of an unfinished batch; has no path to go back to */
};

struct trash_row {
	int64_t id;
	char *path;	      /* owned; bytes, relative to the tree; where the name was */
	struct file_row file; /* dir and name as they were */
	enum trash_reason reason;
	int64_t removed_ns;
	int64_t due_ns; /* when it may be dropped */
};

/* What a sink has to be told of one file. */
enum event_kind {
	EVENT_ARCHIVED = 1, /* its URL is the store's */
	EVENT_LOCAL = 2,    /* it was told of and its bytes changed: the local URL is right */
	EVENT_REMOVED = 3,  /* it was told of and its name is gone */
};

struct event_row {
	int64_t id; /* order of events; per file it is the order of sending */
	int sink;   /* index of the sink, as tier gave it */
	enum event_kind kind;
	uint64_t ino;
	dirid_t dir; /* where the name was then; sent only if the row there still has this ino */
	char name[ROW_NAME_MAX + 1];
	char *path; /* owned; kept for EVENT_REMOVED and EVENT_LOCAL, else NULL */
	int tries;
	int64_t first_ns; /* when it was queued */
	int64_t next_ns;  /* not before */
	int parked;	  /* EVENT_WAITING, EVENT_MISSING or EVENT_POISONED */
	char *error;	  /* owned, may be NULL: what the sink said last, or why it was not asked */
};

enum { EVENT_WAITING = 0, EVENT_MISSING = 1, EVENT_POISONED = 2 };

enum intent_kind {
	INTENT_ARCHIVE = 1,
	INTENT_UNLINK = 2,
	INTENT_RENAME = 3,
	INTENT_RMDIR = 4,
	INTENT_RELEASE_DIR = 5,
};

/*
 * What was about to be done to the cache when the transaction committed.  The
 * payload is the tier's own (JSON text): meta keeps it, tier/intent.c reads it.
 */
struct intent_row {
	int64_t id;
	enum intent_kind kind;
	char *payload; /* owned, NUL-terminated JSON */
};

/* Kept, not counted. */
struct catalogue_counts {
	int64_t files; /* rows: archived and released together */
	int64_t file_bytes;
	int64_t dirs;
	int64_t trash;
	int64_t trash_bytes;
	int64_t events_waiting;
	int64_t events_missing;
	int64_t events_poisoned;
};

#endif
