/* SPDX-License-Identifier: MIT */
/*
 * What may be archived and released, and when: rules, ages, windows, temporary names.
 *
 * A rule is PATTERN [size>N|size<N]... ACTION...; the first one whose pattern and sizes
 * match a file decides, what it does not say is as configured.  A pattern with a slash
 * is compared with the path, one without with the file's name; a leading slash stands for
 * the root of the tree.  As in fnmatch(3), `*` matches any bytes, slashes too;
 * a backslash keeps a space (or a wildcard) in the pattern.
 */
#ifndef EBB_TIER_POLICY_H
#define EBB_TIER_POLICY_H

#include "lib/conf.h"

struct policy;

/* Reads conf's rules.  -EINVAL with a sentence that quotes the rule; -ENOMEM. */
int policy_new(const struct conf *conf, struct policy **ret, char *err, size_t size);
void policy_free(struct policy *p);

struct policy_says {
	bool archive; /* ever */
	bool release;
	int64_t archive_after_ms; /* never under 1 s: timestamps are coarse */
	int64_t release_after_ms;
};
/* path relative to the tree, bytes. */
void policy_ask(const struct policy *p, const char *path, const char *name, uint64_t size,
		struct policy_says *ret);
/* The shortest archive_after any file can have: how soon a touched directory may be due. */
int64_t policy_least_archive_after_ms(const struct policy *p);
/* The shortest release_after any file can have. */
int64_t policy_least_release_after_ms(const struct policy *p);
bool policy_is_temporary(const struct policy *p, const char *name);
bool policy_archive_open(const struct policy *p, int64_t real_ns); /* within the windows */
bool policy_release_open(const struct policy *p, int64_t real_ns);

#endif
