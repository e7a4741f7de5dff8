/* SPDX-License-Identifier: MIT */
/*
 * ebbfs, the daemon: one mount, from the command line to its end.
 *
 *	parse, check            exit 2 for what was typed wrong, 1 for the rest
 *	cache directory opened  before it may be mounted over
 *	tier_open               catalogue, cache, store; unfinished intents; the journal
 *	fs_mount                the kernel asks, we answer
 *	tier_start              sinks, reaper, drop, checkpoints
 *	ready                   systemd is told, the command in the foreground ends
 *	... until unmounted, or SIGTERM
 *	fs_quiesce, tier_stop, fs_unmount, tier_close
 *
 * Everything that fails before "ready" is one sentence on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "backend/store.h"
#include "fs/fs.h"
#include "lib/failpoint.h"
#include "lib/log.h"
#include "tools/mount_background.h"
#include "tools/mount_check.h"
#include "tools/mount_ctl.h"
#include "tools/mount_options.h"

#define ERR_SIZE 1024
#define FILES_WANTED 1048576

/* What is running; each NULL until it is. */
struct daemon {
	const struct options *options; /* borrowed */
	bool in_place;
	struct tier *tier;
	struct fs *fs;
	struct ctl_server *ctl;
	int background_fd; /* -1: in the foreground */
};

static void usage(FILE *out)
{
	fputs("usage: ebbfs MOUNTPOINT -o cache=DIR,meta=FILE,store=URL[,...] [-f]\n"
	      "       ebbfs --config FILE [MOUNTPOINT] [-o ...] [-f]\n"
	      "       ebbfs --help | --version | --print-options-mdoc\n",
	      out);
}

static void help(void)
{
	usage(stdout);
	fputs("\n"
	      "  -o OPTION[,...]  options, see below; also ro, noatime and others of mount(8)\n"
	      "  --config FILE    read options from FILE, one `name = value` a line\n"
	      "  -f               stay in the foreground, log to stderr\n\n",
	      stdout);
	conf_print_help(stdout);
}

static void set_log_level(const char *word)
{
	static const char *const words[] = { "error", "warning", "info", "debug" };

	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		if (strcmp(word, words[i]) == 0)
			log_set_level((enum log_level)i);
	}
}

/* Each open file of the mount costs a descriptor. */
static void raise_file_limit(void)
{
	struct rlimit limit = { FILES_WANTED, FILES_WANTED };

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void store_room(void *arg, uint64_t *total_bytes, uint64_t *free_bytes)
{
	struct store_health health;

	store_health(tier_store(arg), &health);
	*total_bytes = health.total_bytes;
	*free_bytes = health.free_bytes;
}

static int start_tier(struct daemon *d, char *err, size_t size)
{
	const struct conf *conf = &d->options->conf;
	int fd = open(conf->cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0) {
		r = -errno;
		snprintf(err, size, "cannot open cache '%s': %s", conf->cache, strerror(-r));
		return r;
	}
	r = tier_open(conf, fd, conf->mountpoint, &d->tier, err, size);
	if (r < 0)
		close(fd);
	return r;
}

static int start_mount(struct daemon *d, char *err, size_t size)
{
	const struct fs_params params = {
		.tier = d->tier,
		.mountpoint = d->options->conf.mountpoint,
		.mount_options = d->options->kernel,
		.in_place = d->in_place,
		.store_room = store_room,
		.store_room_arg = d->tier,
	};

	return fs_mount(&params, &d->fs, err, size);
}

static int start_serving(struct daemon *d, char *err, size_t size)
{
	const char *mountpoint = d->options->conf.mountpoint;
	struct stat st;
	int r;

	if (stat(mountpoint, &st) < 0) {
		r = -errno;
		snprintf(err, size, "the mount on '%s' does not answer: %s", mountpoint,
			 strerror(-r));
		return r;
	}
	r = tier_start(d->tier);
	if (r < 0) {
		snprintf(err, size, "cannot start to archive: %s", strerror(-r));
		return r;
	}
	r = ctl_server_start(d->tier, d->fs, st.st_dev, mountpoint, &d->ctl);
	if (r < 0)
		snprintf(err, size, "cannot listen for ebbctl: %s", strerror(-r));
	return r;
}

static int start(struct daemon *d, char *err, size_t size)
{
	int r;

	r = start_tier(d, err, size);
	if (r == 0)
		r = start_mount(d, err, size);
	return r == 0 ? start_serving(d, err, size) : r;
}

static void stop(struct daemon *d)
{
	if (d->ctl)
		ctl_server_stop(d->ctl);
	if (d->fs)
		fs_quiesce(d->fs);
	if (d->tier)
		tier_stop(d->tier);
	fs_unmount(d->fs);
	if (d->tier)
		tier_close(d->tier);
}

static int serve(struct daemon *d)
{
	char err[ERR_SIZE] = "";
	int r;

	r = start(d, err, sizeof(err));
	if (r < 0) {
		stop(d);
		fprintf(stderr, "ebbfs: %s\n", *err ? err : strerror(-r));
		return EXIT_FAILURE;
	}
	if (chdir("/") < 0)
		log_warning("cannot change to '/': %s", strerror(errno));
	log_info("mounted on '%s'", d->options->conf.mountpoint);
	sd_notify(0, "READY=1");
	if (d->background_fd >= 0)
		background_ready(d->background_fd);
	r = fs_wait(d->fs);
	if (r < 0)
		log_error("cannot go on: the connection to the kernel broke: %s", strerror(-r));
	sd_notify(0, "STOPPING=1");
	stop(d);
	log_info("ended");
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int mount_and_serve(struct options *options)
{
	struct daemon d = { .options = options, .background_fd = -1 };
	char err[ERR_SIZE];
	int r;

	r = mount_check(&options->conf, &d.in_place, err, sizeof(err));
	if (r < 0) {
		fprintf(stderr, "ebbfs: %s\n", err);
		return EXIT_FAILURE;
	}
	umask(0);
	fs_block_signals();
	raise_file_limit();
	if (!options->foreground) {
		r = background_begin(&d.background_fd);
		if (r < 0) {
			fprintf(stderr, "ebbfs: cannot fork: %s\n", strerror(-r));
			return EXIT_FAILURE;
		}
	}
	log_open("ebbfs", !options->foreground);
	set_log_level(options->conf.log_level);
	if (failpoint_init(getenv("EBB_FAILPOINTS")) < 0)
		return 2;
	return serve(&d);
}

int main(int argc, char **argv)
{
	struct options options;
	enum options_ask ask;
	char err[ERR_SIZE];
	int code = EXIT_SUCCESS;

	if (options_parse(argc, argv, &options, &ask, err, sizeof(err)) < 0) {
		fprintf(stderr, "ebbfs: %s\n", err);
		usage(stderr);
		code = 2;
	} else if (ask == OPTIONS_HELP) {
		help();
	} else if (ask == OPTIONS_VERSION) {
		puts("ebbfs " EBB_VERSION);
	} else if (ask == OPTIONS_MDOC) {
		conf_print_mdoc(stdout);
	} else {
		code = mount_and_serve(&options);
	}
	options_fini(&options);
	return code;
}
