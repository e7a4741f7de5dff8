/* SPDX-License-Identifier: MIT */
/*
 * What listings must know of names whose rows change meanwhile.
 *
 *	note --> change ----(commit)----> the claim ends: forgotten
 *	           |
 *	           +--> record in each listing of the directory, for the listing's life
 *
 * A change is kept even while nobody lists the directory: a listing that starts
 * between the note and the commit reads rows of before the commit, and must
 * still be told.  All under one lock, held for a hash look-up; system calls and SELECTs
 * are made outside it, under the listing's turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tier/list_int.h"

#define RECORD_OF(l) TABLE_ENTRY(l, struct record, link)

/* ---- tables --------------------------------------------------------------- */

static uint32_t hash_of_record(const struct tlink *link)
{
	return RECORD_OF(link)->hash;
}

static uint32_t hash_of_watch(const struct tlink *link)
{
	return table_hash_u64((uintptr_t)TABLE_ENTRY(link, struct watch, by_dir)->dir);
}

static uint32_t hash_of_change(const struct tlink *link)
{
	return table_hash_u64((uintptr_t)TABLE_ENTRY(link, struct change, by_node)->node);
}

int listings_new(struct listings **ret)
{
	struct listings *ls = calloc(1, sizeof(*ls));

	if (!ls)
		return -ENOMEM;
	lock_init(&ls->lock, LOCK_RANK_WATCH, "listings");
	cond_init(&ls->cond);
	table_init(&ls->by_dir, hash_of_watch);
	table_init(&ls->by_node, hash_of_change);
	*ret = ls;
	return 0;
}

static struct watch *watch_find(struct listings *ls, const struct node *dir) REQUIRES(ls->lock)
{
	struct tlink *l = table_chain(&ls->by_dir, table_hash_u64((uintptr_t)dir));

	for (; l; l = l->next) {
		struct watch *w = TABLE_ENTRY(l, struct watch, by_dir);

		if (w->dir == dir)
			return w;
	}
	return NULL;
}

static struct watch *watch_get(struct listings *ls, const struct node *dir) REQUIRES(ls->lock)
{
	struct watch *w = watch_find(ls, dir);

	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->dir = dir;
	table_add(&ls->by_dir, &w->by_dir);
	return w;
}

static void watch_drop(struct listings *ls, struct watch *w) REQUIRES(ls->lock)
{
	if (w->listings || w->changes)
		return;
	table_del(&ls->by_dir, &w->by_dir);
	free(w);
}

/* ---- changes ---------------------------------------------------------------- */

static void change_free(struct listings *ls, struct change *c) REQUIRES(ls->lock)
{
	table_del(&ls->by_node, &c->by_node);
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	watch_drop(ls, c->watch);
	free(c);
}

/* The claim of node is about to end: its changes are committed, or will never be. */
static void claim_ends(struct node *node, void *arg)
{
	struct listings *ls = arg;
	struct tlink *l, *next;

	lock_take(&ls->lock);
	for (l = table_chain(&ls->by_node, table_hash_u64((uintptr_t)node)); l; l = next) {
		struct change *c = TABLE_ENTRY(l, struct change, by_node);

		next = l->next;
		if (c->node == node)
			change_free(ls, c);
	}
	lock_drop(&ls->lock);
}

static bool change_add(struct listings *ls, struct tree *tree, const struct node *dir,
		       const struct node *node, const char *name) REQUIRES(ls->lock)
{
	struct watch *w = watch_get(ls, dir);
	size_t len = strlen(name);
	struct change *c = w ? malloc(sizeof(*c) + len + 1) : NULL;

	if (!c) {
		if (w)
			watch_drop(ls, w);
		return false;
	}
	if (!ls->tree) {
		ls->tree = tree;
		tree_on_unclaim(tree, claim_ends, ls);
	}
	c->node = node;
	c->watch = w;
	c->next = w->changes;
	c->prev = &w->changes;
	if (c->next)
		c->next->prev = &c->next;
	w->changes = c;
	c->len = (uint8_t)len;
	memcpy(c->name, name, len + 1);
	table_add(&ls->by_node, &c->by_node);
	return true;
}

NO_TS_ANALYSIS void listings_free(struct listings *ls)
{
	if (!ls)
		return;
	if (ls->tree)
		tree_on_unclaim(ls->tree, NULL, NULL);
	for (uint32_t i = 0; i < ls->by_node.n; i++) {
		struct tlink *l;

		while ((l = table_bucket(&ls->by_node, i)))
			change_free(ls, TABLE_ENTRY(l, struct change, by_node));
	}
	table_fini(&ls->by_dir);
	table_fini(&ls->by_node);
	cond_fini(&ls->cond);
	lock_fini(&ls->lock);
	free(ls);
}

/* ---- records ------------------------------------------------------------------ */

struct record *record_find(struct listing *l, const char *name)
{
	size_t len = strlen(name);
	uint32_t hash = table_hash_bytes(0, name, len);

	for (struct tlink *k = table_chain(&l->records, hash); k; k = k->next) {
		struct record *rec = RECORD_OF(k);

		if (rec->hash == hash && rec->len == len && memcmp(rec->name, name, len) == 0)
			return rec;
	}
	return NULL;
}

static int record_add(struct listing *l, const char *name, bool known, bool given)
{
	size_t len = strlen(name);
	struct record *rec = malloc(sizeof(*rec) + len + 1);

	if (!rec)
		return -ENOMEM;
	*rec = (struct record){ .hash = table_hash_bytes(0, name, len),
				.known = known,
				.given = given,
				.len = (uint8_t)len };
	memcpy(rec->name, name, len + 1);
	table_add(&l->records, &rec->link);
	return 0;
}

void records_free(struct listing *l)
{
	for (uint32_t i = 0; i < l->records.n; i++) {
		struct tlink *k = table_bucket(&l->records, i), *next;

		for (; k; k = next) {
			next = k->next;
			free(RECORD_OF(k));
		}
	}
	table_fini(&l->records);
	table_init(&l->records, hash_of_record);
}

int listing_begin(struct listings *ls, struct listing *l)
{
	int r = 0;

	lock_take(&ls->lock);
	records_free(l);
	l->phase = LIST_ROWS;
	l->scanned = false;
	l->broken = 0;
	l->passed[0] = '\0';
	for (struct change *c = l->watch->changes; c && r == 0; c = c->next)
		if (!record_find(l, c->name))
			r = record_add(l, c->name, true, false);
	l->broken = r;
	lock_drop(&ls->lock);
	return r;
}

/* ---- listings ------------------------------------------------------------------ */

int watch_listing(struct listings *ls, struct listing *l)
{
	table_init(&l->records, hash_of_record);
	lock_take(&ls->lock);
	l->watch = watch_get(ls, l->dir);
	if (l->watch) {
		l->next = l->watch->listings;
		l->watch->listings = l;
	}
	lock_drop(&ls->lock);
	return l->watch ? 0 : -ENOMEM;
}

static void turn_wait(struct listings *ls) REQUIRES(ls->lock)
{
	ls->nwaiting++;
	cond_wait(&ls->cond, &ls->lock);
	ls->nwaiting--;
}

static void turn_end(struct listings *ls, struct listing *l) REQUIRES(ls->lock)
{
	l->busy = false;
	if (ls->nwaiting)
		cond_broadcast(&ls->cond);
}

void unwatch_listing(struct listings *ls, struct listing *l)
{
	struct listing **p;

	lock_take(&ls->lock);
	while (l->busy || l->npins)
		turn_wait(ls);
	for (p = &l->watch->listings; *p != l;)
		p = &(*p)->next;
	*p = l->next;
	watch_drop(ls, l->watch);
	lock_drop(&ls->lock);
	records_free(l);
	table_fini(&l->records);
}

void listing_turn(struct listings *ls, struct listing *l)
{
	lock_take(&ls->lock);
	while (l->busy)
		turn_wait(ls);
	l->busy = true;
	lock_drop(&ls->lock);
}

void listing_turn_end(struct listings *ls, struct listing *l)
{
	lock_take(&ls->lock);
	turn_end(ls, l);
	lock_drop(&ls->lock);
}

/* ---- notes ----------------------------------------------------------------------- */

int list_has_row(struct tier *t, struct node *dir, const char *name)
{
	struct file_row file;
	struct dir_row sub;
	bool is_dir;
	dirid_t id;
	int r;

	r = state_dirid(t, dir, &id);
	if (r < 0 || id <= 0)
		return r == -ENOENT ? 0 : r;
	r = cat_name_get(t->cat, id, name, &file, &sub, &is_dir);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : 1;
}

static bool records_now(const struct listing *l)
{
	return l->phase == LIST_ROWS || l->phase == LIST_SCAN;
}

/*
 * Counts the note where there is a record; returns whether some listing has none.
 * had_row: 1, 0, -errno, or -1 << 30: not asked, add none.
 */
#define NOT_ASKED (-(1 << 30))

static bool records_note(struct listings *ls, const struct node *dir, const char *name, int had_row)
	REQUIRES(ls->lock)
{
	struct watch *w = watch_find(ls, dir);
	bool missing = false;

	for (struct listing *l = w ? w->listings : NULL; l; l = l->next) {
		struct record *rec = record_find(l, name);
		bool passed = strcmp(name, l->passed) <= 0; /* all rows, once it scans */
		int r;

		if (rec)
			rec->nnotes++;
		if (rec || !records_now(l))
			continue;
		missing = true;
		if (had_row == NOT_ASKED)
			continue;
		/* a row so far: the first pass gives it when it comes by; none: the scan does */
		if (had_row > 0)
			r = record_add(l, name, true, passed);
		else
			r = record_add(l, name, l->phase == LIST_ROWS, false);
		if (r == 0 && had_row < 0)
			r = had_row;
		if (r < 0 && !l->broken)
			l->broken = r;
	}
	return missing;
}

static void note_change(struct tier *t, struct node *dir, const char *name)
{
	struct listings *ls = t->listings;
	struct node *node = node_find(t->tree, dir, name);
	bool ask, kept;
	int had_row;

	lock_take(&ls->lock);
	kept = !node || change_add(ls, t->tree, dir, node, name);
	ask = records_note(ls, dir, name, NOT_ASKED);
	lock_drop(&ls->lock);
	if (node) {
		node_mark(t->tree, node);
		node_put(t->tree, node);
	}
	if (!kept)
		log_error("cannot note a change of '%s' for who lists its directory: %s", name,
			  strerror(ENOMEM));
	if (!ask)
		return;
	had_row = list_has_row(t, dir, name);
	lock_take(&ls->lock);
	records_note(ls, dir, name, had_row);
	lock_drop(&ls->lock);
}

void listing_note_gained(struct tier *t, struct node *dir, const char *name)
{
	note_change(t, dir, name);
}

void listing_note_lost(struct tier *t, struct node *dir, const char *name)
{
	note_change(t, dir, name);
}

/* A listing whose scan may still be to meet this name, although it has a row. */
static struct listing *needs_drain(struct listings *ls, const struct node *dir, const char *name)
	REQUIRES(ls->lock)
{
	struct watch *w = watch_find(ls, dir);

	for (struct listing *l = w ? w->listings : NULL; l; l = l->next) {
		struct record *rec;

		if (l->phase != LIST_SCAN || l->scanned || l->broken)
			continue;
		rec = record_find(l, name);
		if (rec && !rec->known && !rec->given)
			return l;
	}
	return NULL;
}

void listing_note_release(struct tier *t, struct node *dir, const char *name)
{
	struct listings *ls = t->listings;
	struct listing *l;

	lock_take(&ls->lock);
	records_note(ls, dir, name, NOT_ASKED);
	while ((l = needs_drain(ls, dir, name))) {
		int r;

		l->npins++;
		while (l->busy)
			turn_wait(ls);
		l->busy = true;
		/* while this waited, it may have met the name, or have been started again */
		if (l == needs_drain(ls, dir, name)) {
			lock_drop(&ls->lock);
			r = scan_drain(&l->scan, t, l->dir, l->scan_bytes);
			lock_take(&ls->lock);
			l->scanned = l->scan.eof;
			if (r < 0)
				l->broken = r;
		}
		l->npins--;
		turn_end(ls, l);
	}
	lock_drop(&ls->lock);
}
