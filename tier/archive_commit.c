/* SPDX-License-Identifier: MIT */
/*
 * The end of a batch: names claimed and compared, one transaction.
 *
 *	in, claimed	the row (an earlier version goes to the trash), its event
 *	out		what may have been written goes to the trash as an orphan
 *	all		the intent is deleted
 *
 * Always true: a row is made from receipts, from nothing else.  Nothing waits for a
 * claim; until the commit, whoever wants to change one of the names waits for us.
 * If the transaction fails the intent stays, and is noted: archive_settle() finds the objects.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/failpoint.h"
#include "tier/archive_int.h"
#include "tier/local.h"

/* ---- receipts --------------------------------------------------------------- */

/*
 * The row that these receipts prove: size and checksum are theirs.  -EIO: they are
 * not of this attempt, or not of as many bytes as the file has.
 */
static int row_from_receipts(const struct item *it, const struct receipt *const *proof, unsigned n,
			     struct file_row *ret)
{
	uint64_t size = 0;
	uint32_t crc = 0;

	item_row(it, it->object, ret);
	if (n != object_count(ret))
		return -EIO;
	for (unsigned i = 0; i < n; i++) {
		if (!proof[i] || strcmp(receipt_attempt(proof[i]), it->attempt_text) != 0)
			return -EIO;
		crc = crc32c_combine(crc, receipt_crc32c(proof[i]), receipt_size(proof[i]));
		size += receipt_size(proof[i]);
	}
	if (size != it->file->id.size || crc != it->crc)
		return -EIO;
	ret->attr.size = size;
	ret->crc32c = crc;
	return 0;
}

/* A pack's receipt is of all its bytes, and so of these. */
static int packed_row(struct item *it)
{
	const struct pack *pack = it->pack;
	const struct receipt *proof = pack->part.receipt;

	item_row(it, ROW_OBJECT_PACK, &it->row);
	if (!proof || strcmp(receipt_attempt(proof), pack->attempt_text) != 0 ||
	    receipt_crc32c(proof) != pack->part.crc || receipt_size(proof) != pack->part.size ||
	    it->pack_off + it->row.attr.size > pack->data_bytes)
		return -EIO;
	it->row.crc32c = it->crc;
	it->row.told = it->b->t->sink != NULL;
	return 0;
}

static int proved_row(struct item *it)
{
	const struct receipt **proof;
	int r = -ENOMEM;

	if (it->pack)
		return packed_row(it);
	proof = calloc(it->n_parts + 1, sizeof(*proof));
	if (proof) {
		for (unsigned i = 0; i < it->n_parts; i++)
			proof[i] = it->parts[i].receipt;
		r = row_from_receipts(it, proof, it->n_parts, &it->row);
	}
	free(proof);
	it->row.told = it->b->t->sink != NULL;
	return r;
}

/* ---- claims ----------------------------------------------------------------- */

static int compare_claimed(struct batch *b, struct item *it)
{
	struct identity id;
	struct stat st;
	int r;

	r = local_named(b->t, it->node, b->dir, it->file->name);
	if (r < 0)
		return r;
	if (fstatat(dirfd_fd(b->d), it->file->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	id = cache_identity(&st);
	if (!identity_equal(&id, &it->file->id) || node_nwrite(b->t->tree, it->node) > 0)
		return -EAGAIN;
	it->st = st; /* only now: from its size follows what objects were written */
	return cache_quiet(it->fd);
}

static void claim_all(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];
		int r;

		if (!item_is_in(it))
			continue;
		if (!node_try_claim(b->t->tree, it->node)) {
			item_out(it, -EBUSY);
			continue;
		}
		it->claimed = true;
		r = compare_claimed(b, it);
		if (r == 0 && it->way == ITEM_SEND)
			r = proved_row(it);
		if (r < 0) {
			item_out(it, r);
			node_unclaim(b->t->tree, it->node);
			it->claimed = false;
		}
	}
}

static void unclaim_all(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].claimed)
			node_unclaim(b->t->tree, b->items[i].node);
		b->items[i].claimed = false;
	}
}

/* ---- rows ------------------------------------------------------------------- */

static int commit_sent(struct batch *b, struct item *it, struct tx *tx)
{
	struct file_row old;
	int r;

	r = tx_file_get(tx, b->dirid, it->file->name, &old);
	if (r == 0 && identity_equal(&old.id, &it->file->id)) {
		it->commit_result = 1; /* another batch was there first: ours is the orphan */
		return 0;
	}
	if (r == 0)
		/* no EVENT_LOCAL: the event of the new row tells the whole truth */
		r = rows_to_trash(b->t, tx, &old, it->path, TRASH_UNSEEN, (enum event_kind)0, NULL);
	if (r < 0 && r != -ENOENT)
		return r;
	r = tx_file_put(tx, &it->row);
	return r < 0 ? r : rows_event(b->t, tx, &it->row, NULL, EVENT_ARCHIVED);
}

static int commit_refreshed(struct batch *b, struct item *it, struct tx *tx)
{
	struct file_row row;
	int r;

	r = tx_file_get(tx, b->dirid, it->file->name, &row);
	if (r == -ENOENT || (r == 0 && row.attempt != it->row.attempt)) {
		it->commit_result = -EAGAIN;
		return 0;
	}
	if (r < 0)
		return r;
	rows_attr_from_stat(&it->st, &row.attr);
	row.id = it->file->id;
	it->commit_result = 1;
	return tx_file_put(tx, &row);
}

/* Where the name has a row meanwhile, or the trash no longer has ours: another time. */
static int commit_revived(struct batch *b, struct item *it, struct tx *tx)
{
	struct file_row row, there;
	struct trash_row trash;
	int r;

	it->commit_result = -EAGAIN;
	r = tx_file_get(tx, b->dirid, it->file->name, &there);
	if (r != -ENOENT)
		return r;
	r = tx_trash_get(tx, it->revive, &trash);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	row = trash.file;
	trash_row_fini(&trash);
	/* an orphan has no way back: it is being dropped */
	if (trash.reason == TRASH_ORPHAN || row.attempt != it->row.attempt || row.crc32c != it->crc)
		return 0;
	if (!row.objname[0])
		strcpy(row.objname, row.name);
	strcpy(row.name, it->file->name);
	row.dir = b->dirid;
	rows_attr_from_stat(&it->st, &row.attr);
	row.id = it->file->id;
	row.told = b->t->sink != NULL;
	r = tx_trash_delete(tx, it->revive);
	if (r == 0)
		r = tx_file_put(tx, &row);
	if (r == 0)
		r = rows_event(b->t, tx, &row, NULL, EVENT_ARCHIVED);
	it->commit_result = 1;
	return r;
}

static int commit_item(struct batch *b, struct item *it, struct tx *tx)
{
	it->commit_result = 0;
	switch (it->way) {
	case ITEM_SEND:
		return commit_sent(b, it, tx);
	case ITEM_REFRESH:
		return commit_refreshed(b, it, tx);
	case ITEM_REVIVE:
		return commit_revived(b, it, tx);
	}
	return -EINVAL;
}

/* ---- orphans ---------------------------------------------------------------- */

static int put_orphan(struct batch *b, const struct item *it, enum row_object object, struct tx *tx)
{
	struct trash_row trash = { .reason = TRASH_ORPHAN, .removed_ns = clock_real_ns() };

	item_row(it, object, &trash.file);
	trash.due_ns = trash.removed_ns + b->t->conf->trash_grace * 1000000;
	return tx_trash_put(tx, &trash);
}

static int put_orphans(struct batch *b, const struct item *it, struct tx *tx)
{
	bool parts = (uint64_t)it->st.st_size > OBJECT_PART_BYTES;
	int r = 0;

	if (it->maybe_path)
		r = put_orphan(b, it, ROW_OBJECT_PATH, tx);
	if (r == 0 && it->maybe_alt)
		r = put_orphan(b, it, parts ? ROW_OBJECT_PARTS : ROW_OBJECT_ALT, tx);
	return r;
}

/* A row of it was committed, and names this object. */
static bool is_used(const struct item *it)
{
	return item_is_in(it) && it->way == ITEM_SEND && it->commit_result == 0;
}

static int commit_run(struct tx *tx, void *arg)
{
	struct batch *b = arg;
	int r = 0;

	for (size_t i = 0; i < b->n && r == 0; i++) {
		struct item *it = &b->items[i];

		if (item_is_in(it))
			r = commit_item(b, it, tx);
		if (r == 0 && is_used(it) && it->pack) {
			it->pack->used++;
			it->pack->used_bytes += (int64_t)it->row.attr.size;
		} else if (r == 0 && !is_used(it)) {
			r = put_orphans(b, it, tx);
		}
	}
	if (r == 0)
		r = archive_commit_packs(b, tx);
	return r < 0 ? r : tx_intent_delete(tx, b->intent);
}

/* ---- the end ---------------------------------------------------------------- */

static void note_gained(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		const struct item *it = &b->items[i];

		if (item_is_in(it) && it->way != ITEM_REFRESH)
			listing_note_gained(b->t, b->dir, it->file->name);
	}
}

static void set_results(struct batch *b, int r)
{
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];

		if (!item_is_in(it))
			continue;
		item_out(it, r < 0 ? r : it->commit_result);
		if (it->file->result == 0)
			it->file->bytes = it->file->id.size;
	}
}

void archive_commit(struct batch *b)
{
	int r;

	claim_all(b);
	r = failpoint(ARCHIVE_CLAIM);
	for (size_t i = 0; r < 0 && i < b->n; i++)
		if (item_is_in(&b->items[i]))
			item_out(&b->items[i], r);
	note_gained(b);
	r = catalogue_write(b->t->cat, SYNC_FULL, commit_run, b);
	if (r < 0)
		archive_note_unfinished(b->t, b->number);
	unclaim_all(b);
	set_results(b, r);
	if (r == 0)
		(void)failpoint(ARCHIVE_COMMIT);
	notify_kick(b->t);
}
