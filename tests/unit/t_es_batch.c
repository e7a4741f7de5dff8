/* SPDX-License-Identifier: MIT */
/* Keys from names; items of one document share one verdict; verdicts merge. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/es_batch.h"
#include "lib/path.h"

static void check_key(const char *tmpl, const char *path, const char *want)
{
	char *key = NULL;

	assert_int_equal(es_key_fill(tmpl, path, path_name(path), &key), 0);
	assert_string_equal(key, want);
	free(key);
}

static void test_keys(void **state)
{
	char *key;

	check_key("{name}", "cam/2017/a_1.jpg", "a_1.jpg");
	check_key("{stem}", "cam/2017/a_1.jpg", "a_1");
	check_key("{stem}", "cam/a.b.json", "a.b");
	check_key("{stem}", "cam/.hidden", ".hidden");
	check_key("{camera}-{stem}", "cam/2017/a.jpg", "cam-a");
	check_key("{camera}", "a.jpg", "");
	check_key("ftp://h/{path}", "cam/a.jpg", "ftp://h/cam/a.jpg");
	check_key("{name}", "cam/\xff\xc3\xa4", "%FF\xc3\xa4");
	assert_int_equal(es_key_fill("{nix}", "a", "a", &key), -EINVAL);
	assert_int_equal(es_key_fill("{name", "a", "a", &key), -EINVAL);
}

static const struct es_rule by_id = { .match = "*.jpg", .key = "{name}", .key_max_bytes = 20 };

static struct sink_item item(const char *path)
{
	return (struct sink_item){
		.path = path, .name = path_name(path), .url = "u", .verdict = SINK_RETRY
	};
}

static void test_who_has_a_key(void **state)
{
	struct sink_item items[] = { item("c/b.jpg"), item("c/a.json"), item("c/a.jpg"),
				     item("c/much-too-long-for-this.jpg") };
	AUTO_BATCH struct es_batch b = { 0 };

	assert_int_equal(es_batch_init(&b, &by_id, items, 4), 0);
	assert_int_equal(b.n_keys, 2);
	assert_string_equal(b.keys[0].value, "a.jpg");
	assert_int_equal(b.keys[0].item, 2);
	assert_string_equal(b.keys[1].value, "b.jpg");
	assert_int_equal(items[0].verdict, SINK_RETRY);
	assert_int_equal(items[1].verdict, SINK_DONE);
	assert_int_equal(items[3].verdict, SINK_POISONED);
	assert_string_not_equal(items[3].error, "");
	assert_ptr_equal(es_batch_find(&b, "b.jpg"), &b.keys[1]);
	assert_null(es_batch_find(&b, "a.json"));
}

static void test_nothing(void **state)
{
	AUTO_BATCH struct es_batch b = { 0 };

	assert_int_equal(es_batch_init(&b, &by_id, NULL, 0), 0);
	assert_null(es_batch_find(&b, "x"));
	es_batch_finish(&b);
}

static void test_last_one_leads(void **state)
{
	struct sink_item items[] = { item("c/a.jpg"), item("d/b.jpg"), item("d/a.jpg"),
				     item("e/a.jpg") };
	AUTO_BATCH struct es_batch b = { 0 };

	assert_int_equal(es_batch_init(&b, &by_id, items, 4), 0);
	assert_int_equal(b.n_keys, 2);
	assert_int_equal(b.keys[0].item, 3);
	es_batch_merge(&b, 3, SINK_MISSING, "not there");
	es_batch_merge(&b, 1, SINK_DONE, "");
	es_batch_finish(&b);
	assert_int_equal(items[0].verdict, SINK_MISSING);
	assert_int_equal(items[2].verdict, SINK_MISSING);
	assert_string_equal(items[0].error, "not there");
	assert_int_equal(items[1].verdict, SINK_DONE);
}

static void test_urls_are_keys(void **state)
{
	const struct es_rule rule = {
		.match = "*", .key = "ftp://h/{path}", .by_url = true, .key_max_bytes = 1000
	};
	struct sink_item items[] = { item("c/a.jpg"), item("c/b.jpg"), item("c/c.jpg"),
				     item("c/a.jpg") };
	AUTO_BATCH struct es_batch b = { 0 };

	items[0].url = "http://gw/a0"; /* led by items[3]: not looked for */
	items[1].url = "http://gw/b";
	items[1].old_url = "http://gw/b-old";
	items[2].url = NULL;
	items[3].url = "ftp://h/c/a.jpg"; /* the same as its key */
	assert_int_equal(es_batch_init(&b, &rule, items, 4), 0);
	assert_int_equal(b.n_keys, 5);
	assert_int_equal(es_batch_find(&b, "http://gw/b-old")->item, 1);
	assert_int_equal(es_batch_find(&b, "http://gw/b")->item, 1);
	assert_int_equal(es_batch_find(&b, "ftp://h/c/b.jpg")->item, 1);
	assert_int_equal(es_batch_find(&b, "ftp://h/c/a.jpg")->item, 3);
	assert_null(es_batch_find(&b, "http://gw/a0"));
}

static void test_merge(void **state)
{
	static const enum sink_verdict up[] = { SINK_MISSING, SINK_DONE, SINK_POISONED,
						SINK_RETRY };
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < 4; j++) {
			struct sink_item one = item("a.jpg");
			AUTO_BATCH struct es_batch b = { 0 };

			assert_int_equal(es_batch_init(&b, &by_id, &one, 1), 0);
			es_batch_merge(&b, 0, up[i], "first");
			assert_int_equal(one.verdict, up[i]);
			es_batch_merge(&b, 0, up[j], "second");
			assert_int_equal(one.verdict, up[i > j ? i : j]);
			assert_string_equal(one.error, one.verdict == SINK_DONE ? ""
						       : i >= j			? "first"
										: "second");
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),	      cmocka_unit_test(test_who_has_a_key),
		cmocka_unit_test(test_nothing),	      cmocka_unit_test(test_last_one_leads),
		cmocka_unit_test(test_urls_are_keys), cmocka_unit_test(test_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
