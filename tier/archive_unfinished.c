/* SPDX-License-Identifier: MIT */
/*
 * Batches of this daemon whose last transaction failed: their intents are there, and nobody
 * works on them any more.
 *
 *	commit fails -> noted, by the intent's number -> the catalogue takes transactions again:
 *	archive_recover() makes orphans of what it names -> forgotten
 *
 * Always true: no batch begins while one is noted, so there are no more of them than batches
 * are under way at once.  A number is an attempt's, and never given twice, unlike the intent's
 * id, which a transaction that was undone leaves to the next.  What cannot be noted, for lack of
 * memory, waits for the next start.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lock.h"
#include "tier/archive_int.h"

struct unfinished {
	struct lock lock; /* LOCK_RANK_LEAF */
	/* protected by lock */
	uint64_t *numbers; /* owned */
	size_t n, room;
};

int unfinished_new(struct unfinished **ret)
{
	struct unfinished *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	lock_init(&u->lock, LOCK_RANK_LEAF, "unfinished batches");
	*ret = u;
	return 0;
}

void unfinished_free(struct unfinished *u)
{
	if (!u)
		return;
	free(u->numbers);
	lock_fini(&u->lock);
	free(u);
}

void archive_note_unfinished(struct tier *t, uint64_t number)
{
	struct unfinished *u = t->unfinished;

	lock_take(&u->lock);
	if (u->n == u->room) {
		size_t room = u->room ? 2 * u->room : 16;
		uint64_t *numbers = reallocarray(u->numbers, room, sizeof(*numbers));

		if (numbers) {
			u->numbers = numbers;
			u->room = room;
		}
	}
	if (u->n < u->room)
		u->numbers[u->n++] = number;
	lock_drop(&u->lock);
}

int64_t unfinished_all(struct unfinished *u, uint64_t **ret)
{
	uint64_t *copy;
	size_t n;

	lock_take(&u->lock);
	n = u->n;
	copy = malloc((n + 1) * sizeof(*copy));
	if (copy && n > 0)
		memcpy(copy, u->numbers, n * sizeof(*copy));
	lock_drop(&u->lock);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return (int64_t)n;
}

void unfinished_forget(struct unfinished *u, const uint64_t *numbers, size_t n)
{
	lock_take(&u->lock);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < u->n; k++)
			if (u->numbers[k] == numbers[i])
				u->numbers[k--] = u->numbers[--u->n];
	lock_drop(&u->lock);
}

bool archive_has_unfinished(struct tier *t)
{
	struct unfinished *u = t->unfinished;
	bool has;

	lock_take(&u->lock);
	has = u->n > 0;
	lock_drop(&u->lock);
	return has;
}

int archive_settle(struct tier *t)
{
	return archive_has_unfinished(t) ? archive_recover(t) : 0;
}
