/* SPDX-License-Identifier: MIT */
/* What holds after every kill, and what tests of the reaper share: see tier_rig.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/failpoint.h"
#include "tests/unit/tier_rig.h"
#include "tier/pack.h"

/* ---- invariants ------------------------------------------------------------------ */

bool rig_has_object(struct rig *rig, const char *key)
{
	struct store_stat st;
	int r = store_stat_wait(rig->t->store, key, &st);

	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

struct keys {
	struct rig *rig;
	char **v;
	size_t n;
};

static void keys_add(struct keys *k, const struct file_row *row)
{
	for (unsigned i = 0; i < object_count(row); i++) {
		k->v = realloc(k->v, (k->n + 1) * sizeof(*k->v));
		assert_int_equal(object_key(k->rig->t, row, i, &k->v[k->n++]), 0);
	}
}

/* Packs that no row points into, and that are to be dropped. */
static void keys_add_dead_packs(struct keys *k)
{
	struct pack_row pack = { 0 };

	while (cat_packs_due(k->rig->t->cat, pack.id, INT64_MAX, &pack, 1) == 1) {
		struct file_row row = { .object = ROW_OBJECT_PACK, .pack = pack.id };

		keys_add(k, &row);
	}
}

static bool keys_have(const struct keys *k, const char *key)
{
	for (size_t i = 0; i < k->n; i++)
		if (strcmp(k->v[i], key) == 0)
			return true;
	return false;
}

static bool is_internal(const char *key)
{
	return strncmp(key, ".ebb/", 5) == 0 && strncmp(key, ".ebb/o/", 7) != 0 &&
	       strncmp(key, PACK_PREFIX, strlen(PACK_PREFIX)) != 0;
}

static int count_object(const char *key, void *arg)
{
	uint64_t *n = arg;

	*n += !is_internal(key);
	return 0;
}

uint64_t rig_objects(struct rig *rig)
{
	uint64_t n = 0;

	assert_int_equal(store_list(rig->t->store, "", count_object, &n), 0);
	return n;
}

static int check_object(const char *key, void *arg)
{
	const struct keys *k = arg;

	if (!is_internal(key) && !keys_have(k, key))
		fail_msg("nobody knows of object '%s'", key);
	return 0;
}

static void check_row(struct keys *k, struct node *dir, const struct file_row *row)
{
	struct rig *rig = k->rig;
	struct identity id;
	struct stat st;
	size_t len;
	char *bytes = rig_read_stored(rig, row, &len);

	assert_int_equal(crc32c(0, bytes, len), row->crc32c);
	free(bytes);
	keys_add(k, row);
	if (cache_stat(rig->t->cache, dir, row->name, &st) == 0) {
		AUTO_FREE char *path = NULL;

		id = cache_identity(&st);
		assert_int_equal(node_child_path(rig->t->tree, dir, row->name, &path), 0);
		if (identity_equal(&id, &row->id)) {
			bytes = rig_read_local(rig, path, &len);
			assert_int_equal(crc32c(0, bytes, len), row->crc32c);
			free(bytes);
		}
	}
}

static void check_dir(struct keys *k, struct node *dir, dirid_t id)
{
	struct rig *rig = k->rig;
	char after[ROW_NAME_MAX + 1] = "";
	struct file_row file;
	struct dir_row sub;

	while (cat_files_after(rig->t->cat, id, after, &file, 1) == 1) {
		strcpy(after, file.name);
		check_row(k, dir, &file);
	}
	after[0] = '\0';
	while (cat_dirs_after(rig->t->cat, id, after, &sub, 1) == 1) {
		struct node *node;

		strcpy(after, sub.name);
		assert_int_equal(node_get(rig->t->tree, dir, sub.name, true, &node), 0);
		check_dir(k, node, sub.id);
		node_put(rig->t->tree, node);
	}
}

void rig_check(struct rig *rig)
{
	struct keys k = { .rig = rig };
	struct trash_row row;
	int64_t after = 0;

	assert_int_equal(rig_intents(rig), 0);
	check_dir(&k, tree_root(rig->t->tree), ROW_ROOT_DIR);
	while (cat_trash_after(rig->t->cat, after, &row, 1) == 1) {
		after = row.id;
		keys_add(&k, &row.file);
		trash_row_fini(&row);
	}
	keys_add_dead_packs(&k);
	assert_int_equal(store_list(rig->t->store, "", check_object, &k), 0);
	if (catalogue_check(rig->t->cat, rig->err, sizeof(rig->err)) < 0)
		fail_msg("%s", rig->err);
	for (size_t i = 0; i < k.n; i++)
		free(k.v[i]);
	free(k.v);
}

void rig_killed(struct rig *rig, const char *spec, void (*body)(struct rig *rig))
{
	pid_t pid;
	int status;

	rig_close(rig);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(2 * RIG_PATIENCE_MS / 1000);
		if (failpoint_init(spec) < 0)
			_exit(2);
		rig_open(rig);
		body(rig);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("%s: not killed: status %x", spec, (unsigned)status);
	rig_open(rig);
}

/* ---- the reaper ------------------------------------------------------------------ */

struct rig *rig_idle(const char *opts)
{
	struct rig *rig = rig_new(RIG_MEM, "reserve=0");

	assert_int_equal(conf_set_many(&rig->conf, opts, rig->err, sizeof(rig->err)), 0);
	rig_open(rig);
	return rig;
}

void rig_touch(struct rig *rig, const char *path)
{
	struct node *dir = rig_dir(rig, path);

	reaper_touch(rig->t, dir);
	node_put(rig->t->tree, dir);
}

#define STATUS_MS 2000 /* below LOOK_BUDGET_MS of tier/reaper_count.c */

/* False: it took so long that some directories may not have been looked at again. */
static bool status_in_time(struct rig *rig, struct reaper_status *ret)
{
	int64_t begun_ms = clock_mono_ms();

	assert_int_equal(reaper_status(rig->t, ret), 0);
	return clock_mono_ms() - begun_ms < STATUS_MS;
}

struct reaper_status rig_status(struct rig *rig)
{
	struct reaper_status st;

	rig_until(status_in_time(rig, &st));
	return st;
}

/* ---- commands ------------------------------------------------------------------ */

static int on_progress(void *arg, const struct reap_progress *p)
{
	struct report *rep = arg;

	rep->last = *p;
	return ++rep->calls == rep->stop_at;
}

static void on_failed(void *arg, const char *path, const char *reason)
{
	struct report *rep = arg;
	size_t n = strlen(rep->text);

	snprintf(rep->text + n, sizeof(rep->text) - n, "%s: %s\n", path, reason);
}

int rig_run_paths(struct rig *rig, enum reap_what what, const char *const *paths, size_t n,
		  bool dry_run, struct report *rep)
{
	struct reap_request req = {
		.what = what,
		.paths = paths,
		.npaths = n,
		.dry_run = dry_run,
		.progress = on_progress,
		.failed = on_failed,
		.arg = rep,
	};

	return reaper_run(rig->t, &req);
}

int rig_command(struct rig *rig, enum reap_what what, const char *path, struct report *rep)
{
	*rep = (struct report){ 0 };
	return rig_run_paths(rig, what, &path, path ? 1 : 0, false, rep);
}

/* ---- running -------------------------------------------------------------------- */

int rig_setup(void **state, const char *opts)
{
	struct rig *rig = rig_new(RIG_MEM, opts);

	rig_open(rig);
	*state = rig;
	return 0;
}

int rig_teardown(void **state)
{
	rig_free(*state);
	return 0;
}

static void needs_root(void **state)
{
	(void)state;
	skip();
}

int rig_run(const struct CMUnitTest *tests, size_t n)
{
	const struct CMUnitTest without_root[] = { cmocka_unit_test(needs_root) };
	sigset_t sigio;

	/* its default kills the holder of a lease */
	sigemptyset(&sigio);
	sigaddset(&sigio, SIGIO);
	sigprocmask(SIG_BLOCK, &sigio, NULL);
	if (geteuid() != 0)
		return _cmocka_run_group_tests("tier", without_root, 1, NULL, NULL);
	return _cmocka_run_group_tests("tier", tests, n, NULL, NULL);
}
