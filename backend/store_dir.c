/* SPDX-License-Identifier: MIT */
/*
 * The store in a directory: "dir:/path", the embedded default.
 *
 *	store_put() -> job -> one of 8 threads -> dir_put() -> to_store_error -> answer
 *
 * Objects are plain files under their keys, so that cp and a file:// URL need no
 * ebbfs; ebbfs's own are below .ebb.  Several processes may use one directory.
 * A system call cannot be timed out: an operation that waited for a thread past
 * its time fails with -ETIMEDOUT undone, but one that hangs in a file system (a
 * hard NFS mount) hangs with it.
 */
#include "backend/store_dir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/pool.h"
#include "lib/text.h"

#define THREADS 8
#define PROBE_MS 5000

const store_advice dir_advice = {
	[STORE_DOWN] = "look at its file system and disk",
	[STORE_READ_REFUSED] = "ebbfs must be able to read it",
	[STORE_WRITE_REFUSED] = "ebbfs must be able to write there",
	[STORE_FULL] = "give it room; archiving goes on by itself",
};

struct dir_job {
	struct job job;
	struct dir *dir; /* borrowed */
	struct store_request req;
};

/* ---- operations --------------------------------------------------------- */

/* What system calls say, in the words of store.h.  Logged where it becomes -EIO. */
static int64_t to_store_error(struct dir *d, enum store_op op, const char *key, int64_t r)
{
	switch (r) {
	case -EROFS:
	case -EPERM:
		return -EACCES;
	case -EILSEQ:
		return op == STORE_PUT ? -EINVAL : -ENOENT;
	case -ELOOP: /* a symlink on the way: another key is needed; but nothing is known to be absent */
	case -EXDEV:
		if (op == STORE_PUT)
			return -ENOTDIR;
		break;
	case -ENOENT:
	case -EEXIST:
	case -ENAMETOOLONG:
	case -ENOTDIR:
	case -EISDIR:
	case -ENOSPC:
	case -EDQUOT:
	case -EACCES:
	case -EFBIG:
	case -ENOMEM:
	case -ETIMEDOUT:
		return r;
	case -EINVAL:
		if (op == STORE_PUT)
			return r;
		break;
	case -ESTALE: /* of a drop it is ours, of anything else NFS's */
		if (op == STORE_DROP)
			return r;
		break;
	default:
		break;
	}
	if (r >= 0)
		return r;
	store_log_failure(&d->base, op, key, (int)r, NULL);
	return -EIO;
}

static int64_t run_op(struct dir_job *j)
{
	const struct store_request *q = &j->req;
	struct dir *d = j->dir;

	if (clock_mono_ms() > q->deadline_ms)
		return -ETIMEDOUT;
	switch (q->op) {
	case STORE_PUT:
		return dir_put(d, q->key, q->data, q->len_bytes, &q->attrs);
	case STORE_VERIFY:
		return dir_verify(d, q->key, q->stat);
	case STORE_STAT:
		return dir_stat(d, q->key, q->stat);
	case STORE_GET:
		return dir_get(d, q->key, q->off, q->buf, q->len_bytes);
	case STORE_DROP:
		return dir_drop(d, q->key, q->attempt);
	default:
		assert(false);
		return -EIO;
	}
}

static void run_job(struct job *job)
{
	struct dir_job *j = (struct dir_job *)job;
	int64_t r = to_store_error(j->dir, j->req.op, j->req.key, run_op(j));

	store_answer(&j->dir->base, &j->req, r);
	free(j);
}

static void op_submit(struct store *s, const struct store_request *q)
{
	struct dir *d = (struct dir *)s;
	struct dir_job *j = malloc(sizeof(*j));

	if (!j) {
		store_answer(s, q, -ENOMEM);
		return;
	}
	j->job.run = run_job;
	j->dir = d;
	j->req = *q;
	pool_submit(d->pool, &j->job);
}

static int op_list(struct store *s, const char *prefix, int (*each)(const char *key, void *arg),
		   void *arg)
{
	return dir_list((struct dir *)s, prefix, each, arg);
}

static char *op_url(struct store *s, const char *key)
{
	AUTO_FREE char *path = NULL, *encoded = NULL;
	char *url;
	int n;

	n = asprintf(&path, "%s/%s", ((struct dir *)s)->path, key);
	if (n < 0) {
		path = NULL;
		return NULL;
	}
	encoded = text_url_encode(path, (size_t)n);
	if (!encoded || asprintf(&url, "file://%s", encoded) < 0)
		return NULL;
	return url;
}

static bool op_key_fits(struct store *s, const char *key)
{
	size_t name_max = ((struct dir *)s)->name_max;

	for (const char *p = key; *p; p += strspn(p, "/")) {
		size_t n = strcspn(p, "/");

		if (n > name_max)
			return false;
		p += n;
	}
	return true;
}

/* ---- health ------------------------------------------------------------- */

static void probe(struct dir *d)
{
	struct statvfs vfs;
	int r = fstatvfs(d->root, &vfs) < 0 ? -errno : 0;

	if (r < 0)
		store_set_trouble(&d->base, STORE_DOWN, "store '%.80s': %s: %s", d->base.name,
				  strerrordesc_np(-r), dir_advice[STORE_DOWN]);
	else
		store_end_trouble(&d->base, STORE_DOWN);
	/* Nobody may have anything to put.  Twice: or it would be said again and again. */
	if (r == 0 && dir_has_room(&vfs, 0, 2))
		store_end_trouble(&d->base, STORE_FULL);
	lock_take(&d->lock);
	d->probing = false;
	d->probed_ms = clock_mono_ms();
	if (r == 0) {
		d->total_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize;
		d->free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	}
	lock_drop(&d->lock);
}

static void run_probe(struct job *job)
{
	struct dir_job *j = (struct dir_job *)job;

	probe(j->dir);
	free(j);
}

static void op_health(struct store *s, struct store_health *ret)
{
	struct dir *d = (struct dir *)s;
	struct dir_job *j;
	bool due;

	store_fill_health(s, ret);
	lock_take(&d->lock);
	ret->total_bytes = d->total_bytes;
	ret->free_bytes = d->free_bytes;
	due = !d->probing && clock_mono_ms() - d->probed_ms >= PROBE_MS;
	d->probing |= due;
	lock_drop(&d->lock);
	if (!due)
		return;
	j = calloc(1, sizeof(*j));
	if (!j)
		return; /* probing stays set: with no memory left this is the least trouble */
	j->job.run = run_probe;
	j->dir = d;
	pool_submit(d->pool, &j->job);
}

/* ---- open and close ----------------------------------------------------- */

static void dir_close(struct store *s)
{
	struct dir *d = (struct dir *)s;

	pool_free(d->pool);
	cleanup_close(&d->tmp);
	cleanup_close(&d->root);
	lock_fini(&d->lock);
	store_fini(s);
	free(d->path);
	free(d);
}

static int open_root(struct dir *d, char *err, size_t size)
{
	struct statvfs vfs;

	d->root = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->root < 0 || fstatvfs(d->root, &vfs) < 0) {
		int r = -errno;

		snprintf(err, size, "cannot open the store's directory '%.200s': %m", d->path);
		return r;
	}
	d->name_max = vfs.f_namemax ? vfs.f_namemax : NAME_MAX;
	return 0;
}

static int dir_open(const char *rest, int64_t timeout_ms, struct store **ret, char *err,
		    size_t size)
{
	AUTO_FREE char *name = NULL;
	size_t n = strlen(rest);
	struct dir *d;
	int r;

	while (n > 1 && rest[n - 1] == '/')
		n--;
	if (rest[0] != '/' || n == 1 || n >= PATH_MAX) {
		snprintf(err, size, "'dir:%.100s': an absolute path of a directory is wanted",
			 rest);
		return -EINVAL;
	}
	snprintf(err, size, "no memory");
	if (asprintf(&name, "dir:%.*s", (int)n, rest) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	d = calloc(1, sizeof(*d));
	if (!d || store_init(&d->base, &store_dir_ops, &dir_advice, name, timeout_ms, true) < 0) {
		free(d);
		return -ENOMEM;
	}
	lock_init(&d->lock, LOCK_RANK_STORE, "dir store");
	d->root = d->tmp = -1;
	d->path = strndup(rest, n);
	r = d->path ? open_root(d, err, size) : -ENOMEM;
	if (r == 0)
		r = dir_probe_features(d, err, size);
	if (r == 0)
		r = pool_new("dir-store", THREADS, &d->pool);
	if (r < 0) {
		dir_close(&d->base);
		return r;
	}
	probe(d);
	*ret = &d->base;
	return 0;
}

const struct store_ops store_dir_ops = {
	.scheme = "dir",
	.open = dir_open,
	.close = dir_close,
	.submit = op_submit,
	.list = op_list,
	.url = op_url,
	.key_fits = op_key_fits,
	.health = op_health,
};
