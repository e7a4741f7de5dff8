/* SPDX-License-Identifier: MIT */
/*
 * Reading: a read-only connection for each thread that reads.
 *
 * It is opened when the thread first reads and closed when the thread ends or
 * the catalogue closes.  A connection is used by its thread alone, so reading
 * takes no lock; every statement is reset at once, so no reader keeps the WAL
 * from starting anew.
 */
#include <errno.h>
#include <stdlib.h>

#include "meta/catalogue_int.h"

struct reader {
	struct catalogue *c; /* borrowed */
	struct reader *next; /* protected by c->lock, as is prev */
	struct reader **prev;
	struct db db;
};

static void unlink_reader(struct reader *reader)
{
	*reader->prev = reader->next;
	if (reader->next)
		reader->next->prev = reader->prev;
}

static void free_reader(struct reader *reader)
{
	if (reader->db.handle)
		db_fini(&reader->db);
	free(reader);
}

/* The thread ends.  reader_stop() makes sure that this does not run after it. */
static void thread_ends(void *arg)
{
	struct reader *reader = arg;
	struct catalogue *c = reader->c;

	lock_take(&c->lock);
	unlink_reader(reader);
	lock_drop(&c->lock);
	free_reader(reader);
}

static int open_reader(struct catalogue *c, struct reader *reader)
{
	int r = db_init(&reader->db, c->file, true, c);

	if (r == 0)
		r = db_exec(&reader->db, SQL_PRAGMA_COMMON);
	if (r == 0)
		r = db_exec(&reader->db, SQL_PRAGMA_READER);
	return r;
}

static int new_reader(struct catalogue *c, struct reader **ret)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	int r;

	if (!reader)
		return -ENOMEM;
	reader->c = c;
	r = open_reader(c, reader);
	if (r == 0)
		r = -pthread_setspecific(c->reader_key, reader);
	if (r < 0) {
		free_reader(reader);
		return r;
	}
	lock_take(&c->lock);
	reader->next = c->readers;
	reader->prev = &c->readers;
	if (c->readers)
		c->readers->prev = &reader->next;
	c->readers = reader;
	lock_drop(&c->lock);
	*ret = reader;
	return 0;
}

int reader_get(struct catalogue *c, struct db **ret)
{
	struct reader *reader = pthread_getspecific(c->reader_key);
	int r;

	if (!reader) {
		r = new_reader(c, &reader);
		if (r < 0)
			return r;
	}
	*ret = &reader->db;
	return 0;
}

int reader_query(struct catalogue *c, enum sql_id how, struct query *ret)
{
	struct db *db;
	int r = reader_get(c, &db);

	if (r == 0)
		query_init(ret, db, how);
	return r;
}

int reader_start(struct catalogue *c)
{
	return -pthread_key_create(&c->reader_key, thread_ends);
}

void reader_stop(struct catalogue *c)
{
	struct reader *reader, *next;

	pthread_key_delete(c->reader_key);
	for (reader = c->readers; reader; reader = next) {
		next = reader->next;
		free_reader(reader);
	}
	c->readers = NULL;
}
