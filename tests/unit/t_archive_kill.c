/* SPDX-License-Identifier: MIT */
/*
 * Killed at every line of the order: what was there is there, every object is known, and
 * the next batch ends what this one began.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"

static const char *const kill_names[] = { "new_0.jpg", "new_1.jpg", "new.json", "changed",
					  "\xff\n" };
#define N_KILL 5

static void archive_to_kill(struct rig *rig)
{
	int result[N_KILL];

	rig_archive_names(rig, "cam/h", kill_names, N_KILL, result);
	rig_until(false); /* the journal's thread is still to die, or it is told */
}

/* pack_size 0: no packs. */
static void kill_everywhere(uint64_t pack_size)
{
	static const char *const points[] = {
		"archive.intent",  "archive.put",    "archive.put@3",	"archive.put-all",
		"archive.verify",  "archive.sync",   "archive.claim",	"archive.commit",
		"commit.before@1", "commit.after@1", "commit.before@2", "commit.after@2",
		"journal.fix",	   "journal.put",    "journal.ack",
	};
	char spec[64];

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		struct rig *rig = rig_new(RIG_DIR, pack_size ? "" : "pack_below=0");
		const char *at = strchr(points[i], '@');
		int result[N_KILL], r;

		if (pack_size && strcmp(points[i], "archive.put@3") == 0)
			at = "@2"; /* there are two packs */
		if (pack_size)
			rig->conf.pack_size = pack_size;

		rig_open(rig);
		rig_capture(rig, "cam/h/changed", 50);
		assert_int_equal(rig_archive(rig, "cam/h/changed"), 0);
		for (unsigned k = 0; k < N_KILL; k++) {
			char path[64];

			snprintf(path, sizeof(path), "cam/h/%s", kill_names[k]);
			rig_capture(rig, path, 60 + k);
		}
		snprintf(spec, sizeof(spec), "%.*s=kill%s", (int)strcspn(points[i], "@"), points[i],
			 at ? at : "");
		rig_settle(rig, "cam/h/new.json");
		rig_settle(rig, "cam/h/changed");
		rig_killed(rig, spec, archive_to_kill);
		assert_int_equal(archive_recover(rig->t), 0);
		rig_check(rig);
		for (int again = 0; again < 2; again++) {
			r = rig_archive_names(rig, "cam/h", kill_names, N_KILL, result);
			assert_int_equal(r, 0);
			for (int k = 0; k < N_KILL; k++)
				assert_true(result[k] == 1 || (result[k] == 0 && again == 0));
		}
		rig_check(rig);
		for (unsigned k = 0; k < N_KILL; k++) {
			char path[64];

			snprintf(path, sizeof(path), "cam/h/%s", kill_names[k]);
			assert_int_equal(rig_state(rig, path), STATE_ARCHIVED);
			rig_unlink(rig, path);
			rig_assert_capture(rig, path, 60 + k);
		}
		rig_free(rig);
	}
}

static void killed_anywhere(void **state)
{
	(void)state;
	kill_everywhere(0);
}

static void killed_anywhere_with_packs(void **state)
{
	(void)state;
	kill_everywhere(5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_anywhere),
		cmocka_unit_test(killed_anywhere_with_packs),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
