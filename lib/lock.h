/* SPDX-License-Identifier: MIT */
/*
 * Mutexes with ranks.
 *
 * A thread may take a lock only if its rank is greater than the rank of every
 * lock it holds; builds with EBB_DEBUG_LOCKS (debug, asan, tsan) abort on a wrong
 * order, naming both.  clang's -Wthread-safety checks REQUIRES() on functions.
 * Ranks, lowest (taken first) to highest, are the lock order of the project;
 * ARCHITECTURE.md lists what each protects.
 */
#ifndef EBB_LIB_LOCK_H
#define EBB_LIB_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define TS_ATTR(x) __attribute__((x))
#else
#define TS_ATTR(x)
#endif
#define CAPABILITY(x) TS_ATTR(capability(x))
#define REQUIRES(...) TS_ATTR(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) TS_ATTR(requires_shared_capability(__VA_ARGS__))
#define ACQUIRES(...) TS_ATTR(acquire_capability(__VA_ARGS__))
#define ACQUIRES_SHARED(...) TS_ATTR(acquire_shared_capability(__VA_ARGS__))
#define RELEASES(...) TS_ATTR(release_capability(__VA_ARGS__))
#define RELEASES_SHARED(...) TS_ATTR(release_shared_capability(__VA_ARGS__))
#define NO_TS_ANALYSIS TS_ATTR(no_thread_safety_analysis)

enum lock_rank {
	LOCK_RANK_SESSION,   /* fs: the session's start and stop */
	LOCK_RANK_HANDLE,    /* fs: one directory handle's position */
	LOCK_RANK_OPEN,	     /* fs: the open state of one inode */
	LOCK_RANK_REAPER,    /* tier: due directories */
	LOCK_RANK_NOTIFY,    /* tier: sink workers' state */
	LOCK_RANK_TREE,	     /* tier: names in use (read-write) */
	LOCK_RANK_NODE,	     /* tier: claims of nodes (sharded) */
	LOCK_RANK_WATCH,     /* tier: notes of one directory's listings */
	LOCK_RANK_DIRFD,     /* tier: kept directory descriptors */
	LOCK_RANK_CATALOGUE, /* meta: the writer's queue, the readers' pool */
	LOCK_RANK_STORE,     /* backend: a store's own state */
	LOCK_RANK_SINK,	     /* backend: a sink's own state */
	LOCK_RANK_POOL,	     /* lib: a thread pool's queue */
	LOCK_RANK_WINDOW,    /* lib: a window's counts */
	LOCK_RANK_LEAF,	     /* anything that calls nothing while it holds it */
};

struct CAPABILITY("mutex") lock {
	pthread_mutex_t mutex;
	enum lock_rank rank;
	const char *name; /* borrowed, a literal */
};

struct CAPABILITY("mutex") rwlock {
	pthread_rwlock_t rw; /* prefers writers: a rename is never starved */
	enum lock_rank rank;
	const char *name; /* borrowed, a literal */
};

struct cond {
	pthread_cond_t cond; /* on CLOCK_MONOTONIC */
};

void lock_init(struct lock *l, enum lock_rank rank, const char *name);
void lock_fini(struct lock *l);
void lock_take(struct lock *l) ACQUIRES(l);
void lock_drop(struct lock *l) RELEASES(l);

void rwlock_init(struct rwlock *l, enum lock_rank rank, const char *name);
void rwlock_fini(struct rwlock *l);
void rwlock_read(struct rwlock *l) ACQUIRES_SHARED(l);
void rwlock_read_drop(struct rwlock *l) RELEASES_SHARED(l);
void rwlock_write(struct rwlock *l) ACQUIRES(l);
void rwlock_write_drop(struct rwlock *l) RELEASES(l);

void cond_init(struct cond *c);
void cond_fini(struct cond *c);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);
void cond_wait(struct cond *c, struct lock *l) REQUIRES(l);
/* deadline_ms is absolute, of clock_mono_ms().  Returns false once it is past. */
bool cond_wait_until(struct cond *c, struct lock *l, int64_t deadline_ms) REQUIRES(l);

#endif
