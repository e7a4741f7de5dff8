/* SPDX-License-Identifier: MIT */
/*
 * Checks before the mount.
 *
 * All compare resolved paths, as of before the mount: what lies below the mount point
 * cannot be reached by its path any more once something is mounted there.
 */
#include "tools/mount_check.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/path.h"

struct places {
	char mountpoint[PATH_MAX];
	char cache[PATH_MAX];
	char meta[PATH_MAX];
	char store[PATH_MAX]; /* of a dir store, else "" */
};

#define REFUSE(code, ...) (snprintf(err, size, __VA_ARGS__), -(code))

static int check_system(char *err, size_t size)
{
	if (geteuid() != 0)
		return REFUSE(EPERM, "only root can mount: run ebbfs as root");
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return REFUSE(errno,
			      "cannot use '/dev/fuse': %s; load the kernel's module "
			      "(modprobe fuse)",
			      strerror(errno));
	return 0;
}

/* Is the topmost mount on this path one of ours?  mountinfo writes blanks as \040. */
static bool is_ebbfs_mount(const char *path)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	AUTO_FREE char *line = NULL;
	bool ours = false;
	size_t room = 0;

	while (file && getline(&line, &room, file) > 0) {
		char point[PATH_MAX], type[64];
		const char *tail = strstr(line, " - ");
		char *to = point;

		if (!tail || sscanf(tail, " - %63s", type) != 1 ||
		    sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		for (const char *from = point; *from; to++) {
			unsigned byte;

			if (*from == '\\' && sscanf(from + 1, "%3o", &byte) == 1) {
				*to = (char)byte;
				from += 4;
			} else {
				*to = *from++;
			}
		}
		*to = '\0';
		if (strcmp(point, path) == 0)
			ours = strcmp(type, "fuse.ebbfs") == 0;
	}
	if (file)
		fclose(file);
	return ours;
}

#define DEAD_MOUNT "a mount whose daemon died is left on '%s': run umount -l '%s' first"

static int resolve_mountpoint(const char *given, char *resolved, char *err, size_t size)
{
	struct statvfs room;
	struct stat st;

	if (!realpath(given, resolved) || stat(resolved, &st) < 0) {
		if (errno == ENOTCONN)
			return REFUSE(EBUSY, DEAD_MOUNT, given, given);
		return REFUSE(errno, "cannot mount on '%s': %s; make the directory first", given,
			      strerror(errno));
	}
	if (!S_ISDIR(st.st_mode))
		return REFUSE(ENOTDIR, "cannot mount on '%s': it is no directory", given);
	if (!is_ebbfs_mount(resolved))
		return 0;
	if (statvfs(resolved, &room) < 0 && errno == ENOTCONN)
		return REFUSE(EBUSY, DEAD_MOUNT, given, given);
	return REFUSE(EBUSY, "'%s' is an ebbfs mount already: unmount it first", given);
}

static int resolve_cache(const char *given, char *resolved, char *err, size_t size)
{
	struct stat st;

	if (!realpath(given, resolved) || stat(resolved, &st) < 0)
		return REFUSE(errno, "cannot use cache '%s': %s; make the directory first", given,
			      strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return REFUSE(ENOTDIR, "cannot use cache '%s': it is no directory", given);
	return 0;
}

/* A file that need not be there yet, in a directory that must. */
static int resolve_meta(const char *given, char *resolved, char *err, size_t size)
{
	AUTO_FREE char *full = NULL;
	int r = path_real_parent(given, &full);

	if (r < 0)
		return REFUSE(-r, "cannot use catalogue '%s': its directory: %s", given,
			      strerror(-r));
	if (!*path_name(given) || snprintf(resolved, PATH_MAX, "%s", full) >= PATH_MAX)
		return REFUSE(EINVAL, "cannot use catalogue '%s': it must be a file", given);
	return 0;
}

/* Other stores lie on no path.  One that cannot be resolved is refused when it is opened. */
static void resolve_store(const char *url, char *resolved)
{
	if (strncmp(url, "dir:", 4) != 0 || !realpath(url + 4, resolved))
		*resolved = '\0';
}

static int check_places(const struct places *p, char *err, size_t size)
{
	bool in_place = strcmp(p->cache, p->mountpoint) == 0;

	if (!in_place && path_is_inside(p->mountpoint, p->cache))
		return REFUSE(EINVAL,
			      "the mount point '%s' is inside the cache '%s': mount on the "
			      "cache itself or elsewhere",
			      p->mountpoint, p->cache);
	if (!in_place && path_is_inside(p->cache, p->mountpoint))
		return REFUSE(EINVAL,
			      "the cache '%s' is below the mount point '%s' and would be "
			      "covered: use the mount point itself or move the cache",
			      p->cache, p->mountpoint);
	if (path_is_inside(p->meta, p->cache) || path_is_inside(p->meta, p->mountpoint))
		return REFUSE(EINVAL,
			      "the catalogue '%s' is inside the cache or the mount point: "
			      "give meta=FILE elsewhere",
			      p->meta);
	if (!*p->store)
		return 0;
	if (path_is_inside(p->store, p->cache) || path_is_inside(p->cache, p->store))
		return REFUSE(EINVAL,
			      "store '%s' and cache '%s' hold one another: they must be "
			      "directories apart",
			      p->store, p->cache);
	if (path_is_inside(p->store, p->mountpoint) || path_is_inside(p->mountpoint, p->store))
		return REFUSE(EINVAL,
			      "store '%s' and mount point '%s' hold one another: they must "
			      "be directories apart",
			      p->store, p->mountpoint);
	if (path_is_inside(p->meta, p->store))
		return REFUSE(EINVAL,
			      "the catalogue '%s' is inside the store '%s': give meta=FILE "
			      "elsewhere",
			      p->meta, p->store);
	return 0;
}

static int keep_resolved(struct conf *c, const struct places *p, char *err, size_t size)
{
	int r;

	r = conf_set(c, "mountpoint", p->mountpoint, err, size);
	if (r == 0)
		r = conf_set(c, "cache", p->cache, err, size);
	return r == 0 ? conf_set(c, "meta", p->meta, err, size) : r;
}

/*
 * They are read again later, from '/'.  Where the directory cannot be resolved the path stays:
 * opening the file says what is wrong.
 */
static int keep_absolute(struct conf *c, char *err, size_t size)
{
	const struct {
		const char *name, *path;
	} files[] = {
		{ "es_password_file", c->es_password_file },
		{ "es_api_key_file", c->es_api_key_file },
		{ "es_ca", c->es_ca },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(files) / sizeof(files[0]); i++) {
		AUTO_FREE char *full = NULL;

		if (files[i].path[0] && files[i].path[0] != '/' &&
		    path_real_parent(files[i].path, &full) == 0)
			r = conf_set(c, files[i].name, full, err, size);
	}
	return r;
}

int mount_check(struct conf *conf, bool *ret_in_place, char *err, size_t size)
{
	struct places p;
	int r;

	r = check_system(err, size);
	if (r == 0)
		r = resolve_mountpoint(conf->mountpoint, p.mountpoint, err, size);
	if (r == 0)
		r = resolve_cache(conf->cache, p.cache, err, size);
	if (r == 0)
		r = resolve_meta(conf->meta, p.meta, err, size);
	if (r < 0)
		return r;
	resolve_store(conf->store, p.store);
	r = check_places(&p, err, size);
	if (r == 0)
		r = keep_resolved(conf, &p, err, size);
	if (r == 0)
		r = keep_absolute(conf, err, size);
	if (r == 0)
		*ret_in_place = strcmp(p.cache, p.mountpoint) == 0;
	return r;
}
