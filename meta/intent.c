/* SPDX-License-Identifier: MIT */
/*
 * Intents: what was about to be done to the cache, until it is done.  They are
 * this node's own and not journalled: a rebuilt catalogue has no cache whose
 * changes it could finish.  The ids of volume and cache are set here, too.
 */
#include <errno.h>
#include <stdlib.h>

#include "meta/catalogue_int.h"

void intent_row_fini(struct intent_row *row)
{
	free(row->payload);
	row->payload = NULL;
}

int tx_intent_put(struct tx *tx, enum intent_kind kind, const char *payload, int64_t *ret_id)
{
	AUTO_QUERY struct query q;
	int64_t id = tx->state.next_id[ROW_INTENT]++;
	int r;

	query_init(&q, tx->db, SQL_INTENT_INSERT);
	query_bind_int(&q, id);
	query_bind_int(&q, kind);
	query_bind_str(&q, payload);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	*ret_id = id;
	return 0;
}

int tx_intent_delete(struct tx *tx, int64_t id)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, tx->db, SQL_INTENT_DELETE);
	query_bind_int(&q, id);
	r = query_run(&q);
	if (r < 0)
		return tx_result(tx, r);
	return db_changes(tx->db) == 1 ? 0 : -ENOENT;
}

static int load_intent(struct query *q, void *ret)
{
	struct intent_row row;
	int r;

	row.id = query_int_within(q, 1, INT64_MAX);
	row.kind = (enum intent_kind)query_int_within(q, INTENT_ARCHIVE, INTENT_RELEASE_DIR);
	row.payload = query_str(q);
	r = query_status(q);
	if (r < 0)
		intent_row_fini(&row);
	else
		*(struct intent_row *)ret = row;
	return r;
}

static void fini_intent(void *row)
{
	intent_row_fini(row);
}

int cat_intents(struct catalogue *c, int64_t after, struct intent_row *rows, int max)
{
	AUTO_QUERY struct query q = { 0 };
	int r = reader_query(c, SQL_INTENT_AFTER, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, after);
	query_bind_int(&q, max);
	return query_rows(&q, rows, sizeof(*rows), max, load_intent, fini_intent);
}

int tx_set_volume(struct tx *tx, const struct uid128 *volume)
{
	int r = tx_result(tx, state_set_meta_uid(tx->db, "volume", volume));

	if (r == 0)
		tx->state.ids.volume = *volume;
	return r;
}

int tx_set_cache(struct tx *tx, const struct uid128 *cache)
{
	int r = tx_result(tx, state_set_meta_uid(tx->db, "cache", cache));

	if (r == 0)
		tx->state.ids.cache = *cache;
	return r;
}
