/* SPDX-License-Identifier: MIT */
/* status: every part of the mount asked for what it knows.  tools/ctl_status.c documents the fields. */

#include "backend/sink.h"
#include "backend/store.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tier/blobs.h"
#include "tier/journal.h"
#include "tier/push.h"
#include "tier/reaper.h"
#include "tools/mount_ctl_int.h"

static struct json_object *group(struct json_object *o, const char *key)
{
	struct json_object *g = json_object_new_object();

	json_object_object_add(o, key, g);
	return g;
}

static void files_bytes(struct json_object *o, const char *key, int64_t files, int64_t bytes)
{
	struct json_object *g = group(o, key);

	ctl_add_int(g, "files", files > 0 ? files : 0);
	ctl_add_int(g, "bytes", bytes > 0 ? bytes : 0);
}

static void add_files(struct json_object *o, const struct catalogue_counts *n,
		      const struct reaper_status *s)
{
	files_bytes(o, "local", (int64_t)s->local_files, (int64_t)s->local_bytes);
	files_bytes(o, "archived", (int64_t)s->archived_files, (int64_t)s->archived_bytes);
	files_bytes(o, "released", n->files - (int64_t)(s->archived_files + s->stale_files),
		    n->file_bytes - (int64_t)(s->archived_bytes + s->stale_bytes));
	files_bytes(o, "trash", n->trash, n->trash_bytes);
	ctl_add_int(group(o, "other"), "files", (int64_t)s->other_files);
	ctl_add_int(o, "oldest_unarchived_s", s->oldest_unarchived_ms / 1000);
	ctl_add_int(o, "dirs_waiting", (int64_t)s->dirs_waiting);
	ctl_add_bool(o, "scanning", s->scanning);
}

static void add_rates(struct json_object *o, const struct reaper_status *s)
{
	struct json_object *rates = group(o, "rates");
	struct json_object *total = group(o, "since_start");

	ctl_add_double(rates, "archive_files_per_s", s->archive_files_per_s);
	ctl_add_double(rates, "archive_bytes_per_s", s->archive_bytes_per_s);
	ctl_add_double(rates, "release_files_per_s", s->release_files_per_s);
	ctl_add_int(total, "archived", (int64_t)s->archived_total);
	ctl_add_int(total, "released", (int64_t)s->released_total);
	ctl_add_int(total, "restored", (int64_t)s->restored_total);
	ctl_add_int(total, "failed", (int64_t)s->failed_total);
}

static void add_sinks(struct ctl_conn *c, struct json_object *o, const struct catalogue_counts *n)
{
	struct json_object *list = json_object_new_array();
	struct json_object *one;
	struct sink *sink = tier_sink(c->t);
	AUTO_FREE char *error = NULL;
	struct sink_health health;
	int64_t oldest_ns;

	json_object_object_add(o, "sinks", list);
	if (!sink)
		return;
	one = json_object_new_object();
	json_object_array_add(list, one);
	sink_health(sink, &health);
	ctl_add_str(one, "name", sink_name(sink));
	ctl_add_bool(one, "up", health.up);
	ctl_add_str(one, "error", health.error);
	ctl_add_str(one, "server", health.server);
	ctl_add_int(one, "waiting", n->events_waiting);
	ctl_add_int(one, "missing", n->events_missing);
	ctl_add_int(one, "poisoned", n->events_poisoned);
	if (cat_event_oldest(tier_catalogue(c->t), 0, &oldest_ns, &error) < 0)
		oldest_ns = clock_real_ns();
	ctl_add_int(one, "oldest_s", (clock_real_ns() - oldest_ns) / NSEC_PER_SEC);
	ctl_add_str(one, "oldest_error", error ? error : "");
}

static void add_store_ops(struct store *store, struct json_object *g)
{
	static const char *const names[STORE_OPS] = { [STORE_PUT] = "put",
						      [STORE_VERIFY] = "verify",
						      [STORE_STAT] = "stat",
						      [STORE_GET] = "get",
						      [STORE_DROP] = "drop" };
	struct json_object *ops = group(g, "ops");
	struct store_counts n;

	store_counts(store, &n);
	for (int i = 0; i < STORE_OPS; i++)
		ctl_add_int(ops, names[i], (int64_t)n.ops[i]);
	ctl_add_int(g, "bytes_put", (int64_t)n.bytes_put);
	ctl_add_int(g, "bytes_got", (int64_t)n.bytes_got);
	ctl_add_int(g, "errors", (int64_t)n.errors);
	ctl_add_int(g, "timeouts", (int64_t)n.timeouts);
}

static void add_store(struct ctl_conn *c, struct json_object *o)
{
	struct json_object *g = group(o, "store");
	struct store *store = tier_store(c->t);
	struct store_health health;

	store_health(store, &health);
	ctl_add_str(g, "url", store_name(store));
	ctl_add_bool(g, "up", health.up);
	ctl_add_str(g, "error", health.error);
	ctl_add_bool(g, "volume_ok", volume_ok(c->t));
	ctl_add_int(g, "free_bytes", (int64_t)health.free_bytes);
	ctl_add_int(g, "total_bytes", (int64_t)health.total_bytes);
	add_store_ops(store, g);
}

static void add_read_ahead(struct ctl_conn *c, struct json_object *o)
{
	struct json_object *g = group(o, "read_ahead");
	struct blobs_counts n;

	blobs_counts(tier_blobs(c->t), &n);
	ctl_add_int(g, "bytes", (int64_t)n.bytes);
	ctl_add_int(g, "loads", (int64_t)n.loads);
	ctl_add_int(g, "reads", (int64_t)n.reads);
	ctl_add_int(g, "unused", (int64_t)n.unused);
	ctl_add_int(g, "pushed", (int64_t)pushes_count(tier_pushes(c->t)));
}

static int add_cache(struct ctl_conn *c, struct json_object *o)
{
	struct json_object *g;
	struct cache_room room;
	int r = cache_room(tier_cache(c->t), &room);

	if (r < 0)
		return r;
	g = group(o, "cache");
	ctl_add_int(g, "used_pct", room.used_pct);
	ctl_add_int(g, "free_bytes", (int64_t)room.free_bytes);
	ctl_add_int(g, "total_bytes", (int64_t)room.total_bytes);
	ctl_add_int(g, "free_inodes", (int64_t)room.free_inodes);
	return 0;
}

static void add_journal(struct catalogue *cat, struct json_object *g)
{
	struct checkpoint_status s;

	ctl_add_int(g, "backlog_bytes", catalogue_journal_backlog(cat));
	if (catalogue_checkpoint_status(cat, &s) < 0)
		return;
	ctl_add_int(g, "next", (int64_t)catalogue_journal_seq(cat));
	ctl_add_int(g, "dropped", (int64_t)s.dropped - 1);
	ctl_add_int(g, "since_checkpoint_bytes", s.since_bytes);
	ctl_add_int(g, "checkpoint", (int64_t)s.seq);
	ctl_add_int(g, "checkpoint_s", s.seq ? (clock_real_ns() - s.done_ns) / NSEC_PER_SEC : 0);
}

/* Before anything is counted for the answer, which asks the catalogue itself. */
static void add_work(struct ctl_conn *c, struct json_object *o)
{
	struct json_object *g = group(o, "catalogue");
	struct catalogue_work work;

	catalogue_work(tier_catalogue(c->t), &work);
	ctl_add_int(g, "selects", (int64_t)work.selects);
	ctl_add_int(g, "commits", (int64_t)work.commits);
}

static void add_catalogue(struct ctl_conn *c, struct json_object *o)
{
	struct catalogue *cat = tier_catalogue(c->t);
	struct catalogue_ids ids = catalogue_ids(cat);
	char text[UID128_STR_SIZE];

	add_journal(cat, group(o, "journal"));
	ctl_add_bool(o, "readonly", catalogue_is_readonly(cat));
	ctl_add_str(o, "volume",
		    uid128_is_zero(&ids.volume) ? "" : uid128_print(&ids.volume, text));
	ctl_add_str(o, "node", uid128_print(&ids.node, text));
	ctl_add_str(o, "mountpoint", c->mountpoint);
	ctl_add_str(o, "version", EBB_VERSION);
}

static void add_fuse(struct ctl_conn *c, struct json_object *o)
{
	struct json_object *g = group(o, "fuse");
	struct json_object *requests = group(g, "requests");
	struct json_object *parked = group(g, "parked");
	struct fs_counts n;

	fs_counts(c->fs, &n);
	for (enum fs_request i = 0; i < FS_REQUESTS; i++)
		ctl_add_int(requests, fs_request_name(i), (int64_t)n.requests[i]);
	ctl_add_int(parked, "now", (int64_t)n.parked);
	ctl_add_int(parked, "store", (int64_t)n.parked_store);
	ctl_add_int(parked, "total", (int64_t)n.parked_total);
	ctl_add_int(parked, "refused", (int64_t)n.refused);
	ctl_add_int(g, "inodes", (int64_t)n.inodes);
	ctl_add_int(g, "inodes_forgotten", (int64_t)n.inodes_forgotten);
	ctl_add_bool(g, "passthrough", n.passthrough);
	ctl_add_bool(g, "io_uring", n.io_uring);
}

int ctl_op_status(struct ctl_conn *c, struct json_object *req)
{
	struct json_object *o = json_object_new_object();
	struct catalogue_counts counts;
	struct reaper_status status;
	int r;

	(void)req;
	c->result = o;
	add_work(c, o);
	r = reaper_status(c->t, &status);
	if (r == 0)
		r = catalogue_counts(tier_catalogue(c->t), &counts);
	if (r == 0)
		r = add_cache(c, o);
	if (r < 0)
		return ctl_error(c, "cannot tell the status: %s", ctl_reason(r));
	add_files(o, &counts, &status);
	add_rates(o, &status);
	add_sinks(c, o, &counts);
	add_store(c, o);
	add_read_ahead(c, o);
	add_fuse(c, o);
	add_catalogue(c, o);
	return 0;
}
