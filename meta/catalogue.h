/* SPDX-License-Identifier: MIT */
/*
 * The catalogue: the truth about what is in the store.
 *
 * One writer thread owns the only connection that writes (WAL) and does every
 * checkpoint.  Work reaches it as jobs: functions that run inside the writer's
 * transaction, in the order they were submitted, several to a transaction when
 * many wait (group commit), each in a savepoint of its own so that one that
 * fails undoes nothing of another's.  The transaction's own changeset (session
 * extension) is stored in it, so a kill leaves no hole in the journal.
 *
 * Readers are read-only connections, one a thread, made when a thread first
 * reads; a read sees every transaction whose job was reported done.
 *
 * On corruption or an I/O error the catalogue turns read-only for good, says so
 * loudly once, and every later job gets -EROFS.
 *
 * Errors of all calls unless said otherwise: -EIO (database damaged or disk
 * error), -ENOMEM, -ENOSPC (disk full; nothing was changed), -EROFS (turned
 * read-only, or fenced by another owner).
 */
#ifndef EBB_META_CATALOGUE_H
#define EBB_META_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/uid128.h"
#include "meta/row.h"

struct catalogue;
struct tx;

struct catalogue_ids {
	struct uid128 volume; /* of the store */
	struct uid128 node;
	struct uid128 cache; /* zero until a cache was accepted */
};

/*
 * Open or create.  Another process that has it open is -EBUSY (flock on the
 * file beside it, FILE-lock).  -ENOTSUP: a newer format; -EUCLEAN: damaged or
 * not a catalogue of ebbfs; -ENOSPC, -errno of open(2).  err receives a sentence
 * for the user.  A fresh catalogue has a new node uuid and zero volume and cache.
 */
int catalogue_open(const char *file, bool create, struct catalogue **ret, char *err, size_t size);
/*
 * Runs what is queued, checkpoints, closes.  NULL is fine.  No call may be in
 * progress; threads that have read may live on, but none may be just ending.
 */
void catalogue_close(struct catalogue *c);

struct catalogue_ids catalogue_ids(struct catalogue *c);
bool catalogue_is_readonly(struct catalogue *c);
/* Turn read-only for as long as it is open; reason is logged.  Any thread. */
void catalogue_set_readonly(struct catalogue *c, const char *reason);

/* ---- writing ---------------------------------------------------------- */

enum sync { SYNC_NORMAL, SYNC_FULL }; /* FULL: fsync of the WAL before it is reported */

/*
 * A job: run() works inside the transaction with the tx_ functions; a negative
 * return undoes this job alone, and so does a tx_ function that failed (-EIO and
 * the like; not -ENOENT, -EEXIST, -EINVAL, -ENOTEMPTY), whatever run() returns.  done() is called after COMMIT on the writer's
 * thread, with run()'s result or COMMIT's error; it must not block and may
 * submit more.  The memory is the submitter's, until done() is called.
 */
struct cat_job {
	int (*run)(struct tx *tx, struct cat_job *job);
	void (*done)(struct cat_job *job, int result);
	enum sync sync;
	struct cat_job *next; /* the catalogue's while queued */
};
void catalogue_submit(struct catalogue *c, struct cat_job *job);

/* Submit and wait: for pool threads, never for a FUSE thread.  run()'s result or an error above. */
int catalogue_write(struct catalogue *c, enum sync sync, int (*run)(struct tx *tx, void *arg),
		    void *arg);

/*
 * Wait until every transaction that was reported done survives a power cut.  For who needs
 * it after the fact: an fsync of the WAL, shared by all who wait, and nothing when
 * none was committed since the last.  Pool threads only.  Works read-only, too.
 */
int catalogue_sync(struct catalogue *c);

/*
 * Unique numbers for inodes and attempts, from 1024 on, increasing, never reused:
 * what a crash leaves of a block of 65,536 is lost, a rebuild leaps 2^40.  Any
 * thread, but not inside run().  Waits for a commit only when a block was used up
 * faster than the next could be reserved.
 */
int catalogue_next_number(struct catalogue *c, uint64_t *ret);
/*
 * The same, for what is never written down: an inode number of a name without a row.  A
 * catalogue that is read-only goes on giving them.
 */
int catalogue_next_ino(struct catalogue *c, uint64_t *ret);

/* ---- inside a job ----------------------------------------------------- */

/*
 * Goes into file_row.txn; increases over restarts and rebuilds.  A transaction
 * that is undone or changes nothing of the journal leaves its id to the next.
 */
int64_t tx_id(struct tx *tx);

/* -ENOENT when there is no such row, in all of these. */
int tx_file_get(struct tx *tx, dirid_t dir, const char *name, struct file_row *ret);
/* Insert or replace; sets txn itself.  -EINVAL: a bad name, or id.size is not attr.size. */
int tx_file_put(struct tx *tx, const struct file_row *row); /* -ENOENT: no such directory */
int tx_file_delete(struct tx *tx, dirid_t dir, const char *name);
/* New key (dir, name), nothing there (-EEXIST); keeps the object's name by filling objname. */
int tx_file_move(struct tx *tx, dirid_t dir, const char *name, dirid_t new_dir,
		 const char *new_name);
int tx_file_swap(struct tx *tx, dirid_t dir_a, const char *a, dirid_t dir_b, const char *b);

int tx_dir_get(struct tx *tx, dirid_t id, struct dir_row *ret);
int tx_dir_find(struct tx *tx, dirid_t parent, const char *name, struct dir_row *ret);
/*
 * id 0: a new one, written back (-EEXIST: the name is taken; -ENOENT: no such
 * parent).  Otherwise the attributes of that row; it does not move (-EINVAL).  A
 * row that was deleted comes back under its old id.
 */
int tx_dir_put(struct tx *tx, struct dir_row *row);
int tx_dir_delete(struct tx *tx, dirid_t id); /* -ENOTEMPTY while rows are below it */
/*
 * -EEXIST: the name is taken; -EINVAL: below itself.  The name "" is for two moves
 * of one job: a row may not keep it.
 */
int tx_dir_move(struct tx *tx, dirid_t id, dirid_t new_parent, const char *new_name);

/* The id of a path text (bytes); made when it is new. */
int tx_path_id(struct tx *tx, const char *path, int64_t *ret);

/*
 * file row -> trash row, with path (bytes) for people; deletes the file row.  The
 * place in a pack is taken from the row as it is now: rewriting a pack asks nobody.
 * due_ns is absolute.  A trash row's file.txn is the transaction that put it
 * there: a drop waits until that one is journalled.  *ret_id (may be NULL): the
 * trash row.
 */
int tx_trash_file(struct tx *tx, const struct file_row *row, const char *path,
		  enum trash_reason reason, int64_t due_ns, int64_t *ret_id);
int tx_trash_put(struct tx *tx, struct trash_row *row);		    /* id is written back */
int tx_trash_get(struct tx *tx, int64_t id, struct trash_row *ret); /* free with trash_row_fini */
int tx_trash_delete(struct tx *tx, int64_t id);

/* In the trash row's file: it is at another place of another pack now. */
int tx_trash_locate(struct tx *tx, int64_t id, uint64_t pack, uint64_t pack_off);

int tx_pack_get(struct tx *tx, uint64_t id, struct pack_row *ret);
/* Insert or replace; sets txn itself.  -EINVAL: due_ns must be set if and only if files is 0. */
int tx_pack_put(struct tx *tx, const struct pack_row *row);
/* So many of its files, so many bytes, no longer point into it; with the last one it is due. */
int tx_pack_lose(struct tx *tx, uint64_t id, int64_t files, int64_t bytes, int64_t due_ns);
int tx_pack_delete(struct tx *tx, uint64_t id);

int tx_event_put(struct tx *tx, struct event_row *ev);		/* id is written back */
int tx_event_update(struct tx *tx, const struct event_row *ev); /* tries, next_ns, parked, error */
int tx_event_delete(struct tx *tx, int64_t id);

int tx_intent_put(struct tx *tx, enum intent_kind kind, const char *payload, int64_t *ret_id);
int tx_intent_delete(struct tx *tx, int64_t id);

int tx_set_volume(struct tx *tx, const struct uid128 *volume);
int tx_set_cache(struct tx *tx, const struct uid128 *cache);

/* ---- reading: any thread but the writer's ------------------------------ */

int cat_file_get(struct catalogue *c, dirid_t dir, const char *name, struct file_row *ret);
int cat_dir_get(struct catalogue *c, dirid_t id, struct dir_row *ret);
int cat_dir_find(struct catalogue *c, dirid_t parent, const char *name, struct dir_row *ret);
int cat_dir_is_empty(struct catalogue *c, dirid_t id); /* 1, 0 or an error */
/* The row of a name, a file's (*ret_file) or a directory's (*ret_dir), by one statement. */
int cat_name_get(struct catalogue *c, dirid_t dir, const char *name, struct file_row *ret_file,
		 struct dir_row *ret_dir, bool *ret_is_dir);

/*
 * Up to max rows of a directory with name > after (memcmp order; "" from the
 * start).  Returns how many.  The array is the caller's.
 */
int cat_files_after(struct catalogue *c, dirid_t dir, const char *after, struct file_row *rows,
		    int max);
int cat_dirs_after(struct catalogue *c, dirid_t parent, const char *after, struct dir_row *rows,
		   int max);

/* Rows of any directory that have this name, up to max.  Uses the index on names. */
int cat_find_name(struct catalogue *c, const char *name, struct file_row *rows, int max);

int cat_pack_get(struct catalogue *c, uint64_t id, struct pack_row *ret);
/* Rows that point into a pack and were called so when they were archived, up to max. */
int cat_pack_files(struct catalogue *c, uint64_t pack, const char *name, struct file_row *rows,
		   int max);
/* Trash rows that point into it, id > after; fini each. */
int cat_pack_trash(struct catalogue *c, uint64_t pack, int64_t after, struct trash_row *rows,
		   int max);
/* Up to max packs with id > after, oldest first: none of whose files is alive, due at now_ns. */
int cat_packs_due(struct catalogue *c, uint64_t after, int64_t now_ns, struct pack_row *rows,
		  int max);
/* The same: less than half of whose bytes is alive, but some. */
int cat_packs_poor(struct catalogue *c, uint64_t after, struct pack_row *rows, int max);

/* The path of a directory id, relative, "" for the root; heap.  -ENOENT. */
int cat_dir_path(struct catalogue *c, dirid_t id, char **ret);
/* The path text of a path id (objdir); heap.  -ENOENT. */
int cat_path_text(struct catalogue *c, int64_t path_id, char **ret);

/* Up to max trash rows with id > after, oldest id first; fini each. */
int cat_trash_after(struct catalogue *c, int64_t after, struct trash_row *rows, int max);
/* A place between trash rows in the order in which they are due; all zero: before all that are. */
struct trash_place {
	int64_t due_ns, id; /* of the row before it */
};
/* Up to max of those that are due at due_ns (INT64_MAX: all), behind `after`; fini each. */
int cat_trash_due(struct catalogue *c, const struct trash_place *after, int64_t due_ns,
		  struct trash_row *rows, int max);
/* The newest trash row of this ino with the same size and crc; fini.  -ENOENT. */
int cat_trash_find_same(struct catalogue *c, uint64_t ino, uint64_t size, uint32_t crc32c,
			struct trash_row *ret);
void trash_row_fini(struct trash_row *row);

/*
 * Waiting events of a sink due at now_ns, by next_ns, then id; fini each.  At most
 * one a file: its oldest that is not parked, and none while that one is not due.
 */
int cat_events_due(struct catalogue *c, int sink, int64_t now_ns, struct event_row *rows, int max);
/* All events, parked ones too, id > after. */
int cat_events_after(struct catalogue *c, int sink, int64_t after, struct event_row *rows, int max);
void event_row_fini(struct event_row *row);
/*
 * Does an event of this file wait for any sink?  Of parked ones those first queued after
 * held_after_ns do (es_hold); INT64_MAX: none.  1, 0 or an error.
 */
int cat_event_untold(struct catalogue *c, uint64_t ino, int64_t held_after_ns);
/*
 * The oldest waiting event's first_ns, and why it has not been sent yet: heap, NULL if nothing
 * was wrong.  -ENOENT when there is none.
 */
int cat_event_oldest(struct catalogue *c, int sink, int64_t *ret_ns, char **ret_error);

int cat_intents(struct catalogue *c, int64_t after, struct intent_row *rows, int max);
void intent_row_fini(struct intent_row *row);

int catalogue_counts(struct catalogue *c, struct catalogue_counts *ret);

/* Since it was opened: how often it was asked, by all threads but the writer; transactions. */
struct catalogue_work {
	uint64_t selects, commits;
};
void catalogue_work(struct catalogue *c, struct catalogue_work *ret);
/*
 * Moves with every transaction, before its jobs are reported done: between two equal
 * answers nothing changed, what was read then would be read now.  Any thread.
 */
uint64_t catalogue_version(struct catalogue *c);

/* ---- the journal (what ships it is tier/journal.c) ---------------------- */

struct journal_part {
	uint64_t seq;	   /* sequence number in the store, from 1 */
	int64_t first_txn; /* the range it holds, inclusive */
	int64_t last_txn;
	void *data; /* owned: concatenated changesets; free() */
	size_t len_bytes;
};

/*
 * The next part to ship, at most max_bytes unless one transaction is larger; its
 * seq and range are fixed in the catalogue before it is returned, so asking
 * again after a crash gives the same bytes.  -ENODATA: nothing to ship.  One thread
 * ships.
 */
int catalogue_journal_next(struct catalogue *c, size_t max_bytes, struct journal_part *ret);
/*
 * The one that was fixed and is not yet acknowledged: nothing else of ours can be in the store.
 * -ENODATA: none is.  Writes nothing, any thread.
 */
int catalogue_journal_fixed(struct catalogue *c, struct journal_part *ret);
/* The store has it: deletes its rows, moves the mark.  -EINVAL: not the part that is fixed. */
int catalogue_journal_acked(struct catalogue *c, const struct journal_part *part);
/* Every transaction up to this one is in the store.  Cheap, any thread. */
int64_t catalogue_journalled_txn(struct catalogue *c);
/* Sequence number the next part will get: what the store is asked for at start. */
uint64_t catalogue_journal_seq(struct catalogue *c);
/* Bytes waiting, for status. */
int64_t catalogue_journal_backlog(struct catalogue *c);

/* ---- checkpoints of the journal (what writes them is tier/checkpoint.c) --- */

struct checkpoint_status {
	uint64_t seq;	 /* of the newest complete one: the first journal part after it; 0: none */
	int64_t done_ns; /* when it was complete */
	int64_t since_bytes;	 /* what the journal took in the store since that one began */
	uint64_t dropped;	 /* journal parts below are gone from the store */
	int64_t catalogue_bytes; /* the database */
};
/* Any thread.  Or -errno of stat(2). */
int catalogue_checkpoint_status(struct catalogue *c, struct checkpoint_status *ret);

/*
 * Reading one: begin fixes seq, before anything is read; everything in parts below
 * it is in the store.  -EAGAIN: one began at this number already; the journal must go
 * on first.  One at a time, one thread.
 */
struct cat_checkpoint;
int cat_checkpoint_begin(struct catalogue *c, struct cat_checkpoint **ret);
uint64_t cat_checkpoint_seq(const struct cat_checkpoint *p);
/*
 * 1: the next part, a changeset of about max_bytes, heap; 0: all rows were given.  After
 * an error the same part may be asked for again.
 */
int cat_checkpoint_next(struct cat_checkpoint *p, size_t max_bytes, void **ret, size_t *ret_len);
/* After 0: the rows are worth something only once the journal is in the store up to here. */
int64_t cat_checkpoint_txn(const struct cat_checkpoint *p);
void cat_checkpoint_free(struct cat_checkpoint *p); /* NULL is fine */

/* It is complete in the store, and proved.  -EINVAL: none began there. */
int catalogue_checkpoint_done(struct catalogue *c, uint64_t seq, int64_t now_ns);
/* seq of the newest that was complete at done_ns; 0: none. */
int catalogue_checkpoint_done_by(struct catalogue *c, int64_t done_ns, uint64_t *ret);
/*
 * Journal parts below are gone from the store, and checkpoints that begin there.
 * -EINVAL: backwards, or beyond the newest complete checkpoint.
 */
int catalogue_journal_dropped(struct catalogue *c, uint64_t below);

/*
 * Rebuilding: create `file` (never overwrites: -EEXIST) for this node and volume,
 * apply parts in order, finish.  A catalogue that was not finished does not open.
 */
struct cat_rebuild;
int cat_rebuild_begin(const char *file, const struct uid128 *volume, const struct uid128 *node,
		      struct cat_rebuild **ret, char *err, size_t size);
/*
 * -EBADMSG: not a changeset of these tables, or seq is not above the last.  len_bytes 0: the part holds none (a record of the
 * journal's owner) and only counts a number.
 */
int cat_rebuild_apply(struct cat_rebuild *r, uint64_t seq, const void *data, size_t len_bytes);
/*
 * Before any cat_rebuild_apply(), which then begins at seq: a part of the checkpoint
 * seq.  -EBADMSG as above.
 */
int cat_rebuild_checkpoint(struct cat_rebuild *r, uint64_t seq, const void *data, size_t len_bytes);
/* Journal parts below are gone from the store; 1 if this is not said. */
void cat_rebuild_dropped(struct cat_rebuild *r, uint64_t below);
/* Was enough of the journal applied for the checkpoint that was?  0, or -ENODATA. */
int cat_rebuild_check(struct cat_rebuild *r);
/* Counts, checks integrity; frees r.  -ENODATA: as above. */
int cat_rebuild_finish(struct cat_rebuild *r);
void cat_rebuild_abort(struct cat_rebuild *r); /* removes the file; frees r */

/* PRAGMA quick_check and the kept counters against counted ones; for tests.  0 or -EUCLEAN. */
int catalogue_check(struct catalogue *c, char *err, size_t size);

#endif
