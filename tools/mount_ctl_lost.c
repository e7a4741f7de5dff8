/* SPDX-License-Identifier: MIT */
/* lost: documents whose file is nowhere. */
#include "backend/sink.h"
#include "lib/clock.h"
#include "tier/lost.h"
#include "tools/mount_ctl_int.h"

#define PROGRESS_MS 200

struct lost {
	struct ctl_conn *c;
	int64_t told_ms; /* when progress was told last */
};

static void on_lost(void *arg, const char *name, const struct sink_doc *doc)
{
	struct lost *l = arg;
	struct json_object *o = json_object_new_object();

	ctl_add_str(o, "name", name);
	ctl_add_str(o, "url", doc->url);
	ctl_add_str(o, "index", doc->index);
	ctl_add_str(o, "id", doc->id);
	ctl_line(l->c, "item", o);
}

static void on_progress(void *arg, const struct lost_progress *p)
{
	struct lost *l = arg;
	int64_t now = clock_mono_ms();
	struct json_object *o;

	if (now - l->told_ms < PROGRESS_MS)
		return;
	l->told_ms = now;
	o = json_object_new_object();
	ctl_add_int(o, "done", (int64_t)p->docs_done);
	ctl_add_int(o, "total", (int64_t)p->docs_total);
	ctl_line(l->c, "progress", o);
}

static bool on_end(void *arg)
{
	return ctl_gone(((struct lost *)arg)->c);
}

int ctl_op_lost(struct ctl_conn *c, struct json_object *req)
{
	struct lost l = { .c = c, .told_ms = clock_mono_ms() };
	const struct lost_request lost = { .url = ctl_arg_str(req, "url"),
					   .lost = on_lost,
					   .progress = on_progress,
					   .end = on_end,
					   .arg = &l };
	struct lost_progress p = { 0 };
	int r;

	r = lost_run(c->t, &lost, &p, c->error, sizeof(c->error));
	c->result = json_object_new_object();
	ctl_add_int(c->result, "documents", (int64_t)p.docs_done);
	ctl_add_int(c->result, "lost", (int64_t)p.lost);
	ctl_add_int(c->result, "unknown", (int64_t)p.unknown);
	return r < 0 || p.lost > 0;
}
