/* SPDX-License-Identifier: MIT */
/* The rules of a fault store: parsed and judged by store_fault_rules.c. */
#ifndef EBB_BACKEND_STORE_FAULT_H
#define EBB_BACKEND_STORE_FAULT_H

#include <sys/types.h>

#include "backend/store.h"

#define FAULT_LIST STORE_OPS /* store_list, as one more operation */

enum fault_action {
	FAULT_NONE,
	FAULT_ERROR, /* not done; verdict.error */
	FAULT_FULL,  /* put: -ENOSPC, unless store_attrs.even_full */
	FAULT_SHORT, /* get: done, half of the bytes are returned */
	FAULT_FLIP,  /* get: one bit of the data is wrong; verify: of the checksum */
	FAULT_LOST,  /* done, but the reply is -ETIMEDOUT */
	FAULT_DOWN,  /* not done, -ETIMEDOUT */
};

/* What all rules together say about one operation. */
struct fault_verdict {
	enum fault_action action; /* of the first rule that has one */
	int error;		  /* negative */
	bool now;		  /* -ETIMEDOUT comes at once instead of after the timeout */
	bool hold;		  /* wait until no rule says so */
	int64_t delay_ms;	  /* the sum */
};

struct fault_rules;

/* What tells one content of the file from another; all zero: there is no file. */
struct fault_version {
	dev_t dev;
	ino_t ino;
	off_t size;
	int64_t mtime_ns;
};

/* Of the file as it is now: a stat(2). */
struct fault_version fault_version_now(const char *file);
/*
 * No file is no rules.  0; -errno of reading it; -EINVAL for a line that is no
 * rule, with a sentence in err.
 */
int fault_rules_read(const char *file, struct fault_rules **ret, char *err, size_t size);
void fault_rules_free(struct fault_rules *r);
bool fault_rules_are(const struct fault_rules *r, const struct fault_version *v);

/* Counts this operation in every rule that matches.  The caller's lock protects r. */
struct fault_verdict fault_rules_judge(struct fault_rules *r, unsigned op, const char *key);
/* Does a rule hold this operation?  Counts nothing. */
bool fault_rules_hold(const struct fault_rules *r, unsigned op, const char *key);
/* Is there a rule `* down` without conditions? */
bool fault_rules_down(const struct fault_rules *r);

#endif
