/* SPDX-License-Identifier: MIT */
/*
 * What no single option shows: options that need, or exclude, one another.
 *
 * Only what is true of the words alone is decided here; whether a directory is
 * there, and what it resolves to, is found out by whoever opens it.
 */
#include "lib/conf.h"

#include <errno.h>

#include "lib/path.h"

static int refuse(char *err, size_t size, const char *sentence)
{
	snprintf(err, size, "cannot use these options: %s", sentence);
	return -EINVAL;
}

static int check_places(const struct conf *c, char *err, size_t size)
{
	if (!*c->cache)
		return refuse(err, size, "no cache; add cache=DIR");
	if (!*c->meta)
		return refuse(err, size, "no catalogue; add meta=FILE");
	if (!*c->store)
		return refuse(err, size, "no store; add store=dir:/path or store=rados:POOL");
	if (path_is_inside(c->meta, c->cache))
		return refuse(err, size, "meta is inside cache; give meta=FILE elsewhere");
	return 0;
}

static int check_policy(const struct conf *c, char *err, size_t size)
{
	if (c->low < c->high)
		return 0;
	snprintf(err, size,
		 "cannot use these options: low=%u is not below high=%u; lower low or raise high",
		 c->low, c->high);
	return -EINVAL;
}

static int check_es(const struct conf *c, char *err, size_t size)
{
	if (!*c->es)
		return 0;
	if (!*c->es_id && !*c->es_find)
		return refuse(err, size, "es_id and es_find are both empty; give one of them");
	if (*c->es_id && *c->es_find)
		return refuse(err, size, "es_find excludes es_id; empty one of them, as by es_id=");
	if (*c->es_user && !*c->es_password_file)
		return refuse(err, size,
			      "es_user needs es_password_file; add es_password_file=FILE");
	if (!*c->es_user && *c->es_password_file)
		return refuse(err, size, "es_password_file needs es_user; add es_user=NAME");
	if (*c->es_user && *c->es_api_key_file)
		return refuse(err, size, "es_api_key_file excludes es_user; remove one of them");
	return 0;
}

int conf_check(const struct conf *c, char *err, size_t size)
{
	int r;

	r = check_places(c, err, size);
	if (r < 0)
		return r;
	r = check_policy(c, err, size);
	if (r < 0)
		return r;
	return check_es(c, err, size);
}
