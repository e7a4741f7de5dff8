/* SPDX-License-Identifier: MIT */
/* Finding the mount and paths in it. */
#include "tools/ctl_find.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "lib/path.h"
#include "tools/ctl.h"
#include "tools/ctl_call.h"

#define MOUNTINFO "/proc/self/mountinfo"
#define FS_TYPE "fuse.ebbfs"

struct mounts {
	struct ctl_mount *v; /* owned, with their strings */
	size_t n;
};

void ctl_mount_fini(struct ctl_mount *m)
{
	free(m->path);
	free(m->root);
}

static void mounts_fini(struct mounts *l)
{
	for (size_t i = 0; i < l->n; i++)
		ctl_mount_fini(&l->v[i]);
	free(l->v);
}

/* ---- mountinfo ---------------------------------------------------------------------- */

/* Blanks, newlines and backslashes are written \040 there. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 /root /mount/point rw,noatime master:1 - type source options": 1 if it is ours. */
static int parse_line(char *line, struct ctl_mount *ret)
{
	char *dash = strstr(line, " - ");
	char *root = NULL, *path = NULL;
	unsigned maj, min;

	if (!dash || strncmp(dash + 3, FS_TYPE " ", strlen(FS_TYPE) + 1) != 0)
		return 0;
	if (sscanf(line, "%*u %*u %u:%u %ms %ms", &maj, &min, &root, &path) != 4) {
		free(root);
		free(path);
		return 0;
	}
	unescape(root);
	unescape(path);
	*ret = (struct ctl_mount){ .dev = makedev(maj, min), .path = path, .root = root };
	return 1;
}

static int add(struct mounts *l, struct ctl_mount *m)
{
	struct ctl_mount *more = realloc(l->v, (l->n + 1) * sizeof(*more));

	if (!more) {
		ctl_mount_fini(m);
		return -ENOMEM;
	}
	l->v = more;
	l->v[l->n++] = *m;
	return 0;
}

static int read_mounts(struct mounts *ret)
{
	FILE *f = fopen(MOUNTINFO, "re");
	struct mounts l = { 0 };
	AUTO_FREE char *line = NULL;
	struct ctl_mount m;
	size_t room = 0;
	int r = 0;

	if (!f)
		return -errno;
	while (r == 0 && getline(&line, &room, f) >= 0)
		if (parse_line(line, &m))
			r = add(&l, &m);
	fclose(f);
	if (r < 0)
		mounts_fini(&l);
	else
		*ret = l;
	return r;
}

/* ---- names ----------------------------------------------------------------------------- */

/* Absolute, the parent canonical, the last component as it was given; NULL and errno. */
static char *resolve(const char *path)
{
	AUTO_FREE char *copy = strdup(path);
	const char *name;
	char *full;
	int r;

	if (!copy || !path[0]) {
		errno = copy ? ENOENT : ENOMEM;
		return NULL;
	}
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	name = path_name(copy);
	if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return realpath(copy, NULL);
	r = path_real_parent(copy, &full);
	if (r < 0) {
		errno = -r;
		return NULL;
	}
	return full;
}

/* ---- which one ------------------------------------------------------------------------ */

/* The one that a path is on or in: the deepest, of several on one place the last. */
static const struct ctl_mount *mount_of(const struct mounts *l, const char *full)
{
	const struct ctl_mount *best = NULL;

	for (size_t i = 0; i < l->n; i++)
		if (path_is_inside(full, l->v[i].path) &&
		    (!best || strlen(l->v[i].path) >= strlen(best->path)))
			best = &l->v[i];
	return best;
}

static int find_given(const struct mounts *l, const char *given, const struct ctl_mount **ret)
{
	AUTO_FREE char *full = realpath(given, NULL);
	AUTO_FREE char *shown = ctl_quoted(given);

	if (!full && errno == ENOTCONN) /* a dead mount, which cannot be looked into */
		full = resolve(given);
	if (!full) {
		ctl_complain("cannot find mount '%s': %s", shown, strerror(errno));
		return CTL_NO_DAEMON;
	}
	*ret = mount_of(l, full);
	if (!*ret) {
		ctl_complain("cannot find mount '%s': no ebbfs is mounted there; start it with "
			     "ebbfs %s -o ...",
			     shown, shown);
		return CTL_NO_DAEMON;
	}
	return CTL_OK;
}

/* NULL: there is none, or several. */
static const struct ctl_mount *the_only(const struct mounts *l, bool running)
{
	const struct ctl_mount *only = NULL;

	for (size_t i = 0; i < l->n; i++) {
		if ((only && only->dev == l->v[i].dev) || (running && !ctl_daemon_runs(&l->v[i])))
			continue;
		if (only)
			return NULL;
		only = &l->v[i];
	}
	return only;
}

/* A dead mount is the one that is meant only where no other is. */
static int find_only(const struct mounts *l, const struct ctl_mount **ret)
{
	const struct ctl_mount *m = the_only(l, false);

	if (!m)
		m = the_only(l, true);
	if (m) {
		*ret = m;
		return CTL_OK;
	}
	if (l->n == 0) {
		ctl_complain("no ebbfs is mounted here; start one with ebbfs MOUNTPOINT -o ...");
		return CTL_NO_DAEMON;
	}
	ctl_complain("several ebbfs are mounted; say which one is meant with -m MOUNTPOINT:");
	for (size_t i = 0; i < l->n; i++) {
		AUTO_FREE char *shown = ctl_quoted(l->v[i].path);

		fprintf(stderr, "\t%s\n", shown);
	}
	return CTL_USAGE;
}

int ctl_mount_find(const char *given, struct ctl_mount *ret)
{
	const struct ctl_mount *m = NULL;
	struct mounts l = { 0 };
	int code, r;

	r = read_mounts(&l);
	if (r < 0) {
		ctl_complain("cannot read '" MOUNTINFO "': %s", strerror(-r));
		return CTL_NO_DAEMON;
	}
	code = given ? find_given(&l, given, &m) : find_only(&l, &m);
	if (code == CTL_OK) {
		ret->dev = m->dev;
		ret->path = strdup(m->path);
		ret->root = strdup(m->root);
		if (!ret->path || !ret->root) {
			ctl_mount_fini(ret);
			code = ctl_complain("out of memory");
		}
	}
	mounts_fini(&l);
	return code;
}

/* ---- paths ------------------------------------------------------------------------------ */

/* Is it inside, and not in another file system mounted there? */
static bool is_inside(const struct ctl_mount *m, const char *full)
{
	AUTO_FREE char *parent = NULL;
	struct stat st;

	if (!path_is_inside(full, m->path))
		return false;
	if (strcmp(full, m->path) == 0)
		return true;
	parent = path_dir(full);
	return parent && stat(parent[0] ? parent : "/", &st) == 0 && st.st_dev == m->dev;
}

char *ctl_mount_relative(const struct ctl_mount *m, const char *path)
{
	AUTO_FREE char *shown = ctl_quoted(path);
	AUTO_FREE char *full = resolve(path);
	const char *below, *root = m->root + 1; /* "" or a bind mount's directory */
	char *rel;

	if (!full) {
		ctl_complain("cannot find '%s': %s", shown, strerror(errno));
		return NULL;
	}
	if (!is_inside(m, full)) {
		ctl_complain("cannot take '%s': it is not in the mount '%s'; give a path inside "
			     "it, or another mount with -m",
			     shown, m->path);
		return NULL;
	}
	below = full + strlen(m->path);
	below += *below == '/';
	if (asprintf(&rel, "%s%s%s", root, *root && *below ? "/" : "", below) < 0) {
		ctl_complain("out of memory");
		return NULL;
	}
	return rel;
}
