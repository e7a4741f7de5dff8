/* SPDX-License-Identifier: MIT */
/*
 * Named places where a test may make the daemon die, fail or wait.
 *
 *	EBB_FAILPOINTS="archive.put=kill,release.unlink=kill@3,restore.link=error:EIO"
 *
 * kill: SIGKILL to ourselves; kill@N: at the N-th passage; error:ERRNO: the place
 * returns it; wait:PATH: waits until PATH exists (after 60 s it goes on, and logs an
 * error).  A passage that acts is logged first (info).  Read once at start.
 * The list of all names is lib/failpoint.def; an unknown name refuses to start.
 * Without the variable a passage costs one predictable branch.
 */
#ifndef EBB_LIB_FAILPOINT_H
#define EBB_LIB_FAILPOINT_H

enum failpoint {
#define FAILPOINT(id, name, text) FP_##id,
#include "lib/failpoint.def"
#undef FAILPOINT
	FP_COUNT
};

extern _Atomic int failpoint_armed; /* set by failpoint_init; read relaxed: it costs nothing */

/* 0, -EINVAL: an unknown name or action (logged). */
int failpoint_init(const char *spec);
/* As it stands in the variable.  For tests. */
const char *failpoint_name(enum failpoint fp);
int failpoint_pass(enum failpoint fp);

/* 0, or the negative errno the test asked for. */
#define failpoint(id) \
	(__atomic_load_n((int *)&failpoint_armed, __ATOMIC_RELAXED) ? failpoint_pass(FP_##id) : 0)

#endif
