/* SPDX-License-Identifier: MIT */
/*
 * Parsing es=.  libcurl's own URL parser takes them apart, so that what is
 * checked here is what is connected to later.
 */
#include "backend/es_url.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

static void cleanup_url(CURLU **u)
{
	curl_url_cleanup(*u);
}

static void cleanup_part(char **s)
{
	curl_free(*s);
}

/* A part of u, the caller's by curl_free; NULL when it is not there. */
static char *part(CURLU *u, CURLUPart which)
{
	char *s;

	return curl_url_get(u, which, &s, 0) == CURLUE_OK ? s : NULL;
}

/* What no URL of es= may have.  0, or -EINVAL with a sentence. */
static int check_parts(CURLU *u, const char *url, char *err, size_t size)
{
	CLEANUP(cleanup_part) char *scheme = part(u, CURLUPART_SCHEME);
	CLEANUP(cleanup_part) char *user = part(u, CURLUPART_USER);
	CLEANUP(cleanup_part) char *query = part(u, CURLUPART_QUERY);
	CLEANUP(cleanup_part) char *fragment = part(u, CURLUPART_FRAGMENT);

	if (!scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
		snprintf(err, size, "es='%s': must begin with http:// or https://", url);
		return -EINVAL;
	}
	if (user) { /* the URL is not repeated: it holds a password */
		snprintf(err, size,
			 "es=: no user or password in the URL, where every process "
			 "sees it; use es_user and es_password_file");
		return -EINVAL;
	}
	if (query || fragment) {
		snprintf(err, size, "es='%s': nothing may follow the index ('?' or '#')", url);
		return -EINVAL;
	}
	return 0;
}

/* Cuts the path into prefix and index; both lie in path. */
static int split_path(char *path, const char *url, char **ret_index, char *err, size_t size)
{
	size_t len = strlen(path);
	char *slash;

	while (len > 0 && path[len - 1] == '/')
		path[--len] = '\0';
	slash = strrchr(path, '/');
	if (!slash || slash[1] == '\0') {
		snprintf(err, size, "es='%s': the index is missing: http://host:port/INDEX", url);
		return -EINVAL;
	}
	if (slash[1] == '_') {
		snprintf(err, size, "es='%s': '%s' cannot be the name of an index", url, slash + 1);
		return -EINVAL;
	}
	*slash = '\0';
	*ret_index = slash + 1;
	return 0;
}

static int set_index(struct es_url *u, const char *index, char *err, size_t size)
{
	CLEANUP(cleanup_part) char *decoded = NULL;
	int len;

	if (u->index) {
		if (strcmp(u->index, index) == 0)
			return 0;
		snprintf(err, size, "es=: all URLs must name the same index ('%s', '%s')", u->index,
			 index);
		return -EINVAL;
	}
	decoded = curl_easy_unescape(NULL, index, 0, &len);
	u->index = strdup(index);
	u->index_name = decoded ? strdup(decoded) : NULL;
	return u->index && u->index_name ? 0 : -ENOMEM;
}

static int add_node(struct es_url *u, const char *url, char *err, size_t size)
{
	CLEANUP(cleanup_url) CURLU *parsed = curl_url();
	CLEANUP(cleanup_part) char *path = NULL;
	CLEANUP(cleanup_part) char *base = NULL;
	char *index;
	CURLUcode e;
	int r;

	if (!parsed)
		return -ENOMEM;
	e = curl_url_set(parsed, CURLUPART_URL, url, 0);
	if (e != CURLUE_OK) {
		/* No repeating: what does not parse may still hold a password. */
		snprintf(err, size, "es=: not a URL such as http://host:port/INDEX: %s",
			 curl_url_strerror(e));
		return -EINVAL;
	}
	r = check_parts(parsed, url, err, size);
	if (r < 0)
		return r;
	path = part(parsed, CURLUPART_PATH);
	if (!path)
		return -ENOMEM;
	r = split_path(path, url, &index, err, size);
	if (r < 0)
		return r;
	r = set_index(u, index, err, size);
	if (r < 0)
		return r;
	if (curl_url_set(parsed, CURLUPART_PATH, *path ? path : "/", 0) != CURLUE_OK)
		return -ENOMEM;
	base = part(parsed, CURLUPART_URL);
	u->node[u->n] = base ? strdup(base) : NULL;
	if (!u->node[u->n])
		return -ENOMEM;
	for (size_t len = strlen(u->node[u->n]); u->node[u->n][len - 1] == '/'; len--)
		u->node[u->n][len - 1] = '\0';
	u->n++;
	return 0;
}

static int add_nodes(struct es_url *u, const char *urls, char *err, size_t size)
{
	AUTO_FREE char *copy = strdup(urls);
	char *save;
	int r;

	if (!copy)
		return -ENOMEM;
	for (char *p = strtok_r(copy, " \t\n", &save); p; p = strtok_r(NULL, " \t\n", &save)) {
		if (u->n == ES_URL_NODES) {
			snprintf(err, size, "es=: at most %d URLs", ES_URL_NODES);
			return -EINVAL;
		}
		r = add_node(u, p, err, size);
		if (r < 0)
			return r;
	}
	if (u->n == 0) {
		snprintf(err, size, "es=: no URL in it");
		return -EINVAL;
	}
	return 0;
}

int es_url_parse(const char *urls, struct es_url *ret, char *err, size_t size)
{
	struct es_url u = { 0 };
	int r;

	r = add_nodes(&u, urls, err, size);
	if (r < 0) {
		es_url_fini(&u);
		return r;
	}
	*ret = u;
	return 0;
}

void es_url_fini(struct es_url *u)
{
	for (size_t i = 0; i < u->n; i++)
		free(u->node[i]);
	free(u->index);
	free(u->index_name);
	*u = (struct es_url){ 0 };
}

bool es_url_is_pattern(const struct es_url *u)
{
	return strpbrk(u->index_name, "*?,") != NULL;
}
