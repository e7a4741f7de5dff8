/* SPDX-License-Identifier: MIT */
/*
 * A pool of threads that run jobs in the order they came.
 *
 * It is where requests are parked: what would wait for a store, a sink, a
 * commit or an fsync runs here and replies when it is done, so that no FUSE
 * thread waits.  Threads are made when all are busy, at most max_threads; the
 * queue is as long as the requests the kernel allows.
 */
#ifndef EBB_LIB_POOL_H
#define EBB_LIB_POOL_H

struct pool;

struct job {
	void (*run)(struct job *job); /* owns *job from here on */
	struct job *next;	      /* the pool's while it is queued */
};

/*
 * 0, -ENOMEM, -EAGAIN (no thread).  name is borrowed; threads are called NAME-N,
 * with 11 characters of it.  Makes a thread: call it after the last fork.
 */
int pool_new(const char *name, unsigned max_threads, struct pool **ret);
/* The same for work that can wait: where CPU is short others have three times as much (nice 5). */
int pool_new_background(const char *name, unsigned max_threads, struct pool **ret);
/* Never fails: the job is the caller's memory.  Any thread. */
void pool_submit(struct pool *pool, struct job *job);
/* Runs what is queued, then ends the threads.  Nothing may be submitted after. */
void pool_free(struct pool *pool);
/* How many jobs are queued or running.  For tests. */
unsigned pool_load(struct pool *pool);

#endif
