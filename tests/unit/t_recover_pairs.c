/* SPDX-License-Identifier: MIT */
/*
 * Every pair of files that a renaming may meet, killed before and after the cache is changed,
 * with or without a write in between: after start-up names, states and bytes are those of
 * before, or those of after.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/failpoint.h"
#include "lib/path.h"
#include "tests/unit/tier_rig.h"
#include "tier/ns.h"

enum has { HAS_NONE, HAS_LOCAL, HAS_ARCHIVED, HAS_RELEASED };
enum meanwhile { UNCHANGED, SOURCE_WRITTEN, TARGET_WRITTEN, N_MEANWHILE };

struct pair {
	char from[40], to[40];
	unsigned flags;
	enum has source, target;
	enum meanwhile meanwhile;
};

#define SOURCE_BYTES 1
#define TARGET_BYTES 2
#define OTHER_BYTES 3

static struct pair pairs[200];
static unsigned n_pairs;

/* Has the cache a part in it, and are there rows? */
static bool has_intent(const struct pair *p)
{
	bool rows = p->source >= HAS_ARCHIVED || p->target >= HAS_ARCHIVED;
	bool cache = (p->source == HAS_LOCAL || p->source == HAS_ARCHIVED) ||
		     (p->target == HAS_LOCAL || p->target == HAS_ARCHIVED);

	return rows && cache;
}

static bool is_possible(const struct pair *p)
{
	if ((p->flags & RENAME_NOREPLACE) && p->target != HAS_NONE)
		return false;
	if ((p->flags & RENAME_EXCHANGE) && p->target == HAS_NONE)
		return false;
	if (p->meanwhile == SOURCE_WRITTEN && p->source == HAS_RELEASED)
		return false;
	if (p->meanwhile == TARGET_WRITTEN && p->target != HAS_LOCAL && p->target != HAS_ARCHIVED)
		return false;
	return has_intent(p);
}

/* births: without them a file that was written to may be another. */
static void make_pairs(bool births)
{
	static const unsigned flags[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE };

	n_pairs = 0;
	for (unsigned n = 0; n < 3 * 3 * 4 * N_MEANWHILE; n++) {
		struct pair p = {
			.flags = flags[n % 3],
			.source = (enum has)(n / 3 % 3 + HAS_LOCAL),
			.target = (enum has)(n / 9 % 4),
			.meanwhile = (enum meanwhile)(n / 36),
		};

		if (!is_possible(&p) || (p.meanwhile == SOURCE_WRITTEN && !births))
			continue;
		snprintf(p.from, sizeof(p.from), "d/%03u.a", n);
		snprintf(p.to, sizeof(p.to), "d/%03u.b", n);
		pairs[n_pairs++] = p;
	}
}

static void make_files(struct rig *rig, enum has least, void (*act)(struct rig *, const char *))
{
	for (unsigned i = 0; i < n_pairs; i++) {
		if (pairs[i].source >= least)
			act(rig, pairs[i].from);
		if (pairs[i].target >= least)
			act(rig, pairs[i].to);
	}
}

static void write_one(struct rig *rig, const char *path)
{
	rig_capture(rig, path, path[strlen(path) - 1] == 'a' ? SOURCE_BYTES : TARGET_BYTES);
}

static void archive_one(struct rig *rig, const char *path)
{
	assert_int_equal(rig_archive(rig, path), 0);
}

static void release_one(struct rig *rig, const char *path)
{
	assert_int_equal(rig_release(rig, path), 0);
}

static struct rig *rig_of_pairs(void)
{
	struct rig *rig = rig_new(RIG_DIR, "reserve=0");

	rig_open(rig);
	make_pairs(rig_born_ns(rig, "") != 0);
	make_files(rig, HAS_LOCAL, write_one);
	make_files(rig, HAS_ARCHIVED, archive_one);
	rig_journalled(rig);
	make_files(rig, HAS_RELEASED, release_one);
	return rig;
}

/* Each pair is renamed, or its rows alone; then one of the files is written, in place. */
static void rename_pairs(struct rig *rig, bool done)
{
	struct node *dir = rig_dir(rig, "d");

	for (unsigned i = 0; i < n_pairs; i++) {
		const struct pair *p = &pairs[i];
		bool swapped = done && (p->flags & RENAME_EXCHANGE);
		int r = ns_rename(rig->t, dir, path_name(p->from), dir, path_name(p->to), p->flags,
				  true);

		if (r != (done ? 0 : -EIO))
			_exit(4);
		if (p->meanwhile == SOURCE_WRITTEN)
			rig_capture(rig, done ? p->to : p->from, OTHER_BYTES);
		if (p->meanwhile == TARGET_WRITTEN && (!done || swapped))
			rig_capture(rig, swapped ? p->from : p->to, OTHER_BYTES);
	}
	kill(getpid(), SIGKILL);
}

static void rename_rows_of_pairs(struct rig *rig)
{
	rename_pairs(rig, false);
}

static void rename_whole_pairs(struct rig *rig)
{
	rename_pairs(rig, true);
}

/* moved: a renaming has given the local copy another ctime, its bytes have to be compared. */
static void check_name(struct rig *rig, const char *name, enum has has, unsigned bytes,
		       bool written, bool moved)
{
	static const enum state states[] = { STATE_NONE, STATE_LOCAL, STATE_ARCHIVED,
					     STATE_RELEASED };
	enum state want = states[has], found = rig_state(rig, name);

	if (has == HAS_ARCHIVED && (written || (moved && found == STATE_CHANGED)))
		want = STATE_CHANGED;
	if (found != want)
		fail_msg("'%s' is %d instead of %d", name, found, want);
	if (has != HAS_NONE)
		rig_assert_capture(rig, name, written ? OTHER_BYTES : bytes);
}

static void check_not_done(struct rig *rig)
{
	for (unsigned i = 0; i < n_pairs; i++) {
		const struct pair *p = &pairs[i];

		check_name(rig, p->from, p->source, SOURCE_BYTES, p->meanwhile == SOURCE_WRITTEN,
			   false);
		check_name(rig, p->to, p->target, TARGET_BYTES, p->meanwhile == TARGET_WRITTEN,
			   false);
	}
	assert_int_equal(rig_trash(rig, NULL), 0);
	rig_check(rig);
}

static void check_done(struct rig *rig)
{
	for (unsigned i = 0; i < n_pairs; i++) {
		const struct pair *p = &pairs[i];
		bool exchange = p->flags & RENAME_EXCHANGE;

		check_name(rig, p->to, p->source, SOURCE_BYTES, p->meanwhile == SOURCE_WRITTEN,
			   true);
		check_name(rig, p->from, exchange ? p->target : HAS_NONE, TARGET_BYTES,
			   p->meanwhile == TARGET_WRITTEN, true);
	}
	rig_check(rig);
}

static void rows_follow_a_cache_that_was_not_changed(void **state)
{
	struct rig *rig = rig_of_pairs();

	(void)state;
	rig_killed(rig, "rename.commit=error:EIO", rename_rows_of_pairs);
	check_not_done(rig);
	rig_free(rig);
}

static void rows_follow_a_cache_that_was_changed(void **state)
{
	struct rig *rig = rig_of_pairs();

	(void)state;
	rig_killed(rig, "", rename_whole_pairs);
	check_done(rig);
	rig_free(rig);
}

static void nothing(struct rig *rig)
{
	(void)rig;
}

static void killed_again_and_again(void **state)
{
	struct rig *rig = rig_of_pairs();
	int before;

	(void)state;
	/* what is passed by in this process is left to the children */
	assert_int_equal(failpoint_init("recover.look=error:EIO"), 0);
	rig_killed(rig, "rename.commit=error:EIO", rename_rows_of_pairs);
	before = rig_intents(rig);
	for (int i = 0; i < 3; i++)
		rig_killed(rig, "recover.intent=kill@5", nothing);
	assert_int_equal(before, 16); /* as many as are counted */
	rig_failpoints(rig, NULL);
	check_not_done(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_follow_a_cache_that_was_not_changed),
		cmocka_unit_test(rows_follow_a_cache_that_was_changed),
		cmocka_unit_test(killed_again_and_again),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
