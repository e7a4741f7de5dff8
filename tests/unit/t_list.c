/* SPDX-License-Identifier: MIT */
/*
 * Listings: each name that existed throughout exactly once, none twice, none that was
 * gone before, whatever happens between any two calls.
 *
 * Needs root, and a temporary directory on a local file system; ext4 shows most.
 * EBB_SEED=N repeats one random run, EBB_ONE_IN=1 makes all of the planned ones (139,000; minutes).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/list_sim.h"
#include "tests/unit/tier_rig.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define N_RANDOM 300
#define ONE_IN 120
#else
#define N_RANDOM 1000
#define ONE_IN 45
#endif

/* How much is read ahead: a row or a name at a time, a few, all. */
static const struct {
	int page_rows;
	size_t scan_bytes;
} aheads[] = { { 1, 24 }, { 2, 72 }, { 3, 4096 }, { LIST_PAGE_ROWS, LIST_SCAN_BYTES } };

struct run {
	struct sim *s;
	struct listing *l;
	uint64_t off;
	int given[SIM_NAMES];
	struct list_entry last;
	bool ended;
};

static int setup(void **state)
{
	*state = sim_new();
	return 0;
}

static int teardown(void **state)
{
	sim_free(*state);
	return 0;
}

static void check_entry(struct run *r, const struct list_entry *e)
{
	int n = e->name[0] - 'a';

	assert_int_equal(e->off, r->off + 1);
	if (r->off < 2) {
		assert_string_equal(e->name, r->off == 0 ? "." : "..");
		return;
	}
	if (n < 0 || n >= SIM_NAMES || strcmp(e->name, sim_text(n)) != 0)
		fail_msg("unknown name '%s'", e->name);
	if (e->type != (sim_is_dir(n) ? S_IFDIR : S_IFREG))
		fail_msg("'%s' is listed as of type %o", e->name, e->type);
	r->given[n]++;
}

static bool list_one(struct run *r)
{
	struct list_entry e;
	int n = listing_next(r->l, r->off, &e);

	if (n < 0)
		fail_msg("listing_next: %d:%s", n, r->s->log);
	sim_say(r->s, " %s", n ? e.name : "END");
	if (n == 0) {
		r->ended = true;
		return false;
	}
	check_entry(r, &e);
	r->last = e;
	r->off++;
	return true;
}

static void run_begin(struct run *r, struct sim *s, int ahead)
{
	*r = (struct run){ .s = s };
	assert_int_equal(listing_open(&s->t, s->d, &r->l), 0);
	r->l->page_rows = aheads[ahead].page_rows;
	r->l->scan_bytes = aheads[ahead].scan_bytes;
	sim_say(s, " ahead %d:", ahead);
}

static void run_check(const struct run *r)
{
	const struct sim *s = r->s;

	assert_true(r->ended);
	for (int n = 0; n < SIM_NAMES; n++) {
		bool throughout = s->was_there[n] && !s->was_gone[n];
		int most = s->at_most_once || throughout ? 1 : 2;

		if (throughout && r->given[n] == 0)
			fail_msg("'%s' is missing:%s", sim_text(n), s->log);
		if (r->given[n] && !s->was_ever[n])
			fail_msg("'%s' was gone before:%s", sim_text(n), s->log);
		if (r->given[n] > most)
			fail_msg("'%s' is listed %d times:%s", sim_text(n), r->given[n], s->log);
	}
}

static void run_end(struct run *r)
{
	while (list_one(r))
		;
	run_check(r);
	listing_close(r->l);
}

/* ---- what stays as it is -------------------------------------------------------- */

static void test_still(void **state)
{
	struct sim *s = *state;
	struct run r;

	for (int ahead = 0; ahead < 4; ahead++) {
		sim_reset(s, 0x1b1b1 | ahead << 10);
		run_begin(&r, s, ahead);
		while (list_one(&r))
			;
		for (int n = 0; n < SIM_NAMES; n++)
			assert_int_equal(r.given[n], sim_exists(s, n));
		run_end(&r);
	}
}

static void test_offsets(void **state)
{
	struct sim *s = *state;
	struct list_entry e, again;
	struct run r;
	int fd;

	sim_reset(s, 0);
	for (int i = 0; i < 1000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		fd = openat(s->fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	run_begin(&r, s, 1);
	assert_int_equal(listing_next(r.l, 1, &e), -EINVAL);
	for (uint64_t off = 0; off < 1002; off++) {
		assert_int_equal(listing_next(r.l, off, &e), 1);
		assert_int_equal(e.off, off + 1);
		assert_int_equal(listing_next(r.l, off + 2, &again), -EINVAL);
		if (off > 0) {
			assert_int_equal(listing_next(r.l, off, &again), 1);
			assert_string_equal(e.name, again.name);
		}
		if (off == 500)
			assert_int_equal(listing_next(r.l, off - LIST_KEPT + 1, &again), 1);
		if (off == 500)
			assert_int_equal(listing_next(r.l, off - LIST_KEPT, &again), -EINVAL);
	}
	assert_int_equal(listing_next(r.l, 1002, &e), 0);
	assert_int_equal(listing_next(r.l, 1002, &e), 0);
	assert_int_equal(listing_next(r.l, 1001, &e), 1);
	/* again from the start */
	for (int i = 0; i < 1000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(unlinkat(s->fd, name, 0), 0);
	}
	assert_int_equal(listing_next(r.l, 0, &e), 1);
	assert_int_equal(e.ino, node_ino(s->d));
	assert_int_equal(listing_next(r.l, 1, &e), 1);
	assert_int_equal(e.ino, 1);
	assert_int_equal(listing_next(r.l, 2, &e), 0);
	listing_close(r.l);
}

static void test_numbers(void **state)
{
	struct sim *s = *state;
	struct list_entry e;
	struct listing *l;

	sim_reset(s, 1 | 2 << 2 | 2 << 6); /* a: row; b, d: cache */
	assert_int_equal(listing_open(&s->t, s->d, &l), 0);
	for (uint64_t off = 0; listing_next(l, off, &e) == 1; off++)
		if (off >= 2)
			assert_int_equal(e.ino, e.name[0] == 'a' ? 5000 : 0);
	listing_close(l);
}

/* No row at all, no cache directory at all. */
static void test_one_truth(void **state)
{
	struct sim *s = *state;
	struct node *other;
	struct list_entry e;
	struct listing *l;

	assert_int_equal(node_walk(s->t.tree, "other", true, &other), 0);
	node_set_dirid(other, 0);
	assert_int_equal(listing_open(&s->t, other, &l), 0);
	assert_int_equal(listing_next(l, 0, &e), 1);
	assert_int_equal(listing_next(l, 1, &e), 1);
	assert_int_equal(listing_next(l, 2, &e), 0);
	assert_int_equal(faccessat(s->fd, "../other", F_OK, 0), -1);
	assert_int_equal(mkdirat(s->fd, "../other", 0755), 0);
	assert_int_equal(mkdirat(s->fd, "../other/x", 0755), 0);
	assert_int_equal(listing_next(l, 0, &e), 1);
	assert_int_equal(listing_next(l, 1, &e), 1);
	assert_int_equal(listing_next(l, 2, &e), 1);
	assert_string_equal(e.name, "x");
	assert_int_equal(listing_next(l, 3, &e), 0);
	listing_close(l);
	node_put(s->t.tree, other);
}

/* ---- every cut of a script at every pair of positions ------------------------------ */

struct script {
	unsigned char kind[6]; /* 1 + enum sim_kind; 0 ends */
};

#define DO(k) (1 + SIM_##k)
static const struct script scripts[] = {
	{ { DO(ARCHIVE) } },
	{ { DO(ARCHIVE), DO(RELEASE) } },
	{ { DO(ARCHIVE), DO(RELEASE), DO(RESTORE), DO(REWRITE) } },
	{ { DO(ARCHIVE), DO(REWRITE), DO(ARCHIVE), DO(RELEASE) } },
	{ { DO(ARCHIVE_FAIL), DO(ARCHIVE), DO(RELEASE) } },
	{ { DO(ARCHIVE), DO(REMOVE), DO(CREATE) } },
	{ { DO(RELEASE), DO(RESTORE) } },
	{ { DO(RELEASE), DO(REWRITE), DO(ARCHIVE), DO(RELEASE) } },
	{ { DO(RESTORE), DO(REWRITE), DO(REMOVE) } },
	{ { DO(REWRITE) } },
	{ { DO(REWRITE), DO(ARCHIVE) } },
	{ { DO(REWRITE), DO(REMOVE), DO(CREATE), DO(ARCHIVE), DO(RELEASE) } },
	{ { DO(REMOVE) } },
	{ { DO(REMOVE), DO(CREATE) } },
	{ { DO(REMOVE), DO(CREATE), DO(ARCHIVE), DO(RELEASE) } },
	{ { DO(CREATE), DO(ARCHIVE), DO(RELEASE) } },
	{ { DO(REPLACE) } },
	{ { DO(REPLACE), DO(ARCHIVE), DO(RELEASE), DO(REPLACE) } },
	{ { DO(RENAME) } },
	{ { DO(RENAME), DO(CREATE), DO(ARCHIVE) } },
	{ { DO(EXCHANGE) } },
	{ { DO(EXCHANGE), DO(EXCHANGE) } },
};

struct player {
	struct sim *s;
	const struct script *script;
	int at;
	int n, m;
	struct sim_op op;
	bool in_op;
	bool stuck; /* the next operation is not possible */
};

/* One step of the script; false when there is none. */
static bool play(struct player *p)
{
	if (!p->in_op) {
		int kind = p->at < 6 ? p->script->kind[p->at] : 0;

		if (kind == 0 || !sim_op_begin(p->s, &p->op, kind - 1, p->n, p->m)) {
			p->stuck = kind != 0;
			return false;
		}
		p->in_op = true;
		p->at++;
	}
	p->in_op = sim_op_step(p->s, &p->op);
	return true;
}

/* The first `cut` steps before entry `first`, the others before entry `second`. */
static bool one_cut(struct sim *s, struct player *p, int ahead, int cut, int first, int second)
{
	struct run r;
	bool more = true;

	if (first < 0)
		for (int i = 0; i < cut; i++)
			more = play(p);
	sim_start(s); /* who starts now sees what is now */
	run_begin(&r, s, ahead);
	for (int pos = 0; !r.ended || pos <= second; pos++) {
		if (pos == first)
			for (int i = 0; i < cut; i++)
				more = play(p);
		if (pos == second)
			while (play(p))
				;
		if (!r.ended)
			list_one(&r);
	}
	run_check(&r);
	listing_close(r.l);
	return more;
}

static int cut_script(struct sim *s, const struct script *script, int n, int m, unsigned states)
{
	const char *all = getenv("EBB_ONE_IN");
	int one_in = all ? atoi(all) : ONE_IN, nruns = 0;
	unsigned seed = states + (unsigned)n;
	bool more = true;

	for (int cut = 0; more && cut < 40; cut++) {
		for (int first = -1; first < SIM_NAMES + 2; first++) {
			for (int second = first < 0 ? 0 : first; second < SIM_NAMES + 3; second++) {
				struct player p = { s, script, 0, n, m, { 0 }, false, false };

				if ((first >= 0 || second > 0) && rand_r(&seed) % (unsigned)one_in)
					continue;

				sim_reset(s, states);
				nruns++;
				more = one_cut(s, &p, rand_r(&seed) % 4, cut, first, second);
				if (p.stuck)
					return nruns;
			}
		}
	}
	return nruns;
}

static void test_every_cut(void **state)
{
	struct sim *s = *state;
	/* a none; b row; d, f as told; c row and cache; e cache; g cache; h row; i both */
	unsigned others = 1 << 2 | 3 << 4 | 2 << 8 | 2 << 12 | 1 << 14 | 3 << 16;
	int nruns = 0;

	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		for (unsigned st = 0; st < 4; st++) {
			bool two = scripts[i].kind[0] >= DO(RENAME);

			for (unsigned of_m = 0; of_m < (two ? 4 : 1); of_m++) {
				nruns += cut_script(s, &scripts[i], 3, 5,
						    others | st << 6 | of_m << 10);
				if (two)
					nruns += cut_script(s, &scripts[i], 5, 3,
							    others | st << 10 | of_m << 6);
			}
			if (!two) /* a directory */
				nruns += cut_script(s, &scripts[i], 2, 2,
						    (others & ~(3u << 4)) | st << 4);
		}
	}
	print_message("%d runs\n", nruns);
	sim_reset(s, 0);
}

/* ---- anything, at random ---------------------------------------------------------- */

#define N_OPS 4

static void random_events(struct sim *s, struct sim_op *ops, bool *in_op, unsigned *seed)
{
	while (rand_r(seed) % 3) {
		int k = rand_r(seed) % N_OPS;

		if (!in_op[k])
			in_op[k] = sim_op_begin(s, &ops[k], rand_r(seed) % SIM_KINDS,
						rand_r(seed) % SIM_NAMES, rand_r(seed) % SIM_NAMES);
		if (in_op[k])
			in_op[k] = sim_op_step(s, &ops[k]);
	}
}

static void random_run(struct sim *s, unsigned repeat)
{
	unsigned seed = repeat;
	struct sim_op ops[N_OPS];
	bool in_op[N_OPS] = { false };
	struct run r;

	sim_reset(s, (unsigned)rand_r(&seed) ^ (unsigned)rand_r(&seed) << 3);
	sim_say(s, " EBB_SEED=%u", repeat);
	random_events(s, ops, in_op, &seed);
	run_begin(&r, s, rand_r(&seed) % 4);
	sim_start(s);
	for (;;) {
		struct list_entry e;

		random_events(s, ops, in_op, &seed);
		if (r.off > 1 && rand_r(&seed) % 8 == 0) { /* the buffer was full */
			assert_int_equal(listing_next(r.l, r.off - 1, &e), 1);
			assert_string_equal(e.name, r.last.name);
		}
		if (rand_r(&seed) % 40 == 0) { /* rewinddir */
			r.off = 0;
			memset(r.given, 0, sizeof(r.given));
			sim_start(s);
		}
		if (!list_one(&r))
			break;
	}
	run_check(&r);
	random_events(s, ops, in_op, &seed);
	listing_close(r.l);
	for (int k = 0; k < N_OPS; k++)
		while (in_op[k])
			in_op[k] = sim_op_step(s, &ops[k]);
}

static void test_random(void **state)
{
	const char *only = getenv("EBB_SEED");
	unsigned first = only ? (unsigned)atoi(only) : 1;
	unsigned last = only ? first : N_RANDOM;

	for (unsigned seed = first; seed <= last; seed++)
		random_run(*state, seed);
}

/* ---- at the same time ---------------------------------------------------------------- */

#define N_CHANGERS 2
#define N_LISTINGS 200

struct changer {
	struct sim *s;
	int first; /* every N_CHANGERS-th name from this one on is its own */
	unsigned seed;
	_Atomic bool *stop;
};

/* All names exist throughout: archived, released, restored, rewritten. */
static void *change_on(void *arg)
{
	static const enum sim_kind kinds[] = { SIM_ARCHIVE, SIM_ARCHIVE_FAIL, SIM_RELEASE,
					       SIM_RESTORE, SIM_REWRITE,      SIM_REPLACE };
	struct changer *c = arg;
	struct sim_op op;

	while (!atomic_load(c->stop)) {
		int n = rand_r(&c->seed) % SIM_NAMES;
		enum sim_kind kind = kinds[rand_r(&c->seed) % 6];

		/* over a released one: gone for a moment, which only the kernel's lock hides */
		if (n % N_CHANGERS != c->first || (kind == SIM_REPLACE && !c->s->name[n].cache) ||
		    !sim_op_begin(c->s, &op, kind, n, n))
			continue;
		while (sim_op_step(c->s, &op))
			;
	}
	return NULL;
}

/* How many times which name was listed, or why not; "" when all is well. */
static void list_on(struct sim *s, char *ret, size_t size)
{
	ret[0] = '\0';
	for (int i = 0; i < N_LISTINGS && !*ret; i++) {
		int given[SIM_NAMES] = { 0 }, r;
		struct list_entry e;
		struct listing *l;

		assert_int_equal(listing_open(&s->t, s->d, &l), 0);
		l->page_rows = aheads[i % 4].page_rows;
		l->scan_bytes = aheads[i % 4].scan_bytes;
		for (uint64_t off = 0; (r = listing_next(l, off, &e)) > 0; off++)
			if (off > 1)
				given[e.name[0] - 'a']++;
		for (int n = 0; n < SIM_NAMES; n++)
			if (r < 0 || given[n] != 1)
				snprintf(ret, size, "%d: '%s' is listed %d times, ahead %d", r,
					 sim_text(n), given[n], i % 4);
		listing_close(l);
	}
}

static void test_threads(void **state)
{
	struct sim *s = *state;
	struct changer changers[N_CHANGERS];
	pthread_t threads[N_CHANGERS];
	_Atomic bool stop = false;
	char wrong[128];

	sim_reset(s, 0x2edb7);
	s->threads = true;
	for (int i = 0; i < N_CHANGERS; i++) {
		changers[i] = (struct changer){ s, i, (unsigned)i + 1, &stop };
		assert_int_equal(pthread_create(&threads[i], NULL, change_on, &changers[i]), 0);
	}
	list_on(s, wrong, sizeof(wrong));
	atomic_store(&stop, true);
	for (int i = 0; i < N_CHANGERS; i++)
		pthread_join(threads[i], NULL);
	s->threads = false;
	if (*wrong)
		fail_msg("%s", wrong);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_still, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offsets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_truth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
