/* SPDX-License-Identifier: MIT */
/*
 * A page of the trash: which rows may go, condemned, their objects dropped.
 *
 * Always true: see tier/drop.c.  Any error leaves a row for later.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/lock.h"
#include "tier/drop_int.h"
#include "tier/pack.h"

#define DROP_AT_ONCE 64 /* objects: as many as are archived at once, or the trash grows for ever */

/* ---- one row ------------------------------------------------------------------ */

/* 1: its object may go; 0: not yet; or an error. */
static int may_drop(struct tier *t, const struct trash_row *row)
{
	struct file_row now;
	int r;

	if (row->due_ns <= 0 || row->removed_ns <= 0)
		return 0;
	if (!journal_has(t, row->file.txn))
		return 0;
	/* One file of a pack takes no bytes from whoever reads: packs_tidy() looks then. */
	if (row->file.object != ROW_OBJECT_PACK && remote_in_use(t, row->file.attempt))
		return 0;
	r = notify_told(t, row->file.ino);
	if (r != 1)
		return r;
	if (row->file.dir > 0) {
		r = cat_file_get(t->cat, row->file.dir, row->file.name, &now);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && now.attempt == row->file.attempt)
			return 0;
	}
	return 1;
}

/* ---- objects: several at a time, as a store answers each only after it has written ------ */

struct group {
	struct tier *t;
	struct lock lock; /* LOCK_RANK_LEAF */
	struct cond done;
	unsigned flying; /* protected by lock */
};

struct doomed {
	struct group *group;
	char *key;	    /* owned */
	_Atomic int result; /* the first error of its objects */
	char attempt[STORE_ATTEMPT_MAX];
};

/* Or there is another's; or such a key was never there. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ESTALE || r == -ENAMETOOLONG;
}

static void on_dropped(void *arg, int r)
{
	struct doomed *o = arg;
	struct group *g = o->group;

	o->result = is_gone(r) ? 0 : r;
	lock_take(&g->lock);
	g->flying--;
	cond_signal(&g->done);
	lock_drop(&g->lock);
}

/* The parts of a large file, one after the other: there are few such files. */
static int drop_parts(struct tier *t, const struct file_row *file, const char *attempt)
{
	int r = 0;

	for (unsigned i = 0; i < object_count(file) && r == 0; i++) {
		AUTO_FREE char *key = NULL;

		r = object_key(t, file, i, &key);
		if (r == 0)
			r = store_drop_wait(t->store, key, attempt);
		if (is_gone(r))
			r = 0;
	}
	return r;
}

static void start_drop(struct group *g, struct doomed *o, const struct file_row *file)
{
	int r;

	o->group = g;
	object_attempt(g->t, file->attempt, o->attempt, sizeof(o->attempt));
	if (file->object == ROW_OBJECT_PACK)
		return; /* packs_tidy() does */
	if (file->object == ROW_OBJECT_PARTS) {
		o->result = drop_parts(g->t, file, o->attempt);
		return;
	}
	r = object_key(g->t, file, 0, &o->key);
	if (r < 0) {
		o->result = r;
		return;
	}
	if (!store_key_fits(g->t->store, o->key))
		return; /* nothing was ever written there: the row is forgotten */
	lock_take(&g->lock);
	while (g->flying >= DROP_AT_ONCE)
		cond_wait(&g->done, &g->lock);
	g->flying++;
	lock_drop(&g->lock);
	store_drop(g->t->store, o->key, o->attempt, on_dropped, o);
}

static void wait_all(struct group *g)
{
	lock_take(&g->lock);
	while (g->flying)
		cond_wait(&g->done, &g->lock);
	lock_drop(&g->lock);
}

/* ---- a page of rows ------------------------------------------------------------- */

static bool is_condemned(const struct trash_row *row)
{
	return row->reason == TRASH_ORPHAN;
}

static int condemn(struct tx *tx, struct trash_row *row, bool *ret_chosen)
{
	struct trash_row now;
	struct file_row user;
	int r = tx_trash_get(tx, row->id, &now);

	*ret_chosen = r == 0;
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* it came back, or somebody else drops it */
	row->file.pack = now.file.pack;
	row->file.pack_off = now.file.pack_off;
	trash_row_fini(&now);
	if (row->file.dir > 0 && tx_file_get(tx, row->file.dir, row->file.name, &user) == 0 &&
	    user.attempt == row->file.attempt) {
		*ret_chosen = false;
		return 0;
	}
	r = tx_trash_delete(tx, row->id);
	row->reason = TRASH_ORPHAN;
	/* if it cannot go now it goes by itself, soon */
	if (row->due_ns > clock_real_ns())
		row->due_ns = clock_real_ns();
	/* before those that are due with it: so all that wait are counted before more are condemned */
	if (row->due_ns > 1)
		row->due_ns--;
	return r < 0 ? r : tx_trash_put(tx, row);
}

/*
 * From here on nothing brings these rows back: what comes back from the trash refuses
 * orphans, inside its own transaction.
 */
static int condemn_run(struct tx *tx, void *arg)
{
	struct page *p = arg;
	int r = 0;

	for (int i = 0; i < p->n && r == 0; i++) {
		if (!p->chosen[i] || is_condemned(&p->row[i]))
			continue;
		r = condemn(tx, &p->row[i], &p->chosen[i]);
		if (p->chosen[i])
			p->txn = tx_id(tx); /* one without changes would never be journalled */
	}
	return r;
}

/* What it had in a pack is the pack's loss. */
static int delete_row(struct tx *tx, int64_t id)
{
	struct trash_row row;
	int r = tx_trash_get(tx, id, &row);

	if (r < 0)
		return r == -ENOENT ? 0 : r; /* somebody else dropped it, too */
	trash_row_fini(&row);
	r = tx_trash_delete(tx, id);
	if (r == 0 && row.file.object == ROW_OBJECT_PACK)
		r = tx_pack_lose(tx, row.file.pack, 1, (int64_t)row.file.attr.size,
				 clock_real_ns() + PACK_GRACE_NS);
	return r;
}

static int delete_run(struct tx *tx, void *arg)
{
	struct page *p = arg;
	int r = 0;

	for (int i = 0; i < p->n && r == 0; i++)
		if (p->dropped[i])
			r = delete_row(tx, p->row[i].id);
	return r;
}

static bool is_asked(const struct trash_row *row, const int64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] == row->id)
			return true;
	return n == 0;
}

/* How many were chosen, or an error. */
static int choose(struct tier *t, struct page *p, const int64_t *ids, size_t n)
{
	int chosen = 0, r;

	for (int i = 0; i < p->n; i++) {
		r = is_asked(&p->row[i], ids, n) ? may_drop(t, &p->row[i]) : 0;
		if (r < 0)
			return r;
		p->chosen[i] = r == 1;
		p->dropped[i] = false;
		chosen += r;
	}
	return chosen;
}

/* Fills dropped; the first error. */
static int drop_chosen(struct tier *t, struct page *p)
{
	struct doomed doomed[DROP_PAGE] = { 0 };
	struct group g = { .t = t };
	int err = 0;

	lock_init(&g.lock, LOCK_RANK_LEAF, "drop group");
	cond_init(&g.done);
	for (int i = 0; i < p->n; i++)
		if (p->chosen[i])
			start_drop(&g, &doomed[i], &p->row[i].file);
	wait_all(&g);
	for (int i = 0; i < p->n; i++) {
		int r = doomed[i].result;

		free(doomed[i].key);
		if (p->chosen[i] && r == 0)
			r = failpoint(DROP_OBJECT);
		p->dropped[i] = p->chosen[i] && r == 0;
		if (err == 0)
			err = r;
	}
	cond_fini(&g.done);
	lock_fini(&g.lock);
	return err;
}

static void wait_for(struct drop_result *ret, int64_t txn)
{
	ret->waiting++;
	if (txn > ret->txn)
		ret->txn = txn;
}

static void count_waiting(struct tier *t, const struct page *p, struct drop_result *ret)
{
	for (int i = 0; i < p->n; i++)
		if (is_condemned(&p->row[i]) && !journal_has(t, p->row[i].file.txn))
			wait_for(ret, p->row[i].file.txn);
}

/* Those that were condemned by now are not chosen any more, unless the journal is waited for. */
static int condemn_chosen(struct tier *t, struct page *p, bool wait, struct drop_result *ret)
{
	bool fresh[DROP_PAGE], any = false;
	int r;

	for (int i = 0; i < p->n; i++) {
		fresh[i] = p->chosen[i] && !is_condemned(&p->row[i]);
		any = any || fresh[i];
	}
	p->txn = 0;
	if (!any)
		return 0;
	/* on disk: after a power cut a row without bytes must not come back as one that can */
	r = catalogue_write(t->cat, SYNC_FULL, condemn_run, p);
	if (r == 0 && wait && p->txn)
		return journal_wait(t, p->txn, t->conf->store_timeout);
	for (int i = 0; i < p->n; i++) {
		if (!p->chosen[i] || !fresh[i])
			continue;
		p->chosen[i] = false;
		ret->condemned++;
		wait_for(ret, p->txn);
	}
	return r;
}

int drop_page(struct tier *t, struct page *p, const int64_t *ids, size_t n, bool wait,
	      struct drop_result *ret)
{
	int r, err, dropped = 0;

	r = choose(t, p, ids, n);
	if (r >= 0)
		count_waiting(t, p, ret);
	if (r <= 0)
		return r;
	r = condemn_chosen(t, p, wait, ret);
	if (r < 0)
		return r;
	err = drop_chosen(t, p);
	for (int i = 0; i < p->n; i++)
		dropped += p->dropped[i];
	r = dropped ? catalogue_write(t->cat, SYNC_NORMAL, delete_run, p) : 0;
	if (r == 0)
		ret->dropped += dropped;
	return err < 0 ? err : r;
}
