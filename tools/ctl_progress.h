/* SPDX-License-Identifier: MIT */
/*
 * How far something is, in one line on stderr that is drawn again and again: only on a
 * terminal, and only for what takes over a second.
 */
#ifndef EBB_TOOLS_CTL_PROGRESS_H
#define EBB_TOOLS_CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct ctl_progress {
	const char *verb; /* borrowed: "archive" */
	const char *unit; /* borrowed: "files" */
	bool on;
	int64_t start_ms, drawn_ms;
};

void ctl_progress_start(struct ctl_progress *p, const char *verb, const char *unit);
/* total 0: not known. */
void ctl_progress_draw(struct ctl_progress *p, uint64_t done, uint64_t total, uint64_t bytes);
/* Take the line away: before the summary, and before messages (ctl_complain does it). */
void ctl_progress_clear(void);

#endif
