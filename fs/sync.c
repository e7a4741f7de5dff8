/* SPDX-License-Identifier: MIT */
/*
 * What waits for the cache's disk.
 *
 * Names are in two places.  The catalogue goes first: a rename's intent is there when
 * the cache's part of it is.  The store holds only what is durable.
 */
#include "fs/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs/open.h"
#include "tier/rows.h"

static int sync_bytes(struct fs *fs, struct node *node, bool data_only)
{
	struct bytes b = { 0 };
	int fd, r;

	r = opens_bytes(fs->opens, node, false, &b);
	if (r < 0)
		return r;
	fd = bytes_fd(&b);
	if (fd >= 0 && (data_only ? fdatasync(fd) : fsync(fd)) < 0)
		r = -errno;
	bytes_put(&b);
	return r;
}

/* Of a file without a name nothing is left to be found. */
static int sync_row(struct fs *fs, struct node *node)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	int r;

	if (node_name(fs->tree, node, &parent, name) < 0)
		return 0;
	r = rows_sync(fs->tier, parent);
	fs_put(fs, parent);
	return r;
}

/*
 * With its data alone, too: that its row left when it was opened is how it is known that these
 * are not the bytes that were archived, as its times on the disk may be the old ones.
 */
int sync_file(struct fs *fs, struct node *node, bool data_only)
{
	int r = sync_row(fs, node);

	return r < 0 ? r : sync_bytes(fs, node, data_only);
}

static int sync_cache_dir(struct fs *fs, struct node *dir)
{
	int r = cache_sync_dir(tier_cache(fs->tier), dir);

	return r == -ENOENT ? 0 : r;
}

int sync_dir(struct fs *fs, struct node *dir)
{
	int r = rows_sync(fs->tier, dir);

	return r < 0 ? r : sync_cache_dir(fs, dir);
}

/*
 * One directory is enough: the file systems a cache can be on keep the order of names
 * in their log, so that a name on disk has all directories above it there.
 */
int sync_close(struct fs *fs, struct node *node)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	int r;

	r = sync_file(fs, node, true);
	if (r < 0)
		return r;
	if (node_name(fs->tree, node, &parent, name) < 0)
		return 0; /* unlinked: there is no name to keep */
	r = sync_cache_dir(fs, parent);
	fs_put(fs, parent);
	return r;
}

int sync_fallocate(struct fs *fs, struct node *node, int mode, off_t off, off_t len)
{
	struct bytes b = { 0 };
	int r;

	r = opens_bytes(fs->opens, node, true, &b);
	if (r < 0)
		return r;
	if (fallocate(bytes_fd(&b), mode, off, len) < 0)
		r = -errno;
	bytes_put(&b);
	return r;
}

ssize_t sync_copy(struct fs *fs, struct node *in, off_t off_in, struct node *out, off_t off_out,
		  size_t len, unsigned flags)
{
	struct bytes from = { 0 }, to = { 0 };
	ssize_t n;

	n = opens_bytes(fs->opens, in, false, &from);
	if (n == 0 && from.remote)
		n = -EOPNOTSUPP;
	if (n == 0)
		n = opens_bytes(fs->opens, out, true, &to);
	if (n == 0) {
		n = copy_file_range(bytes_fd(&from), &off_in, bytes_fd(&to), &off_out, len, flags);
		if (n < 0)
			n = -errno;
	}
	bytes_put(&from);
	bytes_put(&to);
	return n;
}
