/* SPDX-License-Identifier: MIT */
/*
 * Receipts for what was put, and the cache's own copy made durable.
 *
 * Always true: a file without a receipt for each of its objects is out; so is one
 * whose local bytes are not on disk, as a power cut would leave an empty file
 * beside a row that says it is archived.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/text.h"
#include "lib/window.h"
#include "tier/archive_int.h"

#define SYNCFS_FROM 4 /* files */

static void on_proved(void *arg, int result)
{
	struct part *p = arg;
	struct batch *b = p->b;

	p->proof = result;
	window_leave(b->t->window, 0);
	batch_landed(b);
}

void part_prove(struct part *p)
{
	struct receipt_want want = {
		.key = p->key,
		.attempt = p->attempt,
		.size = p->size,
		.crc32c = p->crc,
	};

	store_prove(p->b->t->store, &want, &p->receipt, on_proved, p);
}

static int part_proved(const struct part *p)
{
	/* logged where it was found; another attempt's, or nothing at all: no less wrong */
	if (p->proof == -EBADMSG || p->proof == -ESTALE || p->proof == -ENOENT)
		return -EIO;
	if (p->proof < 0)
		return p->proof;
	return p->receipt ? 0 : -EIO;
}

static int result_of(const struct item *it)
{
	int r = 0;

	if (it->pack)
		return part_proved(&it->pack->part);
	for (unsigned i = 0; i < it->n_parts && r == 0; i++)
		r = part_proved(&it->parts[i]);
	return r;
}

/* It was there before its put was answered with 0: found to be ours later. */
static void prove_late(struct part *p)
{
	if (!p->landed || p->result != 0 || p->proof != -EAGAIN)
		return;
	window_enter(p->b->t->window, 0);
	batch_takeoff(p->b);
	part_prove(p);
}

void archive_judge_proofs(struct batch *b)
{
	for (unsigned i = 0; i < b->n_packs; i++)
		prove_late(&b->packs[i].part);
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];

		for (unsigned k = 0; item_is_in(it) && it->way == ITEM_SEND && k < it->n_parts; k++)
			prove_late(&it->parts[k]);
	}
	batch_wait_landed(b);
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = &b->items[i];

		if (item_is_in(it) && it->way == ITEM_SEND)
			item_out(it, result_of(it));
	}
}

/* ---- on disk ----------------------------------------------------------------- */

static int item_sync(struct item *it)
{
	AUTO_FREE char *shown = NULL;
	int r;

	if (fdatasync(it->fd) == 0)
		return 0;
	r = -errno;
	shown = text_printable(it->path, strlen(it->path));
	log_error("cannot archive '%s': the cache's copy cannot be synced: %s", shown ? shown : "?",
		  strerror(-r));
	return r;
}

/*
 * fdatasync makes the disk flush its own cache each time, also for a file that has been
 * clean for minutes: 3 ms a file on ext4.  One syncfs costs as much as one or two, and
 * what else it writes would be written within half a minute.  Who is to blame for its error
 * only the files can say.
 */
void archive_sync_all(struct batch *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += item_is_in(&b->items[i]);
	if (n >= SYNCFS_FROM && syncfs(dirfd_fd(b->d)) == 0)
		return;
	for (size_t i = 0; i < b->n; i++)
		if (item_is_in(&b->items[i]))
			item_out(&b->items[i], item_sync(&b->items[i]));
}
