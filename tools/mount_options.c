/* SPDX-License-Identifier: MIT */
/*
 * The command line of ebbfs.
 *
 * -o holds three kinds of words: ebbfs's own options (lib/options.def), those of the
 * kernel's mount, which are handed on, and those that are for mount(8), fstab or
 * systemd, which are left alone.  A word of no kind is refused.
 */
#include "tools/mount_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

static const char *const for_the_kernel[] = {
	"ro",	     "suid",	    "nosuid",  "dev",	    "nodev",	  "exec",
	"noexec",    "sync",	    "async",   "dirsync",   "noatime",	  "nodiratime",
	"symfollow", "nosymfollow", "context", "fscontext", "defcontext", "rootcontext",
};

/* rw, default_permissions and allow_other hold anyway; atime is the cache's file system's. */
static const char *const for_others[] = {
	"rw",
	"defaults",
	"auto",
	"noauto",
	"user",
	"users",
	"nouser",
	"owner",
	"group",
	"nofail",
	"fail",
	"_netdev",
	"comment",
	"atime",
	"diratime",
	"relatime",
	"norelatime",
	"strictatime",
	"lazytime",
	"nolazytime",
	"iversion",
	"noiversion",
	"default_permissions",
	"allow_other",
	"fsname",
	"subtype",
	"silent",
	"loud",
	"mand",
	"nomand",
};

static bool is_among(const char *name, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(name, words[i]) == 0)
			return true;
	}
	return false;
}
#define IS_AMONG(name, words) is_among(name, words, sizeof(words) / sizeof((words)[0]))

static int add_kernel(struct options *o, const char *word)
{
	char *joined;

	if (asprintf(&joined, "%s%s%s", o->kernel, *o->kernel ? "," : "", word) < 0)
		return -ENOMEM;
	free(o->kernel);
	o->kernel = joined;
	return 0;
}

/* word is ours to change: "name" or "name=value", without escapes. */
static int set_word(struct options *o, char *word, char *err, size_t size)
{
	AUTO_FREE char *whole = strdup(word);
	char *value = strchr(word, '=');

	if (!whole)
		return -ENOMEM;
	if (value)
		*value++ = '\0';
	if (!*word)
		return 0;
	if (IS_AMONG(word, for_the_kernel))
		return add_kernel(o, whole);
	if (IS_AMONG(word, for_others) || strncasecmp(word, "x-", 2) == 0)
		return 0;
	return conf_set(&o->conf, word, value, err, size);
}

static int set_words(struct options *o, const char *text, char *err, size_t size)
{
	AUTO_FREE char *copy = strdup(text);
	char *rest = copy;
	int r = copy ? 0 : -ENOMEM;

	while (r == 0 && *rest)
		r = set_word(o, conf_next_word(&rest), err, size);
	return r;
}

/* What getopt found; all borrowed from argv. */
struct line {
	const char *config;
	const char *words[16]; /* of -o */
	unsigned nwords;
	const char *mountpoint;
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "options", required_argument, NULL, 'o' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "print-options-mdoc", no_argument, NULL, 'M' },
	{ 0 },
};

static int take_flag(int flag, struct options *o, struct line *line, enum options_ask *ask)
{
	switch (flag) {
	case 'c':
		line->config = optarg;
		return 0;
	case 'f':
		o->foreground = true;
		return 0;
	case 'r':
		return add_kernel(o, "ro");
	case 'w':
	case 'n':
	case 's':
	case 'v':
		return 0; /* mount(8)'s */
	case 'h':
		*ask = OPTIONS_HELP;
		return 0;
	case 'V':
		*ask = OPTIONS_VERSION;
		return 0;
	case 'M':
		*ask = OPTIONS_MDOC;
		return 0;
	case 'o':
		if (line->nwords == sizeof(line->words) / sizeof(line->words[0]))
			return -E2BIG;
		line->words[line->nwords++] = optarg;
		return 0;
	default:
		return -EINVAL;
	}
}

static int take_names(int n, char **names, struct line *line, char *err, size_t size)
{
	if (n > 2) {
		snprintf(err, size, "too many arguments: '%s'", names[2]);
		return -EINVAL;
	}
	if (n > 0)
		line->mountpoint = names[n - 1];
	if (n == 2 && names[0][0] == '/') {
		if (line->config) {
			snprintf(err, size, "two configuration files: '%s' and '%s'", line->config,
				 names[0]);
			return -EINVAL;
		}
		line->config = names[0];
	}
	return 0;
}

static int apply(struct options *o, const struct line *line, char *err, size_t size)
{
	int r = 0;

	if (line->config)
		r = conf_load(&o->conf, line->config, err, size);
	for (unsigned i = 0; r == 0 && i < line->nwords; i++)
		r = set_words(o, line->words[i], err, size);
	if (r == 0 && line->mountpoint)
		r = conf_set(&o->conf, "mountpoint", line->mountpoint, err, size);
	if (r == 0 && !*o->conf.mountpoint) {
		snprintf(err, size, "no mount point: say where to mount");
		r = -EINVAL;
	}
	return r == 0 ? conf_check(&o->conf, err, size) : r;
}

int options_parse(int argc, char **argv, struct options *ret, enum options_ask *ask, char *err,
		  size_t size)
{
	struct line line = { 0 };
	int flag, r;

	*ret = (struct options){ .kernel = strdup("") };
	*ask = OPTIONS_MOUNT;
	snprintf(err, size, "out of memory");
	r = conf_init(&ret->conf);
	if (r < 0 || !ret->kernel)
		return -ENOMEM;
	opterr = 0;
	while (r == 0 && (flag = getopt_long(argc, argv, "o:fhVrwnsv", long_options, NULL)) != -1) {
		r = take_flag(flag, ret, &line, ask);
		if (r == -EINVAL)
			snprintf(err, size, "what is '%s'?", argv[optind - 1]);
	}
	if (r < 0 || *ask != OPTIONS_MOUNT)
		return r;
	r = take_names(argc - optind, argv + optind, &line, err, size);
	return r < 0 ? r : apply(ret, &line, err, size);
}

void options_fini(struct options *o)
{
	conf_fini(&o->conf);
	free(o->kernel);
}
