/* SPDX-License-Identifier: MIT */
/*
 * Log lines go to one of three places, chosen once by log_open():
 *
 *	stderr of a service    "<3>cannot ..."         the journal reads the priority
 *	stderr of anyone else  "ebbfs: error: cannot ..."
 *	syslog                 facility daemon
 *
 * A line is one write(2), so lines of two threads never mix, and control
 * characters in it become blanks, so that a file name or a server's reply cannot
 * forge a second line.  errno survives every call.  Nothing here takes a lock or
 * memory: it may be called from anywhere but a signal handler.
 */
#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "lib/clock.h"

/* A path of 4,096 bytes, each printed as \xXX, does not fit: it is cut, and says so. */
#define LINE_MAX_BYTES 8192

enum log_place { TO_STDERR, TO_JOURNAL, TO_SYSLOG };

static _Atomic int log_level = LOG_LEVEL_INFO;
/* Constant after log_open(). */
static enum log_place log_place = TO_STDERR;
static const char *log_ident; /* borrowed */

static const struct {
	int priority; /* of syslog(3), and of sd-daemon(3) */
	const char *word;
} levels[] = {
	[LOG_LEVEL_ERROR] = { LOG_ERR, "error: " },
	[LOG_LEVEL_WARNING] = { LOG_WARNING, "warning: " },
	[LOG_LEVEL_INFO] = { LOG_INFO, "" },
	[LOG_LEVEL_DEBUG] = { LOG_DEBUG, "debug: " },
};

/* systemd names the socket it gave; stderr may have been redirected since. */
static bool stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!s || sscanf(s, "%llu:%llu", &dev, &ino) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *ident, bool to_syslog)
{
	log_ident = ident;
	log_place = TO_STDERR;
	if (to_syslog) {
		log_place = TO_SYSLOG;
		openlog(ident, LOG_PID, LOG_DAEMON);
	} else if (stderr_is_journal()) {
		log_place = TO_JOURNAL;
	}
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

static int print_prefix(enum log_level level, char *buf, size_t size)
{
	if (log_place == TO_SYSLOG)
		return 0;
	if (log_place == TO_JOURNAL)
		return snprintf(buf, size, "<%d>", levels[level].priority);
	return snprintf(buf, size, "%.64s: %s",
			log_ident ? log_ident : program_invocation_short_name, levels[level].word);
}

/* Formats into line (of LINE_MAX_BYTES), without a newline.  Returns its length. */
__attribute__((format(printf, 3, 0))) static size_t print_line(char *line, enum log_level level,
							       const char *fmt, va_list ap)
{
	static const char cut[] = "...";
	size_t room = LINE_MAX_BYTES - 2; /* for a newline and NUL */
	size_t len = (size_t)print_prefix(level, line, room);
	int n = vsnprintf(line + len, room - len, fmt, ap);

	if (n < 0)
		n = snprintf(line + len, room - len, "(cannot format '%.100s')", fmt);
	if ((size_t)n >= room - len) {
		len = room - 1;
		memcpy(line + len - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	} else {
		len += (size_t)n;
	}
	for (char *p = line; p < line + len; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	}
	line[len] = '\0';
	return len;
}

__attribute__((format(printf, 2, 0))) static void log_line(enum log_level level, const char *fmt,
							   va_list ap)
{
	char line[LINE_MAX_BYTES];
	int saved_errno = errno;
	size_t len = print_line(line, level, fmt, ap);

	if (log_place == TO_SYSLOG) {
		syslog(levels[level].priority, "%s", line);
	} else {
		line[len++] = '\n';
		/* There is nobody to tell when the log itself cannot be written. */
		if (write(STDERR_FILENO, line, len) < 0)
			errno = saved_errno;
	}
	errno = saved_errno;
}

/* The public four differ by their level alone. */
#define LOG_FUNCTION(name, level)           \
	void name(const char *fmt, ...)     \
	{                                   \
		va_list ap;                 \
                                            \
		if (!log_wants(level))      \
			return;             \
		va_start(ap, fmt);          \
		log_line((level), fmt, ap); \
		va_end(ap);                 \
	}

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

bool log_ratelimit(_Atomic long long *last_ms, int interval_ms)
{
	long long last = atomic_load(last_ms);
	long long now = clock_mono_ms() + 1; /* never 0, which means: not yet */

	if (last != 0 && now - last < interval_ms)
		return false;
	/* Of several threads that come at once, one wins. */
	return atomic_compare_exchange_strong(last_ms, &last, now);
}
