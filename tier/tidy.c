/* SPDX-License-Identifier: MIT */
/*
 * What becomes of packs as their files leave, over all of them.
 *
 *	some alive --less than half--> rewritten (repack.c) --it fails--> put aside
 *	none alive --due, journalled, told, nobody reads--> dropped
 *
 * Always true: a pack that fails is not in the way of the others, but a store that fails
 * ends the round.  What failed waits, as each try may leave a pack to drop.
 *
 * In a full store a rewrite takes of the room that is kept for the journal, until the old pack
 * is dropped: a few at a time, and that soon.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "tier/pack.h"
#include "tier/tier_int.h"

#define PAGE 64
#define N_ASIDE 1024
#define REWRITES_MAX 64 /* of a round: whoever stops the daemon waits for it */
#define WAITING_MAX 16	/* packs to drop, before a full store gets another: 32 MiB of new ones */
#define ASIDE_MS 60000	/* one that the store did not give, or take */
#define ASIDE_DAMAGED_MS 3600000 /* until somebody has looked at it */

/* Packs that are put aside; the oldest makes room. */
struct packs {
	struct {
		uint64_t number; /* 0: none */
		int64_t until_ms;
	} aside[N_ASIDE];
	unsigned next;
};

int packs_new(struct packs **ret)
{
	struct packs *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*ret = p;
	return 0;
}

void packs_free(struct packs *p)
{
	free(p);
}

static bool is_aside(const struct packs *p, uint64_t number)
{
	for (unsigned i = 0; i < N_ASIDE; i++)
		if (p->aside[i].number == number && clock_mono_ms() < p->aside[i].until_ms)
			return true;
	return false;
}

static void put_aside(struct packs *p, uint64_t number, int64_t ms)
{
	unsigned i = p->next++ % N_ASIDE;

	p->aside[i].number = number;
	p->aside[i].until_ms = clock_mono_ms() + ms;
}

/* ---- dropping -------------------------------------------------------------------- */

static int delete_run(struct tx *tx, void *arg)
{
	const struct pack_row *pack = arg;
	struct pack_row now;
	int r = tx_pack_get(tx, pack->id, &now);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return now.files > 0 ? -EAGAIN : tx_pack_delete(tx, pack->id);
}

/* 1: it is gone; 0: not yet; or an error. */
static int drop_pack(struct tier *t, struct pack_row *pack)
{
	AUTO_FREE char *key = object_pack_key(t, pack->id);
	char attempt[STORE_ATTEMPT_MAX];
	int r;

	if (!key)
		return -ENOMEM;
	if (!journal_has(t, pack->txn) || remote_in_use(t, pack->id))
		return 0;
	/* Sinks may still have URLs into it: when it became due, its rows had moved. */
	r = notify_told_until(t, pack->due_ns);
	if (r != 1)
		return r;
	object_attempt(t, pack->id, attempt, sizeof(attempt));
	r = store_drop_wait(t->store, key, attempt);
	if (r < 0 && r != -ENOENT && r != -ESTALE)
		return r;
	r = failpoint(PACK_DROP);
	if (r == 0)
		r = catalogue_write(t->cat, SYNC_NORMAL, delete_run, pack);
	return r < 0 ? r : 1;
}

/* One that cannot be dropped is not in the way of the others. */
static int64_t drop_dead(struct tier *t)
{
	struct pack_row rows[PAGE];
	uint64_t after = 0;
	int64_t dropped = 0;
	int n, r = 0, err = 0;

	do {
		n = cat_packs_due(t->cat, after, clock_real_ns(), rows, PAGE);
		for (int i = 0; i < n && r != -ETIMEDOUT; i++) {
			after = rows[i].id;
			r = drop_pack(t, &rows[i]);
			dropped += r > 0;
			if (r < 0 && err == 0)
				err = r;
		}
	} while (n == PAGE && r != -ETIMEDOUT);
	return n < 0 ? n : err < 0 ? err : dropped;
}

/* ---- rewriting ------------------------------------------------------------------- */

/* How many rewrites this round may do, or an error. */
static int rewrites_most(struct tier *t)
{
	struct pack_row waiting[WAITING_MAX];
	int n;

	if (!store_is_full(t->store))
		return REWRITES_MAX;
	/* those of before the store was full may have long to wait */
	n = cat_packs_due(t->cat, 0, clock_real_ns() + PACK_GRACE_NS, waiting, WAITING_MAX);
	return n < 0 ? n : WAITING_MAX - n;
}

static int64_t rewrite_poor(struct tier *t)
{
	struct pack_row row;
	uint64_t after = 0;
	int64_t done = 0;
	int most = rewrites_most(t), n = 0, r = most < 0 ? most : 0;

	while ((r >= 0 || r == -EBADMSG) && done < most &&
	       (n = cat_packs_poor(t->cat, after, &row, 1)) == 1) {
		after = row.id;
		r = is_aside(t->packs, row.id) ? 0 : pack_rewrite(t, &row);
		done += r > 0;
		if (r < 0)
			put_aside(t->packs, row.id, r == -EBADMSG ? ASIDE_DAMAGED_MS : ASIDE_MS);
	}
	if (r < 0 && r != -EBADMSG)
		return r;
	return n < 0 ? n : done;
}

int64_t packs_tidy(struct tier *t)
{
	int64_t dropped = drop_dead(t), done;

	if (dropped == -ETIMEDOUT)
		return dropped;
	done = rewrite_poor(t);
	return dropped < 0 ? dropped : done < 0 ? done : dropped + done;
}
