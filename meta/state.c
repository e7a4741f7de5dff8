/* SPDX-License-Identifier: MIT */
/*
 * What the catalogue keeps beside rows: ids, the number counter, row ids, kept
 * counters, journal marks.
 *
 * Two tables hold it: meta (journalled) and tally (one row, this file's own: a
 * rebuilt catalogue counts again).  Memory has it as of the last commit, so that
 * reading a counter costs no statement.
 *
 * Numbers come from [number_next, state.number).  The upper end is raised by a
 * block in a transaction of its own, synced, before a number of the block is
 * used; it is raised when half a block is left, so that hardly anybody waits.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "meta/catalogue_int.h"

#define NUMBER_BLOCK 65536

static void load_uid(struct query *q, struct uid128 *u)
{
	size_t len;
	const void *p = query_bytes(q, &len);

	if (p && len == sizeof(u->b))
		memcpy(u->b, p, sizeof(u->b));
	else if (q->status == 0)
		q->status = db_damaged(q->db, "an id in table meta is not a UUID");
}

static void load_meta(struct query *q, struct cat_state *s)
{
	size_t len;
	const char *key = query_bytes(q, &len);

	if (!key)
		return;
	if (strcmp(key, "volume") == 0)
		load_uid(q, &s->ids.volume);
	else if (strcmp(key, "node") == 0)
		load_uid(q, &s->ids.node);
	else if (strcmp(key, "cache") == 0)
		load_uid(q, &s->ids.cache);
	else if (strcmp(key, "number") == 0)
		s->number = (uint64_t)query_int_within(q, 1, INT64_MAX);
	else if (strcmp(key, "txn") == 0)
		s->txn = query_int_within(q, 0, INT64_MAX);
}

static int load_tally(struct db *db, struct cat_state *s)
{
	AUTO_QUERY struct query q;
	int64_t *count[] = { &s->counts.files,		&s->counts.file_bytes,
			     &s->counts.dirs,		&s->counts.trash,
			     &s->counts.trash_bytes,	&s->counts.events_waiting,
			     &s->counts.events_missing, &s->counts.events_poisoned };
	int r;

	query_init(&q, db, SQL_TALLY_GET);
	r = query_one(&q);
	if (r == -ENOENT)
		return db_damaged(db, "table tally is empty");
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(count) / sizeof(*count); i++)
		*count[i] = query_int_within(&q, 0, INT64_MAX);
	for (int i = 0; i < ROW_IDS; i++)
		s->next_id[i] = query_int_within(&q, 1, INT64_MAX);
	s->journal_bytes = query_int_within(&q, 0, INT64_MAX);
	s->journalled_txn = query_int_within(&q, 0, INT64_MAX);
	s->seq = (uint64_t)query_int_within(&q, 1, INT64_MAX);
	return query_status(&q);
}

int state_load(struct db *db, struct cat_state *ret)
{
	AUTO_QUERY struct query q;
	struct cat_state s = { 0 };
	int r;

	query_init(&q, db, SQL_META_ALL);
	while ((r = query_next(&q)) > 0)
		load_meta(&q, &s);
	if (r == 0)
		r = query_status(&q);
	if (r == 0)
		r = load_tally(db, &s);
	if (r == 0)
		r = checkpoint_load(db, &s);
	if (r < 0)
		return r;
	if (s.number == 0 || uid128_is_zero(&s.ids.node))
		return db_damaged(db, "table meta lacks the node or the number");
	*ret = s;
	return 0;
}

int state_save_tally(struct db *db, const struct cat_state *s)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_TALLY_SET);
	query_bind_int(&q, s->counts.files);
	query_bind_int(&q, s->counts.file_bytes);
	query_bind_int(&q, s->counts.dirs);
	query_bind_int(&q, s->counts.trash);
	query_bind_int(&q, s->counts.trash_bytes);
	query_bind_int(&q, s->counts.events_waiting);
	query_bind_int(&q, s->counts.events_missing);
	query_bind_int(&q, s->counts.events_poisoned);
	for (int i = 0; i < ROW_IDS; i++)
		query_bind_int(&q, s->next_id[i]);
	query_bind_int(&q, s->journal_bytes);
	query_bind_int(&q, s->journalled_txn);
	query_bind_int(&q, (int64_t)s->seq);
	return query_run(&q);
}

/* Keys are TEXT: literals of the code, so a bound string is not worth its own binder. */
static void bind_key(struct query *q, const char *key)
{
	q->param++;
	if (q->status == 0 &&
	    sqlite3_bind_text(q->stmt, q->param, key, -1, SQLITE_STATIC) != SQLITE_OK)
		q->status = -ENOMEM;
}

int state_set_meta_int(struct db *db, const char *key, int64_t v)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_META_SET);
	query_bind_int(&q, v);
	bind_key(&q, key);
	return query_run(&q);
}

int state_set_meta_uid(struct db *db, const char *key, const struct uid128 *u)
{
	AUTO_QUERY struct query q;

	query_init(&q, db, SQL_META_SET);
	query_bind_bytes(&q, u->b, sizeof(u->b));
	bind_key(&q, key);
	return query_run(&q);
}

/* One row of numbers into the places of cols. */
static int count(struct db *db, enum sql_id id, int64_t *const cols[], int n)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, id);
	r = query_one(&q);
	if (r < 0)
		return r;
	for (int i = 0; i < n; i++)
		*cols[i] = query_int(&q);
	return query_status(&q);
}

int state_count(struct db *db, struct cat_state *ret)
{
	struct catalogue_counts n = { 0 };
	int64_t last[ROW_IDS] = { 0 };
	int64_t *const files[] = { &n.files, &n.file_bytes };
	int64_t *const dirs[] = { &n.dirs, &last[ROW_DIR] };
	int64_t *const paths[] = { &last[ROW_PATH] };
	int64_t *const trash[] = { &n.trash, &n.trash_bytes, &last[ROW_TRASH] };
	int64_t *const events[] = { &n.events_waiting, &n.events_missing, &n.events_poisoned,
				    &last[ROW_EVENT] };
	int r;

	if ((r = count(db, SQL_COUNT_FILES, files, 2)) < 0 ||
	    (r = count(db, SQL_COUNT_DIRS, dirs, 2)) < 0 ||
	    (r = count(db, SQL_COUNT_PATHS, paths, 1)) < 0 ||
	    (r = count(db, SQL_COUNT_TRASH, trash, 3)) < 0 ||
	    (r = count(db, SQL_COUNT_EVENTS, events, 4)) < 0)
		return r;
	ret->counts = n;
	for (int i = 0; i < ROW_IDS; i++)
		ret->next_id[i] = last[i] + 1;
	return 0;
}

struct cat_state state_now(struct catalogue *c)
{
	struct cat_state s;

	lock_take(&c->state_lock);
	s = c->state;
	lock_drop(&c->state_lock);
	return s;
}

struct catalogue_ids catalogue_ids(struct catalogue *c)
{
	return state_now(c).ids;
}

int catalogue_counts(struct catalogue *c, struct catalogue_counts *ret)
{
	*ret = state_now(c).counts;
	return 0;
}

void catalogue_work(struct catalogue *c, struct catalogue_work *ret)
{
	*ret = (struct catalogue_work){
		.selects = atomic_load_explicit(&c->selects, memory_order_relaxed),
		.commits = wal_commits(&c->wal) - 1, /* opening counts as one */
	};
}

uint64_t catalogue_version(struct catalogue *c)
{
	return wal_commits(&c->wal);
}

/* ---- numbers ---- */

static int reserve(struct tx *tx)
{
	uint64_t number = tx->state.number + NUMBER_BLOCK;
	int r = tx_result(tx, state_set_meta_int(tx->db, "number", (int64_t)number));

	if (r == 0)
		tx->state.number = number;
	return r;
}

static int run_reserve(struct tx *tx, void *arg)
{
	(void)arg;
	return reserve(tx);
}

static int run_reserve_job(struct tx *tx, struct cat_job *job)
{
	(void)job;
	return reserve(tx);
}

static void reserve_done(struct cat_job *job, int result)
{
	struct catalogue *c =
		(struct catalogue *)((char *)job - offsetof(struct catalogue, number_job));

	(void)result; /* who runs out waits for a block of his own, and is told */
	lock_take(&c->state_lock);
	c->number_asked = false;
	lock_drop(&c->state_lock);
}

int state_reserve_first(struct catalogue *c)
{
	struct tx tx;
	int r;

	c->number_next = c->state.number;
	c->number_job = (struct cat_job){ run_reserve_job, reserve_done, SYNC_FULL, NULL };
	r = tx_begin(c, SYNC_FULL, &tx);
	if (r < 0)
		return r;
	r = reserve(&tx);
	if (r < 0) {
		tx_rollback(&tx);
		return r;
	}
	return tx_commit(&tx);
}

int state_reserve_more(struct catalogue *c)
{
	return catalogue_write(c, SYNC_FULL, run_reserve, NULL);
}

/* 1: got one; 0: none left. */
static int take_number(struct catalogue *c, uint64_t *ret)
{
	bool ask = false;
	int r = 0;

	lock_take(&c->state_lock);
	if (c->number_next < c->state.number) {
		*ret = c->number_next++;
		r = 1;
	}
	if (c->state.number - c->number_next < NUMBER_BLOCK / 2 && !c->number_asked) {
		c->number_asked = true;
		ask = true;
	}
	lock_drop(&c->state_lock);
	if (ask)
		catalogue_submit(c, &c->number_job);
	return r;
}

int catalogue_next_number(struct catalogue *c, uint64_t *ret)
{
	int r;

	while (take_number(c, ret) == 0) {
		r = state_reserve_more(c);
		if (r < 0)
			return r;
	}
	return 0;
}

int catalogue_next_ino(struct catalogue *c, uint64_t *ret)
{
	int r = catalogue_is_readonly(c) ? -EROFS : catalogue_next_number(c, ret);

	if (r != -EROFS)
		return r;
	/* Nothing gets a row any more, nor an object: the next start may give them again. */
	lock_take(&c->state_lock);
	*ret = c->number_next++;
	lock_drop(&c->state_lock);
	return 0;
}
