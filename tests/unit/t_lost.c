/* SPDX-License-Identifier: MIT */
/*
 * Which file a document means, and whether it is anywhere: every way a document may name
 * it, and every state the file may be in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sink.h"
#include "lib/clock.h"
#include "tests/unit/tier_rig.h"
#include "tier/lost.h"
#include "tier/reaper_int.h"

#define OPTS "es_match=*.jpg\\,*.json,local_url=ftp://host/{path},url_template=http://gw/{path}?x"

static int setup(void **state)
{
	struct rig *rig = rig_new(RIG_MEM, OPTS);

	rig_open(rig);
	rig_start(rig);
	rig_until(!rig_status(rig).scanning);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	rig_free(*state);
	return 0;
}

/* A file in each state: the names say which. */
static void make_files(struct rig *rig)
{
	rig_capture(rig, "cam/d/local.jpg", 1);
	rig_capture(rig, "cam/d/archived.jpg", 2);
	rig_capture(rig, "cam/d/released.jpg", 3);
	rig_capture(rig, "cam/d/lost.jpg", 4);
	rig_touch(rig, "cam/d");
	assert_int_equal(rig_archive(rig, "cam/d/archived.jpg"), 0);
	assert_int_equal(rig_archive(rig, "cam/d/released.jpg"), 0);
	rig_journalled(rig);
	assert_int_equal(rig_release(rig, "cam/d/released.jpg"), 0);
	rig_unlink(rig, "cam/d/lost.jpg");
}

static enum lost_is look(struct rig *rig, struct sink_doc doc, const char *name)
{
	enum lost_is is;
	char *found = NULL;

	assert_int_equal(lost_look(rig->t, &doc, &is, &found), 0);
	if (name)
		assert_string_equal(found, name);
	else
		assert_null(found);
	free(found);
	return is;
}

#define DOC(...) ((struct sink_doc){ .index = "i", .id = "1", __VA_ARGS__ })

static void by_exact_path(void **state)
{
	struct rig *rig = *state;

	make_files(rig);
	assert_int_equal(look(rig, DOC(.path = "cam/d/local.jpg"), "local.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.path = "cam/d/archived.jpg"), "archived.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.path = "cam/d/released.jpg"), "released.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.path = "cam/d/lost.jpg"), "lost.jpg"), LOST_NOWHERE);
	assert_int_equal(look(rig, DOC(.path = "no/such/local.jpg"), "local.jpg"), LOST_NOWHERE);
	assert_int_equal(look(rig, DOC(.path = "cam/d/local.jpg/x.jpg"), "x.jpg"), LOST_NOWHERE);
	assert_int_equal(look(rig, DOC(.url = "ftp://host/cam/d/local.jpg"), "local.jpg"),
			 LOST_THERE);
	assert_int_equal(look(rig, DOC(.url = "ftp://host/cam/e/local.jpg"), "local.jpg"),
			 LOST_NOWHERE);
	assert_int_equal(look(rig, DOC(.url = "http://gw/cam/d/released.jpg?x"), "released.jpg"),
			 LOST_THERE);
	assert_int_equal(look(rig, DOC(.url = "http://gw/cam/d/lost.jpg?x"), "lost.jpg"),
			 LOST_NOWHERE);
}

/* The URL is another's: what it ends in may be a path here, else its name counts. */
static void by_other_url(void **state)
{
	struct rig *rig = *state;

	make_files(rig);
	assert_int_equal(look(rig, DOC(.url = "ftp://old/srv/cam/d/local.jpg"), "local.jpg"),
			 LOST_THERE);
	assert_int_equal(look(rig, DOC(.url = "ftp://old/else/released.jpg"), "released.jpg"),
			 LOST_THERE);
	assert_int_equal(look(rig, DOC(.url = "ftp://old/cam/d/lost.jpg"), "lost.jpg"),
			 LOST_NOWHERE);
	assert_int_equal(look(rig, DOC(.url = "/cam/d/lost.jpg"), "lost.jpg"), LOST_NOWHERE);
	assert_int_equal(look(rig, DOC(.url = "ftp://old/../x//../lost.jpg"), "lost.jpg"),
			 LOST_NOWHERE);
	/* The document's own name is the one that counts. */
	assert_int_equal(look(rig, DOC(.name = "lost.jpg", .url = "ftp://old/cam/d/local.jpg"),
			      "lost.jpg"),
			 LOST_NOWHERE);
}

static void by_name(void **state)
{
	struct rig *rig = *state;

	make_files(rig);
	assert_int_equal(look(rig, DOC(.name = "local.jpg"), "local.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.name = "archived.jpg"), "archived.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.name = "released.jpg"), "released.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.name = "lost.jpg"), "lost.jpg"), LOST_NOWHERE);
	assert_int_equal(look(rig, DOC(.name = "d.jpg/local.jpg"), "d.jpg/local.jpg"),
			 LOST_NOWHERE);
}

/* A directory below a symbolic link is no path of ours, and the file is there all the same. */
static void through_a_link(void **state)
{
	struct rig *rig = *state;
	char link[600];

	make_files(rig);
	rig_path(rig, "alias", link, sizeof(link));
	assert_int_equal(symlink("cam", link), 0);
	assert_int_equal(look(rig, DOC(.url = "ftp://host/alias/d/local.jpg"), "local.jpg"),
			 LOST_THERE);
	assert_int_equal(look(rig, DOC(.url = "ftp://host/alias/d/lost.jpg"), "lost.jpg"),
			 LOST_NOWHERE);
}

static void encoded(void **state)
{
	struct rig *rig = *state;

	rig_capture(rig, "cam/a b%41\xff.jpg", 1);
	rig_touch(rig, "cam");
	assert_int_equal(look(rig, DOC(.url = "ftp://host/cam/a%20b%2541%FF.jpg"),
			      "a b%41\xff.jpg"),
			 LOST_THERE);
	assert_int_equal(look(rig, DOC(.url = "ftp://old/cam/a%20b%2541%FF.jpg"), "a b%41\xff.jpg"),
			 LOST_THERE);
	rig_capture(rig, "cam/c%41.jpg", 2); /* whoever wrote the URL did not encode it */
	assert_int_equal(look(rig, DOC(.url = "ftp://host/cam/c%41.jpg"), "cA.jpg"), LOST_THERE);
	rig_capture(rig, "cam/d\xff.jpg", 3); /* as text the sink makes of a name */
	rig_touch(rig, "cam");
	assert_int_equal(look(rig, DOC(.name = "d%FF.jpg"), "d%FF.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.path = "cam/d%FF.jpg"), "d%FF.jpg"), LOST_THERE);
}

static void not_ours(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(look(rig, DOC(.name = "a.txt"), "a.txt"), LOST_NOT_OURS);
	assert_int_equal(look(rig, DOC(.url = "ftp://host/cam/a.txt"), "a.txt"), LOST_NOT_OURS);
	assert_int_equal(look(rig, DOC(.name = "a.jpg", .removed = true), "a.jpg"), LOST_NOT_OURS);
	assert_int_equal(look(rig, DOC(.removed = true), NULL), LOST_NOT_OURS);
	assert_int_equal(look(rig, DOC(.url = NULL), NULL), LOST_UNKNOWN);
	assert_int_equal(look(rig, DOC(.url = "ftp://host/dir/"), NULL), LOST_UNKNOWN);
}

/* What is local is known by name only once the scan at start was there. */
static void not_scanned_yet(void **state)
{
	struct rig *rig = *state;
	struct sink_doc doc = DOC(.name = "lost.jpg");
	enum lost_is is = LOST_UNKNOWN;
	char *name = NULL;

	make_files(rig);
	rig->t->reaper->scanning = true;
	assert_int_equal(lost_look(rig->t, &doc, &is, &name), -EBUSY);
	assert_int_equal(is, LOST_UNKNOWN);
	assert_null(name);
	assert_int_equal(look(rig, DOC(.name = "released.jpg"), "released.jpg"), LOST_THERE);
	assert_int_equal(look(rig, DOC(.path = "cam/d/lost.jpg"), "lost.jpg"), LOST_NOWHERE);
	rig->t->reaper->scanning = false;
}

static void without_es(void **state)
{
	struct rig *rig = *state;
	const struct lost_request req = { .arg = NULL };
	struct lost_progress p;
	char err[256];

	assert_int_equal(lost_run(rig->t, &req, &p, err, sizeof(err)), -ENODATA);
	assert_non_null(strstr(err, "es="));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(by_exact_path), T(by_other_url), T(by_name),	       T(through_a_link),
		T(encoded),	  T(not_ours),	   T(not_scanned_yet), T(without_es),
	};

	return rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
