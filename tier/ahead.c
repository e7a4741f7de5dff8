/* SPDX-License-Identifier: MIT */
/*
 * Which directories are read in order, and what comes next in them.
 *
 *	opened a -> opened b, a little after a: a stream --job--> rows after b: packs, objects loaded
 *	             |                                               |
 *	             '----------half of it was passed: job again-----'
 *
 * Always true, under the lock: a stream has at most one job, which loads one window
 * (AHEAD_BYTES, less with a small read_cache, or one object), and whoever reads has
 * passed half of the window before.  All of it is a guess: a stream that is wrong costs
 * reading, never a wrong byte.
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
#include "tier/push.h"
#include "tier/tier_int.h"

#define STREAMS 64
#define IN_ORDER 2   /* files opened one after the other that make a stream */
#define APART_MOST 4 /* so many more, where such a guess was wrong as often in a row, and once */
#define MISSES 2     /* of them, asked for although they were kept, that make all of them lost */
#define AHEAD_BYTES (8u << 20)
#define AHEAD_OBJECTS 32
#define WALK_ROWS 16384 /* most rows looked at by one job */
#define PAGE_ROWS 64
#define NEAR_FILES 16 /* so many may be left out, and so many in turn be opened late */

struct stream {
	struct job job;
	struct tier *t;
	struct node *node; /* counted; the job's: of the directory, or NULL */
	/* protected by lock */
	dirid_t dir;		       /* 0: free */
	char first[ROW_NAME_MAX + 1];  /* opened first, or before a jump */
	char last[ROW_NAME_MAX + 1];   /* the last in order that was opened */
	char loaded[ROW_NAME_MAX + 1]; /* as far as a job came; "" not at all */
	char half[ROW_NAME_MAX + 1];   /* the next job begins when this is passed */
	unsigned in_order;	       /* files since first; 0: none was opened */
	unsigned late;		       /* in turn opened before last */
	unsigned apart; /* in turn guessed to be one after the other, and far apart */
	unsigned round; /* how often it began anew: what a job found is of one round */
	bool busy, at_end;
	unsigned misses; /* of the files opened last: whose bytes the kernel then asked for */
	bool last_missed;
	bool skipped;  /* by the last job: what it has from before */
	bool missed;   /* it has lost what it was given once, and not only a page here and there */
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
	struct node *node; /* borrowed: of the directory, or NULL */
	char *path;	   /* owned: of the directory */
	struct push *push; /* owned: of the object `number`, or NULL */
	uint64_t number;
	char after[ROW_NAME_MAX + 1];
	char final[ROW_NAME_MAX + 1];  /* the last released one */
	char newest[ROW_NAME_MAX + 1]; /* whose object was loaded last */
	char half[ROW_NAME_MAX + 1];   /* behind half of the window; "" not come to */
	uint64_t pack;		       /* seen last */
	uint64_t window_bytes, bytes;
	unsigned objects, rows;
	bool apart, full, end, missed, skipped;
};

static bool is_local(const struct walk *w, const char *name)
{
	AUTO_FREE char *path = path_join(w->path, name);
	struct stat st;

	return !path || fstatat(cache_root_fd(w->t->cache), path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Its pages may be in the kernel: it was read before. */
static bool is_kept(struct walk *w, const struct file_row *row)
{
	struct node *node;
	bool kept;

	if (!w->node || w->missed)
		return false;
	node = node_find(w->t->tree, w->node, row->name);
	kept = node && node_pages(node) == row->attempt;
	node_put(w->t->tree, node);
	w->skipped = w->skipped || kept;
	return kept;
}

static void add_push(struct walk *w, const struct file_row *row)
{
	uint64_t number = object_number(row);

	if (!w->node || row->attr.size > PUSH_BYTES)
		return;
	if (!w->push || w->number != number) {
		push_go(w->push);
		w->push = push_new(w->t, w->node, number);
		w->number = number;
	}
	if (w->push)
		push_add(w->push, row->name);
}

/* 0: it comes, or is too large to; -ENOBUFS: not now. */
static int load(struct walk *w, const struct file_row *row, uint64_t size, bool once)
{
	AUTO_FREE char *key = NULL;
	int r;

	if (size > w->t->conf->read_cache / 2)
		return 0;
	if (w->objects >= AHEAD_OBJECTS || (w->objects > 0 && w->bytes + size > w->window_bytes))
		return -ENOBUFS;
	r = object_key(w->t, row, 0, &key);
	if (r == 0)
		r = blobs_load(w->t->blobs, object_number(row), key, size, once);
	if (r < 0)
		return r;
	if (!w->half[0] && (w->objects >= AHEAD_OBJECTS / 2 || w->bytes >= w->window_bytes / 2))
		strcpy(w->half, row->name);
	strcpy(w->newest, row->name);
	w->objects++;
	w->bytes += size;
	return 0;
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

	/* Neither are asked for here. */
	if (is_local(w, row->name) || is_kept(w, row))
		return 0;
	if (row->attr.size > 0 && row->attr.size <= AHEAD_FILE_BYTES) {
		r = row->object == ROW_OBJECT_PACK ? walk_packed(w, row)
						   : load(w, row, row->attr.size, true);
		if (r == 0)
			add_push(w, row);
	}
	if (r == 0)
		strcpy(w->final, row->name);
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
	push_go(w->push);
	w->push = NULL;
}

/* Are at most this many released files between the two names? */
static bool are_near(struct walk *w, const char *from, const char *to, unsigned most)
{
	struct file_row rows[PAGE_ROWS];
	int page = most + 2 < PAGE_ROWS ? (int)most + 2 : PAGE_ROWS;
	unsigned between = 0;
	char after[ROW_NAME_MAX + 1];
	int n;

	strcpy(after, from);
	do {
		n = cat_files_after(w->t->cat, w->dir, after, rows, page);
		for (int i = 0; i < n; i++) {
			if (strcmp(rows[i].name, to) >= 0)
				return true;
			between += !is_local(w, rows[i].name);
			if (between > most || ++w->rows > WALK_ROWS)
				return false;
			strcpy(after, rows[i].name);
		}
	} while (n == page);
	return n >= 0;
}

/* The next job begins behind the last that was opened. */
static void look_anew(struct stream *s)
{
	s->loaded[0] = s->half[0] = '\0';
	s->at_end = false;
}

static void restart(struct stream *s, const char *name)
{
	look_anew(s);
	s->in_order = 1;
	s->late = 0;
	s->missed = s->last_missed = s->skipped = false;
	s->misses = 0;
	s->round++;
	memmove(s->first, name, strlen(name) + 1);
	memmove(s->last, name, strlen(name) + 1);
}

static void job_done(struct stream *s, const struct walk *w)
{
	s->apart = w->apart ? s->apart + 1 : 0;
	if (w->apart) {
		restart(s, s->last);
		return;
	}
	s->skipped = w->skipped;
	if (s->skipped && s->missed) {
		look_anew(s);
		return;
	}
	s->at_end = w->end;
	strcpy(s->loaded, w->end ? w->final : w->after);
	strcpy(s->half, w->half[0] ? w->half : w->newest);
}

static void run(struct job *job)
{
	struct stream *s = (struct stream *)job;
	struct ahead *a = s->t->ahead;
	uint64_t most_bytes = s->t->conf->read_cache / 2;
	struct walk w = { .t = s->t, .node = s->node };
	char first[ROW_NAME_MAX + 1], last[ROW_NAME_MAX + 1];
	unsigned round, files;
	bool known;
	int r;

	w.window_bytes = most_bytes < AHEAD_BYTES ? most_bytes : AHEAD_BYTES;
	lock_take(&a->lock);
	w.dir = s->dir;
	round = s->round;
	known = s->loaded[0];
	w.missed = s->missed;
	files = s->in_order;
	strcpy(first, s->first);
	strcpy(last, s->last);
	strcpy(w.after, strcmp(s->loaded, last) > 0 ? s->loaded : last);
	lock_drop(&a->lock);
	strcpy(w.final, w.after);
	r = cat_dir_path(w.t->cat, w.dir, &w.path);
	w.apart = r == 0 && !known && !are_near(&w, first, last, files + NEAR_FILES);
	if (r == 0 && !w.apart)
		walk(&w);
	free(w.path);
	node_put(w.t->tree, w.node);
	lock_take(&a->lock);
	s->busy = false;
	w.end = w.end || r < 0;
	if (round == s->round)
		job_done(s, &w);
	else
		s->apart += w.apart; /* whoever reads at random begins anew all the time */
	lock_drop(&a->lock);
}

/* ---- who reads in order? ------------------------------------------------------------- */

static struct stream *find(struct ahead *a, dirid_t dir, bool make) REQUIRES(a->lock)
{
	struct stream *oldest = NULL;

	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *s = &a->stream[i];

		if (s->dir == dir)
			return s;
		if (!s->busy && (!oldest || s->used < oldest->used))
			oldest = s;
	}
	if (!oldest || !make)
		return NULL;
	oldest->dir = dir;
	oldest->in_order = oldest->apart = 0;
	return oldest;
}

/*
 * Who reads at random opens two in order half of the time, six of them hardly ever.  One wrong
 * guess is not held against a directory: who reads in order may jump.
 */
static bool is_in_order(const struct stream *s)
{
	unsigned more = s->apart > 1 ? s->apart - 1 : 0;

	return s->in_order >= IN_ORDER + (more < APART_MOST ? more : APART_MOST);
}

/* One of several readers, a little behind the others; not who begins anew. */
static bool is_late(struct stream *s, const char *name)
{
	return s->in_order >= IN_ORDER && strcmp(name, s->first) > 0 && ++s->late <= NEAR_FILES &&
	       !(s->at_end && strcmp(s->last, s->loaded) >= 0);
}

static void advance(struct stream *s, const char *name)
{
	int order = strcmp(name, s->last);

	if (s->in_order == 0 || (order < 0 && !is_late(s, name))) {
		restart(s, name);
		return;
	}
	if (order <= 0)
		return; /* late, or once more */
	s->late = 0;
	s->in_order++;
	if (s->loaded[0] && !s->busy && strcmp(name, s->loaded) > 0) {
		/* Beyond what was looked at: the job says whether it is the next one. */
		strcpy(s->first, s->last);
		look_anew(s);
	}
	strcpy(s->last, name);
}

/* The job's; without one, files are loaded and not pushed. */
static struct node *dir_of(struct tier *t, struct node *node)
{
	char name[ROW_NAME_MAX + 1];
	struct node *dir;

	return pushes_wanted(t->pushes) && node_name(t->tree, node, &dir, name) == 0 ? dir : NULL;
}

void ahead_opened(struct tier *t, struct node *node, const struct file_row *row)
{
	bool kept = node_pages(node) == row->attempt, go = false;
	struct ahead *a = t->ahead;
	struct stream *s;

	if (t->conf->read_cache == 0)
		return;
	lock_take(&a->lock);
	s = find(a, row->dir, true);
	if (s) {
		s->used = ++a->clock;
		if (!s->last_missed)
			s->misses = 0;
		s->last_missed = false;
		advance(s, row->name);
		/* what the kernel has from before needs no job to be found */
		go = is_in_order(s) && !s->busy && !s->at_end && strcmp(s->last, s->half) >= 0 &&
		     (!kept || s->missed || s->loaded[0]);
		s->busy = s->busy || go;
	}
	lock_drop(&a->lock);
	if (go) {
		s->node = dir_of(t, node);
		s->job.run = run;
		pool_submit(t->pool_store, &s->job);
	}
}

void ahead_missed(struct tier *t, const struct file_row *row)
{
	struct ahead *a = t->ahead;
	struct stream *s;

	if (t->conf->read_cache == 0)
		return;
	lock_take(&a->lock);
	s = find(a, row->dir, false);
	if (s) {
		s->last_missed = true;
		s->misses++;
		if (s->misses == MISSES && !s->missed) {
			s->missed = true;
			if (!s->busy && s->skipped)
				look_anew(s);
		}
	}
	lock_drop(&a->lock);
}
