/* SPDX-License-Identifier: MIT */
/*
 * Removing names.
 *
 *	claim -> row to the trash + intent, one commit -> the cache name goes -> settled
 *
 * Always true: a name without a row costs one system call; a cache call that fails
 * brings the row back before the reply; a released name has no cache file and
 * needs no intent.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/failpoint.h"
#include "tier/ns_int.h"

struct removal {
	struct tier *t;
	const struct state_of *look;
	const char *path;    /* borrowed: of the name; NULL: a directory's */
	const char *payload; /* borrowed: the intent's; NULL: the cache has nothing */
	dirid_t times_of;    /* the directory whose times go with this commit; 0: none */
	int64_t trash;	     /* out */
	int64_t intent;	     /* out */
};

static int unlink_in_cache(struct tier *t, struct node *parent, const char *name, int flags)
{
	struct dirfd *d;
	int r;

	r = cache_dir(t->cache, parent, &d);
	if (r < 0)
		return r;
	r = unlinkat(dirfd_fd(d), name, flags) < 0 ? -errno : 0;
	cache_dir_put(t->cache, d);
	return r;
}

static int payload_of(struct tier *t, struct node *parent, const char *name, const struct stat *st,
		      char **ret)
{
	struct intent_name n;
	int r;

	r = intent_name_init(t, parent, name, st, &n);
	if (r < 0)
		return r;
	*ret = intent_remove_payload(&n);
	intent_name_fini(&n);
	return *ret ? 0 : -ENOMEM;
}

/* The commit is made: the cache name goes, or undo takes the commit back. */
static int remove_from_cache(struct removal *m, struct node *parent, const char *name,
			     int (*undo)(struct tx *tx, void *arg))
{
	struct tier *t = m->t;
	bool dir = m->look->is_dir;
	int r;

	r = unlink_in_cache(t, parent, name, dir ? AT_REMOVEDIR : 0);
	if (r < 0 && r != -ENOENT) {
		listing_note_gained(t, parent, name);
		if (catalogue_write(t->cat, SYNC_NORMAL, undo, m) < 0)
			log_error("cannot take back the removal of '%s': %s",
				  m->path ? m->path : name,
				  dir ? "the directory's row is gone" : "it is in the trash");
		return r;
	}
	r = dir ? failpoint(RMDIR_CACHE) : failpoint(UNLINK_CACHE);
	intents_settle(t->intents, m->intent, parent, NULL, NULL);
	return r;
}

/* ---- files ---------------------------------------------------------------- */

static int unlink_run(struct tx *tx, void *arg)
{
	struct removal *m = arg;
	enum trash_reason reason = m->look->state == STATE_CHANGED ? TRASH_UNSEEN : TRASH_REMOVED;
	struct file_row now;
	int r;

	r = tx_file_get(tx, m->look->row.dir, m->look->row.name, &now);
	if (r == 0)
		r = rows_to_trash(m->t, tx, &now, m->path, reason, EVENT_REMOVED, &m->trash);
	if (r == 0 && m->payload)
		r = tx_intent_put(tx, INTENT_UNLINK, m->payload, &m->intent);
	if (r == 0 && m->times_of)
		r = tx_user_times(tx, m->times_of);
	return r;
}

static int unlink_undo(struct tx *tx, void *arg)
{
	struct removal *m = arg;
	int r = rows_from_trash(m->t, tx, m->trash);

	return r < 0 ? r : tx_intent_delete(tx, m->intent);
}

static int unlink_with_row(struct tier *t, struct node *parent, const char *name,
			   const struct state_of *look, enum moved_by *ret_by)
{
	struct removal m = { .t = t, .look = look };
	char *path = NULL, *payload = NULL;
	int r;

	r = node_child_path(t->tree, parent, name, &path);
	if (r < 0)
		return r;
	if (look->has_cache) {
		r = payload_of(t, parent, name, &look->cache, &payload);
		if (r < 0)
			goto out;
	} else {
		m.times_of = user_times_in_row(t, parent);
	}
	*ret_by = look->has_cache ? MOVED_BY_CACHE : m.times_of ? MOVED_BY_COMMIT : MOVED_BY_NOBODY;
	m.path = path;
	m.payload = payload;
	listing_note_lost(t, parent, name);
	r = catalogue_write(t->cat, SYNC_NORMAL, unlink_run, &m);
	if (r == 0)
		r = failpoint(UNLINK_COMMIT);
	if (r < 0 || !look->has_cache)
		goto out;
	r = remove_from_cache(&m, parent, name, unlink_undo);
out:
	free(payload);
	free(path);
	return r;
}

static int unlink_claimed(struct tier *t, struct node *parent, const char *name, bool wait)
{
	enum moved_by by = MOVED_BY_CACHE;
	struct state_of look;
	int r;

	r = state_look(t, parent, name, &look);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	if (look.is_dir)
		return -EISDIR;
	if (!look.has_row)
		r = unlink_in_cache(t, parent, name, 0);
	else
		r = wait ? unlink_with_row(t, parent, name, &look, &by) : TIER_PARK;
	if (r == 0) {
		node_drop_name(t->tree, parent, name);
		user_action_done(t, parent, by);
		reaper_touch(t, parent);
	}
	return r;
}

/* With one left it is a plain file again, and may be archived. */
void ns_touch_left(struct tier *t, struct node *node)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;

	if (node_name(t->tree, node, &parent, name) < 0)
		return;
	reaper_touch(t, parent);
	node_put(t->tree, parent);
}

int ns_unlink(struct tier *t, struct node *parent, const char *name, bool wait)
{
	struct node *node;
	int r;

	r = node_get(t->tree, parent, name, false, &node);
	if (r < 0)
		return r;
	r = ns_claim(t, node, wait);
	if (r == 0) {
		r = unlink_claimed(t, parent, name, wait);
		if (r == 0)
			ns_touch_left(t, node);
		node_unclaim(t->tree, node);
	}
	node_put(t->tree, node);
	return r;
}

/* ---- directories ---------------------------------------------------------- */

static int rmdir_run(struct tx *tx, void *arg)
{
	struct removal *m = arg;
	int r;

	r = tx_dir_delete(tx, m->look->dir_row.id);
	if (r == 0 && m->payload)
		r = tx_intent_put(tx, INTENT_RMDIR, m->payload, &m->intent);
	if (r == 0 && m->times_of)
		r = tx_user_times(tx, m->times_of);
	return r;
}

static int rmdir_undo(struct tx *tx, void *arg)
{
	struct removal *m = arg;
	struct dir_row row = m->look->dir_row;
	int r = tx_dir_put(tx, &row);

	return r < 0 ? r : tx_intent_delete(tx, m->intent);
}

/* Ask before the row goes: taking it back is for the unexpected. */
static int cache_is_empty(struct tier *t, struct node *dir)
{
	struct dirfd *d;
	struct dirent *e;
	DIR *stream;
	int fd, n = 0, r;

	r = cache_dir(t->cache, dir, &d);
	if (r < 0)
		return r;
	fd = openat(dirfd_fd(d), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cache_dir_put(t->cache, d);
	stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (n < 3 && (e = readdir(stream)))
		n++;
	closedir(stream);
	return n > 2 ? -ENOTEMPTY : 0;
}

static int rmdir_with_row(struct tier *t, struct node *parent, const char *name, struct node *node,
			  const struct state_of *look, enum moved_by *ret_by)
{
	struct removal m = { .t = t, .look = look };
	char *payload = NULL;
	int r;

	if (look->has_cache) {
		r = cache_is_empty(t, node);
		if (r < 0)
			return r;
		r = payload_of(t, parent, name, &look->cache, &payload);
		if (r < 0)
			return r;
	} else {
		m.times_of = user_times_in_row(t, parent);
	}
	*ret_by = look->has_cache ? MOVED_BY_CACHE : m.times_of ? MOVED_BY_COMMIT : MOVED_BY_NOBODY;
	m.payload = payload;
	listing_note_lost(t, parent, name);
	r = catalogue_write(t->cat, SYNC_NORMAL, rmdir_run, &m);
	if (r == 0)
		r = failpoint(RMDIR_COMMIT);
	if (r < 0 || !look->has_cache)
		goto out;
	r = remove_from_cache(&m, parent, name, rmdir_undo);
out:
	free(payload);
	return r;
}

static int rmdir_claimed(struct tier *t, struct node *parent, const char *name, struct node *node,
			 bool wait)
{
	enum moved_by by = MOVED_BY_CACHE;
	struct state_of look;
	int r;

	r = state_look(t, parent, name, &look);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	if (!look.is_dir)
		return -ENOTDIR;
	if (!look.has_row)
		r = unlink_in_cache(t, parent, name, AT_REMOVEDIR);
	else if (!wait)
		return TIER_PARK;
	else if (cat_dir_is_empty(t->cat, look.dir_row.id) != 1)
		r = -ENOTEMPTY;
	else
		r = rmdir_with_row(t, parent, name, node, &look, &by);
	if (r == 0) {
		cache_dir_forget(t->cache, node);
		node_drop_name(t->tree, parent, name);
		user_action_done(t, parent, by);
		reaper_forget(t, node);
		reaper_touch(t, parent);
	}
	return r;
}

int ns_rmdir(struct tier *t, struct node *parent, const char *name, bool wait)
{
	struct node *node;
	int r;

	r = node_get(t->tree, parent, name, true, &node);
	if (r < 0)
		return r;
	r = ns_claim(t, node, wait);
	if (r == 0) {
		r = rmdir_claimed(t, parent, name, node, wait);
		node_unclaim(t->tree, node);
	}
	node_put(t->tree, node);
	return r;
}
