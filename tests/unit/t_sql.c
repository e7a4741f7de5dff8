/* SPDX-License-Identifier: MIT */
/*
 * The plans of all statements: none reads a table from end to end but those that are meant
 * to, and those of small tables.  With 100 million rows one that did would take minutes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "meta/db.h"
#include "tests/unit/catalogue_fixture.h"

static const struct statement {
	const char *name, *text;
} statements[] = {
#define SQL(id, text) { #id, text },
#include "meta/sql.def"
#undef SQL
};

/* What may be read whole. */
static const struct whole {
	const char *statement, *plan;
} wholes[] = {
	/* a rebuild, and catalogue_check() */
	{ "COUNT_FILES", "SCAN file" },
	{ "COUNT_DIRS", "SCAN dir USING COVERING INDEX dir_name" },
	{ "COUNT_TRASH", "SCAN trash" },
	{ "COUNT_EVENTS", "SCAN outbox" },
	{ "PACK_COUNTS", "SCAN pack" },
	{ "PACK_FILES", "SCAN file" },
	/* of packs those alone that are to be rewritten */
	{ "PACK_POOR", "SCAN pack USING INDEX pack_poor" },
	/* what the statement itself made, as deep as the tree is */
	{ "DIR_UP", "SCAN up" },
	/* a few rows, always */
	{ "OBJECTS", "SCAN sqlite_master" },
	{ "TABLE_COLUMNS", "SCAN pragma_table_info VIRTUAL TABLE INDEX 0:" },
	{ "META_ALL", "SCAN meta" },
	{ "JOURNAL_EDGES", "SCAN CONSTANT ROW" },
	{ "SHIP_GET", "SCAN journal_ship" },
	{ "CHECKPOINT_NEWEST", "SCAN checkpoint" },
};

static bool may_scan(const char *statement, const char *plan)
{
	for (size_t i = 0; i < sizeof(wholes) / sizeof(*wholes); i++)
		if (strcmp(wholes[i].statement, statement) == 0 &&
		    strcmp(wholes[i].plan, plan) == 0)
			return true;
	return false;
}

static bool has_plan(const char *text)
{
	static const char *const verbs[] = { "SELECT", "INSERT", "REPLACE",
					     "UPDATE", "DELETE", "WITH" };

	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strncmp(text, verbs[i], strlen(verbs[i])) == 0)
			return true;
	return false;
}

/* How many of its steps read something whole and may not. */
static int count_scans(sqlite3 *db, const struct statement *s)
{
	sqlite3_stmt *stmt;
	char *text = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", s->text);
	int bad = 0;

	if (sqlite3_prepare_v2(db, text, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", s->name, sqlite3_errmsg(db));
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *plan = (const char *)sqlite3_column_text(stmt, 3);

		if (strncmp(plan, "SCAN ", 5) != 0 || may_scan(s->name, plan))
			continue;
		print_error("%s: %s\n", s->name, plan);
		bad++;
	}
	sqlite3_finalize(stmt);
	sqlite3_free(text);
	return bad;
}

static void test_nothing_is_read_from_end_to_end(void **state)
{
	struct fixture *f = *state;
	sqlite3 *db;
	int bad = 0;

	fixture_close(f);
	assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
	for (size_t i = 0; i < sizeof(statements) / sizeof(*statements); i++)
		if (has_plan(statements[i].text))
			bad += count_scans(db, &statements[i]);
	sqlite3_close(db);
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_read_from_end_to_end, fixture_setup,
						fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
