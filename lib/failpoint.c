/* SPDX-License-Identifier: MIT */
/*
 * What happens at a failpoint.
 *
 * The table is written by failpoint_init, before threads, and constant but for
 * the counts.  Shipped to users: a place that can be made to fail at a customer's
 * is worth more than one that fails in the laboratory alone.  Each passage that
 * acts says so first, so that a test can wait for the line.
 */
#include "lib/failpoint.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"

#define WAIT_DEADLINE_MS 60000
#define WAIT_STEP_MS 5

enum action { ACT_NONE, ACT_KILL, ACT_ERROR, ACT_WAIT };

struct plan {
	enum action action;
	int error;	     /* ACT_ERROR: negative errno */
	unsigned long nth;   /* ACT_KILL: the passage that dies, from 1 */
	char path[PATH_MAX]; /* ACT_WAIT */
	unsigned long n_passed;
};

_Atomic int failpoint_armed;

/* Set anew while threads pass: only tests do, and a passage costs a lock only when armed. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct plan plans[FP_COUNT]; /* protected by mutex */

static const char *const names[] = {
#define FAILPOINT(id, name, text) name,
#include "lib/failpoint.def"
#undef FAILPOINT
};

const char *failpoint_name(enum failpoint fp)
{
	return names[fp];
}

static int find_name(const char *name)
{
	for (int i = 0; i < FP_COUNT; i++) {
		if (strcmp(names[i], name) == 0)
			return i;
	}
	return -EINVAL;
}

/* "EIO" -> -EIO */
static int parse_error(const char *s, int *ret)
{
	for (int e = 1; e < 256; e++) {
		const char *name = strerrorname_np(e);

		if (name && strcmp(name, s) == 0) {
			*ret = -e;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_count(const char *s, unsigned long *ret)
{
	unsigned long n;
	char *end;

	if (*s < '1' || *s > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int parse_action(const char *s, struct plan *plan)
{
	plan->nth = 1;
	if (strcmp(s, "kill") == 0 || strncmp(s, "kill@", 5) == 0) {
		plan->action = ACT_KILL;
		return s[4] ? parse_count(s + 5, &plan->nth) : 0;
	}
	if (strncmp(s, "error:", 6) == 0) {
		plan->action = ACT_ERROR;
		return parse_error(s + 6, &plan->error);
	}
	if (strncmp(s, "wait:", 5) == 0 && s[5] && strlen(s + 5) < sizeof(plan->path)) {
		plan->action = ACT_WAIT;
		strcpy(plan->path, s + 5);
		return 0;
	}
	return -EINVAL;
}

/* item is "name=action"; it is cut in two. */
static int parse_item(char *item)
{
	char *action = strchr(item, '=');
	int fp;

	if (!action) {
		log_error("cannot set failpoint '%s': no action; give NAME=ACTION", item);
		return -EINVAL;
	}
	*action++ = '\0';
	fp = find_name(item);
	if (fp < 0) {
		log_error("cannot set failpoint '%s': no such name", item);
		return fp;
	}
	if (parse_action(action, &plans[fp]) < 0) {
		log_error("cannot set failpoint '%s' to '%s': unknown action; "
			  "give kill, kill@N, error:ERRNO or wait:PATH",
			  item, action);
		return -EINVAL;
	}
	return 0;
}

static int parse(char *spec)
{
	char *item;
	int r = 0;

	memset(plans, 0, sizeof(plans));
	while (r == 0 && (item = strsep(&spec, ",")))
		if (*item)
			r = parse_item(item);
	return r;
}

int failpoint_init(const char *spec)
{
	AUTO_FREE char *copy = NULL;
	int r;

	if (!spec || !*spec) {
		failpoint_armed = 0;
		return 0;
	}
	copy = strdup(spec);
	if (!copy)
		return -ENOMEM;
	/* who passes one meanwhile meets those of before, or these */
	pthread_mutex_lock(&mutex);
	r = parse(copy);
	if (r == 0)
		log_info("failpoints are set: %s", spec);
	failpoint_armed = r == 0;
	pthread_mutex_unlock(&mutex);
	return r;
}

static void die(const char *name)
{
	log_info("failpoint %s: kill", name);
	kill(getpid(), SIGKILL);
	for (;;)
		pause(); /* the signal is on its way: nothing may happen after this line */
}

static void wait_for(const char *name, const char *path)
{
	int64_t deadline_ms = clock_mono_ms() + WAIT_DEADLINE_MS;

	log_info("failpoint %s: waiting for '%s'", name, path);
	while (access(path, F_OK) < 0) {
		if (clock_mono_ms() >= deadline_ms) {
			log_error("failpoint %s: '%s' did not come in %d s, going on", name, path,
				  WAIT_DEADLINE_MS / 1000);
			return;
		}
		poll(NULL, 0, WAIT_STEP_MS);
	}
}

int failpoint_pass(enum failpoint fp)
{
	struct plan plan;

	pthread_mutex_lock(&mutex);
	plans[fp].n_passed++;
	plan = plans[fp];
	pthread_mutex_unlock(&mutex);
	switch (plan.action) {
	case ACT_NONE:
		break;
	case ACT_KILL:
		if (plan.n_passed == plan.nth)
			die(names[fp]);
		break;
	case ACT_ERROR:
		log_info("failpoint %s: %s", names[fp], strerrorname_np(-plan.error));
		return plan.error;
	case ACT_WAIT:
		wait_for(names[fp], plan.path);
		break;
	}
	return 0;
}
