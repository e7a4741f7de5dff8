/* SPDX-License-Identifier: MIT */
/* ebbctl archive, release, restore, drain and verify: what takes a while and may fail file by file. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/units.h"
#include "tools/ctl.h"
#include "tools/ctl_call.h"
#include "tools/ctl_progress.h"

struct move {
	const struct ctl_command *cmd;
	struct ctl_progress progress;
	struct json_object *failures; /* --json; else NULL */
};

static void on_progress(void *arg, struct json_object *o)
{
	struct move *m = arg;
	int64_t done = ctl_int(o, "done") + ctl_int(o, "failed") + ctl_int(o, "skipped");

	ctl_progress_draw(&m->progress, (uint64_t)done, (uint64_t)ctl_int(o, "total"),
			  (uint64_t)ctl_int(o, "bytes"));
}

static void on_failed(void *arg, struct json_object *o)
{
	struct move *m = arg;
	AUTO_FREE char *quoted = ctl_quoted(ctl_str(o, "path") ? ctl_str(o, "path") : "");
	struct json_object *f;

	ctl_complain("cannot %s '%s': %s", m->cmd->name, quoted[0] ? quoted : "/",
		     ctl_str(o, "reason"));
	if (!m->failures)
		return;
	f = json_object_new_object();
	json_object_object_add(f, "path", ctl_json_text(ctl_str(o, "path")));
	json_object_object_add(f, "reason", ctl_json_text(ctl_str(o, "reason")));
	json_object_array_add(m->failures, f);
}

static const char *past(const char *verb)
{
	static const char *const words[][2] = { { "archive", "archived" },
						{ "release", "released" },
						{ "restore", "restored" },
						{ "drain", "drained" },
						{ "verify", "verified" } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i][0], verb) == 0)
			return words[i][1];
	return verb;
}

/* "archived 12 files (3.4 MiB), 1 failed, 2 skipped" */
static void print_summary(const struct move *m, struct json_object *result, bool dry_run)
{
	int64_t done = ctl_int(result, "done"), failed = ctl_int(result, "failed"),
		skipped = ctl_int(result, "skipped");
	char bytes[32];

	printf("%s%s %" PRId64 " file%s (%s)", dry_run ? "would have " : "", past(m->cmd->name),
	       done, done == 1 ? "" : "s",
	       units_print_bytes((uint64_t)ctl_int(result, "bytes"), bytes, sizeof(bytes)));
	if (failed)
		printf(", %" PRId64 " failed", failed);
	if (skipped)
		printf(", %" PRId64 " skipped", skipped);
	putchar('\n');
}

static void print_summary_json(struct move *m, struct json_object *result, int code, bool dry_run)
{
	static const char *const keys[] = { "done", "failed", "skipped", "bytes" };
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "command", json_object_new_string(m->cmd->name));
	json_object_object_add(o, "ok", json_object_new_boolean(code == CTL_OK));
	if (m->cmd->options & CTL_OPT_DRY_RUN)
		json_object_object_add(o, "dry_run", json_object_new_boolean(dry_run));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		json_object_object_add(o, keys[i], json_object_new_int64(ctl_int(result, keys[i])));
	json_object_object_add(o, "failures", json_object_get(m->failures));
	ctl_print_json(o);
	json_object_put(o);
}

static int call(struct move *mv, const struct ctl_mount *m, struct json_object *request,
		const struct ctl_args *args, int left_out)
{
	const struct ctl_events on = { .failed = on_failed, .progress = on_progress, .arg = mv };
	struct json_object *result = NULL;
	AUTO_FREE char *error = NULL;
	int code;

	ctl_progress_start(&mv->progress, mv->cmd->name, "files");
	code = ctl_call(m, request, &on, &result, &error);
	ctl_progress_clear();
	if (error)
		ctl_complain("cannot %s: %s", mv->cmd->name, error);
	if (code == CTL_OK)
		code = left_out;
	if (result && mv->failures)
		print_summary_json(mv, result, code, args->dry_run);
	else if (result)
		print_summary(mv, result, args->dry_run);
	json_object_put(result);
	return code;
}

static int move(const struct ctl_command *cmd, const struct ctl_args *args, bool all)
{
	struct move mv = { .cmd = cmd };
	struct json_object *request;
	struct ctl_mount m;
	int code, left_out;

	code = ctl_mount_find(args->mount, &m);
	if (code != CTL_OK)
		return code;
	mv.failures = args->json ? json_object_new_array() : NULL;
	request = ctl_request(cmd->name);
	json_object_object_add(request, "all", json_object_new_boolean(all));
	json_object_object_add(request, "dry_run", json_object_new_boolean(args->dry_run));
	left_out = ctl_add_paths(request, &m, args->v, args->n, NULL);
	/* Without a path the daemon would have nothing to do. */
	if (all || json_object_array_length(ctl_member(request, "paths")) > 0) {
		code = call(&mv, &m, request, args, left_out);
	} else {
		json_object_put(request);
		code = left_out;
	}
	json_object_put(mv.failures);
	ctl_mount_fini(&m);
	return code;
}

static int move_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	if (args->all && args->n > 0)
		return ctl_misuse(cmd, "give paths or --all, not both");
	if (!args->all && args->n == 0)
		return ctl_misuse(cmd, "%s needs a path, or --all", cmd->name);
	return move(cmd, args, args->all);
}

static int drain_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	if (args->n > 0)
		return ctl_misuse(cmd, "drain takes no path: see archive and release");
	return move(cmd, args, true);
}

static int verify_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	return move(cmd, args, args->n == 0);
}

#define ENDS                                                                                        \
	"\nReturns when it is done; a line on stderr for each file that failed. --json prints an\n" \
	"object: command, ok, done, failed, skipped, bytes, failures [path, reason]."

const struct ctl_command ctl_archive = {
	.name = "archive",
	.synopsis = "[--json] PATH...\n[--json] --all",
	.summary = "copy files to the store now",
	.text = "Copies files that are complete to the store, whatever their age; of a directory all below\n"
		"it. Local copies stay. A file that is open for writing is skipped, but fails if it is\n"
		"named itself." ENDS,
	.options = CTL_OPT_JSON | CTL_OPT_ALL,
	.run = move_run,
};

const struct ctl_command ctl_release = {
	.name = "release",
	.synopsis = "[--json] [-n] PATH...\n[--json] [-n] --all",
	.summary = "remove local copies of archived files",
	.text = "Unlinks the local copies of files that are archived, journalled and told to every sink;\n"
		"the files stay readable. What is not archived is not touched, and fails." ENDS,
	.options = CTL_OPT_JSON | CTL_OPT_ALL | CTL_OPT_DRY_RUN,
	.run = move_run,
};

const struct ctl_command ctl_restore = {
	.name = "restore",
	.synopsis = "[--json] PATH...\n[--json] --all",
	.summary = "bring the bytes of released files back",
	.text = "Copies released files back to the cache, compared with their checksums. What is removed or\n"
		"replaced comes back with ebbctl trash restore." ENDS,
	.options = CTL_OPT_JSON | CTL_OPT_ALL,
	.run = move_run,
};

const struct ctl_command ctl_drain = {
	.name = "drain",
	.synopsis = "[--json]",
	.summary = "archive, notify and release all that is complete now",
	.text = "Archives every complete file, tells the sinks, and releases the local copies. Exits with 0\n"
		"when nothing is left that it could do; what was skipped stays local." ENDS,
	.options = CTL_OPT_JSON,
	.run = drain_run,
};

const struct ctl_command ctl_verify = {
	.name = "verify",
	.synopsis = "[--json] [PATH...]",
	.summary = "compare the store's bytes with the catalogue's checksums",
	.text = "Has the store read every byte of the archived and released files (of a directory all below\n"
		"it; without a path everything) and compares checksum, size and version. Changes nothing.\n"
		"Skipped is what was changed or removed meanwhile." ENDS,
	.options = CTL_OPT_JSON,
	.run = verify_run,
};
