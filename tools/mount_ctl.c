/* SPDX-License-Identifier: MIT */
/*
 * The socket of one mount, and its connections.
 *
 *	accepted --peer is root or us--> a job of the pool: read, do, reply --> closed
 *	       \--CTL_MAX run already--> told so, closed
 *
 * Always true: a connection is in the list from accept to close, so that stopping
 * finds and wakes all of them; the pool's threads are joined before the server goes.
 * Sockets are made and removed by who holds CTL_RUN_LOCK: a device's number is another
 * mount's as soon as ours is gone, and so is the socket's path.
 */
#include "tools/mount_ctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/lock.h"
#include "lib/log.h"
#include "tools/ctl_proto.h"
#include "tools/mount_ctl_int.h"

#define CTL_MAX 16
#define REQUEST_S 10 /* how long a request may take to come */
#define REPLY_S 30   /* how long a client may take to read a line */
#define DEAD_AFTER_S 60
#define LOCK_MS 5000
#define CTL_RUN_LOCK CTL_RUN_DIR "/lock" /* flock(2), for as long as it takes */

struct ctl_server {
	/* Constant after start. */
	struct tier *t;		/* borrowed */
	struct fs *fs;		/* borrowed */
	const char *mountpoint; /* borrowed */
	struct pool *pool;	/* owned */
	pthread_t thread;
	bool started;
	int fd;	     /* owned, listens */
	int stop_fd; /* owned: an eventfd that ends the thread */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	ino_t path_ino;	  /* of the socket we made there */
	struct lock lock; /* protects what follows */
	struct ctl_conn *conns;
	unsigned n;
};

static const struct {
	const char *name;
	int (*run)(struct ctl_conn *c, struct json_object *req);
} ops[] = {
	{ "status", ctl_op_status },
	{ "state", ctl_op_state },
	{ "locate", ctl_op_locate },
	{ "archive", ctl_op_archive },
	{ "release", ctl_op_release },
	{ "restore", ctl_op_restore },
	{ "drain", ctl_op_drain },
	{ "verify", ctl_op_verify },
	{ "lost", ctl_op_lost },
	{ "trash-list", ctl_op_trash_list },
	{ "trash-restore", ctl_op_trash_restore },
	{ "trash-empty", ctl_op_trash_empty },
};

/* ---- one connection ----------------------------------------------------------------- */

/* A line, without its end; heap.  -EPIPE: none came; -E2BIG. */
static int read_line(int fd, char **ret)
{
	size_t have = 0, room = 4096;
	AUTO_FREE char *buf = malloc(room);

	while (buf) {
		ssize_t n = recv(fd, buf + have, room - have - 1, 0);
		char *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		have += (size_t)n;
		buf[have] = '\0';
		end = memchr(buf + have - n, '\n', (size_t)n);
		if (end) {
			*end = '\0';
			*ret = TAKE_PTR(buf);
			return 0;
		}
		if (have + 1 == room) {
			if (room >= CTL_LINE_MAX)
				return -E2BIG;
			char *more = realloc(buf, room * 2);

			if (!more)
				return -ENOMEM;
			buf = more;
			room *= 2;
		}
	}
	return -ENOMEM;
}

static int answer(struct ctl_conn *c, const char *line)
{
	struct json_object *req = json_tokener_parse(line);
	const char *op = req ? ctl_arg_str(req, "op") : NULL;
	int code = -1;

	for (size_t i = 0; op && i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(op, ops[i].name) == 0)
			code = ops[i].run(c, req);
	if (code < 0)
		code = ctl_error(c, "this daemon does not know '%s': is ebbctl newer than ebbfs?",
				 op ? op : "");
	json_object_put(req);
	return code;
}

static void conn_free(struct ctl_conn *c)
{
	json_object_put(c->result);
	close(c->fd);
	free(c);
}

static void conn_run(struct job *job)
{
	struct ctl_conn *c = (struct ctl_conn *)job;
	struct ctl_server *s = c->server;
	AUTO_FREE char *line = NULL;
	int r = read_line(c->fd, &line);

	if (r == 0)
		ctl_done(c, answer(c, line));
	else if (r != -EPIPE)
		ctl_done(c, ctl_error(c, "the request is too long: give fewer paths"));
	lock_take(&s->lock);
	for (struct ctl_conn **at = &s->conns; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	s->n--;
	lock_drop(&s->lock);
	conn_free(c);
}

/* ---- accepting ------------------------------------------------------------------------ */

static bool peer_is_ours(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	log_warning("cannot serve a command of user %u: only root may give commands", cred.uid);
	return false;
}

static struct ctl_conn *conn_new(struct ctl_server *s, int fd)
{
	struct timeval in = { .tv_sec = REQUEST_S }, out = { .tv_sec = REPLY_S };
	struct ctl_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &in, sizeof(in));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &out, sizeof(out));
	c->job.run = conn_run;
	c->server = s;
	c->t = s->t;
	c->fs = s->fs;
	c->mountpoint = s->mountpoint;
	c->fd = fd;
	return c;
}

static void take(struct ctl_server *s, int fd)
{
	struct ctl_conn *c = peer_is_ours(fd) ? conn_new(s, fd) : NULL;
	bool full;

	if (!c) {
		close(fd);
		return;
	}
	lock_take(&s->lock);
	full = s->n >= CTL_MAX;
	if (!full) {
		s->n++;
		c->next = s->conns;
		s->conns = c;
	}
	lock_drop(&s->lock);
	if (!full) {
		pool_submit(s->pool, &c->job);
		return;
	}
	ctl_done(c, ctl_error(c, "%d commands are running already: try again later", CTL_MAX));
	conn_free(c);
}

static void *server_main(void *arg)
{
	struct ctl_server *s = arg;
	struct pollfd p[2] = { { .fd = s->fd, .events = POLLIN },
			       { .fd = s->stop_fd, .events = POLLIN } };
	int fd;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR) {
			log_error("cannot wait for commands: %s", strerror(errno));
			return NULL;
		}
		if (p[1].revents)
			return NULL;
		if (!(p[0].revents & POLLIN))
			continue;
		fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			take(s, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			poll(&p[1], 1, 100); /* do not spin while there is none to give */
	}
}

/* ---- start and stop -------------------------------------------------------------------- */

/*
 * A descriptor that holds the lock until it is closed.  -EWOULDBLOCK: whoever has it, for a
 * millisecond at most, was stopped meanwhile.
 */
static int run_dir_lock(void)
{
	AUTO_CLOSE int fd = open(CTL_RUN_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int64_t until = clock_mono_ms() + LOCK_MS;

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EINTR && (errno != EWOULDBLOCK || clock_mono_ms() >= until))
			return -errno;
		poll(NULL, 0, 1);
	}
	return TAKE_FD(fd);
}

static bool is_refused(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 &&
	       errno == ECONNREFUSED;
}

/* Of killed daemons whose mounts had other devices.  A young one may be about to listen. */
static void remove_dead_sockets(void)
{
	AUTO_CLOSEDIR DIR *dir = opendir(CTL_RUN_DIR);
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir))) {
		int n = snprintf(path, sizeof(path), CTL_RUN_DIR "/%s", e->d_name);

		if (n > 0 && (size_t)n < sizeof(path) && lstat(path, &st) == 0 &&
		    S_ISSOCK(st.st_mode) && time(NULL) - st.st_mtim.tv_sec > DEAD_AFTER_S &&
		    is_refused(path))
			unlink(path);
	}
}

static int listen_at(struct ctl_server *s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int lock = -1;
	struct stat st;

	if (mkdir(CTL_RUN_DIR, 0755) < 0 && errno != EEXIST)
		return -errno;
	lock = run_dir_lock();
	if (lock < 0)
		return lock;
	remove_dead_sockets();
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	memcpy(addr.sun_path, s->path, sizeof(addr.sun_path));
	/* The socket's own mode is what bind gives the file: no umask, no moment of being open. */
	if (fchmod(s->fd, 0600) < 0 || (unlink(s->path) < 0 && errno != ENOENT) ||
	    bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(s->path, 0600) < 0 ||
	    stat(s->path, &st) < 0 || listen(s->fd, CTL_MAX) < 0)
		return -errno;
	s->path_ino = st.st_ino;
	return 0;
}

static int start(struct ctl_server *s)
{
	int r = listen_at(s);

	if (r < 0)
		return r;
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (s->stop_fd < 0)
		return -errno;
	r = pool_new("command", CTL_MAX, &s->pool);
	if (r < 0)
		return r;
	r = -pthread_create(&s->thread, NULL, server_main, s);
	s->started = r == 0;
	return r;
}

int ctl_server_start(struct tier *t, struct fs *fs, dev_t mount_dev, const char *mountpoint,
		     struct ctl_server **ret)
{
	struct ctl_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->t = t;
	s->fs = fs;
	s->mountpoint = mountpoint;
	s->fd = s->stop_fd = -1;
	lock_init(&s->lock, LOCK_RANK_LEAF, "commands");
	ctl_socket_path(mount_dev, s->path, sizeof(s->path));
	r = start(s);
	if (r < 0)
		ctl_server_stop(s);
	else
		*ret = s;
	return r;
}

static void cancel_all(struct ctl_server *s)
{
	lock_take(&s->lock);
	for (struct ctl_conn *c = s->conns; c; c = c->next)
		shutdown(c->fd, SHUT_RDWR); /* ctl_gone() sees it */
	lock_drop(&s->lock);
}

/* It is ours while its inode is: that has no other while we listen. */
static void remove_own_socket(const struct ctl_server *s)
{
	AUTO_CLOSE int lock = run_dir_lock();
	struct stat st;

	if (lock >= 0 && stat(s->path, &st) == 0 && st.st_ino == s->path_ino)
		unlink(s->path);
}

void ctl_server_stop(struct ctl_server *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	if (s->started) {
		while (write(s->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		pthread_join(s->thread, NULL);
	}
	if (s->path_ino)
		remove_own_socket(s);
	cancel_all(s);
	pool_free(s->pool);
	if (s->fd >= 0)
		close(s->fd);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	lock_fini(&s->lock);
	free(s);
}
