/* SPDX-License-Identifier: MIT */
/* Shared by the tests of the tier: see tier_rig.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/crc.h"
#include "lib/failpoint.h"
#include "lib/path.h"
#include "tests/unit/tier_rig.h"
#include "tier/local.h"

void rig_pause(void)
{
	poll(NULL, 0, 2);
}

/* ---- a tier -------------------------------------------------------------------- */

static void set(struct rig *rig, const char *opts)
{
	if (conf_set_many(&rig->conf, opts, rig->err, sizeof(rig->err)) < 0)
		fail_msg("%s", rig->err);
}

struct rig *rig_new(enum rig_store store, const char *opts)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	const char *tmp = getenv("TMPDIR");
	char text[1024];

	assert_non_null(rig);
	assert_int_equal(conf_init(&rig->conf), 0);
	snprintf(rig->dir, sizeof(rig->dir), "%s/ebb-tier.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->rules, sizeof(rig->rules), "%s/rules", rig->dir);
	snprintf(text, sizeof(text), "cache=%s/cache,meta=%s/catalogue,store=fault:%s:%s%s",
		 rig->dir, rig->dir, rig->rules, store == RIG_DIR ? "dir:" : "mem:",
		 store == RIG_DIR ? rig->dir : strrchr(rig->dir, '.') + 1);
	if (store == RIG_DIR)
		strcat(text, "/store");
	set(rig, text);
	/* what most tests are not about: a slow machine, a full disk */
	set(rig, "store_timeout=2m,high=100,low=99");
	set(rig, opts);
	snprintf(text, sizeof(text), "%s/cache", rig->dir);
	assert_int_equal(mkdir(text, 0755), 0);
	snprintf(text, sizeof(text), "%s/store", rig->dir);
	assert_int_equal(mkdir(text, 0755), 0);
	return rig;
}

void rig_open(struct rig *rig)
{
	int fd = open(rig->conf.cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	if (tier_open(&rig->conf, fd, "/mnt", &rig->t, rig->err, sizeof(rig->err)) < 0)
		fail_msg("%s", rig->err);
	rig->t->settle_ms = 30; /* a few ticks of the clock that stamps files */
	rig_until(volume_ok(rig->t));
}

void rig_start(struct rig *rig)
{
	assert_int_equal(tier_start(rig->t), 0);
	rig->started = true;
}

void rig_close(struct rig *rig)
{
	if (!rig->t)
		return;
	if (rig->started)
		tier_stop(rig->t);
	tier_close(rig->t);
	rig->t = NULL;
	rig->started = false;
}

void rig_reopen(struct rig *rig)
{
	rig_close(rig);
	rig_open(rig);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void rig_free(struct rig *rig)
{
	rig_close(rig);
	failpoint_init(NULL);
	nftw(rig->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	conf_fini(&rig->conf);
	free(rig);
}

void rig_failpoints(struct rig *rig, const char *spec)
{
	rig_close(rig);
	assert_int_equal(failpoint_init(spec), 0);
	rig_open(rig);
}

void rig_faults(struct rig *rig, const char *rules)
{
	char fresh[300];
	FILE *f;

	snprintf(fresh, sizeof(fresh), "%s.new", rig->rules);
	f = fopen(fresh, "w");
	assert_non_null(f);
	fputs(rules, f);
	fputc('\n', f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(fresh, rig->rules), 0);
}

/* ---- files --------------------------------------------------------------------- */

void rig_path(struct rig *rig, const char *path, char *ret, size_t size)
{
	assert_true(snprintf(ret, size, "%s/%s", rig->conf.cache, path) < (int)size);
}

static void make_parents(struct rig *rig, const char *path)
{
	AUTO_FREE char *dir = path_dir(path);
	int fd;

	assert_non_null(dir);
	fd = open(rig->conf.cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(path_mkdirs(fd, dir, 0755), 0);
	close(fd);
}

void rig_write(struct rig *rig, const char *path, const void *data, size_t len)
{
	char full[1024];
	int fd;

	make_parents(rig, path);
	rig_path(rig, path, full, sizeof(full));
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(path_pwrite_full(fd, data, len, 0), len);
	close(fd);
}

static size_t capture(unsigned n, char *buf, size_t size)
{
	size_t len = n % 7 == 0 ? 0 : 100 + n * 37 % 3000;

	assert_true(len <= size);
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(n * 31 + i * 7 + (i >> 8));
	return len;
}

void rig_capture(struct rig *rig, const char *path, unsigned n)
{
	char buf[4096];
	size_t len = capture(n, buf, sizeof(buf));

	rig_write(rig, path, buf, len);
}

void rig_assert_capture(struct rig *rig, const char *path, unsigned n)
{
	char want[4096];
	size_t len = capture(n, want, sizeof(want)), got_len;
	void *got = rig_read(rig, path, &got_len);

	assert_int_equal(got_len, len);
	assert_memory_equal(got, want, len);
	free(got);
}

void rig_unlink(struct rig *rig, const char *path)
{
	char full[1024];

	rig_path(rig, path, full, sizeof(full));
	assert_int_equal(unlink(full), 0);
}

bool rig_is_local(struct rig *rig, const char *path)
{
	char full[1024];

	rig_path(rig, path, full, sizeof(full));
	return access(full, F_OK) == 0;
}

int64_t rig_born_ns(struct rig *rig, const char *path)
{
	struct statx stx;
	char full[1024];

	rig_path(rig, path, full, sizeof(full));
	assert_int_equal(statx(AT_FDCWD, full, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &stx), 0);
	if (!(stx.stx_mask & STATX_BTIME))
		return 0;
	return stx.stx_btime.tv_sec * NSEC_PER_SEC + stx.stx_btime.tv_nsec;
}

void rig_settle(struct rig *rig, const char *path)
{
	char full[1024];
	struct stat st;

	rig_path(rig, path, full, sizeof(full));
	assert_int_equal(lstat(full, &st), 0);
	rig_until(local_settles_ms(rig->t, &st) == 0);
}

struct node *rig_dir(struct rig *rig, const char *path)
{
	struct node *dir;

	assert_int_equal(node_walk(rig->t->tree, path, true, &dir), 0);
	return dir;
}

/* Its directory, counted, and its name. */
static struct node *parent_of(struct rig *rig, const char *path, const char **ret_name)
{
	AUTO_FREE char *dir = path_dir(path);

	assert_non_null(dir);
	*ret_name = path_name(path);
	return rig_dir(rig, dir);
}

struct state_of rig_look(struct rig *rig, const char *path)
{
	struct state_of look;
	const char *name;
	struct node *dir = parent_of(rig, path, &name);

	assert_int_equal(state_look(rig->t, dir, name, &look), 0);
	node_put(rig->t->tree, dir);
	return look;
}

enum state rig_state(struct rig *rig, const char *path)
{
	return rig_look(rig, path).state;
}

void *rig_read_local(struct rig *rig, const char *path, size_t *ret_len)
{
	char full[1024];
	struct stat st;
	void *buf;
	int fd;

	rig_path(rig, path, full, sizeof(full));
	fd = open(full, O_RDONLY | O_CLOEXEC | O_NOATIME);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	buf = malloc((size_t)st.st_size + 1);
	assert_int_equal(path_pread_full(fd, buf, (size_t)st.st_size, 0), st.st_size);
	close(fd);
	*ret_len = (size_t)st.st_size;
	return buf;
}

static void read_packed(struct rig *rig, const struct file_row *row, const char *key, void *buf)
{
	size_t size = row->attr.size;

	if (size > 0 && store_get_wait(rig->t->store, key, row->pack_off, buf, size) != (int)size)
		fail_msg("'%s' is not in pack '%s'", row->name, key);
}

void *rig_read_stored(struct rig *rig, const struct file_row *row, size_t *ret_len)
{
	char *buf = malloc(row->attr.size + 1);

	if (row->object == ROW_OBJECT_PACK) {
		AUTO_FREE char *pack = object_pack_key(rig->t, row->pack);

		assert_int_equal(store_get_wait(rig->t->store, pack, row->pack_off, buf,
						row->attr.size),
				 row->attr.size);
	}
	for (unsigned i = 0; row->object != ROW_OBJECT_PACK && i < object_count(row); i++) {
		size_t off = i * OBJECT_PART_BYTES, len;
		void *part;
		char *key;

		assert_int_equal(object_key(rig->t, row, i, &key), 0);
		if (row->object == ROW_OBJECT_PACK) {
			read_packed(rig, row, key, buf);
			free(key);
			break;
		}
		if (store_get_all_wait(rig->t->store, key, row->attr.size - off, &part, &len) < 0)
			fail_msg("object '%s' of '%s' is not there", key, row->name);
		memcpy(buf + off, part, len);
		free(part);
		free(key);
	}
	*ret_len = row->attr.size;
	return buf;
}

void *rig_read(struct rig *rig, const char *path, size_t *ret_len)
{
	struct state_of look = rig_look(rig, path);

	if (look.state == STATE_NONE)
		fail_msg("'%s' is gone", path);
	return look.has_cache ? rig_read_local(rig, path, ret_len)
			      : rig_read_stored(rig, &look.row, ret_len);
}

/* ---- what is done ---------------------------------------------------------------- */

int rig_archive_names(struct rig *rig, const char *dir, const char *const *names, size_t n,
		      int *ret)
{
	struct archive_file *files = calloc(n, sizeof(*files));
	struct node *node = rig_dir(rig, dir);
	int r;

	for (size_t i = 0; i < n; i++) {
		struct stat st;

		strcpy(files[i].name, names[i]);
		if (cache_stat(rig->t->cache, node, names[i], &st) == 0)
			files[i].id = cache_identity(&st);
	}
	r = archive_files(rig->t, node, files, n, NULL);
	for (size_t i = 0; i < n; i++)
		ret[i] = files[i].result;
	node_put(rig->t->tree, node);
	free(files);
	return r;
}

int rig_archive(struct rig *rig, const char *path)
{
	AUTO_FREE char *dir = path_dir(path);
	const char *name = path_name(path);
	int result = -EIO, r;

	assert_non_null(dir);
	rig_settle(rig, path);
	r = rig_archive_names(rig, dir, &name, 1, &result);
	return r < 0 ? r : result;
}

int rig_release(struct rig *rig, const char *path)
{
	const char *name;
	struct node *dir = parent_of(rig, path, &name);
	uint64_t bytes;
	int r;

	r = release_file(rig->t, dir, name, RELEASE_COMMAND, &bytes);
	node_put(rig->t->tree, dir);
	return r;
}

void rig_file(struct rig *rig, const char *path, unsigned n, bool released)
{
	rig_capture(rig, path, n);
	assert_int_equal(rig_archive(rig, path), 0);
	if (!released)
		return;
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, path), 0);
}

int rig_rename(struct rig *rig, const char *from, const char *to, unsigned flags)
{
	struct node *root = tree_root(rig->t->tree);

	return ns_rename(rig->t, root, from, root, to, flags, true);
}

static int now_run(struct tx *tx, void *arg)
{
	int64_t id, *txn = arg;
	char text[40];

	/* a path of its own is a change: without one the transaction is not in the journal */
	*txn = tx_id(tx);
	snprintf(text, sizeof(text), "the rig's own %lld", (long long)*txn);
	return tx_path_id(tx, text, &id);
}

void rig_journalled(struct rig *rig)
{
	int64_t txn;

	assert_int_equal(catalogue_write(rig->t->cat, SYNC_NORMAL, now_run, &txn), 0);
	assert_int_equal(journal_wait(rig->t, txn, RIG_PATIENCE_MS), 0);
}

int rig_intents(struct rig *rig)
{
	struct intent_row rows[16];
	int n = cat_intents(rig->t->cat, 0, rows, 16);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		intent_row_fini(&rows[i]);
	return n;
}

int rig_trash(struct rig *rig, struct trash_row *ret)
{
	struct trash_row row;
	int64_t after = 0;
	int n = 0;

	while (cat_trash_after(rig->t->cat, after, &row, 1) == 1) {
		after = row.id;
		if (ret) {
			if (n > 0)
				trash_row_fini(ret);
			*ret = row;
		} else {
			trash_row_fini(&row);
		}
		n++;
	}
	return n;
}

struct rlimit rig_no_descriptors(void)
{
	struct rlimit before, none;
	int free_fd = dup(0);

	assert_true(free_fd >= 0);
	close(free_fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)free_fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	return before;
}

void rig_descriptors(struct rlimit before)
{
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}
