/* SPDX-License-Identifier: MIT */
/*
 * One FUSE session: mount, threads, signals, end.
 *
 *	fs_mount --INIT--> ready --unmounted, signal, broken--> ended
 *	  signal, or else fs_quiesce: parked requests are replied to
 *	  fs_unmount: keeper, kernel, open state, in this order
 *
 * The loop runs in a thread of its own (and libfuse's workers), so that whoever
 * mounts can look at the mount before saying that it is ready.  Signals are taken by
 * one thread with sigwait; all others have them blocked.
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
#include "fs/waiters.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tier/push.h"

#define SYNC_THREADS 16
#define INIT_DEADLINE_MS 30000

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

void session_ready(struct fs *fs)
{
	lock_take(&fs->lock);
	fs->ready = true;
	cond_broadcast(&fs->changed);
	lock_drop(&fs->lock);
}

void session_forget_name(struct fs *fs, uint64_t parent, const char *name)
{
	/* -ENOENT: it has forgotten already. */
	fuse_lowlevel_notify_inval_entry(fs->session, parent, name, strlen(name));
}

/*
 * A name that is not there is never kept, so the directory is all there is to tell of.  Its
 * pages are the kept listing; a listing that is in flight is no longer as good as a new one.
 */
void fs_name_appeared(struct fs *fs, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir_path = strndup(path, slash ? (size_t)(slash - path) : 0);
	struct node *dir;
	int r = -ENOMEM;

	if (dir_path)
		r = node_walk(fs->tree, dir_path, true, &dir);
	free(dir_path);
	if (r < 0)
		return; /* nothing is there that the kernel could know */
	if (node_ino(dir)) {
		dirs_stale(fs->dirs, node_ino(dir));
		/* -ENOENT: it has forgotten already. */
		fuse_lowlevel_notify_inval_inode(fs->session, node_ino(dir), 0, 0);
	}
	fs_put(fs, dir);
}

/* A push_fn.  Pages of a file that the kernel knows; it makes no inode for them. */
static bool give_pages(void *arg, struct node *node, uint64_t attempt, const char *bytes, size_t n)
{
	struct fs *fs = arg;
	struct fuse_bufvec buf = FUSE_BUFVEC_INIT(n);
	int r;

	if (!node_ino(node) || !opens_pages_come(fs->opens, node, attempt))
		return false;
	buf.buf[0].mem = (void *)bytes;
	r = fuse_lowlevel_notify_store(fs->session, node_ino(node), 0, &buf, 0);
	if (r == -ENOENT)
		opens_pages_refused(fs->opens, node);
	else if (r < 0)
		opens_pages_mixed(fs->opens, node);
	return r == 0;
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
		park_end(fs); /* while it can still answer */
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
	char program[] = "ebbfs", flag[] = "-o", options[1024], rings[64] = "";
	char *argv[] = { program, flag, options, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_lowlevel_ops ops = op_table(fs);
	int n;

	if (fs->uring.wanted)
		snprintf(rings, sizeof(rings), ",io_uring,io_uring_q_depth=%u", fs->uring.depth);
	n = snprintf(options, sizeof(options),
		     "default_permissions,allow_other,fsname=ebbfs,subtype=ebbfs%s%s%s", rings,
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

	uring_plan(fs->conf, &fs->uring);
	r = waiters_new(fs->uring.rings, fs->uring.depth, &fs->waiters);
	if (r == 0)
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
	if (r < 0)
		return r;
	pushes_to(tier_pushes(fs->tier), give_pages, fs);
	return keeper_start(fs, &fs->keeper);
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
	park_end(fs);
	pushes_to(tier_pushes(fs->tier), NULL, NULL);
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
	waiters_free(fs->waiters);
	cond_fini(&fs->changed);
	lock_fini(&fs->lock);
	free(fs);
}

const char *fs_request_name(enum fs_request request)
{
	static const char *const names[] = {
#define OP(name, parameters, arguments) #name,
#include "fs/ops.def"
	};

	return names[request];
}

void fs_counts(struct fs *fs, struct fs_counts *ret)
{
	*ret = (struct fs_counts){
		.passthrough = fs->passthrough,
		.io_uring = fs->over_uring,
		.parked_total = atomic_load(&fs->parked_total),
		.parked = atomic_load(&fs->parked),
		.parked_store = waiters_now(fs->waiters),
		.refused = waiters_refused(fs->waiters),
		.inodes = tree_count(fs->tree),
		.inodes_forgotten = atomic_load(&fs->forgotten),
	};
	for (int i = 0; i < FS_REQUESTS; i++)
		ret->requests[i] = atomic_load(&fs->requests[i]);
}
