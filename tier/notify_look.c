/* SPDX-License-Identifier: MIT */
/*
 * What an event says, looked up when it is sent.
 *
 *	archived	the row, its directory's path, its object's URL
 *	local, removed	whatever the name has now: another row, a local file, nothing
 *
 * Always true: what is superseded says nothing, as the event of what superseded it is queued.
 */
#include <errno.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/path.h"
#include "tier/notify_int.h"

/* The truth about a name that had a row: does it have one again, or a local file, or nothing? */
static int resolve_gone(struct tier *t, const struct event_row *ev, struct sink_item *item,
			char **path, char **url)
{
	struct state_of look;
	int r;

	r = state_look_path(t, ev->path, &look);
	if (path_is_gone(r))
		look.has_row = look.has_cache = false;
	else if (r < 0)
		return r;
	if (look.has_row)
		return 0; /* its own event tells */
	*path = strdup(ev->path);
	if (!*path)
		return -ENOMEM;
	item->kind = SINK_REMOVED;
	if (look.has_cache) {
		item->kind = SINK_LOCAL;
		r = object_local_url(t, *path, url);
		if (r < 0)
			return r;
	}
	item->path = *path;
	return 0;
}

static int resolve_archived(struct tier *t, const struct event_row *ev, struct sink_item *item,
			    char **path, char **url)
{
	AUTO_FREE char *dir = NULL;
	struct file_row row;
	int r;

	r = cat_file_get(t->cat, ev->dir, ev->name, &row);
	if (r == -ENOENT || (r == 0 && row.ino != ev->ino))
		return 0; /* removed or renamed since: another event is queued */
	if (r == 0)
		r = cat_dir_path(t->cat, ev->dir, &dir);
	if (r < 0)
		return r;
	*path = path_join(dir, ev->name);
	if (!*path)
		return -ENOMEM;
	r = object_url(t, &row, *path, url);
	if (r < 0)
		return r;
	item->kind = SINK_ARCHIVED;
	item->path = *path;
	return 0;
}

int notify_look_up(struct tier *t, const struct event_row *ev, struct sink_item *item, char **path,
		   char **url)
{
	int r;

	if (ev->kind == EVENT_ARCHIVED)
		r = resolve_archived(t, ev, item, path, url);
	else
		r = resolve_gone(t, ev, item, path, url);
	if (r < 0 || !item->path)
		return r;
	item->name = path_name(item->path);
	item->url = *url;
	item->verdict = SINK_RETRY;
	return 0;
}
