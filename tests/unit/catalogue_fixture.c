/* SPDX-License-Identifier: MIT */
/* Shared by the tests of meta/: see catalogue_fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first. */
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/log.h"
#include "tests/unit/catalogue_fixture.h"

static struct fixture *new_fixture(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "%s/ebb-catalogue.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->file, sizeof(f->file), "%s/catalogue", f->dir);
	return f;
}

int fixture_setup_closed(void **state)
{
	*state = new_fixture();
	return 0;
}

int fixture_setup(void **state)
{
	fixture_setup_closed(state);
	fixture_open(*state);
	return 0;
}

static void remove_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d))) {
		int flag = e->d_type == DT_DIR ? AT_REMOVEDIR : 0;

		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			assert_int_equal(unlinkat(dirfd(d), e->d_name, flag), 0);
	}
	closedir(d);
	assert_int_equal(rmdir(dir), 0);
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	catalogue_close(f->c);
	remove_all(f->dir);
	free(f);
	return 0;
}

int fixture_try_open(struct fixture *f, bool create)
{
	assert_null(f->c);
	return catalogue_open(f->file, create, &f->c, f->err, sizeof(f->err));
}

void fixture_open(struct fixture *f)
{
	int r = fixture_try_open(f, true);

	if (r < 0)
		fail_msg("%d: %s", r, f->err);
}

void fixture_close(struct fixture *f)
{
	catalogue_close(f->c);
	f->c = NULL;
}

void fixture_reopen(struct fixture *f)
{
	if (catalogue_check(f->c, f->err, sizeof(f->err)) != 0)
		fail_msg("%s", f->err);
	fixture_close(f);
	fixture_open(f);
}

void write_ok(struct catalogue *c, int (*run)(struct tx *tx, void *arg), void *arg)
{
	assert_int_equal(catalogue_write(c, SYNC_NORMAL, run, arg), 0);
}

struct catalogue_counts counts(struct catalogue *c)
{
	struct catalogue_counts n;

	assert_int_equal(catalogue_counts(c, &n), 0);
	return n;
}

struct file_row a_file(dirid_t dir, const char *name, int n)
{
	struct file_row row = {
		.dir = dir,
		.ino = 5000 + (uint64_t)n,
		.attr = { .mode = 0100644,
			  .uid = 1000,
			  .gid = 100,
			  .size = 20000 + (uint64_t)n,
			  .atime_ns = 1513353409000000000 + n,
			  .mtime_ns = 1513353409123456789 + n,
			  .ctime_ns = 1513353409223456789 + n },
		.crc32c = 2654435761U * (uint32_t)n,
		.object = ROW_OBJECT_PATH,
		.objdir = 1,
		.attempt = 9000 + (uint64_t)n,
	};

	snprintf(row.name, sizeof(row.name), "%s", name);
	row.id = (struct identity){ 77 + (uint64_t)n, row.attr.size, row.attr.mtime_ns,
				    row.attr.ctime_ns };
	return row;
}

void assert_same_file(const struct file_row *a, const struct file_row *b)
{
	assert_int_equal(a->dir, b->dir);
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->ino, b->ino);
	assert_int_equal(a->attr.mode, b->attr.mode);
	assert_int_equal(a->attr.uid, b->attr.uid);
	assert_int_equal(a->attr.gid, b->attr.gid);
	assert_int_equal(a->attr.size, b->attr.size);
	assert_int_equal(a->attr.atime_ns, b->attr.atime_ns);
	assert_int_equal(a->attr.mtime_ns, b->attr.mtime_ns);
	assert_int_equal(a->attr.ctime_ns, b->attr.ctime_ns);
	assert_int_equal(a->crc32c, b->crc32c);
	assert_int_equal(a->object, b->object);
	assert_int_equal(a->objdir, b->objdir);
	assert_string_equal(a->objname, b->objname);
	assert_int_equal(a->attempt, b->attempt);
	assert_int_equal(a->pack, b->pack);
	assert_int_equal(a->pack_off, b->pack_off);
	assert_int_equal(a->id.ino, b->id.ino);
	assert_int_equal(a->id.size, b->id.size);
	assert_int_equal(a->id.mtime_ns, b->id.mtime_ns);
	assert_int_equal(a->id.ctime_ns, b->id.ctime_ns);
	assert_int_equal(a->told, b->told);
}

static int run_dir_put(struct tx *tx, void *arg)
{
	return tx_dir_put(tx, arg);
}

dirid_t make_dir(struct catalogue *c, dirid_t parent, const char *name)
{
	struct dir_row row = { .parent = parent, .ino = 4000, .attr = { .mode = 040755 } };

	snprintf(row.name, sizeof(row.name), "%s", name);
	write_ok(c, run_dir_put, &row);
	return row.id;
}

static int run_file_put(struct tx *tx, void *arg)
{
	return tx_file_put(tx, arg);
}

int put_file(struct catalogue *c, const struct file_row *row)
{
	struct file_row copy = *row;

	return catalogue_write(c, SYNC_NORMAL, run_file_put, &copy);
}

/* ---- a closed catalogue ---- */

static void append_row(FILE *out, sqlite3_stmt *stmt)
{
	for (int i = 0; i < sqlite3_column_count(stmt); i++) {
		const unsigned char *p = sqlite3_column_blob(stmt, i);
		int len = sqlite3_column_bytes(stmt, i);

		if (sqlite3_column_type(stmt, i) == SQLITE_NULL)
			fputs("|NULL", out);
		else if (sqlite3_column_type(stmt, i) != SQLITE_BLOB)
			fprintf(out, "|%s", sqlite3_column_text(stmt, i));
		else
			for (fputs("|x", out); len > 0; len--)
				fprintf(out, "%02x", *p++);
	}
	fputc('\n', out);
}

char *sql(const char *file, const char *text)
{
	sqlite3 *db;
	char *ret = NULL;
	size_t size;
	FILE *out = open_memstream(&ret, &size);

	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	while (*text) {
		sqlite3_stmt *stmt;
		int rc = sqlite3_prepare_v2(db, text, -1, &stmt, &text);

		if (rc != SQLITE_OK)
			fail_msg("%s", sqlite3_errmsg(db));
		while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
			append_row(out, stmt);
		if (stmt && rc != SQLITE_DONE)
			fail_msg("%s", sqlite3_errmsg(db));
		sqlite3_finalize(stmt);
	}
	sqlite3_close(db);
	fclose(out);
	return ret;
}

char *journalled_rows(const char *file)
{
	/* The number jumps in a rebuild, by intention. */
	return sql(file, "SELECT * FROM meta WHERE key<>'number' ORDER BY key;"
			 "SELECT * FROM dir ORDER BY id; SELECT * FROM path ORDER BY id;"
			 "SELECT * FROM file ORDER BY dir,name; SELECT * FROM trash ORDER BY id;"
			 "SELECT * FROM pack ORDER BY id; SELECT * FROM outbox ORDER BY id");
}

void assert_same_text(const char *a, const char *b)
{
	while (*a && *b) {
		int len_a = (int)strcspn(a, "\n"), len_b = (int)strcspn(b, "\n");

		if (len_a != len_b || memcmp(a, b, (size_t)len_a) != 0)
			fail_msg("%.*s\nis not\n%.*s", len_a, a, len_b, b);
		a += len_a + 1;
		b += len_b + 1;
	}
	if (*a || *b)
		fail_msg("more lines on one side: %s%s", a, b);
}

void in_child(void (*body)(void *arg), void *arg, int how)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* A failed assertion must not go on with the parent's tests. */
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		body(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (how < 0)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == -how);
	else
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == how);
}

/* ---- the journal ---- */

void parts_fini(struct parts *p)
{
	for (int i = 0; i < p->n; i++)
		free(p->all[i].data);
	free(p);
}

void ship(struct catalogue *c, struct parts *p, size_t max_bytes, int n)
{
	struct journal_part part;
	int r = 0;

	while (n-- > 0 && (r = catalogue_journal_next(c, max_bytes, &part)) == 0) {
		assert_int_equal(part.seq, p->n + 1);
		assert_int_equal(part.seq, catalogue_journal_seq(c));
		assert_int_equal(part.first_txn, catalogue_journalled_txn(c) + 1);
		assert_int_equal(catalogue_journal_acked(c, &part), 0);
		assert_int_equal(part.last_txn, catalogue_journalled_txn(c));
		assert_true(p->n < MAX_PARTS);
		p->all[p->n++] = part;
	}
	if (r < 0) {
		assert_int_equal(r, -ENODATA);
		assert_int_equal(catalogue_journal_backlog(c), 0);
	}
}

void put_some(struct catalogue *c, int first, int n)
{
	for (int i = first; i < first + n; i++) {
		struct file_row row;
		char name[16];

		snprintf(name, sizeof(name), "%06d", i);
		row = a_file(ROW_ROOT_DIR, name, i);
		assert_int_equal(put_file(c, &row), 0);
	}
}

void fixture_become(struct fixture *f, const char *file)
{
	struct catalogue_counts before, after;
	char *old, *new;

	assert_int_equal(catalogue_counts(f->c, &before), 0);
	fixture_close(f);
	old = journalled_rows(f->file);
	new = journalled_rows(file);
	assert_same_text(old, new);
	free(old);
	free(new);
	assert_int_equal(unlink(f->file), 0);
	assert_int_equal(rename(file, f->file), 0);
	fixture_open(f);
	assert_int_equal(catalogue_counts(f->c, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
}
