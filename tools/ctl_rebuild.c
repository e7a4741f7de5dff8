/* SPDX-License-Identifier: MIT */
/* ebbctl rebuild: the command line and the words of tier/rebuild.h.  Works without a daemon. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/units.h"
#include "tier/rebuild.h"
#include "tools/ctl.h"
#include "tools/ctl_progress.h"

struct options {
	struct conf conf; /* meta, store, store_timeout */
	struct uid128 node;
	bool has_node;
};

/* The next "name=value" of a list; a comma after a backslash belongs to the value.  NULL: the end. */
static char *next_option(char **list)
{
	char *from = *list, *to = from, *start = from;

	if (!from || !*from)
		return NULL;
	for (; *from && *from != ','; from++) {
		if (from[0] == '\\' && from[1] == ',')
			from++;
		*to++ = *from;
	}
	*list = *from ? from + 1 : from;
	*to = '\0';
	return start;
}

static int set_option(struct options *o, char *text, char *err, size_t size)
{
	char *value = strchr(text, '=');

	if (value)
		*value++ = '\0';
	if (strcmp(text, "node") == 0) {
		if (!value || uid128_parse(value, &o->node) < 0) {
			snprintf(err, size, "node=%s is no UUID", value ? value : "");
			return -EINVAL;
		}
		o->has_node = true;
		return 0;
	}
	if (strcmp(text, "meta") != 0 && strcmp(text, "store") != 0 &&
	    strcmp(text, "store_timeout") != 0) {
		snprintf(err, size, "rebuild knows meta, store, node and store_timeout, not '%s'",
			 text);
		return -EINVAL;
	}
	return conf_set(&o->conf, text, value, err, size);
}

static int parse(struct options *o, const char *list, char *err, size_t size)
{
	AUTO_FREE char *copy = strdup(list);
	char *at = copy, *text;
	int r = copy ? 0 : -ENOMEM;

	while (r == 0 && (text = next_option(&at)))
		r = *text ? set_option(o, text, err, size) : 0;
	if (r == 0 && (!o->conf.meta[0] || !o->conf.store[0])) {
		snprintf(err, size, "rebuild needs -o meta=FILE,store=URL");
		r = -EINVAL;
	}
	return r;
}

static volatile sig_atomic_t interrupted; /* what was begun is removed then */

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

static void catch_signals(void)
{
	const struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

static int on_progress(void *arg, const struct rebuild_progress *p)
{
	ctl_progress_draw(arg, p->parts, 0, p->bytes);
	return interrupted;
}

static void print_done(const struct options *o, const struct rebuild_result *res)
{
	char node[UID128_STR_SIZE], bytes[32];
	AUTO_FREE char *meta = ctl_shown(o->conf.meta);

	printf("rebuilt '%s': %" PRId64 " archived files (%s) in %" PRId64 " directories,\n"
	       "from %" PRIu64 " parts of the journal of node %s.\n",
	       meta, res->counts.files,
	       units_print_bytes((uint64_t)res->counts.file_bytes, bytes, sizeof(bytes)),
	       res->counts.dirs, res->done.parts, uid128_print(&res->node, node));
	puts("Changes of the last seconds before the loss may be undone: those that were not in the\n"
	     "journal. Files in the cache are found and adopted when it is mounted (with -o new_cache\n"
	     "if the cache was lost too).");
}

static void print_done_json(const struct options *o, const struct rebuild_result *res)
{
	struct json_object *j = json_object_new_object();
	char text[UID128_STR_SIZE];

	json_object_object_add(j, "meta", ctl_json_text(o->conf.meta));
	json_object_object_add(j, "node", json_object_new_string(uid128_print(&res->node, text)));
	json_object_object_add(j, "volume",
			       json_object_new_string(uid128_print(&res->volume, text)));
	json_object_object_add(j, "parts", json_object_new_int64((int64_t)res->done.parts));
	json_object_object_add(j, "bytes", json_object_new_int64((int64_t)res->done.bytes));
	json_object_object_add(j, "files", json_object_new_int64(res->counts.files));
	json_object_object_add(j, "file_bytes", json_object_new_int64(res->counts.file_bytes));
	json_object_object_add(j, "dirs", json_object_new_int64(res->counts.dirs));
	json_object_object_add(j, "trash", json_object_new_int64(res->counts.trash));
	ctl_print_json(j);
	json_object_put(j);
}

static int rebuild(const struct options *o, bool json)
{
	struct ctl_progress progress;
	const struct rebuild_request req = { .file = o->conf.meta,
					     .store = o->conf.store,
					     .node = o->has_node ? &o->node : NULL,
					     .timeout_ms = o->conf.store_timeout,
					     .progress = on_progress,
					     .arg = &progress };
	AUTO_FREE char *meta = ctl_quoted(o->conf.meta);
	struct rebuild_result res;
	char err[4096];
	int r;

	log_open("ebbctl", false);
	log_set_level(LOG_LEVEL_WARNING);
	catch_signals();
	ctl_progress_start(&progress, "rebuild", "parts");
	r = rebuild_run(&req, &res, err, sizeof(err));
	ctl_progress_clear();
	if (r < 0)
		return ctl_complain("cannot rebuild '%s': %s", meta, err[0] ? err : strerror(-r));
	if (json)
		print_done_json(o, &res);
	else
		print_done(o, &res);
	return CTL_OK;
}

static int rebuild_command(const struct ctl_command *cmd, const struct ctl_args *args)
{
	struct options o = { 0 };
	char err[1024] = "out of memory";
	int code;

	if (!args->options || args->n > 0)
		return ctl_misuse(cmd, "rebuild needs -o meta=FILE,store=URL and nothing more");
	if (conf_init(&o.conf) < 0)
		return ctl_complain("out of memory");
	code = parse(&o, args->options, err, sizeof(err)) < 0 ? ctl_misuse(cmd, "%s", err)
							      : rebuild(&o, args->json);
	conf_fini(&o.conf);
	return code;
}

const struct ctl_command ctl_rebuild = {
	.name = "rebuild",
	.synopsis = "[--json] -o meta=FILE,store=URL[,node=UUID]",
	.summary = "make a lost catalogue anew from the store; not mounted",
	.text = "Makes the catalogue FILE from the journal that a node kept in the store. Refuses to\n"
		"overwrite a file. A daemon that still runs on the old catalogue is shut out: it turns\n"
		"read-only. node= is needed where several nodes wrote to one store; without it they are\n"
		"listed. store_timeout= as for ebbfs.",
	.options = CTL_OPT_JSON | CTL_OPT_O,
	.no_mount = true,
	.run = rebuild_command,
};
