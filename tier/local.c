/* SPDX-License-Identifier: MIT */
/*
 * Looking at local files.  Nothing here decides; every doubt is an error, and who
 * asked leaves the file as it is.
 */
#include "tier/local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/path.h"
#include "tier/tier_int.h"

#define CHUNK_BYTES (1u << 20)

int local_open(int dfd, const char *name, struct stat *ret)
{
	/* O_NONBLOCK: neither a fifo put here meanwhile nor another's lease makes us wait */
	int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	AUTO_CLOSE int fd = -1;
	struct stat st;

	/* Opening a device may do something; asking first does not. */
	if (fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EPERM;
	fd = openat(dfd, name, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = openat(dfd, name, flags);
	if (fd < 0)
		return errno == ELOOP ? -EPERM : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EPERM;
	*ret = st;
	return TAKE_FD(fd);
}

static bool only_cache_holds(const char *xattr)
{
	return strncmp(xattr, "user.", 5) == 0 || strncmp(xattr, "system.posix_acl_", 17) == 0;
}

int local_plain_xattrs(int fd)
{
	AUTO_FREE char *names = NULL;
	ssize_t n;

	n = flistxattr(fd, NULL, 0);
	if (n == 0 || (n < 0 && errno == EOPNOTSUPP))
		return 0;
	if (n < 0)
		return -errno;
	names = malloc((size_t)n);
	if (!names)
		return -ENOMEM;
	n = flistxattr(fd, names, (size_t)n);
	if (n < 0)
		return -errno;
	for (const char *p = names; p < names + n; p += strlen(p) + 1)
		if (only_cache_holds(p))
			return -EPERM;
	return 0;
}

int local_plain(int fd, const struct stat *st)
{
	if (!S_ISREG(st->st_mode) || st->st_nlink != 1)
		return -EPERM;
	return local_plain_xattrs(fd);
}

int64_t local_settles_ms(struct tier *t, const struct stat *st)
{
	int64_t settle_ms = t->settle_ms ? t->settle_ms : LOCAL_SETTLE_MS;
	int64_t age_ms = (clock_real_ns() - ts_to_ns(st->st_ctim)) / 1000000;

	/* In the future is settled too: what is written now gets another time. */
	return age_ms >= settle_ms || age_ms <= -settle_ms ? 0 : settle_ms - age_ms;
}

int local_named(struct tier *t, struct node *node, struct node *dir, const char *name)
{
	char now[ROW_NAME_MAX + 1];
	struct node *parent;
	bool same;
	int r;

	r = node_name(t->tree, node, &parent, now);
	if (r < 0)
		return r;
	same = parent == dir && strcmp(now, name) == 0;
	node_put(t->tree, parent);
	return same ? 0 : -EAGAIN;
}

/*
 * Nothing of it is in the page cache.  RWF_NOWAIT alone cannot tell: it begins to read ahead
 * what is not there, and on a fast disk that has come before the answer.
 */
static bool is_cold(int fd, size_t len, off_t off)
{
	const struct {
		uint64_t off, len;
	} range = { (uint64_t)off, len };
	struct {
		uint64_t nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted;
	} has;

	/* cachestat(2), Linux 6.5; the number is that of all architectures */
	return syscall(451, fd, &range, &has, 0) == 0 && has.nr_cache == 0;
}

ssize_t local_read(int fd, void *buf, size_t len, off_t off)
{
	struct iovec all = { .iov_base = buf, .iov_len = len };
	ssize_t hot = is_cold(fd, len, off) ? 0 : preadv2(fd, &all, 1, off, RWF_NOWAIT), cold;

	if (hot < 0 && errno == EOPNOTSUPP) /* all of it is in memory, or nobody knows */
		return path_pread_full(fd, buf, len, off);
	if (hot < 0)
		hot = 0;
	if ((size_t)hot == len)
		return hot;
	cold = path_pread_full(fd, (char *)buf + hot, len - (size_t)hot, off + hot);
	if (cold > 0)
		posix_fadvise(fd, off + hot, cold, POSIX_FADV_DONTNEED);
	return cold < 0 ? cold : hot + cold;
}

int local_crc(int fd, uint64_t size, uint32_t *ret)
{
	size_t chunk = size < CHUNK_BYTES ? (size_t)size : CHUNK_BYTES;
	AUTO_FREE void *buf = malloc(chunk + 1);
	uint32_t crc = 0;

	if (!buf)
		return -ENOMEM;
	for (uint64_t off = 0; off < size;) {
		size_t len = size - off < chunk ? (size_t)(size - off) : chunk;
		ssize_t n = local_read(fd, buf, len, (off_t)off);

		if (n < 0)
			return (int)n;
		if ((size_t)n != len)
			return -EAGAIN;
		crc = crc32c(crc, buf, len);
		off += len;
	}
	*ret = crc;
	return 0;
}
