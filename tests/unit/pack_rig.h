/* SPDX-License-Identifier: MIT */
/* What the tests of packs share: files that are archived in packs, and leave them. */
#ifndef EBB_TESTS_PACK_RIG_H
#define EBB_TESTS_PACK_RIG_H

#include "tests/unit/tier_rig.h"

#define PACK_FILE_BYTES 1000

/* A rig with packs and no grace; nothing happens by itself. */
struct rig *pack_rig(enum rig_store store);
/* Files "<dir>/0" to "<dir>/<n-1>", of PACK_FILE_BYTES each, in one pack: its number. */
uint64_t pack_archive(struct rig *rig, const char *dir, unsigned n);
/* As a user does. */
void pack_unlink(struct rig *rig, const char *path);
void pack_rename(struct rig *rig, const char *from, const char *to);
void pack_open_for_writing(struct rig *rig, const char *path);
/* Files from to below "to" leave the tree and the trash. */
void pack_drop_files(struct rig *rig, const char *dir, unsigned from, unsigned to);
/* packs_tidy(), after the journal has everything. */
int64_t pack_tidy(struct rig *rig);

/* rig_check() after a start, which settles the intents of what users did. */
void pack_check(struct rig *rig);

struct pack_row pack_get(struct rig *rig, uint64_t number);
bool pack_is_known(struct rig *rig, uint64_t number);
bool pack_is_stored(struct rig *rig, uint64_t number);
/* Its grace is over; it lasts for an hour. */
void pack_make_due(struct rig *rig, uint64_t number);
void pack_put_off(struct rig *rig, uint64_t number);

#endif
