/* SPDX-License-Identifier: MIT */
/* Time: monotonic for waiting and ageing, real for what users see. */
#ifndef EBB_LIB_CLOCK_H
#define EBB_LIB_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC 1000000000LL

int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);
int64_t clock_real_ns(void); /* nanoseconds since 1970 UTC */

/* Nanoseconds since 1970 as one signed 64-bit number: 1677 to 2262. */
static inline int64_t ts_to_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

struct timespec ns_to_ts(int64_t ns); /* rounds towards the past, tv_nsec >= 0 */

#endif
