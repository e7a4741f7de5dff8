/* SPDX-License-Identifier: MIT */
/*
 * Every default is one a user could give; what is refused says which option,
 * what was given and what is allowed; -o and the file mean the same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/conf.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *name;
	enum conf_type type;
	const char *def;
	uint64_t min, max;
} options[] = {
#define OPTION(field, name, type, def, min, max, group, text) { name, CONF_##type, def, min, max },
#include "lib/options.def"
#undef OPTION
};

static char err[1000];

static int setup(void **state)
{
	struct conf *c = malloc(sizeof(*c));

	*state = c;
	err[0] = '\0';
	return c ? conf_init(c) : -1;
}

static int teardown(void **state)
{
	conf_fini(*state);
	free(*state);
	return 0;
}

static int set(struct conf *c, const char *name, const char *value)
{
	err[0] = '\0';
	return conf_set(c, name, value, err, sizeof(err));
}

static int set_many(struct conf *c, const char *opts)
{
	err[0] = '\0';
	return conf_set_many(c, opts, err, sizeof(err));
}

/* The message holds each of the words. */
static void assert_says(const char *a, const char *b, const char *c)
{
	if (!strstr(err, a) || !strstr(err, b) || !strstr(err, c))
		fail_msg("'%s' lacks one of '%s' '%s' '%s'", err, a, b, c);
}

static void test_defaults(void **state)
{
	struct conf *c = *state;

	assert_string_equal(c->cache, "");
	assert_string_equal(c->durability, "none");
	assert_string_equal(c->es_id, "{name}");
	assert_true(c->archive_after == 300000);
	assert_true(c->release_after == 86400000);
	assert_int_equal(c->high, 85);
	assert_int_equal(c->low, 75);
	assert_true(c->store_window_bytes == 32ULL << 20);
	assert_int_equal(c->es_gzip, 1);
	assert_int_equal(c->xattr, 0);
	assert_int_equal(c->archive_windows.n, 0);
	assert_int_equal(c->rules.n, 0);
	for (size_t i = 0; i < COUNT(options); i++) {
		if (options[i].type == CONF_LIST && !*options[i].def)
			continue;
		assert_int_equal(set(c, options[i].name, options[i].def), 0);
	}
}

static void test_limits(void **state)
{
	struct conf *c = *state;
	char text[64];

	for (size_t i = 0; i < COUNT(options); i++) {
		const char *unit = options[i].type == CONF_MS ? "ms" : "";

		if (options[i].type == CONF_OCTAL || (options[i].min == 0 && options[i].max == 0))
			continue;
		snprintf(text, sizeof(text), "%llu%s", (unsigned long long)options[i].max, unit);
		assert_int_equal(set(c, options[i].name, text), 0);
		snprintf(text, sizeof(text), "%llu%s", (unsigned long long)options[i].max + 1,
			 unit);
		assert_int_equal(set(c, options[i].name, text), -ERANGE);
		assert_says(options[i].name, text, "out of range");
		snprintf(text, sizeof(text), "%llu%s", (unsigned long long)options[i].min, unit);
		assert_int_equal(set(c, options[i].name, text), 0);
		if (options[i].min == 0)
			continue;
		snprintf(text, sizeof(text), "%llu%s", (unsigned long long)options[i].min - 1,
			 unit);
		assert_int_equal(set(c, options[i].name, text), -ERANGE);
	}
}

static void test_values(void **state)
{
	struct conf *c = *state;

	assert_int_equal(set(c, "cache", "/srv/cache"), 0);
	assert_string_equal(c->cache, "/srv/cache");
	assert_int_equal(set(c, "cache", "/srv/other"), 0);
	assert_string_equal(c->cache, "/srv/other");
	assert_int_equal(set(c, "cache", ""), 0);
	assert_string_equal(c->cache, "");
	assert_int_equal(set(c, "archive_after", "90m"), 0);
	assert_true(c->archive_after == 5400000);
	assert_int_equal(set(c, "xattr", NULL), 0);
	assert_int_equal(c->xattr, 1);
	assert_int_equal(set(c, "xattr", "off"), 0);
	assert_int_equal(c->xattr, 0);
	assert_int_equal(set(c, "high", "90%"), 0);
	assert_int_equal(c->high, 90);
	assert_int_equal(set(c, "durability", "close"), 0);
	assert_string_equal(c->durability, "close");
	assert_int_equal(set(c, "url_template", "http://gate/{path}?{name}"), 0);
	assert_int_equal(set(c, "local_url", "ftp://{mount}/{camera}"), 0);
	assert_int_equal(set(c, "es_find", "ftpurl=ftp://host/{path}"), 0);
}

static void test_list_appends(void **state)
{
	struct conf *c = *state;

	assert_int_equal(set(c, "rule", "*.log never-archive"), 0);
	assert_int_equal(set(c, "rule", "*.jpg size>1M never-release"), 0);
	assert_int_equal(c->rules.n, 2);
	assert_string_equal(c->rules.v[0], "*.log never-archive");
	assert_string_equal(c->rules.v[1], "*.jpg size>1M never-release");
	assert_int_equal(set(c, "rule", ""), -EINVAL);
	assert_int_equal(c->rules.n, 2);
}

static void test_refused(void **state)
{
	struct conf *c = *state;

	assert_int_equal(set(c, "cahce", "/x"), -ENOENT);
	assert_says("cahce", "no such option", "--help");
	assert_int_equal(set(c, "", "/x"), -ENOENT);
	assert_int_equal(set(c, "cache", NULL), -EINVAL);
	assert_says("'cache'", "no value", "a path");
	assert_int_equal(set(c, "archive_after", "5x"), -EINVAL);
	assert_says("'archive_after'", "'5x'", "from 1s to 365d");
	assert_int_equal(set(c, "store_window_bytes", "1K"), -ERANGE);
	assert_says("'store_window_bytes'", "'1K'", "from 1M to 16G");
	assert_int_equal(set(c, "high", "101"), -ERANGE);
	assert_says("'high'", "'101'", "from 1 to 100");
	assert_int_equal(set(c, "xattr", "maybe"), -EINVAL);
	assert_says("'xattr'", "'maybe'", "yes or no");
	assert_int_equal(set(c, "durability", "none,"), -EINVAL);
	assert_says("'durability'", "'none,'", "none, close");
	assert_int_equal(set(c, "durability", ""), -EINVAL);
	assert_int_equal(set(c, "passthrough", "au"), -EINVAL);
	assert_says("'passthrough'", "'au'", "auto, yes, no");
	assert_int_equal(set(c, "log_level", "loud"), -EINVAL);
	assert_says("'log_level'", "'loud'", "error, warning, info, debug");
	assert_int_equal(set(c, "url_template", "http://gate/{pth}"), -EINVAL);
	assert_says("'url_template'", "{pth}", "{path}, {name}, {camera}, {object}");
	assert_int_equal(set(c, "es_id", "{name"), -EINVAL);
	assert_int_equal(set(c, "archive_windows", "22-06"), -EINVAL);
	assert_says("'archive_windows'", "'22-06'", "22:00-06:00");
	/* What was there is still there. */
	assert_string_equal(c->durability, "none");
	assert_string_equal(c->es_id, "{name}");
	assert_int_equal(c->high, 85);
	/* The message itself is one line, whatever was given. */
	assert_int_equal(set(c, "high", "1\n2"), -EINVAL);
	assert_says("'1\\x0a2'", "", "");
	/* A small buffer cuts the message. */
	assert_int_equal(conf_set(c, "high", "x", err, 10), -EINVAL);
	assert_int_equal(strlen(err), 9);
}

static void test_many(void **state)
{
	struct conf *c = *state;

	assert_int_equal(set_many(c, ""), 0);
	assert_int_equal(set_many(c, "cache=/c,meta=/m,store=dir:/s?a=b,xattr"), 0);
	assert_string_equal(c->cache, "/c");
	assert_string_equal(c->meta, "/m");
	assert_string_equal(c->store, "dir:/s?a=b");
	assert_int_equal(c->xattr, 1);
	assert_int_equal(set_many(c, "es_match=*_0.jpg\\,*_1.jpg,,xattr=no,"), 0);
	assert_string_equal(c->es_match, "*_0.jpg,*_1.jpg");
	assert_int_equal(c->xattr, 0);
	assert_int_equal(set_many(c, "archive_windows=22:00-06:00\\,12:00-13:00"), 0);
	assert_int_equal(c->archive_windows.n, 2);
	assert_int_equal(set_many(c, "cache=/a\\\\,meta=/b\\c\\"), 0);
	assert_string_equal(c->cache, "/a\\");
	assert_string_equal(c->meta, "/b\\c\\");
	assert_int_equal(set_many(c, "rule=a\\ b* never-archive,rule=\\\\\\,\\* never-release"), 0);
	assert_string_equal(c->rules.v[0], "a\\ b* never-archive");
	assert_string_equal(c->rules.v[1], "\\,\\* never-release");

	assert_int_equal(set_many(c, "high=90,hgih=91,low=1"), -ENOENT);
	assert_says("hgih", "", "");
	assert_int_equal(c->high, 90);
	assert_int_equal(c->low, 75);
	assert_int_equal(set_many(c, "high"), -EINVAL);
	assert_int_equal(set_many(c, "=x"), -ENOENT);
}

static int load_bytes(struct conf *c, const void *bytes, size_t len)
{
	char name[] = "/tmp/t_conf.XXXXXX";
	int fd = mkstemp(name);
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
	err[0] = '\0';
	r = conf_load(c, name, err, sizeof(err));
	if (r < 0)
		assert_non_null(strstr(err, name));
	unlink(name);
	return r;
}

static int load(struct conf *c, const char *text)
{
	return load_bytes(c, text, strlen(text));
}

static void test_load(void **state)
{
	struct conf *c = *state;

	assert_int_equal(load(c, ""), 0);
	assert_int_equal(load(c, "# a comment\n"
				 "; another\n"
				 "\n"
				 "cache = /srv/cache\n"
				 "  meta=/var/lib/ebbfs/cam.db  \n"
				 "\tstore = rados:pool/ns?conf=/etc/ceph.conf&id=x\r\n"
				 "archive_windows = 22:00-06:00,12:00-13:00\n"
				 "xattr = yes\n"
				 "rule = *.log never-archive\n"
				 "rule = *.jpg size>1M never-release\n"
				 "es_id =\n"
				 "high = 91"),
			 0);
	assert_string_equal(c->cache, "/srv/cache");
	assert_string_equal(c->meta, "/var/lib/ebbfs/cam.db");
	assert_string_equal(c->store, "rados:pool/ns?conf=/etc/ceph.conf&id=x");
	assert_int_equal(c->archive_windows.n, 2);
	assert_int_equal(c->xattr, 1);
	assert_int_equal(c->rules.n, 2);
	assert_string_equal(c->rules.v[1], "*.jpg size>1M never-release");
	assert_string_equal(c->es_id, "");
	assert_int_equal(c->high, 91);
	assert_int_equal(load(c, "\xef\xbb\xbfhigh = 92\n"), 0);
	assert_int_equal(c->high, 92);
}

/* What a parser of INI files likes to take for a comment. */
static void test_load_keeps_values_whole(void **state)
{
	struct conf *c = *state;

	assert_int_equal(load(c, "node_name = a ; b # c\n"), 0);
	assert_string_equal(c->node_name, "a ; b # c");
	assert_int_equal(load(c, "node_name = ;x;\n"), 0);
	assert_string_equal(c->node_name, ";x;");
	assert_int_equal(load(c, "node_name = a = b : [c] \"d\"\n"), 0);
	assert_string_equal(c->node_name, "a = b : [c] \"d\"");
	assert_int_equal(load(c, "node_name = K\xc3\xb6ln\tx\n"), 0);
	assert_string_equal(c->node_name, "K\xc3\xb6ln\tx");
}

/* Whatever the length: it is set whole, or refused. */
static void test_load_long_lines(void **state)
{
	static char text[20100];
	struct conf *c = *state;
	int n_set = 0;

	for (size_t len = 100; len <= 20000; len += len < 10000 ? 7 : 500) {
		size_t name_len = (size_t)snprintf(text, sizeof(text), "node_name = ");
		int r;

		memset(text + name_len, 'x', len);
		strcpy(text + name_len + len, "y\nhigh = 93\n");
		assert_int_equal(set(c, "node_name", ""), 0);
		assert_int_equal(set(c, "high", "85"), 0);
		r = load(c, text);
		if (r == 0) {
			assert_int_equal(strlen(c->node_name), len + 1);
			assert_int_equal(c->node_name[len], 'y');
			assert_int_equal(c->high, 93);
			n_set++;
		} else {
			assert_int_equal(r, -EINVAL);
			assert_says(":1: cannot", "at most", "bytes");
			assert_string_equal(c->node_name, "");
			assert_int_equal(c->high, 85);
		}
	}
	assert_true(n_set > 10);
	/* A comment may be as long as any line. */
	memset(text, '#', 150);
	strcpy(text + 150, "\nhigh = 94\n");
	assert_int_equal(load(c, text), 0);
	assert_int_equal(c->high, 94);
}

static void test_load_refuses(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *a;
		const char *b;
	} cases[] = {
		{ "high = 90\nhgih = 91\nlow = 1\n", -ENOENT, ":2: cannot set", "hgih" },
		{ "\n\nhigh = 9x\n", -EINVAL, ":3: cannot set 'high'", "'9x'" },
		{ "high = 101\n", -ERANGE, ":1: cannot set 'high'", "1 to 100" },
		{ "cache /srv\n", -EINVAL, ":1: ", "NAME = VALUE" },
		{ "xattr\nhigh = 101\n", -EINVAL, ":1: ", "NAME = VALUE" },
		{ "# x\n[mount]\nhigh = 90\n", -EINVAL, ":3: ", "section" },
		{ "[mount\nhigh = 90\n", -EINVAL, ":1: ", "NAME = VALUE" },
		{ "high\x01 = 90\n", -EINVAL, ":1: ", "control character" },
		{ "cache = /a;\n high = 101\n", -ERANGE, ":2: ", "'high'" },
		{ "a;b = 1\n", -ENOENT, ":1: ", "a;b" },
	};
	struct conf *c = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(load(c, cases[i].text), cases[i].r);
		assert_says(cases[i].a, cases[i].b, "");
		assert_int_equal(c->low, 75);
	}
	assert_int_equal(load_bytes(c, "node_name = a\0b\n", 16), -EINVAL);
	assert_says(":1: ", "control character", "");
	assert_int_equal(conf_load(c, "/nonexistent/ebbfs.conf", err, sizeof(err)), -ENOENT);
	assert_says("cannot open", "/nonexistent/ebbfs.conf", "No such file");
	assert_int_equal(conf_load(c, "/tmp", err, sizeof(err)), -EISDIR);
	assert_says("/tmp", "cannot read", "directory");
}

static void test_file_then_options(void **state)
{
	struct conf *c = *state;

	assert_int_equal(load(c, "high = 90\nlow = 60\n"), 0);
	assert_int_equal(set_many(c, "high=95"), 0);
	assert_int_equal(c->high, 95);
	assert_int_equal(c->low, 60);
}

static void assert_check(struct conf *c, const char *opts, int r, const char *a, const char *b)
{
	assert_int_equal(set_many(c, opts), 0);
	assert_int_equal(conf_check(c, err, sizeof(err)), r);
	assert_says(a, b, "");
	if (r < 0)
		assert_says("cannot", "; ", "");
}

static void test_check(void **state)
{
	struct conf *c = *state;

	assert_check(c, "", -EINVAL, "cache", "cache=DIR");
	assert_check(c, "cache=/c", -EINVAL, "catalogue", "meta=FILE");
	assert_check(c, "meta=/m", -EINVAL, "store", "store=");
	assert_check(c, "store=mem:", 0, "", "");
	assert_check(c, "meta=/c/m", -EINVAL, "meta", "inside cache");
	assert_check(c, "meta=/cm", 0, "", "");

	assert_check(c, "high=70", -EINVAL, "low=75", "high=70");
	assert_check(c, "low=70", -EINVAL, "low=70", "high=70");
	assert_check(c, "low=69", 0, "", "");

	/* Without es its other options do not matter. */
	assert_check(c, "es_id=", 0, "", "");
	assert_check(c, "es=http://h:9200/i", -EINVAL, "es_id", "es_find");
	assert_check(c, "es_find=filename", 0, "", "");
	assert_check(c, "es_id={name}", -EINVAL, "es_id", "es_find");
	assert_check(c, "es_find=", 0, "", "");
	assert_check(c, "es_user=u", -EINVAL, "es_user", "es_password_file");
	assert_check(c, "es_password_file=/p", 0, "", "");
	assert_check(c, "es_api_key_file=/k", -EINVAL, "es_api_key_file", "es_user");
	assert_check(c, "es_user=", -EINVAL, "es_password_file", "es_user");
	assert_check(c, "es_password_file=", 0, "", "");
}

static char *printed(void (*print)(FILE *))
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	print(out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void test_help_names_everything(void **state)
{
	char *help = printed(conf_print_help);
	char word[100];

	for (size_t i = 0; i < COUNT(options); i++) {
		snprintf(word, sizeof(word), "    %s=", options[i].name);
		assert_non_null(strstr(help, word));
	}
	assert_non_null(strstr(help, "Places:\n"));
	assert_non_null(strstr(help, "Default: 5m"));
	for (const char *line = help; *line; line += strcspn(line, "\n") + 1)
		assert_in_range(strcspn(line, "\n"), 0, 100);
	free(help);
}

static void test_mdoc_names_everything(void **state)
{
	char *mdoc = printed(conf_print_mdoc);
	char word[100];

	for (size_t i = 0; i < COUNT(options); i++) {
		snprintf(word, sizeof(word), ".It Cm %s Ns = Ns ", options[i].name);
		assert_non_null(strstr(mdoc, word));
	}
	/* No text has become a macro: each line that begins with a dot is one of these. */
	for (const char *line = mdoc; *line; line += strcspn(line, "\n") + 1) {
		static const char *const macros[] = { ".Ss ", ".Bl ", ".It ", ".Ql ", ".El\n" };
		size_t i = 0;

		while (*line == '.' && i < COUNT(macros) && strncmp(line, macros[i], 4) != 0)
			i++;
		assert_true(i < COUNT(macros));
		assert_int_not_equal(*line, '\'');
	}
	assert_non_null(strstr(mdoc, ".Ql \\&.in.*.,"));
	free(mdoc);
}

static void test_fini_twice(void **state)
{
	struct conf c;

	assert_int_equal(conf_init(&c), 0);
	assert_int_equal(set(&c, "rule", "* never-archive"), 0);
	conf_fini(&c);
	conf_fini(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_defaults),
		TEST(test_limits),
		TEST(test_values),
		TEST(test_list_appends),
		TEST(test_refused),
		TEST(test_many),
		TEST(test_load),
		TEST(test_load_keeps_values_whole),
		TEST(test_load_long_lines),
		TEST(test_load_refuses),
		TEST(test_file_then_options),
		TEST(test_check),
		cmocka_unit_test(test_help_names_everything),
		cmocka_unit_test(test_mdoc_names_everything),
		cmocka_unit_test(test_fini_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
