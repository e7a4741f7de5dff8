/* SPDX-License-Identifier: MIT */
/* ebbctl state and locate. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "tools/ctl.h"
#include "tools/ctl_call.h"

/* Bytes of names in these members become text. */
static void make_text(struct json_object *o, const char *key)
{
	struct json_object *v = ctl_member(o, key);

	if (v)
		json_object_object_add(o, key, ctl_json_text(json_object_get_string(v)));
}

/* ---- state -------------------------------------------------------------------------------- */

struct states {
	const struct ctl_args *args;
	const int *from;	  /* which argument the daemon's i-th path was */
	struct json_object *list; /* --json; else NULL */
};

static const char *argument(const struct states *s, struct json_object *o)
{
	return s->args->v[s->from[ctl_int(o, "i")]];
}

static void state_item(void *arg, struct json_object *o)
{
	struct states *s = arg;
	AUTO_FREE char *shown = NULL;

	if (!s->list) {
		shown = ctl_shown(argument(s, o));
		printf("%s\t%s\n", ctl_str(o, "state"), shown);
		return;
	}
	json_object_object_add(o, "path", ctl_json_text(argument(s, o)));
	json_object_object_del(o, "i");
	make_text(o, "object");
	json_object_array_add(s->list, json_object_get(o));
}

static void state_failed(void *arg, struct json_object *o)
{
	struct states *s = arg;
	AUTO_FREE char *quoted = ctl_quoted(argument(s, o));

	ctl_complain("cannot tell the state of '%s': %s", quoted, ctl_str(o, "reason"));
}

static int states_run(struct states *s, const struct ctl_mount *m, struct json_object *request)
{
	const struct ctl_events on = { .item = state_item, .failed = state_failed, .arg = s };
	AUTO_FREE char *error = NULL;
	int code;

	code = ctl_call(m, request, &on, NULL, &error);
	if (error)
		ctl_complain("cannot tell the state: %s", error);
	if (s->list)
		ctl_print_json(s->list);
	return code;
}

static int state_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	struct json_object *request;
	struct states s = { .args = args };
	struct ctl_mount m;
	int *from = NULL;
	int code, left_out;

	if (args->n == 0)
		return ctl_misuse(cmd, "state needs a path");
	code = ctl_mount_find(args->mount, &m);
	if (code != CTL_OK)
		return code;
	request = ctl_request("state");
	left_out = ctl_add_paths(request, &m, args->v, args->n, &from);
	s.from = from;
	s.list = args->json ? json_object_new_array() : NULL;
	if (json_object_array_length(ctl_member(request, "paths")) > 0) {
		code = states_run(&s, &m, request);
	} else {
		json_object_put(request);
		if (s.list)
			ctl_print_json(s.list);
	}
	json_object_put(s.list);
	free(from);
	ctl_mount_fini(&m);
	return code == CTL_OK ? left_out : code;
}

const struct ctl_command ctl_state = {
	.name = "state",
	.synopsis = "[--json] PATH...",
	.summary = "what each path is: writing, local, archived or released",
	.text = "Prints a line for each path, STATE<TAB>PATH:\n"
		"  writing   open for writing\n"
		"  local     in the cache only, or changed since it was archived; a directory in the cache\n"
		"  archived  in the store, with a local copy\n"
		"  released  in the store only\n"
		"--json prints an array of objects: path, state, type (file, directory, symlink, other),\n"
		"size, mtime, ino, crc32c (8 hexadecimal digits), object, parts, url; what does not\n"
		"apply is null.",
	.options = CTL_OPT_JSON,
	.run = state_run,
};

/* ---- locate --------------------------------------------------------------------------------- */

static void locate_item(void *arg, struct json_object *o)
{
	struct json_object *list = arg;
	AUTO_FREE char *shown = NULL;

	if (!list) {
		shown = ctl_shown(ctl_str(o, "path"));
		printf("%s\t%s\t%s\n", ctl_str(o, "state"), shown, ctl_str(o, "url"));
		return;
	}
	make_text(o, "path");
	json_object_array_add(list, json_object_get(o));
}

static int locate_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	struct json_object *list = args->json ? json_object_new_array() : NULL;
	const struct ctl_events on = { .item = locate_item, .arg = list };
	AUTO_FREE char *error = NULL;
	AUTO_FREE char *quoted = NULL;
	struct json_object *request;
	struct ctl_mount m;
	int code;

	if (args->n != 1)
		return ctl_misuse(cmd, "locate needs one name");
	if (!args->v[0][0] || strchr(args->v[0], '/'))
		return ctl_misuse(cmd, "locate needs a file name, without directories");
	code = ctl_mount_find(args->mount, &m);
	if (code != CTL_OK)
		return code;
	quoted = ctl_quoted(args->v[0]);
	request = ctl_request("locate");
	json_object_object_add(request, "name", json_object_new_string(args->v[0]));
	code = ctl_call(&m, request, &on, NULL, &error);
	if (error)
		ctl_complain("cannot locate '%s': %s", quoted, error);
	if (list && code != CTL_NO_DAEMON)
		ctl_print_json(list);
	json_object_put(list);
	ctl_mount_fini(&m);
	return code;
}

const struct ctl_command ctl_locate = {
	.name = "locate",
	.synopsis = "[--json] NAME",
	.summary = "where the files of a name are, and their URLs",
	.text = "Prints a line for each file of this name, STATE<TAB>PATH<TAB>URL; PATH is relative to the\n"
		"mount. A file that is archived or released has the store's URL, another the local one.\n"
		"--json prints an array of objects: state, path, url, size.",
	.options = CTL_OPT_JSON,
	.run = locate_run,
};
