/* SPDX-License-Identifier: MIT */
/*
 * The dir store, inside: store_dir.c is its face (open, threads, health),
 * store_dir_object.c works on one object, store_dir_tree.c on directories,
 * store_dir_temp.c makes temporary files and knows what the file system can do.
 */
#ifndef EBB_BACKEND_STORE_DIR_H
#define EBB_BACKEND_STORE_DIR_H

#include <limits.h>
#include <sys/statvfs.h>

#include "backend/store_ops.h"

#define DIR_MODE 0750
#define OBJECT_MODE 0640
#define DIR_TMP ".ebb/tmp" /* temporary files where O_TMPFILE is not known; never listed */

#define XATTR_ATTEMPT "user.ebb.attempt"
#define XATTR_CRC32C "user.ebb.crc32c"
#define XATTR_SIZE "user.ebb.size"
#define XATTR_PATH "user.ebb.path"

/* One life of a directory: an inode number comes back, with its birth it does not. */
struct dir_id {
	uint64_t dev;
	uint64_t ino;
	int64_t born_ns; /* 0: unknown, never remembered */
};

#define DURABLE_SLOTS 4096 /* a power of two */

struct pool;

struct dir {
	struct store base;

	/* constant after start */
	char *path;	   /* owned; absolute, no slash at its end */
	int root;	   /* owned descriptor */
	int tmp;	   /* owned descriptor of DIR_TMP, -1 where O_TMPFILE works */
	size_t name_max;   /* of one component */
	struct pool *pool; /* owned */

	_Atomic bool buffered;	 /* O_DIRECT was refused: verify another way */
	_Atomic uint64_t serial; /* of temporary names */
	_Atomic uint64_t writing_bytes;

	/* protected by lock */
	struct lock lock; /* LOCK_RANK_STORE */
	struct dir_id durable[DURABLE_SLOTS];
	uint64_t total_bytes;
	uint64_t free_bytes;
	int64_t probed_ms;
	bool probing;
};

/* Errors are those of system calls; store_dir.c makes them store.h's. */
int dir_put(struct dir *d, const char *key, const void *data, size_t len_bytes,
	    const struct store_attrs *attrs);
int dir_verify(struct dir *d, const char *key, struct store_stat *ret);
int dir_stat(struct dir *d, const char *key, struct store_stat *ret);
int64_t dir_get(struct dir *d, const char *key, uint64_t off, void *buf, size_t len_bytes);
int dir_drop(struct dir *d, const char *key, const char *attempt);
/* For bytes more, with what is left free for store_attrs.even_full so many times. */
bool dir_has_room(const struct statvfs *vfs, uint64_t bytes, unsigned times);

extern const store_advice dir_advice;

/*
 * Finds out what this file system can do, sets d->tmp.  0; -EOPNOTSUPP, or -errno of
 * making a file there, with a sentence in err.  Where nothing may be written: 0.
 */
int dir_probe_features(struct dir *d, char *err, size_t size);
/* A temporary file for an object in the directory parent.  A descriptor or -errno. */
int dir_temp_open(struct dir *d, int parent, char name[NAME_MAX + 1]);
/* What remains of it; name "" is an unnamed one. */
void dir_temp_remove(struct dir *d, const char *name);

/* Everything before the last slash of key; "" when there is none.  ret: the last component. */
const char *dir_split(const char *key, char parent[STORE_KEY_MAX]);
/* The directory of an object, made when it is not there.  A descriptor or -errno. */
int dir_make_parent(struct dir *d, const char *parent);
/* After an object was linked in fd, which is at path: its name and all above are on disk. */
int dir_sync(struct dir *d, int fd, const char *path);
/* After an object was unlinked from fd: remove empty directories, put the change on disk. */
int dir_prune(struct dir *d, int fd, const char *path);
int dir_list(struct dir *d, const char *prefix, int (*each)(const char *key, void *arg), void *arg);

#endif
