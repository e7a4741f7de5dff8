/* SPDX-License-Identifier: MIT */
/*
 * What df says of the mount.
 *
 * FTP servers ask before they take an upload.  A full cache is no full mount: what
 * is archived makes room.  So the free space is that of the cache or of the store,
 * whichever has more, with the total that belongs to it; inodes are the cache's.
 */
#include "fs/room.h"

#include <errno.h>

void room_choose(struct statvfs *st, uint64_t total_bytes, uint64_t free_bytes)
{
	uint64_t unit = st->f_frsize ? st->f_frsize : 4096;

	if (total_bytes == 0 || free_bytes > total_bytes)
		return;
	if (free_bytes / unit <= st->f_bavail)
		return;
	st->f_blocks = total_bytes / unit;
	st->f_bfree = free_bytes / unit;
	st->f_bavail = free_bytes / unit;
}

int fs_room(struct fs *fs, struct statvfs *ret)
{
	uint64_t total = 0, free = 0;
	struct statvfs st;

	if (fstatvfs(cache_root_fd(tier_cache(fs->tier)), &st) < 0)
		return -errno;
	if (fs->params.store_room)
		fs->params.store_room(fs->params.store_room_arg, &total, &free);
	room_choose(&st, total, free);
	st.f_namemax = ROW_NAME_MAX;
	*ret = st;
	return 0;
}
