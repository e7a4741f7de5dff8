/* SPDX-License-Identifier: MIT */
/* What the commands of ebbctl share. */
#ifndef EBB_TOOLS_CTL_H
#define EBB_TOOLS_CTL_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses; part of the contract. */
enum { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_NO_DAEMON = 3 };

struct ctl_args {
	const char *mount;   /* -m, NULL: the only one */
	const char *options; /* -o, NULL */
	bool json, all, dry_run, yes;
	char **v; /* borrowed from argv */
	int n;
};

/* Options a command takes beside -m and -h. */
enum { CTL_OPT_JSON = 1, CTL_OPT_ALL = 2, CTL_OPT_DRY_RUN = 4, CTL_OPT_YES = 8, CTL_OPT_O = 16 };

struct ctl_command {
	const char *name;
	const char *synopsis; /* after the name; a line each */
	const char *summary;  /* half a line */
	const char *text;     /* for its --help */
	unsigned options;
	bool no_mount; /* works without a daemon: takes no -m */
	int (*run)(const struct ctl_command *cmd, const struct ctl_args *args);
};

extern const struct ctl_command ctl_status, ctl_state, ctl_archive, ctl_release, ctl_restore,
	ctl_drain, ctl_locate, ctl_verify, ctl_lost, ctl_trash, ctl_rebuild;

/* "ebbctl: ..." on stderr, after whatever progress is shown; returns CTL_FAILED. */
int ctl_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for what was typed wrong, with the command's usage; returns CTL_USAGE. */
int ctl_misuse(const struct ctl_command *cmd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* A name as stdout gets it: its bytes, or to a terminal text_printable.  Heap. */
char *ctl_shown(const char *name);
/* As messages quote it: text_printable.  Heap. */
char *ctl_quoted(const char *name);

/* Prints an object or array for --json, and a newline. */
void ctl_print_json(struct json_object *o);
/* For JSON that people read: bytes that are not UTF-8 become %XX. */
struct json_object *ctl_json_text(const char *bytes); /* NULL: null */

const char *ctl_str(struct json_object *o, const char *key); /* NULL: absent or null */
int64_t ctl_int(struct json_object *o, const char *key);     /* 0: absent */
double ctl_double(struct json_object *o, const char *key);
bool ctl_bool(struct json_object *o, const char *key);
struct json_object *ctl_member(struct json_object *o, const char *key); /* NULL: absent */

#endif
