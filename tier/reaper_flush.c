/* SPDX-License-Identifier: MIT */
/*
 * What a look has collected: archived, released, and counted as what became of it.
 *
 * Always true: each file collected is counted once, as what it is afterwards; what
 * did not work is due again, or nothing would look at it before it is touched.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "tier/reaper_look.h"

void look_tell(struct look *l, enum told told, const char *name, const char *reason, uint64_t bytes)
{
	if (l->tell)
		l->tell(l, told, name, reason, bytes, told);
}

/* Another time; what it is to be called if that does not come. */
void look_tell_later(struct look *l, const char *name, const char *reason, enum told later)
{
	if (l->tell)
		l->tell(l, TOLD_LATER, name, reason, 0, later);
}

/* ---- counting ---------------------------------------------------------------- */

static void older(int64_t *oldest, int64_t ctime_ns)
{
	if (*oldest == 0 || ctime_ns < *oldest)
		*oldest = ctime_ns;
}

void look_count_local(struct look *l, uint64_t size, int64_t ctime_ns, bool waits)
{
	l->counts.local_files++;
	l->counts.local_bytes += size;
	if (waits)
		older(&l->counts.oldest_local_ns, ctime_ns);
}

void look_count_archived(struct look *l, uint64_t size, int64_t ctime_ns, bool may_go)
{
	l->counts.archived_files++;
	l->counts.archived_bytes += size;
	if (may_go)
		older(&l->counts.oldest_archived_ns, ctime_ns);
}

void look_count_stale(struct look *l, const struct file_row *row)
{
	l->counts.stale_files++;
	l->counts.stale_bytes += row->attr.size;
}

void look_count_stale_name(struct look *l, const char *name)
{
	struct file_row row;

	if (l->dirid > 0 && cat_file_get(l->r->t->cat, l->dirid, name, &row) == 0)
		look_count_stale(l, &row);
}

bool look_is_stopped(void *arg)
{
	const struct look *l = arg;

	return atomic_load(&l->r->stopping) || (l->stop && atomic_load(l->stop)) ||
	       (l->until_ms && clock_mono_ms() >= l->until_ms);
}

/* ---- archiving ---------------------------------------------------------------- */

static bool is_store_error(int r)
{
	return r == -EAGAIN || r == -ENOSPC || r == -EDQUOT || r == -EACCES || r == -ETIMEDOUT ||
	       r == -EROFS;
}

/* May its local copy be released at some time? */
static bool expect_release(struct look *l, const char *name, uint64_t size, int64_t ctime_ns)
{
	struct policy_says says;
	int64_t age_ms = (l->now_ns - ctime_ns) / 1000000, wait_ms;

	strcpy(l->path + l->dir_len, name);
	policy_ask(l->r->t->policy, l->path, name, size, &says);
	if (!says.release)
		return false;
	wait_ms = says.release_after_ms - (age_ms > 0 ? age_ms : 0);
	look_sooner(&l->next_release_ms,
		    l->now_ms + (wait_ms > LOOK_AGAIN_MS ? wait_ms : LOOK_AGAIN_MS));
	return true;
}

/* Words for a result that is no plain errno. */
static const char *reason_of(int r)
{
	return r == -EAGAIN ? "the store has not answered yet" : strerror(-r);
}

static void tell_failed(struct look *l, const char *name, int r)
{
	atomic_fetch_add(&l->r->failed_total, 1);
	look_tell(l, TOLD_FAILED, name, reason_of(r), 0);
}

void look_failed(struct look *l, const char *name, int r)
{
	l->file_error = r;
	tell_failed(l, name, r);
}

/* True: it is the store that did not take it. */
static bool archive_failed(struct look *l, const struct archive_file *f, bool whole_batch)
{
	bool is_store;

	if (f->result == -ENOENT && !whole_batch)
		return false;
	look_count_stale_name(l, f->name);
	if (f->result == -EPERM) {
		look_not_plain(l, f->name);
		return false;
	}
	look_count_local(l, f->id.size, f->id.ctime_ns, true);
	if (!whole_batch &&
	    (f->result == -EAGAIN || f->result == -EBUSY || f->result == -ECANCELED)) {
		look_sooner(&l->next_archive_ms, l->now_ms + LOOK_AGAIN_MS);
		look_tell_later(l, f->name,
				f->result == -ECANCELED ? "the work was stopped first"
							: LOOK_BEING_WRITTEN,
				TOLD_SKIPPED);
		return false;
	}
	look_sooner(&l->next_archive_ms, l->now_ms + REAP_RETRY_MS);
	is_store = is_store_error(f->result);
	*(is_store ? &l->store_error : &l->file_error) = f->result;
	tell_failed(l, f->name, f->result);
	return is_store;
}

/* Which transaction a release of what was just archived has to wait for. */
static void note_txn(struct look *l, const char *name)
{
	struct file_row row;
	dirid_t dirid;

	if (l->tell && state_dirid(l->r->t, l->dir, &dirid) == 0 && dirid > 0 &&
	    cat_file_get(l->r->t->cat, dirid, name, &row) == 0 && row.txn > l->txn)
		l->txn = row.txn;
}

static int by_name(const void *a, const void *b)
{
	const struct archive_file *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void on_archived(void *arg, const struct archive_file *files, size_t n, bool whole)
{
	struct look *l = arg;
	const char *last = NULL;
	uint64_t bytes = 0, sent = 0;
	bool refused = false;

	for (size_t i = 0; i < n; i++) {
		const struct archive_file *f = &files[i];

		if (f->result < 0) {
			refused |= archive_failed(l, f, whole);
			continue;
		}
		look_count_archived(l, f->id.size, f->id.ctime_ns,
				    expect_release(l, f->name, f->id.size, f->id.ctime_ns));
		look_tell(l, TOLD_ARCHIVED, f->name, NULL, f->id.size);
		last = f->name;
		bytes += f->bytes;
		sent += f->result == 0;
		l->archived++;
	}
	reaper_count_archived(l->r, sent, bytes);
	if (sent > 0)
		backoff_worked(l->r);
	l->n_refused = sent > 0 ? 0 : l->n_refused + refused;
	l->gave_up = l->gave_up || backoff_is_hopeless(l);
	if (last)
		note_txn(l, last);
}

static bool archiving_is_stopped(void *arg)
{
	const struct look *l = arg;

	return l->gave_up || look_is_stopped(arg);
}

void look_flush_due(struct look *l)
{
	struct archive_watch watch = { .stopped = archiving_is_stopped,
				       .done = on_archived,
				       .arg = l };

	if (l->n_due == 0)
		return;
	/* In packs neighbours are together: who reads in order needs one after the other. */
	qsort(l->due, l->n_due, sizeof(*l->due), by_name);
	(void)archive_files(l->r->t, l->dir, l->due, l->n_due, &watch);
	l->n_due = 0;
	l->due_bytes = 0;
	l->due_since_ms = 0;
}

/* ---- releasing ---------------------------------------------------------------- */

static void release_failed(struct look *l, const struct release_item *item,
			   const struct cold_info *info)
{
	switch (item->result) {
	case -EPERM:
		look_count_stale_name(l, item->name);
		look_not_plain(l, item->name);
		return;
	case -ENODATA: /* its row left meanwhile */
	case -ESTALE:
		look_count_stale_name(l, item->name);
		look_count_local(l, info->size, info->ctime_ns, true);
		look_sooner(&l->next_archive_ms, l->now_ms + LOOK_AGAIN_MS);
		look_tell_later(l, item->name, "it has changed since it was archived", TOLD_FAILED);
		return;
	case -EAGAIN:
		l->again_release = true;
		if (info->txn > l->txn)
			l->txn = info->txn;
		look_tell_later(
			l, item->name,
			"the store does not have the journal of it, or a sink was not told, yet",
			TOLD_FAILED);
		break;
	case -EBUSY:
		l->again_release = true;
		look_tell_later(l, item->name, "it is open", TOLD_SKIPPED);
		break;
	default:
		look_failed(l, item->name, item->result);
	}
	look_sooner(&l->next_release_ms, l->now_ms + REAP_RETRY_MS);
	look_count_archived(l, info->size, info->ctime_ns, true);
}

static void check_low(struct look *l)
{
	struct cache_room room;

	if ((l->what & LOOK_UNTIL_LOW) && cache_room(l->r->t->cache, &room) == 0 &&
	    room.used_pct <= l->r->t->conf->low)
		l->enough = true;
}

void look_flush_cold(struct look *l)
{
	uint64_t n = 0;

	if (l->n_cold == 0)
		return;
	release_batch(l->r->t, l->dir, l->cold, l->n_cold, l->why);
	for (size_t i = 0; i < l->n_cold; i++) {
		const struct release_item *item = &l->cold[i];

		if (item->result < 0) {
			release_failed(l, item, &l->cold_info[i]);
			continue;
		}
		n += item->result == 0;
		if (item->result == 0)
			look_tell(l, TOLD_RELEASED, item->name, NULL, item->bytes);
	}
	l->released += n;
	l->n_entries -= n < l->n_entries ? n : l->n_entries;
	reaper_count_released(l->r, n);
	l->n_cold = 0;
	check_low(l);
}
