/* SPDX-License-Identifier: MIT */
/* trash: what is in it, bringing back, dropping at once. */
#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tier/drop.h"
#include "tier/object.h"
#include "tier/trash.h"
#include "tools/mount_ctl_int.h"

#define PAGE_ROWS 64

static const char *reason_word(enum trash_reason reason)
{
	switch (reason) {
	case TRASH_REMOVED:
		return "removed";
	case TRASH_REPLACED:
		return "replaced";
	case TRASH_LINKED:
		return "linked";
	case TRASH_UNSEEN:
		return "changed-unseen";
	case TRASH_ORPHAN:
		return "unfinished";
	}
	return "?";
}

static void tell_row(struct ctl_conn *c, const struct trash_row *row)
{
	struct json_object *o = json_object_new_object();
	AUTO_FREE char *key = NULL;
	char crc[16];

	snprintf(crc, sizeof(crc), "%08x", row->file.crc32c);
	ctl_add_int(o, "id", row->id);
	ctl_add_str(o, "path", row->path && row->path[0] ? row->path : NULL);
	ctl_add_int(o, "size", (int64_t)row->file.attr.size);
	ctl_add_str(o, "reason", reason_word(row->reason));
	ctl_add_int(o, "removed", row->removed_ns / NSEC_PER_SEC);
	ctl_add_int(o, "due", row->due_ns / NSEC_PER_SEC);
	ctl_add_int(o, "mtime", row->file.attr.mtime_ns / NSEC_PER_SEC);
	ctl_add_str(o, "crc32c", crc);
	ctl_add_str(o, "object", object_key(c->t, &row->file, 0, &key) == 0 ? key : NULL);
	ctl_line(c, "item", o);
}

/* ---- which rows ------------------------------------------------------------------------------- */

struct ids {
	int64_t *v;  /* owned */
	bool *found; /* owned */
	size_t n;
};

static void ids_fini(struct ids *ids)
{
	free(ids->v);
	free(ids->found);
}

/* None given is n 0: all. */
static int ids_read(struct json_object *req, struct ids *ret)
{
	struct json_object *list = NULL;
	struct ids ids = { 0 };

	if (json_object_object_get_ex(req, "ids", &list) &&
	    json_object_is_type(list, json_type_array))
		ids.n = json_object_array_length(list);
	ids.v = calloc(ids.n + 1, sizeof(*ids.v));
	ids.found = calloc(ids.n + 1, sizeof(*ids.found));
	if (!ids.v || !ids.found) {
		ids_fini(&ids);
		return -ENOMEM;
	}
	for (size_t i = 0; i < ids.n; i++)
		ids.v[i] = json_object_get_int64(json_object_array_get_idx(list, i));
	*ret = ids;
	return 0;
}

static bool is_asked(struct ids *ids, int64_t id)
{
	bool asked = ids->n == 0;

	for (size_t i = 0; i < ids->n; i++)
		if (ids->v[i] == id)
			asked = ids->found[i] = true;
	return asked;
}

struct sums {
	int64_t rows, bytes;
};

/* The rows that are asked for: told (or not) and summed up. */
static int walk(struct ctl_conn *c, struct ids *ids, bool tell, struct sums *ret)
{
	AUTO_FREE struct trash_row *rows = calloc(PAGE_ROWS, sizeof(*rows));
	struct sums sums = { 0 };
	int64_t after = 0;
	int n;

	if (!rows)
		return -ENOMEM;
	while ((n = cat_trash_after(tier_catalogue(c->t), after, rows, PAGE_ROWS)) > 0) {
		after = rows[n - 1].id;
		for (int i = 0; i < n; i++) {
			if (is_asked(ids, rows[i].id)) {
				sums.rows++;
				sums.bytes += (int64_t)rows[i].file.attr.size;
				if (tell)
					tell_row(c, &rows[i]);
			}
			trash_row_fini(&rows[i]);
		}
		if (ctl_gone(c))
			return -ECANCELED;
	}
	*ret = sums;
	return n;
}

int ctl_op_trash_list(struct ctl_conn *c, struct json_object *req)
{
	struct sums sums;
	struct ids ids;
	int r = ids_read(req, &ids);

	if (r == 0) {
		r = walk(c, &ids, true, &sums);
		ids_fini(&ids);
	}
	return r < 0 ? ctl_error(c, "cannot read the trash: %s", ctl_reason(r)) : 0;
}

/* ---- bringing back ------------------------------------------------------------------------------ */

int ctl_op_trash_restore(struct ctl_conn *c, struct json_object *req)
{
	const char *path = ctl_arg_str(req, "path");
	int64_t id = ctl_arg_int(req, "id");
	AUTO_FREE char *where = NULL;
	int r;

	if (path) {
		r = trash_find(c->t, path, &id);
		if (r == -ENOENT)
			return ctl_error(c,
					 "there is nothing of this path in the trash (it may have "
					 "been dropped: see ebbctl trash list)");
		if (r < 0)
			return ctl_error(c, "the trash cannot be read: %s", ctl_reason(r));
	}
	r = trash_bring_back(c->t, id, &where, c->error, sizeof(c->error));
	if (r < 0)
		return 1;
	fs_name_appeared(c->fs, where);
	c->result = json_object_new_object();
	ctl_add_int(c->result, "id", id);
	ctl_add_str(c->result, "path", where);
	return 0;
}

/* ---- emptying ------------------------------------------------------------------------------------- */

static int tell_unknown(struct ctl_conn *c, const struct ids *ids)
{
	int code = 0;
	char text[32];

	for (size_t i = 0; i < ids->n; i++) {
		if (ids->found[i])
			continue;
		snprintf(text, sizeof(text), "%lld", (long long)ids->v[i]);
		ctl_failed(c, text, "there is no such entry in the trash");
		code = 1;
	}
	return code;
}

static int empty(struct ctl_conn *c, struct ids *ids, bool dry_run)
{
	struct sums before, after = { 0 };
	int64_t dropped = 0;
	int code, r;

	r = walk(c, ids, dry_run, &before);
	if (r < 0)
		return ctl_error(c, "cannot read the trash: %s", ctl_reason(r));
	code = tell_unknown(c, ids);
	if (!dry_run && before.rows > 0) {
		dropped = drop_now(c->t, ids->v, ids->n);
		if (dropped == -EAGAIN)
			return ctl_error(c,
					 "the store was not found to be this catalogue's yet: see "
					 "ebbctl status");
		if (dropped < 0)
			return ctl_error(c, "cannot drop: %s: what is left is dropped later",
					 ctl_reason((int)dropped));
		r = walk(c, ids, false, &after);
		if (r < 0)
			return ctl_error(c, "cannot read the trash: %s", ctl_reason(r));
	}
	c->result = json_object_new_object();
	ctl_add_int(c->result, "dropped", dropped);
	ctl_add_int(c->result, "left", dry_run ? before.rows : after.rows);
	ctl_add_int(c->result, "bytes", before.bytes - after.bytes);
	if (after.rows > 0)
		code = ctl_error(
			c,
			"%lld must stay for now: the journal does not have them yet, a sink "
			"was not told, or they are being read",
			(long long)after.rows);
	return code;
}

int ctl_op_trash_empty(struct ctl_conn *c, struct json_object *req)
{
	struct ids ids;
	int code;

	if (ids_read(req, &ids) < 0)
		return ctl_error(c, "out of memory");
	code = empty(c, &ids, ctl_arg_bool(req, "dry_run"));
	ids_fini(&ids);
	return code;
}
