/* SPDX-License-Identifier: MIT */
/*
 * Intents of batches: what objects may be there that no row names.
 *
 *	{"path": DIRECTORY, "dir": ID, "packs": [NUMBER, ...],
 *	 "files": [[NAME, INO, ATTEMPT, SIZE], ...]}
 *
 * It is known by the first number in it, of packs if there are any, which no other has.
 * From these follow the packs, and both keys a file's object can have (its path only where
 * that can be a key), and those of its parts.
 * Rows and the intent's end are one transaction: while an intent is there none of its
 * objects has a row, and where it is gone, when this one comes to delete it, they may have:
 * then nothing is done.  Else each becomes an orphan in the trash; one that was never
 * written, or is another attempt's, is no harm: drop compares.  Names are bytes: JSON
 * here is ours alone, and keeps them.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/path.h"
#include "tier/archive_int.h"
#include "tier/reaper_int.h"

#define RECOVER_PAGE 16

/* ---- writing ---------------------------------------------------------------- */

static struct json_object *json_of(const struct item *it)
{
	struct json_object *a = json_object_new_array();

	if (!a)
		return NULL;
	json_object_array_add(a, json_object_new_string(it->file->name));
	json_object_array_add(a, json_object_new_int64((int64_t)it->ino));
	json_object_array_add(a, json_object_new_int64((int64_t)it->attempt));
	json_object_array_add(a, json_object_new_int64((int64_t)it->file->id.size));
	return a;
}

char *archive_payload(const struct batch *b)
{
	struct json_object *o = json_object_new_object(), *files = json_object_new_array();
	struct json_object *packs = json_object_new_array();
	char *payload = NULL;
	const char *text;

	if (!o || !files || !packs) {
		json_object_put(o);
		json_object_put(files);
		json_object_put(packs);
		return NULL;
	}
	for (unsigned i = 0; i < b->n_packs; i++)
		json_object_array_add(packs, json_object_new_int64((int64_t)b->packs[i].number));
	json_object_object_add(o, "packs", packs);
	json_object_object_add(o, "path", json_object_new_string(b->path));
	json_object_object_add(o, "dir", json_object_new_int64(b->dirid));
	for (size_t i = 0; i < b->n; i++)
		if (item_is_in(&b->items[i]))
			json_object_array_add(files, json_of(&b->items[i]));
	json_object_object_add(o, "files", files);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	if (text)
		payload = strdup(text);
	json_object_put(o);
	return payload;
}

uint64_t archive_number(const struct batch *b)
{
	if (b->n_packs > 0)
		return b->packs[0].number;
	for (size_t i = 0; i < b->n; i++)
		if (item_is_in(&b->items[i]))
			return b->items[i].attempt;
	return 0;
}

/* ---- reading ---------------------------------------------------------------- */

struct recovery {
	struct tier *t;
	int64_t intent;
	const char *path; /* borrowed from the JSON */
	dirid_t dir;
	struct json_object *packs; /* borrowed */
	struct json_object *files; /* borrowed */
};

struct lost_file {
	const char *name; /* borrowed from the JSON */
	uint64_t ino, attempt, size;
};

static int64_t number_at(struct json_object *a, size_t i)
{
	struct json_object *v = json_object_array_get_idx(a, i);

	return v && json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
}

static int file_at(const struct recovery *rec, size_t i, struct lost_file *ret)
{
	struct json_object *a = json_object_array_get_idx(rec->files, i), *name;

	if (!a || !json_object_is_type(a, json_type_array))
		return -EBADMSG;
	name = json_object_array_get_idx(a, 0);
	if (!name || !json_object_is_type(name, json_type_string))
		return -EBADMSG;
	ret->name = json_object_get_string(name);
	ret->ino = (uint64_t)number_at(a, 1);
	ret->attempt = (uint64_t)number_at(a, 2);
	ret->size = (uint64_t)number_at(a, 3);
	if (strlen(ret->name) == 0 || strlen(ret->name) > ROW_NAME_MAX || !ret->ino ||
	    !ret->attempt)
		return -EBADMSG;
	return 0;
}

static int put_lost(const struct recovery *rec, const struct lost_file *f, int64_t objdir,
		    enum row_object object, struct tx *tx)
{
	struct trash_row trash = {
		.reason = TRASH_ORPHAN,
		.removed_ns = clock_real_ns(),
		.file = {
			.dir = rec->dir,
			.ino = f->ino,
			.attr = { .mode = S_IFREG, .size = f->size },
			.object = object,
			.objdir = objdir,
			.attempt = f->attempt,
			.id = { .size = f->size },
		},
	};

	strcpy(trash.file.name, f->name);
	trash.due_ns = trash.removed_ns + rec->t->conf->trash_grace * 1000000;
	return tx_trash_put(tx, &trash);
}

/* Its object, if one of its own was written: under its path, or the alternate key. */
static int put_lost_object(const struct recovery *rec, const struct lost_file *f, int64_t objdir,
			   struct tx *tx)
{
	AUTO_FREE char *key = path_join(rec->path, f->name);
	int r = 0;

	if (!key)
		return -ENOMEM;
	if (archive_key_fits(rec->t, key))
		r = put_lost(rec, f, objdir, ROW_OBJECT_PATH, tx);
	return r < 0 ? r : put_lost(rec, f, objdir, ROW_OBJECT_ALT, tx);
}

static int recover_file(const struct recovery *rec, size_t i, int64_t objdir, struct tx *tx)
{
	struct lost_file f;
	struct file_row row;
	int r;

	r = file_at(rec, i, &f);
	if (r < 0)
		return r;
	r = tx_file_get(tx, rec->dir, f.name, &row);
	if (r == 0 && row.attempt == f.attempt)
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	if (f.size > OBJECT_PART_BYTES)
		return put_lost(rec, &f, objdir, ROW_OBJECT_PARTS, tx);
	return put_lost_object(rec, &f, objdir, tx);
}

/* It is there with no file alive, if at all: dropped once the grace is over. */
static int recover_pack(const struct recovery *rec, size_t i, struct tx *tx)
{
	struct pack_row row = { .id = (uint64_t)number_at(rec->packs, i) }, there;
	int r;

	if (row.id == 0)
		return -EBADMSG;
	r = tx_pack_get(tx, row.id, &there);
	if (r != -ENOENT)
		return r;
	row.due_ns = clock_real_ns() + rec->t->conf->trash_grace * 1000000;
	return tx_pack_put(tx, &row);
}

static int recover_run(struct tx *tx, void *arg)
{
	const struct recovery *rec = arg;
	int64_t objdir;
	int r;

	r = tx_intent_delete(tx, rec->intent);
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* it was committed after all, or another was first */
	r = tx_path_id(tx, rec->path, &objdir);
	for (size_t i = 0; r == 0 && i < json_object_array_length(rec->files); i++)
		r = recover_file(rec, i, objdir, tx);
	for (size_t i = 0; r == 0 && i < json_object_array_length(rec->packs); i++)
		r = recover_pack(rec, i, tx);
	return r;
}

static uint64_t number_of(const struct recovery *rec)
{
	struct lost_file f;

	if (json_object_array_length(rec->packs) > 0)
		return (uint64_t)number_at(rec->packs, 0);
	return json_object_array_length(rec->files) > 0 && file_at(rec, 0, &f) == 0 ? f.attempt : 0;
}

/* Those that were noted when the recovery began. */
struct noted {
	uint64_t *numbers; /* owned */
	size_t n;
};

/* Is it a batch of this very daemon, under way? */
static bool is_live(const struct recovery *rec, const struct noted *noted)
{
	uint64_t number = number_of(rec);

	for (size_t i = 0; i < noted->n; i++)
		if (noted->numbers[i] == number)
			return false;
	return number >= reaper_first_number(rec->t);
}

static int recover_one(struct tier *t, const struct intent_row *intent, const struct noted *noted)
{
	struct recovery rec = { .t = t, .intent = intent->id };
	struct json_object *o = json_tokener_parse(intent->payload), *path, *dir;
	int r = -EBADMSG;

	if (json_object_object_get_ex(o, "path", &path) &&
	    json_object_object_get_ex(o, "dir", &dir) &&
	    json_object_object_get_ex(o, "packs", &rec.packs) &&
	    json_object_object_get_ex(o, "files", &rec.files) &&
	    json_object_is_type(path, json_type_string) &&
	    json_object_is_type(rec.packs, json_type_array) &&
	    json_object_is_type(rec.files, json_type_array)) {
		rec.path = json_object_get_string(path);
		rec.dir = json_object_get_int64(dir);
		r = is_live(&rec, noted) ? 0
					 : catalogue_write(t->cat, SYNC_NORMAL, recover_run, &rec);
	}
	json_object_put(o);
	if (r == -EBADMSG)
		log_error("cannot read intent %" PRId64 ": objects it names may stay in the store",
			  intent->id);
	return r == -EBADMSG ? 0 : r;
}

static int recover_all(struct tier *t, const struct noted *noted)
{
	struct intent_row rows[RECOVER_PAGE];
	int64_t after = 0;
	int n, r = 0;

	do {
		n = cat_intents(t->cat, after, rows, RECOVER_PAGE);
		for (int i = 0; i < n; i++) {
			after = rows[i].id;
			if (r == 0 && rows[i].kind == INTENT_ARCHIVE) {
				r = recover_one(t, &rows[i], noted);
				if (r == 0)
					r = failpoint(RECOVER_INTENT);
			}
			intent_row_fini(&rows[i]);
		}
	} while (n > 0 && r == 0);
	return n < 0 ? n : r;
}

int archive_recover(struct tier *t)
{
	struct noted noted = { .n = 0 };
	int64_t n = unfinished_all(t->unfinished, &noted.numbers);
	int r;

	if (n < 0)
		return (int)n;
	noted.n = (size_t)n;
	r = recover_all(t, &noted);
	if (r == 0)
		unfinished_forget(t->unfinished, noted.numbers, noted.n);
	free(noted.numbers);
	return r;
}
