/* SPDX-License-Identifier: MIT */
/*
 * The buckets: values under 2 << HIST_FINE_BITS have one each; above, the highest bits of a value
 * and its magnitude together are the number of its bucket.
 */
#include "bench/hist.h"

#include <stddef.h>

static unsigned bucket_of(uint64_t ns)
{
	unsigned top, shift, n;

	if (ns < (2u << HIST_FINE_BITS))
		return (unsigned)ns;
	top = 63 - (unsigned)__builtin_clzll(ns);
	shift = top - HIST_FINE_BITS;
	n = (shift << HIST_FINE_BITS) + (unsigned)(ns >> shift);
	return n < HIST_BUCKETS ? n : HIST_BUCKETS - 1;
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
	unsigned shift;

	if (bucket < (2u << HIST_FINE_BITS))
		return bucket;
	shift = (bucket >> HIST_FINE_BITS) - 1;
	return ((uint64_t)(bucket - (shift << HIST_FINE_BITS)) << shift) + ((1ull << shift) / 2);
}

void hist_note(struct hist *h, uint64_t ns)
{
	h->count++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->bucket[bucket_of(ns)]++;
}

void hist_add(struct hist *to, const struct hist *from)
{
	to->count += from->count;
	to->sum_ns += from->sum_ns;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

uint64_t hist_percentile_ns(const struct hist *h, double share)
{
	uint64_t want = (uint64_t)(share * (double)h->count), seen = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > want)
			return value_of(i) < h->max_ns ? value_of(i) : h->max_ns;
	}
	return h->max_ns;
}
