/* SPDX-License-Identifier: MIT */
/*
 * The clients of bench/together: cameras that upload hour after hour, readers of cold files, and
 * a site's retention; all at once, as long as they are told to.
 *
 *   stream DIR CAMERAS FILES SIZE[,SIZE...]	FILES of each camera in an hour; sizes take turns
 *
 * Lines of the standard input:
 *
 *   writers N RATE	N write from now on, RATE files a second in all; 0: as many as they can
 *   readers N RATE	N read single files of the hours that are cold, RATE a second in all
 *   cold KEPT LOW HIGH	those are the first KEPT, and LOW to HIGH - 1
 *   remove LOW HIGH	hours LOW to HIGH - 1 are removed, if they were not
 *   report		one line of JSON: what was done since the last report
 *
 * Camera c's file n is DIR/c/n div FILES/n, and its bytes follow from c and n: readers compare all
 * of them.  A client is a process.  Each request is timed by itself; one of over a second is told
 * on the standard error.  A client whose request fails goes on with the next file.
 * Beside them one process only sleeps and wakes: how late it is says what the machine alone
 * makes others wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/hist.h"

#define CHUNK (64u << 10)
#define WRITERS_MAX 64u
#define READERS_MAX 32u
#define REMOVERS 8u /* unlinking a released name waits for a commit: many share one */
#define REMOVER (WRITERS_MAX + READERS_MAX)
#define SLEEPER (REMOVER + REMOVERS)
#define ROLES (SLEEPER + 1)
#define CAMERAS_MAX 1000u
#define SIZES_MAX 8u
#define SECOND_NS 1000000000u
#define IDLE_NS 20000000u

/* FILE is all of an upload, COLD of a reading; SLEEP is how late who only sleeps wakes up. */
#define KINDS(X)            \
	X(FILE, "file")     \
	X(MKDIR, "mkdir")   \
	X(CREATE, "create") \
	X(WRITE, "write")   \
	X(CLOSE, "close")   \
	X(COLD, "cold")     \
	X(OPEN, "open")     \
	X(READ, "read")     \
	X(UNLINK, "unlink") \
	X(RMDIR, "rmdir")   \
	X(SLEEP, "sleep")
#define KIND_ID(id, name) K_##id,
#define KIND_NAME(id, name) name,
enum kind { KINDS(KIND_ID) N_KINDS };
static const char *const kind_name[] = { KINDS(KIND_NAME) };

/* One writer each: the process that plays it; the parent adds them up, and takes longest away. */
struct role {
	struct hist hist[N_KINDS];
	_Atomic uint64_t longest_ns[N_KINDS];
	_Atomic uint64_t bytes, errors, cpu_ns;
	char error[300]; /* the first one */
};

struct shared {
	_Atomic unsigned writers, readers, rate, read_rate;
	_Atomic unsigned kept, low, high; /* cold hours */
	_Atomic unsigned remove_low, remove_high;
	_Atomic unsigned removed[REMOVERS]; /* hours below it are, of one's cameras */
	_Atomic unsigned next[CAMERAS_MAX]; /* the file to write: one writer each */
	struct role role[ROLES];
};

struct stream {
	const char *dir;
	unsigned cameras, files;
	size_t size[SIZES_MAX];
	unsigned sizes;
	struct shared *s;
	unsigned char *chunk, *got; /* CHUNK bytes */
	/* the parent's */
	pid_t pid[ROLES];
	struct hist told[N_KINDS];
	/* a role's */
	struct role *me;
	uint64_t cpu_before_ns;
	unsigned long seed;
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void pause_ns(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / SECOND_NS),
			      .tv_nsec = (long)(ns % SECOND_NS) };

	nanosleep(&t, NULL);
}

static void path_of(const struct stream *s, unsigned c, unsigned n, char path[4096])
{
	snprintf(path, 4096, "%s/%03u/%05u/%07u.dat", s->dir, c, n / s->files, n);
}

static size_t size_of(const struct stream *s, unsigned n)
{
	return s->size[n % s->sizes];
}

static void stamp(struct stream *s, unsigned c, unsigned n)
{
	memcpy(s->chunk, &c, sizeof(c));
	memcpy(s->chunk + sizeof(c), &n, sizeof(n));
}

/* ---- one request ----------------------------------------------------------------------- */

/* It took from began until now; r is its result, 0 or -errno (which it returns). */
static int done(struct stream *s, enum kind k, uint64_t began, int r, const char *path)
{
	uint64_t ns = clock_ns(CLOCK_MONOTONIC) - began;

	hist_note(&s->me->hist[k], ns);
	if (ns > s->me->longest_ns[k])
		s->me->longest_ns[k] = ns;
	if (ns > SECOND_NS && k != K_FILE && k != K_COLD && k != K_SLEEP)
		fprintf(stderr, "slow: %.3f s, %s %s, at %.3f\n", (double)ns / 1e9, kind_name[k],
			path, (double)clock_ns(CLOCK_REALTIME) / 1e9);
	if (r < 0 && s->me->errors++ == 0)
		snprintf(s->me->error, sizeof(s->me->error), "%s %s: %s", kind_name[k], path,
			 strerror(-r));
	return r;
}

static int result(long r)
{
	return r < 0 ? -errno : 0;
}

/* ---- writing ----------------------------------------------------------------------------- */

static int write_all(struct stream *s, int fd, const char *path, size_t left)
{
	while (left > 0) {
		uint64_t began = clock_ns(CLOCK_MONOTONIC);
		size_t want = left < CHUNK ? left : CHUNK;
		ssize_t n = write(fd, s->chunk, want);
		int r = done(s, K_WRITE, began,
			     n == (ssize_t)want ? 0
			     : n < 0		? -errno
						: -EIO,
			     path);

		if (r < 0)
			return r;
		left -= want;
		s->me->bytes += want;
	}
	return 0;
}

static int write_file(struct stream *s, unsigned c, unsigned n)
{
	uint64_t first = clock_ns(CLOCK_MONOTONIC), began = first;
	char path[4096];
	int fd, r;

	path_of(s, c, n, path);
	if (n % s->files == 0) {
		*strrchr(path, '/') = '\0';
		r = result(mkdir(path, 0755));
		if (done(s, K_MKDIR, began, r == -EEXIST ? 0 : r, path) < 0)
			return r;
		path_of(s, c, n, path);
		began = clock_ns(CLOCK_MONOTONIC);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	r = done(s, K_CREATE, began, result(fd), path);
	if (r < 0)
		return r;
	stamp(s, c, n);
	r = write_all(s, fd, path, size_of(s, n));
	began = clock_ns(CLOCK_MONOTONIC);
	if (done(s, K_CLOSE, began, result(close(fd)), path) < 0 || r < 0)
		return -EIO;
	return done(s, K_FILE, first, 0, path);
}

/* Sleeps until it is time for the next one of those who together do `rate` a second; 0: at once. */
static void pace(uint64_t *due, unsigned all, unsigned rate)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (!rate)
		return;
	*due += (uint64_t)SECOND_NS * all / rate;
	if (*due > now)
		pause_ns(*due - now);
	else if (now - *due > SECOND_NS)
		*due = now;
}

/* Writer w of several has cameras w, w + writers, ...; their numbers change only while none writes. */
static void be_writer(struct stream *s, unsigned w)
{
	unsigned all = s->s->writers, c = w % s->cameras;
	uint64_t due = clock_ns(CLOCK_MONOTONIC);

	while (s->s->writers == all && w < s->cameras) {
		if (write_file(s, c, s->s->next[c]++) < 0)
			pause_ns(IDLE_NS);
		s->me->cpu_ns = s->cpu_before_ns + clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		c += all;
		if (c >= s->cameras)
			c = w;
		pace(&due, all, s->s->rate);
	}
}

/* ---- reading ------------------------------------------------------------------------------- */

static int read_all(struct stream *s, int fd, const char *path, size_t size)
{
	size_t all = 0;

	for (;;) {
		uint64_t began = clock_ns(CLOCK_MONOTONIC);
		ssize_t n = read(fd, s->got, CHUNK);
		int r = result(n);

		/* each time at a multiple of CHUNK, as only the end is shorter */
		if (n > 0 && ((size_t)n != (size - all < CHUNK ? size - all : CHUNK) ||
			      memcmp(s->got, s->chunk, (size_t)n) != 0))
			r = -EBADMSG;
		if (n == 0 && all != size)
			r = -EBADMSG;
		if (done(s, K_READ, began, r, path) < 0 || n == 0)
			return r;
		all += (size_t)n;
		s->me->bytes += (size_t)n;
	}
}

static void read_file(struct stream *s, unsigned c, unsigned n)
{
	uint64_t began = clock_ns(CLOCK_MONOTONIC);
	char path[4096];
	int fd, r;

	path_of(s, c, n, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = result(fd);
	if (r == -ENOENT && n / s->files >= s->s->kept && n / s->files < s->s->low)
		return; /* removed meanwhile */
	if (done(s, K_OPEN, began, r, path) < 0)
		return;
	stamp(s, c, n);
	r = read_all(s, fd, path, size_of(s, n));
	close(fd);
	if (r == 0)
		done(s, K_COLD, began, 0, path);
}

static unsigned roll(struct stream *s, unsigned below)
{
	s->seed ^= s->seed << 13;
	s->seed ^= s->seed >> 7;
	s->seed ^= s->seed << 17;
	return (unsigned)(s->seed % below);
}

static void be_reader(struct stream *s, unsigned r)
{
	uint64_t due = clock_ns(CLOCK_MONOTONIC);

	while (r < s->s->readers) {
		unsigned kept = s->s->kept, low = s->s->low, high = s->s->high;
		unsigned hours = kept + (high > low ? high - low : 0), hour;

		if (!hours) {
			pause_ns(IDLE_NS);
			continue;
		}
		hour = roll(s, hours);
		if (hour >= kept)
			hour = hour - kept + low;
		read_file(s, roll(s, s->cameras), hour * s->files + roll(s, s->files));
		s->me->cpu_ns = s->cpu_before_ns + clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		pace(&due, s->s->readers, s->s->read_rate);
	}
}

/* ---- removing -------------------------------------------------------------------------------- */

static void remove_hour(struct stream *s, unsigned c, unsigned hour)
{
	char path[4096];
	uint64_t began;

	for (unsigned n = hour * s->files; n < (hour + 1) * s->files; n++) {
		path_of(s, c, n, path);
		began = clock_ns(CLOCK_MONOTONIC);
		done(s, K_UNLINK, began, result(unlink(path)), path);
	}
	*strrchr(path, '/') = '\0';
	began = clock_ns(CLOCK_MONOTONIC);
	done(s, K_RMDIR, began, result(rmdir(path)), path);
	s->me->cpu_ns = s->cpu_before_ns + clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void be_remover(struct stream *s, unsigned r)
{
	for (;;) {
		unsigned hour = s->s->removed[r], low = s->s->remove_low;

		if (hour < low)
			hour = low;
		if (hour >= s->s->remove_high) {
			pause_ns(IDLE_NS);
			continue;
		}
		for (unsigned c = r; c < s->cameras; c += REMOVERS)
			remove_hour(s, c, hour);
		s->s->removed[r] = hour + 1;
	}
}

/* ---- sleeping --------------------------------------------------------------------------------- */

static void be_sleeper(struct stream *s)
{
	for (;;) {
		uint64_t due = clock_ns(CLOCK_MONOTONIC) + IDLE_NS;

		pause_ns(IDLE_NS);
		done(s, K_SLEEP, due, 0, "");
	}
}

/* ---- the parent --------------------------------------------------------------------------------- */

static void play(struct stream *s, unsigned role)
{
	s->me = &s->s->role[role];
	s->cpu_before_ns = s->me->cpu_ns;
	s->seed = 88172645463325252u + role * 7919u;
	if (role < WRITERS_MAX)
		be_writer(s, role);
	else if (role < WRITERS_MAX + READERS_MAX)
		be_reader(s, role - WRITERS_MAX);
	else if (role < SLEEPER)
		be_remover(s, role - REMOVER);
	else
		be_sleeper(s);
}

/* 0 or -errno. */
static int start(struct stream *s, unsigned first, unsigned n)
{
	for (unsigned role = first; role < first + n; role++) {
		if (s->pid[role])
			continue;
		s->pid[role] = fork();
		if (s->pid[role] < 0)
			return -errno;
		if (s->pid[role] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			play(s, role);
			_exit(0);
		}
	}
	return 0;
}

static void wait_for(struct stream *s, unsigned first, unsigned end)
{
	for (unsigned role = first; role < end; role++) {
		if (s->pid[role])
			waitpid(s->pid[role], NULL, 0);
		s->pid[role] = 0;
	}
}

static double cpu_s(const struct stream *s, unsigned first, unsigned n)
{
	uint64_t ns = 0;

	for (unsigned role = first; role < first + n; role++)
		ns += s->s->role[role].cpu_ns;
	return (double)ns / 1e9;
}

/* What came since the last time, and the longest of it. */
static void report_kind(struct stream *s, enum kind k)
{
	struct hist now = { 0 }, part;
	uint64_t longest = 0;

	for (unsigned role = 0; role < ROLES; role++) {
		uint64_t mine = atomic_exchange(&s->s->role[role].longest_ns[k], 0);

		hist_add(&now, &s->s->role[role].hist[k]);
		longest = mine > longest ? mine : longest;
	}
	part = now;
	part.count -= s->told[k].count;
	part.sum_ns -= s->told[k].sum_ns;
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		part.bucket[i] -= s->told[k].bucket[i];
	part.max_ns = longest;
	s->told[k] = now;
	printf("%s\"%s\": {\"n\": %llu, \"mean_us\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
	       "\"max_us\": %.1f}",
	       k ? ", " : "", kind_name[k], (unsigned long long)part.count,
	       part.count ? (double)part.sum_ns / 1e3 / (double)part.count : 0.0,
	       (double)hist_percentile_ns(&part, .5) / 1e3,
	       (double)hist_percentile_ns(&part, .99) / 1e3, (double)longest / 1e3);
}

static void report(struct stream *s)
{
	uint64_t written = 0, read = 0, errors = 0;
	unsigned whole = UINT32_MAX, removed = UINT32_MAX;
	const char *error = "";

	for (unsigned role = 0; role < ROLES; role++) {
		const struct role *r = &s->s->role[role];

		*(role < WRITERS_MAX ? &written : &read) += r->bytes;
		errors += r->errors;
		if (r->errors && !*error)
			error = r->error;
	}
	for (unsigned c = 0; c < s->cameras; c++)
		whole = s->s->next[c] / s->files < whole ? s->s->next[c] / s->files : whole;
	for (unsigned r = 0; r < REMOVERS; r++)
		removed = s->s->removed[r] < removed ? s->s->removed[r] : removed;
	printf("{\"hours\": %u, \"removed\": %u, \"written_bytes\": %llu, \"read_bytes\": %llu, "
	       "\"errors\": %llu, \"error\": \"%s\", \"cpu_s\": {\"writers\": %.3f, \"readers\": "
	       "%.3f, \"remover\": %.3f}, \"kinds\": {",
	       whole, removed, (unsigned long long)written, (unsigned long long)read,
	       (unsigned long long)errors, error, cpu_s(s, 0, WRITERS_MAX),
	       cpu_s(s, WRITERS_MAX, READERS_MAX), cpu_s(s, REMOVER, REMOVERS));
	for (unsigned k = 0; k < N_KINDS; k++)
		report_kind(s, k);
	printf("}}\n");
	fflush(stdout);
}

static int command(struct stream *s, const char *line)
{
	unsigned a = 0, b = 0, c = 0;

	if (strncmp(line, "report", 6) == 0) {
		report(s);
	} else if (sscanf(line, "writers %u %u", &a, &b) == 2 && a <= WRITERS_MAX) {
		s->s->writers = 0;
		wait_for(s, 0, WRITERS_MAX);
		s->s->rate = b;
		s->s->writers = a;
		return start(s, 0, a);
	} else if (sscanf(line, "readers %u %u", &a, &b) == 2 && a <= READERS_MAX) {
		s->s->read_rate = b;
		s->s->readers = a;
		wait_for(s, WRITERS_MAX + a, WRITERS_MAX + READERS_MAX);
		return start(s, WRITERS_MAX, a);
	} else if (sscanf(line, "cold %u %u %u", &a, &b, &c) == 3) {
		s->s->kept = a;
		s->s->low = b;
		s->s->high = c;
	} else if (sscanf(line, "remove %u %u", &a, &b) == 2) {
		s->s->remove_low = a;
		s->s->remove_high = b;
		return start(s, REMOVER, REMOVERS);
	} else {
		return -EINVAL;
	}
	return 0;
}

static int make_dirs(const struct stream *s)
{
	char path[4096];

	for (unsigned c = 0; c < s->cameras; c++) {
		snprintf(path, sizeof(path), "%s/%03u", s->dir, c);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int init(struct stream *s, char **argv)
{
	uint64_t x = 88172645463325252u; /* xorshift: bytes that nothing compresses */

	s->dir = argv[1];
	s->cameras = (unsigned)strtoul(argv[2], NULL, 10);
	s->files = (unsigned)strtoul(argv[3], NULL, 10);
	for (char *p = argv[4]; *p && s->sizes < SIZES_MAX; p += *p == ',')
		s->size[s->sizes++] = strtoul(p, &p, 10);
	if (s->cameras == 0 || s->cameras > CAMERAS_MAX || s->files == 0 || s->sizes == 0)
		return -EINVAL;
	for (unsigned i = 0; i < s->sizes; i++)
		if (s->size[i] < 2 * sizeof(unsigned))
			return -EINVAL;
	s->s = mmap(NULL, sizeof(*s->s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	s->chunk = malloc(CHUNK);
	s->got = malloc(CHUNK);
	if (s->s == MAP_FAILED || !s->chunk || !s->got)
		return -ENOMEM;
	for (size_t i = 0; i < CHUNK; i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(s->chunk + i, &x, sizeof(x));
	}
	return make_dirs(s);
}

int main(int argc, char **argv)
{
	static struct stream s;
	char line[128];
	int r = argc == 5 ? init(&s, argv) : -EINVAL;

	if (r == 0)
		r = start(&s, SLEEPER, 1);
	while (r == 0 && fgets(line, sizeof(line), stdin))
		r = command(&s, line);
	if (r < 0)
		fprintf(stderr, "stream: cannot go on: %s\n", strerror(-r));
	return r < 0; /* who still works ends with us */
}
