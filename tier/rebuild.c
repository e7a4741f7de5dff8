/* SPDX-License-Identifier: MIT */
/*
 * Rebuilding.
 *
 *	which node? -> checkpoint C -> part C, C+1 ... -> the end -> fence there -> finish
 *	                                ^                              |
 *	                                +------ somebody was faster ---+
 *
 * A part is a changeset, or a record of an owner: {"epoch": n, ...}, written by a
 * rebuild at the number where it stopped reading.  So the journal never has a hole
 * and says how often it changed hands.
 *
 * Always true: the new file is finished only when the fence is in the store and
 * every part before it was applied; else it is removed.
 */
#include "tier/rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/store.h"
#include "lib/cleanup.h"
#include "lib/crc.h"
#include "meta/catalogue.h"
#include "tier/parts.h"
#include "tier/rebuild_int.h"
#include "tier/volume.h"

static void put_json(struct json_object **o)
{
	json_object_put(*o);
}
#define AUTO_JSON __attribute__((cleanup(put_json)))

/* ---- taking over -------------------------------------------------------------------- */

static struct json_object *fence_record(const struct rebuild *b)
{
	struct json_object *o = json_object_new_object();
	char host[256] = "";

	if (!o)
		return NULL;
	gethostname(host, sizeof(host) - 1);
	json_object_object_add(o, "epoch", json_object_new_int64((int64_t)b->epoch + 1));
	json_object_object_add(o, "host", json_object_new_string(host));
	json_object_object_add(o, "since", json_object_new_int64(time(NULL)));
	json_object_object_add(o, "token", json_object_new_string(b->token));
	return o;
}

/* 0: it is there, or may be, or another part is: read on.  What is read decides. */
static int put_fence(struct rebuild *b)
{
	AUTO_JSON struct json_object *o = fence_record(b);
	char node[UID128_STR_SIZE], attempt[STORE_ATTEMPT_MAX], key[PARTS_KEY_SIZE];
	struct store_attrs attrs = { .attempt = attempt, .path = key, .even_full = true };
	const char *text;
	int r;

	if (!o)
		return rebuild_refuse(b, -ENOMEM, "out of memory");
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	journal_key(&b->ret->node, b->seq, key, sizeof(key));
	/* Not a part's: dropping the journal leaves it, for a former owner to find. */
	snprintf(attempt, sizeof(attempt), "%s/fence", uid128_print(&b->ret->node, node));
	attrs.crc32c = crc32c(0, text, strlen(text));
	r = store_put_wait(b->store, key, text, strlen(text), &attrs);
	if (r == 0 || r == -EEXIST)
		return 0;
	return rebuild_refuse(b, r,
			      "cannot take the journal over: cannot write '%s' to the store: %s",
			      key, strerror(-r));
}

static int read_all(struct rebuild *b)
{
	bool fenced = false;
	int r = rebuild_begin(b);

	if (r < 0)
		return r;
	do {
		do
			r = rebuild_next(b, &fenced);
		while (r == 0);
		if (r == 1 && !fenced)
			r = put_fence(b);
	} while (r == 0);
	return r < 0 ? r : 0;
}

/* ---- all of it ------------------------------------------------------------------------ */

/* What the finished catalogue holds: opened once, as a mount would, which proves that it opens. */
static int count(struct rebuild *b)
{
	struct catalogue *c;
	int r = catalogue_open(b->req->file, false, &c, b->err, b->size);

	if (r < 0)
		return r;
	r = catalogue_counts(c, &b->ret->counts);
	catalogue_close(c);
	return r < 0 ? rebuild_refuse(b, r, "the new catalogue cannot be read: %s", strerror(-r))
		     : 0;
}

static int build(struct rebuild *b)
{
	const struct rebuild_request *req = b->req;
	struct uid128 token;
	int r;

	r = volume_read(b->store, &b->ret->volume, b->err, b->size);
	if (r == -ENOENT)
		return rebuild_refuse(
			b, r,
			"the store '%s' holds no volume of ebbfs: is it the right one, "
			"and mounted?",
			req->store);
	if (r < 0)
		return b->err[0] ? r : rebuild_refuse_store(b, r, VOLUME_KEY);
	r = rebuild_choose_node(b);
	if (r < 0)
		return r;
	r = uid128_new(&token);
	if (r < 0)
		return rebuild_refuse(b, r, "cannot make a uuid: %s", strerror(-r));
	uid128_print(&token, b->token);
	r = cat_rebuild_begin(req->file, &b->ret->volume, &b->ret->node, &b->cat, b->err, b->size);
	if (r < 0)
		return r;
	r = read_all(b);
	if (r < 0) {
		cat_rebuild_abort(b->cat);
		return r;
	}
	r = cat_rebuild_finish(b->cat);
	if (r < 0)
		return rebuild_refuse(
			b, r,
			"the new catalogue cannot be finished: %s: remove '%s' and see "
			"whether its disk is full",
			strerror(-r), req->file);
	return count(b);
}

int rebuild_run(const struct rebuild_request *req, struct rebuild_result *ret, char *err,
		size_t size)
{
	struct rebuild b = {
		.req = req, .ret = ret, .seq = 1, .epoch = 1, .err = err, .size = size
	};
	int r;

	memset(ret, 0, sizeof(*ret));
	err[0] = '\0';
	r = store_open(req->store, req->timeout_ms, &b.store, err, size);
	if (r < 0)
		return r;
	r = build(&b);
	store_close(b.store);
	return r;
}
