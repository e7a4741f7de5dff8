/* SPDX-License-Identifier: MIT */
/*
 * The journal's thread.
 *
 *	asking --volume_check--> shipping --another's bytes at our key--> fenced
 *	  |  ^ store down: again     |  ^ store down: the same part again
 *	  +--not ours--> fenced
 *
 * Always true: a part is acknowledged in the catalogue only after the store said
 * it was created, or holds exactly these bytes from an earlier try.
 */
#include "tier/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/failpoint.h"
#include "lib/lock.h"
#include "tier/parts.h"
#include "tier/tier_int.h"
#include "tier/volume.h"

#define SHIP_MS 1000
#define SHIP_FULL_MS 10000 /* each part takes of the little room that is left for them */
#define RETRY_MAX_MS 10000
#define WARN_MS 60000

struct journal {
	struct tier *t; /* constant */
	pthread_t thread;
	bool started;
	struct lock lock;
	struct cond wake;  /* the thread: work or stop */
	struct cond moved; /* waiters: a part was shipped, a verdict is there */
	bool kicked;	   /* protected by lock */
	bool stop;	   /* protected by lock */
	bool starting;	   /* protected by lock: a mount waits for the verdict and says it */
	bool judged;	   /* protected by lock */
	int verdict;	   /* protected by lock; 0 while not judged */
	char why[512];	   /* protected by lock */
	_Atomic bool ok;
	_Atomic long long warned_ms;
	int64_t retry_ms; /* the thread's */
};

int journal_new(struct tier *t, struct journal **ret)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->t = t;
	lock_init(&j->lock, LOCK_RANK_WATCH, "journal");
	cond_init(&j->wake);
	cond_init(&j->moved);
	*ret = j;
	return 0;
}

bool volume_ok(struct tier *t)
{
	return t->journal->ok;
}

bool journal_has(struct tier *t, int64_t txn)
{
	return catalogue_journalled_txn(t->cat) >= txn;
}

/* ---- shipping --------------------------------------------------------------- */

/* The key is taken: by an earlier try of ours, or by another owner? */
static int already_there(struct tier *t, const char *key, const struct journal_part *part)
{
	struct store_stat stat;
	char why[256];
	int r;

	r = store_verify_wait(t->store, key, &stat);
	if (r < 0)
		return r;
	if (stat.size == part->len_bytes && stat.crc32c == crc32c(0, part->data, part->len_bytes))
		return 0;
	snprintf(why, sizeof(why),
		 "another ebbfs has written '%s' in the store: this node's "
		 "journal has another owner now",
		 key);
	catalogue_set_readonly(t->cat, why);
	return -EROFS;
}

static int ship_part(struct journal *j, const struct journal_part *part)
{
	struct tier *t = j->t;
	struct catalogue_ids ids = catalogue_ids(t->cat);
	char key[PARTS_KEY_SIZE], attempt[STORE_ATTEMPT_MAX];
	/* nothing is dropped that the journal does not say is gone: a full store would stay full */
	struct store_attrs attrs = { .attempt = attempt, .path = key, .even_full = true };
	int r;

	journal_key(&ids.node, part->seq, key, sizeof(key));
	object_attempt(t, 0, attempt, sizeof(attempt));
	attrs.crc32c = crc32c(0, part->data, part->len_bytes);
	r = failpoint(JOURNAL_FIX);
	if (r == 0)
		r = store_put_wait(t->store, key, part->data, part->len_bytes, &attrs);
	if (r == -EEXIST)
		r = already_there(t, key, part);
	if (r == 0)
		r = failpoint(JOURNAL_PUT);
	if (r == 0)
		r = catalogue_journal_acked(t->cat, part);
	if (r == 0)
		r = failpoint(JOURNAL_ACK);
	return r;
}

/* 1: there may be more; 0: nothing left; or an error. */
static int ship_next(struct journal *j)
{
	struct journal_part part;
	int r;

	r = catalogue_journal_next(j->t->cat, JOURNAL_PART_BYTES, &part);
	if (r == -ENODATA)
		return 0;
	if (r < 0)
		return r;
	r = ship_part(j, &part);
	free(part.data);
	lock_take(&j->lock);
	cond_broadcast(&j->moved);
	lock_drop(&j->lock);
	return r < 0 ? r : 1;
}

/* ---- the verdict ------------------------------------------------------------ */

static void judge(struct journal *j)
{
	char err[sizeof(j->why)];
	int r = volume_check(j->t, err, sizeof(err));
	bool final = r == 0 || r == -EXDEV || r == -ESTALE || r == -ENOTSUP, starting;

	if (!final) {
		if (log_ratelimit(&j->warned_ms, WARN_MS))
			log_warning("cannot archive yet: %s", err);
		return;
	}
	lock_take(&j->lock);
	starting = j->starting;
	j->judged = true;
	j->verdict = r;
	memcpy(j->why, err, sizeof(err));
	j->ok = r == 0;
	cond_broadcast(&j->moved);
	lock_drop(&j->lock);
	if (r < 0 && !starting)
		catalogue_set_readonly(j->t->cat, err);
}

static int work(struct journal *j)
{
	int r;

	if (!j->ok) {
		judge(j);
		return j->ok ? 0 : -EAGAIN;
	}
	do
		r = ship_next(j);
	while (r == 1);
	if (r < 0 && r != -EROFS && log_ratelimit(&j->warned_ms, WARN_MS))
		log_warning("cannot write the journal to the store: %s: nothing is released "
			    "until it can",
			    strerror(-r));
	return r;
}

static bool rest(struct journal *j, int r)
{
	int64_t until, every_ms = store_is_full(j->t->store) ? SHIP_FULL_MS : SHIP_MS;
	bool stop;

	j->retry_ms = r == 0 ? 0 : j->retry_ms == 0 ? 100 : j->retry_ms * 2;
	if (j->retry_ms > RETRY_MAX_MS)
		j->retry_ms = RETRY_MAX_MS;
	lock_take(&j->lock);
	until = clock_mono_ms() + (r == 0 ? every_ms : j->retry_ms);
	while (!j->stop && !(j->kicked && r == 0) && clock_mono_ms() < until)
		cond_wait_until(&j->wake, &j->lock, until);
	j->kicked = false;
	stop = j->stop;
	lock_drop(&j->lock);
	return !stop;
}

static void *journal_main(void *arg)
{
	struct journal *j = arg;

	while (rest(j, work(j)))
		;
	if (j->ok)
		(void)work(j); /* what the last transactions wrote, if the store answers */
	return NULL;
}

int journal_start(struct journal *j, int64_t patience_ms, char *err, size_t size)
{
	int64_t until = clock_mono_ms() + patience_ms;
	int r;

	j->starting = true;
	r = pthread_create(&j->thread, NULL, journal_main, j);
	if (r != 0) {
		snprintf(err, size, "cannot start a thread: %s", strerror(r));
		return -r;
	}
	j->started = true;
	lock_take(&j->lock);
	while (!j->judged && cond_wait_until(&j->moved, &j->lock, until))
		;
	j->starting = false;
	r = j->verdict;
	if (r < 0)
		snprintf(err, size, "%s", j->why);
	lock_drop(&j->lock);
	return r;
}

void journal_stop(struct journal *j)
{
	if (!j->started)
		return;
	lock_take(&j->lock);
	j->stop = true;
	cond_broadcast(&j->wake);
	cond_broadcast(&j->moved);
	lock_drop(&j->lock);
	pthread_join(j->thread, NULL);
	j->started = false;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	cond_fini(&j->moved);
	cond_fini(&j->wake);
	lock_fini(&j->lock);
	free(j);
}

int journal_wait(struct tier *t, int64_t txn, int64_t timeout_ms)
{
	struct journal *j = t->journal;
	int64_t until = clock_mono_ms() + timeout_ms;
	int r = 0;

	lock_take(&j->lock);
	while (!journal_has(t, txn)) {
		j->kicked = true;
		cond_signal(&j->wake);
		if (j->stop || !cond_wait_until(&j->moved, &j->lock, until)) {
			r = -ETIMEDOUT;
			break;
		}
		if (catalogue_is_readonly(t->cat)) {
			r = -EROFS;
			break;
		}
	}
	lock_drop(&j->lock);
	return r;
}
