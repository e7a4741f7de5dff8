/* SPDX-License-Identifier: MIT */
/*
 * What a rebuild reads: a checkpoint, then the journal from its number on.
 *
 *	newest part n -> n+1, n ... which number has a complete checkpoint? -> its parts
 *	                  ... down to 1: none, all of the journal                 |
 *	                                        part C, C+1 ... n, n+1? <---------+
 *
 * Always true: bytes are applied only if they are those that were written; a number
 * that is missing below one that is there ends the rebuild, loudly.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "backend/store.h"
#include "lib/cleanup.h"
#include "lib/crc.h"
#include "meta/catalogue.h"
#include "tier/parts.h"
#include "tier/rebuild_int.h"

#define PART_MAX_BYTES (1u << 30) /* a transaction is one part, however large */

static void put_json(struct json_object **o)
{
	json_object_put(*o);
}
#define AUTO_JSON __attribute__((cleanup(put_json)))

/* ---- reading -------------------------------------------------------------------------- */

/* Bytes that others put there say nothing of what was written: they are taken as they are. */
static int compare(struct rebuild *b, const char *key, const void *data, size_t len)
{
	uint32_t crc = crc32c(0, data, len);
	struct store_stat stat;
	int r = store_stat_wait(b->store, key, &stat);

	if (r < 0)
		return rebuild_refuse_store(b, r, key);
	if (!stat.has_written || stat.written_crc32c == crc)
		return 0;
	return rebuild_refuse(b, -EBADMSG,
			      "'%s' in the store is damaged: its %zu bytes have checksum %08x, and "
			      "%08x was written: have the store repair it, or put a good copy in "
			      "its place, then rebuild again",
			      key, len, crc, stat.written_crc32c);
}

/* -ENOENT is not refused. */
static int read_part(struct rebuild *b, const char *key, void **ret, size_t *ret_len)
{
	AUTO_FREE void *data = NULL;
	size_t len;
	int r = store_get_all_wait(b->store, key, PART_MAX_BYTES, &data, &len);

	if (r < 0)
		return r == -ENOENT ? r : rebuild_refuse_store(b, r, key);
	r = compare(b, key, data, len);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(data);
	*ret_len = len;
	return 0;
}

static int applied(struct rebuild *b, size_t len)
{
	b->ret->done.parts++;
	b->ret->done.bytes += len;
	if (b->req->progress && b->req->progress(b->req->arg, &b->ret->done))
		return rebuild_refuse(b, -ECANCELED, "stopped");
	return 0;
}

/* ---- the checkpoint --------------------------------------------------------------------- */

/* 1, 0 or an error. */
static int is_there(struct rebuild *b, uint64_t seq)
{
	struct store_stat stat;
	char key[PARTS_KEY_SIZE];
	int r;

	journal_key(&b->ret->node, seq, key, sizeof(key));
	r = store_stat_wait(b->store, key, &stat);
	if (r < 0 && r != -ENOENT)
		return rebuild_refuse_store(b, r, key);
	return r == 0;
}

/* The number that the journal begins at, and how many parts the checkpoint there has: 0, none. */
static int find(struct rebuild *b, uint64_t newest, uint64_t *ret, uint64_t *ret_parts)
{
	char key[PARTS_KEY_SIZE];
	uint64_t seq, parts;
	bool ended;
	int r;

	/* From a number too far: a checkpoint there says that the end of the journal is lost. */
	for (seq = newest + 1;; seq--) {
		checkpoint_key(&b->ret->node, seq, 0, key, sizeof(key));
		r = checkpoint_parts(b->store, &b->ret->node, seq, &parts, &ended);
		if (r < 0)
			return rebuild_refuse_store(b, r, key);
		if ((ended && parts > 0) || seq == 1)
			break;
		r = is_there(b, seq - 1);
		if (r < 0)
			return r;
		if (r == 0)
			return rebuild_refuse(b, -ENODATA,
					      "part %" PRIu64
					      " of the journal is missing and no complete "
					      "checkpoint replaces it: the store has lost objects",
					      seq - 1);
	}
	*ret = seq;
	*ret_parts = ended ? parts : 0;
	return 0;
}

static int apply_checkpoint(struct rebuild *b, uint64_t n)
{
	AUTO_FREE void *data = NULL;
	char key[PARTS_KEY_SIZE];
	size_t len;
	int r;

	checkpoint_key(&b->ret->node, b->seq, n, key, sizeof(key));
	r = read_part(b, key, &data, &len);
	if (r == -ENOENT)
		return rebuild_refuse(b, -ENODATA, "'%s' is missing: the store has lost it", key);
	if (r < 0)
		return r;
	r = cat_rebuild_checkpoint(b->cat, b->seq, data, len);
	if (r < 0)
		return rebuild_refuse(b, r, "'%s' in the store cannot be applied: %s", key,
				      r == -EBADMSG ? "it is damaged" : strerror(-r));
	return applied(b, len);
}

/* What a drop that was not finished has left: the new owner goes on with it. */
static int note_dropped(struct rebuild *b)
{
	uint64_t seq = b->seq;
	int r = 1;

	while (seq > 1 && (r = is_there(b, seq - 1)) == 1)
		seq--;
	if (r >= 0)
		cat_rebuild_dropped(b->cat, seq);
	return r < 0 ? r : 0;
}

int rebuild_begin(struct rebuild *b)
{
	char node[UID128_STR_SIZE];
	uint64_t newest, parts = 0;
	int r = journal_newest(b->store, &b->ret->node, &newest);

	if (r < 0)
		return rebuild_refuse_store(b, r, "the journal");
	if (newest == 0)
		return rebuild_refuse(b, -ENOENT, "node %s has no journal in this store",
				      uid128_print(&b->ret->node, node));
	r = find(b, newest, &b->seq, &parts);
	for (uint64_t n = 0; r == 0 && n < parts; n++)
		r = apply_checkpoint(b, n);
	return r == 0 && parts > 0 ? note_dropped(b) : r;
}

/* ---- the journal ------------------------------------------------------------------------- */

/*
 * 1: no such part, nor one after it: the journal ends here.  0: there is by now, its owner
 * is at work.
 */
static int at_end(struct rebuild *b)
{
	int there, r = journal_beyond(b->store, &b->ret->node, b->seq);

	if (r < 0)
		return rebuild_refuse_store(b, r, "the journal");
	there = r == 1 ? is_there(b, b->seq) : 0;
	if (there != 0)
		return there < 0 ? there : 0;
	/* Or the checkpoint saw more of it. */
	if (r == 1 || cat_rebuild_check(b->cat) < 0)
		return rebuild_refuse(b, -ENODATA,
				      "part %" PRIu64 " of the journal is missing and was not the "
				      "last: the store has lost objects",
				      b->seq);
	return 1;
}

/* A record of an owner.  1: it is the fence we just put. */
static int owner_record(struct rebuild *b, const void *data, size_t len)
{
	AUTO_JSON struct json_object *o = rebuild_json(data, len);
	struct json_object *v;

	if (!o || !json_object_object_get_ex(o, "epoch", &v))
		return rebuild_refuse(b, -EBADMSG,
				      "part %" PRIu64 " of the journal is not readable", b->seq);
	b->epoch = (uint64_t)json_object_get_int64(v);
	return strcmp(rebuild_member(o, "token"), b->token) == 0;
}

static int apply(struct rebuild *b, const void *data, size_t len)
{
	bool is_record = len > 0 && *(const char *)data == '{';
	int r = is_record ? owner_record(b, data, len) : 0;
	int e;

	if (r < 0)
		return r;
	if (len == 0)
		e = -EBADMSG;
	else
		e = cat_rebuild_apply(b->cat, b->seq, is_record ? NULL : data, is_record ? 0 : len);
	if (e < 0)
		return rebuild_refuse(b, e, "part %" PRIu64 " of the journal cannot be applied: %s",
				      b->seq, e == -EBADMSG ? "it is damaged" : strerror(-e));
	b->seq++;
	e = applied(b, len);
	return e < 0 ? e : r;
}

int rebuild_next(struct rebuild *b, bool *fenced)
{
	AUTO_FREE void *data = NULL;
	char key[PARTS_KEY_SIZE];
	size_t len;
	int r;

	journal_key(&b->ret->node, b->seq, key, sizeof(key));
	r = read_part(b, key, &data, &len);
	if (r == -ENOENT)
		return at_end(b);
	if (r < 0)
		return r;
	r = apply(b, data, len);
	*fenced = r == 1;
	return r;
}
