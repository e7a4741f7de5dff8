/* SPDX-License-Identifier: MIT */
/*
 * The reaper: decides which directory is due, and drives archive and release.
 *
 * It knows every directory that holds a cache file: from what fs tells it
 * (reaper_touch) and from the background scan.  For each it keeps when it is due
 * next and what it held when it was last looked at; directories are taken in the
 * order in which they became due, so nothing waits for ever.
 */
#ifndef EBB_TIER_REAPER_H
#define EBB_TIER_REAPER_H

#include "tier/tier.h"

struct reaper;

int reaper_new(struct tier *t, struct reaper **ret);
int reaper_start(struct reaper *r);
void reaper_stop(struct reaper *r);
void reaper_free(struct reaper *r);

/* A file below dir was created, closed after writing, renamed here, changed.  Cheap; never waits. */
void reaper_touch(struct tier *t, struct node *dir);
/* dir was removed: nothing to do but look again. */
void reaper_forget(struct tier *t, struct node *dir);
/*
 * It has another name: rules that name paths may say something else of all below it, and the
 * scan may have passed it by.  In the background; without memory: at the next start.
 */
void reaper_moved(struct tier *t, struct node *dir);

/* What commands ask for; each waits until done and reports every file that failed. */
enum reap_what { REAP_ARCHIVE, REAP_RELEASE, REAP_RESTORE, REAP_DRAIN };
struct reap_progress {
	uint64_t files_done, files_failed, files_skipped;
	uint64_t bytes_done;
	uint64_t files_total; /* 0: not known yet */
};
struct reap_request {
	enum reap_what what;
	const char *const *paths; /* relative to the tree; a directory means all below it */
	size_t npaths;		  /* 0: everything */
	bool dry_run;
	/* Called now and then, and for each failure (path, reason).  May return non-zero to stop. */
	int (*progress)(void *arg, const struct reap_progress *p);
	void (*failed)(void *arg, const char *path, const char *reason);
	void *arg;
};
/* 0: all done; -EIO: some failed (told one by one); -ECANCELED. Ages and windows do not count, rules that say never do. */
int reaper_run(struct tier *t, const struct reap_request *req);

struct reaper_status {
	bool scanning;
	uint64_t local_files, local_bytes;	 /* without a row, or changed since */
	uint64_t archived_files, archived_bytes; /* with a row and a local copy */
	uint64_t other_files;			 /* stay local: links, devices, xattrs ... */
	uint64_t stale_files, stale_bytes;	 /* rows of those two */
	int64_t oldest_unarchived_ms;		 /* age; 0 none */
	uint64_t archived_total, released_total, restored_total, failed_total; /* since start */
	double archive_files_per_s, archive_bytes_per_s, release_files_per_s;  /* last minute */
	uint64_t dirs_waiting;
};
/* Looks again, for up to 3 s, at what was touched since: the counts are true now. */
int reaper_status(struct tier *t, struct reaper_status *ret);

/* The scan at start is still on its way: there may be local files in directories not known yet. */
bool reaper_scanning(struct tier *t);

/* Directories that hold something unarchived and a file of this name: each(path).  For locate. */
int reaper_find_local(struct tier *t, const char *name, void (*each)(void *arg, const char *path),
		      void *arg);

#endif
