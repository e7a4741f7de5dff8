/* SPDX-License-Identifier: MIT */
/*
 * How objects are named.
 *
 * Always true: a row alone says where its bytes are; renaming a file or a directory
 * above it changes no key, because the row keeps the path its directory had.
 */
#include "tier/object.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/path.h"
#include "lib/text.h"
#include "tier/pack.h"
#include "tier/tier_int.h"

unsigned object_count(const struct file_row *row)
{
	if (row->object != ROW_OBJECT_PARTS || row->attr.size == 0)
		return 1;
	return (unsigned)((row->attr.size + OBJECT_PART_BYTES - 1) / OBJECT_PART_BYTES);
}

static int path_key(struct tier *t, const struct file_row *row, char **ret)
{
	const char *name = row->objname[0] ? row->objname : row->name;
	AUTO_FREE char *dir = NULL;
	int r;

	r = cat_path_text(t->cat, row->objdir, &dir);
	if (r < 0)
		return r;
	*ret = path_join(dir, name);
	return *ret ? 0 : -ENOMEM;
}

char *object_pack_key(struct tier *t, uint64_t number)
{
	struct catalogue_ids ids = catalogue_ids(t->cat);
	char node[UID128_STR_SIZE];
	char *key;

	uid128_print(&ids.node, node);
	return asprintf(&key, PACK_PREFIX "%s/%" PRIu64, node, number) < 0 ? NULL : key;
}

int object_want(struct tier *t, const struct file_row *row, uint64_t *ret_size, uint32_t *ret_crc,
		char *ret_attempt, size_t size)
{
	struct pack_row pack;
	int r = 0;

	object_attempt(t, object_number(row), ret_attempt, size);
	*ret_size = row->attr.size;
	*ret_crc = row->crc32c;
	if (row->object != ROW_OBJECT_PACK)
		return 0;
	r = cat_pack_get(t->cat, row->pack, &pack);
	if (r < 0)
		return r;
	*ret_size = pack.size_bytes;
	*ret_crc = pack.crc32c;
	return 0;
}

int object_key(struct tier *t, const struct file_row *row, unsigned n, char **ret)
{
	struct catalogue_ids ids;
	char node[UID128_STR_SIZE];
	char *key;
	int len;

	if (row->object == ROW_OBJECT_PATH)
		return path_key(t, row, ret);
	if (row->object == ROW_OBJECT_PACK) {
		*ret = object_pack_key(t, row->pack);
		return *ret ? 0 : -ENOMEM;
	}
	ids = catalogue_ids(t->cat);
	uid128_print(&ids.node, node);
	if (row->object == ROW_OBJECT_PARTS)
		len = asprintf(&key, ".ebb/o/%s/%" PRIu64 "-%" PRIu64 ".%u", node, row->ino,
			       row->attempt, n);
	else
		len = asprintf(&key, ".ebb/o/%s/%" PRIu64 "-%" PRIu64, node, row->ino,
			       row->attempt);
	if (len < 0)
		return -ENOMEM;
	*ret = key;
	return 0;
}

void object_attempt(struct tier *t, uint64_t attempt, char *ret, size_t size)
{
	struct catalogue_ids ids = catalogue_ids(t->cat);
	char node[UID128_STR_SIZE];

	snprintf(ret, size, "%s/%" PRIu64, uid128_print(&ids.node, node), attempt);
}

struct url_parts {
	char *path, *name, *camera, *object, *mount; /* owned, percent-encoded */
};

static const char *url_part(const char *key, void *arg)
{
	const struct url_parts *p = arg;

	if (strcmp(key, "path") == 0)
		return p->path;
	if (strcmp(key, "name") == 0)
		return p->name;
	if (strcmp(key, "camera") == 0)
		return p->camera;
	if (strcmp(key, "object") == 0)
		return p->object;
	if (strcmp(key, "mount") == 0)
		return p->mount;
	return NULL;
}

static int fill(struct tier *t, const char *tmpl, const char *path, const char *object, char **ret)
{
	const char *name = path_name(path);
	struct url_parts p = {
		.path = text_url_encode(path, strlen(path)),
		.name = text_url_encode(name, strlen(name)),
		.camera = text_url_encode(path, strcspn(path, "/")),
		.object = text_url_encode(object, strlen(object)),
		/* local_url's default has the slashes of file:// already */
		.mount = text_url_encode(t->mountpoint, strlen(t->mountpoint)),
	};
	int r = -ENOMEM;

	if (p.path && p.name && p.camera && p.object && p.mount)
		r = text_template(tmpl, url_part, &p, ret);
	free(p.path);
	free(p.name);
	free(p.camera);
	free(p.object);
	free(p.mount);
	return r;
}

int object_url(struct tier *t, const struct file_row *row, const char *path, char **ret)
{
	AUTO_FREE char *key = NULL, *url = NULL;
	int r;

	r = object_key(t, row, 0, &key);
	if (r < 0)
		return r;
	if (t->conf->url_template[0])
		return fill(t, t->conf->url_template, path, key, ret);
	url = store_url(t->store, key);
	if (!url)
		return -ENOMEM;
	if (row->object != ROW_OBJECT_PACK)
		*ret = TAKE_PTR(url);
	else if (asprintf(ret, "%s#%" PRIu64 "+%" PRIu64, url, row->pack_off, row->attr.size) < 0)
		return -ENOMEM;
	return 0;
}

int object_local_url(struct tier *t, const char *path, char **ret)
{
	return fill(t, t->conf->local_url, path, "", ret);
}
