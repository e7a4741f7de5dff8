/* SPDX-License-Identifier: MIT */
/*
 * Dropping the journal before a checkpoint, number by number, oldest first.
 *
 *	1 ... D-1 | D ........ C-1 | C ...		C: complete, its grace is over
 *	dropped	  | dropped now	   | stays
 *
 * With a number go the part of the journal, but those by which parts are found
 * (tier/parts.h), and a checkpoint that began there.  How far it came is in the catalogue,
 * now and then: what a kill repeats finds nothing.
 *
 * Always true: nothing is dropped unless the store has just read all parts of C and found
 * them as they were written.  A part of another attempt stays, which are the records of
 * those who took the journal over: a former owner finds its fence however late it wakes.
 */
#include <errno.h>
#include <inttypes.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tier/checkpoint_int.h"

#define SAVE_EVERY 64 /* numbers */
#define WARN_MS 3600000

/* -EBADMSG: it is not whole. */
static int prove_part(struct tier *t, const struct uid128 *node, uint64_t seq, uint64_t n)
{
	struct store_stat stat;
	char key[PARTS_KEY_SIZE];
	int r;

	checkpoint_key(node, seq, n, key, sizeof(key));
	r = store_verify_wait(t->store, key, &stat);
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	return stat.has_written && stat.written_crc32c == stat.crc32c ? 0 : -EBADMSG;
}

static int prove(struct checkpoint *k, const struct uid128 *node, uint64_t seq)
{
	uint64_t parts;
	bool ended;
	int r;

	if (k->proved == seq)
		return 0;
	r = checkpoint_parts(k->t->store, node, seq, &parts, &ended);
	if (r == 0 && (!ended || parts == 0))
		r = -EBADMSG;
	for (uint64_t n = 0; r == 0 && n <= parts; n++)
		r = k->stop ? -ECANCELED : prove_part(k->t, node, seq, n);
	if (r == 0)
		k->proved = seq;
	return r;
}

/* 0 also when it is not there, or not ours. */
static int drop_key(struct tier *t, const char *key)
{
	char attempt[STORE_ATTEMPT_MAX];
	int r;

	object_attempt(t, 0, attempt, sizeof(attempt));
	r = store_drop_wait(t->store, key, attempt);
	return r == -ENOENT || r == -ESTALE ? 0 : r;
}

/* The end first: from then on it is an incomplete one, and its parts go from the last. */
static int drop_checkpoint(struct tier *t, const struct uid128 *node, uint64_t seq)
{
	char key[PARTS_KEY_SIZE];
	uint64_t n;
	bool ended;
	int r = checkpoint_parts(t->store, node, seq, &n, &ended);

	for (n += ended ? 1 : 0; r == 0 && n > 0; n--) {
		checkpoint_key(node, seq, n - 1, key, sizeof(key));
		r = drop_key(t, key);
	}
	return r;
}

static int drop_number(struct tier *t, const struct uid128 *node, uint64_t seq)
{
	uint64_t gone[PARTS_GONE_MAX];
	char key[PARTS_KEY_SIZE];
	int n = journal_gone_with(seq, gone), r = drop_checkpoint(t, node, seq);

	for (int i = 0; i < n && r == 0; i++) {
		journal_key(node, gone[i], key, sizeof(key));
		r = drop_key(t, key);
		if (r == 0)
			r = failpoint(CHECKPOINT_DROP);
	}
	return r;
}

static int drop_before(struct checkpoint *k, const struct uid128 *node, uint64_t from, uint64_t end)
{
	struct catalogue *c = k->t->cat;
	uint64_t seq = from;
	int save, r = 0;

	while (seq < end && r == 0 && !k->stop && !catalogue_is_readonly(c)) {
		r = drop_number(k->t, node, seq);
		if (r == 0 && ++seq % SAVE_EVERY == 0)
			r = catalogue_journal_dropped(c, seq);
	}
	save = seq > from ? catalogue_journal_dropped(c, seq) : 0;
	if (r == 0 && seq == end)
		log_info("checkpoint %" PRIu64 " of the journal: what was before it is dropped",
			 end);
	return r < 0 ? r : save;
}

int checkpoint_drop(struct checkpoint *k)
{
	struct tier *t = k->t;
	struct uid128 node = catalogue_ids(t->cat).node;
	int64_t grace_ns = k->t->conf->trash_grace * 1000000;
	struct checkpoint_status s;
	uint64_t seq;
	int r = catalogue_checkpoint_done_by(t->cat, clock_real_ns() - grace_ns, &seq);

	if (r == 0)
		r = catalogue_checkpoint_status(t->cat, &s);
	if (r < 0 || s.dropped >= seq)
		return r;
	r = prove(k, &node, seq);
	if (r == -ECANCELED)
		return 0;
	if (r == -EBADMSG) {
		if (log_ratelimit(&k->damaged_ms, WARN_MS))
			log_error("checkpoint %" PRIu64
				  " in the store is not as it was written: the "
				  "journal before it is kept until there is another",
				  seq);
		return 0;
	}
	return r < 0 ? r : drop_before(k, &node, s.dropped, seq);
}
