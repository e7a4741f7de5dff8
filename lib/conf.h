/* SPDX-License-Identifier: MIT */
/*
 * The options of one mount, made from lib/options.def.
 *
 * Sources, later ones win: defaults, the configuration file (INI without
 * sections, one `name = value` a line), -o.  Every value is checked when it is
 * set: unknown names, units and values out of range are refused with a message
 * that names the option, what was given and what is allowed.
 *
 * conf.c: setting; conf_check.c: what belongs together; conf_load.c: the file;
 * conf_print.c: help and manual; conf_windows.c: times of day.
 */
#ifndef EBB_LIB_CONF_H
#define EBB_LIB_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type {
	CONF_STRING,
	CONF_PATH,
	CONF_BYTES,
	CONF_MS,
	CONF_PCT,
	CONF_BOOL,
	CONF_UINT,
	CONF_OCTAL,
	CONF_WINDOWS,
	CONF_LIST
};

/* Times of day, minutes since local midnight; from > to goes over midnight. */
struct conf_window {
	int from_min;
	int to_min;
};
struct conf_windows {
	unsigned n; /* 0: always */
	struct conf_window w[8];
};
struct conf_list {
	unsigned n;
	char **v; /* owned */
};

#define CONF_CTYPE_STRING char * /* owned; "" when unset, never NULL */
#define CONF_CTYPE_PATH char *	 /* the same */
#define CONF_CTYPE_BYTES uint64_t
#define CONF_CTYPE_MS int64_t
#define CONF_CTYPE_PCT unsigned
#define CONF_CTYPE_BOOL int
#define CONF_CTYPE_UINT uint64_t
#define CONF_CTYPE_OCTAL unsigned
#define CONF_CTYPE_WINDOWS struct conf_windows
#define CONF_CTYPE_LIST struct conf_list

struct conf {
#define OPTION(field, name, type, def, min, max, group, text) CONF_CTYPE_##type field;
#include "lib/options.def"
#undef OPTION
};

/* Sets every default.  0 or -ENOMEM. */
int conf_init(struct conf *c);
void conf_fini(struct conf *c);

/*
 * value NULL: the option was given alone (`xattr`), right for BOOL only.
 * 0; -ENOENT unknown option; -EINVAL, -ERANGE bad value; -ENOMEM.  In all but
 * the last, err (of size) holds a sentence for the user.
 */
int conf_set(struct conf *c, const char *name, const char *value, char *err, size_t size);

/*
 * Cuts the next word of "a=b,c,d=e\,f", in place, and moves *text behind its comma, or to
 * the end.  A word has its escapes taken out, which are "\," and "\\" alone: any other
 * backslash stays, as in a rule's pattern.  "" for a word that is empty.
 */
char *conf_next_word(char **text);

/* Sets all words of opts, cut as above; empty ones are passed over.  As conf_set. */
int conf_set_many(struct conf *c, const char *opts, char *err, size_t size);

/*
 * As conf_set; also -errno of open(2) and read(2); err names file and line.  What
 * precedes the bad line has been set.  A line holds up to 8,000 bytes, less where
 * the system's inih was built with its own limit; a longer one is refused.  A
 * comment has a line of its own, which begins with ; or #.
 */
int conf_load(struct conf *c, const char *file, char *err, size_t size);

/* What no single option shows: cache given, low < high, es_id or es_find ...  As conf_set. */
int conf_check(const struct conf *c, char *err, size_t size);

/* "1s to 365d", as the type is written.  False and "": the option has no limits.  For conf_*.c. */
bool conf_print_range(enum conf_type type, uint64_t min, uint64_t max, char *buf, size_t size);

/* --help: one paragraph an option, grouped, with default and unit. */
void conf_print_help(FILE *out);
/* The OPTIONS part of ebbfs.conf(5), mdoc. */
void conf_print_mdoc(FILE *out);

/* "22:00-06:00,12:00-13:00"; "" is none.  0, -EINVAL, -ERANGE (no such time, more than 8). */
int conf_windows_parse(const char *s, struct conf_windows *ret);
/* Is it within one of the windows now (local time)?  True when there is none. */
bool conf_windows_open(const struct conf_windows *w, int64_t real_ns);

#endif
