/* SPDX-License-Identifier: MIT */
/* es=: what is taken apart, and what is refused without repeating a password. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/es_url.h"

static void check(const char *urls, size_t n, const char *last, const char *index, const char *name)
{
	struct es_url u = { 0 };
	char err[256] = "";

	assert_int_equal(es_url_parse(urls, &u, err, sizeof(err)), 0);
	assert_int_equal(u.n, n);
	assert_string_equal(u.node[n - 1], last);
	assert_string_equal(u.index, index);
	assert_string_equal(u.index_name, name);
	es_url_fini(&u);
}

static void test_good(void **state)
{
	check("http://h:9200/img", 1, "http://h:9200", "img", "img");
	check(" http://h:9200/img/ ", 1, "http://h:9200", "img", "img");
	check("https://h/es/v1/img-*", 1, "https://h/es/v1", "img-*", "img-*");
	check("http://[::1]:9200/img", 1, "http://[::1]:9200", "img", "img");
	check("http://a:1/i  http://b:2/p/i", 2, "http://b:2/p", "i", "i");
	check("http://a/%3Ci-%7Bnow%2Fd%7D%3E", 1, "http://a", "%3Ci-%7Bnow%2Fd%7D%3E",
	      "<i-{now/d}>");
}

static void refuse(const char *urls, const char *word)
{
	struct es_url u = { 0 };
	char err[256] = "";

	assert_int_equal(es_url_parse(urls, &u, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, word));
	assert_null(strstr(err, "secret"));
	assert_int_equal(u.n, 0);
}

static void test_bad(void **state)
{
	refuse("", "no URL");
	refuse("  ", "no URL");
	refuse("h:9200", "URL");
	refuse("http://h:9200", "index is missing");
	refuse("http://h:9200/", "index is missing");
	refuse("http://h:9200//", "index is missing");
	refuse("http://h:9200/_bulk", "_bulk");
	refuse("ftp://h/img", "http");
	refuse("http://u:secret@h/img", "es_password_file");
	refuse("http://u:secret@h:x/img", "URL");
	refuse("http://h/img?x=1", "nothing may follow");
	refuse("http://h/img#x", "nothing may follow");
	refuse("http://h/img http://h/other", "same index");
	refuse("http://1/i http://2/i http://3/i http://4/i http://5/i http://6/i http://7/i "
	       "http://8/i http://9/i http://10/i http://11/i http://12/i http://13/i http://14/i "
	       "http://15/i http://16/i http://17/i",
	       "at most 16");
}

static void test_pattern(void **state)
{
	static const struct {
		const char *url;
		bool is;
	} all[] = { { "http://h/i", false },
		    { "http://h/i*", true },
		    { "http://h/i,j", true },
		    { "http://h/i%2A", true } };

	for (size_t i = 0; i < 4; i++) {
		struct es_url u = { 0 };
		char err[256];

		assert_int_equal(es_url_parse(all[i].url, &u, err, sizeof(err)), 0);
		assert_int_equal(es_url_is_pattern(&u), all[i].is);
		es_url_fini(&u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_pattern),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
