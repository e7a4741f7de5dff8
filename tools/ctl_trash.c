/* SPDX-License-Identifier: MIT */
/* ebbctl trash: list, restore, empty. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/units.h"
#include "tools/ctl.h"
#include "tools/ctl_call.h"

/* ---- list ----------------------------------------------------------------------------------- */

static const char *time_text(int64_t seconds, char *buf, size_t size)
{
	time_t when = seconds;
	struct tm tm;

	if (!localtime_r(&when, &tm) || strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(buf, size, "%" PRId64, seconds);
	return buf;
}

static void print_item(void *arg, struct json_object *o)
{
	const char *path = ctl_str(o, "path");
	AUTO_FREE char *shown = ctl_shown(path ? path : "");
	char removed[32], due[32];

	(void)arg;
	printf("%" PRId64 "\t%s\t%s\t%" PRId64 "\t%s\t%s\n", ctl_int(o, "id"),
	       time_text(ctl_int(o, "removed"), removed, sizeof(removed)),
	       time_text(ctl_int(o, "due"), due, sizeof(due)), ctl_int(o, "size"),
	       ctl_str(o, "reason"), shown);
}

static void collect_item(void *arg, struct json_object *o)
{
	json_object_object_add(o, "path", ctl_json_text(ctl_str(o, "path")));
	json_object_object_add(o, "object", ctl_json_text(ctl_str(o, "object")));
	json_object_array_add(arg, json_object_get(o));
}

static int list(const struct ctl_mount *m, const struct ctl_args *args)
{
	struct json_object *items = args->json ? json_object_new_array() : NULL;
	const struct ctl_events on = { .item = items ? collect_item : print_item, .arg = items };
	AUTO_FREE char *error = NULL;
	int code;

	if (!items && isatty(STDOUT_FILENO))
		puts("ID\tREMOVED\t\t\tDROPPED AFTER\t\tBYTES\tREASON\tPATH");
	code = ctl_call(m, ctl_request("trash-list"), &on, NULL, &error);
	if (error)
		ctl_complain("cannot list the trash: %s", error);
	if (items && code == CTL_OK)
		ctl_print_json(items);
	json_object_put(items);
	return code;
}

/* ---- restore ---------------------------------------------------------------------------------- */

static bool is_id(const char *s)
{
	return s[0] && strspn(s, "0123456789") == strlen(s) && strlen(s) < 19;
}

static int restore(const struct ctl_mount *m, const struct ctl_args *args, const char *what)
{
	struct json_object *request = ctl_request("trash-restore");
	struct json_object *result = NULL;
	AUTO_FREE char *error = NULL;
	AUTO_FREE char *quoted = ctl_quoted(what);
	AUTO_FREE char *shown = NULL;
	AUTO_FREE char *rel = NULL;
	int code;

	if (is_id(what)) {
		json_object_object_add(request, "id", json_object_new_int64(atoll(what)));
	} else {
		rel = ctl_mount_relative(m, what);
		if (!rel) {
			json_object_put(request);
			return CTL_FAILED;
		}
		json_object_object_add(request, "path", json_object_new_string(rel));
	}
	code = ctl_call(m, request, NULL, &result, &error);
	if (error)
		ctl_complain("cannot bring back '%s': %s", quoted, error);
	if (code == CTL_OK) {
		shown = ctl_shown(ctl_str(result, "path"));
		if (args->json) {
			json_object_object_add(result, "path",
					       ctl_json_text(ctl_str(result, "path")));
			ctl_print_json(result);
		} else {
			printf("brought back\t%s\n", shown);
		}
	}
	json_object_put(result);
	return code;
}

static int restore_all(const struct ctl_mount *m, const struct ctl_args *args)
{
	int code = CTL_OK, one;

	for (int i = 1; i < args->n; i++) {
		one = restore(m, args, args->v[i]);
		if (one == CTL_NO_DAEMON)
			return one;
		if (one != CTL_OK)
			code = one;
	}
	return code;
}

/* ---- empty -------------------------------------------------------------------------------------- */

static void empty_failed(void *arg, struct json_object *o)
{
	(void)arg;
	ctl_complain("cannot drop '%s': %s", ctl_str(o, "path"), ctl_str(o, "reason"));
}

static void print_emptied(struct json_object *result, bool dry_run)
{
	char bytes[32];

	units_print_bytes((uint64_t)ctl_int(result, "bytes"), bytes, sizeof(bytes));
	if (dry_run)
		printf("would drop %" PRId64 " for good (%s); --yes does it\n",
		       ctl_int(result, "left"), bytes);
	else
		printf("dropped %" PRId64 " (%s)\n", ctl_int(result, "dropped"), bytes);
}

static int empty(const struct ctl_mount *m, const struct ctl_args *args, struct json_object *ids)
{
	bool dry_run = args->dry_run || !args->yes;
	struct json_object *request = ctl_request("trash-empty");
	struct json_object *items = args->json ? json_object_new_array() : NULL;
	const struct ctl_events on = { .item = items ? collect_item : print_item,
				       .failed = empty_failed,
				       .arg = items };
	struct json_object *result = NULL;
	AUTO_FREE char *error = NULL;
	int code;

	json_object_object_add(request, "ids", ids);
	json_object_object_add(request, "dry_run", json_object_new_boolean(dry_run));
	code = ctl_call(m, request, &on, &result, &error);
	if (error)
		ctl_complain("cannot empty the trash: %s", error);
	if (result && items) {
		json_object_object_add(result, "dry_run", json_object_new_boolean(dry_run));
		if (dry_run)
			json_object_object_add(result, "items", json_object_get(items));
		ctl_print_json(result);
	} else if (result) {
		print_emptied(result, dry_run);
	}
	json_object_put(items);
	json_object_put(result);
	return code;
}

/* ---- the command ----------------------------------------------------------------------------------- */

static int on_mount(const struct ctl_args *args, const char *verb, struct json_object *ids)
{
	struct ctl_mount m;
	int code = ctl_mount_find(args->mount, &m);

	if (code != CTL_OK) {
		json_object_put(ids);
		return code;
	}
	if (ids)
		code = empty(&m, args, ids);
	else
		code = strcmp(verb, "restore") == 0 ? restore_all(&m, args) : list(&m, args);
	ctl_mount_fini(&m);
	return code;
}

static int trash_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	const char *verb = args->n ? args->v[0] : "list";
	struct json_object *ids;

	if ((args->yes || args->dry_run) && strcmp(verb, "empty") != 0)
		return ctl_misuse(cmd, "only trash empty takes --yes and --dry-run");
	if (strcmp(verb, "list") == 0)
		return args->n > 1 ? ctl_misuse(cmd, "trash list takes nothing more")
				   : on_mount(args, verb, NULL);
	if (strcmp(verb, "restore") == 0)
		return args->n < 2 ? ctl_misuse(cmd, "trash restore needs an ID or a path")
				   : on_mount(args, verb, NULL);
	if (strcmp(verb, "empty") != 0)
		return ctl_misuse(cmd, "trash knows list, restore and empty, not '%s'", verb);
	if (args->yes && args->dry_run)
		return ctl_misuse(cmd, "give --yes or --dry-run, not both");
	ids = json_object_new_array();
	for (int i = 1; i < args->n; i++) {
		if (!is_id(args->v[i])) {
			json_object_put(ids);
			return ctl_misuse(cmd, "'%s' is no ID: see ebbctl trash list", args->v[i]);
		}
		json_object_array_add(ids, json_object_new_int64(atoll(args->v[i])));
	}
	return on_mount(args, verb, ids);
}

const struct ctl_command ctl_trash = {
	.name = "trash",
	.synopsis =
		"[list] [--json]\nrestore [--json] ID|PATH...\nempty [--json] [-n | --yes] [ID...]",
	.summary = "what was removed or replaced: list it, bring it back, drop it",
	.text = "list     a line each: ID, when removed, when it will be dropped, bytes, reason, path;\n"
		"         separated by tabs\n"
		"restore  gives a file back the path it had: by ID, or the newest version of a path. Its\n"
		"         directory must be there and its name free. (A name of digits alone: ./NAME.)\n"
		"empty    drops objects now, for good, whatever their age: without --yes it only lists\n"
		"         what it would drop. Without an ID everything.",
	.options = CTL_OPT_JSON | CTL_OPT_DRY_RUN | CTL_OPT_YES,
	.run = trash_run,
};
