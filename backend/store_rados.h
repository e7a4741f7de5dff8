/* SPDX-License-Identifier: MIT */
/*
 * The RADOS store, inside.
 *
 *	store_rados.c        its face: URL, open, close, health, listing
 *	store_rados_conn.c   the connection: made, watched and made again by one thread
 *	store_rados_probe.c  what that thread asks every few seconds
 *	store_rados_op.c     operations: queued, sent, timed out
 *	store_rados_send.c   what they are to librados, and what its answers mean
 */
#ifndef EBB_BACKEND_STORE_RADOS_H
#define EBB_BACKEND_STORE_RADOS_H

#include <pthread.h>
#include <rados/librados.h>

#include "backend/store_ops.h"

#define RADOS_NAME_MAX 2048 /* osd_max_object_name_len */

struct rop;

struct rop_list {
	struct rop *head;
	struct rop *tail;
};

/*
 * ready:    cluster and io are there: operations are sent
 * !ready:   operations wait in `queued`, each until its deadline
 *
 * io stays valid while io_users is not 0.  Whoever is a user took the count under
 * the lock while ready was true (or holds a sent operation, which is one).
 */
struct rstore {
	struct store base;

	/* constant after start */
	char *pool;  /* owned */
	char *space; /* owned; the namespace, "" is the default one */
	char *conf;  /* owned; NULL: Ceph's own places */
	char *id;    /* owned; "admin" is client.admin */
	pthread_t conn_thread;
	pthread_t timer_thread;

	/* protected by lock */
	struct lock lock;	/* LOCK_RANK_STORE */
	struct cond conn_wake;	/* io_users or flying went down, again, closing */
	struct cond timer_wake; /* an operation came while it slept for ever, closing */
	struct cond ready_wake; /* ready, for listings */
	bool ready;
	bool again; /* this connection is of no use any more: make another */
	bool closing;
	bool drained; /* closing, and nothing is flying: the timer may go */
	rados_t cluster;
	rados_ioctx_t io;
	unsigned io_users;
	unsigned flying; /* operations whose callback has not returned */
	struct rop_list queued;
	struct rop_list sent;
	unsigned n_sent;
	uint64_t sent_bytes;
	int64_t timer_ms; /* when the timer wakes up; INT64_MAX: never */
	uint64_t total_bytes;
	uint64_t free_bytes;

	/* of store_rados_probe.c: whoever finds its flag false has what belongs to it */
	_Atomic bool probe_stat;
	_Atomic bool probe_put;
	struct store_stat probe_found;
	char probe_key[64];
};

struct rop {
	struct rop *next, *prev; /* in queued or in sent */
	struct rstore *s;	 /* borrowed */

	/* protected by s->lock */
	unsigned refs;	/* the callback's, the sender's, the timer's */
	bool in_flight; /* librados has it */
	bool expired;	/* the timer cancelled it */
	bool forced;	/* constant: a put that was refused as the store is full, again */

	rados_completion_t done;    /* owned */
	rados_xattrs_iter_t xattrs; /* owned; NULL or from a read operation */
	uint64_t found_size;
	int xattrs_r, checksum_r;
	uint32_t checksum[2]; /* how many follow (0 or 1), the checksum; little-endian */

	struct store_request req;
};

/* ---- store_rados_op.c --------------------------------------------------- */

void rstore_submit(struct store *s, const struct store_request *q);
/* Sends what is queued, as far as the window is open.  Any thread. */
void rstore_pump(struct rstore *s);
/* The thread that times operations out. */
void *rstore_timer_main(void *arg);

/* ---- store_rados_send.c ------------------------------------------------- */

/* Hands it to librados: its completion will run.  Or a negative errno: it will not. */
int rop_send(struct rop *o, rados_ioctx_t io);
/* librados' answer in the words of store.h; fills o->stat.  Its io is still valid. */
int64_t rop_result(struct rop *o, int r, bool expired);

/* ---- store_rados_probe.c ------------------------------------------------ */

/* Waits for monitors, as long as their timeout.  The connection's thread. */
void rstore_probe(struct rstore *s, rados_t cluster);

/* ---- store_rados_conn.c ------------------------------------------------- */

/* The thread that connects. */
void *rstore_conn_main(void *arg);
/* This connection is of no use any more; why is the health's sentence.  Any thread. */
void rstore_connect_again(struct rstore *s, const char *why);
/* Waits until deadline_ms for a connection and becomes a user of it. */
bool rstore_use_io(struct rstore *s, int64_t deadline_ms, rados_ioctx_t *ret);
void rstore_unuse_io(struct rstore *s);
/* Librados' and the OSDs' errors in the words of store.h, logged where they become -EIO. */
int rstore_error(struct rstore *s, enum store_op op, const char *key, int r);

#endif
