/* SPDX-License-Identifier: MIT */
/* Replies as the versions give them: who it is, and whether documents have a type. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/es_detect.h"

static struct json_object *json(const char *text)
{
	struct json_object *o = NULL;

	assert_int_equal(es_json_parse(text, strlen(text), &o), 0);
	return o;
}

static void check_root(const char *text, const char *name, unsigned major, bool opensearch)
{
	AUTO_JSON struct json_object *o = json(text);
	struct es_server s = { 0 };

	assert_int_equal(es_detect_root(o, &s), name ? 0 : -EPROTO);
	if (name)
		assert_string_equal(s.name, name);
	assert_int_equal(s.major, major);
	assert_int_equal(s.opensearch, opensearch);
}

#define TAGLINE "\"tagline\":\"You Know, for Search\""

static void test_root(void **state)
{
	check_root("{\"version\":{\"number\":\"7.17.28\"}," TAGLINE "}", "elasticsearch 7.17.28", 7,
		   false);
	check_root("{" TAGLINE ",\"version\":{\"number\":\"10.0.1\"}}", "elasticsearch 10.0.1", 10,
		   false);
	check_root("{\"version\":{\"number\":\"2.19.1\",\"distribution\":\"opensearch\"}}",
		   "opensearch 2.19.1", 2, true);
	/* compatibility.override_main_response_version */
	check_root("{\"version\":{\"number\":\"7.10.2\"},"
		   "\"tagline\":\"The OpenSearch Project: https://opensearch.org/\"}",
		   "opensearch 7.10.2", 7, true);
	check_root("{\"version\":{\"number\":\"7.1\"}}", NULL, 0, false);
	check_root("{" TAGLINE "}", NULL, 0, false);
	check_root("{\"version\":{\"number\":\"x\"}," TAGLINE "}", NULL, 0, false);
	check_root("{\"version\":\"7.1\"," TAGLINE "}", NULL, 0, false);
	check_root("{\"ok\":true}", NULL, 0, false);
}

static void check_nodes(const char *text, bool elastic, const char *name)
{
	AUTO_JSON struct json_object *o = json(text);
	struct es_server s = { 0 };

	assert_int_equal(es_detect_nodes(o, elastic, &s), name ? 0 : -EPROTO);
	if (name)
		assert_string_equal(s.name, name);
}

static void test_nodes(void **state)
{
	check_nodes("{\"nodes\":{\"x\":{\"version\":\"8.17.4\"}}}", true, "elasticsearch 8.17.4");
	check_nodes("{\"nodes\":{\"x\":{\"version\":\"6.8.23\"}}}", false, "elasticsearch 6.8.23");
	check_nodes("{\"nodes\":{\"x\":{\"version\":\"2.19.1\"}}}", false, "opensearch 2.19.1");
	check_nodes("{\"nodes\":{}}", true, NULL);
	check_nodes("{\"error\":{}}", true, NULL);
}

static void check_mapping(const char *text, int want, const char *type)
{
	AUTO_JSON struct json_object *o = json(text);
	char *got = NULL;

	assert_int_equal(es_detect_mapping(o, &got), want);
	if (type)
		assert_string_equal(got, type);
	else
		assert_null(got);
	free(got);
}

static void test_mapping(void **state)
{
	check_mapping("{\"i\":{\"mappings\":{\"photo\":{\"properties\":{\"f\":{}}}}}}", 0, "photo");
	check_mapping("{\"i\":{\"mappings\":{\"_default_\":{\"properties\":{}},"
		      "\"img\":{\"dynamic\":\"strict\",\"properties\":{}}}}}",
		      0, "img");
	check_mapping("{\"i\":{\"mappings\":{\"properties\":{\"properties\":{}}}}}", 0, NULL);
	check_mapping("{\"i\":{\"mappings\":{\"dynamic\":\"strict\"}}}", 0, NULL);
	check_mapping("{\"i\":{\"mappings\":{}}}", 0, NULL);
	check_mapping("{}", -ENOENT, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_mapping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
