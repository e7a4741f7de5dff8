/* SPDX-License-Identifier: MIT */
/* What cannot be looked up is put off, and holds back nothing but its own file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sink_ops.h"
#include "lib/clock.h"
#include "tests/unit/tier_rig.h"

/* ---- a sink that takes everything ------------------------------------------------------- */

struct fake {
	struct sink base;
	struct lock lock;
	char told[1000]; /* protected by lock: a path a line */
};

static int fake_send(struct sink *s, struct sink_item *items, size_t n)
{
	struct fake *f = (struct fake *)s;

	lock_take(&f->lock);
	for (size_t i = 0; i < n; i++) {
		assert_true(strlen(f->told) + strlen(items[i].path) + 2 <= sizeof(f->told));
		strcat(strcat(f->told, items[i].path), "\n");
		items[i].verdict = SINK_DONE;
	}
	lock_drop(&f->lock);
	return 0;
}

static const char *fake_text(struct sink *s)
{
	(void)s;
	return "";
}

static void fake_end(struct sink *s)
{
	(void)s;
}

static const struct sink_ops fake_ops = {
	.name = "fake",
	.send = fake_send,
	.error = fake_text,
	.notice = fake_text,
	.stop = fake_end,
	.free = fake_end,
};

static bool was_told(struct fake *f, const char *path)
{
	char line[100];
	bool told;

	snprintf(line, sizeof(line), "\n%s\n", path);
	lock_take(&f->lock);
	told = strstr(f->told, line);
	lock_drop(&f->lock);
	return told;
}

/* ---- the outbox --------------------------------------------------------------------------- */

static int put_run(struct tx *tx, void *arg)
{
	return tx_event_put(tx, arg);
}

/* path: the name is gone; NULL: x was archived.  The sink is to know. */
static void put_event(struct rig *rig, uint64_t ino, char *path)
{
	struct event_row ev = {
		.kind = path ? EVENT_REMOVED : EVENT_ARCHIVED,
		.ino = ino,
		.dir = ROW_ROOT_DIR,
		.name = "x",
		.path = path,
		.first_ns = clock_real_ns(),
		.next_ns = (int64_t)ino,
	};

	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, put_run, &ev), 0);
}

static bool get_event(struct rig *rig, uint64_t ino, struct event_row *ret)
{
	int64_t after = 0;

	while (cat_events_after(rig->t->cat, 0, after, ret, 1) == 1) {
		if (ret->ino == ino)
			return true;
		after = ret->id;
		event_row_fini(ret);
	}
	return false;
}

static int64_t next_of(struct rig *rig, uint64_t ino)
{
	struct event_row ev;
	int64_t next_ns;

	assert_true(get_event(rig, ino, &ev));
	next_ns = ev.next_ns;
	event_row_fini(&ev);
	return next_ns;
}

static int file_run(struct tx *tx, void *arg)
{
	struct file_row *row = arg;
	int r = row->objdir ? 0 : tx_path_id(tx, "", &row->objdir);

	return r < 0 ? r : tx_file_put(tx, row);
}

/* A row of x, under the path it had in a directory of this number; 0: the root's. */
static void put_file(struct rig *rig, uint64_t ino, int64_t objdir)
{
	struct file_row row = {
		.dir = ROW_ROOT_DIR,
		.name = "x",
		.ino = ino,
		.attr.mode = S_IFREG,
		.object = ROW_OBJECT_PATH,
		.objdir = objdir,
		.attempt = 1024,
	};

	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, file_run, &row), 0);
}

enum { LONG = 1, NOWHERE, NO_NAME, GOOD, BETTER, BEHIND };

static void what_cannot_be_looked_up_waits(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, "es_bulk=2,archive_after=1h");
	struct fake f = { .told = "\n" };
	char long_path[400] = "", link[600], *error;
	int64_t next_ns[4];
	struct event_row ev;

	(void)state;
	rig_open(rig);
	sink_init(&f.base, &fake_ops);
	lock_init(&f.lock, LOCK_RANK_LEAF, "fake sink");
	rig->t->sink = &f.base;

	memset(long_path, 'n', 300);
	strcat(long_path, "/x");
	put_file(rig, NOWHERE, 4711);
	put_event(rig, LONG, long_path);
	put_event(rig, NOWHERE, NULL);
	put_event(rig, NO_NAME, (char[]){ "d/../x" });
	put_event(rig, GOOD, (char[]){ "d/gone" });
	put_event(rig, BETTER, (char[]){ "e/gone" });
	/* a symlink has the directory's name: what was below it is gone */
	rig_path(rig, "link", link, sizeof(link));
	assert_int_equal(symlink("d", link), 0);
	put_event(rig, BEHIND, (char[]){ "link/sub/gone" });
	rig_start(rig);
	rig_until(was_told(&f, "d/gone") && was_told(&f, "e/gone"));
	rig_until(was_told(&f, "link/sub/gone"));
	rig_until(notify_told(rig->t, GOOD) == 1 && notify_told(rig->t, BETTER) == 1);

	/* the others wait, are not told of, and say why */
	for (uint64_t ino = LONG; ino <= NO_NAME; ino++) {
		assert_int_equal(notify_told(rig->t, ino), 0);
		assert_true(get_event(rig, ino, &ev));
		assert_int_equal(ev.parked, EVENT_WAITING);
		assert_true(ev.next_ns > (int64_t)ino);
		assert_int_equal(ev.tries, 0); /* the sink was not asked */
		assert_non_null(strstr(ev.error, "cannot look up "));
		event_row_fini(&ev);
	}
	assert_int_equal(cat_event_oldest(rig->t->cat, 0, &next_ns[0], &error), 0);
	assert_non_null(strstr(error, strerror(ENAMETOOLONG)));
	free(error);

	/* each time for as long again as it has waited */
	next_ns[0] = next_of(rig, LONG);
	for (int i = 1; i < 4; i++)
		rig_until((next_ns[i] = next_of(rig, LONG)) > next_ns[i - 1]);
	assert_true(next_ns[2] - next_ns[1] >= 2 * NSEC_PER_SEC);
	assert_true(next_ns[3] - next_ns[2] >= 4 * NSEC_PER_SEC);

	/* and is told once it can be */
	put_file(rig, NOWHERE, 0);
	rig_until(was_told(&f, "x"));
	rig_until(notify_told(rig->t, NOWHERE) == 1);
	assert_int_equal(notify_told(rig->t, NO_NAME), 0);
	rig_free(rig);
	lock_fini(&f.lock);
	sink_fini(&f.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_cannot_be_looked_up_waits),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
