/* SPDX-License-Identifier: MIT */
/*
 * Reading released files from the store, by range, without restoring.
 *
 * A small file (up to REMOTE_WHOLE_BYTES) is fetched whole by the first read, compared
 * with the row's checksum, and kept until all of it was given, or 64 MiB are kept of
 * others: wrong bytes are never given (-EIO, logged).  Larger ones are read by range.  While a remote is
 * referenced its object is not dropped, even when its name was removed.  An object that
 * was dropped before, as a pack is that was rewritten since the row was read, is found by
 * reading the row once more.
 */
#ifndef EBB_TIER_READ_H
#define EBB_TIER_READ_H

#include "tier/tier.h"

#define REMOTE_WHOLE_BYTES (4u << 20)

struct remote;

int remote_open(struct tier *t, const struct file_row *row,
		struct remote **ret); /* 0, -ENOMEM, -EIO */
struct remote *remote_ref(struct remote *r);
void remote_put(struct remote *r);
uint64_t remote_size(const struct remote *r);
uint64_t remote_attempt(const struct remote *r); /* the row's: two of the same are the same bytes */

/* Attributes of an open file whose name is gone (fchmod, fstat). */
void remote_get_attr(struct remote *r, struct row_attr *ret);
void remote_set_attr(struct remote *r, const struct row_attr *attr);

/* n bytes (0: the end; bytes is NULL), until it returns; or -EIO, -ENOMEM. */
typedef void (*remote_cb)(void *arg, const void *bytes, int64_t n_or_errno);

/*
 * cb once, on any thread, within store_timeout, however many operations it takes; the
 * caller's count of r lasts until then.  No more than half of a FUSE session's requests
 * may wait: that bound is fs's.
 */
void remote_read(struct remote *r, uint64_t off, size_t len, remote_cb cb, void *arg);
/* The same for what is in memory, before it returns.  False: nothing was done, it has to be read. */
bool remote_read_now(struct remote *r, uint64_t off, size_t len, remote_cb cb, void *arg);

/* Is an object of this number (object_number()) being read?  Drop asks. */
bool remote_in_use(struct tier *t, uint64_t number);

#endif
