/* SPDX-License-Identifier: MIT */
/*
 * Rules, read once at start; asking allocates nothing and takes no lock.
 *
 * Always true: a rule without an action, or with one that is not understood,
 * refuses to start; a policy that is not what was meant would release or keep the wrong files.
 */
#include "tier/policy.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/text.h"
#include "lib/units.h"

#define AFTER_LEAST_MS 1000 /* timestamps are coarse: younger files may still change unseen */
#define UNSET (-1)

struct rule {
	char *pattern;	      /* owned */
	bool of_path;	      /* else of the name */
	uint64_t over, under; /* bytes: size > over and size < under */
	bool has_over, has_under;
	bool never_archive;
	bool never_release;
	int64_t archive_after_ms; /* UNSET: as configured */
	int64_t release_after_ms;
};

struct policy {
	const struct conf *conf; /* borrowed */
	unsigned n;
	struct rule *rules; /* owned, n */
};

/* ---- parsing ------------------------------------------------------------- */

/* The next word of *s, cut off in place; a backslash keeps the space behind it.  NULL at the end. */
static char *next_word(char **s)
{
	char *word = *s + strspn(*s, " \t"), *end = word;

	if (!*word)
		return NULL;
	while (*end && *end != ' ' && *end != '\t')
		end += end[0] == '\\' && end[1] ? 2 : 1;
	*s = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

static int parse_size(const char *word, struct rule *rule)
{
	bool over = word[4] == '>';
	uint64_t bytes;
	int r = units_parse_bytes(word + 5, &bytes);

	if (r < 0)
		return r;
	if (over) {
		rule->over = bytes;
		rule->has_over = true;
	} else {
		rule->under = bytes;
		rule->has_under = true;
	}
	return 0;
}

/* 1: an action; 0: a condition; -EINVAL, -ERANGE. */
static int parse_word(const char *word, struct rule *rule)
{
	int r;

	if (strncmp(word, "size>", 5) == 0 || strncmp(word, "size<", 5) == 0)
		return parse_size(word, rule);
	if (strcmp(word, "never-archive") == 0) {
		rule->never_archive = true;
	} else if (strcmp(word, "never-release") == 0) {
		rule->never_release = true;
	} else if (strncmp(word, "archive_after=", 14) == 0) {
		r = units_parse_ms(word + 14, &rule->archive_after_ms);
		if (r == 0 && rule->archive_after_ms < AFTER_LEAST_MS)
			r = -ERANGE;
		if (r < 0)
			return r;
	} else if (strncmp(word, "release_after=", 14) == 0) {
		r = units_parse_ms(word + 14, &rule->release_after_ms);
		if (r < 0)
			return r;
	} else {
		return -EINVAL;
	}
	return 1;
}

/* text is cut up. */
static int parse_rule(char *text, const char *given, struct rule *rule, char *err, size_t size)
{
	char *word = next_word(&text);
	bool acts = false;
	int r;

	*rule = (struct rule){ .archive_after_ms = UNSET, .release_after_ms = UNSET };
	if (!word) {
		snprintf(err, size, "cannot use rule '%s': it is empty; give PATTERN ACTION",
			 given);
		return -EINVAL;
	}
	rule->of_path = strchr(word, '/');
	rule->pattern = strdup(word + (word[0] == '/'));
	if (!rule->pattern) {
		snprintf(err, size, "out of memory");
		return -ENOMEM;
	}
	while ((word = next_word(&text))) {
		r = parse_word(word, rule);
		if (r < 0) {
			snprintf(
				err, size,
				"cannot use rule '%s': '%s' is %s; give size>N, size<N, never-archive, "
				"never-release, archive_after=T (1s or more) or release_after=T",
				given, word,
				r == -ERANGE ? "out of range" : "no condition or action");
			return -EINVAL;
		}
		acts = acts || r == 1;
	}
	if (acts)
		return 0;
	snprintf(err, size,
		 "cannot use rule '%s': it has no action; add never-archive, never-release, "
		 "archive_after=T or release_after=T",
		 given);
	return -EINVAL;
}

int policy_new(const struct conf *conf, struct policy **ret, char *err, size_t size)
{
	struct policy *p = calloc(1, sizeof(*p));
	int r = 0;

	if (p)
		p->rules = calloc(conf->rules.n + 1, sizeof(*p->rules));
	if (!p || !p->rules) {
		policy_free(p);
		snprintf(err, size, "out of memory");
		return -ENOMEM;
	}
	p->conf = conf;
	for (unsigned i = 0; i < conf->rules.n && r == 0; i++) {
		AUTO_FREE char *text = strdup(conf->rules.v[i]);

		p->n++;
		r = text ? parse_rule(text, conf->rules.v[i], &p->rules[i], err, size) : -ENOMEM;
	}
	if (r < 0) {
		policy_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++)
		free(p->rules[i].pattern);
	free(p->rules);
	free(p);
}

/* ---- asking -------------------------------------------------------------- */

static bool rule_matches(const struct rule *rule, const char *path, const char *name, uint64_t size)
{
	if (rule->has_over && size <= rule->over)
		return false;
	if (rule->has_under && size >= rule->under)
		return false;
	return fnmatch(rule->pattern, rule->of_path ? path : name, 0) == 0;
}

void policy_ask(const struct policy *p, const char *path, const char *name, uint64_t size,
		struct policy_says *ret)
{
	const struct rule *rule = NULL;

	for (unsigned i = 0; i < p->n && !rule; i++)
		if (rule_matches(&p->rules[i], path, name, size))
			rule = &p->rules[i];
	*ret = (struct policy_says){
		.archive = true,
		.release = true,
		.archive_after_ms = p->conf->archive_after,
		.release_after_ms = p->conf->release_after,
	};
	if (rule) {
		ret->archive = !rule->never_archive;
		ret->release = !rule->never_release;
		if (rule->archive_after_ms != UNSET)
			ret->archive_after_ms = rule->archive_after_ms;
		if (rule->release_after_ms != UNSET)
			ret->release_after_ms = rule->release_after_ms;
	}
	if (ret->archive_after_ms < AFTER_LEAST_MS)
		ret->archive_after_ms = AFTER_LEAST_MS;
}

int64_t policy_least_archive_after_ms(const struct policy *p)
{
	int64_t least = p->conf->archive_after;

	for (unsigned i = 0; i < p->n; i++)
		if (p->rules[i].archive_after_ms != UNSET && p->rules[i].archive_after_ms < least)
			least = p->rules[i].archive_after_ms;
	return least < AFTER_LEAST_MS ? AFTER_LEAST_MS : least;
}

int64_t policy_least_release_after_ms(const struct policy *p)
{
	int64_t least = p->conf->release_after;

	for (unsigned i = 0; i < p->n; i++)
		if (p->rules[i].release_after_ms != UNSET && p->rules[i].release_after_ms < least)
			least = p->rules[i].release_after_ms;
	return least;
}

bool policy_is_temporary(const struct policy *p, const char *name)
{
	return text_match_any(p->conf->temporary, name);
}

bool policy_archive_open(const struct policy *p, int64_t real_ns)
{
	return conf_windows_open(&p->conf->archive_windows, real_ns);
}

bool policy_release_open(const struct policy *p, int64_t real_ns)
{
	return conf_windows_open(&p->conf->release_windows, real_ns);
}
