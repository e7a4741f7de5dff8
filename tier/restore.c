/* SPDX-License-Identifier: MIT */
/*
 * Bringing bytes back.
 *
 * Always true: a name appears in the cache only when all of its bytes are there,
 * compared with the row's checksum and on disk; the object is not touched.  What
 * fails leaves nothing behind, as the file has no name until then.
 *
 * The directory is made again first, if it was released: its claim is taken while
 * the file's is held (rule 2 of tier/node.h: files before directories).
 */
#include "tier/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/failpoint.h"
#include "lib/path.h"
#include "lib/text.h"
#include "tier/ns_int.h"
#include "tier/reaper_int.h"

#define RANGE_BYTES (4u << 20)
#define DIR_TRIES 8 /* a directory may be released again while we work */

struct restoring {
	struct tier *t;
	const struct file_row *row; /* borrowed */
	struct node *parent;	    /* counted */
	char name[ROW_NAME_MAX + 1];
	struct dirfd *d; /* counted, or NULL */
	int fd;		 /* owned; without a name until the end */
};

static void say(const struct restoring *res, const char *what)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *shown = NULL;

	if (node_child_path(res->t->tree, res->parent, res->name, &path) == 0)
		shown = text_printable(path, strlen(path));
	log_error("cannot restore '%s': %s", shown ? shown : res->name, what);
}

static int check_room(struct restoring *res, bool empty)
{
	uint64_t need = empty ? 0 : res->row->attr.size;
	struct cache_room room;
	int r;

	r = cache_room(res->t->cache, &room);
	if (r < 0)
		return r;
	return room.free_bytes < need || room.free_bytes - need < res->t->conf->reserve ? -ENOSPC
											: 0;
}

/* ---- bytes ------------------------------------------------------------------ */

/* One object, or its place in a pack, at off in the file. */
static int fetch_object(struct restoring *res, const struct file_row *row, unsigned n, uint64_t off,
			uint64_t size, void *buf, uint32_t *crc)
{
	AUTO_FREE char *key = NULL;
	int r;

	r = object_key(res->t, row, n, &key);
	if (r < 0)
		return r;
	for (uint64_t done = 0; done < size;) {
		size_t len = size - done < RANGE_BYTES ? (size_t)(size - done) : RANGE_BYTES;
		int64_t got = store_get_wait(res->t->store, key, row->pack_off + done, buf, len);
		ssize_t put;

		if (got < 0)
			return (int)got;
		if ((uint64_t)got != len)
			return -EIO;
		*crc = crc32c(*crc, buf, len);
		put = path_pwrite_full(res->fd, buf, len, (off_t)(off + done));
		if (put < 0)
			return (int)put;
		done += len;
	}
	return 0;
}

static int fetch_all(struct restoring *res, const struct file_row *row, void *buf, uint32_t *crc)
{
	uint64_t size = row->attr.size;
	unsigned n = object_count(row);
	int r = 0;

	*crc = 0;
	for (unsigned i = 0; i < n && r == 0; i++) {
		uint64_t off = i * OBJECT_PART_BYTES;
		uint64_t len = n == 1 || size - off < OBJECT_PART_BYTES ? size - off
									: OBJECT_PART_BYTES;

		r = fetch_object(res, row, i, off, len, buf, crc);
	}
	return r;
}

static int fill(struct restoring *res)
{
	uint64_t size = res->row->attr.size;
	AUTO_FREE void *buf = NULL;
	struct file_row now;
	uint32_t crc;
	int r;

	if (size == 0)
		return 0;
	/* Room is taken before bytes are fetched. */
	if (fallocate(res->fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP)
		return -errno;
	buf = malloc(size < RANGE_BYTES ? (size_t)size : RANGE_BYTES);
	if (!buf)
		return -ENOMEM;
	r = fetch_all(res, res->row, buf, &crc);
	if (r == -ENOENT && res->row->object == ROW_OBJECT_PACK &&
	    cat_file_get(res->t->cat, res->row->dir, res->row->name, &now) == 0 &&
	    now.attempt == res->row->attempt && now.pack != res->row->pack)
		r = fetch_all(res, &now, buf, &crc); /* its pack was rewritten meanwhile */
	if (r == -ENOSPC || r == -ENOMEM)
		return r;
	if (r < 0) {
		say(res, strerror(-r));
		return -EIO;
	}
	if (crc != res->row->crc32c) {
		say(res, "its object in the store has other bytes than were archived");
		return -EIO;
	}
	return 0;
}

/* ---- the file --------------------------------------------------------------- */

static int give_attributes(struct restoring *res, bool empty)
{
	const struct row_attr *a = &res->row->attr;
	struct timespec times[2] = { ns_to_ts(a->atime_ns), ns_to_ts(a->mtime_ns) };

	/* the owner first: changing it clears suid and sgid */
	if (fchown(res->fd, a->uid, a->gid) < 0 || fchmod(res->fd, a->mode & 07777) < 0)
		return -errno;
	if (!empty && futimens(res->fd, times) < 0)
		return -errno;
	return fsync(res->fd) < 0 ? -errno : 0;
}

/* Its directory in the cache, made again if it was released; again: it went meanwhile. */
static int enter_dir(struct restoring *res, bool again)
{
	int r;

	if (again) {
		if (res->d)
			cache_dir_put(res->t->cache, res->d);
		res->d = NULL;
		cache_dir_forget(res->t->cache, res->parent);
	}
	r = ns_materialize_dir(res->t, res->parent, true);
	return r < 0 ? r : cache_dir(res->t->cache, res->parent, &res->d);
}

static int publish(struct restoring *res)
{
	int r = -ENOENT;

	for (int tries = 0; tries < DIR_TRIES && r == -ENOENT; tries++) {
		r = tries > 0 ? enter_dir(res, true) : 0;
		if (r == 0 && linkat(res->fd, "", dirfd_fd(res->d), res->name, AT_EMPTY_PATH) < 0)
			r = -errno;
	}
	if (r == 0)
		r = failpoint(RESTORE_LINK);
	if (r == 0 && fsync(dirfd_fd(res->d)) < 0)
		r = -errno;
	return r;
}

static int open_unnamed(struct restoring *res)
{
	int r = -ENOENT;

	for (int tries = 0; tries < DIR_TRIES && r == -ENOENT; tries++) {
		r = enter_dir(res, tries > 0);
		if (r < 0)
			continue;
		res->fd = openat(dirfd_fd(res->d), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		r = res->fd < 0 ? -errno : 0;
	}
	return r;
}

static int build(struct restoring *res, bool empty)
{
	int r;

	r = open_unnamed(res);
	if (r == 0 && !empty)
		r = fill(res);
	if (r == 0)
		r = give_attributes(res, empty);
	return r < 0 ? r : failpoint(RESTORE_GET);
}

/* ---- the row ---------------------------------------------------------------- */

struct keep {
	const struct file_row *row; /* borrowed */
	struct identity id;
};

static int keep_run(struct tx *tx, void *arg)
{
	const struct keep *k = arg;
	struct file_row now;
	int r;

	r = tx_file_get(tx, k->row->dir, k->row->name, &now);
	if (r < 0 || now.attempt != k->row->attempt)
		return r < 0 && r != -ENOENT ? r : 0; /* it left: the copy is a local file */
	now.id = k->id;
	return tx_file_put(tx, &now);
}

static int give_identity(struct restoring *res)
{
	struct keep k = { .row = res->row };
	struct stat st;
	int r;

	if (fstat(res->fd, &st) < 0)
		return -errno;
	k.id = cache_identity(&st);
	r = catalogue_write(res->t->cat, SYNC_NORMAL, keep_run, &k);
	return r < 0 ? r : failpoint(RESTORE_COMMIT);
}

/* ---- restore ---------------------------------------------------------------- */

static int restore_in(struct restoring *res, bool empty, bool keep_row)
{
	int r;

	r = build(res, empty);
	if (r == 0)
		r = own_action_begin(res->t, res->parent);
	if (r < 0)
		return r;
	r = publish(res);
	own_action_end(res->t, res->parent, r >= 0);
	reaper_touch(res->t, res->parent);
	if (r == -EEXIST) {
		/* somebody inside the covered tree was faster: theirs is the file now */
		say(res, "a local file has taken its name");
		return 0;
	}
	if (r < 0)
		return r;
	if (keep_row)
		r = give_identity(res);
	reaper_count_restored(res->t);
	return r;
}

int restore_claimed(struct tier *t, struct node *node, const struct file_row *row, bool empty,
		    bool keep_row)
{
	struct restoring res = { .t = t, .row = row, .fd = -1 };
	int r;

	r = node_name(t->tree, node, &res.parent, res.name);
	if (r < 0)
		return r;
	r = check_room(&res, empty);
	if (r == 0)
		r = restore_in(&res, empty, keep_row);
	if (res.d)
		cache_dir_put(t->cache, res.d);
	if (res.fd >= 0)
		close(res.fd);
	node_put(t->tree, res.parent);
	return r == -ETIMEDOUT ? -EIO : r;
}

static int restore_path_claimed(struct tier *t, struct node *node)
{
	struct state_of look;
	int r;

	r = state_look_node(t, node, &look);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	if (look.has_cache)
		return 0;
	return look.is_dir ? -EISDIR : restore_claimed(t, node, &look.row, false, true);
}

int restore_path(struct tier *t, struct node *node)
{
	int r;

	node_claim(t->tree, node);
	r = restore_path_claimed(t, node);
	node_unclaim(t->tree, node);
	return r;
}
