/* SPDX-License-Identifier: MIT */
/*
 * Listing directories.
 *
 * Entries stream from tier/list.h into the reply; readdirplus looks each name up, and
 * each that the kernel got counts one reference.  A name that is gone by then is left
 * out; one that cannot be looked up is given without attributes, and the kernel's
 * own look-up says why.
 *
 * The kernel keeps listings.  One is used again only while no file of the directory
 * was opened since: it would refresh no attributes.  One handle at a time fills the
 * kernel's pages, so that it is known what is in them (fs/given.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dirs.h"
#include "fs/fs_fuse.h"

#define UNKNOWN_INO 0xffffffff /* what libfuse gives for an inode number that nobody asked for */
#define ENTRY_PLUS_MIN 160     /* bytes of the shortest entry with attributes */
#define REPLY_MAX (1u << 20)

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *dir = op_node(req, ino);
	struct listing *listing;
	enum given_use use;
	uint64_t number;
	int r;

	if (!dir)
		return;
	r = node_is_dir(dir) ? listing_open(fs->tier, dir, &listing) : -ENOTDIR;
	fs_put(fs, dir);
	if (r == 0) {
		r = dirs_add(fs->dirs, ino, listing, &number, &use);
		if (r < 0)
			listing_close(listing);
	}
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	fi->fh = number;
	fi->cache_readdir = use != GIVEN_NOT;
	fi->keep_cache = use != GIVEN_FILLS;
	if (fuse_reply_open(req, fi) != 0)
		dirs_remove(fs->dirs, number);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	reply_result(req, dirs_remove(fs_of(req)->dirs, fi->fh));
}

/* One reply in the making. */
struct page {
	struct fs *fs;
	fuse_req_t req;
	struct node *dir; /* counted */
	char *buf;	  /* owned */
	size_t size, used;
	struct node **given; /* owned, readdirplus only: counted for the kernel */
	size_t ngiven;
};

/* Not without a look-up, but for rows and for nodes in memory. */
static uint64_t number_of(struct page *p, const struct list_entry *entry)
{
	uint64_t ino = entry->ino;
	struct node *node;

	if (ino)
		return ino;
	node = node_find(p->fs->tree, p->dir, entry->name);
	ino = node ? node_ino(node) : 0;
	fs_put(p->fs, node);
	return ino ? ino : UNKNOWN_INO;
}

/* 1: added; 0: no room. */
static int put_plain(struct page *p, const struct list_entry *entry)
{
	struct stat st = { .st_ino = number_of(p, entry), .st_mode = entry->type };
	size_t n = fuse_add_direntry(p->req, p->buf + p->used, p->size - p->used, entry->name, &st,
				     (off_t)entry->off);

	if (n > p->size - p->used)
		return 0;
	p->used += n;
	return 1;
}

static int put_with(struct page *p, const struct list_entry *entry,
		    const struct fuse_entry_param *e)
{
	size_t n = fuse_add_direntry_plus(p->req, p->buf + p->used, p->size - p->used, entry->name,
					  e, (off_t)entry->off);

	if (n > p->size - p->used)
		return 0;
	p->used += n;
	return 1;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Without attributes: the kernel counts nothing. */
static int put_bare(struct page *p, const struct list_entry *entry)
{
	struct fuse_entry_param e = { .attr = { .st_ino = number_of(p, entry),
						.st_mode = entry->type } };

	return put_with(p, entry, &e);
}

/*
 * Inodes are made for the first names of a listing, as many as the keeper gives back at a time,
 * and none beyond max_inodes: a directory of a million names would take the place of
 * whatever is in use.  Whoever wants the attributes of the others asks one by one.
 */
static bool makes_inode(struct fs *fs, const struct list_entry *entry)
{
	uint64_t max = fs->conf->max_inodes;

	return entry->off <= max / 16 && tree_count(fs->tree) < max;
}

static int put_plus(struct page *p, const struct list_entry *entry)
{
	struct fuse_entry_param e;
	struct node *node;
	struct stat st;
	int r;

	if (is_dots(entry->name) || !makes_inode(p->fs, entry))
		return put_bare(p, entry);
	r = ns_lookup(p->fs->tier, p->dir, entry->name, &entry->seen, &node, &st);
	if (r == -ENOENT)
		return 1;
	if (r < 0)
		return put_bare(p, entry);
	fill_entry(p->fs, node, &st, &e);
	r = put_with(p, entry, &e);
	if (r == 1)
		p->given[p->ngiven++] = node;
	else
		fs_put(p->fs, node);
	return r;
}

/* 0, or what went wrong before anything was listed. */
static int fill_page(struct page *p, struct open_dir *from, uint64_t off) REQUIRES(from->lock)
{
	struct list_entry entry;
	int r;

	while (!p->given || p->ngiven < p->size / ENTRY_PLUS_MIN) {
		r = dirs_next(p->fs->dirs, from, off, &entry);
		if (r < 0)
			return p->used ? 0 : r;
		if (r == 0 || (p->given ? put_plus(p, &entry) : put_plain(p, &entry)) == 0)
			return 0;
		off = entry.off;
	}
	return 0;
}

static void send_page(struct page *p, int r)
{
	if (r < 0)
		reply_result(p->req, r);
	else
		r = fuse_reply_buf(p->req, p->buf, p->used);
	if (r == 0)
		return;
	for (size_t i = 0; i < p->ngiven; i++)
		fs_put(p->fs, p->given[i]);
}

static int list(struct page *p, uint64_t number, off_t off)
{
	struct open_dir *from = dirs_get(p->fs->dirs, number);
	int r;

	if (!from)
		return -EBADF;
	lock_take(&from->lock);
	r = fill_page(p, from, (uint64_t)off);
	lock_drop(&from->lock);
	return r;
}

static void readdir_reply(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			  struct fuse_file_info *fi, bool plus)
{
	struct page p = { .fs = fs_of(req),
			  .req = req,
			  .size = size < REPLY_MAX ? size : REPLY_MAX };

	p.dir = op_node(req, ino);
	if (!p.dir)
		return;
	p.buf = malloc(p.size);
	if (plus)
		p.given = malloc((p.size / ENTRY_PLUS_MIN + 1) * sizeof(*p.given));
	if (!p.buf || (plus && !p.given))
		fuse_reply_err(req, ENOMEM);
	else
		send_page(&p, list(&p, fi->fh, off));
	free(p.given);
	free(p.buf);
	fs_put(p.fs, p.dir);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_reply(req, ino, size, off, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	readdir_reply(req, ino, size, off, fi, true);
}
