/* SPDX-License-Identifier: MIT */
/* Talking to the daemon. */
#include "tools/ctl_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "tools/ctl.h"
#include "tools/ctl_proto.h"

/* A descriptor, or -errno; a killed daemon's socket, or its absence. */
static int try_connect(const struct ctl_mount *m)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ctl_socket_path(m->dev, addr.sun_path, sizeof(addr.sun_path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static bool means_dead(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED;
}

bool ctl_daemon_runs(const struct ctl_mount *m)
{
	int fd = try_connect(m);

	if (fd >= 0)
		close(fd);
	return !means_dead(fd);
}

/* A descriptor, or -1 after a message. */
static int connect_to(const struct ctl_mount *m)
{
	int fd = try_connect(m);

	if (fd >= 0)
		return fd;
	if (fd == -EACCES)
		ctl_complain("cannot reach the daemon of '%s': only root may give commands",
			     m->path);
	else if (means_dead(fd))
		ctl_complain("cannot reach the daemon of '%s': it does not run; umount -l %s, and "
			     "start ebbfs again",
			     m->path, m->path);
	else
		ctl_complain("cannot reach the daemon of '%s': %s", m->path, strerror(-fd));
	return -1;
}

static int send_all(int fd, const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_request(int fd, struct json_object *request)
{
	const int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
	size_t len;
	const char *text = json_object_to_json_string_length(request, flags, &len);
	int r;

	if (!text || len + 1 >= CTL_LINE_MAX)
		return -E2BIG;
	r = send_all(fd, text, len);
	return r < 0 ? r : send_all(fd, "\n", 1);
}

struct reply {
	const struct ctl_events *on; /* borrowed; may be NULL */
	int code;		     /* -1: the last line has not come */
	struct json_object *result;
	char *error;
};

static void take_line(struct reply *p, struct json_object *line)
{
	static const struct ctl_events nothing;
	const struct ctl_events *on = p->on ? p->on : &nothing;
	struct json_object *o;

	if (on->item && (o = ctl_member(line, "item")))
		on->item(on->arg, o);
	if (on->failed && (o = ctl_member(line, "failed")))
		on->failed(on->arg, o);
	if (on->progress && (o = ctl_member(line, "progress")))
		on->progress(on->arg, o);
	if (!(o = ctl_member(line, "done")))
		return;
	p->code = json_object_get_int(o);
	if (ctl_str(line, "error"))
		p->error = strdup(ctl_str(line, "error"));
	if ((o = ctl_member(line, "result")))
		p->result = json_object_get(o);
}

static void read_reply(FILE *f, struct reply *p)
{
	AUTO_FREE char *text = NULL;
	size_t room = 0;

	while (p->code < 0 && getline(&text, &room, f) > 0) {
		struct json_object *line = json_tokener_parse(text);

		if (line)
			take_line(p, line);
		json_object_put(line);
	}
}

static int converse(const struct ctl_mount *m, int fd, struct json_object *request, struct reply *p)
{
	int r = send_request(fd, request);
	FILE *f;

	if (r == -E2BIG) {
		close(fd);
		return ctl_complain("too many paths for one command: give fewer, or a directory");
	}
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return ctl_complain("out of memory");
	}
	/* Also when sending failed: the daemon may have said why before it closed. */
	read_reply(f, p);
	fclose(f);
	if (p->code >= 0)
		return p->code;
	ctl_complain("the daemon of '%s' ended before it had answered; see its log, and start "
		     "ebbfs again",
		     m->path);
	return CTL_NO_DAEMON;
}

int ctl_call(const struct ctl_mount *m, struct json_object *request, const struct ctl_events *on,
	     struct json_object **ret_result, char **ret_error)
{
	struct reply p = { .on = on, .code = -1 };
	int fd = connect_to(m);
	int code = fd < 0 ? CTL_NO_DAEMON : converse(m, fd, request, &p);

	json_object_put(request);
	if (ret_result)
		*ret_result = TAKE_PTR(p.result);
	if (ret_error)
		*ret_error = TAKE_PTR(p.error);
	json_object_put(p.result);
	free(p.error);
	return code;
}

struct json_object *ctl_request(const char *op)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "op", json_object_new_string(op));
	return o;
}

int ctl_add_paths(struct json_object *request, const struct ctl_mount *m, char *const *v, int n,
		  int **ret_from)
{
	struct json_object *list = json_object_new_array();
	int *from = calloc((size_t)n + 1, sizeof(*from));
	int code = CTL_OK, kept = 0;

	json_object_object_add(request, "paths", list);
	if (!from)
		return ctl_complain("out of memory");
	for (int i = 0; i < n; i++) {
		AUTO_FREE char *rel = ctl_mount_relative(m, v[i]);

		if (rel) {
			json_object_array_add(list, json_object_new_string(rel));
			from[kept++] = i;
		} else {
			code = CTL_FAILED;
		}
	}
	if (ret_from)
		*ret_from = from;
	else
		free(from);
	return code;
}
