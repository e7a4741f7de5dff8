/* SPDX-License-Identifier: MIT */
/*
 * Which directories are read in order, and what comes next in them.
 *
 *	opened a -> opened b, b after a: a stream --job--> rows after b: packs, objects loaded
 *	             |                                        |
 *	             '--half of them were opened: job again---'
 *
 * Always true, under the lock: a stream has at most one job; what it has loaded and
 * nobody has opened yet is at most AHEAD_BYTES, or one object.  All of it is a guess:
 * a stream that is wrong costs reading, never a wrong byte.
 */
#include "tier/ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/lock.h"
#include "lib/path.h"
#include "lib/pool.h"
#include "tier/blobs.h"
#include "tier/cache.h"
#include "tier/tier_int.h"

#define STREAMS 64
#define IN_ORDER 2 /* files opened one after the other that make a stream */
#define AHEAD_BYTES (8u << 20)
#define AHEAD_OBJECTS 32
#define WALK_ROWS 16384 /* most rows looked at by one job */
#define PAGE_ROWS 64

struct stream {
	struct job job;
	struct tier *t;
	/* protected by lock */
	dirid_t dir;		       /* 0: free */
	char last[ROW_NAME_MAX + 1];   /* opened last */
	char loaded[ROW_NAME_MAX + 1]; /* as far as a job came; "" not at all */
	unsigned in_order;
	unsigned span, left; /* files the last job covered; of them not opened yet */
	bool busy, at_end;
	uint64_t used; /* when; the least is replaced */
};

struct ahead {
	struct lock lock; /* LOCK_RANK_LEAF */
	uint64_t clock;	  /* protected by lock */
	struct stream stream[STREAMS];
};

int ahead_new(struct tier *t, struct ahead **ret)
{
	struct ahead *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	lock_init(&a->lock, LOCK_RANK_LEAF, "ahead");
	for (unsigned i = 0; i < STREAMS; i++)
		a->stream[i].t = t;
	*ret = a;
	return 0;
}

void ahead_free(struct ahead *a)
{
	if (!a)
		return;
	lock_fini(&a->lock);
	free(a);
}

/* ---- a job: what comes next -------------------------------------------------------- */

struct walk {
	struct tier *t;
	dirid_t dir;
	char *path; /* owned: of the directory */
	char after[ROW_NAME_MAX + 1];
	uint64_t pack; /* seen last */
	uint64_t bytes;
	unsigned objects, files, rows;
	bool full, end;
};

static bool is_local(const struct walk *w, const char *name)
{
	AUTO_FREE char *path = path_join(w->path, name);
	struct stat st;

	return !path || fstatat(cache_root_fd(w->t->cache), path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* 0; -ENOBUFS: not now. */
static int load(struct walk *w, const struct file_row *row, uint64_t size, bool once)
{
	AUTO_FREE char *key = NULL;
	int r;

	if (w->objects >= AHEAD_OBJECTS || (w->objects > 0 && w->bytes + size > AHEAD_BYTES))
		return -ENOBUFS;
	r = object_key(w->t, row, 0, &key);
	if (r == 0)
		r = blobs_load(w->t->blobs, object_number(row), key, size, once);
	if (r == 0) {
		w->objects++;
		w->bytes += size;
	}
	return r;
}

static int walk_packed(struct walk *w, const struct file_row *row)
{
	struct pack_row pack;
	int r;

	if (row->pack == w->pack)
		return 0;
	r = cat_pack_get(w->t->cat, row->pack, &pack);
	if (r < 0)
		return r;
	r = load(w, row, pack.data_bytes, false);
	if (r == 0)
		w->pack = row->pack;
	return r;
}

static int walk_row(struct walk *w, const struct file_row *row)
{
	int r = 0;

	if (row->attr.size > 0 && row->attr.size <= AHEAD_FILE_BYTES &&
	    !(row->object == ROW_OBJECT_PACK && row->pack == w->pack) && !is_local(w, row->name))
		r = row->object == ROW_OBJECT_PACK ? walk_packed(w, row)
						   : load(w, row, row->attr.size, true);
	if (r == 0)
		w->files++;
	return r;
}

static void walk(struct walk *w)
{
	struct file_row rows[PAGE_ROWS];
	int n;

	while (!w->full && !w->end && w->rows < WALK_ROWS) {
		n = cat_files_after(w->t->cat, w->dir, w->after, rows, PAGE_ROWS);
		w->end = n < PAGE_ROWS;
		for (int i = 0; i < n && !w->full; i++) {
			w->full = walk_row(w, &rows[i]) < 0;
			if (w->full)
				break;
			strcpy(w->after, rows[i].name);
			w->rows++;
		}
	}
	w->end = w->end && !w->full;
}

static void run(struct job *job)
{
	struct stream *s = (struct stream *)job;
	struct ahead *a = s->t->ahead;
	struct walk w = { .t = s->t };
	int r;

	lock_take(&a->lock);
	w.dir = s->dir;
	strcpy(w.after, strcmp(s->loaded, s->last) > 0 ? s->loaded : s->last);
	lock_drop(&a->lock);
	r = cat_dir_path(w.t->cat, w.dir, &w.path);
	if (r == 0)
		walk(&w);
	free(w.path);
	lock_take(&a->lock);
	s->busy = false;
	s->at_end = r < 0 || w.end;
	strcpy(s->loaded, w.after);
	s->left += w.files;
	s->span = s->left;
	lock_drop(&a->lock);
}

/* ---- who reads in order? ------------------------------------------------------------- */

static struct stream *find(struct ahead *a, dirid_t dir) REQUIRES(a->lock)
{
	struct stream *oldest = NULL;

	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *s = &a->stream[i];

		if (s->dir == dir)
			return s;
		if (!s->busy && (!oldest || s->used < oldest->used))
			oldest = s;
	}
	if (!oldest)
		return NULL;
	oldest->dir = dir;
	oldest->last[0] = oldest->loaded[0] = '\0';
	oldest->in_order = oldest->span = oldest->left = 0;
	oldest->at_end = false;
	return oldest;
}

static void advance(struct stream *s, const char *name)
{
	if (strcmp(name, s->last) > 0) {
		s->in_order++;
		s->left -= s->left > 0;
	} else if (strcmp(name, s->loaded) > 0 || s->in_order < IN_ORDER || s->at_end) {
		/* from the start, or here and there */
		s->in_order = 1;
		s->left = s->span = 0;
		s->loaded[0] = '\0';
		s->at_end = false;
	} else {
		s->left -= s->left > 0; /* another of several readers, a little behind */
		return;
	}
	strcpy(s->last, name);
}

void ahead_opened(struct tier *t, const struct file_row *row)
{
	struct ahead *a = t->ahead;
	struct stream *s;
	bool go = false;

	if (t->conf->read_cache == 0)
		return;
	lock_take(&a->lock);
	s = find(a, row->dir);
	if (s) {
		s->used = ++a->clock;
		advance(s, row->name);
		go = s->in_order >= IN_ORDER && !s->busy && !s->at_end && s->left <= s->span / 2;
		s->busy = s->busy || go;
	}
	lock_drop(&a->lock);
	if (go) {
		s->job.run = run;
		pool_submit(t->pool_store, &s->job);
	}
}
