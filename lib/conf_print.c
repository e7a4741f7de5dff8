/* SPDX-License-Identifier: MIT */
/*
 * lib/options.def for readers: --help, and the OPTIONS part of ebbfs.conf(5).
 *
 * Both are printed from the table the parser uses, so they cannot say anything
 * else.  Groups come in the order of the table.
 */
#include "lib/conf.h"

#include <inttypes.h>
#include <string.h>

#include "lib/units.h"

#define HELP_COLUMNS 79
#define HELP_INDENT 8
#define MDOC_COLUMNS 78

struct entry {
	const char *name;
	enum conf_type type;
	const char *def;
	uint64_t min;
	uint64_t max;
	const char *group;
	const char *text;
};

static const struct entry entries[] = {
#define OPTION(field, name, type, def, min, max, group, text) \
	{ name, CONF_##type, def, min, max, group, text },
#include "lib/options.def"
#undef OPTION
};
#define N_ENTRIES (sizeof(entries) / sizeof(entries[0]))

static const char *const kinds[] = {
	[CONF_STRING] = "text", [CONF_PATH] = "path",	[CONF_BYTES] = "size",
	[CONF_MS] = "time",	[CONF_PCT] = "percent", [CONF_BOOL] = "yes|no",
	[CONF_UINT] = "number", [CONF_OCTAL] = "mode",	[CONF_WINDOWS] = "times",
	[CONF_LIST] = "text",
};

static bool begins_group(size_t i)
{
	return i == 0 || strcmp(entries[i].group, entries[i - 1].group) != 0;
}

static void print_value(enum conf_type type, uint64_t n, char *buf, size_t size)
{
	if (type == CONF_BYTES)
		units_exact_bytes(n, buf, size);
	else if (type == CONF_MS)
		units_exact_ms((int64_t)n, buf, size);
	else if (type == CONF_OCTAL)
		snprintf(buf, size, "%04" PRIo64, n);
	else
		snprintf(buf, size, "%" PRIu64, n);
}

bool conf_print_range(enum conf_type type, uint64_t min, uint64_t max, char *buf, size_t size)
{
	char from[32], to[32];

	*buf = '\0';
	if (min == 0 && max == 0)
		return false;
	print_value(type, min, from, sizeof(from));
	print_value(type, max, to, sizeof(to));
	snprintf(buf, size, "%s to %s", from, to);
	return true;
}

/* Fills lines with words; column is where the last one ended, 0 before the first. */
static void put_words(FILE *out, const char *text, size_t *column)
{
	while (*text) {
		size_t len;

		text += strspn(text, " ");
		len = strcspn(text, " ");
		if (len == 0)
			break;
		if (*column > 0 && *column + 1 + len <= HELP_COLUMNS) {
			fputc(' ', out);
			*column += 1 + len;
		} else {
			fprintf(out, "%s%*s", *column > 0 ? "\n" : "", HELP_INDENT, "");
			*column = HELP_INDENT + len;
		}
		fwrite(text, 1, len, out);
		text += len;
	}
}

void conf_print_help(FILE *out)
{
	for (size_t i = 0; i < N_ENTRIES; i++) {
		const struct entry *e = &entries[i];
		char limits[100];
		size_t column = 0;

		if (begins_group(i))
			fprintf(out, "%s%s:\n", i > 0 ? "\n" : "", e->group);
		fprintf(out, "    %s=%s\n", e->name, kinds[e->type]);
		put_words(out, e->text, &column);
		if (conf_print_range(e->type, e->min, e->max, limits, sizeof(limits))) {
			put_words(out, "From", &column);
			put_words(out, limits, &column);
			fputc('.', out);
			column++;
		}
		if (*e->def) {
			put_words(out, "Default:", &column);
			put_words(out, e->def, &column);
		}
		fputc('\n', out);
	}
}

/* A word as roff takes it: nothing in it is a macro or an escape. */
static void put_mdoc_word(FILE *out, const char *word, size_t len, bool begins_line)
{
	if (begins_line && (*word == '.' || *word == '\''))
		fputs("\\&", out);
	for (size_t i = 0; i < len; i++) {
		if (word[i] == '\\')
			fputs("\\e", out);
		else
			fputc(word[i], out);
	}
}

/* Each sentence begins a line, as mdoc wants it. */
static void put_mdoc_text(FILE *out, const char *text)
{
	size_t column = 0;
	bool sentence = true;

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		size_t len = strcspn(text, " ");
		bool new_line = sentence || column + 1 + len > MDOC_COLUMNS;

		if (column > 0)
			fputc(new_line ? '\n' : ' ', out);
		put_mdoc_word(out, text, len, new_line);
		column = new_line ? len : column + 1 + len;
		sentence = text[len - 1] == '.';
		text += len;
	}
	fputc('\n', out);
}

static void put_mdoc_entry(FILE *out, const struct entry *e)
{
	char limits[100];

	fprintf(out, ".It Cm %s Ns = Ns ", e->name);
	if (e->type == CONF_BOOL)
		fputs("Cm yes | no\n", out);
	else
		fprintf(out, "Ar %s\n", kinds[e->type]);
	put_mdoc_text(out, e->text);
	if (conf_print_range(e->type, e->min, e->max, limits, sizeof(limits)))
		fprintf(out, "From %s.\n", limits);
	if (!*e->def)
		return;
	fputs("The default is\n.Ql \\&", out);
	put_mdoc_word(out, e->def, strlen(e->def), false);
	fputs(" .\n", out);
}

void conf_print_mdoc(FILE *out)
{
	for (size_t i = 0; i < N_ENTRIES; i++) {
		if (begins_group(i))
			fprintf(out, "%s.Ss %s\n.Bl -tag -width Ds\n", i > 0 ? ".El\n" : "",
				entries[i].group);
		put_mdoc_entry(out, &entries[i]);
	}
	fputs(".El\n", out);
}
