/* SPDX-License-Identifier: MIT */
/*
 * What all stores have in common: counts, and troubles.
 *
 *	           -ETIMEDOUT            -ENOSPC -EDQUOT      -EACCES of a read / write
 *	               |                       |                       |
 *	            DOWN                     FULL             READ_ / WRITE_REFUSED
 *	               |                       |                       |
 *	   an answer (not -EIO)         a put succeeds         a read / write succeeds
 *
 * A trouble is a state, not an event: a thousand operations that fail because Ceph
 * is away are one line in the log, and one when it is back.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/store_ops.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/text.h"

#define REPEAT_MS 60000 /* a trouble that comes and goes is told this often */

int store_init(struct store *s, const struct store_ops *ops, const store_advice *advice,
	       const char *name, int64_t timeout_ms, bool up)
{
	s->name = strdup(name);
	if (!s->name)
		return -ENOMEM;
	s->ops = ops;
	s->advice = advice;
	s->timeout_ms = timeout_ms;
	s->since_ms = clock_mono_ms();
	lock_init(&s->lock, LOCK_RANK_LEAF, "store health");
	if (!up) {
		s->troubles = 1U << STORE_DOWN;
		snprintf(s->trouble[STORE_DOWN].text, sizeof(s->trouble[STORE_DOWN].text),
			 "'%.150s' is not connected yet", name);
		s->trouble[STORE_DOWN].told = true;
	}
	return 0;
}

void store_fini(struct store *s)
{
	lock_fini(&s->lock);
	free(s->name);
}

bool store_has_trouble(struct store *s, enum store_trouble t)
{
	return s->troubles & (1U << t);
}

bool store_is_full(struct store *s)
{
	return store_has_trouble(s, STORE_FULL);
}

void store_set_trouble(struct store *s, enum store_trouble t, const char *fmt, ...)
{
	int64_t now = clock_mono_ms();
	bool is_new, tell;
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	lock_take(&s->lock);
	is_new = strcmp(s->trouble[t].text, text) != 0;
	tell = is_new || (!store_has_trouble(s, t) && now - s->trouble[t].told_ms >= REPEAT_MS);
	if (!store_has_trouble(s, t) && t == STORE_DOWN)
		s->since_ms = now;
	if (is_new)
		memcpy(s->trouble[t].text, text, sizeof(text));
	if (tell) {
		s->trouble[t].told = true;
		s->trouble[t].told_ms = now;
	}
	s->troubles |= 1U << t;
	lock_drop(&s->lock);
	if (tell)
		log_error("%s", text);
}

void store_end_trouble(struct store *s, enum store_trouble t)
{
	static const char *const words[STORE_TROUBLES] = {
		[STORE_DOWN] = "answers",
		[STORE_READ_REFUSED] = "may be read again",
		[STORE_WRITE_REFUSED] = "may be written again",
		[STORE_FULL] = "has room again",
	};
	bool tell;

	if (!store_has_trouble(s, t))
		return;
	lock_take(&s->lock);
	tell = store_has_trouble(s, t) && s->trouble[t].told;
	if (store_has_trouble(s, t) && t == STORE_DOWN)
		s->since_ms = clock_mono_ms();
	s->trouble[t].told = false;
	s->troubles &= ~(1U << t);
	lock_drop(&s->lock);
	if (tell)
		log_info("'%s' %s", s->name, words[t]);
}

/* The generic sentence and the implementation's advice; a better one that is there stays. */
static void note_trouble(struct store *s, enum store_trouble t, int r)
{
	const char *advice = s->advice ? (*s->advice)[t] : NULL;
	char reason[64];

	if (store_has_trouble(s, t))
		return;
	if (r == -ETIMEDOUT)
		snprintf(reason, sizeof(reason), "no answer within %lld ms",
			 (long long)s->timeout_ms);
	else
		snprintf(reason, sizeof(reason), "%.60s", strerrordesc_np(-r));
	store_set_trouble(s, t, "store '%.80s': %s%s%s", s->name, reason, advice ? ": " : "",
			  advice ? advice : "");
}

static void note_failure(struct store *s, enum store_op op, int r)
{
	bool write = op == STORE_PUT || op == STORE_DROP;

	switch (r) {
	case -ENOENT:
	case -EEXIST:
	case -ESTALE:
		return;
	case -ETIMEDOUT:
		s->timeouts++;
		note_trouble(s, STORE_DOWN, r);
		return;
	case -ENOSPC:
	case -EDQUOT:
		note_trouble(s, STORE_FULL, r);
		break;
	case -EACCES:
		note_trouble(s, write ? STORE_WRITE_REFUSED : STORE_READ_REFUSED, r);
		break;
	default:
		break;
	}
	s->errors++;
}

void store_note(struct store *s, const struct store_request *q, int64_t result)
{
	enum store_op op = q->op;

	s->counts[op]++;
	if (result < 0)
		note_failure(s, op, (int)result);
	else if (op == STORE_PUT)
		s->bytes_put += q->len_bytes;
	else if (op == STORE_GET)
		s->bytes_got += (uint64_t)result;

	/* Nearly always all is well, and this is one load. */
	if (!s->troubles)
		return;
	if (!q->concluded && result != -ETIMEDOUT && result != -ENOMEM && result != -EIO)
		store_end_trouble(s, STORE_DOWN);
	if (result < 0)
		return;
	if (op == STORE_PUT && !q->attrs.even_full)
		store_end_trouble(s, STORE_FULL);
	if (op == STORE_PUT || op == STORE_DROP)
		store_end_trouble(s, STORE_WRITE_REFUSED);
	else
		store_end_trouble(s, STORE_READ_REFUSED);
}

void store_fill_health(struct store *s, struct store_health *ret)
{
	*ret = (struct store_health){ .up = true };
	lock_take(&s->lock);
	ret->up = !store_has_trouble(s, STORE_DOWN);
	ret->since_ms = s->since_ms;
	for (unsigned t = 0; t < STORE_TROUBLES && !ret->error[0]; t++) {
		if (store_has_trouble(s, t))
			memcpy(ret->error, s->trouble[t].text, sizeof(ret->error));
	}
	lock_drop(&s->lock);
}

void store_counts(struct store *s, struct store_counts *ret)
{
	struct store_counts c = {
		.errors = s->errors,
		.timeouts = s->timeouts,
		.bytes_put = s->bytes_put,
		.bytes_got = s->bytes_got,
	};

	for (unsigned i = 0; i < STORE_OPS; i++)
		c.ops[i] = s->counts[i];
	*ret = c;
}

void store_log_failure(struct store *s, enum store_op op, const char *key, int result,
		       const char *text)
{
	static const char *const verbs[STORE_OPS] = {
		[STORE_PUT] = "write", [STORE_VERIFY] = "verify", [STORE_STAT] = "look up",
		[STORE_GET] = "read",  [STORE_DROP] = "drop",
	};
	static _Atomic long long last_ms;
	AUTO_FREE char *shown = NULL;

	if (!log_ratelimit(&last_ms, 100))
		return;
	shown = text_printable(key, strlen(key));
	log_error("cannot %s '%s' in %s: %s", verbs[op], shown ? shown : "?", s->name,
		  text ? text : strerrordesc_np(-result));
}
