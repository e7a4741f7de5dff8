/* SPDX-License-Identifier: MIT */
/*
 * Stores: where archived bytes live.
 *
 *	rados:POOL[/NAMESPACE][?conf=/FILE&id=NAME]  Ceph, by librados
 *	dir:/path                                    a directory, the embedded default
 *	mem:[NAME]                                   memory, for tests; NAME is shared in the process
 *	fault:RULES:STORE                            wraps any; RULES is a file, read again when it changes
 *
 * Operations are asynchronous: the call returns at once, cb runs exactly once, on
 * any thread (possibly before the call returns), never later than the store's
 * timeout, and must not block.  Buffers and strings stay the caller's and must
 * live until cb ran.  A store connects in the background: operations issued
 * before wait for it, within their timeout.
 *
 * Objects are immutable.  Every object has attributes written with it, in the
 * same operation: the attempt (who wrote it: "<node uuid>/<number>"), size, crc32c
 * and the path it had.  Keys are bytes without NUL: relative, no empty, "." or
 * ".." component.  Keys that begin with ".ebb/" are ebbfs's own.
 *
 * What cb's result means, for every store:
 *	-EEXIST       put: the key is taken (by whom: verify and compare the attempt)
 *	-ENAMETOOLONG -EINVAL -ENOTDIR -EISDIR   put: this key cannot be here: use the alternate key
 *	-ENOENT       no such object
 *	-ESTALE       drop: the object is another attempt's; nothing was done
 *	-ENOSPC -EDQUOT   the store is full; nothing was done (a put that is even_full: or it was not
 *			  answered in time, and may have happened or may happen yet)
 *	-ETIMEDOUT    no answer in time: the operation may have happened or may happen yet
 *	-EACCES       the store refuses us (key, capabilities)
 *	-EFBIG        put: larger than one object here can be (RADOS: 90 MiB); nothing was done
 *	-ENOMEM       no memory here; nothing was done
 *	-EIO          anything else; logged with the store's own text
 */
#ifndef EBB_BACKEND_STORE_H
#define EBB_BACKEND_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct receipt;

#define STORE_KEY_MAX 4096
#define STORE_ATTEMPT_MAX 64

struct store_attrs {
	const char *attempt; /* borrowed, 1 to STORE_ATTEMPT_MAX - 1 bytes */
	const char *path;    /* borrowed; bytes; for people and rescue; may be NULL */
	uint32_t crc32c;     /* of the data */
	/*
	 * Also where the store is full, as far as it goes: for the little that has to be written
	 * before objects can be dropped.  RADOS: LIBRADOS_OPERATION_FULL_FORCE where FULL_TRY was
	 * refused, up to the OSD's osd_failsafe_full_ratio; dir: from the part of the disk that
	 * others leave free.
	 */
	bool even_full;
};

/* What the store itself says, from the bytes it holds.  attempt "": put by others. */
struct store_stat {
	uint64_t size;
	uint32_t crc32c; /* computed by the store now; 0 from store_stat() */
	char attempt[STORE_ATTEMPT_MAX];
	bool has_written;	 /* false: put by others, or its attributes are damaged */
	uint32_t written_crc32c; /* store_attrs.crc32c of its put; 0 when unknown */
};

typedef void (*store_cb)(void *arg, int result);
typedef void (*store_read_cb)(void *arg, int64_t bytes_or_errno);

/*
 * timeout_ms bounds every operation.  -EINVAL for an URL that is none (err says
 * why), -ENOENT, -EACCES, -ENOTDIR for a dir store's directory, -EOPNOTSUPP when it
 * has no user xattrs, -ENOMEM.  A directory that can be read but not written opens:
 * writes get -EACCES.  An unreachable Ceph is no error here.
 */
int store_open(const char *url, int64_t timeout_ms, struct store **ret, char *err, size_t size);
/* Waits for what is in flight.  NULL is fine. */
void store_close(struct store *s);

/*
 * Create, exclusively, durably, in one step: afterwards the object is whole or absent.
 * attrs is copied, the strings in it are not.
 */
void store_put(struct store *s, const char *key, const void *data, size_t len_bytes,
	       const struct store_attrs *attrs, store_cb cb, void *arg);

/*
 * The proof: the store reads its own bytes (RADOS: stat + OSD-side checksum in one
 * op; dir: O_DIRECT) and *stat is filled before cb.
 */
void store_verify(struct store *s, const char *key, struct store_stat *stat, store_cb cb,
		  void *arg);

/* Size and what was written beside the object, no reading. */
void store_stat(struct store *s, const char *key, struct store_stat *stat, store_cb cb, void *arg);

/* Bytes read; fewer than len only at the end of the object; 0 at or past it. */
void store_get(struct store *s, const char *key, uint64_t off, void *buf, size_t len_bytes,
	       store_read_cb cb, void *arg);
/* The same, answered before clock_mono_ms() is deadline_ms, if that is before the timeout. */
void store_get_until(struct store *s, const char *key, uint64_t off, void *buf, size_t len_bytes,
		     int64_t deadline_ms, store_read_cb cb, void *arg);

/* Only if its attempt is this one (-ESTALE; "" is nobody's: -EINVAL); NULL: whatever it is. */
void store_drop(struct store *s, const char *key, const char *attempt, store_cb cb, void *arg);

/* The same, waiting: for pool threads and tools. */
int store_put_wait(struct store *s, const char *key, const void *data, size_t len_bytes,
		   const struct store_attrs *attrs);
int store_verify_wait(struct store *s, const char *key, struct store_stat *ret);
int store_stat_wait(struct store *s, const char *key, struct store_stat *ret);
int64_t store_get_wait(struct store *s, const char *key, uint64_t off, void *buf, size_t len_bytes);
/* A whole object of at most max_bytes (-EFBIG), heap. */
int store_get_all_wait(struct store *s, const char *key, size_t max_bytes, void **ret,
		       size_t *ret_len);
int store_drop_wait(struct store *s, const char *key, const char *attempt);

/*
 * Every key that begins with prefix, in no order.  Blocks.  each() returning
 * non-zero stops and is returned.  Any error means the listing is not complete
 * and must not be used to conclude that something is absent.  On RADOS this walks the pool.
 */
int store_list(struct store *s, const char *prefix, int (*each)(const char *key, void *arg),
	       void *arg);

/* The URL of a key: file:///..., rados://POOL/[NAMESPACE/]KEY.  Percent-encoded, heap; NULL without memory. */
char *store_url(struct store *s, const char *key);

/* Can this key never be written here (too long, not UTF-8 where that matters)?  Then use the alternate. */
bool store_key_fits(struct store *s, const char *key);

struct store_health {
	bool up;	      /* the last operation or probe was answered */
	int64_t since_ms;     /* clock_mono_ms of the last change of up */
	char error[256];      /* what is wrong, also while up (full, refused): a sentence
			      * that says what to do; "" when nothing is */
	uint64_t total_bytes; /* 0: unknown */
	uint64_t free_bytes;
};
/* Never blocks: what is known now; a background probe keeps it fresh. */
void store_health(struct store *s, struct store_health *ret);
/* A put that was not even_full found no room, and none was seen since.  Never blocks. */
bool store_is_full(struct store *s);

enum store_op { STORE_PUT, STORE_VERIFY, STORE_STAT, STORE_GET, STORE_DROP, STORE_OPS };

/* Since store_open: for metrics. */
struct store_counts {
	uint64_t ops[STORE_OPS]; /* done, whatever their result */
	uint64_t errors;	 /* results but 0, -ENOENT, -EEXIST, -ESTALE, -ETIMEDOUT */
	uint64_t timeouts;
	uint64_t bytes_put;
	uint64_t bytes_got;
};
void store_counts(struct store *s, struct store_counts *ret);

/* What messages call it: "rados:ftpdata", "dir:/srv/ebb".  Borrowed from s. */
const char *store_name(struct store *s);

/* ---- receipts ----------------------------------------------------------- */

/*
 * The proof that an object holds what it should.  Only store_prove() makes one:
 * it verifies the object and compares size, crc and attempt.
 */
struct receipt_want {
	const char *key;     /* borrowed until cb */
	const char *attempt; /* borrowed until cb */
	uint64_t size;
	uint32_t crc32c;
};
/*
 * cb: 0 and *ret set (owned by the caller, receipt_free); -EBADMSG: the object is
 * there and is not what it should be (logged); -ESTALE: another attempt's; or a
 * store error.
 */
void store_prove(struct store *s, const struct receipt_want *want, struct receipt **ret,
		 store_cb cb, void *arg);
int store_prove_wait(struct store *s, const struct receipt_want *want, struct receipt **ret);

const char *receipt_attempt(const struct receipt *r);
uint64_t receipt_size(const struct receipt *r);
uint32_t receipt_crc32c(const struct receipt *r);
void receipt_free(struct receipt *r);

#endif
