/* SPDX-License-Identifier: MIT */
/*
 * A batch from its selection to its end, and the next one meanwhile.
 *
 *	start	select ----> rows of the directories ----> numbers ----> intent
 *		(open, quiet, plain)                                        |
 *	     	              puts, each proved when it is answered <-------'
 *	finish	fdatasync ----> wait for receipts ----> commit
 *
 *	worker	start 1 | start 2 | start 3 | ...
 *	pool	          finish 1| finish 2| ...
 *	store	    [ puts 1 ][ puts 2 ][ ...
 *
 * Always true: no object is written before an intent that names it is on disk; a
 * descriptor of each file stays open from selection to commit, so that what is
 * compared at the end is what was read; of two batches under way the first is
 * finished before a third begins.
 */
#include "tier/archive.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/failpoint.h"
#include "tier/archive_int.h"
#include "tier/local.h"

#define BATCH_MIN 16		 /* files, however few descriptors there are */
#define BATCH_BYTES (256U << 20) /* so that it ends soon enough to stop after it */

/* ---- operations in flight -------------------------------------------------- */

void batch_takeoff(struct batch *b)
{
	lock_take(&b->lock);
	b->n_flying++;
	lock_drop(&b->lock);
}

void batch_landed(struct batch *b)
{
	lock_take(&b->lock);
	if (--b->n_flying == 0)
		cond_signal(&b->idle);
	lock_drop(&b->lock);
}

void batch_wait_landed(struct batch *b)
{
	lock_take(&b->lock);
	while (b->n_flying > 0)
		cond_wait(&b->idle, &b->lock);
	lock_drop(&b->lock);
}

/* ---- selection -------------------------------------------------------------- */

/* Nobody writes it: no handle of ours, no lease-breaking one of others. */
static int item_quiet(struct tier *t, struct item *it)
{
	int r = -EAGAIN;

	if (!node_try_claim(t->tree, it->node))
		return -EBUSY;
	if (node_nwrite(t->tree, it->node) == 0)
		r = cache_quiet(it->fd);
	node_unclaim(t->tree, it->node);
	return r;
}

static int item_select(struct batch *b, struct item *it)
{
	struct tier *t = b->t;
	struct identity id;
	int r;

	r = local_open(dirfd_fd(b->d), it->file->name, &it->st);
	if (r < 0)
		return r;
	it->fd = r;
	id = cache_identity(&it->st);
	if (!identity_equal(&id, &it->file->id) || local_settles_ms(t, &it->st) > 0)
		return -EAGAIN;
	r = local_plain(it->fd, &it->st);
	if (r == 0)
		r = node_get(t->tree, b->dir, it->file->name, false, &it->node);
	return r < 0 ? r : item_quiet(t, it);
}

/* What the catalogue knows of it, and numbers for what will be written. */
static int item_know(struct batch *b, struct item *it)
{
	struct tier *t = b->t;
	int r = 0;

	if (!it->file->had_no_row) {
		r = cat_file_get(t->cat, b->dirid, it->file->name, &it->row);
		if (r < 0 && r != -ENOENT)
			return r;
		it->has_old = r == 0;
	}
	if (it->has_old && identity_equal(&it->row.id, &it->file->id))
		return 1;
	it->ino = node_ino(it->node);
	it->had_number = it->ino != 0;
	if (it->has_old)
		it->ino = it->row.ino;
	else if (it->ino == 0)
		r = catalogue_next_number(t->cat, &it->ino);
	if (it->ino == 0)
		return r;
	it->ino = node_set_ino(t->tree, it->node, it->ino);
	r = catalogue_next_number(t->cat, &it->attempt);
	if (r < 0)
		return r;
	object_attempt(t, it->attempt, it->attempt_text, sizeof(it->attempt_text));
	return node_child_path(t->tree, b->dir, it->file->name, &it->path);
}

static size_t batch_count(const struct batch *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += item_is_in(&b->items[i]);
	return n;
}

static void for_each_in(struct batch *b, int (*step)(struct batch *b, struct item *it))
{
	for (size_t i = 0; i < b->n; i++)
		if (item_is_in(&b->items[i]))
			item_out(&b->items[i], step(b, &b->items[i]));
}

static void all_out(struct batch *b, int result)
{
	for (size_t i = 0; i < b->n; i++)
		if (item_is_in(&b->items[i]))
			item_out(&b->items[i], result);
}

/* ---- the intent ------------------------------------------------------------- */

struct intent_arg {
	struct batch *b;
	const char *payload;
};

static int intent_run(struct tx *tx, void *arg)
{
	struct intent_arg *a = arg;
	int r;

	r = tx_path_id(tx, a->b->path, &a->b->objdir);
	return r < 0 ? r : tx_intent_put(tx, INTENT_ARCHIVE, a->payload, &a->b->intent);
}

static int batch_intent(struct batch *b)
{
	struct intent_arg a = { .b = b };
	char *payload;
	int r;

	payload = archive_payload(b);
	if (!payload)
		return -ENOMEM;
	a.payload = payload;
	b->number = archive_number(b);
	/* On disk: the store is another machine, it keeps what ours may lose. */
	r = catalogue_write(b->t->cat, SYNC_FULL, intent_run, &a);
	free(payload);
	if (r < 0) {
		b->intent = 0; /* the id may be another's next */
		archive_note_unfinished(b->t, b->number);
	}
	return r < 0 ? r : failpoint(ARCHIVE_INTENT);
}

/* ---- the batch -------------------------------------------------------------- */

static int batch_begin(struct batch *b, struct archive_file *files)
{
	int r;

	if (!volume_ok(b->t))
		return -EAGAIN;
	if (catalogue_is_readonly(b->t->cat))
		return -EROFS;
	r = archive_settle(b->t);
	if (r < 0)
		return r;
	r = node_path(b->t->tree, b->dir, &b->path);
	if (r == 0)
		r = cache_dir(b->t->cache, b->dir, &b->d);
	if (r < 0)
		return r;
	b->items = calloc(b->n, sizeof(*b->items));
	if (!b->items)
		return -ENOMEM;
	for (size_t i = 0; i < b->n; i++) {
		b->items[i] = (struct item){ .b = b, .file = &files[i], .fd = -1 };
		files[i].result = 0;
		files[i].bytes = 0;
	}
	return 0;
}

static void item_fini(struct item *it)
{
	for (unsigned i = 0; i < it->n_parts; i++) {
		free(it->parts[i].key);
		free(it->parts[i].data);
		receipt_free(it->parts[i].receipt);
	}
	free(it->parts);
	receipt_free(it->proof);
	free(it->path);
	if (it->fd >= 0)
		close(it->fd);
	node_put(it->b->t->tree, it->node);
}

static void batch_fini(struct batch *b)
{
	for (size_t i = 0; b->items && i < b->n; i++)
		item_fini(&b->items[i]);
	free(b->items);
	archive_free_packs(b);
	free(b->path);
	if (b->d)
		cache_dir_put(b->t->cache, b->d);
	cond_fini(&b->over);
	cond_fini(&b->idle);
	lock_fini(&b->lock);
}

/*
 * From the intent on nothing returns early: what may have been written must be named.
 * Objects are on their way when this returns; batch_finish() is due, whatever it says.
 */
static int batch_start(struct batch *b, struct archive_file *files)
{
	int r;

	r = batch_begin(b, files);
	if (r < 0)
		return r;
	for_each_in(b, item_select);
	if (batch_count(b) == 0)
		return 0;
	r = rows_make_dirs(b->t, b->dir, &b->dirid);
	if (r < 0) {
		all_out(b, r);
		return 0;
	}
	for_each_in(b, item_know);
	if (batch_count(b) == 0)
		return 0;
	r = archive_plan_packs(b);
	if (r == 0)
		r = batch_intent(b);
	if (r < 0)
		all_out(b, r);
	if (b->intent) {
		archive_put_all(b);
		r = failpoint(ARCHIVE_PUT_ALL);
		if (r < 0)
			all_out(b, r);
	}
	return 0;
}

static void batch_finish(struct batch *b)
{
	int r;

	if (!b->intent)
		return;
	archive_sync_all(b); /* meanwhile the store works */
	r = failpoint(ARCHIVE_SYNC);
	if (r < 0)
		all_out(b, r);
	archive_judge_puts(b);
	archive_judge_proofs(b);
	r = failpoint(ARCHIVE_VERIFY);
	if (r < 0)
		all_out(b, r);
	archive_commit(b);
}

/* ---- one after the other ------------------------------------------------------ */

static void finish_main(struct job *job)
{
	struct batch *b = (struct batch *)job;

	batch_finish(b);
	lock_take(&b->lock);
	b->is_over = true;
	cond_signal(&b->over);
	lock_drop(&b->lock);
}

static void batch_init(struct batch *b, struct tier *t, struct node *dir, size_t n)
{
	*b = (struct batch){ .job.run = finish_main, .t = t, .dir = dir, .n = n };
	lock_init(&b->lock, LOCK_RANK_LEAF, "archive batch");
	cond_init(&b->idle);
	cond_init(&b->over);
}

/* Waits for its end, when that was left to the pool. */
static void batch_wait_over(struct batch *b)
{
	lock_take(&b->lock);
	while (!b->is_over)
		cond_wait(&b->over, &b->lock);
	lock_drop(&b->lock);
}

static void batch_tell(struct batch *b, const struct archive_watch *watch)
{
	struct archive_file *files = b->items[0].file;

	batch_fini(b);
	if (watch)
		watch->done(watch->arg, files, b->n, false);
}

/* Files of one batch, at most: two of them for each job have a quarter of the descriptors. */
static size_t batch_most(const struct conf *conf)
{
	size_t n = conf->archive_batch, fds = BATCH_MIN;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur / 8 / conf->archive_jobs > fds)
		fds = lim.rlim_cur / 8 / conf->archive_jobs;
	return n < fds ? n : fds;
}

/* How many of these make one. */
static size_t batch_length(const struct archive_file *files, size_t n, size_t most)
{
	uint64_t bytes = files[0].id.size;
	size_t len = 1;

	while (len < n && len < most && bytes + files[len].id.size <= BATCH_BYTES)
		bytes += files[len++].id.size;
	return len;
}

static void none_began(struct archive_file *files, size_t n, int result,
		       const struct archive_watch *watch)
{
	for (size_t i = 0; i < n; i++) {
		files[i].result = result;
		files[i].bytes = 0;
	}
	if (watch)
		watch->done(watch->arg, files, n, result != -ECANCELED);
}

int archive_files(struct tier *t, struct node *dir, struct archive_file *files, size_t n,
		  const struct archive_watch *watch)
{
	size_t most = batch_most(t->conf), i = 0;
	struct batch both[2], *b, *before = NULL;
	int r = 0;

	for (; i < n && r == 0; i += b->n) {
		b = before == both ? both + 1 : both;
		batch_init(b, t, dir, batch_length(files + i, n - i, most));
		if (before && watch && watch->stopped(watch->arg))
			r = -ECANCELED;
		else
			r = batch_start(b, files + i);
		if (before) {
			batch_wait_over(before);
			batch_tell(before, watch);
		}
		before = NULL;
		if (r < 0) {
			batch_fini(b);
			none_began(files + i, n - i, r, watch);
		} else if (i + b->n < n) {
			pool_submit(t->pool_finish, &b->job);
			before = b;
		} else {
			batch_finish(b);
			batch_tell(b, watch);
		}
	}
	return r;
}
