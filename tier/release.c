/* SPDX-License-Identifier: MIT */
/*
 * Unlinking local copies.
 *
 *	claim -> leave (no handle; opens wait) -> row -> journalled -> told ->
 *	lease -> identity, one link, plain -> unlink
 *
 * Always true: there is one unlinkat of a file in here, and every check before it says no
 * unless it knows better.  A file whose identity differs is not unlinked in the same
 * claim: its bytes are compared, the row is refreshed, and the next time decides.
 */
#include "tier/release.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/failpoint.h"
#include "tier/local.h"
#include "tier/ns_int.h"

struct releasing {
	struct tier *t;
	struct node *dir; /* borrowed */
	struct dirfd *d;  /* borrowed */
	enum release_why why;
	unsigned unlinked; /* so far */
};

static int row_now(struct releasing *rel, const char *name, struct file_row *ret)
{
	dirid_t dirid;
	int r;

	r = state_dirid(rel->t, rel->dir, &dirid);
	if (r < 0)
		return r;
	r = dirid > 0 ? cat_file_get(rel->t->cat, dirid, name, ret) : -ENOENT;
	return r == -ENOENT ? -ENODATA : r;
}

/* May the catalogue's word be relied on, by us and by those who were told an address? */
static int row_permits(struct releasing *rel, const struct file_row *row)
{
	int told;

	if (!journal_has(rel->t, row->txn))
		return -EAGAIN;
	told = notify_told(rel->t, row->ino);
	if (told < 0)
		return told;
	if (told == 0 && !(rel->why == RELEASE_CRITICAL && rel->t->conf->release_without_sinks))
		return -EAGAIN;
	return 0;
}

/*
 * Is the file, opened as fd, the one that was archived?  The lease first: what is
 * compared after it was not being written.
 */
static int file_permits(struct releasing *rel, const char *name, int fd, const struct file_row *row)
{
	struct stat st, by_name;
	struct identity id;
	int r;

	r = cache_quiet(fd);
	if (r < 0)
		return r == -EAGAIN ? -EBUSY : r;
	if (fstat(fd, &st) < 0)
		return -errno;
	id = cache_identity(&st);
	if (!identity_equal(&id, &row->id))
		return -ESTALE;
	r = local_plain(fd, &st);
	if (r < 0)
		return r;
	/* once more, by its name: this is what will be unlinked */
	if (fstatat(dirfd_fd(rel->d), name, &by_name, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	id = cache_identity(&by_name);
	if (by_name.st_dev != st.st_dev || !S_ISREG(by_name.st_mode) ||
	    !identity_equal(&id, &row->id))
		return -ESTALE;
	return 0;
}

/* The node is claimed, and no handle is or will be open until it is unclaimed. */
static int release_leaving(struct releasing *rel, struct node *node, const char *name,
			   uint64_t *ret_bytes)
{
	AUTO_CLOSE int fd = -1;
	struct file_row row;
	struct stat st;
	int r;

	r = row_now(rel, name, &row);
	if (r < 0)
		return r;
	if (row.ino != node_ino(node) && node_ino(node) != 0)
		return -ESTALE;
	r = row_permits(rel, &row);
	if (r < 0)
		return r;
	fd = local_open(dirfd_fd(rel->d), name, &st);
	if (fd < 0)
		return fd == -ENOENT ? 1 : fd == -EAGAIN ? -EBUSY : fd;
	r = file_permits(rel, name, fd, &row);
	if (r == 0)
		r = failpoint(RELEASE_CHECK);
	if (r < 0)
		return r;
	listing_note_release(rel->t, rel->dir, name);
	if (unlinkat(dirfd_fd(rel->d), name, 0) < 0)
		return -errno;
	rel->unlinked++;
	*ret_bytes = (uint64_t)st.st_size;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return failpoint(RELEASE_UNLINK);
}

/* ---- changed since ---------------------------------------------------------- */

struct refresh {
	struct file_row row;
	struct row_attr attr;
	struct identity id;
};

static int refresh_run(struct tx *tx, void *arg)
{
	struct refresh *f = arg;
	struct file_row now;
	int r;

	r = tx_file_get(tx, f->row.dir, f->row.name, &now);
	if (r < 0 || now.attempt != f->row.attempt)
		return r < 0 && r != -ENOENT ? r : -ESTALE;
	now.attr = f->attr;
	now.id = f->id;
	return tx_file_put(tx, &now);
}

/* Claimed, opens go on.  Same bytes: the row takes the file's attributes.  Never 0. */
static int refresh_claimed(struct releasing *rel, struct node *node, const char *name)
{
	struct refresh f;
	AUTO_CLOSE int fd = -1;
	struct stat st, after;
	struct identity id;
	uint32_t crc;
	int r;

	r = row_now(rel, name, &f.row);
	if (r < 0)
		return r;
	fd = local_open(dirfd_fd(rel->d), name, &st);
	if (fd < 0)
		return fd == -ENOENT ? 1 : -ESTALE;
	if ((uint64_t)st.st_size != f.row.attr.size || local_settles_ms(rel->t, &st) > 0 ||
	    node_nwrite(rel->t->tree, node) > 0 || cache_quiet(fd) < 0 || local_plain(fd, &st) < 0)
		return -ESTALE;
	r = local_crc(fd, (uint64_t)st.st_size, &crc);
	if (r < 0 || crc != f.row.crc32c)
		return -ESTALE;
	if (fstat(fd, &after) < 0 || cache_quiet(fd) < 0)
		return -ESTALE;
	f.id = cache_identity(&st);
	id = cache_identity(&after);
	if (!identity_equal(&id, &f.id) || node_nwrite(rel->t->tree, node) > 0)
		return -ESTALE;
	rows_attr_from_stat(&st, &f.attr);
	r = catalogue_write(rel->t->cat, SYNC_FULL, refresh_run, &f);
	return r < 0 ? r : -ESTALE;
}

/* ---- one file, many files ----------------------------------------------------- */

static int release_node(struct releasing *rel, struct node *node, const char *name,
			uint64_t *ret_bytes)
{
	struct tree *tree = rel->t->tree;
	int r;

	if (!node_try_claim(tree, node))
		return -EBUSY;
	r = local_named(rel->t, node, rel->dir, name);
	if (r == 0)
		r = node_leave(tree, node) ? release_leaving(rel, node, name, ret_bytes) : -EBUSY;
	node_unclaim(tree, node);
	if (r != -ESTALE || !node_try_claim(tree, node))
		return r;
	r = local_named(rel->t, node, rel->dir, name);
	if (r == 0)
		r = refresh_claimed(rel, node, name);
	node_unclaim(tree, node);
	return r;
}

static int release_name(struct releasing *rel, const char *name, uint64_t *ret_bytes)
{
	struct node *node;
	int r;

	*ret_bytes = 0;
	r = node_get(rel->t->tree, rel->dir, name, false, &node);
	if (r < 0)
		return r == -EISDIR ? -EPERM : r;
	r = release_node(rel, node, name, ret_bytes);
	node_put(rel->t->tree, node);
	return r;
}

void release_batch(struct tier *t, struct node *dir, struct release_item *items, size_t n,
		   enum release_why why)
{
	struct releasing rel = { .t = t, .dir = dir, .why = why };
	int r;

	r = !volume_ok(t) ? -EAGAIN : catalogue_is_readonly(t->cat) ? -EROFS : 0;
	if (r == 0)
		r = cache_dir(t->cache, dir, &rel.d);
	if (r == 0)
		r = own_action_begin(t, dir);
	for (size_t i = 0; i < n; i++) {
		items[i].bytes = 0;
		items[i].result = r == -ENOENT ? 1 : r;
		if (r == 0)
			items[i].result = release_name(&rel, items[i].name, &items[i].bytes);
	}
	if (r == 0)
		own_action_end(t, dir, rel.unlinked > 0);
	if (rel.d)
		cache_dir_put(t->cache, rel.d);
}

int release_file(struct tier *t, struct node *dir, const char *name, enum release_why why,
		 uint64_t *ret_bytes)
{
	struct release_item item;

	if (strlen(name) > ROW_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(item.name, name);
	release_batch(t, dir, &item, 1, why);
	*ret_bytes = item.bytes;
	return item.result;
}
