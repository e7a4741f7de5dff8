/* SPDX-License-Identifier: MIT */
/*
 * Do store, catalogue and journal belong together?
 *
 *	.ebb/volume	  {"volume": uuid, "format": 1, "created": seconds}, made once
 *	.ebb/node/<uuid>  {"node": uuid, "host": name, "since": seconds}
 *	.ebb/journal/...  its next part must not be there yet, or be the one this
 *			  catalogue had fixed and not seen acknowledged; none behind it
 *
 * Always true: a store that is empty where a volume is expected is refused, not
 * taken for a new one: its disk may not be mounted.  The first catalogue of a volume
 * gives it its own node uuid, so that a kill in between is recognised.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/crc.h"
#include "tier/parts.h"
#include "tier/tier_int.h"
#include "tier/volume.h"

#define VOLUME_MAX_BYTES 65536

static void put_json(struct json_object **o)
{
	json_object_put(*o);
}
#define AUTO_JSON __attribute__((cleanup(put_json)))

int volume_read(struct store *store, struct uid128 *ret, char *err, size_t size)
{
	AUTO_JSON struct json_object *o = NULL;
	struct json_object *v, *f;
	AUTO_FREE void *text = NULL;
	AUTO_FREE char *copy = NULL;
	struct uid128 uid;
	size_t len;
	int r;

	r = store_get_all_wait(store, VOLUME_KEY, VOLUME_MAX_BYTES, &text, &len);
	if (r < 0)
		return r;
	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	copy[len] = '\0';
	o = json_tokener_parse(copy);
	if (!o || !json_object_object_get_ex(o, "volume", &v) ||
	    uid128_parse(json_object_get_string(v), &uid) < 0 ||
	    !json_object_object_get_ex(o, "format", &f)) {
		snprintf(err, size,
			 "the store's object " VOLUME_KEY " is not readable: "
			 "it is not a volume of ebbfs, or it is damaged");
		return -EXDEV;
	}
	if (json_object_get_int(f) > VOLUME_FORMAT) {
		snprintf(err, size,
			 "the store's volume has format %d and this ebbfs knows up to "
			 "%d: use a newer ebbfs",
			 json_object_get_int(f), VOLUME_FORMAT);
		return -ENOTSUP;
	}
	*ret = uid;
	return 0;
}

static int put_text(struct tier *t, const char *key, struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	char attempt[STORE_ATTEMPT_MAX];
	struct store_attrs attrs = { .attempt = attempt, .path = key, .even_full = true };

	object_attempt(t, 0, attempt, sizeof(attempt));
	attrs.crc32c = crc32c(0, text, strlen(text));
	return store_put_wait(t->store, key, text, strlen(text), &attrs);
}

static int make_volume(struct tier *t, const struct uid128 *uid)
{
	AUTO_JSON struct json_object *o = json_object_new_object();
	char text[UID128_STR_SIZE];

	if (!o)
		return -ENOMEM;
	json_object_object_add(o, "volume", json_object_new_string(uid128_print(uid, text)));
	json_object_object_add(o, "format", json_object_new_int(VOLUME_FORMAT));
	json_object_object_add(o, "created", json_object_new_int64(time(NULL)));
	return put_text(t, VOLUME_KEY, o);
}

static int set_volume_run(struct tx *tx, void *arg)
{
	return tx_set_volume(tx, arg);
}

static int compare_volume(struct tier *t, char *err, size_t size)
{
	struct catalogue_ids ids = catalogue_ids(t->cat);
	char want[UID128_STR_SIZE], have[UID128_STR_SIZE];
	struct uid128 uid;
	int r;

	r = volume_read(t->store, &uid, err, size);
	if (r == -ENOENT && uid128_is_zero(&ids.volume)) {
		r = make_volume(t, &ids.node);
		if (r == 0 || r == -EEXIST)
			r = volume_read(t->store, &uid, err, size);
	}
	if (r == -ENOENT) {
		snprintf(err, size,
			 "the store holds no volume and the catalogue belongs to "
			 "volume %s: is the right store given, and mounted?",
			 uid128_print(&ids.volume, want));
		return -EXDEV;
	}
	if (r < 0)
		return r;
	uid128_print(&uid, have);
	if (uid128_is_zero(&ids.volume)) {
		if (uid128_equal(&uid, &ids.node))
			return catalogue_write(t->cat, SYNC_FULL, set_volume_run, &uid);
		snprintf(err, size,
			 "the store holds volume %s and the catalogue is a new one: "
			 "if the catalogue was lost, make it again with ebbctl rebuild; "
			 "else give an empty store",
			 have);
		return -EXDEV;
	}
	if (!uid128_equal(&uid, &ids.volume)) {
		snprintf(err, size,
			 "the store holds volume %s and the catalogue belongs to "
			 "volume %s: give the store and the catalogue that belong together",
			 have, uid128_print(&ids.volume, want));
		return -EXDEV;
	}
	return 0;
}

static int announce_node(struct tier *t)
{
	AUTO_JSON struct json_object *o = json_object_new_object();
	struct catalogue_ids ids = catalogue_ids(t->cat);
	char node[UID128_STR_SIZE], host[256] = "", key[128];
	int r;

	if (!o)
		return -ENOMEM;
	gethostname(host, sizeof(host) - 1);
	uid128_print(&ids.node, node);
	snprintf(key, sizeof(key), NODE_PREFIX "%s", node);
	json_object_object_add(o, "node", json_object_new_string(node));
	json_object_object_add(o, "host",
			       json_object_new_string(t->conf->node_name[0] ? t->conf->node_name
									    : host));
	json_object_object_add(o, "since", json_object_new_int64(time(NULL)));
	r = put_text(t, key, o);
	return r == -EEXIST ? 0 : r;
}

/* 1: the part at our next number is our own put, not acknowledged before we were killed. */
static int is_ours(struct tier *t, uint64_t seq, const struct store_stat *stat)
{
	struct journal_part part = { 0 };
	bool ours;
	int r = catalogue_journal_fixed(t->cat, &part);

	if (r < 0 && r != -ENODATA)
		return r;
	ours = r == 0 && part.seq == seq && part.len_bytes == stat->size &&
	       crc32c(0, part.data, part.len_bytes) == stat->crc32c;
	free(part.data);
	return ours;
}

/*
 * The store must not be ahead of the catalogue.  An old copy of the catalogue may begin
 * with the same bytes as went on before; or its next part was dropped already, after a
 * checkpoint: so parts behind it are looked for, too.
 */
static int compare_journal(struct tier *t, char *err, size_t size)
{
	struct catalogue_ids ids = catalogue_ids(t->cat);
	struct store_stat stat;
	uint64_t seq = catalogue_journal_seq(t->cat);
	char key[PARTS_KEY_SIZE];
	int r;

	journal_key(&ids.node, seq, key, sizeof(key));
	r = store_verify_wait(t->store, key, &stat);
	if (r == 0)
		r = is_ours(t, seq, &stat);
	else if (r == -ENOENT)
		r = 1;
	if (r == 1) {
		r = journal_beyond(t->store, &ids.node, seq);
		if (r <= 0)
			return r;
	} else if (r < 0) {
		return r;
	}
	snprintf(err, size,
		 "the store's journal is ahead of this catalogue (part %" PRIu64 "): the "
		 "catalogue is an old copy, or another ebbfs runs on it: move it away "
		 "and make it again with ebbctl rebuild",
		 seq);
	return -ESTALE;
}

int volume_check(struct tier *t, char *err, size_t size)
{
	int r;

	err[0] = '\0';
	r = compare_volume(t, err, size);
	if (r == 0)
		r = announce_node(t);
	if (r == 0)
		r = compare_journal(t, err, size);
	if (r < 0 && !err[0])
		snprintf(err, size, "the store does not answer: %s", strerror(-r));
	return r;
}
