/* SPDX-License-Identifier: MIT */
/*
 * Bytes to text.
 *
 * The three encoders are one loop with different tables of what may stay; what
 * may not becomes a mark and two hexadecimal digits.  UTF-8 is judged by RFC
 * 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#include "lib/text.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

#define KEY_SIZE 64
#define PATTERN_SIZE 1024

/* The length of the UTF-8 character at s, 0 when there is none. */
static size_t utf8_len(const uint8_t *s, size_t room)
{
	uint32_t c, least;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		len = 2;
		least = 0x80;
	} else if ((s[0] & 0xf0) == 0xe0) {
		len = 3;
		least = 0x800;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		len = 4;
		least = 0x10000;
	} else {
		return 0;
	}
	if (room < len)
		return 0;
	c = s[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return len;
}

bool text_is_utf8(const void *bytes, size_t len)
{
	const uint8_t *s = bytes;

	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_len(s + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

/* How many bytes at s stay as they are; 0: the first one is encoded. */
typedef size_t keep_fn(const uint8_t *s, size_t room);

static size_t keep_url(const uint8_t *s, size_t room)
{
	bool alnum = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
		     (*s >= '0' && *s <= '9');

	(void)room;
	return alnum || (*s && strchr("-._~/", *s)) ? 1 : 0;
}

static size_t keep_json(const uint8_t *s, size_t room)
{
	return *s ? utf8_len(s, room) : 0;
}

static size_t keep_printable(const uint8_t *s, size_t room)
{
	if (*s < ' ' || *s == 0x7f || strchr("'\"\\", *s))
		return 0;
	/* U+0080 to U+009F control terminals as the bytes below ' ' do. */
	if (*s == 0xc2 && room > 1 && s[1] < 0xa0)
		return 0;
	return utf8_len(s, room);
}

static char *encode(const void *bytes, size_t len, keep_fn *keep, const char *mark)
{
	static const char hex[2][17] = { "0123456789ABCDEF", "0123456789abcdef" };
	const char *digits = hex[mark[0] == '\\'];
	size_t mark_len = strlen(mark);
	const uint8_t *s = bytes;
	char *text, *p;

	if (len > (SIZE_MAX - 1) / (mark_len + 2))
		return NULL;
	text = malloc(len * (mark_len + 2) + 1);
	if (!text)
		return NULL;
	p = text;
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = keep(s + i, len - i);
		if (n > 0) {
			memcpy(p, s + i, n);
			p += n;
			continue;
		}
		p = stpcpy(p, mark);
		*p++ = digits[s[i] >> 4];
		*p++ = digits[s[i] & 15];
	}
	*p = '\0';
	return text;
}

char *text_url_encode(const void *bytes, size_t len)
{
	return encode(bytes, len, keep_url, "%");
}

char *text_json_safe(const void *bytes, size_t len)
{
	return encode(bytes, len, keep_json, "%");
}

char *text_printable(const void *bytes, size_t len)
{
	return encode(bytes, len, keep_printable, "\\x");
}

typedef const char *get_fn(const char *key, void *arg);

/* *p is behind an opening brace; it is moved behind the closing one. */
static int put_value(FILE *out, const char **p, get_fn *get, void *arg)
{
	size_t len = strcspn(*p, "{}");
	char key[KEY_SIZE];
	const char *value;

	if ((*p)[len] != '}' || len >= sizeof(key))
		return -EINVAL;
	memcpy(key, *p, len);
	key[len] = '\0';
	value = get(key, arg);
	if (!value)
		return -EINVAL;
	fputs(value, out);
	*p += len + 1;
	return 0;
}

static int fill(FILE *out, const char *tmpl, get_fn *get, void *arg)
{
	const char *p = tmpl;
	int r;

	while (*p) {
		size_t len = strcspn(p, "{}");

		fwrite(p, 1, len, out);
		p += len;
		if (!*p)
			break;
		if (p[0] == p[1]) {
			putc(*p, out);
			p += 2;
			continue;
		}
		if (*p++ == '}')
			return -EINVAL;
		r = put_value(out, &p, get, arg);
		if (r < 0)
			return r;
	}
	return ferror(out) ? -ENOMEM : 0;
}

int text_template(const char *tmpl, get_fn *get, void *arg, char **ret)
{
	AUTO_FREE char *text = NULL;
	size_t size;
	FILE *out;
	int r;

	out = open_memstream(&text, &size);
	if (!out)
		return -ENOMEM;
	r = fill(out, tmpl, get, arg);
	if (fclose(out) != 0 && r == 0)
		r = -ENOMEM;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text);
	return 0;
}

struct template_mark {
	const char *key;
	get_fn *get;
	void *arg;
};

#define MARK "\1" /* no template of an option, and no URL, has this byte */

static const char *get_marked(const char *key, void *arg)
{
	struct template_mark *m = arg;

	return strcmp(key, m->key) == 0 ? MARK : m->get(key, m->arg);
}

int text_template_read(const char *tmpl, const char *key, get_fn *get, void *arg, const char *text,
		       char **ret)
{
	struct template_mark mark = { key, get, arg };
	AUTO_FREE char *form = NULL;
	size_t before, behind, len = strlen(text);
	char *value;
	int r;

	r = text_template(tmpl, get_marked, &mark, &form);
	if (r < 0)
		return r == -EINVAL ? -ENOENT : r;
	before = strcspn(form, MARK);
	if (!form[before] || strchr(form + before + 1, MARK[0]))
		return -ENOENT;
	behind = strlen(form + before + 1);
	if (len <= before + behind || strncmp(text, form, before) != 0 ||
	    strcmp(text + len - behind, form + before + 1) != 0)
		return -ENOENT;
	value = strndup(text + before, len - before - behind);
	if (!value)
		return -ENOMEM;
	*ret = value;
	return 0;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

char *text_url_decode(const char *text)
{
	char *bytes = malloc(strlen(text) + 1), *to = bytes;

	while (bytes && *text) {
		int high = *text == '%' ? hex_digit(text[1]) : -1;
		int low = high >= 0 ? hex_digit(text[2]) : -1;

		if (low < 0 || high + low == 0) {
			*to++ = *text++;
			continue;
		}
		*to++ = (char)(high << 4 | low);
		text += 3;
	}
	if (bytes)
		*to = '\0';
	return bytes;
}

bool text_match_any(const char *patterns, const char *name)
{
	char pattern[PATTERN_SIZE];

	for (const char *p = patterns; *p; p += *p == ',') {
		const char *start = p + strspn(p, " \t");
		size_t len = strcspn(start, ",");

		p = start + len;
		while (len > 0 && strchr(" \t", start[len - 1]))
			len--;
		if (len == 0 || len >= sizeof(pattern))
			continue;
		memcpy(pattern, start, len);
		pattern[len] = '\0';
		if (fnmatch(pattern, name, 0) == 0)
			return true;
	}
	return false;
}
