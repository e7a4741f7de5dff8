/* SPDX-License-Identifier: MIT */
/*
 * The temporary files of a dir store, and what its file system can do.
 *
 * An unnamed file (O_TMPFILE) in the object's own directory leaves nothing behind
 * when we are killed.  Some file systems (CephFS, NFS) do not know it: there the
 * files have names, below DIR_TMP, and those of a crash are removed a day later, at
 * the next start.  User extended attributes are not to be done without.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "backend/store_dir.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/path.h"

#define TEMP_OLD_S 86400 /* a temporary file this old is a crash's */

int dir_temp_open(struct dir *d, int parent, char name[NAME_MAX + 1])
{
	name[0] = '\0';
	if (d->tmp < 0)
		return path_open(parent, "", O_TMPFILE | O_RDWR, OBJECT_MODE);
	snprintf(name, NAME_MAX + 1, "%d-%llx-%llu", getpid(), (unsigned long long)clock_real_ns(),
		 (unsigned long long)d->serial++);
	return path_open(d->tmp, name, O_CREAT | O_EXCL | O_RDWR, OBJECT_MODE);
}

void dir_temp_remove(struct dir *d, const char *name)
{
	if (*name && unlinkat(d->tmp, name, 0) < 0 && errno != ENOENT)
		log_warning("cannot remove '%s/" DIR_TMP "/%s': %m", d->path, name);
}

static void remove_old_temps(struct dir *d)
{
	AUTO_CLOSEDIR DIR *stream = NULL;
	int fd = path_open(d->tmp, "", O_RDONLY | O_DIRECTORY, 0);
	const struct dirent *e;
	struct stat st;

	if (fd < 0)
		return;
	stream = fdopendir(fd);
	if (!stream) {
		close(fd);
		return;
	}
	while ((e = readdir(stream))) {
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    time(NULL) - st.st_ctime > TEMP_OLD_S)
			dir_temp_remove(d, e->d_name);
	}
}

int dir_probe_features(struct dir *d, char *err, size_t size)
{
	char name[NAME_MAX + 1];
	AUTO_CLOSE int fd = -1;
	int r;

	fd = dir_temp_open(d, d->root, name);
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL || fd == -ENOSYS) {
		r = path_mkdirs(d->root, DIR_TMP, DIR_MODE);
		if (r == 0)
			d->tmp = path_open(d->root, DIR_TMP, O_RDONLY | O_DIRECTORY, 0);
		if (d->tmp >= 0) {
			remove_old_temps(d);
			fd = dir_temp_open(d, d->root, name);
		}
	}
	if (fd == -EACCES || fd == -EPERM || fd == -EROFS) {
		store_set_trouble(&d->base, STORE_WRITE_REFUSED, "store '%.80s': %s: %s",
				  d->base.name, strerrordesc_np(-fd),
				  dir_advice[STORE_WRITE_REFUSED]);
		return 0;
	}
	if (fd == -ENOSPC || fd == -EDQUOT)
		return 0; /* a full store can still be read */
	if (fd < 0) {
		snprintf(err, size, "cannot make a file in '%.200s': %s", d->path,
			 strerrordesc_np(-fd));
		return fd;
	}
	r = fsetxattr(fd, XATTR_ATTEMPT, "probe", 5, 0) < 0 ? -errno : 0;
	dir_temp_remove(d, name);
	if (r == -EOPNOTSUPP) {
		snprintf(err, size,
			 "the file system of '%.200s' has no user extended attributes: "
			 "use another (ext4, xfs, btrfs)",
			 d->path);
		return r;
	}
	return 0;
}
