/* SPDX-License-Identifier: MIT */
/* Strict reading, clipping foreign text, and the buffer with its gzip. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "backend/es_json.h"

static int parse(const char *text)
{
	AUTO_JSON struct json_object *o = NULL;
	int r = es_json_parse(text, strlen(text), &o);

	assert_int_equal(o != NULL, r == 0);
	return r;
}

static void test_parse(void **state)
{
	assert_int_equal(parse("{}"), 0);
	assert_int_equal(parse(" {\"a\":[1,2]}\r\n "), 0);
	assert_int_equal(parse(""), -EAGAIN);
	assert_int_equal(parse(" \n"), -EAGAIN);
	assert_int_equal(parse("{\"a\":[1,2]"), -EAGAIN);
	assert_int_equal(parse("{\"a"), -EAGAIN);
	assert_int_equal(parse("{} x"), -EPROTO);
	assert_int_equal(parse("[]"), -EPROTO);
	assert_int_equal(parse("null"), -EPROTO);
	assert_int_equal(parse("<html>"), -EPROTO);
}

static void test_clip(void **state)
{
	char s[8];

	es_json_clip(s, sizeof(s), "a\nb\tc");
	assert_string_equal(s, "a b c");
	es_json_clip(s, sizeof(s), "123456789");
	assert_string_equal(s, "1234567");
	es_json_clip(s, sizeof(s), "123456\xc3\xa4");
	assert_string_equal(s, "123456");
	es_json_clip(s, sizeof(s), "\xff\xfe");
	assert_string_equal(s, "%FF%FE");
}

static void check_error(const char *text, const char *want)
{
	AUTO_JSON struct json_object *o = NULL;
	char s[64];

	assert_int_equal(es_json_parse(text, strlen(text), &o), 0);
	assert_string_equal(es_json_error(o, s, sizeof(s)), want);
}

static void test_error(void **state)
{
	check_error("{\"error\":{\"reason\":\"r\",\"type\":\"t\"},\"status\":400}", "t: r");
	check_error("{\"error\":{\"type\":\"t\",\"reason\":null}}", "t");
	check_error("{\"error\":\"plain\"}", "plain");
	check_error("{\"error\":7}", "");
	check_error("{}", "");
}

static void test_gzip(void **state)
{
	AUTO_BUF struct es_buf plain = { 0 }, packed = { 0 };
	static unsigned char back[300000];
	z_stream z = { 0 };

	for (int i = 0; plain.len_bytes < 200000; i++)
		es_buf_add_str(&plain, i % 3 ? "{\"update\":{}}\n" : "{\"doc\":\"x\"}\n");
	assert_false(plain.failed);
	es_buf_add_str(&packed, "head");
	assert_int_equal(es_buf_add_gzip(&packed, plain.data, plain.len_bytes), 0);
	assert_true(packed.len_bytes < plain.len_bytes / 8);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_in = (unsigned char *)packed.data + 4;
	z.avail_in = (unsigned)packed.len_bytes - 4;
	z.next_out = back;
	z.avail_out = sizeof(back);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, plain.len_bytes);
	assert_memory_equal(back, plain.data, plain.len_bytes);
	inflateEnd(&z);
}

static void test_buffer(void **state)
{
	AUTO_BUF struct es_buf b = { 0 };

	es_buf_add(&b, "", 0);
	assert_string_equal(b.data, "");
	es_buf_add(&b, "x", SIZE_MAX / 2);
	assert_true(b.failed);
	es_buf_add_str(&b, "more");
	assert_int_equal(b.len_bytes, 0);
	es_buf_clear(&b);
	es_buf_add_str(&b, "ok");
	assert_string_equal(b.data, "ok");
	assert_false(b.failed);
}

/* null is there, and absent is not; a.b may be either spelling. */
static void test_fields(void **state)
{
	static const char text[] = "{\"a\":null,\"b\":{\"c\":1,\"n\":null},\"x.y\":{\"z\":null}}";
	struct json_object *o, *v;

	assert_int_equal(es_json_parse(text, sizeof(text) - 1, &o), 0);
	assert_true(es_json_has_field(o, "a", &v));
	assert_null(v);
	assert_true(es_json_has_field(o, "b.c", &v));
	assert_int_equal(json_object_get_int(v), 1);
	assert_true(es_json_has_field(o, "b.n", &v));
	assert_null(v);
	assert_true(es_json_has_field(o, "x.y.z", &v));
	assert_null(v);
	assert_false(es_json_has_field(o, "b.d", &v));
	assert_false(es_json_has_field(o, "a.c", &v));
	assert_false(es_json_has_field(NULL, "a", &v));
	assert_non_null(es_json_field(o, "b.c"));
	assert_null(es_json_field(o, "a"));
	json_object_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),  cmocka_unit_test(test_clip),
		cmocka_unit_test(test_error),  cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_buffer), cmocka_unit_test(test_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
