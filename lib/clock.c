/* SPDX-License-Identifier: MIT */
/*
 * The two clocks.
 *
 * Deadlines and ages are measured by the monotonic clock, which nobody can set;
 * the real clock is only compared with, and shown as, times of files.  Neither
 * clock_gettime can fail: the clocks exist on every Linux this builds for.
 */
#include "lib/clock.h"

static struct timespec now(clockid_t id)
{
	struct timespec t = { 0 };

	clock_gettime(id, &t);
	return t;
}

int64_t clock_mono_ns(void)
{
	return ts_to_ns(now(CLOCK_MONOTONIC));
}

int64_t clock_mono_ms(void)
{
	return clock_mono_ns() / (NSEC_PER_SEC / 1000);
}

int64_t clock_real_ns(void)
{
	return ts_to_ns(now(CLOCK_REALTIME));
}

struct timespec ns_to_ts(int64_t ns)
{
	struct timespec t = {
		.tv_sec = ns / NSEC_PER_SEC,
		.tv_nsec = ns % NSEC_PER_SEC,
	};

	/* C rounds towards zero; a time before 1970 must still count its nanoseconds forward. */
	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += NSEC_PER_SEC;
	}
	return t;
}
