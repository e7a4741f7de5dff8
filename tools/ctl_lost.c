/* SPDX-License-Identifier: MIT */
/*
 * ebbctl lost: what a lost cache disk took with it.
 *
 * There may be millions: each is printed when it comes, also as JSON, and none is kept.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "tools/ctl.h"
#include "tools/ctl_call.h"
#include "tools/ctl_progress.h"

struct lost {
	struct ctl_progress progress;
	bool json;
	uint64_t n; /* printed so far */
};

static void print_json(struct lost *l, struct json_object *o)
{
	static const char *const keys[] = { "name", "url", "index", "id" };
	struct json_object *shown = json_object_new_object();

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		json_object_object_add(shown, keys[i], ctl_json_text(ctl_str(o, keys[i])));
	if (l->n > 0)
		puts(",");
	ctl_print_json(shown);
	json_object_put(shown);
}

static void on_item(void *arg, struct json_object *o)
{
	struct lost *l = arg;
	const char *url = ctl_str(o, "url");
	AUTO_FREE char *name = ctl_shown(ctl_str(o, "name"));
	AUTO_FREE char *shown = ctl_shown(url ? url : "");

	ctl_progress_clear();
	if (l->json)
		print_json(l, o);
	else
		printf("%s\t%s\n", name, shown);
	l->n++;
}

static void on_progress(void *arg, struct json_object *o)
{
	struct lost *l = arg;

	ctl_progress_draw(&l->progress, (uint64_t)ctl_int(o, "done"), (uint64_t)ctl_int(o, "total"),
			  0);
}

static void sum_up(struct json_object *result)
{
	int64_t documents = ctl_int(result, "documents"), lost = ctl_int(result, "lost"),
		unknown = ctl_int(result, "unknown");

	if (lost > 0)
		ctl_complain("%" PRId64 " of %" PRId64 " documents that do not say synced have no "
			     "file",
			     lost, documents);
	if (unknown > 0)
		ctl_complain("%" PRId64 " documents say neither a path nor a name, and were left "
			     "out",
			     unknown);
}

static int lost_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	struct lost l = { .json = args->json };
	const struct ctl_events on = { .item = on_item, .progress = on_progress, .arg = &l };
	struct json_object *request, *result = NULL;
	AUTO_FREE char *error = NULL;
	struct ctl_mount m;
	int code;

	if (args->n > 1)
		return ctl_misuse(cmd, "lost takes one URL at most");
	code = ctl_mount_find(args->mount, &m);
	if (code != CTL_OK)
		return code;
	request = ctl_request("lost");
	if (args->n > 0)
		json_object_object_add(request, "url", json_object_new_string(args->v[0]));
	ctl_progress_start(&l.progress, "lost", "documents");
	if (l.json)
		puts("[");
	code = ctl_call(&m, request, &on, &result, &error);
	if (l.json)
		puts("]");
	ctl_progress_clear();
	if (result)
		sum_up(result);
	if (error)
		ctl_complain("cannot list all that is lost: %s", error);
	json_object_put(result);
	ctl_mount_fini(&m);
	return code;
}

const struct ctl_command ctl_lost = {
	.name = "lost",
	.synopsis = "[--json] [URL]",
	.summary = "documents in Elasticsearch whose file is nowhere",
	.text = "Goes through the documents that do not say synced, and prints a line for each whose file\n"
		"is neither in the cache nor in the store, NAME<TAB>URL: what a lost cache disk took with\n"
		"it. With URL, only for those whose URL begins with it. A document that was just made has\n"
		"10 seconds until its file must be there. Changes nothing; exits with 1 if some are lost.\n"
		"--json prints an array of objects: name, url, index, id.",
	.options = CTL_OPT_JSON,
	.run = lost_run,
};
