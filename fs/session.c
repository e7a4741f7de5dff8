/* SPDX-License-Identifier: MIT */
/*
 * One FUSE session: mount, capabilities, threads, signals, end.
 *
 *	fs_mount --INIT--> ready --unmounted, signal, broken--> ended
 *	  fs_quiesce: parked requests are replied to
 *	  fs_unmount: keeper, kernel, open state, in this order
 *
 * The loop runs in a thread of its own (and libfuse's workers), so that whoever
 * mounts can look at the mount before saying that it is ready.  Signals are taken by
 * one thread with sigwait; all others have them blocked.
 *
 * No request is answered with less than what was negotiated here: what the kernel
 * does not offer is done without, and said once.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/backing.h"
#include "fs/dirs.h"
#include "fs/fs_fuse.h"
#include "fs/keeper.h"
#include "lib/clock.h"
#include "lib/log.h"

#define SYNC_THREADS 16
#define INIT_DEADLINE_MS 30000

/* ---- what the kernel and we agree on ------------------------------------------- */

static bool wish(struct fuse_conn_info *conn, uint64_t flag)
{
	return fuse_set_feature_flag(conn, flag);
}

static void choose_passthrough(struct fs *fs, struct fuse_conn_info *conn)
{
	const char *want = fs->conf->passthrough;

	if (strcmp(want, "no") == 0) {
		log_info("passthrough: no, as configured");
		return;
	}
	fs->passthrough = wish(conn, FUSE_CAP_PASSTHROUGH);
	if (fs->passthrough) {
		/* A stacked cache (overlayfs) costs that nothing can be stacked on us. */
		bool stacked = backing_is_stacked(cache_root_fd(tier_cache(fs->tier)));

		conn->max_backing_stack_depth = stacked ? FUSE_BACKING_STACKED_OVER
							: FUSE_BACKING_STACKED_UNDER;
		log_info("passthrough: yes");
	} else if (strcmp(want, "yes") == 0) {
		log_warning(
			"passthrough: no: this kernel does not offer it (Linux 6.9 and later do)");
	} else {
		log_info("passthrough: no: this kernel does not offer it");
	}
}

static void session_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	wish(conn, FUSE_CAP_ASYNC_READ);
	wish(conn, FUSE_CAP_ATOMIC_O_TRUNC);
	wish(conn, FUSE_CAP_PARALLEL_DIROPS);
	wish(conn, FUSE_CAP_AUTO_INVAL_DATA);
	wish(conn, FUSE_CAP_CACHE_SYMLINKS);
	wish(conn, FUSE_CAP_EXPIRE_ONLY);
	wish(conn, FUSE_CAP_NO_EXPORT_SUPPORT);
	/* Saves a GETXATTR before each first write; clearing suid and sgid is ours then. */
	wish(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	/* AUTO would go back to plain listings, and thousands of look-ups. */
	wish(conn, FUSE_CAP_READDIRPLUS);
	fuse_unset_feature_flag(conn, FUSE_CAP_READDIRPLUS_AUTO);
	/* Excludes passthrough, and its errors come when nobody looks. */
	fuse_unset_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	/* See op_io.c. */
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_WRITE);
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_MOVE);
	fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
	conn->max_write = FS_MAX_WRITE;
	conn->max_background = FS_MAX_BACKGROUND;
	conn->congestion_threshold = FS_MAX_BACKGROUND * 3 / 4;
	conn->no_interrupt = 1; /* what is parked has a time limit of its own */
	choose_passthrough(fs, conn);

	lock_take(&fs->lock);
	fs->ready = true;
	cond_broadcast(&fs->changed);
	lock_drop(&fs->lock);
}

static struct fuse_lowlevel_ops choose_ops(const struct fs *fs)
{
	struct fuse_lowlevel_ops ops = {
		.init = session_init,
		.lookup = op_lookup,
		.forget = op_forget,
		.forget_multi = op_forget_multi,
		.getattr = op_getattr,
		.setattr = op_setattr,
		.readlink = op_readlink,
		.mknod = op_mknod,
		.mkdir = op_mkdir,
		.unlink = op_unlink,
		.rmdir = op_rmdir,
		.symlink = op_symlink,
		.rename = op_rename,
		.link = op_link,
		.open = op_open,
		.create = op_create,
		.read = op_read,
		.write = op_write,
		.release = op_release,
		.fsync = op_fsync,
		.opendir = op_opendir,
		.readdir = op_readdir,
		.readdirplus = op_readdirplus,
		.releasedir = op_releasedir,
		.fsyncdir = op_fsyncdir,
		.statfs = op_statfs,
		.fallocate = op_fallocate,
		.lseek = op_lseek,
		.copy_file_range = op_copy_file_range,
	};

	if (fs->durable_close)
		ops.flush = op_flush;
	if (fs->conf->xattr) {
		ops.setxattr = op_setxattr;
		ops.getxattr = op_getxattr;
		ops.listxattr = op_listxattr;
		ops.removexattr = op_removexattr;
	}
	return ops;
}

__attribute__((format(printf, 2, 0))) static void log_of_libfuse(enum fuse_log_level level,
								 const char *fmt, va_list ap)
{
	char line[512];
	size_t len;

	vsnprintf(line, sizeof(line), fmt, ap);
	len = strcspn(line, "\n");
	line[len] = '\0';
	if (level <= FUSE_LOG_WARNING)
		log_warning("%s", line);
	else
		log_debug("%s", line);
}

void session_forget_name(struct fs *fs, uint64_t parent, const char *name)
{
	/* -ENOENT: it has forgotten already. */
	fuse_lowlevel_notify_inval_entry(fs->session, parent, name, strlen(name));
}

/* ---- signals ---------------------------------------------------------------------- */

static void end_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
}

void fs_block_signals(void)
{
	sigset_t set;

	end_signals(&set);
	sigaddset(&set, SIGIO); /* a lease that is broken; its default is death */
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *wait_signals(void *arg)
{
	struct fs *fs = arg;
	bool stopping;
	sigset_t set;
	int number;

	end_signals(&set);
	sigwait(&set, &number);
	lock_take(&fs->lock);
	stopping = fs->stopping;
	lock_drop(&fs->lock);
	if (!stopping) {
		log_info("signal %d: ending", number);
		fuse_session_exit(fs->session);
	}
	return NULL;
}

/* ---- the loop ---------------------------------------------------------------------- */

static void *run_loop(void *arg)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fs *fs = arg;
	int r = -ENOMEM;

	if (config) {
		fuse_loop_cfg_set_clone_fd(config, 1);
		fuse_loop_cfg_set_max_threads(config, (unsigned)fs->conf->threads);
		r = fuse_session_loop_mt(fs->session, config);
		fuse_loop_cfg_destroy(config);
	}
	lock_take(&fs->lock);
	fs->ended = true;
	fs->result = r < 0 ? r : 0;
	cond_broadcast(&fs->changed);
	lock_drop(&fs->lock);
	return NULL;
}

static int start_threads(struct fs *fs)
{
	int r;

	r = -pthread_create(&fs->signal_thread, NULL, wait_signals, fs);
	if (r < 0)
		return r;
	fs->signal_runs = true;
	pthread_setname_np(fs->signal_thread, "ebb-signals");
	r = -pthread_create(&fs->loop_thread, NULL, run_loop, fs);
	if (r < 0)
		return r;
	fs->loop_runs = true;
	pthread_setname_np(fs->loop_thread, "ebb-loop");
	return 0;
}

/* 0 once the kernel's INIT was answered. */
static int wait_ready(struct fs *fs)
{
	int64_t deadline = clock_mono_ms() + INIT_DEADLINE_MS;
	int r;

	lock_take(&fs->lock);
	while (!fs->ready && !fs->ended && cond_wait_until(&fs->changed, &fs->lock, deadline))
		;
	r = fs->ended ? fs->result : fs->ready ? 0 : -ETIMEDOUT;
	if (fs->ended && r == 0)
		r = -ECANCELED;
	lock_drop(&fs->lock);
	return r;
}

/* ---- mounting ---------------------------------------------------------------------- */

static int new_session(struct fs *fs)
{
	char program[] = "ebbfs", flag[] = "-o", options[1024];
	char *argv[] = { program, flag, options, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_lowlevel_ops ops = choose_ops(fs);
	int n;

	n = snprintf(options, sizeof(options),
		     "default_permissions,allow_other,fsname=ebbfs,subtype=ebbfs%s%s",
		     *fs->params.mount_options ? "," : "", fs->params.mount_options);
	if (n < 0 || (size_t)n >= sizeof(options))
		return -E2BIG;
	fuse_set_log_func(log_of_libfuse);
	fs->session = fuse_session_new(&args, &ops, sizeof(ops), fs);
	fuse_opt_free_args(&args);
	return fs->session ? 0 : -EINVAL;
}

static int start(struct fs *fs)
{
	int r;

	r = opens_new(&backing_ops, fs, &fs->opens);
	if (r == 0)
		r = dirs_new(&fs->dirs);
	if (r == 0)
		r = pool_new("ebb-sync", SYNC_THREADS, &fs->pool_sync);
	if (r == 0)
		r = new_session(fs);
	if (r < 0)
		return r;
	errno = 0;
	if (fuse_session_mount(fs->session, fs->params.mountpoint) < 0)
		return errno ? -errno : -EIO;
	fs->fuse_fd = fuse_session_fd(fs->session);
	r = start_threads(fs);
	if (r == 0)
		r = wait_ready(fs);
	return r < 0 ? r : keeper_start(fs, &fs->keeper);
}

int fs_mount(const struct fs_params *params, struct fs **ret, char *err, size_t size)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int r;

	if (!fs) {
		snprintf(err, size, "cannot mount: out of memory");
		return -ENOMEM;
	}
	fs->params = *params;
	fs->tier = params->tier;
	fs->tree = tier_tree(fs->tier);
	fs->conf = tier_conf(fs->tier);
	fs->durable_close = strcmp(fs->conf->durability, "close") == 0;
	fs->timeout_ms = fs->conf->attr_timeout;
	lock_init(&fs->lock, LOCK_RANK_SESSION, "session");
	cond_init(&fs->changed);
	r = start(fs);
	if (r < 0) {
		snprintf(err, size, "cannot mount on '%s': %s", params->mountpoint, strerror(-r));
		fs_unmount(fs);
		return r;
	}
	*ret = fs;
	return 0;
}

int fs_wait(struct fs *fs)
{
	int r;

	lock_take(&fs->lock);
	while (!fs->ended)
		cond_wait(&fs->changed, &fs->lock);
	r = fs->result;
	lock_drop(&fs->lock);
	return r;
}

static void join_threads(struct fs *fs)
{
	lock_take(&fs->lock);
	fs->stopping = true;
	lock_drop(&fs->lock);
	if (fs->loop_runs) {
		fuse_session_exit(fs->session);
		pthread_join(fs->loop_thread, NULL);
	}
	if (fs->signal_runs) {
		pthread_kill(fs->signal_thread, SIGTERM);
		pthread_join(fs->signal_thread, NULL);
	}
	fs->loop_runs = fs->signal_runs = false;
}

void fs_quiesce(struct fs *fs)
{
	keeper_stop(fs->keeper);
	fs->keeper = NULL;
	join_threads(fs);
	park_drain(fs);
}

void fs_unmount(struct fs *fs)
{
	if (!fs)
		return;
	fs_quiesce(fs);
	if (fs->session) {
		fuse_session_unmount(fs->session);
		fuse_session_destroy(fs->session);
	}
	pool_free(fs->pool_sync);
	opens_free(fs->opens, fs->tree);
	dirs_free(fs->dirs);
	cond_fini(&fs->changed);
	lock_fini(&fs->lock);
	free(fs);
}

void fs_counts(struct fs *fs, struct fs_counts *ret)
{
	*ret = (struct fs_counts){
		.passthrough = fs->passthrough,
		.parked = atomic_load(&fs->parked),
		.parked_store = atomic_load(&fs->parked_store),
		.refused = atomic_load(&fs->refused),
		.inodes_forgotten = atomic_load(&fs->forgotten),
	};
}
