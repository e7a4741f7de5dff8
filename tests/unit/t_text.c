/* SPDX-License-Identifier: MIT */
/* UTF-8 is judged as RFC 3629 has it; encoders, templates and patterns do what they promise. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/text.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_utf8(void **state)
{
	static const char *const good[] = {
		"",
		"abc",
		"\x7f",
		"\xc2\x80",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
		"K\xc3\xb6ln \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x93\xb7",
	};
	static const char *const bad[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc3",
		"a\xc3",
		"\xc3(",
		"\xe0\x80\x80",
		"\xe0\x9f\xbf",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xe6\x97",
		"\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xf0\x9f\x93",
		"\xfe",
		"\xff",
		"ok\xe6\x97\xa5\xa5",
	};

	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(text_is_utf8(good[i], strlen(good[i])));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(text_is_utf8(bad[i], strlen(bad[i])));
	/* The end of the bytes is where the caller says. */
	assert_false(text_is_utf8("\xc3\xb6", 1));
	assert_true(text_is_utf8("a\xff", 1));
}

typedef char *encode_fn(const void *, size_t);

static void assert_encoded(encode_fn *encode, const char *bytes, const char *expected)
{
	/* Memory of just this size, so that a sanitizer sees a read past its end. */
	size_t len = strlen(bytes);
	char *copy = malloc(len ? len : 1);
	char *text;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	text = encode(copy, len);
	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
	free(copy);
}

static void test_url(void **state)
{
	assert_encoded(text_url_encode, "", "");
	assert_encoded(text_url_encode, "cam/2017/12/15/a_0.jpg", "cam/2017/12/15/a_0.jpg");
	assert_encoded(text_url_encode, "AZaz09-._~/", "AZaz09-._~/");
	assert_encoded(text_url_encode, "a b?c#d%e+f&g", "a%20b%3Fc%23d%25e%2Bf%26g");
	assert_encoded(text_url_encode, "K\xc3\xb6ln\xff\n", "K%C3%B6ln%FF%0A");
}

static void test_json(void **state)
{
	assert_encoded(text_json_safe, "K\xc3\xb6ln \"x\" 100%", "K\xc3\xb6ln \"x\" 100%");
	assert_encoded(text_json_safe, "a\xff\xc3", "a%FF%C3");
	assert_encoded(text_json_safe, "\xed\xa0\x80z", "%ED%A0%80z");
}

static void test_printable(void **state)
{
	assert_encoded(text_printable, "K\xc3\xb6ln 1", "K\xc3\xb6ln 1");
	assert_encoded(text_printable, "a\nb\x1b[0m\x7f", "a\\x0ab\\x1b[0m\\x7f");
	assert_encoded(text_printable, "it's \"x\"\\", "it\\x27s \\x22x\\x22\\x5c");
	assert_encoded(text_printable, "\xff\xc2\x9b", "\\xff\\xc2\\x9b");
	assert_encoded(text_printable, "\xc2\xa0\xc2", "\xc2\xa0\\xc2");
}

static void test_nul_does_not_end(void **state)
{
	char *text = text_json_safe("a\0b", 3);

	assert_string_equal(text, "a%00b");
	free(text);
	text = text_url_encode("a\0b", 3);
	assert_string_equal(text, "a%00b");
	free(text);
	text = text_printable("a\0b", 3);
	assert_string_equal(text, "a\\x00b");
	free(text);
}

static const char *value_of(const char *key, void *arg)
{
	if (strcmp(key, "name") == 0)
		return arg;
	if (strcmp(key, "path") == 0)
		return "cam/a_{0}.jpg";
	return NULL;
}

static void test_template(void **state)
{
	static const char *const good[][2] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "{name}", "N" },
		{ "{name}{name}", "NN" },
		{ "http://h/{path}?n={name}", "http://h/cam/a_{0}.jpg?n=N" },
		{ "{{name}}", "{name}" },
		{ "{{{name}}}", "{N}" },
	};
	static const char *const bad[] = {
		"{",
		"}",
		"{name",
		"name}",
		"{}",
		"{other}",
		"{Name}",
		"{na{me}",
		"{name}}",
		"{{}",
		"{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
	};
	char name[] = "N";

	for (size_t i = 0; i < COUNT(good); i++) {
		char *text = NULL;

		assert_int_equal(text_template(good[i][0], value_of, name, &text), 0);
		assert_string_equal(text, good[i][1]);
		free(text);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		char *text = name;

		assert_int_equal(text_template(bad[i], value_of, name, &text), -EINVAL);
		assert_ptr_equal(text, name);
	}
}

static void test_long_template(void **state)
{
	char *tmpl = malloc(100001), *text;

	assert_non_null(tmpl);
	memset(tmpl, 'x', 100000);
	tmpl[100000] = '\0';
	assert_int_equal(text_template(tmpl, value_of, NULL, &text), 0);
	assert_string_equal(text, tmpl);
	free(text);
	free(tmpl);
}

static void test_match(void **state)
{
	static const char defaults[] = ".in.*.,.pureftpd-upload*,*.part,*.tmp,.*.filepart";
	char many[2000];

	assert_true(text_match_any(defaults, ".in.a_0.jpg."));
	assert_true(text_match_any(defaults, ".pureftpd-upload.5a33"));
	assert_true(text_match_any(defaults, "a.part"));
	assert_true(text_match_any(defaults, ".part")); /* a leading dot is nothing special */
	assert_true(text_match_any(defaults, ".a_0.jpg.filepart"));
	assert_false(text_match_any(defaults, "a_0.jpg"));
	assert_false(text_match_any(defaults, "a.tmp.jpg"));
	assert_false(text_match_any(defaults, ""));

	assert_true(text_match_any("*", "anything"));
	assert_true(text_match_any("*", "\xff\xfe"));
	assert_false(text_match_any("", "a"));
	assert_false(text_match_any("", ""));
	assert_false(text_match_any(",,", "a"));
	assert_true(text_match_any(" *_0.jpg ,\t*_1.jpg ", "a_1.jpg"));
	assert_true(text_match_any(" *_0.jpg ,\t*_1.jpg ", "a_0.jpg"));
	assert_true(text_match_any("[ab]?c", "bxc"));
	assert_false(text_match_any("[ab]?c", "cxc"));

	/* A pattern no name can match does not hide those behind it. */
	memset(many, 'x', sizeof(many));
	strcpy(many + sizeof(many) - 3, ",a");
	assert_true(text_match_any(many, "a"));
	assert_false(text_match_any(many, "x"));
}

static void read_is(const char *tmpl, const char *key, const char *text, const char *want)
{
	char name[] = "cam7";
	char *value = NULL;
	int r = text_template_read(tmpl, key, value_of, name, text, &value);

	assert_int_equal(r, want ? 0 : -ENOENT);
	if (want)
		assert_string_equal(value, want);
	free(value);
}

static void test_template_read(void **state)
{
	read_is("ftp://h/{path}", "path", "ftp://h/a/b.jpg", "a/b.jpg");
	read_is("{{{path}}}?x", "path", "{a}?x", "a");
	read_is("{path}", "path", "anything", "anything");
	read_is("{name}/{path}", "path", "cam7/x", "x");
	read_is("{name}/{path}", "path", "cam8/x", NULL);
	read_is("ftp://h/{path}", "path", "ftp://h/", NULL);
	read_is("ab{path}ba", "path", "aba", NULL);
	read_is("{path}-{path}", "path", "a-a", NULL);
	read_is("{path}{nix}", "path", "a", NULL);
	read_is("{name}", "path", "cam7", NULL);
	read_is("", "path", "", NULL);
	read_is("{path", "path", "a", NULL);
}

static void decoded_is(const char *text, const char *want)
{
	char *bytes = text_url_decode(text);

	assert_string_equal(bytes, want);
	free(bytes);
}

static void test_url_decode(void **state)
{
	decoded_is("", "");
	decoded_is("a%20b/%C3%a4%ff", "a b/\xc3\xa4\xff");
	decoded_is("100%, %zz %4 %", "100%, %zz %4 %");
	decoded_is("%00%2500", "%00%00"); /* no NUL to end it */
	decoded_is("%G0%0g", "%G0%0g");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_printable),
		cmocka_unit_test(test_nul_does_not_end),
		cmocka_unit_test(test_template),
		cmocka_unit_test(test_long_template),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_template_read),
		cmocka_unit_test(test_url_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
