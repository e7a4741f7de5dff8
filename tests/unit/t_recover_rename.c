/* SPDX-License-Identifier: MIT */
/* What start-up makes of a renaming: the decision, for everything the names may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include "tier/recover_int.h"

/* s stands, b back; 1 back if the source was released, 2 if the target was. */
static const char *const plain[] = {
	/*		  to: source target free other */
	[NAME_SOURCE] = "sbbb",
	[NAME_TARGET] = "sbss",
	[NAME_FREE] = "sbs1",
	[NAME_OTHER] = "sbss",
};
static const char *const exchange[] = {
	[NAME_SOURCE] = "sbbb",
	[NAME_TARGET] = "ssss",
	[NAME_FREE] = "sbs1",
	[NAME_OTHER] = "sb2s",
};

static bool wanted(char c, const struct rename_now *now)
{
	return c == '1' ? !now->source_released : c == '2' ? !now->target_released : c == 's';
}

static void each_combination(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 128; n++) {
		struct rename_now now = {
			.from = (enum name_now)(n & 3),
			.to = (enum name_now)(n >> 2 & 3),
			.exchange = n & 16,
			.source_released = n & 32,
			.target_released = n & 64,
		};
		char c = (now.exchange ? exchange : plain)[now.from][now.to];

		if (rename_stands(&now) != wanted(c, &now))
			fail_msg("from %u, to %u, exchange %u, released %u %u", now.from, now.to,
				 now.exchange, now.source_released, now.target_released);
	}
}

/* What the cache has after a renaming that was done, or was not, and then one more change. */
enum change { NO_CHANGE, FROM_GONE, FROM_OTHER, TO_GONE, TO_OTHER, N_CHANGES };

static struct rename_now now_of(unsigned n, bool done, enum change change)
{
	struct rename_now now = {
		.exchange = n & 1,
		.source_released = n & 2,
		.target_released = n & 4,
	};
	enum name_now source = now.source_released ? NAME_FREE : NAME_SOURCE;
	enum name_now target = now.target_released ? NAME_FREE : NAME_TARGET;

	now.from = !done ? source : now.exchange ? target : NAME_FREE;
	now.to = done ? source : target;
	if (change == FROM_GONE || change == FROM_OTHER)
		now.from = change == FROM_GONE ? NAME_FREE : NAME_OTHER;
	if (change == TO_GONE || change == TO_OTHER)
		now.to = change == TO_GONE ? NAME_FREE : NAME_OTHER;
	return now;
}

/* With at most one of the names changed unseen: right wherever it can be told. */
static void one_unseen_change(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 8; n++) {
		for (enum change c = NO_CHANGE; c < N_CHANGES; c++) {
			struct rename_now not_done = now_of(n, false, c);
			struct rename_now done = now_of(n, true, c);
			bool alike = not_done.from == done.from && not_done.to == done.to;

			if ((n & 6) == 6)
				continue; /* both released: the cache has no part in it */
			/* the only one that was in the cache is gone, or hidden by another */
			if (alike)
				continue;
			if (c == TO_OTHER && done.source_released && done.from == NAME_FREE)
				continue; /* hidden where it went, and free to go back */
			if (c == FROM_OTHER && done.exchange && done.target_released &&
			    done.to == NAME_FREE)
				continue;
			assert_true(rename_stands(&done));
			if (not_done.from == NAME_SOURCE || not_done.to == NAME_TARGET)
				assert_false(rename_stands(&not_done));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_combination),
		cmocka_unit_test(one_unseen_change),
	};

	return cmocka_run_group_tests_name("recover_rename", tests, NULL, NULL);
}
