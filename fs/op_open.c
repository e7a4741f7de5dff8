/* SPDX-License-Identifier: MIT */
/*
 * Opening, creating and closing files.
 *
 * Always true: a handle that was replied is counted twice, in the node (tier: who
 * may release or archive it) and in its open state (fs/open.h); release undoes the
 * second first, so that nothing is open any more when the node says so.
 *
 * No FLUSH is wanted at close() but with durability=close.  Files with suid or sgid
 * are never read or written by passthrough: the kernel leaves clearing these bits to
 * us and does not tell of a write to the backing file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/attr.h"
#include "fs/dirs.h"
#include "fs/fs_fuse.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/path.h"
#include "tier/reaper.h"

#define FMODE_EXEC 040 /* the kernel's own flag of an open by execve(2) */

struct open_call {
	struct call call;    /* create: node is the directory */
	int flags;	     /* of open(2) */
	mode_t mode;	     /* create */
	struct ns_cred cred; /* create */
	bool write;	     /* counted as a write handle */
	bool kill_suidgid;   /* truncated by somebody without CAP_FSETID */
	int fd;		     /* from here on of run(): what the tier gave */
	struct remote *remote;
	struct ns_created new; /* create: its node is counted */
};

static bool may_pass_through(struct fs *fs, mode_t mode)
{
	return fs->passthrough && !(mode & (S_ISUID | S_ISGID));
}

static bool wants_passthrough(const struct open_call *o)
{
	struct stat st;

	if (o->new.made)
		return may_pass_through(o->call.fs, o->new.st.st_mode);
	return o->fd >= 0 && fstat(o->fd, &st) == 0 && may_pass_through(o->call.fs, st.st_mode);
}

static bool is_exec(const struct open_call *o)
{
	return !o->write && (o->flags & FMODE_EXEC);
}

/* What was made to be written by the kernel. */
static bool is_ro(const struct open_call *o)
{
	return o->new.made && (o->flags & O_ACCMODE) == O_RDONLY;
}

/*
 * The row was read before the file counted as open.  Who made it local meanwhile, and has
 * closed it by now, found nobody to tell.
 */
static void look_again(struct fs *fs, struct node *node, struct opened *opened)
{
	int fd = cache_open_node(tier_cache(fs->tier), node, O_RDONLY);

	if (path_is_gone(fd))
		return;
	if (fd < 0)
		log_warning("cannot open the local copy of a file that was opened while it was "
			    "restored: %s: who reads it gets EIO",
			    strerror(-fd));
	opens_now_local(fs->opens, node, fd);
	opened->keep_pages = false;
}

/* Count the handle and say how the kernel is to use it. */
static int add_handle(struct open_call *o, struct node *node, struct fuse_file_info *ret)
{
	struct fs *fs = o->call.fs;
	struct opening in = { .fd = o->fd,
			      .fd_ro = !o->write || is_ro(o),
			      .remote = o->remote,
			      .write = o->write,
			      .exec = is_exec(o),
			      .passthrough = wants_passthrough(o) };
	struct opened opened;
	int r;

	if (o->kill_suidgid && (o->flags & O_TRUNC) && o->fd >= 0)
		fs_kill_suidgid(o->fd);
	r = opens_add(fs->opens, node, &in, &opened);
	if (r < 0) {
		node_open_end(fs->tree, node, o->write);
		return r;
	}
	if (o->remote)
		look_again(fs, node, &opened);
	*ret = (struct fuse_file_info){
		.fh = o->write	   ? HANDLE_WRITE
		      : is_exec(o) ? HANDLE_EXEC
				   : HANDLE_READ,
		.noflush = !(fs->durable_close && o->write),
		.keep_cache = opened.keep_pages,
		.backing_id = opened.mode == OPEN_PASSTHROUGH ? opened.backing_id : 0,
	};
	return 0;
}

/* Undo it.  0; -EBADF: there was no such handle. */
static int drop_handle(struct fs *fs, struct node *node, uint64_t fh)
{
	bool write = fh == HANDLE_WRITE;
	char name[ROW_NAME_MAX + 1];
	struct node *parent;
	bool last_writer;
	int r;

	if (fh == HANDLE_EXEC)
		opens_exec_ends(fs->opens, node);
	r = opens_drop(fs->opens, node, write, &last_writer);
	if (r < 0)
		return r;
	node_open_end(fs->tree, node, write);
	if (last_writer && node_name(fs->tree, node, &parent, name) == 0) {
		reaper_touch(fs->tier, parent);
		fs_put(fs, parent);
	}
	return 0;
}

/* ---- open ------------------------------------------------------------------- */

static int open_nameless(struct open_call *o)
{
	struct fs *fs = o->call.fs;
	int r;

	r = opens_again(fs->opens, o->call.node, o->flags, &o->fd, &o->remote);
	if (r < 0)
		return r;
	if (node_open_begin(fs->tree, o->call.node, o->write, false))
		return 0;
	cleanup_close(&o->fd);
	if (o->remote)
		remote_put(o->remote);
	return -ENOENT;
}

/* Of others the kernel has asked already whether a program is run from the file. */
static bool truncates_only(int flags)
{
	return (flags & O_TRUNC) && (flags & O_ACCMODE) == O_RDONLY;
}

static int open_run(struct call *c, bool wait)
{
	struct open_call *o = (struct open_call *)c;
	int r;

	if (truncates_only(o->flags) && opens_is_run(c->fs->opens, c->node))
		return -ETXTBSY;
	r = ns_open(c->fs->tier, c->node, o->flags, wait, &o->fd, &o->remote);
	return r == -ENOENT ? fs_stale(c->node, open_nameless(o)) : r;
}

static enum park_where open_where(struct call *c)
{
	struct open_call *o = (struct open_call *)c;

	if (!o->write && !c->fs->conf->restore_on_read)
		return PARK_COMMIT;
	return fs_where_bytes(c->fs, c->node, o->flags & O_TRUNC);
}

/* What was opened will have other attributes than its directory's cached listing. */
static void parent_stale(struct fs *fs, struct node *node)
{
	char name[ROW_NAME_MAX + 1];
	struct node *parent;

	if (node_name(fs->tree, node, &parent, name) < 0)
		return;
	dirs_stale(fs->dirs, node_ino(parent));
	fs_put(fs, parent);
}

static void open_reply(struct call *c, int r)
{
	struct open_call *o = (struct open_call *)c;
	struct fuse_file_info fi;

	if (r == 0)
		r = add_handle(o, c->node, &fi);
	if (r < 0) {
		reply_result(c->req, r);
		return;
	}
	parent_stale(c->fs, c->node);
	if (fuse_reply_open(c->req, &fi) != 0)
		drop_handle(c->fs, c->node, fi.fh);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct open_call o = { .call = { .fs = fs_of(req),
					 .req = req,
					 .run = open_run,
					 .reply = open_reply,
					 .where = open_where },
			       .flags = fi->flags & (O_ACCMODE | O_TRUNC | FMODE_EXEC),
			       .kill_suidgid = fi->kill_suidgid,
			       .fd = -1 };

	o.write = (o.flags & O_ACCMODE) != O_RDONLY || (o.flags & O_TRUNC);
	o.call.node = op_node(req, ino);
	if (o.call.node)
		fs_call(&o.call, sizeof(o));
}

/* ---- create ------------------------------------------------------------------ */

static int create_run(struct call *c, bool wait)
{
	struct open_call *o = (struct open_call *)c;
	int r;

	r = ns_create(c->fs->tier, c->node, c->name, o->mode, o->flags, &o->cred, wait, &o->new);
	if (r == 0)
		o->fd = o->new.fd;
	return r;
}

static void create_reply(struct call *c, int r)
{
	struct open_call *o = (struct open_call *)c;
	struct fuse_entry_param e;
	struct fuse_file_info fi;

	if (r < 0) {
		reply_result(c->req, r);
		return;
	}
	r = add_handle(o, o->new.node, &fi);
	if (r < 0) {
		fs_put(c->fs, o->new.node);
		reply_result(c->req, r);
		return;
	}
	fill_entry(c->fs, o->new.node, &o->new.st, &e);
	if (fuse_reply_create(c->req, &e, &fi) != 0) {
		drop_handle(c->fs, o->new.node, fi.fh);
		fs_put(c->fs, o->new.node);
	}
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	/* A write handle is counted, whatever the caller's flags; the kernel writes by itself. */
	int access = may_pass_through(fs, mode) ? O_RDONLY : O_RDWR;
	struct open_call o = { .call = { .fs = fs,
					 .req = req,
					 .run = create_run,
					 .reply = create_reply,
					 .name = name },
			       .flags = (fi->flags & ~O_ACCMODE) | access,
			       .mode = mode,
			       .cred = op_cred(req),
			       .write = true,
			       .kill_suidgid = fi->kill_suidgid,
			       .fd = -1 };

	o.call.node = op_parent(req, parent, name);
	if (o.call.node)
		fs_call(&o.call, sizeof(o));
}

/* ---- release ------------------------------------------------------------------ */

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *node = op_node(req, ino);
	int r;

	if (!node)
		return;
	r = drop_handle(fs, node, fi->fh);
	fs_put(fs, node);
	reply_result(req, r);
}
