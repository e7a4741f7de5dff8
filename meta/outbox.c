/* SPDX-License-Identifier: MIT */
/*
 * The outbox: what sinks have to be told, at least once and in order per file.
 *
 *	waiting --(sent and acknowledged)--> deleted
 *	   |  \--(no document, poisoned)---> parked, where ebbctl shows it
 *
 * An event is due when its time has come and no older event of the same file
 * waits for the same sink.  A parked one holds nothing up: a later event of the
 * file says all that the sink has to know.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "meta/catalogue_int.h"

void event_row_fini(struct event_row *row)
{
	free(row->path);
	free(row->error);
	row->path = NULL;
	row->error = NULL;
}

static int load_event(struct query *q, void *ret)
{
	struct event_row row;
	int r;

	row.id = query_int_within(q, 1, INT64_MAX);
	row.sink = (int)query_int_within(q, 0, INT32_MAX);
	row.kind = (enum event_kind)query_int_within(q, EVENT_ARCHIVED, EVENT_REMOVED);
	row.ino = (uint64_t)query_int(q);
	row.dir = query_int(q);
	query_name(q, row.name);
	row.path = query_str(q);
	row.tries = (int)query_int_within(q, 0, INT32_MAX);
	row.first_ns = query_int(q);
	row.next_ns = query_int(q);
	row.parked = (int)query_int_within(q, EVENT_WAITING, EVENT_POISONED);
	row.error = query_str(q);
	r = query_status(q);
	if (r < 0)
		event_row_fini(&row);
	else
		*(struct event_row *)ret = row;
	return r;
}

static int64_t *counter(struct tx *tx, int parked)
{
	switch (parked) {
	case EVENT_WAITING:
		return &tx->state.counts.events_waiting;
	case EVENT_MISSING:
		return &tx->state.counts.events_missing;
	case EVENT_POISONED:
		return &tx->state.counts.events_poisoned;
	default:
		return NULL;
	}
}

int tx_event_put(struct tx *tx, struct event_row *ev)
{
	AUTO_QUERY struct query q = { 0 };
	int64_t *n = counter(tx, ev->parked);
	int64_t id;
	int r;

	if (!n || ev->sink < 0 || ev->tries < 0)
		return -EINVAL;
	id = tx->state.next_id[ROW_EVENT]++;
	query_init(&q, tx->db, SQL_EVENT_INSERT);
	query_bind_int(&q, id);
	query_bind_int(&q, ev->sink);
	query_bind_int(&q, ev->kind);
	query_bind_int(&q, (int64_t)ev->ino);
	query_bind_int(&q, ev->dir);
	query_bind_str(&q, ev->name);
	query_bind_str(&q, ev->path);
	query_bind_int(&q, ev->tries);
	query_bind_int(&q, ev->first_ns);
	query_bind_int(&q, ev->next_ns);
	query_bind_int(&q, ev->parked);
	query_bind_str(&q, ev->error);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	++*n;
	ev->id = id;
	return 0;
}

static int parked_of(struct tx *tx, int64_t id, int *ret)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_EVENT_PARKED);
	query_bind_int(&q, id);
	r = query_one(&q);
	if (r < 0)
		return r;
	*ret = (int)query_int_within(&q, EVENT_WAITING, EVENT_POISONED);
	return query_status(&q);
}

int tx_event_update(struct tx *tx, const struct event_row *ev)
{
	AUTO_QUERY struct query q = { 0 };
	int64_t *n = counter(tx, ev->parked);
	int was, r;

	if (!n || ev->tries < 0)
		return -EINVAL;
	r = parked_of(tx, ev->id, &was);
	if (r < 0)
		return tx_answer(tx, r);
	query_init(&q, tx->db, SQL_EVENT_UPDATE);
	query_bind_int(&q, ev->id);
	query_bind_int(&q, ev->tries);
	query_bind_int(&q, ev->next_ns);
	query_bind_int(&q, ev->parked);
	query_bind_str(&q, ev->error);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	--*counter(tx, was);
	++*n;
	return 0;
}

int tx_event_delete(struct tx *tx, int64_t id)
{
	AUTO_QUERY struct query q = { 0 };
	int was, r = parked_of(tx, id, &was);

	if (r < 0)
		return tx_answer(tx, r);
	query_init(&q, tx->db, SQL_EVENT_DELETE);
	query_bind_int(&q, id);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	--*counter(tx, was);
	return 0;
}

/* ---- reading ---- */

static void fini_event(void *row)
{
	event_row_fini(row);
}

static int events(struct catalogue *c, enum sql_id id, int sink, int64_t limit,
		  struct event_row *rows, int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, id, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, sink);
	query_bind_int(&q, limit);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_event, fini_event);
}

int cat_events_due(struct catalogue *c, int sink, int64_t now_ns, struct event_row *rows, int max)
{
	return events(c, SQL_EVENT_DUE, sink, now_ns, rows, max);
}

int cat_events_after(struct catalogue *c, int sink, int64_t after, struct event_row *rows, int max)
{
	return events(c, SQL_EVENT_AFTER, sink, after, rows, max);
}

int cat_event_untold(struct catalogue *c, uint64_t ino, int64_t held_after_ns)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_EVENT_PENDING, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, (int64_t)ino);
	query_bind_int(&q, held_after_ns);
	return query_next(&q);
}

int cat_event_oldest(struct catalogue *c, int sink, int64_t *ret_ns, char **ret_error)
{
	AUTO_QUERY struct query q = { 0 };
	int64_t first_ns;
	char *error;
	int r = reader_query(c, SQL_EVENT_OLDEST, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, sink);
	r = query_one(&q);
	if (r < 0)
		return r;
	first_ns = query_int(&q);
	error = query_str(&q);
	r = query_status(&q);
	if (r == 0) {
		*ret_ns = first_ns;
		*ret_error = TAKE_PTR(error);
	}
	free(error);
	return r;
}
