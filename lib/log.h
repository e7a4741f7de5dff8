/* SPDX-License-Identifier: MIT */
/*
 * The daemon's voice.
 *
 * One line an event, "cannot VERB 'OBJECT': reason".  A failure is logged once:
 * where a foreign error becomes an errno, or where an errno is swallowed.
 * Under systemd (JOURNAL_STREAM set) lines carry sd-daemon priority prefixes;
 * in the background without systemd they go to syslog, facility daemon.
 */
#ifndef EBB_LIB_LOG_H
#define EBB_LIB_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Call once, before threads.  ident is borrowed for the life of the program. */
void log_open(const char *ident, bool to_syslog);
void log_set_level(enum log_level level);
bool log_wants(enum log_level level);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * True at most once per interval_ms for each *last_ms (zero it at first): for
 * a state that lasts (store down, cache full), one line a minute, not a flood.
 */
bool log_ratelimit(_Atomic long long *last_ms, int interval_ms);

#endif
