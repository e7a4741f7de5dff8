/* SPDX-License-Identifier: MIT */
/*
 * Packs: objects of many small files, and what becomes of them.
 *
 *	written (archive) -> files leave through the trash -> none alive: dropped
 *			  -> under half alive: the rest is written anew, rows move
 *
 * Behind its files a pack has a line of JSON for each:
 *
 *	{"path":PATH,"offset":N,"size":N,"crc32c":"HEX8","ino":N,"mtime":NS}
 *
 * Bytes of names that are not UTF-8 are kept as they are.
 */
#ifndef EBB_TIER_PACK_H
#define EBB_TIER_PACK_H

#include "lib/clock.h"
#include "tier/tier.h"

#define PACK_PREFIX ".ebb/pack/"
/* From its last file on: whoever read a row before it moved has opened its pack by then. */
#define PACK_GRACE_NS (10 * NSEC_PER_SEC)

struct pack_line {
	const char *path; /* borrowed; relative to the tree, as it was when archived */
	uint64_t offset, size;
	uint32_t crc32c;
	uint64_t ino;
	int64_t mtime_ns;
};

/*
 * Appends to *data (heap, *len of *room bytes used; made larger where needed).  0 or
 * -ENOMEM: nothing was done.
 */
int pack_line_append(const struct pack_line *line, char **data, uint64_t *len, size_t *room);
/*
 * The lines of text, in order; each() returning non-zero stops and is returned.
 * -EBADMSG: a line is none.
 */
int pack_lines(const char *text, size_t len, int (*each)(const struct pack_line *line, void *arg),
	       void *arg);

/*
 * Moves the rows of what is alive in it to a new pack.  1: done; 0: not now, as the
 * journal does not have its row yet; -EBADMSG: it is missing or damaged (logged); or an
 * error of the store or the catalogue: then nothing moved.  Blocks for the store.
 */
int pack_rewrite(struct tier *t, const struct pack_row *old);

/* What is remembered of packs that cannot be rewritten; -ENOMEM.  NULL is freed, too. */
struct packs;
int packs_new(struct packs **ret);
void packs_free(struct packs *p);

/*
 * Drops packs none of whose files is alive, rewrites those of which less than half is.
 * The number of packs that went or were rewritten, or the first error; what was done
 * stays.  A pack that is missing or damaged is no error: it is said; whatever cannot be
 * rewritten is left alone for an hour.  Blocks for the store.  One thread at a time.
 */
int64_t packs_tidy(struct tier *t);

#endif
