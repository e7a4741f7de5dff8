/* SPDX-License-Identifier: MIT */
/* state and locate: what names stand for now, and where their bytes are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/path.h"
#include "tier/object.h"
#include "tier/reaper.h"
#include "tier/state.h"
#include "tools/mount_ctl_int.h"

#define LOCATE_MAX 10000 /* rows of one name: "index.json" in each of many directories */

static bool in_store(const struct state_of *look)
{
	return look->state == STATE_ARCHIVED || look->state == STATE_RELEASED;
}

static int url_of(struct tier *t, const struct state_of *look, const char *path, char **ret)
{
	return in_store(look) && !look->is_dir ? object_url(t, &look->row, path, ret)
					       : object_local_url(t, path, ret);
}

static const char *type_word(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	default:
		return "other";
	}
}

/* ---- state -------------------------------------------------------------------------------- */

static int add_object(struct tier *t, const struct file_row *row, struct json_object *o)
{
	AUTO_FREE char *key = NULL;
	char crc[16];
	int r = object_key(t, row, 0, &key);

	if (r < 0)
		return r;
	snprintf(crc, sizeof(crc), "%08x", row->crc32c);
	ctl_add_str(o, "crc32c", crc);
	ctl_add_str(o, "object", key);
	ctl_add_int(o, "parts", object_count(row));
	return 0;
}

static int state_item(struct tier *t, const char *path, const struct state_of *look,
		      struct json_object *o)
{
	AUTO_FREE char *url = NULL;
	int r;

	ctl_add_str(o, "state", state_word(look->state));
	ctl_add_str(o, "type", type_word(look->shown.st_mode));
	ctl_add_int(o, "size", look->is_dir ? 0 : (int64_t)look->shown.st_size);
	ctl_add_int(o, "mtime", look->shown.st_mtim.tv_sec);
	if (look->shown.st_ino)
		ctl_add_int(o, "ino", (int64_t)look->shown.st_ino);
	else
		json_object_object_add(o, "ino", NULL);
	if (in_store(look) && !look->is_dir) {
		r = add_object(t, &look->row, o);
		if (r < 0)
			return r;
	} else {
		ctl_add_str(o, "crc32c", NULL);
		ctl_add_str(o, "object", NULL);
	}
	if (look->is_dir) {
		ctl_add_str(o, "url", NULL);
		return 0;
	}
	r = url_of(t, look, path, &url);
	ctl_add_str(o, "url", r == 0 ? url : NULL);
	return r;
}

/* Without a row a number is given when the kernel asks, and forgotten when it forgets: 0 now. */
static void show_ino(struct tier *t, const char *path, struct state_of *look)
{
	struct node *node;

	if (look->has_row || !path[0] || node_walk(tier_tree(t), path, look->is_dir, &node) < 0)
		return;
	look->shown.st_ino = node_ino(node);
	node_put(tier_tree(t), node);
}

static int state_one(struct ctl_conn *c, const char *path, size_t i)
{
	struct json_object *o;
	struct state_of look;
	int r = ctl_look(c->t, path, &look);

	if (r == 0 && look.state == STATE_NONE)
		r = -ENOENT;
	o = json_object_new_object();
	ctl_add_int(o, "i", (int64_t)i);
	ctl_add_str(o, "path", path);
	if (r == 0) {
		show_ino(c->t, path, &look);
		r = state_item(c->t, path, &look, o);
	}
	if (r < 0)
		ctl_add_str(o, "reason", ctl_reason(r));
	ctl_line(c, r < 0 ? "failed" : "item", o);
	return r < 0;
}

int ctl_op_state(struct ctl_conn *c, struct json_object *req)
{
	struct ctl_paths paths;
	int code = 0;

	if (ctl_paths_read(req, &paths) < 0)
		return ctl_error(c, "the request has no paths");
	for (size_t i = 0; i < paths.n && !ctl_gone(c); i++)
		code |= state_one(c, paths.v[i], i);
	ctl_paths_fini(&paths);
	return code;
}

/* ---- locate --------------------------------------------------------------------------------- */

struct locate {
	struct ctl_conn *c;
	char **paths; /* owned, with their strings: told already */
	size_t n, room;
	int r; /* the first error */
};

static bool told(struct locate *l, const char *path)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->paths[i], path) == 0)
			return true;
	return false;
}

static int remember(struct locate *l, const char *path)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 16;
		char **more = realloc(l->paths, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->paths = more;
		l->room = room;
	}
	l->paths[l->n] = strdup(path);
	return l->paths[l->n++] ? 0 : -ENOMEM;
}

/* What was found says where to look: the state is asked now. */
static int tell(struct locate *l, const char *path)
{
	struct tier *t = l->c->t;
	AUTO_FREE char *url = NULL;
	struct json_object *o;
	struct state_of look;
	int r;

	r = ctl_look(t, path, &look);
	if (r == -ENOENT || r == -ENOTDIR || r == -EISDIR ||
	    (r == 0 && (look.state == STATE_NONE || look.is_dir)))
		return 0;
	if (r == 0)
		r = url_of(t, &look, path, &url);
	if (r == 0)
		r = remember(l, path);
	if (r < 0)
		return r;
	o = json_object_new_object();
	ctl_add_str(o, "state", state_word(look.state));
	ctl_add_str(o, "path", path);
	ctl_add_str(o, "url", url);
	ctl_add_int(o, "size", (int64_t)look.shown.st_size);
	ctl_line(l->c, "item", o);
	return 0;
}

static void each_local(void *arg, const char *path)
{
	struct locate *l = arg;

	if (l->r == 0 && !told(l, path))
		l->r = tell(l, path);
}

static int tell_row(struct locate *l, const struct file_row *row)
{
	AUTO_FREE char *dir = NULL;
	AUTO_FREE char *path = NULL;
	int r = cat_dir_path(tier_catalogue(l->c->t), row->dir, &dir);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	path = path_join(dir, row->name);
	return path ? tell(l, path) : -ENOMEM;
}

static int locate_rows(struct locate *l, const char *name)
{
	int max = 64, n;

	for (;;) {
		AUTO_FREE struct file_row *rows = calloc((size_t)max, sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		n = cat_find_name(tier_catalogue(l->c->t), name, rows, max);
		if (n == max && max < LOCATE_MAX) {
			max = LOCATE_MAX;
			continue;
		}
		for (int i = 0; i < n && l->r == 0; i++)
			l->r = tell_row(l, &rows[i]);
		return n < 0 ? n : l->r;
	}
}

int ctl_op_locate(struct ctl_conn *c, struct json_object *req)
{
	const char *name = ctl_arg_str(req, "name");
	struct locate l = { .c = c };
	bool scanning;
	size_t n;
	int r;

	if (!name || !name[0] || strchr(name, '/'))
		return ctl_error(c, "a file name without a slash is needed");
	scanning = reaper_scanning(c->t); /* before looking: it may end meanwhile */
	r = locate_rows(&l, name);
	if (r == 0)
		r = reaper_find_local(c->t, name, each_local, &l);
	if (r >= 0)
		r = l.r;
	n = l.n;
	for (size_t i = 0; i < l.n; i++)
		free(l.paths[i]);
	free(l.paths);
	if (r < 0)
		return ctl_error(c, "cannot look the name up: %s", ctl_reason(r));
	if (n == 0 && scanning)
		return ctl_error(c, "there is no file of this name that is known: the cache is "
				    "still being looked through; try again later");
	if (n == 0)
		return ctl_error(c, "there is no file of this name");
	if (n >= LOCATE_MAX)
		ctl_error(c, "there are more than %d; these are the first", LOCATE_MAX);
	return 0;
}
