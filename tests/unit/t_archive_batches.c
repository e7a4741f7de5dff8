/* SPDX-License-Identifier: MIT */
/*
 * Batch after batch: what overlaps, what does not, stopping in between, and that files
 * which nobody has read lately do not fill the page cache because they are archived.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/unit/tier_rig.h"

#define N_FILES 8

static int setup(void **state)
{
	return rig_setup(state, "trash_grace=24h,pack_below=0,archive_batch=2,store_timeout=3m");
}

/* ---- batches that overlap --------------------------------------------------------- */

struct work {
	struct rig *rig;
	pthread_t thread;
	struct archive_file files[N_FILES];
	unsigned done;	   /* files that were told of, in order */
	unsigned stop_at;  /* then it is to stop; 0: never */
	_Atomic bool over; /* archive_files() has returned */
	uint64_t verified; /* objects, before it began */
	int r;
};

static bool stopped(void *arg)
{
	const struct work *w = arg;

	return w->stop_at && w->done >= w->stop_at;
}

static void done(void *arg, const struct archive_file *files, size_t n, bool whole)
{
	struct work *w = arg;

	assert_false(whole);
	assert_ptr_equal(files, w->files + w->done);
	w->done += (unsigned)n;
}

static void *work_main(void *arg)
{
	struct work *w = arg;
	struct archive_watch watch = { .stopped = stopped, .done = done, .arg = w };
	struct node *dir = rig_dir(w->rig, "d");

	w->r = archive_files(w->rig->t, dir, w->files, N_FILES, &watch);
	node_put(w->rig->t->tree, dir);
	w->over = true;
	return NULL;
}

static uint64_t verified(struct rig *rig)
{
	struct store_counts counts;

	store_counts(rig->t->store, &counts);
	return counts.ops[STORE_VERIFY];
}

static struct work *begin(struct rig *rig)
{
	struct work *w = calloc(1, sizeof(*w));
	char path[64];

	assert_non_null(w);
	w->rig = rig;
	w->verified = verified(rig);
	for (unsigned i = 0; i < N_FILES; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		rig_capture(rig, path, i);
	}
	rig_settle(rig, path);
	for (unsigned i = 0; i < N_FILES; i++) {
		struct state_of look;

		snprintf(w->files[i].name, sizeof(w->files[i].name), "%u", i);
		snprintf(path, sizeof(path), "d/%u", i);
		look = rig_look(rig, path);
		w->files[i].id = cache_identity(&look.cache);
	}
	return w;
}

static void start(struct work *w)
{
	assert_int_equal(pthread_create(&w->thread, NULL, work_main, w), 0);
}

static void all_archived(struct work *w)
{
	char path[64];

	assert_int_equal(pthread_join(w->thread, NULL), 0);
	assert_int_equal(w->r, 0);
	assert_int_equal(w->done, N_FILES);
	for (unsigned i = 0; i < N_FILES; i++) {
		snprintf(path, sizeof(path), "d/%u", i);
		assert_int_equal(w->files[i].result, 0);
		assert_int_equal(rig_state(w->rig, path), STATE_ARCHIVED);
	}
	rig_check(w->rig);
	free(w);
}

/* The next batch is written while the first is proved; the one after that is not begun. */
static void one_is_read_while_the_other_waits(void **state)
{
	struct rig *rig = *state;
	struct work *w = begin(rig);

	rig_faults(rig, "verify hold key d/0");
	start(w);
	rig_until(rig_has_object(rig, "d/2") && rig_has_object(rig, "d/3"));
	rig_until(verified(rig) == w->verified + 3); /* d/1, d/2, d/3: each when it was written */
	assert_int_equal(rig_intents(rig), 2);
	assert_int_equal(rig_state(rig, "d/1"), STATE_LOCAL);
	assert_int_equal(rig_state(rig, "d/3"), STATE_LOCAL);
	assert_false(rig_has_object(rig, "d/4"));
	assert_false(w->over);
	rig_faults(rig, "");
	all_archived(w);
}

/* What is written is proved though another of its batch is not written yet. */
static void proofs_do_not_wait_for_puts(void **state)
{
	struct rig *rig = *state;
	struct work *w = begin(rig);

	rig_faults(rig, "put hold key d/1");
	start(w);
	rig_until(verified(rig) == w->verified + 3); /* d/0, d/2, d/3 */
	assert_int_equal(rig_state(rig, "d/0"), STATE_LOCAL);
	rig_faults(rig, "");
	all_archived(w);
}

/* A batch that fails takes nothing with it. */
static void one_fails(void **state)
{
	struct rig *rig = *state;
	struct work *w = begin(rig);

	rig_faults(rig, "put error EIO key d/2\nverify flip key d/5");
	start(w);
	assert_int_equal(pthread_join(w->thread, NULL), 0);
	assert_int_equal(w->r, 0);
	for (unsigned i = 0; i < N_FILES; i++)
		assert_int_equal(w->files[i].result, i == 2 || i == 5 ? -EIO : 0);
	rig_faults(rig, "");
	rig_check(rig);
	free(w);
}

/* What was begun is finished; the others are as they were. */
static void stopped_in_between(void **state)
{
	struct rig *rig = *state;
	struct work *w = begin(rig);

	w->stop_at = 2;
	start(w);
	assert_int_equal(pthread_join(w->thread, NULL), 0);
	assert_int_equal(w->r, -ECANCELED);
	assert_int_equal(w->done, N_FILES);
	for (unsigned i = 0; i < N_FILES; i++)
		assert_int_equal(w->files[i].result, i < 4 ? 0 : -ECANCELED);
	assert_false(rig_has_object(rig, "d/4"));
	assert_int_equal(rig_intents(rig), 0);
	rig_check(rig);
	free(w);
}

/* ---- rows that came since it was found due ------------------------------------------- */

static int archive_as_new(struct rig *rig, const char *name)
{
	struct archive_file file = { .had_no_row = true };
	struct node *dir = rig_dir(rig, "d");
	struct state_of look;
	char path[64];

	snprintf(path, sizeof(path), "d/%s", name);
	rig_settle(rig, path);
	look = rig_look(rig, path);
	snprintf(file.name, sizeof(file.name), "%s", name);
	file.id = cache_identity(&look.cache);
	assert_int_equal(archive_files(rig->t, dir, &file, 1, NULL), 0);
	node_put(rig->t->tree, dir);
	return file.result;
}

static void a_row_came_since(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "d/a", 1);
	assert_int_equal(archive_as_new(rig, "a"), 0);
	/* of the very same file: nothing is there twice */
	assert_int_equal(archive_as_new(rig, "a"), 1);
	assert_int_equal(rig_look(rig, "d/a").row.object, ROW_OBJECT_PATH);
	rig_check(rig);
	/* of an earlier version */
	rig_unlink(rig, "d/a");
	rig_capture(rig, "d/a", 2);
	assert_int_equal(archive_as_new(rig, "a"), 0);
	assert_int_equal(rig_look(rig, "d/a").row.object, ROW_OBJECT_ALT);
	rig_check(rig);
	rig_assert_capture(rig, "d/a", 2);
}

/* ---- the page cache -------------------------------------------------------------------- */

#define BIG (300 << 10)

static size_t resident(struct rig *rig, const char *path)
{
	unsigned char pages[BIG / 4096];
	size_t n = 0;
	char full[512];
	void *map;
	int fd;

	rig_path(rig, path, full, sizeof(full));
	fd = open(full, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	map = mmap(NULL, BIG, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mincore(map, BIG, pages), 0);
	munmap(map, BIG);
	for (size_t i = 0; i < sizeof(pages); i++)
		n += pages[i] & 1;
	return n;
}

static void drop_pages(struct rig *rig, const char *path)
{
	char full[512];
	int fd;

	rig_path(rig, path, full, sizeof(full));
	fd = open(full, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
}

#define COLD 40

static void the_page_cache_stays_as_it_was(void **state)
{
	struct rig *rig = *state;
	char *data = calloc(1, BIG), path[COLD][16];
	const char *names[COLD];
	int result[COLD];
	size_t cold[COLD];

	assert_non_null(data);
	rig_write(rig, "d/hot", data, BIG);
	for (unsigned i = 0; i < COLD; i++) {
		snprintf(path[i], sizeof(path[i]), "d/cold%u", i);
		names[i] = path[i] + strlen("d/");
		rig_write(rig, path[i], data, BIG);
	}
	free(data);
	rig_settle(rig, path[COLD - 1]);
	for (unsigned i = 0; i < COLD; i++) {
		drop_pages(rig, path[i]);
		cold[i] = resident(rig, path[i]); /* a file system in memory has nothing else */
	}
	assert_int_equal(rig_archive(rig, "d/hot"), 0);
	assert_int_equal(rig_archive_names(rig, "d", names, COLD, result), 0);
	assert_int_equal(resident(rig, "d/hot"), BIG / 4096);
	for (unsigned i = 0; i < COLD; i++) {
		assert_int_equal(result[i], 0);
		assert_int_equal(resident(rig, path[i]), cold[i]);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_is_read_while_the_other_waits),
		TEST(proofs_do_not_wait_for_puts),
		TEST(one_fails),
		TEST(stopped_in_between),
		TEST(a_row_came_since),
		TEST(the_page_cache_stays_as_it_was),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
