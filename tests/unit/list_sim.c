/* SPDX-License-Identifier: MIT */
/* See list_sim.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/unit/list_sim.h"

static const char *const texts[SIM_NAMES] = { "a", "b", "c", "d", "e", "f", "g", "h", "i" };

const char *sim_text(int n)
{
	return texts[n];
}

bool sim_is_dir(int n)
{
	return texts[n][0] == 'c' || texts[n][0] == 'g';
}

bool sim_exists(const struct sim *s, int n)
{
	return s->name[n].row || s->name[n].cache;
}

void sim_say(struct sim *s, const char *fmt, ...)
{
	size_t len;
	va_list ap;

	if (s->threads)
		return;
	len = strlen(s->log);
	va_start(ap, fmt);
	vsnprintf(s->log + len, sizeof(s->log) - len, fmt, ap);
	va_end(ap);
}

/* ---- set-up ------------------------------------------------------------------ */

static int put_listed_dir(struct tx *tx, void *arg)
{
	struct dir_row row = {
		.parent = ROW_ROOT_DIR, .name = "listed", .ino = 40, .attr = { .mode = 040755 }
	};
	int r = tx_dir_put(tx, &row);

	*(dirid_t *)arg = row.id;
	return r;
}

/*
 * ext4 lists a directory that was large once by the hashes of the names: one that
 * was removed and is made again is where it was.
 */
static void grow_dir(int fd)
{
	char name[64];

	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "a name that takes some room %030d", i);
		assert_int_equal(mknodat(fd, name, 0100600, 0), 0);
	}
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "a name that takes some room %030d", i);
		assert_int_equal(unlinkat(fd, name, 0), 0);
	}
}

struct sim *sim_new(void)
{
	struct sim *s = calloc(1, sizeof(*s));
	const char *tmp = getenv("TMPDIR");
	char path[300], err[512] = "";
	struct statfs fs;
	int fd;

	assert_non_null(s);
	snprintf(s->dir, sizeof(s->dir), "%s/ebb-list.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(s->dir));
	snprintf(path, sizeof(path), "%s/cache", s->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(fd, "listed", 0755), 0);
	s->fd = openat(fd, "listed", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	grow_dir(s->fd);
	assert_int_equal(fstatfs(s->fd, &fs), 0);
	s->at_most_once = fs.f_type == EXT4_SUPER_MAGIC;
	assert_int_equal(tree_new(&s->t.tree), 0);
	if (cache_open(fd, s->t.tree, &s->t.cache, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	snprintf(path, sizeof(path), "%s/catalogue", s->dir);
	if (catalogue_open(path, true, &s->t.cat, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	assert_int_equal(listings_new(&s->t.listings), 0);
	assert_int_equal(catalogue_write(s->t.cat, SYNC_NORMAL, put_listed_dir, &s->dirid), 0);
	node_set_dirid(tree_root(s->t.tree), ROW_ROOT_DIR);
	assert_int_equal(node_walk(s->t.tree, "listed", true, &s->d), 0);
	node_set_dirid(s->d, s->dirid);
	return s;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void sim_free(struct sim *s)
{
	node_put(s->t.tree, s->d);
	assert_int_equal(s->t.listings->by_dir.count, 0);
	assert_int_equal(tree_count(s->t.tree), 1);
	listings_free(s->t.listings);
	catalogue_close(s->t.cat);
	cache_close(s->t.cache);
	tree_free(s->t.tree);
	close(s->fd);
	assert_int_equal(nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	free(s);
}

/* ---- rows and cache names ------------------------------------------------------ */

static int row_put(struct sim *s, struct tx *tx, int n)
{
	struct file_row file = {
		.dir = s->dirid, .ino = 5000 + (uint64_t)n, .attr = { .mode = 0100644 }, .objdir = 1
	};
	struct dir_row dir = { .parent = s->dirid,
			       .ino = 5000 + (uint64_t)n,
			       .attr = { .mode = 040755 } };

	strcpy(file.name, texts[n]);
	strcpy(dir.name, texts[n]);
	return sim_is_dir(n) ? tx_dir_put(tx, &dir) : tx_file_put(tx, &file);
}

static int row_delete(struct sim *s, struct tx *tx, int n)
{
	struct dir_row dir;
	int r;

	if (!sim_is_dir(n))
		return tx_file_delete(tx, s->dirid, texts[n]);
	r = tx_dir_find(tx, s->dirid, texts[n], &dir);
	return r < 0 ? r : tx_dir_delete(tx, dir.id);
}

struct rows_job {
	struct sim *s;
	const struct sim_row *rows;
	int nrows;
};

static int run_rows(struct tx *tx, void *arg)
{
	struct rows_job *job = arg;
	int r = 0;

	for (int i = 0; i < job->nrows && r == 0; i++) {
		const struct sim_row *row = &job->rows[i];
		dirid_t d = job->s->dirid;

		if (row->what == ROW_PUT)
			r = row_put(job->s, tx, row->n);
		else if (row->what == ROW_DELETE)
			r = row_delete(job->s, tx, row->n);
		else if (row->what == ROW_MOVE)
			r = tx_file_move(tx, d, texts[row->n], d, texts[row->m]);
		else
			r = tx_file_swap(tx, d, texts[row->n], d, texts[row->m]);
	}
	return r;
}

static void commit(struct sim *s, const struct sim_row *rows, int nrows)
{
	struct rows_job job = { s, rows, nrows };

	if (nrows)
		assert_int_equal(catalogue_write(s->t.cat, SYNC_NORMAL, run_rows, &job), 0);
	for (int i = 0; i < nrows; i++) {
		struct sim_name *n = &s->name[rows[i].n], *m = &s->name[rows[i].m];

		if (rows[i].what == ROW_PUT)
			n->row = true;
		if (rows[i].what == ROW_DELETE || rows[i].what == ROW_MOVE)
			n->row = false;
		if (rows[i].what == ROW_MOVE)
			m->row = true;
	}
}

static void make(struct sim *s, int n)
{
	int r = sim_is_dir(n) ? mkdirat(s->fd, texts[n], 0755)
			      : mknodat(s->fd, texts[n], 0100644, 0);

	assert_int_equal(r, 0);
	s->name[n].cache = true;
}

static void unmake(struct sim *s, int n)
{
	assert_int_equal(unlinkat(s->fd, texts[n], sim_is_dir(n) ? AT_REMOVEDIR : 0), 0);
	s->name[n].cache = false;
	if (sim_is_dir(n)) {
		struct node *node = node_find(s->t.tree, s->d, texts[n]);

		if (node)
			cache_dir_forget(s->t.cache, node);
		node_put(s->t.tree, node);
	}
}

void sim_reset(struct sim *s, unsigned states)
{
	struct sim_row rows[SIM_NAMES];
	int nrows = 0;

	for (int n = 0; n < SIM_NAMES; n++, states >>= 2) {
		bool row = states & 1, cache = states & 2;

		if (cache && !s->name[n].cache)
			make(s, n);
		if (!cache && s->name[n].cache)
			unmake(s, n);
		if (row != s->name[n].row)
			rows[nrows++] = (struct sim_row){ row ? ROW_PUT : ROW_DELETE, n, n };
	}
	commit(s, rows, nrows);
	s->log[0] = '\0';
	sim_start(s);
}

void sim_start(struct sim *s)
{
	sim_say(s, "\n start:");
	for (int n = 0; n < SIM_NAMES; n++) {
		s->was_there[n] = s->was_ever[n] = sim_exists(s, n);
		s->was_gone[n] = !s->was_there[n];
		sim_say(s, " %s%s%s", texts[n], s->name[n].row ? "R" : "",
			s->name[n].cache ? "C" : "");
	}
	sim_say(s, "\n");
}

/* ---- operations ------------------------------------------------------------------- */

static void add(struct sim_op *op, enum sim_act act, int n, int m)
{
	op->step[op->nsteps++] = (struct sim_step){ .act = act, .n = n, .m = m };
}

static void add_row(struct sim_op *op, int what, int n, int m)
{
	op->rows[op->nrows].what = what;
	op->rows[op->nrows].n = n;
	op->rows[op->nrows++].m = m;
}

static void join_from(struct sim_op *op, int first)
{
	for (int i = first; i < op->nsteps - 1; i++)
		op->step[i].joined = true;
}

static void plan_one(struct sim *s, struct sim_op *op, int n)
{
	const struct sim_name *name = &s->name[n];
	enum sim_kind kind = op->kind;

	if (kind == SIM_ARCHIVE || kind == SIM_ARCHIVE_FAIL) {
		add(op, ACT_GAINED, n, n);
		if (kind == SIM_ARCHIVE)
			add_row(op, ROW_PUT, n, n);
		add(op, ACT_ROWS, n, n);
	} else if (kind == SIM_RELEASE) {
		add(op, ACT_RELEASE, n, n);
		add(op, ACT_UNLINK, n, n);
	} else if (kind == SIM_RESTORE || kind == SIM_CREATE) {
		add(op, ACT_MAKE, n, n);
	} else {
		if (kind == SIM_REWRITE && !name->cache)
			add(op, ACT_MAKE, n, n);
		if (name->row) {
			add(op, ACT_LOST, n, n);
			add_row(op, ROW_DELETE, n, n);
			add(op, ACT_ROWS, n, n);
		}
		/* the kernel lists nothing between the commit and the rename */
		op->step[op->nsteps - 1].joined = kind == SIM_REPLACE;
		if (kind == SIM_REPLACE)
			add(op, ACT_OVER, n, n);
		if (kind == SIM_REMOVE && name->cache)
			add(op, ACT_UNLINK, n, n);
		if (kind == SIM_REMOVE)
			add(op, ACT_DROP, n, n);
	}
}

static void plan_rename(struct sim *s, struct sim_op *op, int n, int m)
{
	const struct sim_name *from = &s->name[n], *to = &s->name[m];
	int first;

	if (from->row || to->row) {
		add(op, ACT_LOST, n, n);
		add(op, ACT_GAINED, m, m);
	}
	first = op->nsteps;
	if (to->row)
		add_row(op, ROW_DELETE, m, m);
	if (from->row)
		add_row(op, ROW_MOVE, n, m);
	if (from->row || to->row) {
		add(op, ACT_ROWS, n, m);
		add(op, ACT_RELEASE, m, m);
	}
	if (from->cache)
		add(op, ACT_RENAME, n, m);
	else if (to->cache)
		add(op, ACT_UNLINK, m, m);
	if (to->row && !to->cache && !from->row)
		join_from(op, first);
}

static void plan_exchange(struct sim *s, struct sim_op *op, int n, int m)
{
	const struct sim_name *a = &s->name[n], *b = &s->name[m];
	int first;

	if (a->row || b->row) {
		add(op, ACT_LOST, n, n);
		add(op, ACT_GAINED, m, m);
	}
	first = op->nsteps;
	if (a->row && b->row)
		add_row(op, ROW_SWAP, n, m);
	else if (a->row)
		add_row(op, ROW_MOVE, n, m);
	else if (b->row)
		add_row(op, ROW_MOVE, m, n);
	if (a->row || b->row) {
		add(op, ACT_ROWS, n, m);
		add(op, ACT_RELEASE, n, n);
		add(op, ACT_RELEASE, m, m);
	}
	if (a->cache && b->cache)
		add(op, ACT_EXCHANGE, n, m);
	else if (a->cache)
		add(op, ACT_RENAME, n, m);
	else if (b->cache)
		add(op, ACT_RENAME, m, n);
	join_from(op, first);
}

static bool possible(const struct sim *s, enum sim_kind kind, int n, int m)
{
	const struct sim_name *name = &s->name[n];
	bool two = kind == SIM_RENAME || kind == SIM_EXCHANGE;

	if (name->busy || (two && (n == m || s->name[m].busy)))
		return false;
	if ((two || kind == SIM_REPLACE) && (sim_is_dir(n) || (two && sim_is_dir(m))))
		return false;
	switch (kind) {
	case SIM_ARCHIVE:
	case SIM_ARCHIVE_FAIL:
		return name->cache && !name->row;
	case SIM_RELEASE:
		return name->cache && name->row;
	case SIM_RESTORE:
		return !name->cache && name->row;
	case SIM_REWRITE:
		return name->row;
	case SIM_CREATE:
		return !sim_exists(s, n);
	case SIM_EXCHANGE:
		return sim_exists(s, n) && sim_exists(s, m);
	default:
		return sim_exists(s, n);
	}
}

bool sim_op_begin(struct sim *s, struct sim_op *op, enum sim_kind kind, int n, int m)
{
	bool two = kind == SIM_RENAME || kind == SIM_EXCHANGE;

	if (!possible(s, kind, n, m))
		return false;
	*op = (struct sim_op){ .kind = kind };
	add(op, ACT_CLAIM, n, n);
	if (two)
		add(op, ACT_CLAIM, m, m);
	if (kind == SIM_RENAME)
		plan_rename(s, op, n, m);
	else if (kind == SIM_EXCHANGE)
		plan_exchange(s, op, n, m);
	else
		plan_one(s, op, n);
	add(op, ACT_UNCLAIM, n, n);
	s->name[n].busy = true;
	if (two)
		s->name[m].busy = true;
	return true;
}

static void claim(struct sim *s, struct sim_op *op, int n)
{
	struct node **node = &op->claimed[op->nclaimed++];

	assert_int_equal(node_get(s->t.tree, s->d, texts[n], sim_is_dir(n), node), 0);
	assert_true(node_try_claim(s->t.tree, *node));
}

static void unclaim(struct sim *s, struct sim_op *op)
{
	for (int i = 0; i < op->nclaimed; i++) {
		node_unclaim(s->t.tree, op->claimed[i]);
		node_put(s->t.tree, op->claimed[i]);
	}
	for (int i = 0; i < op->nsteps; i++)
		s->name[op->step[i].n].busy = false;
}

static void over(struct sim *s, int n)
{
	char name[16];

	snprintf(name, sizeof(name), "../new.%s", texts[n]);
	assert_int_equal(mknodat(s->fd, name, 0100644, 0), 0);
	assert_int_equal(renameat(s->fd, name, s->fd, texts[n]), 0);
	s->name[n].cache = true;
}

static void rename_cache(struct sim *s, int n, int m)
{
	tree_freeze(s->t.tree);
	assert_int_equal(renameat(s->fd, texts[n], s->fd, texts[m]), 0);
	tree_move_frozen(s->t.tree, s->d, texts[n], s->d, texts[m]);
	tree_thaw(s->t.tree);
	s->name[n].cache = false;
	s->name[m].cache = true;
}

static void exchange_cache(struct sim *s, int n, int m)
{
	tree_freeze(s->t.tree);
	assert_int_equal(renameat2(s->fd, texts[n], s->fd, texts[m], RENAME_EXCHANGE), 0);
	tree_swap_frozen(s->t.tree, s->d, texts[n], s->d, texts[m]);
	tree_thaw(s->t.tree);
}

static void act(struct sim *s, struct sim_op *op, const struct sim_step *step)
{
	static const char *const words[] = { "claim",	     "unclaim", "gained",   "lost",
					     "note-release", "rows",	"make",	    "unlink",
					     "over",	     "rename",	"exchange", "drop" };
	const char *text = texts[step->n];

	sim_say(s, " [%d %s %s%s]", op->kind, words[step->act], text,
		step->m != step->n ? texts[step->m] : "");
	switch (step->act) {
	case ACT_CLAIM:
		claim(s, op, step->n);
		break;
	case ACT_UNCLAIM:
		unclaim(s, op);
		break;
	case ACT_GAINED:
		listing_note_gained(&s->t, s->d, text);
		break;
	case ACT_LOST:
		listing_note_lost(&s->t, s->d, text);
		break;
	case ACT_RELEASE:
		listing_note_release(&s->t, s->d, text);
		break;
	case ACT_ROWS:
		commit(s, op->rows, op->nrows);
		break;
	case ACT_MAKE:
		make(s, step->n);
		break;
	case ACT_UNLINK:
		unmake(s, step->n);
		break;
	case ACT_OVER:
		over(s, step->n);
		break;
	case ACT_RENAME:
		rename_cache(s, step->n, step->m);
		break;
	case ACT_EXCHANGE:
		exchange_cache(s, step->n, step->m);
		break;
	case ACT_DROP:
		node_drop_name(s->t.tree, s->d, text);
		break;
	}
}

bool sim_op_step(struct sim *s, struct sim_op *op)
{
	bool joined;

	do {
		const struct sim_step *step = &op->step[op->at++];

		joined = step->joined;
		act(s, op, step);
	} while (joined);
	for (int n = 0; n < SIM_NAMES && !s->threads; n++)
		*(sim_exists(s, n) ? &s->was_ever[n] : &s->was_gone[n]) = true;
	return op->at < op->nsteps;
}
