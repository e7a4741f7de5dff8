/* SPDX-License-Identifier: MIT */
/*
 * ebbctl: asks a mount's daemon, and tells it what to do.
 *
 * Here: the command line.  Each command is a struct in a ctl_COMMAND.c of its own,
 * which gives its help, its options and its function.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/text.h"
#include "tools/ctl.h"
#include "tools/ctl_progress.h"

static const struct ctl_command *const commands[] = {
	&ctl_status, &ctl_state,  &ctl_archive, &ctl_release, &ctl_restore, &ctl_drain,
	&ctl_locate, &ctl_verify, &ctl_lost,	&ctl_trash,   &ctl_rebuild,
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* ---- messages ------------------------------------------------------------------------- */

int ctl_complain(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	ctl_progress_clear();
	fputs("ebbctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CTL_FAILED;
}

static void print_usage(FILE *out, const struct ctl_command *cmd)
{
	const char *line = cmd->synopsis;

	for (const char *lead = "usage:"; line; lead = "      ") {
		const char *end = strchr(line, '\n');
		int len = end ? (int)(end - line) : (int)strlen(line);

		fprintf(out, "%s ebbctl %s%s%s%.*s\n", lead,
			cmd->no_mount ? "" : "[-m MOUNTPOINT] ", cmd->name, len ? " " : "", len,
			line);
		line = end ? end + 1 : NULL;
	}
}

int ctl_misuse(const struct ctl_command *cmd, const char *fmt, ...)
{
	va_list ap;

	fputs("ebbctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	print_usage(stderr, cmd);
	return CTL_USAGE;
}

/* ---- names and JSON --------------------------------------------------------------------- */

static char *or_die(char *s)
{
	if (!s) {
		fputs("ebbctl: out of memory\n", stderr);
		exit(CTL_FAILED);
	}
	return s;
}

char *ctl_shown(const char *name)
{
	return or_die(isatty(STDOUT_FILENO) ? text_printable(name, strlen(name)) : strdup(name));
}

char *ctl_quoted(const char *name)
{
	return or_die(text_printable(name, strlen(name)));
}

void ctl_print_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
}

struct json_object *ctl_json_text(const char *bytes)
{
	AUTO_FREE char *text = bytes ? or_die(text_json_safe(bytes, strlen(bytes))) : NULL;

	return text ? json_object_new_string(text) : NULL;
}

struct json_object *ctl_member(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

const char *ctl_str(struct json_object *o, const char *key)
{
	struct json_object *v = ctl_member(o, key);

	return v ? json_object_get_string(v) : NULL;
}

int64_t ctl_int(struct json_object *o, const char *key)
{
	return json_object_get_int64(ctl_member(o, key));
}

double ctl_double(struct json_object *o, const char *key)
{
	return json_object_get_double(ctl_member(o, key));
}

bool ctl_bool(struct json_object *o, const char *key)
{
	return json_object_get_boolean(ctl_member(o, key));
}

/* ---- help --------------------------------------------------------------------------------- */

static void print_exit_statuses(void)
{
	puts("Exit status:\n"
	     "  0  done\n"
	     "  1  some of it failed, the name is unknown, or files are lost: stderr says which\n"
	     "  2  the command line is wrong\n"
	     "  3  no daemon was reached, or it ended meanwhile");
}

static void help(void)
{
	puts("usage: ebbctl [-m MOUNTPOINT] COMMAND [ARGUMENT...]\n\n"
	     "Asks the daemon of an ebbfs mount, and tells it what to do.\n\n"
	     "Commands (ebbctl COMMAND --help says more):");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-9s %s\n", commands[i]->name, commands[i]->summary);
	puts("\nOptions:\n"
	     "  -m, --mount MOUNTPOINT  the mount that is meant; by default the only one\n"
	     "  -h, --help              this, or the help of a command\n"
	     "  -V, --version           the version\n");
	print_exit_statuses();
}

static void help_command(const struct ctl_command *cmd)
{
	print_usage(stdout, cmd);
	printf("\n%s\n", cmd->text);
	puts("\nOptions:");
	if (cmd->options & CTL_OPT_ALL)
		puts("  --all                   everything in the mount");
	if (cmd->options & CTL_OPT_DRY_RUN)
		puts("  -n, --dry-run           only say what would be done");
	if (cmd->options & CTL_OPT_YES)
		puts("  --yes                   do it");
	if (cmd->options & CTL_OPT_JSON)
		puts("  --json                  print JSON; bytes that are not UTF-8 are %XX in it");
	if (!cmd->no_mount)
		puts("  -m, --mount MOUNTPOINT  the mount that is meant; by default the only one");
	puts("  -h, --help              this\n");
	print_exit_statuses();
}

/* ---- the command line ------------------------------------------------------------------------ */

enum { LONG_JSON = 256, LONG_ALL, LONG_YES };

static const struct option global_options[] = {
	{ "mount", required_argument, NULL, 'm' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static const struct option command_options[] = {
	{ "mount", required_argument, NULL, 'm' },
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, LONG_JSON },
	{ "all", no_argument, NULL, LONG_ALL },
	{ "dry-run", no_argument, NULL, 'n' },
	{ "yes", no_argument, NULL, LONG_YES },
	{ NULL, 0, NULL, 0 },
};

static const struct ctl_command *find_command(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static unsigned option_bit(int c)
{
	switch (c) {
	case LONG_JSON:
		return CTL_OPT_JSON;
	case LONG_ALL:
		return CTL_OPT_ALL;
	case 'n':
		return CTL_OPT_DRY_RUN;
	case LONG_YES:
		return CTL_OPT_YES;
	case 'o':
		return CTL_OPT_O;
	}
	return 0;
}

/* -1: run it; else the exit status. */
static int parse_command(const struct ctl_command *cmd, int argc, char **argv,
			 struct ctl_args *args)
{
	const char *given = argv[0];
	int c;

	optind = 0; /* getopt starts anew */
	while ((c = getopt_long(argc, argv, ":m:o:nh", command_options, NULL)) != -1) {
		/* What getopt is at is in argv[optind - 1], but for a letter in a bunch. */
		given = c == 'm' ? "-m" : c == 'o' ? "-o" : argv[optind > 0 ? optind - 1 : 0];
		if (c == 'h') {
			help_command(cmd);
			return CTL_OK;
		}
		if (c == ':')
			return ctl_misuse(cmd, "option '%s' needs a value", given);
		if (c == '?' || (c != 'm' && !(cmd->options & option_bit(c))) ||
		    (c == 'm' && cmd->no_mount))
			return ctl_misuse(cmd, "%s has no option '%s'", cmd->name, given);
		if (c == 'm')
			args->mount = optarg;
		else if (c == 'o')
			args->options = optarg;
		args->json |= c == LONG_JSON;
		args->all |= c == LONG_ALL;
		args->dry_run |= c == 'n';
		args->yes |= c == LONG_YES;
	}
	args->v = argv + optind;
	args->n = argc - optind;
	return -1;
}

static int run(int argc, char **argv)
{
	const struct ctl_command *cmd;
	struct ctl_args args = { 0 };
	int c, code;

	while ((c = getopt_long(argc, argv, "+m:hV", global_options, NULL)) != -1) {
		if (c == 'h') {
			help();
			return CTL_OK;
		}
		if (c == 'V') {
			puts("ebbctl " EBB_VERSION);
			return CTL_OK;
		}
		if (c != 'm') {
			fputs("ebbctl --help lists commands and options\n", stderr);
			return CTL_USAGE;
		}
		args.mount = optarg;
	}
	if (optind == argc) {
		fputs("ebbctl: which command? ebbctl --help lists them\n", stderr);
		return CTL_USAGE;
	}
	cmd = find_command(argv[optind]);
	if (!cmd) {
		fprintf(stderr, "ebbctl: there is no command '%s'; ebbctl --help lists them\n",
			argv[optind]);
		return CTL_USAGE;
	}
	if (args.mount && cmd->no_mount)
		return ctl_misuse(cmd, "%s works without a mount: it takes no -m", cmd->name);
	code = parse_command(cmd, argc - optind, argv + optind, &args);
	return code >= 0 ? code : cmd->run(cmd, &args);
}

int main(int argc, char **argv)
{
	int code = run(argc, argv);

	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("ebbctl: cannot write the output");
		return code == CTL_OK ? CTL_FAILED : code;
	}
	return code;
}
