/* SPDX-License-Identifier: MIT */
/*
 * The rules of a fault store: a file, one rule a line, read again when it changes.
 *
 *	OP ACTION [CONDITION...]	# a comment
 *
 *	OP		put get verify stat drop list, or * for all
 *	ACTION		error ERRNO	fails with it, undone: error EIO
 *			full		put only: error ENOSPC, where that is not to go even then
 *			down [now]	no answer: undone, -ETIMEDOUT after the store's timeout
 *			lost [now]	done, but the answer is lost: -ETIMEDOUT
 *			short		get only: returns half of the bytes
 *			flip		get: one bit of the data is wrong; verify: of the checksum
 *			delay TIME	starts later: delay 200ms; past the timeout it is `down`
 *			hold		starts when no rule holds it any more, or is `down`
 *	CONDITION	N, every N	every N-th time that the rule matches: the N-th, 2N-th ...
 *			nth N		only the N-th time
 *			first N		only the first N times
 *			p PERCENT	with this probability, reproducible:
 *			seed N		with another start
 *			key GLOB	only keys that match (fnmatch(3); * crosses slashes)
 *
 * Delays of all matching rules add up, any hold holds, and of the other actions the
 * first rule's counts.  Counts start anew when the file changes.  Replace the file
 * by renaming another over it: an edit in place may be read half done.
 */
#include "backend/store_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/units.h"

#define OP_BIT(op) (1U << (op))
#define ALL_OPS (OP_BIT(STORE_OPS + 1) - 1)
#define MAX_RULES 64

struct rule {
	unsigned ops;	/* OP_BITs */
	char glob[256]; /* "" matches all */
	struct fault_verdict verdict;

	uint64_t every; /* 0: not asked for, as all of these */
	uint64_t nth;
	uint64_t first;
	unsigned pct; /* 100: not asked for */
	uint64_t random;

	uint64_t count;
};

struct fault_rules {
	struct fault_version version;
	unsigned n;
	struct rule rules[MAX_RULES];
};

static struct fault_version version_of(const struct stat *st)
{
	return (struct fault_version){ .dev = st->st_dev,
				       .ino = st->st_ino,
				       .size = st->st_size,
				       .mtime_ns = ts_to_ns(st->st_mtim) };
}

struct fault_version fault_version_now(const char *file)
{
	struct stat st;

	return stat(file, &st) == 0 ? version_of(&st) : (struct fault_version){ .size = 0 };
}

bool fault_rules_are(const struct fault_rules *r, const struct fault_version *v)
{
	return v->dev == r->version.dev && v->ino == r->version.ino && v->size == r->version.size &&
	       v->mtime_ns == r->version.mtime_ns;
}

/* ---- parsing ------------------------------------------------------------ */

static int parse_op(const char *word, unsigned *ret)
{
	static const char *const names[] = {
		[STORE_PUT] = "put", [STORE_VERIFY] = "verify", [STORE_STAT] = "stat",
		[STORE_GET] = "get", [STORE_DROP] = "drop",	[FAULT_LIST] = "list",
	};

	if (strcmp(word, "*") == 0) {
		*ret = ALL_OPS;
		return 0;
	}
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(word, names[i]) == 0) {
			*ret = OP_BIT(i);
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_errno(const char *word, int *ret)
{
	for (int e = 1; e < 200; e++) {
		const char *name = strerrorname_np(e);

		if (word && name && strcmp(word, name) == 0) {
			*ret = -e;
			return 0;
		}
	}
	return -EINVAL;
}

/* *rest is strtok_r's.  "now" is looked at, not taken, so it is a condition too. */
static int parse_action(const char *word, char **rest, struct rule *r)
{
	struct fault_verdict *v = &r->verdict;
	const char *arg;

	if (strcmp(word, "error") == 0) {
		v->action = FAULT_ERROR;
		return parse_errno(strtok_r(NULL, " \t", rest), &v->error);
	}
	if (strcmp(word, "delay") == 0) {
		arg = strtok_r(NULL, " \t", rest);
		return arg ? units_parse_ms(arg, &v->delay_ms) : -EINVAL;
	}
	if (strcmp(word, "full") == 0) {
		v->action = FAULT_FULL;
		r->ops &= OP_BIT(STORE_PUT);
	} else if (strcmp(word, "short") == 0) {
		v->action = FAULT_SHORT;
		r->ops &= OP_BIT(STORE_GET);
	} else if (strcmp(word, "flip") == 0) {
		v->action = FAULT_FLIP;
		r->ops &= OP_BIT(STORE_GET) | OP_BIT(STORE_VERIFY);
	} else if (strcmp(word, "lost") == 0) {
		v->action = FAULT_LOST;
		r->ops &= ~OP_BIT(FAULT_LIST);
	} else if (strcmp(word, "down") == 0) {
		v->action = FAULT_DOWN;
	} else if (strcmp(word, "hold") == 0) {
		v->hold = true;
	} else {
		return -EINVAL;
	}
	return r->ops ? 0 : -EINVAL;
}

static int parse_condition(const char *word, char **rest, struct rule *r)
{
	const char *arg;

	if (strcmp(word, "now") == 0) {
		r->verdict.now = true;
		return r->verdict.action == FAULT_LOST || r->verdict.action == FAULT_DOWN ? 0
											  : -EINVAL;
	}
	if (*word >= '0' && *word <= '9')
		return units_parse_uint(word, &r->every) < 0 || !r->every ? -EINVAL : 0;
	arg = strtok_r(NULL, " \t", rest);
	if (!arg)
		return -EINVAL;
	if (strcmp(word, "every") == 0)
		return units_parse_uint(arg, &r->every) < 0 || !r->every ? -EINVAL : 0;
	if (strcmp(word, "nth") == 0)
		return units_parse_uint(arg, &r->nth) < 0 || !r->nth ? -EINVAL : 0;
	if (strcmp(word, "first") == 0)
		return units_parse_uint(arg, &r->first) < 0 || !r->first ? -EINVAL : 0;
	if (strcmp(word, "p") == 0)
		return units_parse_pct(arg, &r->pct);
	if (strcmp(word, "seed") == 0)
		return units_parse_uint(arg, &r->random);
	if (strcmp(word, "key") == 0 && strlen(arg) < sizeof(r->glob)) {
		strcpy(r->glob, arg);
		return 0;
	}
	return -EINVAL;
}

/* 1: a rule; 0: an empty line; -EINVAL. */
static int parse_line(char *line, struct rule *ret)
{
	struct rule r = { .pct = 100 };
	char *rest, *word;

	line[strcspn(line, "#\n")] = '\0';
	word = strtok_r(line, " \t", &rest);
	if (!word)
		return 0;
	if (parse_op(word, &r.ops) < 0)
		return -EINVAL;
	word = strtok_r(NULL, " \t", &rest);
	if (!word || parse_action(word, &rest, &r) < 0)
		return -EINVAL;
	while ((word = strtok_r(NULL, " \t", &rest))) {
		if (parse_condition(word, &rest, &r) < 0)
			return -EINVAL;
	}
	*ret = r;
	return 1;
}

static int parse_file(FILE *in, const char *file, struct fault_rules *rules, char *err, size_t size)
{
	AUTO_FREE char *line = NULL;
	size_t room = 0;
	unsigned number = 0;
	int r;

	while (getline(&line, &room, in) >= 0) {
		AUTO_FREE char *shown = strdup(line);
		struct rule rule;

		number++;
		r = parse_line(line, &rule);
		if (r < 0 || (r > 0 && rules->n == MAX_RULES)) {
			snprintf(err, size, "%.150s:%u: no rule of a fault store: %.60s", file,
				 number, shown ? shown : "");
			return -EINVAL;
		}
		if (r > 0)
			rules->rules[rules->n++] = rule;
	}
	if (!ferror(in))
		return 0;
	snprintf(err, size, "cannot read '%.150s': %m", file);
	return -EIO;
}

int fault_rules_read(const char *file, struct fault_rules **ret, char *err, size_t size)
{
	struct fault_rules *rules;
	struct stat st;
	FILE *in;
	int r = 0;

	rules = calloc(1, sizeof(*rules));
	if (!rules) {
		snprintf(err, size, "no memory");
		return -ENOMEM;
	}
	in = fopen(file, "re");
	if (!in && errno != ENOENT) {
		r = -errno;
		snprintf(err, size, "cannot read '%.150s': %m", file);
	} else if (in) {
		if (fstat(fileno(in), &st) == 0)
			rules->version = version_of(&st);
		r = parse_file(in, file, rules, err, size);
		fclose(in);
	}
	if (r < 0) {
		free(rules);
		return r;
	}
	*ret = rules;
	return 0;
}

void fault_rules_free(struct fault_rules *r)
{
	free(r);
}

/* ---- judging ------------------------------------------------------------ */

static bool matches(const struct rule *r, unsigned op, const char *key)
{
	return (r->ops & OP_BIT(op)) && (!r->glob[0] || fnmatch(r->glob, key, 0) == 0);
}

/* splitmix64: every seed is a good one. */
static uint64_t next_random(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static bool strikes(struct rule *r)
{
	r->count++;
	if (r->every && r->count % r->every)
		return false;
	if (r->nth && r->count != r->nth)
		return false;
	if (r->first && r->count > r->first)
		return false;
	return r->pct >= 100 || next_random(&r->random) % 100 < r->pct;
}

struct fault_verdict fault_rules_judge(struct fault_rules *rules, unsigned op, const char *key)
{
	struct fault_verdict v = { .action = FAULT_NONE };

	for (unsigned i = 0; i < rules->n; i++) {
		struct rule *r = &rules->rules[i];

		if (!matches(r, op, key) || !strikes(r))
			continue;
		v.delay_ms += r->verdict.delay_ms;
		v.hold |= r->verdict.hold;
		if (v.action == FAULT_NONE) {
			v.action = r->verdict.action;
			v.error = r->verdict.error;
			v.now = r->verdict.now;
		}
	}
	return v;
}

bool fault_rules_hold(const struct fault_rules *rules, unsigned op, const char *key)
{
	for (unsigned i = 0; i < rules->n; i++) {
		if (rules->rules[i].verdict.hold && matches(&rules->rules[i], op, key))
			return true;
	}
	return false;
}

bool fault_rules_down(const struct fault_rules *rules)
{
	for (unsigned i = 0; i < rules->n; i++) {
		const struct rule *r = &rules->rules[i];

		if (r->verdict.action == FAULT_DOWN && r->ops == ALL_OPS && !r->glob[0] &&
		    !r->every && !r->nth && !r->first && r->pct >= 100)
			return true;
	}
	return false;
}
