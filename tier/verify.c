/* SPDX-License-Identifier: MIT */
/*
 * Verify walks the catalogue and has several files compared at a time.
 *
 *	free --walk finds a row--> busy (a pool's thread) --> checked --report--> free
 *
 * Only the caller's thread walks and reports; a check belongs to the pool's
 * thread while it is busy.  Directories wait in a list, so that memory is their
 * number along the way down and not the depth of the caller's stack.
 */
#include "tier/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/crc.h"
#include "lib/lock.h"
#include "lib/path.h"
#include "tier/tier_int.h"

#define N_CHECKS 16
#define PAGE_ROWS 64
#define N_PROVED 32

enum check_state { CHECK_FREE, CHECK_BUSY, CHECK_CHECKED };

struct check {
	struct job job;
	struct verify *v;	/* borrowed */
	enum check_state state; /* protected by v->lock */
	/* The walker's while free or checked, the pool's while busy. */
	struct file_row row;
	char *path; /* owned */
	int result; /* 0 right, 1 changed meanwhile, -errno */
};

struct pending_dir {
	struct pending_dir *next;
	dirid_t id;
	char path[]; /* NUL-terminated, "" the root */
};

struct verify {
	struct tier *t;			  /* borrowed */
	const struct verify_request *req; /* borrowed */
	struct pool *pool;		  /* owned */
	struct lock lock;
	struct cond checked;
	struct check checks[N_CHECKS];
	uint64_t proved[N_PROVED]; /* packs; protected by lock */
	unsigned next_proved;	   /* protected by lock */
	/* The caller's thread's. */
	struct pending_dir *dirs; /* owned, the one to walk next first */
	struct verify_progress progress;
};

/* ---- one file, on a thread of the pool ------------------------------------------ */

/* Of a pack, all of it: its checksum is that of all its files. */
static int check_object(struct tier *t, const struct file_row *row)
{
	char attempt[STORE_ATTEMPT_MAX];
	struct receipt_want want = { .attempt = attempt };
	struct receipt *receipt;
	AUTO_FREE char *key = NULL;
	int r;

	r = object_key(t, row, 0, &key);
	if (r == 0)
		r = object_want(t, row, &want.size, &want.crc32c, attempt, sizeof(attempt));
	if (r < 0)
		return r;
	want.key = key;
	r = store_prove_wait(t->store, &want, &receipt);
	if (r == 0)
		receipt_free(receipt);
	return r;
}

static int check_parts(struct tier *t, const struct file_row *row, const char *attempt)
{
	unsigned n = object_count(row);
	struct store_stat stat;
	uint64_t size = 0;
	uint32_t crc = 0;
	int r;

	for (unsigned i = 0; i < n; i++) {
		AUTO_FREE char *key = NULL;

		r = object_key(t, row, i, &key);
		if (r == 0)
			r = store_verify_wait(t->store, key, &stat);
		if (r < 0)
			return r;
		if (strcmp(stat.attempt, attempt) != 0)
			return -ESTALE;
		if (i + 1 < n && stat.size != OBJECT_PART_BYTES)
			return -EBADMSG;
		crc = crc32c_combine(crc, stat.crc32c, stat.size);
		size += stat.size;
	}
	return size == row->attr.size && crc == row->crc32c ? 0 : -EBADMSG;
}

/* The row that was checked may be another by now. */
static bool row_is_same(struct tier *t, const struct file_row *row)
{
	struct file_row now;
	int r = cat_file_get(t->cat, row->dir, row->name, &now);

	return r < 0 ? r != -ENOENT : now.attempt == row->attempt && now.pack == row->pack;
}

static bool pack_is_proved(struct verify *v, uint64_t pack)
{
	bool proved = false;

	lock_take(&v->lock);
	for (unsigned i = 0; i < N_PROVED; i++)
		proved = proved || v->proved[i] == pack;
	lock_drop(&v->lock);
	return proved;
}

/* A pack is proved once for all its files that follow one another. */
static int check_packed(struct verify *v, const struct file_row *row)
{
	struct pack_row pack;
	int r = cat_pack_get(v->t->cat, row->pack, &pack);

	if (r < 0)
		return r;
	if (row->pack_off + row->attr.size > pack.data_bytes)
		return -EBADMSG;
	if (pack_is_proved(v, row->pack))
		return 0;
	r = check_object(v->t, row);
	if (r == 0) {
		lock_take(&v->lock);
		v->proved[v->next_proved++ % N_PROVED] = row->pack;
		lock_drop(&v->lock);
	}
	return r;
}

static int check_row(struct verify *v, const struct file_row *row)
{
	char attempt[STORE_ATTEMPT_MAX];

	switch (row->object) {
	case ROW_OBJECT_PACK:
		return check_packed(v, row);
	case ROW_OBJECT_PARTS:
		object_attempt(v->t, row->attempt, attempt, sizeof(attempt));
		return check_parts(v->t, row, attempt);
	default:
		return check_object(v->t, row);
	}
}

/* Its pack was rewritten, and perhaps dropped, since the row was read: the row is read anew. */
static bool row_moved(struct tier *t, struct file_row *row)
{
	struct file_row now;

	if (cat_file_get(t->cat, row->dir, row->name, &now) < 0 || now.attempt != row->attempt ||
	    now.pack == row->pack)
		return false;
	*row = now;
	return true;
}

static void check_run(struct job *job)
{
	struct check *c = (struct check *)job;
	struct verify *v = c->v;

	c->result = check_row(v, &c->row);
	if (c->result == -ENOENT && row_moved(v->t, &c->row))
		c->result = check_row(v, &c->row);
	if (c->result < 0 && c->result != -ETIMEDOUT && !row_is_same(v->t, &c->row))
		c->result = 1;
	lock_take(&v->lock);
	c->state = CHECK_CHECKED;
	cond_signal(&v->checked);
	lock_drop(&v->lock);
}

/* ---- reporting ------------------------------------------------------------------ */

static const char *reason_of(int r, char *buf, size_t size)
{
	switch (r) {
	case -ENOENT:
		return "its object is missing in the store";
	case -EBADMSG:
		return "its object in the store does not have the archived bytes";
	case -ESTALE:
		return "its object in the store is another version's";
	case -ETIMEDOUT:
		return "the store did not answer in time";
	default:
		snprintf(buf, size, "its object cannot be read: %s", strerror(-r));
		return buf;
	}
}

static void bad(struct verify *v, const char *path, const char *reason)
{
	v->progress.files_bad++;
	v->req->bad(v->req->arg, path, reason);
}

static int tell_progress(struct verify *v)
{
	return v->req->progress(v->req->arg, &v->progress) ? -ECANCELED : 0;
}

/* The checked one becomes free.  -ETIMEDOUT: it is no use to go on. */
static int report(struct verify *v, struct check *c)
{
	struct store_health health;
	char buf[160];
	int r = c->result;

	if (r == 1) {
		v->progress.files_skipped++;
	} else {
		v->progress.files_done++;
		v->progress.bytes_done += r == 0 ? c->row.attr.size : 0;
	}
	if (r < 0)
		bad(v, c->path, reason_of(r, buf, sizeof(buf)));
	free(c->path);
	c->path = NULL;
	lock_take(&v->lock);
	c->state = CHECK_FREE;
	lock_drop(&v->lock);
	if (r == -ETIMEDOUT) {
		store_health(v->t->store, &health);
		if (!health.up)
			return -ETIMEDOUT;
	}
	return tell_progress(v);
}

static struct check *find(struct verify *v, enum check_state state) REQUIRES(v->lock)
{
	for (unsigned i = 0; i < N_CHECKS; i++)
		if (v->checks[i].state == state)
			return &v->checks[i];
	return NULL;
}

/*
 * Reports what is checked until one is free, or (all) none is busy.  An error does not
 * end the waiting: the pool's threads still work on what is busy.
 */
static int settle(struct verify *v, bool all)
{
	struct check *c;
	int r = 0;

	for (;;) {
		bool enough;

		lock_take(&v->lock);
		for (;;) {
			c = find(v, CHECK_CHECKED);
			enough = all ? !find(v, CHECK_BUSY) : find(v, CHECK_FREE) != NULL;
			if (c || enough)
				break;
			cond_wait(&v->checked, &v->lock);
		}
		lock_drop(&v->lock);
		if (!c)
			return r;
		int e = report(v, c);

		r = r < 0 ? r : e;
	}
}

/* ---- walking the catalogue ------------------------------------------------------ */

static int add_dir(struct verify *v, dirid_t id, const char *path)
{
	struct pending_dir *d = malloc(sizeof(*d) + strlen(path) + 1);

	if (!d)
		return -ENOMEM;
	d->id = id;
	strcpy(d->path, path);
	d->next = v->dirs;
	v->dirs = d;
	return 0;
}

static int start_check(struct verify *v, const struct file_row *row, const char *dir)
{
	struct check *c;
	int r = settle(v, false);

	if (r < 0)
		return r;
	lock_take(&v->lock);
	c = find(v, CHECK_FREE);
	lock_drop(&v->lock);
	c->path = path_join(dir, row->name);
	if (!c->path)
		return -ENOMEM;
	c->row = *row;
	c->v = v;
	c->job.run = check_run;
	lock_take(&v->lock);
	c->state = CHECK_BUSY;
	lock_drop(&v->lock);
	pool_submit(v->pool, &c->job);
	return 0;
}

static int walk_files(struct verify *v, const struct pending_dir *d)
{
	AUTO_FREE struct file_row *rows = calloc(PAGE_ROWS, sizeof(*rows));
	char after[ROW_NAME_MAX + 1] = "";
	int n, r;

	if (!rows)
		return -ENOMEM;
	while ((n = cat_files_after(v->t->cat, d->id, after, rows, PAGE_ROWS)) > 0) {
		for (int i = 0; i < n; i++) {
			r = start_check(v, &rows[i], d->path);
			if (r < 0)
				return r;
		}
		memcpy(after, rows[n - 1].name, sizeof(after));
	}
	return n;
}

static int walk_dirs(struct verify *v, const struct pending_dir *d)
{
	AUTO_FREE struct dir_row *rows = calloc(PAGE_ROWS, sizeof(*rows));
	char after[ROW_NAME_MAX + 1] = "";
	int n, r;

	if (!rows)
		return -ENOMEM;
	while ((n = cat_dirs_after(v->t->cat, d->id, after, rows, PAGE_ROWS)) > 0) {
		for (int i = 0; i < n; i++) {
			AUTO_FREE char *path = path_join(d->path, rows[i].name);

			r = path ? add_dir(v, rows[i].id, path) : -ENOMEM;
			if (r < 0)
				return r;
		}
		memcpy(after, rows[n - 1].name, sizeof(after));
	}
	return n;
}

static int walk(struct verify *v)
{
	struct pending_dir *d;
	int r = 0;

	while (r == 0 && (d = v->dirs)) {
		v->dirs = d->next;
		r = walk_dirs(v, d);
		if (r == 0)
			r = walk_files(v, d);
		free(d);
	}
	return r;
}

/* ---- what was asked for --------------------------------------------------------- */

static int start_path(struct verify *v, const char *path)
{
	AUTO_FREE char *dir_path = path_dir(path);
	struct tree *tree = v->t->tree;
	struct state_of look;
	struct node *dir;
	int r;

	if (!dir_path)
		return -ENOMEM;
	if (!path[0])
		return add_dir(v, ROW_ROOT_DIR, "");
	r = node_walk(tree, dir_path, true, &dir);
	if (r == 0) {
		r = state_look(v->t, dir, path_name(path), &look);
		node_put(tree, dir);
	}
	if (r == -ENOENT || r == -ENOTDIR || r == -EISDIR || r == -EINVAL ||
	    (r == 0 && look.state == STATE_NONE)) {
		bad(v, path, "there is no such file or directory");
		return 0;
	}
	if (r < 0 || !look.has_row)
		return r;
	return look.is_dir ? add_dir(v, look.dir_row.id, path)
			   : start_check(v, &look.row, dir_path);
}

static int start_all(struct verify *v)
{
	struct catalogue_counts counts;
	int r = catalogue_counts(v->t->cat, &counts);

	if (r < 0)
		return r;
	v->progress.files_total = counts.files > 0 ? (uint64_t)counts.files : 0;
	return add_dir(v, ROW_ROOT_DIR, "");
}

static int run(struct verify *v)
{
	int e, r = 0;

	if (v->req->npaths == 0)
		r = start_all(v);
	for (size_t i = 0; i < v->req->npaths && r == 0; i++) {
		r = start_path(v, v->req->paths[i]);
		if (r == 0)
			r = walk(v);
	}
	if (r == 0)
		r = walk(v);
	e = settle(v, true);
	if (r == 0)
		r = e;
	if (r == 0)
		r = tell_progress(v);
	if (r == 0 && v->progress.files_bad > 0)
		r = -EIO;
	return r;
}

int verify_run(struct tier *t, const struct verify_request *req)
{
	struct verify *v = calloc(1, sizeof(*v));
	struct pending_dir *d;
	int r;

	if (!v)
		return -ENOMEM;
	r = pool_new("verify", N_CHECKS, &v->pool);
	if (r < 0) {
		free(v);
		return r;
	}
	v->t = t;
	v->req = req;
	lock_init(&v->lock, LOCK_RANK_LEAF, "verify");
	cond_init(&v->checked);
	r = run(v);
	pool_free(v->pool);
	while ((d = v->dirs)) {
		v->dirs = d->next;
		free(d);
	}
	cond_fini(&v->checked);
	lock_fini(&v->lock);
	free(v);
	return r;
}
