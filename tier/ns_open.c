/* SPDX-License-Identifier: MIT */
/*
 * Opening files.
 *
 * Always true: a read handle is counted before the cache is asked, so that release,
 * which looks at the count under the claim, either sees it or is waited for; a
 * write handle is counted under the claim, after the row has left.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/failpoint.h"
#include "tier/local.h"
#include "tier/ns_int.h"

struct leave {
	struct tier *t;
	const struct file_row *row;
	const char *path;
	enum trash_reason reason;
};

static int leave_run(struct tx *tx, void *arg)
{
	struct leave *l = arg;
	struct file_row now;
	int r;

	r = tx_file_get(tx, l->row->dir, l->row->name, &now);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return rows_to_trash(l->t, tx, &now, l->path, l->reason, EVENT_LOCAL, NULL);
}

/*
 * The row of a claimed file leaves for the trash and the cache file stays: it is
 * about to be written, truncated or linked.  Waits for the commit.
 */
static int row_leaves(struct tier *t, struct node *parent, const char *name,
		      const struct state_of *look, enum trash_reason reason)
{
	struct leave l = { .t = t, .row = &look->row };
	char *path;
	int r;

	if (!look->has_row)
		return 0;
	r = node_child_path(t->tree, parent, name, &path);
	if (r < 0)
		return r;
	l.path = path;
	l.reason = look->state == STATE_CHANGED ? TRASH_UNSEEN : reason;
	listing_note_lost(t, parent, name);
	r = catalogue_write(t->cat, SYNC_NORMAL, leave_run, &l);
	free(path);
	if (r == 0)
		r = failpoint(REWRITE_COMMIT);
	return r;
}

/*
 * The empty file that was to take a released one's place goes again: the row could not
 * leave, and whoever reads the name is to read what was archived.
 */
static void take_empty_back(struct tier *t, struct node *parent, const char *name,
			    const struct file_row *row)
{
	AUTO_CLOSE int fd = -1;
	struct file_row now;
	struct dirfd *d;
	struct stat st;

	if (cat_file_get(t->cat, row->dir, row->name, &now) < 0 || now.attempt != row->attempt ||
	    cache_dir(t->cache, parent, &d) < 0)
		return;
	fd = local_open(dirfd_fd(d), name, &st);
	if (fd >= 0 && st.st_size == 0 && st.st_nlink == 1 && cache_quiet(fd) == 0) {
		listing_note_release(t, parent, name);
		if (unlinkat(dirfd_fd(d), name, 0) < 0)
			log_error("cannot take back the truncation of '%s': %s", name,
				  strerror(errno));
	}
	cache_dir_put(t->cache, d);
}

int ns_make_local(struct tier *t, struct node *node, struct node *parent, const char *name,
		  const struct state_of *look, bool empty, enum trash_reason reason)
{
	bool released = look->state == STATE_RELEASED;
	int r;

	if (catalogue_is_readonly(t->cat))
		return -EROFS;
	if (released) {
		r = restore_claimed(t, node, &look->row, empty, false);
		if (r < 0)
			return r;
	}
	r = row_leaves(t, parent, name, look, reason);
	if (r < 0 && released && empty)
		take_empty_back(t, parent, name, &look->row);
	if (r == 0)
		reaper_touch(t, parent); /* whatever comes of what it was made local for */
	return r;
}

static int open_writing_claimed(struct tier *t, struct node *node, int flags, bool wait,
				int *ret_fd)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	struct state_of look;
	int fd, r;

	r = node_name(t->tree, node, &parent, name);
	if (r < 0)
		return r;
	r = state_look(t, parent, name, &look);
	if (r == 0 && look.state == STATE_NONE)
		r = -ENOENT;
	if (r == 0 && look.has_row)
		r = wait ? ns_make_local(t, node, parent, name, &look, flags & O_TRUNC,
					 TRASH_REPLACED)
			 : TIER_PARK;
	node_put(t->tree, parent);
	if (r != 0)
		return r;
	fd = cache_open_node(t->cache, node, O_RDWR | (flags & O_TRUNC));
	if (fd < 0)
		return fd;
	node_open_begin(t->tree, node, true, false);
	*ret_fd = fd;
	return 0;
}

static int open_writing(struct tier *t, struct node *node, int flags, bool wait, int *ret_fd)
{
	int r;

	r = ns_claim(t, node, wait);
	if (r != 0)
		return r;
	r = open_writing_claimed(t, node, flags, wait, ret_fd);
	node_unclaim(t->tree, node);
	return r;
}

/* Nothing in the cache: the row answers, unless it was restored just now. */
static int open_released(struct tier *t, struct node *node, bool wait, struct remote **ret)
{
	struct state_of look;
	int r;

	r = state_look_node(t, node, &look);
	if (r < 0)
		return r;
	if (look.state == STATE_NONE)
		return -ENOENT;
	if (look.has_cache)
		return -EAGAIN;
	if (t->conf->restore_on_read) {
		if (!wait)
			return TIER_PARK;
		r = restore_path(t, node);
		if (r == 0)
			return -EAGAIN;
		if (r != -ENOSPC)
			return r;
	}
	r = failpoint(READ_ROW);
	if (r < 0)
		return r;
	ahead_opened(t, node, &look.row);
	return remote_open(t, &look.row, ret);
}

static int open_reading(struct tier *t, struct node *node, bool wait, int *ret_fd,
			struct remote **ret_remote)
{
	int fd, r;

	do {
		fd = cache_open_node(t->cache, node, O_RDONLY);
		if (fd >= 0) {
			*ret_fd = fd;
			*ret_remote = NULL;
			return 0;
		}
		if (fd != -ENOENT)
			return fd;
		r = open_released(t, node, wait, ret_remote);
	} while (r == -EAGAIN);
	if (r == 0)
		*ret_fd = -1;
	return r;
}

int ns_open(struct tier *t, struct node *node, int flags, bool wait, int *ret_fd,
	    struct remote **ret_remote)
{
	int r;

	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) {
		r = open_writing(t, node, flags, wait, ret_fd);
		if (r == 0)
			*ret_remote = NULL;
		return r;
	}
	if (!node_open_begin(t->tree, node, false, wait))
		return TIER_PARK;
	r = open_reading(t, node, wait, ret_fd, ret_remote);
	if (r != 0)
		node_open_end(t->tree, node, false);
	return r;
}
