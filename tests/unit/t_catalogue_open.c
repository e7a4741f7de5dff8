/* SPDX-License-Identifier: MIT */
/*
 * What must not be opened: another's catalogue, a newer one, half of one, what is
 * none.  Each is told apart, and told in a sentence that names the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

static void write_bytes(const char *file, off_t at, const void *bytes, size_t len)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

static void refused(struct fixture *f, bool create, int r, const char *word)
{
	assert_int_equal(fixture_try_open(f, create), r);
	if (!strstr(f->err, word))
		fail_msg("'%s' is not in: %s", word, f->err);
	assert_non_null(strstr(f->err, f->file));
}

/* ---- opening ---- */

static void t_busy(void **state)
{
	struct fixture *f = *state;
	struct fixture other = *f;

	fixture_open(f);
	refused(&other, true, -EBUSY, "another ebbfs");
	fixture_close(f);
	fixture_open(f);
}

static void t_nothing_there(void **state)
{
	struct fixture *f = *state;

	refused(f, false, -ENOENT, "No such file");
	assert_int_equal(access(f->file, F_OK), -1);
	snprintf(f->file, sizeof(f->file), "%s/missing/catalogue", f->dir);
	refused(f, true, -ENOENT, "directory does not exist");
	snprintf(f->file, sizeof(f->file), "%s", f->dir);
	refused(f, true, -EISDIR, "directory");
	snprintf(f->file, sizeof(f->file), "/dev/null");
	refused(f, true, -EUCLEAN, "not a regular file");
	assert_int_equal(access("/dev/null-lock", F_OK), -1);
}

static void t_no_catalogue(void **state)
{
	struct fixture *f = *state;
	char text[5000];

	memset(text, 'x', sizeof(text));
	write_bytes(f->file, 0, text, sizeof(text));
	refused(f, true, -EUCLEAN, "rebuild");
	unlink(f->file);
	free(sql(f->file, "CREATE TABLE theirs(a); INSERT INTO theirs VALUES(1)"));
	refused(f, true, -EUCLEAN, "another program");
	free(sql(f->file, "PRAGMA application_id=7"));
	refused(f, true, -EUCLEAN, "another program");
}

static void t_other_format(void **state)
{
	struct fixture *f = *state;

	fixture_open(f);
	fixture_close(f);
	free(sql(f->file, "PRAGMA user_version=2"));
	refused(f, true, -ENOTSUP, "format 2");
	free(sql(f->file, "PRAGMA user_version=1; PRAGMA application_id=0x45626272"));
	refused(f, true, -EUCLEAN, "cut short");
	free(sql(f->file, "PRAGMA application_id=0x45626273; DROP TABLE tally"));
	refused(f, true, -EUCLEAN, "rebuild");
}

/* What a killed creation leaves: an empty file, or one that only knows it has a WAL. */
static void t_creation_cut_short(void **state)
{
	struct fixture *f = *state;

	write_bytes(f->file, 0, "", 0);
	refused(f, false, -EUCLEAN, "cut short");
	fixture_open(f);
	fixture_close(f);
	unlink(f->file);
	free(sql(f->file, "PRAGMA journal_mode=WAL"));
	refused(f, false, -EUCLEAN, "cut short");
	fixture_open(f);
}

static void t_journal_hole(void **state)
{
	struct fixture *f = *state;

	fixture_open(f);
	for (int i = 0; i < 5; i++) {
		struct file_row row = a_file(ROW_ROOT_DIR, "a", i);

		assert_int_equal(put_file(f->c, &row), 0);
	}
	fixture_close(f);
	free(sql(f->file, "DELETE FROM journal_out WHERE txn=(SELECT max(txn) FROM journal_out)"));
	refused(f, true, -EUCLEAN, "hole");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_closed, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(t_busy),	   T(t_nothing_there),	    T(t_no_catalogue),
		T(t_other_format), T(t_creation_cut_short), T(t_journal_hole),
	};

	log_open("t_catalogue_open", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
