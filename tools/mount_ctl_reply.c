/* SPDX-License-Identifier: MIT */
/* Lines of JSON to ebbctl, and what its request says. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/path.h"
#include "tier/state.h"
#include "tools/mount_ctl_int.h"

/* ---- objects ------------------------------------------------------------------------- */

void ctl_add_str(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

void ctl_add_int(struct json_object *o, const char *key, int64_t value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

void ctl_add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

void ctl_add_double(struct json_object *o, const char *key, double value)
{
	json_object_object_add(o, key, json_object_new_double(value));
}

/* ---- lines ----------------------------------------------------------------------------- */

static int send_all(int fd, const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Takes o. */
static void send_object(struct ctl_conn *c, struct json_object *o)
{
	const int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text;
	size_t len;

	text = json_object_to_json_string_length(o, flags, &len);
	if (!c->broken)
		c->broken = !text || send_all(c->fd, text, len) < 0 || send_all(c->fd, "\n", 1) < 0;
	json_object_put(o);
}

void ctl_line(struct ctl_conn *c, const char *what, struct json_object *o)
{
	struct json_object *line = json_object_new_object();

	json_object_object_add(line, what, o);
	send_object(c, line);
}

void ctl_failed(struct ctl_conn *c, const char *path, const char *reason)
{
	struct json_object *o = json_object_new_object();

	ctl_add_str(o, "path", path);
	ctl_add_str(o, "reason", reason);
	ctl_line(c, "failed", o);
}

void ctl_done(struct ctl_conn *c, int code)
{
	struct json_object *o = json_object_new_object();

	ctl_add_int(o, "done", code);
	if (c->error[0])
		ctl_add_str(o, "error", c->error);
	if (c->result)
		json_object_object_add(o, "result", json_object_get(c->result));
	send_object(c, o);
}

int ctl_error(struct ctl_conn *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
	va_end(ap);
	return 1;
}

bool ctl_gone(struct ctl_conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

	return c->broken || (poll(&p, 1, 0) > 0 && p.revents);
}

const char *ctl_reason(int r)
{
	switch (r) {
	case -ENOENT:
	case -ENOTDIR:
	case -EISDIR:
	case -EINVAL:
		return "there is no such file or directory";
	case -EROFS:
		return "the catalogue is read-only: see the daemon's log for the reason";
	case -ETIMEDOUT:
		return "the store does not answer";
	case -ENOSPC:
		return "there is no room for it";
	default:
		return strerror(-r);
	}
}

/* ---- requests ---------------------------------------------------------------------------- */

const char *ctl_arg_str(struct json_object *req, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(req, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	/* A name holds no NUL: "\u0000" in a request must not cut it short. */
	if (strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v))
		return NULL;
	return json_object_get_string(v);
}

int64_t ctl_arg_int(struct json_object *req, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(req, key, &v) ? json_object_get_int64(v) : 0;
}

bool ctl_arg_bool(struct json_object *req, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(req, key, &v) && json_object_get_boolean(v);
}

int ctl_paths_read(struct json_object *req, struct ctl_paths *ret)
{
	struct json_object *list = NULL;
	struct ctl_paths p = { .all = ctl_arg_bool(req, "all"),
			       .dry_run = ctl_arg_bool(req, "dry_run") };
	size_t n = 0;

	if (json_object_object_get_ex(req, "paths", &list) &&
	    json_object_is_type(list, json_type_array))
		n = json_object_array_length(list);
	if (n == 0 && !p.all)
		return -EINVAL;
	p.v = calloc(n + 1, sizeof(*p.v));
	if (!p.v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct json_object *v = json_object_array_get_idx(list, i);

		if (!json_object_is_type(v, json_type_string) ||
		    strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v)) {
			free(p.v);
			return -EINVAL;
		}
		p.v[p.n++] = json_object_get_string(v);
	}
	*ret = p;
	return 0;
}

void ctl_paths_fini(struct ctl_paths *p)
{
	free(p->v);
}

int ctl_look(struct tier *t, const char *path, struct state_of *ret)
{
	AUTO_FREE char *dir_path = path_dir(path);
	const char *name = path_name(path);
	struct tree *tree = tier_tree(t);
	struct node *dir, *node;
	int r;

	if (!dir_path)
		return -ENOMEM;
	if (!path[0])
		return state_look_node(t, tree_root(tree), ret);
	r = node_walk(tree, dir_path, true, &dir);
	if (r < 0)
		return r;
	r = state_look(t, dir, name, ret);
	if (r == 0 && ret->state == STATE_LOCAL && !ret->is_dir) {
		node = node_find(tree, dir, name);
		if (node && node_nwrite(tree, node) > 0)
			ret->state = STATE_WRITING;
		if (node)
			node_put(tree, node);
	}
	node_put(tree, dir);
	return r;
}
