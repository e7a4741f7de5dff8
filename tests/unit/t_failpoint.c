/* SPDX-License-Identifier: MIT */
/*
 * Each action does what it says at the passage it names; a wrong specification
 * is refused.  What kills or waits happens in a child; its log comes to us.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/failpoint.h"
#include "lib/log.h"

#define N_THREADS 4
#define N_PASSAGES 1000 /* of each thread */
#define LOG_SIZE 4096

struct child {
	pid_t pid;
	FILE *log; /* its stderr */
};

static void start_child(struct child *c, const char *spec, int (*run)(void))
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (c->pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		if (failpoint_init(spec) < 0)
			_exit(100);
		_exit(run());
	}
	close(fds[1]);
	c->log = fdopen(fds[0], "r");
	assert_non_null(c->log);
}

/* Returns waitpid's status. */
static int end_child(struct child *c)
{
	int status;

	fclose(c->log);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	return status;
}

static int run_child(const char *spec, int (*run)(void))
{
	struct child c;
	char line[LOG_SIZE];

	start_child(&c, spec, run);
	while (fgets(line, sizeof(line), c.log))
		;
	return end_child(&c);
}

static int pass_five_times(void)
{
	for (int i = 0; i < 5; i++) {
		if (failpoint(ARCHIVE_PUT) < 0)
			return 50 + i;
	}
	return 5;
}

/* The number of passages it survived would be its exit status. */
static int pass_twice(void)
{
	return failpoint(RELEASE_UNLINK) == 0 && failpoint(RELEASE_UNLINK) == 0 ? 2 : 100;
}

static void *pass_often(void *arg)
{
	for (int i = 0; i < N_PASSAGES; i++) {
		if (failpoint(COMMIT_AFTER) != 0)
			return arg;
	}
	return NULL;
}

static int pass_from_threads(void)
{
	pthread_t threads[N_THREADS];

	for (int i = 0; i < N_THREADS; i++) {
		if (pthread_create(&threads[i], NULL, pass_often, NULL) != 0)
			return 100;
	}
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static void assert_killed(const char *spec, int (*run)(void))
{
	int status = run_child(spec, run);

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void assert_exits(const char *spec, int (*run)(void), int code)
{
	int status = run_child(spec, run);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static void test_kill(void **state)
{
	assert_killed("archive.put=kill", pass_five_times);
	assert_killed("archive.put=kill@1", pass_five_times);
	assert_killed("archive.put=kill@5", pass_five_times);
	assert_exits("archive.put=kill@6", pass_five_times, 5);
	assert_exits("archive.verify=kill", pass_five_times, 5);
	assert_killed("archive.put=kill@6,release.unlink=kill@2", pass_twice);
}

static void test_passages_are_counted_across_threads(void **state)
{
	char spec[64];

	snprintf(spec, sizeof(spec), "commit.after=kill@%d", N_THREADS * N_PASSAGES);
	assert_killed(spec, pass_from_threads);
	snprintf(spec, sizeof(spec), "commit.after=kill@%d", N_THREADS * N_PASSAGES + 1);
	assert_exits(spec, pass_from_threads, 0);
}

static void test_error(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(failpoint_init("restore.link=error:ENOSPC,archive.put=error:EIO"), 0);
	assert_int_equal(failpoint(RESTORE_LINK), -ENOSPC);
	assert_int_equal(failpoint(RESTORE_LINK), -ENOSPC);
	assert_int_equal(failpoint(ARCHIVE_PUT), -EIO);
	assert_int_equal(failpoint(ARCHIVE_VERIFY), 0);
	assert_int_equal(failpoint_init(NULL), 0);
	log_set_level(LOG_LEVEL_INFO);
}

#define N_CHANGES 20000

static void *change(void *arg)
{
	_Atomic bool *done = arg;

	for (int i = 0; i < N_CHANGES; i++)
		failpoint_init(i % 2 ? "archive.put=error:EIO" : "archive.put=error:ENOSPC");
	atomic_store(done, true);
	return NULL;
}

/* A test that goes from one set to the next lets nothing through in between. */
static void test_changed(void **state)
{
	_Atomic bool done = false;
	pthread_t thread;
	unsigned passed = 0;

	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(failpoint_init("archive.put=error:EIO"), 0);
	assert_int_equal(pthread_create(&thread, NULL, change, &done), 0);
	while (!atomic_load(&done))
		passed += failpoint(ARCHIVE_PUT) == 0;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(passed, 0);
	assert_int_equal(failpoint_init(NULL), 0);
	log_set_level(LOG_LEVEL_INFO);
}

static void test_off(void **state)
{
	assert_int_equal(failpoint_init(""), 0);
	assert_false(failpoint_armed);
	for (int i = 0; i < FP_COUNT; i++)
		assert_non_null(failpoint_name((enum failpoint)i));
	assert_int_equal(failpoint(ARCHIVE_PUT), 0);
	assert_string_equal(failpoint_name(FP_RESTORE_LINK), "restore.link");
}

/* The child says that it waits; only then does its file come. */
static void test_wait(void **state)
{
	char dir[] = "/tmp/t_failpoint.XXXXXX";
	char path[64], spec[128], line[LOG_SIZE];
	struct child c;
	int status;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/go", dir);
	snprintf(spec, sizeof(spec), "archive.put=wait:%s", path);
	start_child(&c, spec, pass_five_times);
	do {
		assert_non_null(fgets(line, sizeof(line), c.log));
	} while (!strstr(line, "waiting for"));
	assert_non_null(strstr(line, "archive.put"));
	assert_int_equal(waitpid(c.pid, &status, WNOHANG), 0);

	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	while (fgets(line, sizeof(line), c.log))
		;
	status = end_child(&c);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	unlink(path);
	rmdir(dir);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"nowhere=kill",
		"archive.put",
		"archive.put=",
		"archive.put=die",
		"archive.put=kill@",
		"archive.put=kill@0",
		"archive.put=kill@-1",
		"archive.put=kill@2x",
		"archive.put=kill@99999999999999999999999",
		"archive.put=error:",
		"archive.put=error:ENOTHING",
		"archive.put=error:5",
		"archive.put=wait:",
		"archive.put=kill,archive.pu=kill",
		"ARCHIVE_PUT=kill",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char line[LOG_SIZE] = "";
		struct child c;
		int status;

		start_child(&c, bad[i], pass_five_times);
		/* It says why, once. */
		assert_non_null(fgets(line, sizeof(line), c.log));
		assert_non_null(strstr(line, "cannot set failpoint"));
		assert_null(fgets(line, sizeof(line), c.log));
		status = end_child(&c);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_passages_are_counted_across_threads),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_refused),
	};

	log_open("t_failpoint", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
