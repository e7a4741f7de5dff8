/* SPDX-License-Identifier: MIT */
/*
 * What all sinks have in common: verdicts begin as SINK_RETRY, so that nothing
 * counts as told by omission; how long to wait after a failure; and one line in
 * the log when a sink's state changes, not one a batch.
 */
#include "backend/sink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "backend/sink_ops.h"
#include "lib/log.h"

#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 60000
#define BACKOFF_STEPS 7 /* 500 ms doubled 7 times is past the maximum */

void sink_init(struct sink *s, const struct sink_ops *ops)
{
	s->ops = ops;
	s->fails = 0;
	s->health = (struct sink_health){ .error = "nothing was sent yet" };
	lock_init(&s->lock, LOCK_RANK_SINK, "sink");
}

void sink_fini(struct sink *s)
{
	lock_fini(&s->lock);
}

void sink_set_server(struct sink *s, const char *server)
{
	lock_take(&s->lock);
	snprintf(s->health.server, sizeof(s->health.server), "%s", server);
	lock_drop(&s->lock);
}

static void say(const struct sink *s, int r, const char *server, const char *error)
{
	const char *name = s->ops->name;

	if (r == 0 && error[0])
		log_warning("%s: %s", name, error);
	else if (r == 0)
		log_info("%s answers: %s", name, server);
	else if (r == -EAGAIN)
		log_warning("cannot tell %s of files: %s; trying again", name, error);
	else
		log_error("cannot tell %s of files: %s; they wait until that is corrected", name,
			  error);
}

/* Keep what a call came to: health, back-off, and a line in the log when it is news. */
static void note(struct sink *s, int r, bool retry)
{
	const char *error = r < 0 ? s->ops->error(s) : s->ops->notice(s);
	struct sink_health now = { .up = r == 0 };
	bool news;

	if (r == -ECANCELED)
		return;
	snprintf(now.error, sizeof(now.error), "%s", error);
	lock_take(&s->lock);
	memcpy(now.server, s->health.server, sizeof(now.server));
	news = s->health.up != now.up || strcmp(s->health.error, now.error) != 0;
	s->health = now;
	s->fails = r < 0 || retry ? s->fails + 1 : 0;
	lock_drop(&s->lock);
	if (news)
		say(s, r, now.server, now.error);
}

int sink_send(struct sink *s, struct sink_item *items, size_t n)
{
	bool retry = false;
	int r;

	for (size_t i = 0; i < n; i++) {
		items[i].verdict = SINK_RETRY;
		items[i].error[0] = '\0';
	}
	r = s->ops->send(s, items, n);
	if (r == 1)
		return 0;
	if (r == -ENOMEM)
		r = -EAGAIN;
	for (size_t i = 0; i < n; i++) {
		if (items[i].verdict != SINK_RETRY)
			continue;
		retry = true;
		if (!items[i].error[0])
			snprintf(items[i].error, sizeof(items[i].error), "%.*s",
				 (int)sizeof(items[i].error) - 1, r < 0 ? s->ops->error(s) : "");
	}
	note(s, r, retry);
	return r;
}

int sink_query(struct sink *s, const char *const *paths, int *found, size_t n)
{
	int r = s->ops->query(s, paths, found, n);

	if (r == 1)
		return 0;
	if (r == -ENOMEM)
		r = -EAGAIN;
	note(s, r, false);
	return r;
}

int sink_scan(struct sink *s, const struct sink_scan *scan)
{
	int r = s->ops->scan(s, scan);

	/* Who asked is told; the log has what keeps files from being told of. */
	lock_take(&s->lock);
	s->health.up = r == 0;
	snprintf(s->health.error, sizeof(s->health.error), "%s", r < 0 ? s->ops->error(s) : "");
	lock_drop(&s->lock);
	return r == -ENOMEM ? -EAGAIN : r;
}

int64_t sink_backoff_ms(struct sink *s)
{
	int64_t most_ms = BACKOFF_MAX_MS;
	uint32_t dice = 0;
	unsigned fails;

	lock_take(&s->lock);
	fails = s->fails;
	lock_drop(&s->lock);
	if (fails == 0)
		return 0;
	if (fails < BACKOFF_STEPS)
		most_ms = (int64_t)BACKOFF_MIN_MS << fails;
	if (most_ms > BACKOFF_MAX_MS)
		most_ms = BACKOFF_MAX_MS;
	/* Nodes that failed together must not come back together. */
	if (getrandom(&dice, sizeof(dice), 0) != (ssize_t)sizeof(dice))
		dice = UINT32_MAX / 2;
	return BACKOFF_MIN_MS + (int64_t)(dice % (uint32_t)(most_ms - BACKOFF_MIN_MS + 1));
}

void sink_stop(struct sink *s)
{
	s->ops->stop(s);
}

void sink_free(struct sink *s)
{
	if (s)
		s->ops->free(s);
}

const char *sink_name(struct sink *s)
{
	return s->ops->name;
}

void sink_health(struct sink *s, struct sink_health *ret)
{
	lock_take(&s->lock);
	*ret = s->health;
	lock_drop(&s->lock);
}
