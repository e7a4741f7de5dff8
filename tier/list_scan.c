/* SPDX-License-Identifier: MIT */
/*
 * The second pass's source: the names of the cache directory, read in large pieces.
 *
 * A directory that fits one piece is read in one system call, during which the kernel
 * lets nobody change it.  Larger ones are read as the listing goes on; that a name
 * that stays is met exactly once, and one replaced in place too, is the cache file
 * system's promise (ext4 goes by the hash of the name).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tier/list_int.h"

void scan_init(struct scan *s)
{
	*s = (struct scan){ .fd = -1 };
	s->last = &s->first;
}

void scan_fini(struct scan *s)
{
	while (s->first) {
		struct scan_chunk *c = s->first;

		s->first = c->next;
		free(c);
	}
	if (s->fd >= 0)
		close(s->fd);
	scan_init(s);
}

/* A descriptor of our own: the position is the open file's.  -ENOENT: it is released. */
static int open_own(struct tier *t, struct node *dir)
{
	struct dirfd *d;
	int fd, r;

	r = cache_dir(t->cache, dir, &d);
	if (r < 0)
		return r;
	fd = openat(dirfd_fd(d), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : fd;
	cache_dir_put(t->cache, d);
	return r;
}

/* One more piece; sets eof.  Absent and removed directories are empty. */
static int scan_read(struct scan *s, struct tier *t, struct node *dir, size_t read_bytes)
{
	struct scan_chunk *c;
	ssize_t n;

	if (s->fd < 0) {
		int r = open_own(t, dir);

		if (r == -ENOENT)
			s->eof = true;
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		s->fd = r;
	}
	c = malloc(sizeof(*c) + read_bytes);
	if (!c)
		return -ENOMEM;
	n = getdents64(s->fd, c->bytes, read_bytes);
	if (n <= 0) {
		int r = n < 0 && errno != ENOENT ? -errno : 0;

		free(c);
		if (r == 0) {
			s->eof = true;
			close(s->fd);
			s->fd = -1;
		}
		return r;
	}
	/* most directories are smaller than a piece */
	if ((size_t)n < read_bytes / 2) {
		struct scan_chunk *smaller = realloc(c, sizeof(*c) + (size_t)n);

		c = smaller ? smaller : c;
	}
	c->len_bytes = (size_t)n;
	c->at = 0;
	c->next = NULL;
	*s->last = c;
	s->last = &c->next;
	return 0;
}

/* The next entry of what was read; NULL when all was looked at. */
static const struct dirent64 *scan_entry(struct scan *s)
{
	while (s->first) {
		struct scan_chunk *c = s->first;

		if (c->at < c->len_bytes) {
			const struct dirent64 *e = (const void *)(c->bytes + c->at);

			c->at += e->d_reclen;
			return e;
		}
		s->first = c->next;
		if (!s->first)
			s->last = &s->first;
		free(c);
	}
	return NULL;
}

int scan_next(struct scan *s, struct tier *t, struct node *dir, size_t read_bytes,
	      struct scan_name *ret)
{
	for (;;) {
		const struct dirent64 *e = scan_entry(s);
		int r;

		if (e) {
			size_t len = strlen(e->d_name);

			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			    len > ROW_NAME_MAX)
				continue;
			ret->type = DTTOIF(e->d_type);
			memcpy(ret->name, e->d_name, len + 1);
			return 1;
		}
		if (s->eof)
			return 0;
		r = scan_read(s, t, dir, read_bytes);
		if (r < 0)
			return r;
	}
}

int scan_drain(struct scan *s, struct tier *t, struct node *dir, size_t read_bytes)
{
	while (!s->eof) {
		int r = scan_read(s, t, dir, read_bytes);

		if (r < 0)
			return r;
	}
	return 0;
}
