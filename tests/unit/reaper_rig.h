/* SPDX-License-Identifier: MIT */
/* What tests of when the reaper does what have in common. */
#ifndef EBB_TESTS_REAPER_RIG_H
#define EBB_TESTS_REAPER_RIG_H

#include "tests/unit/tier_rig.h"
#include "tier/reaper_int.h"

#define OPTIONS "archive_after=1s,release_after=24h,store_timeout=1s,archive_jobs=2,pack_below=0"

/* How often in a row the store failed, whatever the directory. */
unsigned store_fails(struct rig *rig);

/* A capture a directory: <prefix>0/a and so on; have all of them this state? */
void capture_many(struct rig *rig, const char *prefix, unsigned n);
bool all_have(struct rig *rig, const char *prefix, unsigned n, enum state state);

/* The directory of this path, as if it were sent to the workers to do what ask says. */
struct reap_dir *queued(struct rig *rig, const char *path, unsigned ask, int64_t archive_ms);

#endif
