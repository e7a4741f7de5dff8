/* SPDX-License-Identifier: MIT */
/* Which field to search, the search, and what its hits say. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/es_find.h"

static struct json_object *json(const char *text)
{
	struct json_object *o = NULL;

	assert_int_equal(es_json_parse(text, strlen(text), &o), 0);
	return o;
}

#define CAP(type) "\"" type "\":{\"type\":\"" type "\",\"searchable\":true}"

/* want: the fields to search, separated by spaces; NULL: r is want_r */
static void check_terms(const char *fields, const char *want, int want_r)
{
	AUTO_JSON struct json_object *o = NULL;
	struct es_terms t = { 0 };
	char text[1024], got[256] = "";
	int r;

	snprintf(text, sizeof(text), "{\"indices\":[\"i\"],\"fields\":{%s}}", fields);
	o = json(text);
	r = es_terms_read(o, "f", &t);
	assert_int_equal(r, want_r);
	for (size_t i = 0; i < t.n; i++) {
		strcat(got, i ? " " : "");
		strcat(got, t.field[i]);
	}
	if (want)
		assert_string_equal(got, want);
	es_terms_fini(&t);
}

static void test_terms(void **state)
{
	AUTO_JSON struct json_object *none = json("{}");
	struct es_terms t;

	check_terms("\"f\":{" CAP("keyword") "}", "f", 0);
	check_terms("\"f\":{" CAP("wildcard") "}", "f", 0);
	check_terms("\"f\":{" CAP("text") "},\"f.keyword\":{" CAP("keyword") "}", "f.keyword", 0);
	check_terms("\"f.aa\":{" CAP("keyword") "},\"f.keyword\":{" CAP("keyword") "},\"f\":{" CAP(
			    "text") "}",
		    "f.keyword", 0);
	check_terms(
		"\"f\":{" CAP("text") "},\"f.en\":{" CAP("text") "},\"f.raw\":{" CAP("keyword") "}",
		"f.raw", 0);
	/* one index has it as text with a subfield, another as keyword */
	check_terms("\"f\":{" CAP("text") "," CAP("keyword") "},\"f.keyword\":{" CAP("keyword") "}",
		    "f f.keyword", 0);
	check_terms("", NULL, -ENOENT);
	check_terms("\"g\":{" CAP("keyword") "}", NULL, -ENOENT);
	check_terms("\"f\":{" CAP("text") "}", NULL, -EPROTO);
	check_terms("\"f\":{" CAP("text") "},\"f.en\":{" CAP("text") "}", NULL, -EPROTO);
	check_terms("\"f\":{" CAP("object") "},\"f.x\":{" CAP("keyword") "}", NULL, -EPROTO);
	check_terms("\"f\":{\"keyword\":{\"type\":\"keyword\",\"searchable\":false}}", NULL,
		    -EPROTO);
	assert_int_equal(es_terms_read(none, "f", &t), -EPROTO);
}

static void test_build(void **state)
{
	char f[] = "f", k[] = "f.keyword", one[] = "a\"", two[] = "b";
	struct es_key keys[] = { { one, 0 }, { two, 1 } };
	struct es_terms t = { .n = 2, .field = { f, k } };
	AUTO_BUF struct es_buf b = { 0 };
	AUTO_JSON struct json_object *o = NULL;

	es_find_build(&b, &t, keys, 2, "f", "s");
	assert_false(b.failed);
	assert_string_equal(
		b.data,
		"{\"size\":10000,\"track_total_hits\":false,\"sort\":[\"_doc\"],"
		"\"_source\":[\"f\",\"s\"],\"query\":{\"bool\":{\"filter\":{\"bool\":{\"should\":["
		"{\"terms\":{\"f\":[\"a\\\"\",\"b\"]}},"
		"{\"terms\":{\"f.keyword\":[\"a\\\"\",\"b\"]}}]}}}}}");
	o = json(b.data);
}

static int collect(const struct es_hit *hit, void *arg)
{
	char *got = arg;

	sprintf(got + strlen(got), "%s/%s/%s/%s;", hit->at.index, hit->at.type ? hit->at.type : "-",
		hit->at.id, hit->at.routing ? hit->at.routing : "-");
	return hit->at.id[0] == '!' ? -E2BIG : 0;
}

static void check_hits(const char *text, int want_count, int want_r, const char *want)
{
	AUTO_JSON struct json_object *o = json(text);
	char got[256] = "";

	assert_int_equal(es_hits_count(o), want_count);
	assert_int_equal(es_hits_read(o, collect, got), want_r);
	assert_string_equal(got, want);
}

#define SHARDS "\"_shards\":{\"total\":2,\"failed\":0}"

static void test_hits(void **state)
{
	check_hits("{\"hits\":{\"hits\":[{\"_id\":\"1\",\"_index\":\"i\",\"_type\":\"_doc\"},"
		   "{\"_routing\":\"r\",\"_index\":\"j\",\"_id\":\"2\",\"_source\":{}}]}," SHARDS
		   "}",
		   2, 0, "i/_doc/1/-;j/-/2/r;");
	check_hits("{\"timed_out\":false," SHARDS "}", 0, 0, "");
	check_hits("{\"hits\":{\"hits\":[]}}", -EPROTO, 0, "");
	check_hits("{\"timed_out\":true," SHARDS "}", -EAGAIN, 0, "");
	check_hits("{\"_shards\":{\"failed\":1},\"hits\":{\"hits\":[]}}", -EAGAIN, 0, "");
	check_hits("{\"hits\":{\"hits\":[{\"_index\":\"i\"}]}," SHARDS "}", 1, -EPROTO, "");
	check_hits("{\"hits\":{\"hits\":[{\"_index\":\"i\",\"_id\":\"!\"},{}]}," SHARDS "}", 2,
		   -E2BIG, "i/-/!/-;");
}

static int join(const char *value, void *arg)
{
	strcat(strcat(arg, value), ",");
	return 0;
}

static void test_values(void **state)
{
	AUTO_JSON struct json_object *o =
		json("{\"a\":\"x\",\"b\":[\"y\",1,\"z\",null],\"c\":{\"d\":\"v\"},\"e.f\":\"w\","
		     "\"g\":{\"h.i\":\"u\"},\"n\":5}");
	char got[64] = "";

	assert_int_equal(es_values_read(o, "a", join, got), 0);
	assert_int_equal(es_values_read(o, "b", join, got), 0);
	assert_int_equal(es_values_read(o, "c.d", join, got), 0);
	assert_int_equal(es_values_read(o, "e.f", join, got), 0);
	assert_int_equal(es_values_read(o, "g.h.i", join, got), 0);
	assert_int_equal(es_values_read(o, "n", join, got), 0);
	assert_int_equal(es_values_read(o, "c", join, got), 0);
	assert_int_equal(es_values_read(NULL, "c", join, got), 0);
	assert_string_equal(got, "x,y,z,v,w,u,");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_terms),
		cmocka_unit_test(test_build),
		cmocka_unit_test(test_hits),
		cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
