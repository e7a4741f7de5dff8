/* SPDX-License-Identifier: MIT */
/*
 * Finding a document's file.
 *
 *	doc --exact path--> state_look		there or nowhere
 *	    --URL---------> each path its URL ends in --no--\
 *	    --name------------------------------------------> rows, local files, rows
 *
 * Always true: an error, a scan that is not done, a page that was lost, is never
 * "nowhere"; the run ends with an error instead.  Text may have been percent-encoded or
 * not by who wrote the document: both readings are tried, and one that is there suffices.
 */
#include "tier/lost.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sink.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/text.h"
#include "tier/tier_int.h"

#define PAUSE_MS 100

/* ---- by path ---------------------------------------------------------------- */

/* 1: a file is there; 0: none; -errno. */
static int file_at(struct tier *t, const char *path)
{
	struct state_of look;
	int r;

	r = state_look_path(t, path, &look);
	switch (r) {
	case 0:
		return look.state != STATE_NONE && !look.is_dir;
	case -ENOENT:
	case -ENOTDIR:
	case -EISDIR:
	case -EINVAL:
	case -ENAMETOOLONG:
		return 0;
	default:
		return r;
	}
}

/* find() of the text as it is, and of what it stands for if it is percent-encoded. */
static int either(struct tier *t, const char *text, int (*find)(struct tier *t, const char *text))
{
	AUTO_FREE char *decoded = text_url_decode(text);
	int r;

	if (!decoded)
		return -ENOMEM;
	r = find(t, decoded);
	return r == 0 && strcmp(decoded, text) != 0 ? find(t, text) : r;
}

/* Behind "scheme://host/", or behind the slashes that a URL without them begins with. */
static const char *url_path(const char *url)
{
	const char *host = strstr(url, "://");
	const char *path = host ? strchr(host + 3, '/') : url;

	return path ? path + strspn(path, "/") : "";
}

/* Any of the paths a URL ends in: what is before the mount's own path is not known. */
static int file_behind(struct tier *t, const char *path)
{
	int r = 0;

	while (r == 0 && *path) {
		r = file_at(t, path);
		path += strcspn(path, "/");
		path += strspn(path, "/");
	}
	return r;
}

static const char *get_mount(const char *key, void *arg)
{
	return strcmp(key, "mount") == 0 ? arg : NULL;
}

/* The path that a URL of ours says.  0, -ENOENT, -ENOMEM. */
static int path_of_url(struct tier *t, const char *url, char **ret)
{
	const char *const forms[] = { t->conf->local_url, t->conf->url_template };
	AUTO_FREE char *mount = text_url_encode(t->mountpoint, strlen(t->mountpoint));
	int r = -ENOENT;

	if (!mount)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]) && r == -ENOENT; i++)
		r = text_template_read(forms[i], "path", get_mount, mount, url, ret);
	return r;
}

/* ---- by name ---------------------------------------------------------------- */

static int row_named(struct tier *t, const char *name)
{
	struct file_row row;

	return strlen(name) > ROW_NAME_MAX ? 0 : cat_find_name(t->cat, name, &row, 1);
}

static void note_found(void *arg, const char *path)
{
	bool *found = arg;

	(void)path;
	*found = true;
}

/* Rows twice: a file may be archived and released, or brought back, between two looks. */
static int file_named(struct tier *t, const char *name)
{
	bool found = false;
	int r;

	r = row_named(t, name);
	if (r == 0)
		r = reaper_find_local(t, name, note_found, &found);
	if (r != 0 || found)
		return r < 0 ? r : 1;
	return row_named(t, name);
}

/* ---- one document ------------------------------------------------------------- */

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

struct where {
	char *path;	  /* owned; NULL: not known exactly */
	const char *tail; /* borrowed: the URL's own path; "" none */
	const char *name; /* borrowed; "" not known */
	bool encoded;	  /* path and name are a URL's */
};

static int find_where(struct tier *t, const struct sink_doc *doc, struct where *w)
{
	int r = -ENOENT;

	*w = (struct where){ .tail = doc->url ? url_path(doc->url) : "" };
	if (doc->path) {
		w->path = strdup(doc->path);
		r = w->path ? 0 : -ENOMEM;
	} else if (doc->url) {
		r = path_of_url(t, doc->url, &w->path);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	w->encoded = !doc->path && (w->path || !doc->name);
	w->name = w->path ? last_part(w->path) : doc->name ? doc->name : last_part(w->tail);
	return 0;
}

static int look(struct tier *t, const struct where *w)
{
	bool scanning = reaper_scanning(t); /* before looking: it may end meanwhile */
	int r = 0;

	if (w->path)
		r = either(t, w->path, file_at);
	else if (strcmp(last_part(w->tail), w->name) == 0)
		r = either(t, w->tail, file_behind);
	if (w->path && r != -ELOOP)
		return r;
	if (r == 0 || r == -ELOOP)
		r = either(t, w->name, file_named);
	return r == 0 && scanning ? -EBUSY : r;
}

int lost_look(struct tier *t, const struct sink_doc *doc, enum lost_is *ret, char **ret_name)
{
	AUTO_FREE char *path = NULL, *name = NULL;
	enum lost_is is = LOST_NOT_OURS;
	bool ours;
	struct where w;
	int r;

	r = find_where(t, doc, &w);
	path = w.path;
	if (r < 0)
		return r;
	if (w.name[0]) {
		name = w.encoded ? text_url_decode(w.name) : strdup(w.name);
		if (!name)
			return -ENOMEM;
	}
	ours = !doc->removed && (!name || text_match_any(t->conf->es_match, name));
	if (ours && !name) {
		is = LOST_UNKNOWN;
	} else if (ours) {
		r = look(t, &w);
		if (r < 0)
			return r;
		is = r > 0 ? LOST_THERE : LOST_NOWHERE;
	}
	*ret = is;
	*ret_name = TAKE_PTR(name);
	return 0;
}

/* ---- all of them ----------------------------------------------------------------- */

struct run {
	struct tier *t;
	const struct lost_request *req;
	struct lost_progress p;
	int64_t old_ms; /* from then on no document is young; 0: not known yet */
	int r;		/* what lost_look failed with */
};

static bool asked_to_end(void *arg)
{
	struct run *run = arg;

	return run->req->end(run->req->arg);
}

/* Until every document is LOST_YOUNG_MS old: they are those of one instant, so once is enough. */
static int wait_until_old(struct run *run)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };

	while (clock_mono_ms() < run->old_ms) {
		if (asked_to_end(run))
			return -ECANCELED;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static bool is_asked(const struct run *run, const struct sink_doc *doc)
{
	const char *url = run->req->url;

	return !url || (doc->url && strncmp(doc->url, url, strlen(url)) == 0);
}

static int look_at(struct run *run, const struct sink_doc *doc)
{
	AUTO_FREE char *name = NULL;
	enum lost_is is;
	int r;

	r = lost_look(run->t, doc, &is, &name);
	if (r == 0 && is == LOST_NOWHERE && clock_mono_ms() < run->old_ms) {
		r = wait_until_old(run);
		if (r < 0)
			return r;
		free(TAKE_PTR(name));
		r = lost_look(run->t, doc, &is, &name);
	}
	if (r < 0) {
		run->r = r;
		return r;
	}
	run->p.lost += is == LOST_NOWHERE;
	run->p.unknown += is == LOST_UNKNOWN;
	if (is == LOST_NOWHERE)
		run->req->lost(run->req->arg, name, doc);
	return 0;
}

static int on_doc(void *arg, const struct sink_doc *doc, uint64_t total)
{
	struct run *run = arg;
	int r = 0;

	if (run->old_ms == 0)
		run->old_ms = clock_mono_ms() + LOST_YOUNG_MS;
	if (asked_to_end(run))
		return -ECANCELED;
	run->p.docs_total = total;
	if (is_asked(run, doc))
		r = look_at(run, doc);
	run->p.docs_done++;
	run->req->progress(run->req->arg, &run->p);
	return r;
}

/* Why the run failed, for the user. */
static void explain(const struct run *run, struct sink *sink, int r, char *err, size_t size)
{
	struct sink_health h;

	if (r == -ECANCELED) {
		snprintf(err, size, "it was stopped before it was done");
	} else if (run->r == -EBUSY) {
		snprintf(err, size,
			 "the cache is still being scanned, and some files are known by name "
			 "only: try again when ebbctl status says that scanning is done");
	} else if (run->r < 0) {
		snprintf(err, size, "the cache or the catalogue cannot be read: %s", strerror(-r));
	} else {
		sink_health(sink, &h);
		snprintf(err, size, "%s", h.error);
	}
}

int lost_run(struct tier *t, const struct lost_request *req, struct lost_progress *ret, char *err,
	     size_t size)
{
	struct run run = { .t = t, .req = req };
	const struct sink_scan scan = { .each = on_doc, .end = asked_to_end, .arg = &run };
	struct sink *sink = NULL;
	int r;

	err[0] = '\0';
	/* A sink is one thread's, and the other one must not wait for us. */
	r = sink_es_new(t->conf, &sink, err, size);
	if (r == -ENOMEM)
		snprintf(err, size, "out of memory");
	if (r == 0 && !sink) {
		snprintf(err, size, "no es= is set: no documents are known");
		r = -ENODATA;
	}
	if (r < 0)
		return r;
	r = sink_scan(sink, &scan);
	if (r < 0)
		explain(&run, sink, r, err, size);
	sink_free(sink);
	*ret = run.p;
	return r;
}
