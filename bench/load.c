/* SPDX-License-Identifier: MIT */
/*
 * The load of `make bench`: what FTP servers and those who read their files do, by processes that
 * cost next to nothing themselves.
 *
 *   load DIR CLIENTS FILES SIZE[,SIZE...]	sizes take turns
 *
 * Each line of the standard input is one phase, and is answered with one line of JSON:
 *
 *   create MS		each client makes its files: open O_CREAT|O_EXCL, writes of 64 KiB, close
 *   read MS [shuffle]	open, reads of 64 KiB to the end, close, of files that were created
 *   stat MS		lstat of them
 *   ... loop		over and over until the time is up, instead of once at most
 *
 * MS limits the time, 0: no limit.  Directories are made before the clock starts; all clients start
 * at once.  A client is a process, as a session of an FTP server is; it stops at its first error.
 * Client c's file n is DIR/c/n div 250/n: several phases mean the same files.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
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
#define FILES_A_DIR 250u
#define CLIENTS_MAX 10000u
#define SIZES_MAX 8u

/* One for each client, shared between its process and the parent. */
struct client {
	struct hist latency;
	uint64_t begin_ns, end_ns, cpu_ns, bytes;
	unsigned created; /* of all phases so far */
	int error;
};

struct phase {
	char op[16];
	uint64_t limit_ns;
	bool loop, shuffle;
};

struct load {
	const char *dir;
	unsigned clients, files_each;
	size_t size[SIZES_MAX];
	unsigned sizes;
	pthread_barrier_t *start; /* shared */
	struct client *client;	  /* shared */
	unsigned char *chunk;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void path_of(const struct load *l, unsigned c, unsigned n, char path[4096])
{
	snprintf(path, 4096, "%s/%04u/%03u/%07u.dat", l->dir, c, n / FILES_A_DIR, n);
}

static size_t size_of(const struct load *l, unsigned n)
{
	return l->size[n % l->sizes];
}

/* 0 or a negative errno, as all that follow. */
static int create_file(const struct load *l, const char *path, unsigned n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	size_t left = size_of(l, n);
	int r = 0;

	if (fd < 0)
		return -errno;
	memcpy(l->chunk, &n, sizeof(n));
	while (left > 0 && r == 0) {
		ssize_t done = write(fd, l->chunk, left < CHUNK ? left : CHUNK);

		if (done < 0)
			r = -errno;
		else
			left -= (size_t)done;
	}
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

static int read_file(const struct load *l, const char *path, unsigned n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t done;
	size_t all = 0;
	int r = 0;

	if (fd < 0)
		return -errno;
	while ((done = read(fd, l->chunk, CHUNK)) > 0)
		all += (size_t)done;
	if (done < 0)
		r = -errno;
	else if (all != size_of(l, n))
		r = -EIO;
	close(fd);
	return r;
}

static int stat_file(const struct load *l, const char *path, unsigned n)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	return (size_t)st.st_size == size_of(l, n) ? 0 : -EIO;
}

static int one(const struct load *l, struct client *c, const struct phase *p, const char *path,
	       unsigned n)
{
	if (p->op[0] == 's')
		return stat_file(l, path, n);
	c->bytes += size_of(l, n);
	return p->op[0] == 'c' ? create_file(l, path, n) : read_file(l, path, n);
}

/* A walk through all numbers under `count` in a scattered order: steps of a number prime to it. */
static unsigned stride(unsigned count)
{
	static const unsigned primes[] = { 7919, 7907, 7901, 7883 };

	for (size_t i = 0; i < sizeof(primes) / sizeof(*primes); i++)
		if (count % primes[i] != 0)
			return primes[i];
	return 1;
}

static void run_client(const struct load *l, unsigned number, const struct phase *p)
{
	struct client *c = &l->client[number];
	bool create = p->op[0] == 'c';
	unsigned first = create ? c->created : 0;
	unsigned count = create ? l->files_each - first : c->created;
	unsigned step = p->shuffle && count ? stride(count) : 1;
	uint64_t cpu, before, after;
	char path[4096];

	pthread_barrier_wait(l->start);
	cpu = cpu_ns();
	c->begin_ns = before = now_ns();
	for (uint64_t i = 0; count > 0 && (i < count || p->loop); i++) {
		unsigned n = first + (unsigned)(i * step % count);

		path_of(l, number, n, path);
		c->error = one(l, c, p, path, n);
		if (c->error < 0)
			break;
		after = now_ns();
		hist_note(&c->latency, after - before);
		c->created += create;
		before = after;
		if (p->limit_ns && after - c->begin_ns >= p->limit_ns)
			break;
	}
	c->end_ns = now_ns();
	c->cpu_ns = cpu_ns() - cpu;
}

static int make_dirs(const struct load *l)
{
	char path[4096];

	for (unsigned c = 0; c < l->clients; c++) {
		snprintf(path, sizeof(path), "%s/%04u", l->dir, c);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		for (unsigned n = 0; n < l->files_each; n += FILES_A_DIR) {
			snprintf(path, sizeof(path), "%s/%04u/%03u", l->dir, c, n / FILES_A_DIR);
			if (mkdir(path, 0755) < 0 && errno != EEXIST)
				return -errno;
		}
	}
	return 0;
}

static void print(const struct load *l, const struct phase *p)
{
	struct client sum = { .begin_ns = UINT64_MAX };
	double seconds;

	for (unsigned i = 0; i < l->clients; i++) {
		const struct client *c = &l->client[i];

		hist_add(&sum.latency, &c->latency);
		sum.bytes += c->bytes;
		sum.cpu_ns += c->cpu_ns;
		if (c->begin_ns < sum.begin_ns)
			sum.begin_ns = c->begin_ns;
		if (c->end_ns > sum.end_ns)
			sum.end_ns = c->end_ns;
		if (c->error < 0)
			sum.error = c->error;
	}
	seconds = (double)(sum.end_ns - sum.begin_ns) / 1e9;
	printf("{\"op\": \"%s\", \"clients\": %u, \"files\": %llu, \"bytes\": %llu, "
	       "\"seconds\": %.6f, \"cpu_s\": %.6f, \"mean_us\": %.3f",
	       p->op, l->clients, (unsigned long long)sum.latency.count,
	       (unsigned long long)sum.bytes, seconds, (double)sum.cpu_ns / 1e9,
	       sum.latency.count ? (double)sum.latency.sum_ns / 1e3 / (double)sum.latency.count
				 : 0.0);
	for (size_t i = 0; i < 4; i++) {
		static const char *const name[] = { "p50", "p90", "p99", "p999" };
		static const double share[] = { .5, .9, .99, .999 };

		printf(", \"%s_us\": %.3f", name[i],
		       (double)hist_percentile_ns(&sum.latency, share[i]) / 1e3);
	}
	printf(", \"max_us\": %.3f, \"error\": ", (double)sum.latency.max_ns / 1e3);
	if (sum.error < 0)
		printf("\"%s\"}\n", strerror(-sum.error));
	else
		printf("null}\n");
	fflush(stdout);
}

static int run_phase(const struct load *l, const struct phase *p)
{
	for (unsigned i = 0; i < l->clients; i++) {
		struct client *c = &l->client[i];
		pid_t pid;

		*c = (struct client){ .created = c->created };
		pid = fork();
		if (pid < 0)
			return -errno; /* those who wait for the others end with us */
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_client(l, i, p);
			_exit(0);
		}
	}
	pthread_barrier_wait(l->start);
	for (unsigned i = 0; i < l->clients; i++)
		wait(NULL);
	print(l, p);
	return 0;
}

static int parse(const char *line, struct phase *ret)
{
	char word[2][16] = { "", "" };
	unsigned long ms;

	if (sscanf(line, "%15s %lu %15s %15s", ret->op, &ms, word[0], word[1]) < 2)
		return -EINVAL;
	if (strcmp(ret->op, "create") != 0 && strcmp(ret->op, "read") != 0 &&
	    strcmp(ret->op, "stat") != 0)
		return -EINVAL;
	ret->limit_ns = (uint64_t)ms * 1000000u;
	ret->loop = ret->shuffle = false;
	for (int i = 0; i < 2; i++) {
		ret->loop |= strcmp(word[i], "loop") == 0;
		ret->shuffle |= strcmp(word[i], "shuffle") == 0;
	}
	return ret->loop && (ret->op[0] == 'c' || ms == 0) ? -EINVAL : 0;
}

static void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int init(struct load *l, char **argv)
{
	pthread_barrierattr_t attr;
	uint64_t x = 88172645463325252u; /* xorshift: bytes that nothing compresses */

	l->dir = argv[1];
	l->clients = (unsigned)strtoul(argv[2], NULL, 10);
	for (char *s = argv[4]; *s && l->sizes < SIZES_MAX; s += *s == ',')
		l->size[l->sizes++] = strtoul(s, &s, 10);
	if (l->clients == 0 || l->clients > CLIENTS_MAX || l->sizes == 0)
		return -EINVAL;
	l->files_each = ((unsigned)strtoul(argv[3], NULL, 10) + l->clients - 1) / l->clients;
	l->start = shared(sizeof(*l->start));
	l->client = shared(sizeof(*l->client) * l->clients);
	l->chunk = malloc(CHUNK);
	if (!l->start || !l->client || !l->chunk)
		return -ENOMEM;
	for (size_t i = 0; i < CHUNK; i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(l->chunk + i, &x, sizeof(x));
	}
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	return -pthread_barrier_init(l->start, &attr, l->clients + 1);
}

int main(int argc, char **argv)
{
	struct load l = { 0 };
	struct phase p = { 0 };
	char line[128];
	int r = argc == 5 ? init(&l, argv) : -EINVAL;

	if (r == 0)
		r = make_dirs(&l);
	while (r == 0 && fgets(line, sizeof(line), stdin)) {
		r = parse(line, &p);
		if (r == 0)
			r = run_phase(&l, &p);
	}
	if (r < 0)
		fprintf(stderr, "load: cannot go on in '%s': %s\n", argc > 1 ? argv[1] : "",
			strerror(-r));
	return r < 0;
}
