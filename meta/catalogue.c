/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing a catalogue, and turning it read-only.
 *
 * Whatever is wrong with the file is found here, before anything is mounted, and
 * told as one sentence that says what to do; nothing is written to a file that
 * is not a catalogue.
 */
#include "meta/catalogue.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "meta/catalogue_int.h"
#include "meta/place.h"

/* ---- the database ---- */

static int create_tables(struct db *db)
{
	struct uid128 node, none = { { 0 } };
	int r = uid128_new(&node);

	if (r == 0)
		r = db_exec(db, SQL_SYNC_FULL);
	if (r == 0)
		r = db_run(db, SQL_BEGIN);
	if (r == 0)
		r = schema_create(db, &none, &node);
	if (r == 0)
		r = db_exec(db, SQL_MARK_FINISHED);
	if (r == 0)
		r = db_run(db, SQL_COMMIT);
	return r;
}

/* The journal must go on where the store's ends: journalled_txn + 1 ... txn, without a hole. */
static int check_journal(struct db *db, const struct cat_state *s)
{
	AUTO_QUERY struct query q;
	int64_t first, last;
	int r;

	query_init(&q, db, SQL_JOURNAL_EDGES);
	r = query_one(&q);
	if (r < 0)
		return r;
	first = query_int_or(&q, s->journalled_txn + 1);
	last = query_int_or(&q, s->journalled_txn);
	if (first == s->journalled_txn + 1 && last == s->txn)
		return 0;
	return db_damaged(db, "its journal has a hole");
}

static int open_tables(struct catalogue *c, const struct place *p, bool create)
{
	struct db *db = &c->db;
	int r;

	r = schema_recognise(db, p->err, p->size);
	if (r < 0)
		return r;
	if (r == 0 && !create)
		return place_refuse(p, -EUCLEAN,
				    "it is empty: its creation was cut short; remove it");
	if (r == 0 && (r = db_exec(db, SQL_PRAGMA_NEW)) < 0)
		return r;
	create = r == 0;
	r = db_exec(db, SQL_PRAGMA_COMMON);
	if (r == 0)
		r = schema_set_wal(db);
	if (r == 0)
		r = db_exec(db, SQL_PRAGMA_WRITER);
	if (r == 0 && create)
		r = create_tables(db);
	if (r == 0 && !create)
		r = schema_add(db);
	if (r == 0)
		r = state_load(db, &c->state);
	if (r == 0)
		r = check_journal(db, &c->state);
	if (r == 0)
		r = state_reserve_first(c);
	return r;
}

static int open_db(struct catalogue *c, const struct place *p, bool create)
{
	AUTO_FREE char *why = NULL;
	int r;

	p->err[0] = '\0';
	r = db_init(&c->db, c->file, false, NULL);
	if (r == 0)
		r = open_tables(c, p, create);
	if (r == 0 || p->err[0])
		return r;
	if (r == -ENOSPC || r == -ENOMEM)
		return place_refuse_errno(p, r);
	if (c->db.code == SQLITE_BUSY)
		return place_refuse(p, -EBUSY, "another program has it open");
	if (c->db.code == SQLITE_IOERR || c->db.code == SQLITE_CANTOPEN)
		return place_refuse(p, -EIO, c->db.why);
	if (asprintf(&why,
		     "it is damaged or not a catalogue (%s); keep it for inspection "
		     "and make a new one with 'ebbctl rebuild'",
		     c->db.why) < 0)
		return place_refuse_errno(p, -ENOMEM);
	return place_refuse(p, -EUCLEAN, why);
}

/* ---- open and close ---- */

static void config_once(void)
{
	/* Otherwise every allocation of every reader takes one lock. */
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static struct catalogue *new_catalogue(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct catalogue *c = calloc(1, sizeof(*c));

	pthread_once(&once, config_once);
	if (!c)
		return NULL;
	c->lock_fd = -1;
	c->tail = &c->head;
	c->opening = true;
	c->full = true;
	lock_init(&c->lock, LOCK_RANK_CATALOGUE, "catalogue");
	lock_init(&c->state_lock, LOCK_RANK_LEAF, "catalogue state");
	wal_init(&c->wal);
	cond_init(&c->work);
	return c;
}

static void free_catalogue(struct catalogue *c)
{
	if (c->db.handle)
		db_fini(&c->db);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	cond_fini(&c->work);
	wal_fini(&c->wal);
	lock_fini(&c->state_lock);
	lock_fini(&c->lock);
	free(c->file);
	free(c);
}

static int start(struct catalogue *c)
{
	int r = reader_start(c);

	if (r < 0)
		return r;
	c->db.owner = c;
	c->db.quiet = false;
	c->opening = false;
	r = writer_start(c);
	if (r < 0)
		reader_stop(c);
	return r;
}

int catalogue_open(const char *file, bool create, struct catalogue **ret, char *err, size_t size)
{
	struct place p = { .given = file, .err = err, .size = size };
	struct catalogue *c = new_catalogue();
	int r;

	if (!c)
		return place_refuse_errno(&p, -ENOMEM);
	r = place_take(&p, create ? PLACE_EXISTING_OR_NEW : PLACE_EXISTING, &c->file, &c->lock_fd);
	if (r == 0)
		r = open_db(c, &p, create);
	if (r == 0 && (r = start(c)) < 0)
		place_refuse_errno(&p, r);
	if (r < 0) {
		free_catalogue(c);
		return r;
	}
	*ret = c;
	return 0;
}

void catalogue_close(struct catalogue *c)
{
	if (!c)
		return;
	writer_stop(c);
	reader_stop(c);
	free_catalogue(c);
}

bool catalogue_is_readonly(struct catalogue *c)
{
	return c->readonly;
}

void catalogue_set_readonly(struct catalogue *c, const char *reason)
{
	if (!atomic_exchange(&c->readonly, true))
		log_error("cannot write to catalogue '%s' any more, it is read-only now: %s",
			  c->file, reason);
}
