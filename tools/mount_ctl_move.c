/* SPDX-License-Identifier: MIT */
/* archive, release, restore, drain, verify: what moves or reads bytes, and says how far it is. */
#include <errno.h>

#include "lib/clock.h"
#include "tier/reaper.h"
#include "tier/state.h"
#include "tier/verify.h"
#include "tools/mount_ctl_int.h"

#define PROGRESS_MS 200

/* What the callbacks of one command share. */
struct move {
	struct ctl_conn *c;
	int64_t told_ms;  /* when progress was told last */
	uint64_t missing; /* paths that are not there */
	struct reap_progress last;
};

static struct json_object *progress_object(const struct reap_progress *p, uint64_t more_failed)
{
	struct json_object *o = json_object_new_object();

	ctl_add_int(o, "done", (int64_t)p->files_done);
	ctl_add_int(o, "failed", (int64_t)(p->files_failed + more_failed));
	ctl_add_int(o, "skipped", (int64_t)p->files_skipped);
	ctl_add_int(o, "bytes", (int64_t)p->bytes_done);
	ctl_add_int(o, "total", (int64_t)p->files_total);
	return o;
}

static int on_progress(void *arg, const struct reap_progress *p)
{
	struct move *m = arg;
	int64_t now = clock_mono_ms();

	m->last = *p;
	if (now - m->told_ms >= PROGRESS_MS) {
		m->told_ms = now;
		ctl_line(m->c, "progress", progress_object(p, m->missing));
	}
	return ctl_gone(m->c);
}

static void on_failed(void *arg, const char *path, const char *reason)
{
	struct move *m = arg;

	ctl_failed(m->c, path, reason);
}

/* Tells what is not there; what is left is moved to the front. */
static size_t keep_existing(struct move *m, struct ctl_paths *paths)
{
	struct state_of look;
	size_t n = 0;

	for (size_t i = 0; i < paths->n; i++) {
		int r = ctl_look(m->c->t, paths->v[i], &look);

		if (r == 0 && look.state == STATE_NONE)
			r = -ENOENT;
		if (r < 0) {
			m->missing++;
			ctl_failed(m->c, paths->v[i], ctl_reason(r));
		} else {
			paths->v[n++] = paths->v[i];
		}
	}
	return n;
}

static int finish(struct move *m, int r)
{
	m->c->result = progress_object(&m->last, m->missing);
	if (r == -ECANCELED)
		return ctl_error(m->c, "it was stopped before it was done");
	if (r < 0 && r != -EIO)
		return ctl_error(m->c, "it could not be done: %s", ctl_reason(r));
	return r < 0 || m->missing > 0;
}

static int reap(struct ctl_conn *c, struct json_object *req, enum reap_what what)
{
	struct move m = { .c = c, .told_ms = clock_mono_ms() };
	struct reap_request reap = {
		.what = what, .progress = on_progress, .failed = on_failed, .arg = &m
	};
	struct ctl_paths paths;
	int r = 0;

	if (ctl_paths_read(req, &paths) < 0)
		return ctl_error(c, "the request has neither paths nor 'all'");
	reap.dry_run = paths.dry_run;
	if (!paths.all) {
		reap.paths = paths.v;
		reap.npaths = keep_existing(&m, &paths);
	}
	/* No paths would mean everything: that has to be asked for. */
	if (paths.all || reap.npaths > 0)
		r = reaper_run(c->t, &reap);
	ctl_paths_fini(&paths);
	return finish(&m, r);
}

int ctl_op_archive(struct ctl_conn *c, struct json_object *req)
{
	return reap(c, req, REAP_ARCHIVE);
}

int ctl_op_release(struct ctl_conn *c, struct json_object *req)
{
	return reap(c, req, REAP_RELEASE);
}

int ctl_op_restore(struct ctl_conn *c, struct json_object *req)
{
	return reap(c, req, REAP_RESTORE);
}

int ctl_op_drain(struct ctl_conn *c, struct json_object *req)
{
	struct move m = { .c = c, .told_ms = clock_mono_ms() };
	const struct reap_request drain = {
		.what = REAP_DRAIN, .progress = on_progress, .failed = on_failed, .arg = &m
	};

	(void)req;
	return finish(&m, reaper_run(c->t, &drain));
}

/* ---- verify --------------------------------------------------------------------------------- */

static int on_verify_progress(void *arg, const struct verify_progress *v)
{
	const struct reap_progress p = { .files_done = v->files_done,
					 .files_failed = v->files_bad,
					 .files_skipped = v->files_skipped,
					 .bytes_done = v->bytes_done,
					 .files_total = v->files_total };

	return on_progress(arg, &p);
}

int ctl_op_verify(struct ctl_conn *c, struct json_object *req)
{
	struct move m = { .c = c, .told_ms = clock_mono_ms() };
	struct verify_request verify = { .progress = on_verify_progress,
					 .bad = on_failed,
					 .arg = &m };
	struct ctl_paths paths;
	int r;

	if (ctl_paths_read(req, &paths) < 0)
		return ctl_error(c, "the request has neither paths nor 'all'");
	if (!paths.all) {
		verify.paths = paths.v;
		verify.npaths = paths.n;
	}
	r = verify_run(c->t, &verify);
	ctl_paths_fini(&paths);
	return finish(&m, r);
}
