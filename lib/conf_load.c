/* SPDX-License-Identifier: MIT */
/*
 * The configuration file, parsed by inih.
 *
 * inih is built with limits and habits of its own that differ between systems;
 * what it reads passes through us first, so that a file means the same everywhere:
 *
 *	a line longer than inih's buffer	refused here, not cut
 *	" ;" in a value: inih's inline comment	hidden from it, put back after it
 *	an indented line: its continuation	the indent is removed
 *	control characters			refused
 */
#include "lib/conf.h"

#include <errno.h>
#include <ini.h>
#include <string.h>

#include "lib/cleanup.h"

#define LINE_BYTES 8192
#define MESSAGE_SIZE 600

/* Stands for ';' while inih looks; the file itself cannot hold it. */
#define SEMICOLON '\x01'

/* Debian's inih has its limit (200 otherwise) as a variable; elsewhere this is NULL. */
extern int inih_max_line __asm__("ini_max_line") __attribute__((weak));

struct loader {
	struct conf *conf; /* borrowed */
	const char *file;  /* borrowed */
	FILE *in;	   /* borrowed */
	char *line;	   /* owned, getline's */
	size_t line_size;
	int lineno;
	int error; /* the first; reading stops there */
	char *err; /* borrowed, of size */
	size_t size;
};

static void fail(struct loader *l, int error, int lineno, const char *sentence)
{
	l->error = error;
	snprintf(l->err, l->size, "%s:%d: %s", l->file, lineno, sentence);
}

/* Its length, without indent and line end, or -errno.  At the end *start stays as it was. */
static ssize_t next_line(struct loader *l, const char **start)
{
	ssize_t len;

	errno = 0;
	len = getline(&l->line, &l->line_size, l->in);
	if (len < 0)
		return feof(l->in) && !ferror(l->in) ? 0 : -(errno ? errno : EIO);
	l->lineno++;
	while (len > 0 && (l->line[len - 1] == '\n' || l->line[len - 1] == '\r'))
		len--;
	*start = l->line;
	while (len > 0 && (**start == ' ' || **start == '\t')) {
		(*start)++;
		len--;
	}
	return len;
}

/* line to buf as inih shall see it.  False: it holds what no line may. */
static bool hand_over(const char *line, size_t len, char *buf)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
		buf[i] = c == ';' && i > 0 ? SEMICOLON : (char)c;
	}
	buf[len] = '\n';
	buf[len + 1] = '\0';
	return true;
}

/* fgets for inih: the next line, or NULL at the end or after an error. */
static char *read_line(char *buf, int size, void *arg)
{
	struct loader *l = arg;
	const char *line = NULL;
	char sentence[128];
	ssize_t len;
	/* Beside the line: its newline, NUL, and one by which inih knows that it was whole. */
	int room = size - 3;

	if (l->error)
		return NULL;
	len = next_line(l, &line);
	if (len < 0) {
		snprintf(sentence, sizeof(sentence), "cannot read on: %s", strerror((int)-len));
		fail(l, (int)len, l->lineno + 1, sentence);
		return NULL;
	}
	if (!line)
		return NULL;
	if (len > room) {
		snprintf(sentence, sizeof(sentence),
			 "cannot use this line: it has %zd bytes; at most %d fit", len, room);
		fail(l, -EINVAL, l->lineno, sentence);
		return NULL;
	}
	if (!hand_over(line, (size_t)len, buf)) {
		fail(l, -EINVAL, l->lineno,
		     "cannot use this line: it holds a control character; remove it");
		return NULL;
	}
	return buf;
}

static char *copy_shown(const char *s)
{
	char *copy = strdup(s);

	for (char *p = copy; p && *p; p++) {
		if (*p == SEMICOLON)
			*p = ';';
	}
	return copy;
}

/* One option; inih's convention: 0 is an error. */
static int take_option(void *arg, const char *section, const char *name, const char *value)
{
	struct loader *l = arg;
	AUTO_FREE char *n = copy_shown(name);
	AUTO_FREE char *v = value ? copy_shown(value) : NULL;
	char sentence[MESSAGE_SIZE] = "cannot use this line: no memory";
	int r;

	if (!n || (value && !v)) {
		r = -ENOMEM;
	} else if (*section) {
		r = -EINVAL;
		snprintf(sentence, sizeof(sentence),
			 "cannot use a section: [%.50s]; options stand in none, remove the line",
			 section);
	} else {
		r = conf_set(l->conf, n, v, sentence, sizeof(sentence));
	}
	if (r < 0)
		fail(l, r, l->lineno, sentence);
	return r == 0;
}

int conf_load(struct conf *c, const char *file, char *err, size_t size)
{
	struct loader l = { .conf = c, .file = file, .err = err, .size = size };
	int r;

	l.in = fopen(file, "re");
	if (!l.in) {
		r = -errno;
		snprintf(err, size, "cannot open '%s': %s", file, strerror(-r));
		return r;
	}
	if (&inih_max_line)
		inih_max_line = LINE_BYTES;
	r = ini_parse_stream(read_line, &l, take_option, &l);
	fclose(l.in);
	free(l.line);
	/* inih tells the first line it could make nothing of; ours may have come before it. */
	if (r > 0 && (l.error == 0 || r < l.lineno))
		fail(&l, -EINVAL, r, "cannot use this line: not an option; give NAME = VALUE");
	else if (r < 0 && l.error == 0)
		fail(&l, -ENOMEM, l.lineno, "cannot read on: no memory");
	return l.error;
}
