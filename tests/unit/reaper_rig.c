/* SPDX-License-Identifier: MIT */
#include "tests/unit/reaper_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <stdio.h>

unsigned store_fails(struct rig *rig)
{
	struct reaper *r = rig->t->reaper;
	unsigned n;

	lock_take(&r->lock);
	n = r->store_fails;
	lock_drop(&r->lock);
	return n;
}

void capture_many(struct rig *rig, const char *prefix, unsigned n)
{
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s%u/a", prefix, i);
		rig_capture(rig, path, i + 1);
	}
}

bool all_have(struct rig *rig, const char *prefix, unsigned n, enum state state)
{
	char path[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s%u/a", prefix, i);
		if (rig_state(rig, path) != state)
			return false;
	}
	return true;
}

struct reap_dir *queued(struct rig *rig, const char *path, unsigned ask, int64_t archive_ms)
{
	struct reaper *r = rig->t->reaper;
	struct node *dir = rig_dir(rig, path);
	struct reap_dir *e;

	assert_int_equal(table_touch(r, dir, false), 0);
	lock_take(&r->lock);
	table_adopt_locked(r);
	e = table_find(r, dir);
	e->archive_ms = archive_ms;
	e->release_ms = REAP_NEVER;
	e->queued = true;
	e->ask = ask;
	r->n_queued++;
	r->n_archiving += ask & LOOK_ARCHIVE ? 1 : 0;
	r->n_pressing += ask & LOOK_UNTIL_LOW ? 1 : 0;
	table_schedule_locked(r, e);
	lock_drop(&r->lock);
	node_put(rig->t->tree, dir);
	return e;
}
