/* SPDX-License-Identifier: MIT */
/*
 * FUSE over io_uring: whether to ask for it, and how large its rings may be.
 *
 * There is one ring a core, with a fixed number of entries, each with a buffer of
 * max_write.  A request that waits keeps its entry, so what may wait is counted for
 * each ring (fs/waiters.h).
 */
#ifndef EBB_FS_URING_H
#define EBB_FS_URING_H

#include <stdbool.h>

#include "lib/conf.h"

/* All rings' buffers together: memory that is touched only as far as it is used. */
#define URING_BYTES (256u << 20)

struct uring_plan {
	bool wanted; /* the kernel is asked for it */
	bool forced; /* io_uring=yes: not having it is worth a warning */
	unsigned rings;
	unsigned depth; /* entries of each ring */
	unsigned max_write_bytes;
	char why_not[160]; /* while not wanted: a clause for the log */
};

/* Probes, and switches the kernel's fuse.enable_uring on where it is off and may be switched. */
void uring_plan(const struct conf *conf, struct uring_plan *ret);

/* The buffers' size for this many rings; lowers *depth where even the smallest is too large. */
unsigned uring_buffer_bytes(unsigned rings, unsigned *depth);

#endif
