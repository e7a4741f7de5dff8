/* SPDX-License-Identifier: MIT */
/*
 * Latencies of many operations in little memory: buckets that are 1/16 of a power of two wide, so
 * that a percentile is known to 6 %.  Plain memory without pointers: it may be shared by processes.
 * One writer each; hist_add() joins what several have counted.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_FINE_BITS 4
#define HIST_BUCKETS ((40 - HIST_FINE_BITS + 1) << HIST_FINE_BITS) /* up to 18 minutes */

struct hist {
	uint64_t count, sum_ns, max_ns;
	uint32_t bucket[HIST_BUCKETS];
};

void hist_note(struct hist *h, uint64_t ns);
void hist_add(struct hist *to, const struct hist *from);
/* The value under which `share` (0 to 1) of the operations stayed; 0 where there were none. */
uint64_t hist_percentile_ns(const struct hist *h, double share);

#endif
