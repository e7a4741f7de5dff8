/* SPDX-License-Identifier: MIT */
/*
 * Stopped or killed while it works, the reaper goes on at the next start: nothing is lost,
 * and every object has its row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <stdio.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"

/* Some, or there was none left. */
static bool work_was_done(struct rig *rig)
{
	struct reaper_status st = rig_status(rig);

	return st.archived_total + st.released_total > 0 ||
	       (!st.scanning && st.local_files + st.archived_files == 0);
}

static void stopped_in_between(void **state)
{
	struct rig *rig = rig_idle("archive_after=1s,release_after=0,archive_jobs=2");
	char path[64];

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_capture(rig, path, i);
	}
	rig_settle(rig, path);
	for (int k = 0; k < 3; k++) {
		rig_start(rig);
		rig_until(work_was_done(rig));
		rig_close(rig);
		rig_open(rig);
	}
	assert_int_equal(archive_recover(rig->t), 0);
	rig_check(rig);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "cam%u/a", i);
		rig_assert_capture(rig, path, i);
	}
	rig_free(rig);
}

/* ---- kills ------------------------------------------------------------------------------ */

static void reap_to_kill(struct rig *rig)
{
	rig_start(rig);
	rig_until(false);
}

static void kill_at_work(bool packed)
{
	const char *const points[] = {
		packed ? "archive.put=kill@5" : "archive.put=kill@20",
		"archive.commit=kill@3",
		"release.unlink=kill@10",
		"release.dir=kill@2",
		"journal.put=kill@2",
		"commit.after=kill@9",
		"archive.claim=kill@4",
	};
	struct rig *rig = rig_new(RIG_DIR, "archive_after=1s,release_after=0");
	char path[64];

	rig->conf.pack_below = packed ? 65536 : 0;
	rig->conf.pack_wait = 0;
	rig_open(rig);
	for (size_t k = 0; k < sizeof(points) / sizeof(points[0]); k++) {
		for (unsigned i = 0; i < 40; i++) {
			snprintf(path, sizeof(path), "cam%u/%zu-%u", i % 8, k, i);
			rig_capture(rig, path, i);
		}
		rig_killed(rig, points[k], reap_to_kill);
		assert_int_equal(archive_recover(rig->t), 0);
		rig_check(rig);
	}
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	rig_until((rig_status(rig).local_files + rig_status(rig).archived_files) == 0);
	for (size_t k = 0; k < sizeof(points) / sizeof(points[0]); k++) {
		for (unsigned i = 0; i < 40; i++) {
			snprintf(path, sizeof(path), "cam%u/%zu-%u", i % 8, k, i);
			rig_assert_capture(rig, path, i);
			assert_int_equal(rig_state(rig, path), STATE_RELEASED);
		}
	}
	rig_check(rig);
	rig_free(rig);
}

static void killed_at_work(void **state)
{
	(void)state;
	kill_at_work(false);
}

static void killed_at_work_with_packs(void **state)
{
	(void)state;
	kill_at_work(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stopped_in_between),
		cmocka_unit_test(killed_at_work),
		cmocka_unit_test(killed_at_work_with_packs),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
