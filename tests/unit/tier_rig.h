/* SPDX-License-Identifier: MIT */
/*
 * What the tests of archive, release, restore and the reaper share: a whole tier on a
 * directory of its own, files in it, kills, and the invariants that hold after them.
 */
#ifndef EBB_TESTS_TIER_RIG_H
#define EBB_TESTS_TIER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "tier/tier_int.h"

struct rig {
	char dir[200];
	char rules[256]; /* of the fault store, which opts name as fault:RULES:STORE */
	struct conf conf;
	struct tier *t;
	bool started;
	char err[512];
};

/* opts: further options.  The store is a directory, or lasts as long as the process. */
enum rig_store { RIG_DIR, RIG_MEM };
struct rig *rig_new(enum rig_store store, const char *opts);
void rig_free(struct rig *rig);
void rig_open(struct rig *rig);	 /* and waits until the volume is known */
void rig_start(struct rig *rig); /* tier_start */
void rig_close(struct rig *rig);
void rig_reopen(struct rig *rig);
/* Opened anew with these failpoints set; NULL none. */
void rig_failpoints(struct rig *rig, const char *spec);
/* The fault store's rules from now on; "" none. */
void rig_faults(struct rig *rig, const char *rules);

/* For cmocka: *state is a rig on a memory store, open. */
int rig_setup(void **state, const char *opts);
int rig_teardown(void **state);

/* Files, straight in the cache, as an FTP server inside the covered tree writes them. */
void rig_path(struct rig *rig, const char *path, char *ret, size_t size);
void rig_write(struct rig *rig, const char *path, const void *data, size_t len);
void rig_capture(struct rig *rig, const char *path, unsigned n); /* content that follows from n */
void rig_unlink(struct rig *rig, const char *path);
bool rig_is_local(struct rig *rig, const char *path);
/* When its local copy was born; 0: the file system does not say. */
int64_t rig_born_ns(struct rig *rig, const char *path);
/* Until the file's times are old enough to be trusted. */
void rig_settle(struct rig *rig, const char *path);
/* The bytes a user would read, from cache or store; heap.  Fails the test when there are none. */
void *rig_read(struct rig *rig, const char *path, size_t *ret_len);
void *rig_read_local(struct rig *rig, const char *path, size_t *ret_len);
void *rig_read_stored(struct rig *rig, const struct file_row *row, size_t *ret_len);
void rig_assert_capture(struct rig *rig, const char *path, unsigned n);
struct state_of rig_look(struct rig *rig, const char *path);
enum state rig_state(struct rig *rig, const char *path);
struct node *rig_dir(struct rig *rig, const char *path); /* counted */

/* archive_files of one directory's names, as they are now; results into ret (n). */
int rig_archive_names(struct rig *rig, const char *dir, const char *const *names, size_t n,
		      int *ret);
/* One file, settled first; its result. */
int rig_archive(struct rig *rig, const char *path);
int rig_release(struct rig *rig, const char *path);
/* A capture made, archived, and released. */
void rig_file(struct rig *rig, const char *path, unsigned n, bool released);
/* Names of the root; the result. */
int rig_rename(struct rig *rig, const char *from, const char *to, unsigned flags);
/* Everything committed so far is in the store's journal. */
void rig_journalled(struct rig *rig);
int rig_intents(struct rig *rig);
/* Trash rows; the newest one's into ret (may be NULL): the caller's to fini. */
int rig_trash(struct rig *rig, struct trash_row *ret);
bool rig_has_object(struct rig *rig, const char *key);
uint64_t rig_objects(struct rig *rig); /* but ebbfs's own; a pack is one */

/*
 * Every row's object is there and whole; every cache file that has its row's identity
 * has its bytes; every object has a row, or a trash row, or is a pack to be dropped;
 * packs hold as many files as point into them; no intent is left.
 */
void rig_check(struct rig *rig);

/* fork; body, with failpoints set to spec, in a tier of its own; it must die of SIGKILL. */
void rig_killed(struct rig *rig, const char *spec, void (*body)(struct rig *rig));

/* Opened, not started: nothing happens by itself before rig_start.  In memory, never full. */
struct rig *rig_idle(const char *opts);
void rig_touch(struct rig *rig, const char *dir);
struct reaper_status rig_status(struct rig *rig);

/* Nothing can be opened until rig_descriptors() has what this gave. */
struct rlimit rig_no_descriptors(void);
void rig_descriptors(struct rlimit before);

/* What a command said. */
struct report {
	char text[4096]; /* "path: reason\n" each */
	struct reap_progress last;
	int calls;
	int stop_at; /* the progress() call that says stop */
};
int rig_run_paths(struct rig *rig, enum reap_what what, const char *const *paths, size_t n,
		  bool dry_run, struct report *rep);
/* One path, or NULL for everything; rep starts empty. */
int rig_command(struct rig *rig, enum reap_what what, const char *path, struct report *rep);

struct CMUnitTest;
/* A group of tests that need root; where we are not it they count as skipped. */
int rig_run(const struct CMUnitTest *tests, size_t n);

/* How long anything may take: the longest back-off is a minute, and machines are loaded. */
#define RIG_PATIENCE_MS 180000

/* Poll a condition. */
#define rig_until(cond)                                                                     \
	do {                                                                                \
		int64_t deadline_ = clock_mono_ms() + RIG_PATIENCE_MS;                      \
		while (!(cond)) {                                                           \
			if (clock_mono_ms() > deadline_)                                    \
				fail_msg("not in %d s: %s", RIG_PATIENCE_MS / 1000, #cond); \
			rig_pause();                                                        \
		}                                                                           \
	} while (0)
void rig_pause(void); /* a few ms between two looks */

#endif
