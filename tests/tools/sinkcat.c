/* SPDX-License-Identifier: MIT */
/*
 * A sink on the command line, for tests.
 *
 *	sinkcat -o OPTIONS [-s MS]
 *
 * OPTIONS as of ebbfs -o.  -s: sink_stop() after so many milliseconds.  Lines on
 * standard input, fields separated by tabs, \xHH for a byte:
 *
 *	archived|local|removed PATH [URL [OLD_URL]]	an item of the batch
 *	query PATH					a path to ask about
 *	scan						go through all that do not say synced
 *	(an empty line, or the end)			send, or ask; answer
 *
 * The answer is a line an item, `VERDICT PATH ERROR` or `-1|0|1 PATH`, or a document,
 * `TOTAL INDEX ID PATH NAME URL removed|`, "-" for what it does not say, then
 * `= ERRNO up|down SERVER BACKOFF_MS ERROR`, all separated by tabs.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/sink.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/text.h"

#define MOST 20000

struct batch {
	struct sink_item items[MOST];
	const char *paths[MOST];
	int found[MOST];
	char *lines[MOST]; /* owned: what the others point into */
	size_t n;
	bool query, scan;
};

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned byte;
		int used = 0;

		if (sscanf(s, "\\x%2x%n", &byte, &used) == 1 && used == 4) {
			*to++ = (char)byte;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

static void add(struct batch *b, char *line)
{
	static const char *const kinds[] = { "archived", "local", "removed" };
	struct sink_item *it = &b->items[b->n];
	char *part[4] = { NULL };
	int n = 0;

	for (char *p = line; p && n < 4; n++) {
		part[n] = strsep(&p, "\t");
		unescape(part[n]);
	}
	b->scan = strcmp(part[0], "scan") == 0;
	if (b->scan) {
		free(line);
		return;
	}
	if (n < 2 || b->n == MOST) {
		fprintf(stderr, "sinkcat: bad line '%s' or too many\n", line);
		exit(2);
	}
	memset(it, 0, sizeof(*it));
	for (size_t i = 0; i < 3; i++)
		if (strcmp(part[0], kinds[i]) == 0)
			it->kind = (enum sink_kind)i;
	b->query = strcmp(part[0], "query") == 0;
	b->paths[b->n] = it->path = part[1];
	it->name = strrchr(part[1], '/') ? strrchr(part[1], '/') + 1 : part[1];
	it->url = part[2];
	it->old_url = part[3];
	b->lines[b->n++] = line;
}

static void print_item(const struct batch *b, size_t i)
{
	static const char *const verdicts[] = { "done", "retry", "missing", "poisoned" };
	char *path = text_printable(b->paths[i], strlen(b->paths[i]));

	if (b->query)
		printf("%d\t%s\n", b->found[i], path ? path : "");
	else
		printf("%s\t%s\t%s\n", verdicts[b->items[i].verdict], path ? path : "",
		       b->items[i].error);
	free(path);
}

static int print_doc(void *arg, const struct sink_doc *doc, uint64_t total)
{
	const char *const part[] = { doc->index, doc->id, doc->path, doc->name, doc->url };

	(void)arg;
	printf("%llu", (unsigned long long)total);
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		printf("\t%s", part[i] ? part[i] : "-");
	printf("\t%s\n", doc->removed ? "removed" : "");
	return 0;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void run(struct sink *s, struct batch *b)
{
	const struct sink_scan scan = { .each = print_doc, .end = never };
	struct sink_health h;
	int r;

	memset(b->found, 0x55, sizeof(b->found));
	if (b->scan)
		r = sink_scan(s, &scan);
	else if (b->query)
		r = sink_query(s, b->paths, b->found, b->n);
	else
		r = sink_send(s, b->items, b->n);
	for (size_t i = 0; i < b->n && (r == 0 || !b->query); i++)
		print_item(b, i);
	sink_health(s, &h);
	printf("=\t%s\t%s\t%s\t%lld\t%s\n", r < 0 ? strerrorname_np(-r) : "0", h.up ? "up" : "down",
	       h.server, (long long)sink_backoff_ms(s), h.error);
	fflush(stdout);
	for (size_t i = 0; i < b->n; i++)
		free(b->lines[i]);
	b->n = 0;
	b->query = b->scan = false;
}

struct stopper {
	struct sink *sink;
	long ms;
};

static void *stop_later(void *arg)
{
	struct stopper *st = arg;
	struct timespec t = { .tv_sec = st->ms / 1000, .tv_nsec = st->ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
	sink_stop(st->sink);
	return NULL;
}

static void read_batches(struct sink *s, struct batch *b)
{
	char *line = NULL;
	size_t room = 0;
	bool asked = false;
	ssize_t len;

	while ((len = getline(&line, &room, stdin)) > 0) {
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		asked = len == 0;
		if (asked)
			run(s, b);
		else
			add(b, strdup(line));
	}
	free(line);
	if (!asked)
		run(s, b);
}

int main(int argc, char **argv)
{
	struct batch *b = calloc(1, sizeof(*b));
	struct stopper st = { 0 };
	struct conf conf;
	pthread_t thread;
	char err[512] = "";
	int r = 0, o;

	log_open("sinkcat", false);
	if (!b || conf_init(&conf) < 0)
		return 3;
	while ((o = getopt(argc, argv, "o:s:")) != -1) {
		if (o == 'o' && r == 0)
			r = conf_set_many(&conf, optarg, err, sizeof(err));
		else if (o == 's')
			st.ms = atol(optarg);
		else if (o == '?')
			r = -EINVAL;
	}
	if (r == 0)
		r = sink_es_new(&conf, &st.sink, err, sizeof(err));
	conf_fini(&conf);
	if (r < 0 || !st.sink) {
		fprintf(stderr, "sinkcat: %s\n", r < 0 ? err : "no es= in the options");
		free(b);
		return 2;
	}
	if (st.ms > 0 && pthread_create(&thread, NULL, stop_later, &st) != 0)
		return 3;
	read_batches(st.sink, b);
	if (st.ms > 0)
		pthread_join(thread, NULL);
	sink_free(st.sink);
	free(b);
	return 0;
}
