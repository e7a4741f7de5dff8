/* SPDX-License-Identifier: MIT */
/*
 * A small world of rows that random transactions change in every way there is: files
 * put, moved, swapped, removed, trashed and brought back, directories made, moved,
 * swapped and removed, events; packs whose files go all these ways, are moved to
 * others and leave them.  One transaction in eight is undone.  The seed alone decides.
 *
 * Packs hold as many files as point into them, after each transaction.
 */
#ifndef EBB_TESTS_CATALOGUE_WORLD_H
#define EBB_TESTS_CATALOGUE_WORLD_H

#include <stdint.h>

#include "meta/catalogue.h"

struct world {
	uint64_t seed;
	dirid_t dirs[16];
	int n_dirs;
	int64_t n_events;
	int64_t n_trash;
	uint64_t n_packs; /* numbers given; some are gone */
};

unsigned world_rnd(struct world *w, unsigned below);
/* For catalogue_write(), arg is the world.  0, or -ECANCELED: this one is undone. */
int world_change(struct tx *tx, void *arg);

#endif
