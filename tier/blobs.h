/* SPDX-License-Identifier: MIT */
/*
 * Objects of the store kept in memory for whoever reads next.
 *
 *	none --blobs_load--> loading --ok--> ready --last use, or room is wanted--> none
 *	                        '--error--> none: its readers are told to ask the store
 *
 * Objects are immutable and their numbers never used again, so what is here is never
 * stale.  Memory is bounded by the bytes of what is loading and ready together.
 */
#ifndef EBB_TIER_BLOBS_H
#define EBB_TIER_BLOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blobs;
struct store;

int blobs_new(struct store *store, uint64_t max_bytes, struct blobs **ret); /* 0, -ENOMEM */
void blobs_free(struct blobs *b); /* after store_close(); NULL is fine */

/*
 * Brings the first size bytes of an object here, in one operation, without waiting.
 * once: the first read of it is the last.  0: it comes, or is here; -ENOBUFS: no room
 * for it beside what is loading and what is read just now; -ENOMEM.
 */
int blobs_load(struct blobs *b, uint64_t number, const char *key, uint64_t size, bool once);

/*
 * Reads from an object that is here or comes.  False: it is neither, nothing was done.
 * Otherwise cb once, on any thread, perhaps at once: len, or -EAGAIN: it could not be
 * loaded, the store has to be asked for these bytes.
 */
bool blobs_read(struct blobs *b, uint64_t number, uint64_t off, void *buf, size_t len,
		void (*cb)(void *arg, int64_t n), void *arg);

/*
 * Its bytes, where they are.  ready once, on any thread, perhaps at once: x stays until
 * blobs_drop(); NULL: it could not be loaded.  False: it is neither here nor comes (or there
 * is no memory), nothing was done.
 */
struct blob;
bool blobs_hold(struct blobs *b, uint64_t number, void (*ready)(void *arg, struct blob *x),
		void *arg);
const char *blob_bytes(const struct blob *x, uint64_t off, size_t len); /* NULL: beyond its end */
/* used: as if it had been read. */
void blobs_drop(struct blobs *b, struct blob *x, bool used);

struct blobs_counts {
	uint64_t bytes;	 /* in memory now */
	uint64_t loads;	 /* operations of the store so far */
	uint64_t reads;	 /* answered from here */
	uint64_t unused; /* left without having been read */
};
void blobs_counts(struct blobs *b, struct blobs_counts *ret);

#endif
