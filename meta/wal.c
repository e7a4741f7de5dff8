/* SPDX-License-Identifier: MIT */
/*
 * Making what was committed durable, for those who ask for it after the fact.
 *
 * A SYNC_NORMAL commit is in the WAL and not yet on the disk.  catalogue_sync()
 * syncs that file with a descriptor of its own, on the caller's thread, so that the
 * writer goes on meanwhile; who comes while one runs waits for the next, and all who
 * wait share it.
 *
 *	commits   counted by the writer before it reports a transaction's jobs done
 *	synced	  all up to this one are on the disk; a SYNC_FULL commit moves it, too
 *
 * Always true: the WAL is one file for as long as the catalogue is open (a checkpoint
 * begins it anew, and has synced what it took out of it).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "meta/catalogue_int.h"

void wal_init(struct wal *w)
{
	lock_init(&w->lock, LOCK_RANK_LEAF, "WAL");
	cond_init(&w->done);
	w->fd = -1;
	atomic_init(&w->commits, 1); /* what opening wrote, or a killed process left */
}

void wal_fini(struct wal *w)
{
	if (w->fd >= 0)
		close(w->fd);
	cond_fini(&w->done);
	lock_fini(&w->lock);
}

uint64_t wal_commits(struct wal *w)
{
	return atomic_load(&w->commits);
}

void wal_committed(struct wal *w)
{
	atomic_fetch_add(&w->commits, 1);
}

void wal_is_synced(struct wal *w, uint64_t commits)
{
	lock_take(&w->lock);
	if (w->synced < commits)
		w->synced = commits;
	lock_drop(&w->lock);
}

/* The first time: and the names of the catalogue's files, in their directory. */
static int open_wal(struct catalogue *c)
{
	AUTO_FREE char *wal = NULL;
	AUTO_FREE char *dir = NULL;
	AUTO_CLOSE int dir_fd = -1;
	AUTO_CLOSE int fd = -1;

	if (asprintf(&wal, "%s-wal", c->file) < 0) {
		wal = NULL;
		return -ENOMEM;
	}
	dir = strndup(c->file, (size_t)(strrchr(c->file, '/') - c->file) + 1);
	if (!dir)
		return -ENOMEM;
	fd = open(wal, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || dir_fd < 0 || fsync(dir_fd) < 0)
		return -errno;
	c->wal.fd = TAKE_FD(fd);
	return 0;
}

/* One thread at a time. */
static int sync_wal(struct catalogue *c)
{
	int r = c->wal.fd >= 0 ? 0 : open_wal(c);

	if (r == 0 && fdatasync(c->wal.fd) < 0)
		r = -errno;
	if (r < 0) {
		log_error("cannot sync the WAL of catalogue '%s': %s", c->file, strerror(-r));
		/* The kernel tells of a lost write once: who asks again must not hear "done". */
		if (r != -ENOMEM && r != -EMFILE && r != -ENFILE)
			catalogue_set_readonly(c, "what it committed may be lost in a power cut");
	}
	return r == -ENOMEM ? r : r < 0 ? -EIO : 0;
}

int catalogue_sync(struct catalogue *c)
{
	struct wal *w = &c->wal;
	uint64_t want = atomic_load(&w->commits), upto;
	int r = 0;

	lock_take(&w->lock);
	while (r == 0 && w->synced < want) {
		if (w->failed) {
			r = -EIO;
		} else if (w->syncing) {
			cond_wait(&w->done, &w->lock);
		} else {
			w->syncing = true;
			upto = atomic_load(&w->commits);
			lock_drop(&w->lock);
			r = sync_wal(c);
			lock_take(&w->lock);
			w->syncing = false;
			if (r == 0 && w->synced < upto)
				w->synced = upto;
			w->failed = r == -EIO && catalogue_is_readonly(c);
			cond_broadcast(&w->done);
		}
	}
	lock_drop(&w->lock);
	return r;
}
