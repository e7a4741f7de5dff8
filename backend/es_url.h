/* SPDX-License-Identifier: MIT */
/*
 * The value of es=: http[s]://host:port[/prefix]/INDEX, one or several nodes of
 * one cluster, separated by spaces.
 */
#ifndef EBB_BACKEND_ES_URL_H
#define EBB_BACKEND_ES_URL_H

#include <stdbool.h>
#include <stddef.h>

#define ES_URL_NODES 16

struct es_url {
	size_t n;
	char *node[ES_URL_NODES]; /* owned: "http://host:port[/prefix]", no slash at the end */
	char *index;		  /* owned: as in the URL, percent-encoded */
	char *index_name;	  /* owned: decoded, for bodies */
};

/* 0; -EINVAL with a sentence in err; -ENOMEM. */
int es_url_parse(const char *urls, struct es_url *ret, char *err, size_t size);
void es_url_fini(struct es_url *u);

/* Can it name more than one index (a pattern or a list)?  An alias is not seen. */
bool es_url_is_pattern(const struct es_url *u);

#endif
