/* SPDX-License-Identifier: MIT */
/*
 * For implementers of stores: backend/store_<impl>.c has one static const table.
 *
 * store.c checks keys and picks the table; an implementation does the work.  Each
 * operation is answered by store_answer() exactly once, before its deadline, with no
 * lock held.  Keys arrive checked: relative, under STORE_KEY_MAX, no empty, "."
 * or ".." component; attempts are shorter than STORE_ATTEMPT_MAX.
 */
#ifndef EBB_BACKEND_STORE_OPS_H
#define EBB_BACKEND_STORE_OPS_H

#include "backend/store.h"
#include "lib/lock.h"

/* One operation as it was asked for; the pointers are borrowed until its callback. */
struct store_request {
	enum store_op op;
	const char *key;
	const void *data;	  /* put */
	void *buf;		  /* get */
	size_t len_bytes;	  /* put, get */
	uint64_t off;		  /* get */
	struct store_attrs attrs; /* put; its strings are the caller's */
	const char *attempt;	  /* drop; NULL: whoever's */
	struct store_stat *stat;  /* verify, stat */
	store_cb cb;		  /* all but get */
	store_read_cb read_cb;	  /* get */
	void *arg;
	int64_t deadline_ms; /* of clock_mono_ms(): the store's timeout, or what is left to the caller */
	bool concluded; /* the result is not the store's word: it does not say that it answers */
	bool hurried;	/* it is the caller's, and less: that it passes is no trouble */
};

struct store_ops {
	const char *scheme; /* "dir" */
	int (*open)(const char *rest, int64_t timeout_ms, struct store **ret, char *err,
		    size_t size); /* rest: the URL behind "scheme:" */
	void (*close)(struct store *s);
	/* *q is the caller's memory: copy what outlives the call. */
	void (*submit)(struct store *s, const struct store_request *q);
	int (*list)(struct store *s, const char *prefix, int (*each)(const char *key, void *arg),
		    void *arg);
	char *(*url)(struct store *s, const char *key);
	bool (*key_fits)(struct store *s, const char *key);
	void (*health)(struct store *s, struct store_health *ret);
};

/*
 * What can be wrong with a store as a whole.  More than one may be: a full pool
 * can also be down.  Each has its own sentence; only DOWN makes it not up.
 */
enum store_trouble {
	STORE_DOWN,	     /* nothing is answered, or nothing we ask is possible */
	STORE_READ_REFUSED,  /* our key may not read */
	STORE_WRITE_REFUSED, /* our key may not write */
	STORE_FULL,	     /* no room: writes fail, reads and drops go on */
	STORE_TROUBLES
};

/*
 * What an implementation says of each trouble: a clause for the operator, behind
 * "'rados:ftpdata' gives no answer: ".  One static const array an implementation.
 */
typedef const char *store_advice[STORE_TROUBLES];

/* The first member of every implementation's struct. */
struct store {
	/* constant after start */
	const struct store_ops *ops;
	const store_advice *advice; /* borrowed, static */
	char *name;		    /* owned; for messages: "rados:ftpdata" */
	int64_t timeout_ms;

	_Atomic unsigned troubles; /* bits; changed under lock, looked at without */
	_Atomic uint64_t counts[STORE_OPS];
	_Atomic uint64_t errors;
	_Atomic uint64_t timeouts;
	_Atomic uint64_t bytes_put;
	_Atomic uint64_t bytes_got;

	/* protected by lock */
	struct lock lock; /* LOCK_RANK_LEAF */
	int64_t since_ms; /* last change of STORE_DOWN */
	struct {
		char text[256];	 /* the sentence, while the trouble lasts */
		bool told;	 /* it was logged: its end will be */
		int64_t told_ms; /* when it, or its end, was last logged */
	} trouble[STORE_TROUBLES];
};

/* name is copied.  up: false while a connection has yet to be made.  0 or -ENOMEM. */
int store_init(struct store *s, const struct store_ops *ops, const store_advice *advice,
	       const char *name, int64_t timeout_ms, bool up);
void store_fini(struct store *s);

/*
 * The result of one operation: an errno, or 0, or for GET the bytes.  Counts it,
 * and sets or ends troubles: -ETIMEDOUT is DOWN, any answer but -EIO its end,
 * -ENOSPC and -EDQUOT are FULL until a PUT succeeds (one that goes even then says nothing of
 * it), -EACCES is refusal until an operation of the same kind succeeds.  Any thread; cheap when
 * all is well.
 */
void store_note(struct store *s, const struct store_request *q, int64_t result);

/*
 * The end of every operation: store_note() with its result, then its callback.  One that
 * was not given the whole timeout and was not answered says nothing of the store.
 */
void store_answer(struct store *s, const struct store_request *q, int64_t result);

/*
 * Set (its sentence is the caller's) or end a trouble.  Logged when the sentence is
 * a new one; one that comes and goes is logged once a minute.
 */
void store_set_trouble(struct store *s, enum store_trouble t, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void store_end_trouble(struct store *s, enum store_trouble t);
bool store_has_trouble(struct store *s, enum store_trouble t);

/* What is known here: up, since_ms, error.  The bytes are the implementation's. */
void store_fill_health(struct store *s, struct store_health *ret);

/* "cannot VERB 'KEY' in NAME: text", at most ten a second; text NULL: of result. */
void store_log_failure(struct store *s, enum store_op op, const char *key, int result,
		       const char *text);

/* store_attrs.crc32c as the stores that keep text write it: "%08x".  False: it is none. */
bool store_parse_crc32c(const char *text, size_t len, uint32_t *ret);

extern const struct store_ops store_dir_ops;
extern const struct store_ops store_mem_ops;
extern const struct store_ops store_rados_ops;
extern const struct store_ops store_fault_ops;

#endif
