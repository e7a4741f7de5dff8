/* SPDX-License-Identifier: MIT */
/*
 * Checking a catalogue: SQLite's own check of the file, and the kept counters
 * against counted ones, those of each pack too.  All of it reads everything, minutes on
 * a large catalogue, and holds one read transaction meanwhile, so the WAL grows.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meta/catalogue_int.h"

static int quick_check(struct db *db, char *err, size_t size)
{
	AUTO_QUERY struct query q;
	size_t len;
	const char *text;
	int r;

	query_init(&q, db, SQL_QUICK_CHECK);
	r = query_one(&q);
	if (r < 0)
		return r;
	text = query_bytes(&q, &len);
	if (text && len == 2 && memcmp(text, "ok", 2) == 0)
		return 0;
	snprintf(err, size, "the database is damaged: %.*s", (int)len, text ? text : "");
	return -EUCLEAN;
}

static int differ(char *err, size_t size, const char *what, int64_t kept, int64_t counted)
{
	if (kept == counted)
		return 0;
	snprintf(err, size, "the kept number of %s is %lld, counted are %lld", what,
		 (long long)kept, (long long)counted);
	return -EUCLEAN;
}

static int compare(const struct catalogue_counts *a, const struct catalogue_counts *b, char *err,
		   size_t size)
{
	int r;

	if ((r = differ(err, size, "files", a->files, b->files)) < 0 ||
	    (r = differ(err, size, "bytes", a->file_bytes, b->file_bytes)) < 0 ||
	    (r = differ(err, size, "directories", a->dirs, b->dirs)) < 0 ||
	    (r = differ(err, size, "trash rows", a->trash, b->trash)) < 0 ||
	    (r = differ(err, size, "trash bytes", a->trash_bytes, b->trash_bytes)) < 0 ||
	    (r = differ(err, size, "waiting events", a->events_waiting, b->events_waiting)) < 0 ||
	    (r = differ(err, size, "missing events", a->events_missing, b->events_missing)) < 0)
		return r;
	return differ(err, size, "poisoned events", a->events_poisoned, b->events_poisoned);
}

int check_db(struct db *db, char *err, size_t size)
{
	struct cat_state kept, counted;
	int r;

	r = quick_check(db, err, size);
	if (r == 0)
		r = state_load(db, &kept);
	if (r == 0)
		r = state_count(db, &counted);
	if (r == 0)
		r = compare(&kept.counts, &counted.counts, err, size);
	for (int i = 0; r == 0 && i < ROW_INTENT; i++)
		if (kept.next_id[i] < counted.next_id[i]) {
			snprintf(err, size, "row ids of kind %d would be used again", i);
			r = -EUCLEAN;
		}
	return r;
}

/* ---- packs ---- */

/* What is left of a pack's counts, once its rows are taken off. */
struct tally {
	int64_t id, files, live;
};

struct tallies {
	struct tally *v; /* owned; by id */
	size_t n, room;
};

static int add_tally(struct tallies *t, const struct tally *one)
{
	size_t room = t->n < t->room ? t->room : t->room * 2 + 64;
	struct tally *v = t->v;

	if (room != t->room) {
		v = realloc(v, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
	}
	t->v = v;
	t->room = room;
	t->v[t->n++] = *one;
	return 0;
}

static int load_tallies(struct db *db, struct tallies *t)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, SQL_PACK_COUNTS);
	while ((r = query_next(&q)) > 0) {
		struct tally one = { .id = query_int(&q) };

		one.files = query_int(&q);
		one.live = query_int(&q);
		r = add_tally(t, &one);
		if (r < 0)
			return r;
	}
	return r;
}

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct tally *)a)->id, y = ((const struct tally *)b)->id;

	return x < y ? -1 : x > y;
}

/* One row after the other: grouped by SQLite they would all be in memory. */
static int take_off_files(struct db *db, struct tallies *t, char *err, size_t size)
{
	AUTO_QUERY struct query q;
	int r;

	query_init(&q, db, SQL_PACK_FILES);
	while ((r = query_next(&q)) > 0) {
		struct tally key = { .id = query_int(&q) }, *one = NULL;

		if (t->n > 0)
			one = bsearch(&key, t->v, t->n, sizeof(key), by_id);
		if (!one) {
			snprintf(err, size, "files point into pack %lld, which is unknown",
				 (long long)key.id);
			return -EUCLEAN;
		}
		one->files--;
		one->live -= query_int(&q);
	}
	return r;
}

/* One with more files than it is said to have would be dropped with them. */
static int check_packs(struct db *db, char *err, size_t size)
{
	struct tallies t = { 0 };
	int r = load_tallies(db, &t);

	if (r == 0)
		r = take_off_files(db, &t, err, size);
	for (size_t i = 0; r == 0 && i < t.n; i++) {
		if (t.v[i].files == 0 && t.v[i].live == 0)
			continue;
		snprintf(err, size,
			 "pack %lld is said to have %lld files more than point into it, "
			 "and %lld bytes",
			 (long long)t.v[i].id, (long long)t.v[i].files, (long long)t.v[i].live);
		r = -EUCLEAN;
	}
	free(t.v);
	return r;
}

int catalogue_check(struct catalogue *c, char *err, size_t size)
{
	struct db *db;
	int end, r = reader_get(c, &db);

	err[0] = '\0';
	if (r == 0)
		r = db_run(db, SQL_BEGIN_READ);
	if (r == 0) {
		r = check_db(db, err, size);
		if (r == 0)
			r = check_packs(db, err, size);
		end = db_run(db, SQL_ROLLBACK);
		r = r < 0 ? r : end;
	}
	if (r < 0 && !err[0])
		snprintf(err, size, "the catalogue cannot be read: %s", strerror(-r));
	return r == -EIO ? -EUCLEAN : r;
}
