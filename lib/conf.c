/* SPDX-License-Identifier: MIT */
/*
 * Setting options by name.
 *
 * lib/options.def becomes an array of (name, type, offset in struct conf,
 * default, range); conf_set finds the entry, parses by type and writes the field
 * only when the value is right.  Defaults go through the same code, so a default
 * that could not be given by a user cannot exist.
 *
 * A message has one form: cannot set 'NAME' to 'VALUE': reason; give what is
 * allowed.
 */
#include "lib/conf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/text.h"
#include "lib/units.h"

struct option {
	const char *name;
	enum conf_type type;
	size_t offset; /* in struct conf */
	const char *def;
	uint64_t min;
	uint64_t max;
};

static const struct option options[] = {
#define OPTION(field, name, type, def, min, max, group, text) \
	{ name, CONF_##type, offsetof(struct conf, field), def, min, max },
#include "lib/options.def"
#undef OPTION
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

/* Strings that are not free text: one of some words, or a template of some keys. */
static const struct string_rule {
	const char *option;
	const char *words;
	const char *keys;
} string_rules[] = {
	{ "durability", "none, close", NULL },
	{ "passthrough", "auto, yes, no", NULL },
	{ "io_uring", "auto, yes, no", NULL },
	{ "log_level", "error, warning, info, debug", NULL },
	{ "es_id", NULL, "{name}, {stem}, {path}, {camera}" },
	{ "es_find", NULL, "{name}, {stem}, {path}, {camera}" },
	{ "url_template", NULL, "{path}, {name}, {camera}, {object}" },
	{ "local_url", NULL, "{path}, {name}, {camera}, {mount}" },
};
#define N_STRING_RULES (sizeof(string_rules) / sizeof(string_rules[0]))

/* Returns r, so that a refusal is one statement. */
__attribute__((format(printf, 4, 5))) static int refuse(int r, char *err, size_t size,
							const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, size, fmt, ap);
	va_end(ap);
	return r;
}

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	}
	return NULL;
}

static const struct string_rule *find_rule(const struct option *o)
{
	for (size_t i = 0; o->type == CONF_STRING && i < N_STRING_RULES; i++) {
		if (strcmp(string_rules[i].option, o->name) == 0)
			return &string_rules[i];
	}
	return NULL;
}

/* list as in string_rules: words between commas, blanks and braces. */
static bool has_word(const char *list, const char *word)
{
	static const char between[] = ", {}";
	size_t len;

	for (list += strspn(list, between); *list; list += len + strspn(list + len, between)) {
		len = strcspn(list, between);
		if (strlen(word) == len && strncmp(list, word, len) == 0)
			return true;
	}
	return false;
}

static const char *value_of_key(const char *key, void *keys)
{
	return has_word(keys, key) ? "" : NULL;
}

static int check_string(const struct option *o, const char *value)
{
	const struct string_rule *rule = find_rule(o);
	AUTO_FREE char *filled = NULL;

	if (!rule)
		return 0;
	if (rule->words)
		return has_word(rule->words, value) ? 0 : -EINVAL;
	return text_template(value, value_of_key, (void *)(uintptr_t)rule->keys, &filled);
}

static int set_string(const struct option *o, char **field, const char *value)
{
	char *copy;
	int r;

	r = check_string(o, value);
	if (r < 0)
		return r;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int append_list(struct conf_list *list, const char *value)
{
	char **v, *copy;

	if (!*value)
		return -EINVAL;
	copy = strdup(value);
	v = copy ? reallocarray(list->v, list->n + 1, sizeof(*v)) : NULL;
	if (!v) {
		free(copy);
		return -ENOMEM;
	}
	list->v = v;
	list->v[list->n++] = copy;
	return 0;
}

static int parse_number(enum conf_type type, const char *value, uint64_t *ret)
{
	unsigned u = 0;
	int64_t ms = 0;
	int b = 0;
	int r;

	switch (type) {
	case CONF_BYTES:
		return units_parse_bytes(value, ret);
	case CONF_UINT:
		return units_parse_uint(value, ret);
	case CONF_MS:
		r = units_parse_ms(value, &ms);
		break;
	case CONF_PCT:
		r = units_parse_pct(value, &u);
		break;
	case CONF_OCTAL:
		r = units_parse_octal(value, &u);
		break;
	case CONF_BOOL:
		r = units_parse_bool(value, &b);
		break;
	default:
		assert(!"a type of number");
		return -EINVAL;
	}
	if (r < 0)
		return r;
	/* Two of the three are zero. */
	*ret = (uint64_t)ms + u + (uint64_t)b;
	return 0;
}

static int set_number(const struct option *o, void *field, const char *value)
{
	uint64_t n;
	int r;

	r = parse_number(o->type, value, &n);
	if (r < 0)
		return r;
	if ((o->min || o->max) && (n < o->min || n > o->max))
		return -ERANGE;
	if (o->type == CONF_BYTES || o->type == CONF_UINT)
		*(uint64_t *)field = n;
	else if (o->type == CONF_MS)
		*(int64_t *)field = (int64_t)n;
	else if (o->type == CONF_BOOL)
		*(int *)field = (int)n;
	else
		*(unsigned *)field = (unsigned)n;
	return 0;
}

static int set_field(struct conf *c, const struct option *o, const char *value)
{
	void *field = (char *)c + o->offset;

	switch (o->type) {
	case CONF_STRING:
	case CONF_PATH:
		return set_string(o, field, value);
	case CONF_LIST:
		return append_list(field, value);
	case CONF_WINDOWS:
		return conf_windows_parse(value, field);
	default:
		return set_number(o, field, value);
	}
}

/* What may be given: "a time such as 500ms, 30s, 5m, 24h or 7d, from 1s to 1h". */
static char *print_allowed(const struct option *o, char *buf, size_t size)
{
	static const char *const kinds[] = {
		[CONF_STRING] = "text",
		[CONF_PATH] = "a path",
		[CONF_BYTES] = "a size such as 4096, 64k, 4M or 1G",
		[CONF_MS] = "a time such as 500ms, 30s, 5m, 24h or 7d",
		[CONF_PCT] = "a percentage",
		[CONF_BOOL] = "yes or no",
		[CONF_UINT] = "a number",
		[CONF_OCTAL] = "an octal number such as 0022",
		[CONF_WINDOWS] = "at most 8 times of day such as 22:00-06:00,12:00-13:00",
		[CONF_LIST] = "text that is not empty",
	};
	const struct string_rule *rule = find_rule(o);
	char range[80];
	bool limited = conf_print_range(o->type, o->min, o->max, range, sizeof(range));

	if (rule && rule->words)
		snprintf(buf, size, "one of %s", rule->words);
	else if (rule)
		snprintf(buf, size, "text with no braces but %s", rule->keys);
	else
		snprintf(buf, size, "%s%s%s", kinds[o->type], limited ? ", from " : "", range);
	return buf;
}

int conf_set(struct conf *c, const char *name, const char *value, char *err, size_t size)
{
	const struct option *o = find_option(name);
	AUTO_FREE char *shown = NULL;
	char allowed[200];
	int r;

	shown = text_printable(o && value ? value : name, strlen(o && value ? value : name));
	if (!shown)
		return -ENOMEM;
	if (!o)
		return refuse(-ENOENT, err, size, "cannot set '%.200s': no such option; see --help",
			      shown);
	if (!value && o->type != CONF_BOOL)
		return refuse(-EINVAL, err, size, "cannot set '%s': no value given; give %s", name,
			      print_allowed(o, allowed, sizeof(allowed)));
	r = set_field(c, o, value ? value : "yes");
	if (r == 0 || r == -ENOMEM)
		return r;
	return refuse(r, err, size, "cannot set '%s' to '%.200s': %s; give %s", name, shown,
		      r == -ERANGE ? "out of range" : "not understood",
		      print_allowed(o, allowed, sizeof(allowed)));
}

char *conf_next_word(char **text)
{
	char *word = *text, *to = word, *from = word;

	while (*from && *from != ',') {
		if (*from == '\\' && (from[1] == ',' || from[1] == '\\'))
			from++;
		*to++ = *from++;
	}
	*text = *from ? from + 1 : from;
	*to = '\0';
	return word;
}

int conf_set_many(struct conf *c, const char *opts, char *err, size_t size)
{
	AUTO_FREE char *copy = strdup(opts);
	char *rest = copy;
	int r;

	if (!copy)
		return -ENOMEM;
	while (*rest) {
		char *one = conf_next_word(&rest), *value;

		if (!*one)
			continue;
		value = strchr(one, '=');
		if (value)
			*value++ = '\0';
		r = conf_set(c, one, value, err, size);
		if (r < 0)
			return r;
	}
	return 0;
}

int conf_init(struct conf *c)
{
	int r;

	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].type == CONF_LIST && !*options[i].def)
			continue;
		r = set_field(c, &options[i], options[i].def);
		assert(r == 0 || r == -ENOMEM);
		if (r < 0) {
			conf_fini(c);
			return r;
		}
	}
	return 0;
}

void conf_fini(struct conf *c)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		void *field = (char *)c + options[i].offset;

		if (options[i].type == CONF_STRING || options[i].type == CONF_PATH) {
			free(*(char **)field);
		} else if (options[i].type == CONF_LIST) {
			struct conf_list *list = field;

			while (list->n > 0)
				free(list->v[--list->n]);
			free(list->v);
		}
	}
	memset(c, 0, sizeof(*c));
}
