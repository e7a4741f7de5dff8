/* SPDX-License-Identifier: MIT */
/*
 * One directory: what is in it, and what of it is due.
 *
 *	readdir -> stat, row, policy -> counted
 *	             |-> due: collected, many at a time, archived in the order of their names
 *	             '-> cold: collected, released a batch at a time
 *
 * Streaming: memory is bounded, however large the directory.  Always true:
 * this decides only what is worth trying; archive and release look again for
 * themselves.  A time that is zero, or in the future, is never old: such files age from
 * when they were first seen.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "tier/local.h"
#include "tier/reaper_look.h"

#define LINKED_AGAIN_MS 3600000 /* its other name may go in a directory that nobody knows of */
#define DUE_LEAST 64		/* files there is room for at first */
#define DUE_MOST 16384		/* those are on their way before more are looked at: 5 MB */

/* ---- one name ------------------------------------------------------------------ */

static int64_t age_of(struct look *l, const struct stat *st)
{
	int64_t c = ts_to_ns(st->st_ctim);

	if (c > 0 && c <= l->now_ns)
		return (l->now_ns - c) / 1000000;
	if (c > l->future.ctime_ns || l->future.seen_ms == 0)
		l->future = (struct future){ .ctime_ns = c, .seen_ms = l->now_ms };
	return l->now_ms - l->future.seen_ms;
}

/* Room for one more.  What is full at its largest, or without memory, goes on its way. */
static void make_room_for_due(struct look *l)
{
	size_t room = l->due_room < DUE_MOST / 2 ? 2 * l->due_room : DUE_MOST;
	struct archive_file *due;

	if (l->n_due < l->due_room)
		return;
	due = l->due_room < DUE_MOST ? reallocarray(l->due, room, sizeof(*due)) : NULL;
	if (due) {
		l->due = due;
		l->due_room = room;
	} else {
		look_flush_due(l);
	}
}

static void collect_due(struct look *l, const char *name, const struct stat *st, bool has_row,
			int64_t since_ms, int64_t archive_after_ms)
{
	int64_t wait_ms = l->r->t->conf->pack_wait;
	struct archive_file *f;

	make_room_for_due(l);
	f = &l->due[l->n_due++];
	strcpy(f->name, name);
	f->id = cache_identity(st);
	f->had_no_row = !has_row;
	l->due_bytes += f->id.size;
	if (since_ms > l->due_since_ms)
		l->due_since_ms = since_ms;
	/* an age of seconds is not stretched to minutes */
	if (archive_after_ms < wait_ms)
		wait_ms = archive_after_ms;
	if (l->n_due == 1 || wait_ms < l->due_wait_ms)
		l->due_wait_ms = wait_ms;
}

static bool is_written(struct look *l, const char *name)
{
	struct tree *tree = l->r->t->tree;
	struct node *node = l->tell ? node_find(tree, l->dir, name) : NULL;
	bool written = node && node_nwrite(tree, node) > 0;

	node_put(tree, node);
	return written;
}

/* What only the cache can hold; what cannot be asked is found out when it is due. */
static bool has_xattrs(struct look *l, const char *name)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	fd = local_open(dirfd_fd(l->d), name, &st);
	return fd >= 0 && local_plain_xattrs(fd) == -EPERM;
}

/* Local, without a row that is right for it.  False: it is due, and collected. */
static bool look_local(struct look *l, const char *name, const struct stat *st, bool has_row,
		       const struct policy_says *says, int64_t age_ms)
{
	bool any_age = l->what & LOOK_ANY_ARCHIVE_AGE;
	bool temporary = policy_is_temporary(l->r->t->policy, name);
	int64_t c = ts_to_ns(st->st_ctim), wait_ms = says->archive_after_ms - age_ms;

	if (any_age)
		wait_ms = l->what & LOOK_DRY ? 0 : local_settles_ms(l->r->t, st);
	if (wait_ms <= 0 && !temporary && says->archive && (l->what & LOOK_ARCHIVE) &&
	    !l->gave_up && !(l->what & LOOK_DRY)) {
		collect_due(l, name, st, has_row, -wait_ms, says->archive_after_ms);
		return false;
	}
	if (has_xattrs(l, name)) {
		l->counts.other_files++;
		if (wait_ms > 0)
			look_sooner(&l->next_archive_ms, l->now_ms + wait_ms);
		look_tell(l, TOLD_SKIPPED, name, LOOK_NOT_PLAIN, 0);
	} else if (temporary || !says->archive) {
		look_count_local(l, (uint64_t)st->st_size, c, false);
		look_tell(l, TOLD_SKIPPED, name,
			  temporary ? "its name says that it is not complete"
				    : "a rule says never-archive",
			  0);
	} else if (!(l->what & LOOK_ARCHIVE)) {
		look_count_local(l, (uint64_t)st->st_size, c, true);
		look_sooner(&l->next_archive_ms, l->now_ms + (wait_ms > 0 ? wait_ms : 0));
		if (is_written(l, name))
			look_tell(l, TOLD_SKIPPED, name, LOOK_BEING_WRITTEN, 0);
		else
			look_tell(l, TOLD_FAILED, name, "it is not archived", 0);
	} else if (wait_ms > 0) {
		look_count_local(l, (uint64_t)st->st_size, c, true);
		look_sooner(&l->next_archive_ms, l->now_ms + wait_ms);
		l->company = true;
		if (any_age && wait_ms > l->young_ms)
			l->young_ms = wait_ms;
		look_tell_later(l, name, LOOK_BEING_WRITTEN, TOLD_SKIPPED);
	} else {
		look_count_local(l, (uint64_t)st->st_size, c, true);
		look_tell(l, TOLD_ARCHIVED, name, NULL, (uint64_t)st->st_size);
	}
	return true;
}

static void look_archived(struct look *l, const char *name, const struct stat *st,
			  const struct file_row *row, const struct policy_says *says,
			  int64_t age_ms)
{
	int64_t wait_ms = l->what & LOOK_ANY_RELEASE_AGE ? 0 : says->release_after_ms - age_ms;
	struct cold_info info = { ts_to_ns(st->st_ctim), (uint64_t)st->st_size, row->txn };

	if (says->release && wait_ms <= 0 && (l->what & LOOK_RELEASE) && !l->enough &&
	    !(l->what & LOOK_DRY)) {
		strcpy(l->cold[l->n_cold].name, name);
		l->cold_info[l->n_cold++] = info;
		if (l->n_cold == l->r->t->conf->archive_batch)
			look_flush_cold(l);
		return;
	}
	look_count_archived(l, info.size, info.ctime_ns, says->release);
	if (says->release)
		look_sooner(&l->next_release_ms, l->now_ms + (wait_ms > 0 ? wait_ms : 0));
	if (!(l->what & LOOK_RELEASE))
		return;
	if (says->release)
		look_tell(l, TOLD_RELEASED, name, NULL, info.size); /* a dry run */
	else
		look_tell(l, TOLD_SKIPPED, name, "a rule says never-release", 0);
}

/* Or a command would not end while files come. */
static bool came_later(const struct look *l, const struct stat *st)
{
	int64_t c = ts_to_ns(st->st_ctim);

	return l->begun_ns > 0 && c > l->begun_ns && c <= clock_real_ns();
}

/* Counted, and left to the next look. */
static void leave(struct look *l, const char *name, const struct stat *st, bool archived,
		  const struct policy_says *says, int64_t age_ms)
{
	int64_t c = ts_to_ns(st->st_ctim), archive_ms = says->archive_after_ms - age_ms,
		release_ms = says->release_after_ms - age_ms;

	if (archived) {
		look_count_archived(l, (uint64_t)st->st_size, c, says->release);
		if (says->release)
			look_sooner(&l->next_release_ms,
				    l->now_ms + (release_ms > 0 ? release_ms : 0));
	} else {
		look_count_local(l, (uint64_t)st->st_size, c, says->archive);
		if (says->archive)
			look_sooner(&l->next_archive_ms,
				    l->now_ms + (archive_ms > 0 ? archive_ms : 0));
	}
	look_tell(l, TOLD_SKIPPED, name, "it has changed since the command began", 0);
}

static int look_regular(struct look *l, const char *name, const struct stat *st)
{
	int64_t age_ms = age_of(l, st);
	struct identity id = cache_identity(st);
	struct policy_says says;
	struct file_row row;
	int r = -ENOENT;

	if (l->dirid > 0)
		r = cat_file_get(l->r->t->cat, l->dirid, name, &row);
	if (r < 0 && r != -ENOENT)
		return r;
	strcpy(l->path + l->dir_len, name);
	policy_ask(l->r->t->policy, l->path, name, (uint64_t)st->st_size, &says);
	if (r == 0 && identity_equal(&row.id, &id)) {
		if (came_later(l, st))
			leave(l, name, st, true, &says, age_ms);
		else
			look_archived(l, name, st, &row, &says, age_ms);
		return 0;
	}
	if (came_later(l, st))
		leave(l, name, st, false, &says, age_ms);
	else if (!look_local(l, name, st, r == 0, &says, age_ms))
		return 0;
	if (r == 0)
		look_count_stale(l, &row);
	return 0;
}

void look_not_plain(struct look *l, const char *name)
{
	l->counts.other_files++;
	look_sooner(&l->next_archive_ms, l->now_ms + LINKED_AGAIN_MS);
	look_tell(l, TOLD_SKIPPED, name, LOOK_NOT_PLAIN, 0);
}

static int look_name(struct look *l, const char *name)
{
	struct stat st;

	if (fstatat(dirfd_fd(l->d), name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		/* one bad inode does not keep the others from the store */
		if (errno == ENOENT)
			return 0;
		look_failed(l, name, -errno);
		look_sooner(&l->next_archive_ms, l->now_ms + REAP_RETRY_MS);
		look_sooner(&l->next_release_ms, l->now_ms + REAP_RETRY_MS);
		return 0;
	}
	l->n_entries++;
	if (S_ISDIR(st.st_mode))
		return 0;
	if (!S_ISREG(st.st_mode)) {
		l->counts.other_files++;
		look_tell(l, TOLD_SKIPPED, name, "it is not a file", 0);
		return 0;
	}
	if (st.st_nlink > 1) {
		look_not_plain(l, name);
		return 0;
	}
	return look_regular(l, name, &st);
}

/* ---- the directory ------------------------------------------------------------- */

static int begin(struct look *l)
{
	struct tier *t = l->r->t;
	size_t batch = t->conf->archive_batch;
	char *path;
	int r;

	l->next_archive_ms = l->next_release_ms = REAP_NEVER;
	l->now_ms = clock_mono_ms();
	l->now_ns = clock_real_ns();
	r = node_path(t->tree, l->dir, &path);
	if (r < 0)
		return r;
	l->dir_len = strlen(path);
	l->path = realloc(path, l->dir_len + 1 + ROW_NAME_MAX + 1);
	if (!l->path)
		free(path);
	else if (l->dir_len > 0)
		l->path[l->dir_len++] = '/';
	if (l->what & LOOK_ARCHIVE) {
		l->due_room = DUE_LEAST;
		l->due = calloc(l->due_room, sizeof(*l->due));
	}
	if (l->what & LOOK_RELEASE) {
		l->cold = calloc(batch, sizeof(*l->cold));
		l->cold_info = calloc(batch, sizeof(*l->cold_info));
	}
	if (!l->path || ((l->what & LOOK_ARCHIVE) && !l->due) ||
	    ((l->what & LOOK_RELEASE) && (!l->cold || !l->cold_info)))
		return -ENOMEM;
	r = cache_dir(t->cache, l->dir, &l->d);
	return r < 0 ? r : state_dirid(t, l->dir, &l->dirid);
}

static int end(struct look *l, int result)
{
	look_flush_due(l);
	look_flush_cold(l);
	if (l->d)
		cache_dir_put(l->r->t->cache, l->d);
	l->d = NULL;
	free(l->path);
	free(l->due);
	free(l->cold);
	free(l->cold_info);
	return result;
}

static int look_stream(struct look *l)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	int fd, r = 0;

	/* of its own: a kept descriptor has one position for all */
	fd = openat(dirfd_fd(l->d), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && !look_is_stopped(l)) {
		errno = 0;
		e = readdir(dir);
		if (!e)
			return -errno;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = look_name(l, e->d_name);
	}
	return r < 0 ? r : -ECANCELED;
}

/*
 * Nothing left here: the directory may go, and then perhaps the one above it.  -EBUSY: who
 * holds it has perhaps looked before it was empty; others as release_dir().
 */
static int release_up(struct look *l)
{
	struct tree *tree = l->r->t->tree;
	struct node *dir = node_ref(l->dir), *parent;
	char name[ROW_NAME_MAX + 1];
	int r = 0, own = 0;

	while (r == 0 && node_name(tree, dir, &parent, name) == 0) {
		r = release_dir(l->r->t, dir);
		if (dir == l->dir)
			own = r;
		else if (r != 0)
			table_touch(l->r, dir, r == -EBUSY);
		node_put(tree, dir);
		dir = parent;
	}
	node_put(tree, dir);
	return own;
}

static void look_empty(struct look *l)
{
	if (l->dirid <= 0 || (l->what & LOOK_DRY) ||
	    cat_dir_is_empty(l->r->t->cat, l->dirid) != 0 || l->dir == tree_root(l->r->t->tree))
		return;
	if (!(l->what & LOOK_RELEASE)) {
		look_sooner(&l->next_release_ms, l->now_ms + LOOK_AGAIN_MS);
		return;
	}
	if (release_up(l) == -EBUSY)
		look_sooner(&l->next_release_ms, l->now_ms + REAP_RETRY_MS);
	/* it is there still: it was changed lately, or is in use */
	else if (cache_dir(l->r->t->cache, l->dir, &l->d) == 0)
		look_sooner(&l->next_release_ms,
			    l->now_ms + l->r->t->conf->release_after + LOOK_AGAIN_MS);
}

static void count_put_off(struct look *l, const struct archive_file *f)
{
	if (!f->had_no_row)
		look_count_stale_name(l, f->name);
	look_count_local(l, f->id.size, f->id.ctime_ns, true);
}

/*
 * What is left over when the directory is through may be less than a batch.  While more is
 * coming it waits for it: packs fill, and a directory into which a file comes each second
 * is not read each second.
 */
static void wait_for_company(struct look *l)
{
	const struct conf *conf = l->r->t->conf;

	if (!l->company || l->n_due == 0 || (l->what & LOOK_ANY_ARCHIVE_AGE) ||
	    l->n_due >= conf->archive_batch || l->due_bytes >= conf->pack_size ||
	    l->due_since_ms >= l->due_wait_ms)
		return;
	for (size_t i = 0; i < l->n_due; i++)
		count_put_off(l, &l->due[i]);
	l->n_due = 0;
	l->next_archive_ms = l->now_ms + l->due_wait_ms - l->due_since_ms;
}

int look_dir(struct look *l)
{
	int r;

	r = begin(l);
	if (r == 0)
		r = look_stream(l);
	if (r == 0)
		wait_for_company(l);
	look_flush_due(l);
	look_flush_cold(l);
	if (r == 0 && l->n_entries == 0 && l->d) {
		cache_dir_put(l->r->t->cache, l->d);
		l->d = NULL;
		look_empty(l);
	}
	return end(l, r);
}

int look_names(struct look *l, const char *const *names, size_t n)
{
	int r;

	r = begin(l);
	for (size_t i = 0; r == 0 && i < n && !look_is_stopped(l); i++)
		r = look_name(l, names[i]);
	return end(l, r);
}
