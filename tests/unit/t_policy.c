/* SPDX-License-Identifier: MIT */
/*
 * The first rule that matches decides; what it does not say stays as configured;
 * what is not understood is refused in words.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/path.h"
#include "tier/policy.h"

struct fixture {
	struct conf conf;
	struct policy *policy;
	char err[512];
};

static void add(struct fixture *f, const char *name, const char *value)
{
	assert_int_equal(conf_set(&f->conf, name, value, f->err, sizeof(f->err)), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(conf_init(&f->conf), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	policy_free(f->policy);
	conf_fini(&f->conf);
	free(f);
	return 0;
}

static void make(struct fixture *f)
{
	assert_int_equal(policy_new(&f->conf, &f->policy, f->err, sizeof(f->err)), 0);
}

static struct policy_says ask(struct fixture *f, const char *path, uint64_t size)
{
	struct policy_says says;

	policy_ask(f->policy, path, path_name(path), size, &says);
	return says;
}

static void no_rules_as_configured(void **state)
{
	struct fixture *f = *state;
	struct policy_says says;

	add(f, "archive_after", "2m");
	add(f, "release_after", "3h");
	make(f);
	says = ask(f, "cam/a_0.jpg", 100);
	assert_true(says.archive && says.release);
	assert_int_equal(says.archive_after_ms, 120000);
	assert_int_equal(says.release_after_ms, 3 * 3600000);
	assert_int_equal(policy_least_archive_after_ms(f->policy), 120000);
	assert_int_equal(policy_least_release_after_ms(f->policy), 3 * 3600000);
}

static void first_rule_decides(void **state)
{
	struct fixture *f = *state;
	struct policy_says says;

	add(f, "rule", "*.json never-release archive_after=10s");
	add(f, "rule", "/cam1/* never-archive");
	add(f, "rule", "*.json never-archive");
	add(f, "rule", "*/keep/* release_after=30d");
	add(f, "rule", "*/brief/* release_after=5s");
	make(f);
	says = ask(f, "cam1/x.json", 1);
	assert_true(says.archive);
	assert_false(says.release);
	assert_int_equal(says.archive_after_ms, 10000);
	assert_int_equal(policy_least_archive_after_ms(f->policy), 10000);
	assert_int_equal(policy_least_release_after_ms(f->policy), 5000);
	assert_false(ask(f, "cam1/2017/12/x.jpg", 1).archive);
	/* a pattern of a path is not one of a name */
	assert_true(ask(f, "old/cam1", 1).archive);
	assert_true(ask(f, "old/cam1/x.jpg", 1).archive);
	assert_int_equal(ask(f, "a/keep/b/c.jpg", 1).release_after_ms, 30LL * 86400000);
}

static void sizes(void **state)
{
	struct fixture *f = *state;

	add(f, "rule", "* size>1M never-archive");
	add(f, "rule", "* size<10 size>5 never-release");
	make(f);
	assert_true(ask(f, "a", 1048576).archive);
	assert_false(ask(f, "a", 1048577).archive);
	assert_true(ask(f, "a", 5).release);
	assert_false(ask(f, "a", 6).release);
	assert_false(ask(f, "a", 9).release);
	assert_true(ask(f, "a", 10).release);
}

static void odd_names(void **state)
{
	struct fixture *f = *state;

	add(f, "rule", "two\\ words* never-archive");
	add(f, "rule", "\\*star never-release");
	make(f);
	assert_false(ask(f, "d/two words.jpg", 1).archive);
	assert_true(ask(f, "d/two\\ words.jpg", 1).archive);
	assert_false(ask(f, "*star", 1).release);
	assert_true(ask(f, "xstar", 1).release);
	assert_true(ask(f, "\xff\xfe", 1).archive);
}

static void temporary_names(void **state)
{
	struct fixture *f = *state;

	make(f);
	assert_true(policy_is_temporary(f->policy, ".in.x.jpg."));
	assert_true(policy_is_temporary(f->policy, ".pureftpd-upload.1234.a"));
	assert_true(policy_is_temporary(f->policy, "x.part"));
	assert_true(policy_is_temporary(f->policy, "x.tmp"));
	assert_true(policy_is_temporary(f->policy, ".x.jpg.filepart"));
	assert_false(policy_is_temporary(f->policy, "x_0.jpg"));
}

static void refused(void **state)
{
	static const char *const bad[] = {
		"",
		"*.jpg",
		"*.jpg size>1M",
		"*.jpg never",
		"*.jpg size>x never-archive",
		"*.jpg archive_after=",
		"*.jpg archive_after=500ms",
		"*.jpg release_after=yesterday",
	};
	struct fixture *f = *state;
	struct conf_list saved = f->conf.rules;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *one = strdup(bad[i]);

		f->conf.rules = (struct conf_list){ .n = 1, .v = &one };
		f->err[0] = '\0';
		assert_int_equal(policy_new(&f->conf, &f->policy, f->err, sizeof(f->err)), -EINVAL);
		assert_non_null(strstr(f->err, bad[i]));
		assert_non_null(strstr(f->err, "rule"));
		free(one);
	}
	f->conf.rules = saved;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_rules_as_configured, setup, teardown),
		cmocka_unit_test_setup_teardown(first_rule_decides, setup, teardown),
		cmocka_unit_test_setup_teardown(sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_names, setup, teardown),
		cmocka_unit_test_setup_teardown(temporary_names, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
