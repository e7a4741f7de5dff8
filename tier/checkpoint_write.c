/* SPDX-License-Identifier: MIT */
/*
 * Writing a checkpoint.
 *
 *	number fixed -> part 0, 1, 2 ... each created and proved -> their journal shipped
 *	  -> end, of length 0 -> the catalogue knows
 *
 * Always true: the end is in the store only after every part was proved by it and the
 * journal reaches beyond the last row that was read.  So whoever finds the end finds all,
 * and a rebuild may believe it.  A key that is taken by other bytes is nobody's error
 * that could be mended here: this one is given up, the next has another number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/failpoint.h"
#include "tier/checkpoint_int.h"
#include "tier/volume.h"

#define JOURNAL_WAIT_MS 1000

void checkpoint_abandon(struct checkpoint *k)
{
	cat_checkpoint_free(k->rows);
	free(k->data);
	k->rows = NULL;
	k->data = NULL;
	k->n = 0;
	k->all = false;
}

static bool is_due(struct checkpoint *k)
{
	struct checkpoint_status s;
	int64_t least = (int64_t)k->t->conf->checkpoint_min;

	if (catalogue_checkpoint_status(k->t->cat, &s) < 0)
		return false;
	return s.since_bytes > (s.catalogue_bytes > least ? s.catalogue_bytes : least);
}

/* 1: begun; 0: not now. */
static int begin(struct checkpoint *k)
{
	int r;

	if (!is_due(k))
		return 0;
	r = cat_checkpoint_begin(k->t->cat, &k->rows);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	log_info("checkpoint %" PRIu64 " of the journal: begun", cat_checkpoint_seq(k->rows));
	r = failpoint(CHECKPOINT_BEGIN);
	return r < 0 ? r : 1;
}

/* The key is taken: 0, by an earlier try of ours; -EEXIST: by other bytes. */
static int already_there(struct tier *t, const char *key, const struct receipt_want *want)
{
	struct store_stat stat;
	int r = store_verify_wait(t->store, key, &stat);

	if (r < 0)
		return r;
	return stat.size == want->size && stat.crc32c == want->crc32c ? 0 : -EEXIST;
}

static int put(struct checkpoint *k, const void *data, size_t len)
{
	struct tier *t = k->t;
	struct uid128 node = catalogue_ids(t->cat).node;
	char key[PARTS_KEY_SIZE], attempt[STORE_ATTEMPT_MAX];
	struct store_attrs attrs = { .attempt = attempt, .path = key };
	struct receipt_want want = { .key = key, .attempt = attempt, .size = len };
	struct receipt *receipt = NULL;
	int r;

	checkpoint_key(&node, cat_checkpoint_seq(k->rows), k->n, key, sizeof(key));
	object_attempt(t, 0, attempt, sizeof(attempt));
	attrs.crc32c = want.crc32c = crc32c(0, data, len);
	r = store_put_wait(t->store, key, data, len, &attrs);
	if (r == -EEXIST)
		return already_there(t, key, &want);
	if (r == 0)
		r = store_prove_wait(t->store, &want, &receipt);
	receipt_free(receipt);
	return r;
}

/* 1: there may be more; 0: every row is in the store; or an error. */
static int put_next(struct checkpoint *k)
{
	int r = 1;

	if (k->all)
		return 0;
	if (!k->data)
		r = cat_checkpoint_next(k->rows, JOURNAL_PART_BYTES, &k->data, &k->len);
	if (r <= 0) {
		k->all = r == 0;
		return r;
	}
	r = put(k, k->data, k->len);
	if (r < 0)
		return r;
	free(k->data);
	k->data = NULL;
	k->n++;
	r = failpoint(CHECKPOINT_PUT);
	return r < 0 ? r : 1;
}

/* 1: complete; 0: not now. */
static int finish(struct checkpoint *k)
{
	uint64_t seq = cat_checkpoint_seq(k->rows);
	int r = journal_wait(k->t, cat_checkpoint_txn(k->rows), JOURNAL_WAIT_MS);

	if (r < 0)
		return r == -ETIMEDOUT ? 0 : r;
	r = failpoint(CHECKPOINT_ALL);
	if (r == 0)
		r = put(k, "", 0);
	if (r == 0)
		r = failpoint(CHECKPOINT_END);
	if (r == 0)
		r = catalogue_checkpoint_done(k->t->cat, seq, clock_real_ns());
	if (r == 0)
		r = failpoint(CHECKPOINT_DONE);
	if (r < 0)
		return r;
	log_info("checkpoint %" PRIu64 " of the journal: complete, %" PRIu64 " parts", seq, k->n);
	checkpoint_abandon(k);
	return 1;
}

int checkpoint_write(struct checkpoint *k)
{
	int r = k->rows ? 1 : begin(k);

	while (r == 1 && !k->stop)
		r = put_next(k);
	if (r == 0 && k->rows && !k->stop)
		r = finish(k);
	if (r == -EEXIST || r == -EBADMSG || r == -ESTALE) {
		log_warning("checkpoint %" PRIu64
			    " of the journal is given up: the store holds other "
			    "bytes under its part %" PRIu64 "; another is written",
			    cat_checkpoint_seq(k->rows), k->n);
		checkpoint_abandon(k);
	}
	return r < 0 ? r : 0;
}
