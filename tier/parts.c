/* SPDX-License-Identifier: MIT */
/*
 * Asking a store for the keys of parts.
 *
 * Always true: an error is never taken for an answer; only -ENOENT means that a part
 * is not there.
 */
#include "tier/parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "backend/store.h"
#include "lib/crc.h"
#include "tier/volume.h"

#define SEQ_BITS 48 /* more parts than are ever written: a thousand a second for 9,000 years */

void journal_key(const struct uid128 *node, uint64_t seq, char *ret, size_t size)
{
	char text[UID128_STR_SIZE];

	snprintf(ret, size, JOURNAL_PREFIX "%s/%" PRIu64, uid128_print(node, text), seq);
}

void checkpoint_key(const struct uid128 *node, uint64_t seq, uint64_t n, char *ret, size_t size)
{
	char text[UID128_STR_SIZE];

	snprintf(ret, size, CHECKPOINT_PREFIX "%s/%" PRIu64 ".%" PRIu64, uid128_print(node, text),
		 seq, n);
}

/* 1, 0 or an error. */
static int is_there(struct store *s, const struct uid128 *node, uint64_t seq)
{
	struct store_stat stat;
	char key[PARTS_KEY_SIZE];
	int r;

	journal_key(node, seq, key, sizeof(key));
	r = store_stat_wait(s, key, &stat);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

int journal_beyond(struct store *s, const struct uid128 *node, uint64_t seq)
{
	for (int bit = 0; bit < SEQ_BITS; bit++) {
		uint64_t one = UINT64_C(1) << bit;
		int r = seq & one ? 0 : is_there(s, node, (seq & ~(one - 1)) | one);

		if (r != 0)
			return r;
	}
	return 0;
}

int journal_newest(struct store *s, const struct uid128 *node, uint64_t *ret)
{
	uint64_t seq = 0;

	for (int bit = SEQ_BITS - 1; bit >= 0; bit--) {
		uint64_t one = UINT64_C(1) << bit;
		int r = is_there(s, node, seq | one);

		if (r < 0)
			return r;
		if (r == 1)
			seq |= one;
	}
	*ret = seq;
	return 0;
}

int journal_gone_with(uint64_t seq, uint64_t ret[PARTS_GONE_MAX])
{
	uint64_t low = seq;
	int n = 0;

	/* seq + 1 clears the ones that seq ends with: with each goes the part that it kept. */
	for (uint64_t one = 1; seq & one; one <<= 1) {
		ret[n++] = low;
		low &= ~one;
	}
	return n;
}

/* Nothing was written there: a part that has lost its bytes is no end, but a damaged part. */
static bool is_end(const struct store_stat *stat)
{
	return stat->size == 0 && (!stat->has_written || stat->written_crc32c == crc32c(0, "", 0));
}

int checkpoint_parts(struct store *s, const struct uid128 *node, uint64_t seq, uint64_t *ret,
		     bool *ended)
{
	struct store_stat stat;
	char key[PARTS_KEY_SIZE];
	uint64_t n = 0;
	int r;

	for (;; n++) {
		checkpoint_key(node, seq, n, key, sizeof(key));
		r = store_stat_wait(s, key, &stat);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r < 0 || is_end(&stat))
			break;
	}
	*ended = r == 0;
	*ret = n;
	return 0;
}
