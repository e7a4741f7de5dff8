/* SPDX-License-Identifier: MIT */
/*
 * A line is whole, says its level, cannot be forged by what it prints, and
 * leaves errno alone.  stderr is a pipe while a test looks.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/log.h"

static int real_stderr;
static int pipe_fds[2];

static int redirect(void **state)
{
	if (pipe(pipe_fds) < 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	dup2(pipe_fds[1], STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	log_open("t_log", false);
	log_set_level(LOG_LEVEL_INFO);
	return 0;
}

static int restore(void **state)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* What was logged since; up to size - 1 bytes, which is less than a pipe holds. */
static const char *logged(char *buf, size_t size)
{
	ssize_t n;

	/* So that read does not wait when nothing was logged. */
	assert_int_equal(write(pipe_fds[1], "$", 1), 1);
	n = read(pipe_fds[0], buf, size - 1);
	assert_true(n > 0 && buf[n - 1] == '$');
	buf[n - 1] = '\0';
	return buf;
}

static void test_levels(void **state)
{
	char buf[1000];

	log_error("cannot open '%s': %s", "a", "no such thing");
	assert_string_equal(logged(buf, sizeof(buf)),
			    "t_log: error: cannot open 'a': no such thing\n");
	log_warning("w");
	log_info("i %d", 1);
	log_debug("d");
	assert_string_equal(logged(buf, sizeof(buf)), "t_log: warning: w\nt_log: i 1\n");

	assert_false(log_wants(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_DEBUG);
	assert_true(log_wants(LOG_LEVEL_DEBUG));
	log_debug("d");
	assert_string_equal(logged(buf, sizeof(buf)), "t_log: debug: d\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("w");
	log_error("e");
	assert_string_equal(logged(buf, sizeof(buf)), "t_log: error: e\n");
}

static void test_no_forged_lines(void **state)
{
	char buf[1000];

	log_info("a%sb", "\nt_log: error: \x1b[31m\x7f");
	assert_string_equal(logged(buf, sizeof(buf)), "t_log: a t_log: error:  [31m b\n");
	/* UTF-8 stays. */
	log_info("%s", "K\xc3\xb6ln");
	assert_string_equal(logged(buf, sizeof(buf)), "t_log: K\xc3\xb6ln\n");
}

static void test_long_line_is_cut(void **state)
{
	static char text[20000], buf[30000];
	size_t len;

	memset(text, 'x', sizeof(text) - 1);
	log_info("%s", text);
	logged(buf, sizeof(buf));
	len = strlen(buf);
	assert_in_range(len, 4096, 10000);
	assert_string_equal(buf + len - 5, "x...\n");
	assert_ptr_equal(strchr(buf, '\n'), buf + len - 1);
}

static void test_errno_survives(void **state)
{
	char buf[100];

	errno = ENOSPC;
	log_error("x");
	assert_int_equal(errno, ENOSPC);
	logged(buf, sizeof(buf));
}

static void test_journal(void **state)
{
	char buf[100], stream[64];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("t_log", false);
	log_error("e");
	log_warning("w");
	log_info("i");
	assert_string_equal(logged(buf, sizeof(buf)), "<3>e\n<4>w\n<6>i\n");

	/* Started by systemd, but stderr was sent elsewhere. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_open("t_log", false);
	log_info("i");
	assert_string_equal(logged(buf, sizeof(buf)), "t_log: i\n");
}

static void test_ratelimit(void **state)
{
	_Atomic long long last_ms = 0;

	assert_true(log_ratelimit(&last_ms, 3600000));
	assert_false(log_ratelimit(&last_ms, 3600000));
	assert_true(log_ratelimit(&last_ms, 0));
}

static void *try_ratelimit(void *arg)
{
	return log_ratelimit(arg, 3600000) ? arg : NULL;
}

static void test_ratelimit_one_thread_wins(void **state)
{
	_Atomic long long last_ms = 0;
	pthread_t threads[8];
	int won = 0;

	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, try_ratelimit, &last_ms), 0);
	for (int i = 0; i < 8; i++) {
		void *ret;

		pthread_join(threads[i], &ret);
		won += ret != NULL;
	}
	assert_int_equal(won, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_levels, redirect, restore),
		cmocka_unit_test_setup_teardown(test_no_forged_lines, redirect, restore),
		cmocka_unit_test_setup_teardown(test_long_line_is_cut, redirect, restore),
		cmocka_unit_test_setup_teardown(test_errno_survives, redirect, restore),
		cmocka_unit_test_setup_teardown(test_journal, redirect, restore),
		cmocka_unit_test(test_ratelimit),
		cmocka_unit_test(test_ratelimit_one_thread_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
