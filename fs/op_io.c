/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing what the kernel does not pass through.
 *
 * Local bytes are read and written here and now, on the file's own descriptor;
 * no splice: it costs every small request a system call more and helps only where
 * passthrough helps better.  Bytes in the store are read without a thread: the
 * callback replies.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/attr.h"
#include "fs/fs_fuse.h"
#include "lib/path.h"

/* ---- from the store ----------------------------------------------------------- */

struct remote_call {
	struct fs *fs; /* borrowed */
	fuse_req_t req;
	struct bytes from; /* counted */
	int ring;
};

static void remote_done(void *arg, const void *bytes, int64_t n)
{
	struct remote_call *c = arg;
	struct fs *fs = c->fs;
	int ring = c->ring;

	if (n < 0)
		reply_result(c->req, (int)n);
	else
		fuse_reply_buf(c->req, bytes, (size_t)n);
	bytes_put(&c->from);
	free(c);
	park_leave_store(fs, ring);
}

static void remote_now(void *arg, const void *bytes, int64_t n)
{
	fuse_reply_buf(arg, bytes, (size_t)n);
}

/* Takes from over. */
static void read_remote(struct fs *fs, fuse_req_t req, struct bytes *from, size_t size, off_t off)
{
	struct remote_call *c;
	int ring;

	/* Who need not wait for the store is not refused because too many do. */
	if (remote_read_now(from->remote, (uint64_t)off, size, remote_now, req)) {
		bytes_put(from);
		return;
	}
	ring = park_enter_store(fs);
	if (ring < 0) {
		reply_result(req, ring);
		bytes_put(from);
		return;
	}
	c = malloc(sizeof(*c));
	if (!c) {
		fuse_reply_err(req, ENOMEM);
		bytes_put(from);
		park_leave_store(fs, ring);
		return;
	}
	c->fs = fs;
	c->req = req;
	c->from = *from;
	c->ring = ring;
	remote_read(from->remote, (uint64_t)off, size, remote_done, c);
}

/* ---- from the cache ------------------------------------------------------------ */

static void read_local(fuse_req_t req, int fd, size_t size, off_t off)
{
	char *buf = malloc(size);
	ssize_t n;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	n = path_pread_full(fd, buf, size, off);
	if (n < 0)
		reply_result(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

static bool io_in_range(size_t size, off_t off)
{
	return size > 0 && size <= 16u << 20 && off >= 0;
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	struct bytes from = { 0 };
	int r;

	(void)fi;
	if (!node)
		return;
	r = io_in_range(size, off) ? opens_bytes(fs->opens, node, false, &from) : -EINVAL;
	if (r == 0 && from.fd)
		opens_pages_mixed(fs->opens,
				  node); /* readahead(2) of what is passed through, too */
	fs_put(fs, node);
	if (r < 0) {
		reply_result(req, r);
	} else if (from.remote) {
		read_remote(fs, req, &from, size, off);
	} else {
		read_local(req, bytes_fd(&from), size, off);
		bytes_put(&from);
	}
}

/* Bytes written, or -errno when there are none. */
static ssize_t write_local(int fd, const char *buf, size_t size, off_t off, bool kill_suidgid)
{
	ssize_t done = 0, n;
	int r;

	if (kill_suidgid) {
		r = fs_kill_suidgid(fd);
		if (r < 0)
			return r;
	}
	while ((size_t)done < size) {
		n = pwrite(fd, buf + done, size - (size_t)done, off + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done > 0 ? done : -errno;
		done += n;
	}
	return done;
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	struct bytes to = { 0 };
	ssize_t n;

	if (!node)
		return;
	n = io_in_range(size, off) ? opens_bytes(fs->opens, node, true, &to) : -EINVAL;
	fs_put(fs, node);
	if (n == 0)
		n = write_local(bytes_fd(&to), buf, size, off, fi->kill_suidgid);
	bytes_put(&to);
	if (n < 0)
		reply_result(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

/* Bytes in the store have no holes but the one at the end. */
static off_t seek_remote(struct remote *remote, off_t off, int whence)
{
	off_t size = (off_t)remote_size(remote);

	if (off < 0 || off >= size)
		return -ENXIO;
	return whence == SEEK_HOLE ? size : off;
}

static off_t seek_local(int fd, off_t off, int whence)
{
	/* The descriptor's own position is nobody's. */
	off_t at = lseek(fd, off, whence);

	return at < 0 ? -errno : at;
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	struct bytes in = { 0 };
	off_t at;

	(void)fi;
	if (!node)
		return;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		at = -EINVAL;
	else
		at = opens_bytes(fs->opens, node, false, &in);
	fs_put(fs, node);
	if (at == 0)
		at = in.remote ? seek_remote(in.remote, off, whence)
			       : seek_local(bytes_fd(&in), off, whence);
	bytes_put(&in);
	if (at < 0)
		reply_result(req, (int)at);
	else
		fuse_reply_lseek(req, at);
}
