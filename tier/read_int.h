/* SPDX-License-Identifier: MIT */
/*
 * Reading released files, inside: read.c holds remotes and reads ranges, read_whole.c reads
 * small files whole.
 */
#ifndef EBB_TIER_READ_INT_H
#define EBB_TIER_READ_INT_H

#include "lib/lock.h"
#include "tier/read.h"
#include "tier/tier_int.h"

#define REMOTE_BUCKETS 256

/* Who asks, or waits for a file that is loading. */
struct waiter {
	uint64_t off;
	size_t len;
	remote_cb cb;
	void *arg;
	struct waiter *next;
};

enum whole { WHOLE_EMPTY, WHOLE_LOADING, WHOLE_READY };

struct remote {
	struct tier *t;	     /* borrowed */
	struct remote *next; /* in its bucket; protected by the bucket's lock */
	_Atomic int refs;
	struct file_row row; /* constant */
	unsigned nkeys;	     /* constant */
	char **keys;	     /* owned, constant */
	struct lock lock;
	struct row_attr attr;	/* protected by lock */
	struct remote *moved;	/* counted; where its bytes are since; protected by lock */
	enum whole state;	/* protected by lock */
	struct waiter *waiters; /* protected by lock */
	char *whole;		/* owned; written while LOADING, constant when READY */
	unsigned giving;	/* how many copy from whole now; protected by lock */
	bool unkept;		/* whole goes with the last of these; protected by lock */
	uint64_t given_bytes;	/* since it is READY; protected by lock */
	int64_t deadline_ms;	/* the loader's */

	/* protected by the buckets' lock */
	bool kept; /* in remotes.oldest */
	struct remote *older, *newer;
};

struct remotes {
	struct lock lock;
	struct remote *bucket[REMOTE_BUCKETS]; /* protected by lock; by object_number() */
	struct remote *oldest, *newest;	       /* READY ones; protected by lock */
	uint64_t kept_bytes;		       /* of these; protected by lock */
};

/* Where its bytes are now: r, or what it moved to; counted. */
struct remote *remote_place(struct remote *r);
int64_t remote_deadline(const struct remote *r); /* of what is asked now: store_timeout */
/* cb once, on any thread: len, -EIO, or -ENOMEM. */
void remote_read_range(struct remote *r, uint64_t off, void *buf, size_t len, int64_t deadline_ms,
		       void (*cb)(void *arg, int64_t n), void *arg);

/* A read within the file, of at least a byte.  whole_read_now: false if it is not in memory. */
void whole_read(struct remote *r, const struct waiter *ask);
bool whole_read_now(struct remote *r, const struct waiter *ask);
/* It is not among those that are kept any more. */
void whole_unkeep_locked(struct remotes *all, struct remote *r) REQUIRES(all->lock);

#endif
