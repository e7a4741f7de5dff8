/* SPDX-License-Identifier: MIT */
/*
 * Names are bytes (any but NUL and '/'), text is UTF-8: this is the border.
 * URLs and JSON are text, so bytes that are not UTF-8 are percent-encoded there.
 */
#ifndef EBB_LIB_TEXT_H
#define EBB_LIB_TEXT_H

#include <stdbool.h>
#include <stddef.h>

bool text_is_utf8(const void *bytes, size_t len);

/*
 * For a URL path: everything but unreserved characters (RFC 3986 2.3) and '/'
 * becomes %XX.  Heap, NUL-terminated, owned by the caller; NULL without memory.
 */
char *text_url_encode(const void *bytes, size_t len);

/* For JSON output: valid UTF-8 stays as it is, each other byte becomes %XX.  Heap. */
char *text_json_safe(const void *bytes, size_t len);

/* For the log and terminals: controls, quotes, backslashes and bad UTF-8 become \xXX.  Heap. */
char *text_printable(const void *bytes, size_t len);

/*
 * Fill {name} {path} {camera} ... in a template.  get() returns the value for a
 * key (borrowed) or NULL when it knows none.  0, -EINVAL for an unknown key or
 * an unclosed brace, -ENOMEM.  {{ and }} stand for braces.
 */
int text_template(const char *tmpl, const char *(*get)(const char *key, void *arg), void *arg,
		  char **ret);

/*
 * The reverse, for one key: what stands in text where the template has {key}.  get() is
 * asked for the other keys.  0; -ENOENT: text is not made like that, the template has {key}
 * not just once, or a key that get() does not know; -ENOMEM.  *ret is heap, never empty.
 */
int text_template_read(const char *tmpl, const char *key,
		       const char *(*get)(const char *key, void *arg), void *arg, const char *text,
		       char **ret);

/* The bytes that a percent-encoded text stands for; what is no %XX stays.  Heap; no %00 in it. */
char *text_url_decode(const char *text);

/*
 * fnmatch(3) with FNM_PERIOD off, any pattern of a comma-separated list.  Blanks
 * around a pattern do not belong to it; one of over 1,023 bytes matches nothing.
 */
bool text_match_any(const char *patterns, const char *name);

#endif
