/* SPDX-License-Identifier: MIT */
/*
 * A directory in a real catalogue and a real cache, a few names in it, and operations
 * on them cut into steps, so that a test can put a listing's calls between any two.
 * Keeps what each name is and whether it existed throughout.
 */
#ifndef EBB_TESTS_LIST_SIM_H
#define EBB_TESTS_LIST_SIM_H

#include "tier/list_int.h"

#define SIM_NAMES 9 /* "a" to "i"; 'c' and 'g' are directories */
#define SIM_STEPS 16

enum sim_kind {
	SIM_ARCHIVE,	  /* gains a row */
	SIM_ARCHIVE_FAIL, /* is said to gain one, and does not */
	SIM_RELEASE,
	SIM_RESTORE,
	SIM_REWRITE, /* opened for writing: restored if need be, loses its row */
	SIM_REMOVE,
	SIM_CREATE,
	SIM_REPLACE,  /* a new local file is renamed over it */
	SIM_RENAME,   /* n to m */
	SIM_EXCHANGE, /* n and m */
	SIM_KINDS,
};

enum sim_act {
	ACT_CLAIM,
	ACT_UNCLAIM,
	ACT_GAINED,
	ACT_LOST,
	ACT_RELEASE,
	ACT_ROWS,
	ACT_MAKE,
	ACT_UNLINK,
	ACT_OVER,
	ACT_RENAME,
	ACT_EXCHANGE,
	ACT_DROP,
};

struct sim_step {
	enum sim_act act;
	int n, m;
	bool joined; /* with the next: the kernel's lock on the directory keeps listings out */
};

struct sim_row {
	enum { ROW_PUT, ROW_DELETE, ROW_MOVE, ROW_SWAP } what;
	int n, m;
};

struct sim_op {
	enum sim_kind kind;
	struct sim_step step[SIM_STEPS];
	int nsteps, at;
	struct sim_row rows[3];
	int nrows;
	struct node *claimed[2]; /* counted */
	int nclaimed;
};

struct sim_name {
	bool row, cache;
	bool busy; /* in an operation */
};

struct sim {
	char dir[256];
	int fd;		   /* of the listed directory in the cache */
	bool at_most_once; /* the file system promises that for names made again */
	struct tier t;
	struct node *d;
	dirid_t dirid;
	bool threads; /* several, each with names of its own: nothing below but name[] is kept */
	struct sim_name name[SIM_NAMES];
	/* of the listing that is being made */
	bool was_there[SIM_NAMES]; /* when it started */
	bool was_gone[SIM_NAMES];  /* at some time since */
	bool was_ever[SIM_NAMES];  /* there at some time since */
	char log[8192];
};

struct sim *sim_new(void);
void sim_free(struct sim *s);
const char *sim_text(int n);
bool sim_is_dir(int n);
bool sim_exists(const struct sim *s, int n);
/* Bring all names to a state: bit 0 the row, bit 1 the cache, two bits a name, 'a' lowest. */
void sim_reset(struct sim *s, unsigned states);
void sim_start(struct sim *s); /* a listing starts */
void sim_say(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* False: not possible in the present state, or the names are busy. */
bool sim_op_begin(struct sim *s, struct sim_op *op, enum sim_kind kind, int n, int m);
/* One step, with those joined to it.  False: it was the last. */
bool sim_op_step(struct sim *s, struct sim_op *op);

#endif
