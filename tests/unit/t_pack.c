/* SPDX-License-Identifier: MIT */
/*
 * The lines behind a pack's files: what was appended is read back, whatever a file is
 * called, and bytes that are no lines are refused.
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

#include "tier/pack.h"

static const struct pack_line lines[] = {
	{ "cam/2017/a_0.jpg", 0, 100, 0xdeadbeef, 1, 1513353409123456789 },
	{ "new\nline", 100, 0, 0, 2, -1 },
	{ "quote\"'`$(x)\\", 100, 1, 1, 3, 0 },
	{ "\xff\xfe\x01\x7f/\xc3\xa4", 101, 1ull << 40, 0xffffffff, INT64_MAX, INT64_MIN },
	{ "", INT64_MAX, 0, 7, 4, INT64_MAX },
	{ "{\"path\":\"x\",\"offset\":1}", 5, 6, 8, 5, 9 },
};
#define N_LINES (sizeof(lines) / sizeof(lines[0]))

struct text {
	char *data; /* owned */
	uint64_t len;
	size_t room;
};

static struct text text_of_lines(void)
{
	struct text t = { 0 };

	for (size_t i = 0; i < N_LINES; i++)
		assert_int_equal(pack_line_append(&lines[i], &t.data, &t.len, &t.room), 0);
	assert_true(t.len <= t.room);
	return t;
}

static int compare_next(const struct pack_line *line, void *arg)
{
	const struct pack_line *want = &lines[(*(size_t *)arg)++];

	assert_string_equal(line->path, want->path);
	assert_int_equal(line->offset, want->offset);
	assert_int_equal(line->size, want->size);
	assert_int_equal(line->crc32c, want->crc32c);
	assert_int_equal(line->ino, want->ino);
	assert_int_equal(line->mtime_ns, want->mtime_ns);
	return 0;
}

static void read_back(void **state)
{
	struct text t = text_of_lines();
	size_t n = 0, newlines = 0;

	(void)state;
	assert_int_equal(pack_lines(t.data, t.len, compare_next, &n), 0);
	assert_int_equal(n, N_LINES);
	for (uint64_t i = 0; i < t.len; i++)
		newlines += t.data[i] == '\n';
	assert_int_equal(newlines, N_LINES);
	assert_int_equal(pack_lines("", 0, compare_next, &n), 0);
	free(t.data);
}

/* They go behind bytes that are there, which stay. */
static void behind_other_bytes(void **state)
{
	struct text t = { .data = malloc(3), .len = 3, .room = 3 };
	size_t n = 0;

	(void)state;
	memcpy(t.data, "abc", 3);
	for (size_t i = 0; i < N_LINES; i++)
		assert_int_equal(pack_line_append(&lines[i], &t.data, &t.len, &t.room), 0);
	assert_memory_equal(t.data, "abc", 3);
	assert_int_equal(pack_lines(t.data + 3, t.len - 3, compare_next, &n), 0);
	assert_int_equal(n, N_LINES);
	free(t.data);
}

static int count(const struct pack_line *line, void *arg)
{
	(void)line;
	++*(int *)arg;
	return 0;
}

static void damaged_lines_are_refused(void **state)
{
	static const char *const damaged[] = {
		"\n",
		"x\n",
		"[]\n",
		"\"path\"\n",
		"{}\n",
		"{\"path\":\"a\"}\n",
		"{\"path\":1,\"offset\":0,\"size\":0,\"crc32c\":\"0\",\"ino\":1,\"mtime\":0}\n",
		"{\"path\":\"a\",\"offset\":-1,\"size\":0,\"crc32c\":\"0\",\"ino\":1,\"mtime\":0}\n",
		"{\"path\":\"a\",\"offset\":0,\"size\":\"0\",\"crc32c\":\"0\",\"ino\":1,\"mtime\":0}\n",
		"{\"path\":\"a\",\"offset\":0,\"size\":0,\"ino\":1,\"mtime\":0}\n",
		"{\"path\":\"a\",\"offset\":0,\"size\":0,\"crc32c\":null,\"ino\":1,\"mtime\":0}\n",
		"{\"path\":\"a\",\"offset\":0,\"size\":0,\"crc32c\":\"0\",\"mtime\":0}\n",
		"{\"path\":\"a\\u0000b\",\"offset\":0,\"size\":0,\"crc32c\":\"0\",\"ino\":1,\"mtime\":0}\n",
		"{\"path\":\"a\",\"offset\":0,\"size\":0,\"crc32c\":\"0\",\"ino\":1,\"mtime\":0}",
		"{\"path\":\"a\",\"offset\":0,\"size\":0,\"crc32c\":\"0\",\"ino\":1,\"mtime\":0}x\n",
	};
	int n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++)
		if (pack_lines(damaged[i], strlen(damaged[i]), count, &n) != -EBADMSG)
			fail_msg("accepted: %s", damaged[i]);
	assert_int_equal(n, 0);
}

/* Cut anywhere: whole lines are given, then it is refused. */
static void cut_lines_are_refused(void **state)
{
	struct text t = text_of_lines();

	(void)state;
	for (uint64_t len = 1; len < t.len; len++) {
		char *cut = malloc(len);
		int n = 0, whole = 0, r;

		memcpy(cut, t.data, len);
		for (uint64_t i = 0; i < len; i++)
			whole += cut[i] == '\n';
		r = pack_lines(cut, len, count, &n);
		assert_int_equal(r, cut[len - 1] == '\n' ? 0 : -EBADMSG);
		assert_int_equal(n, whole);
		free(cut);
	}
	free(t.data);
}

static int stop_at_two(const struct pack_line *line, void *arg)
{
	(void)line;
	return ++*(int *)arg == 2 ? -ENOSPC : 0;
}

static void stops_when_told(void **state)
{
	struct text t = text_of_lines();
	int n = 0;

	(void)state;
	assert_int_equal(pack_lines(t.data, t.len, stop_at_two, &n), -ENOSPC);
	assert_int_equal(n, 2);
	free(t.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_back),
		cmocka_unit_test(behind_other_bytes),
		cmocka_unit_test(damaged_lines_are_refused),
		cmocka_unit_test(cut_lines_are_refused),
		cmocka_unit_test(stops_when_told),
	};

	return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
