/* SPDX-License-Identifier: MIT */
/*
 * One object of a dir store: a file, its attributes in user.ebb.* xattrs.
 *
 * put:    temporary file -> bytes -> attributes -> fsync -> link -> fsync upwards.
 *         The link is the moment the object exists, whole, and it is exclusive.
 * verify: reads what the disk holds (O_DIRECT), not what memory remembers.
 * drop:   whoever removes an object holds its flock(2), and looks under it whether
 *         the name still leads to that file.  As puts never replace a name, what is
 *         unlinked is what was compared, also when another process uses the store.
 *
 * Symlinks are never followed; what lies at a key and is no regular file is no object.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backend/store_dir.h"
#include "lib/cleanup.h"
#include "lib/crc.h"
#include "lib/log.h"
#include "lib/path.h"

#define READ_BYTES (1U << 20)
#define ALIGN_BYTES 4096
#define PRUNED_TRIES 1000    /* how often drops may remove the directory under a put's feet */
#define PATH_ATTR_LEAST 1024 /* a longer path may be left out where xattrs have no room */
/*
 * What is left free for store_attrs.even_full: a hundredth of the disk.  Not more than anybody
 * needs; and not less than what may have to be written when the disk is found full, the
 * journal of what was put just before, and of what is removed then, or a small disk could
 * never be emptied.
 */
#define LEFT_PARTS 100
#define LEFT_MOST_BYTES (1ULL << 30)
#define LEFT_LEAST_BYTES (16ULL << 20)
#define LEFT_LEAST_PARTS 8 /* of the least: not all of a disk that is smaller still */
#define LEFT_MOST_INODES 100000

/* A regular file at a key.  A descriptor or -errno; -ENOENT for anything else. */
static int object_open(int dirfd, const char *key, int flags, struct stat *st)
{
	int fd = path_open(dirfd, key, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags, 0);

	/* ENXIO: a socket, or a fifo; none of these are objects. */
	if (fd == -ENOTDIR || fd == -EISDIR || fd == -ENAMETOOLONG || fd == -ENXIO)
		return -ENOENT;
	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

/* "" when there is none: then the object is somebody else's. */
static int read_attempt(int fd, char ret[STORE_ATTEMPT_MAX])
{
	ssize_t n = fgetxattr(fd, XATTR_ATTEMPT, ret, STORE_ATTEMPT_MAX - 1);

	if (n < 0 && errno != ENODATA && errno != ERANGE && errno != EOPNOTSUPP)
		return -errno;
	ret[n < 0 ? 0 : n] = '\0';
	return 0;
}

/* What was written beside the object, into ret. */
static int read_attrs(int fd, struct store_stat *ret)
{
	char text[16];
	ssize_t n = fgetxattr(fd, XATTR_CRC32C, text, sizeof(text));

	if (n < 0 && errno != ENODATA && errno != ERANGE && errno != EOPNOTSUPP)
		return -errno;
	ret->written_crc32c = 0;
	ret->has_written = n > 0 && store_parse_crc32c(text, (size_t)n, &ret->written_crc32c);
	return read_attempt(fd, ret->attempt);
}

static int set_text(int fd, const char *name, const char *value)
{
	return fsetxattr(fd, name, value, strlen(value), 0) < 0 ? -errno : 0;
}

static int write_attrs(int fd, size_t len_bytes, const struct store_attrs *attrs)
{
	char number[24];
	int r;

	r = set_text(fd, XATTR_ATTEMPT, attrs->attempt);
	if (r < 0)
		return r;
	snprintf(number, sizeof(number), "%08x", attrs->crc32c);
	r = set_text(fd, XATTR_CRC32C, number);
	if (r < 0)
		return r;
	snprintf(number, sizeof(number), "%zu", len_bytes);
	r = set_text(fd, XATTR_SIZE, number);
	if (r < 0 || !attrs->path)
		return r;
	/* ext4 has 4 KiB for all of them: a very long path, which is only for people, may not fit. */
	r = set_text(fd, XATTR_PATH, attrs->path);
	if (r < 0 && strlen(attrs->path) >= PATH_ATTR_LEAST)
		return 0;
	return r;
}

static int link_temp(struct dir *d, int fd, const char *temp, int parent, const char *name)
{
	char proc[40];
	struct stat st;
	int r;

	if (*temp) {
		r = linkat(d->tmp, temp, parent, name, 0);
	} else {
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
		r = linkat(AT_FDCWD, proc, parent, name, AT_SYMLINK_FOLLOW);
	}
	if (r == 0)
		return 0;
	r = -errno;
	if (r == -EEXIST && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode))
		return -EISDIR;
	return r;
}

static bool was_pruned(int dirfd)
{
	struct stat st;

	return fstat(dirfd, &st) == 0 && st.st_nlink == 0;
}

/* A put under way. */
struct place {
	int dir; /* owned descriptor of the object's directory, or -errno of opening it */
	int fd;	 /* owned descriptor of the temporary file */
	char temp[NAME_MAX + 1];
};

static void place_fini(struct place *p)
{
	cleanup_close(&p->dir);
	cleanup_close(&p->fd);
	p->dir = p->fd = -1;
}

/* -ENOENT: the directory was pruned meanwhile. */
static int place_open(struct dir *d, const char *parent, const char *name, struct place *p)
{
	struct stat st;

	place_fini(p);
	p->dir = dir_make_parent(d, parent);
	if (p->dir < 0)
		return p->dir;
	/* Told before the bytes are written, where that is possible; link_temp is what decides. */
	if (fstatat(p->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) ? -EISDIR : -EEXIST;
	if (errno != ENOENT)
		return -errno;
	p->fd = dir_temp_open(d, p->dir, p->temp);
	if (p->fd == -EPERM && was_pruned(p->dir))
		return -ENOENT; /* what ext4 says for O_TMPFILE in a removed directory */
	return p->fd < 0 ? p->fd : 0;
}

static int fill(int fd, const void *data, size_t len_bytes, const struct store_attrs *attrs)
{
	ssize_t n = path_pwrite_full(fd, data, len_bytes, 0);
	int r = n < 0 ? (int)n : write_attrs(fd, len_bytes, attrs);

	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

/* The file is ready: only making the directory and linking are at stake, so this ends soon. */
static int link_into(struct dir *d, const char *parent, const char *name, struct place *p)
{
	int r = link_temp(d, p->fd, p->temp, p->dir, name);

	for (int i = 0; i < PRUNED_TRIES && r == -ENOENT; i++) {
		cleanup_close(&p->dir);
		p->dir = dir_make_parent(d, parent);
		r = p->dir < 0 ? p->dir : link_temp(d, p->fd, p->temp, p->dir, name);
	}
	return r;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

bool dir_has_room(const struct statvfs *vfs, uint64_t bytes, unsigned times)
{
	uint64_t disk = (uint64_t)vfs->f_blocks * vfs->f_frsize;
	uint64_t left = least(disk / LEFT_PARTS, LEFT_MOST_BYTES);
	uint64_t inodes = least(vfs->f_files / LEFT_PARTS, LEFT_MOST_INODES);

	left = most(left, least(disk / LEFT_LEAST_PARTS, LEFT_LEAST_BYTES));
	/* Some file systems do not say how much they hold. */
	return (vfs->f_blocks == 0 ||
		(uint64_t)vfs->f_bavail * vfs->f_frsize >= bytes + times * left) &&
	       (vfs->f_files == 0 || vfs->f_favail >= times * inodes);
}

/* With what others of us are writing now. */
static bool is_full(struct dir *d)
{
	struct statvfs vfs;

	return fstatvfs(d->root, &vfs) == 0 && !dir_has_room(&vfs, d->writing_bytes, 1);
}

static int put(struct dir *d, const char *key, const void *data, size_t len_bytes,
	       const struct store_attrs *attrs)
{
	CLEANUP(place_fini) struct place p = { .dir = -1, .fd = -1 };
	char parent[STORE_KEY_MAX];
	const char *name = dir_split(key, parent);
	int r = -ENOENT;

	for (int i = 0; i < PRUNED_TRIES && r == -ENOENT; i++)
		r = place_open(d, parent, name, &p);
	if (r == 0) {
		r = fill(p.fd, data, len_bytes, attrs);
		if (r == 0)
			r = link_into(d, parent, name, &p);
		dir_temp_remove(d, p.temp);
	}
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	/* It is there: whatever this says, it is no "nothing was done". */
	r = dir_sync(d, p.dir, parent);
	if (r < 0)
		log_error("cannot put the name of '%s' on disk: %s", key, strerror(-r));
	return r < 0 ? -EIO : 0;
}

int dir_put(struct dir *d, const char *key, const void *data, size_t len_bytes,
	    const struct store_attrs *attrs)
{
	int r = -ENOSPC;

	d->writing_bytes += len_bytes;
	if (attrs->even_full || !is_full(d))
		r = put(d, key, data, len_bytes, attrs);
	d->writing_bytes -= len_bytes;
	return r;
}

/* Reads all of fd past any cache.  -EINVAL: O_DIRECT is not possible here. */
static int checksum(int fd, struct store_stat *stat)
{
	AUTO_FREE void *buf = NULL;
	uint64_t size = 0;
	uint32_t crc = 0;
	ssize_t n;

	if (posix_memalign(&buf, ALIGN_BYTES, READ_BYTES) != 0)
		return -ENOMEM;
	while ((n = pread(fd, buf, READ_BYTES, (off_t)size)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		crc = crc32c(crc, buf, (size_t)n);
		size += (uint64_t)n;
		if (n % ALIGN_BYTES)
			break; /* the end; were it not, the size would be wrong, and say so */
	}
	stat->size = size;
	stat->crc32c = crc;
	return 0;
}

static int verify_open(struct dir *d, const char *key, bool direct, struct store_stat *stat)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int r;

	fd = object_open(d->root, key, 0, &st);
	if (fd < 0)
		return fd;
	if (direct) {
		if (fcntl(fd, F_SETFL, O_DIRECT) < 0)
			return -errno;
	} else {
		if (fdatasync(fd) < 0)
			return -errno;
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	r = checksum(fd, stat);
	if (r < 0)
		return r;
	return read_attrs(fd, stat);
}

int dir_verify(struct dir *d, const char *key, struct store_stat *ret)
{
	int r = -EINVAL;

	if (!d->buffered)
		r = verify_open(d, key, true, ret);
	if (r != -EINVAL)
		return r;
	if (!atomic_exchange(&d->buffered, true))
		log_info("store '%s' has no O_DIRECT: objects are verified through the page cache",
			 d->base.name);
	return verify_open(d, key, false, ret);
}

int dir_stat(struct dir *d, const char *key, struct store_stat *ret)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	fd = object_open(d->root, key, 0, &st);
	if (fd < 0)
		return fd;
	ret->size = (uint64_t)st.st_size;
	ret->crc32c = 0;
	return read_attrs(fd, ret);
}

int64_t dir_get(struct dir *d, const char *key, uint64_t off, void *buf, size_t len_bytes)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	fd = object_open(d->root, key, 0, &st);
	if (fd < 0)
		return fd;
	return path_pread_full(fd, buf, len_bytes, (off_t)off);
}

/* Does the name still lead to the file we hold?  1, 0 or -errno. */
static int is_still(int parent, const char *name, const struct stat *held)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return st.st_ino == held->st_ino && st.st_dev == held->st_dev;
}

static int drop_once(int parent, const char *name, const char *attempt)
{
	char found[STORE_ATTEMPT_MAX];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int r;

	fd = object_open(parent, name, 0, &st);
	if (fd < 0)
		return fd;
	do {
		r = flock(fd, LOCK_EX);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	r = is_still(parent, name, &st);
	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	r = read_attempt(fd, found);
	if (r < 0)
		return r;
	if (attempt && strcmp(found, attempt) != 0)
		return -ESTALE;
	return unlinkat(parent, name, 0) < 0 ? -errno : 0;
}

int dir_drop(struct dir *d, const char *key, const char *attempt)
{
	char parent[STORE_KEY_MAX];
	const char *name = dir_split(key, parent);
	AUTO_CLOSE int fd = -1;
	int r;

	fd = path_open(d->root, parent, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOTDIR || fd == -ENAMETOOLONG)
		return -ENOENT;
	if (fd < 0)
		return fd;
	do {
		r = drop_once(fd, name, attempt);
	} while (r == -EAGAIN);
	return r < 0 ? r : dir_prune(d, fd, parent);
}
