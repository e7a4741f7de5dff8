/* SPDX-License-Identifier: MIT */
/* Bulk requests as the servers want them; replies believed only as far as they fit. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/es_bulk.h"

static const struct sink_item archived = {
	.kind = SINK_ARCHIVED, .path = "c/a.jpg", .name = "a.jpg", .url = "http://gw/a \"b\""
};

static void check_doc(const char *url, const char *synced, const struct sink_item *item,
		      const char *want)
{
	char *doc = NULL;

	assert_int_equal(es_bulk_doc(url, synced, item, &doc), 0);
	assert_string_equal(doc, want);
	free(doc);
}

static void test_doc(void **state)
{
	struct sink_item local = archived, removed = { .kind = SINK_REMOVED };

	local.kind = SINK_LOCAL;
	local.url = "file:///x\xff";
	check_doc("ftpurl", "synced", &archived,
		  "{\"ftpurl\":\"http://gw/a \\\"b\\\"\",\"synced\":true}");
	check_doc("ftpurl", "synced", &local, "{\"ftpurl\":\"file:///x%FF\",\"synced\":false}");
	check_doc("ftpurl", "synced", &removed, "{\"ftpurl\":null,\"synced\":false}");
	check_doc("", "synced", &archived, "{\"synced\":true}");
	check_doc("ftpurl", "", &removed, "{\"ftpurl\":null}");
	check_doc("file.url.now", "file.synced", &removed,
		  "{\"file\":{\"url\":{\"now\":null},\"synced\":false}}");
}

static void add(struct es_bulk *b, size_t item, const char *id)
{
	struct es_target at = { .index = "img", .id = id };

	assert_int_equal(es_bulk_add(b, item, &at, "{\"u\":1}"), 0);
}

static void test_lines(void **state)
{
	AUTO_BULK struct es_bulk b = { 0 };
	struct es_target typed = { "i-1", "photo", "b\"\n", "r" };

	add(&b, 7, "a.jpg");
	assert_int_equal(es_bulk_add(&b, 8, &typed, "{}"), 0);
	assert_string_equal(
		b.body.data,
		"{\"update\":{\"_index\":\"img\",\"_id\":\"a.jpg\","
		"\"retry_on_conflict\":3}}\n{\"doc\":{\"u\":1}}\n"
		"{\"update\":{\"_index\":\"i-1\",\"_type\":\"photo\",\"_id\":\"b\\\"\\n\","
		"\"routing\":\"r\",\"retry_on_conflict\":3}}\n{\"doc\":{}}\n");
	assert_int_equal(b.n, 2);
	assert_int_equal(b.ops[0].item, 7);
	assert_int_equal(b.ops[1].off_bytes, b.ops[0].len_bytes);
	assert_int_equal(b.ops[1].off_bytes + b.ops[1].len_bytes, b.body.len_bytes);
	assert_int_equal(b.ops[0].verdict, SINK_RETRY);
}

static void test_slices(void **state)
{
	AUTO_BULK struct es_bulk b = { 0 };
	char id[16];
	size_t len;

	for (size_t i = 0; i < 200; i++) {
		snprintf(id, sizeof(id), "%03zu", i);
		add(&b, i, id);
	}
	len = b.ops[0].len_bytes;
	assert_int_equal(es_bulk_slice(&b, 0, 1000, SIZE_MAX), 200);
	assert_int_equal(es_bulk_slice(&b, 0, 50, SIZE_MAX), 50);
	assert_int_equal(es_bulk_slice(&b, 190, 50, SIZE_MAX), 10);
	assert_int_equal(es_bulk_slice(&b, 0, 50, 3 * len), 3);
	assert_int_equal(es_bulk_slice(&b, 0, 50, 3 * len - 1), 2);
	assert_int_equal(es_bulk_slice(&b, 0, 50, 1), 1);
	assert_int_equal(es_bulk_slice(&b, 199, 50, 1), 1);
}

/* A bulk of two, "a" and "b", answered by text. */
static struct es_bulk *read_reply(const char *text, int want, char why[static 256])
{
	static struct es_bulk b;
	struct es_buf buf = { 0 };

	es_bulk_fini(&b);
	add(&b, 0, "a");
	add(&b, 1, "b");
	es_buf_add_str(&buf, text);
	why[0] = '\0';
	assert_int_equal(es_bulk_read(b.ops, b.n, &buf, why, 256), want);
	es_buf_fini(&buf);
	return &b;
}

#define A_DONE "{\"update\":{\"_id\":\"a\",\"status\":200,\"result\":\"updated\"}}"

static void test_reply(void **state)
{
	char why[256];
	struct es_bulk *b;

	/* no order of members, unknown ones, no _id (filter_path dropped it) */
	b = read_reply("{\"items\":[{\"update\":{\"x\":[{}],\"status\":200,\"_id\":\"a\"}},"
		       "{\"update\":{\"status\":201}}],\"errors\":false,\"took\":3} \n",
		       0, why);
	assert_int_equal(b->ops[0].verdict, SINK_DONE);
	assert_int_equal(b->ops[1].verdict, SINK_DONE);
	b = read_reply(
		"{\"errors\":true,\"items\":[{\"update\":{\"_id\":\"a\",\"status\":404,"
		"\"error\":{\"type\":\"document_missing_exception\",\"reason\":\"gone\\n!\"}}},"
		"{\"update\":{\"_id\":\"b\",\"status\":429}}]}",
		0, why);
	assert_int_equal(b->ops[0].verdict, SINK_MISSING);
	assert_string_equal(b->ops[0].error, "document_missing_exception: gone !");
	assert_int_equal(b->ops[1].verdict, SINK_RETRY);
	assert_string_equal(b->ops[1].error, "status 429");
	es_bulk_fini(b);
}

static void check_retry(const char *text, int want)
{
	char why[256];
	struct es_bulk *b = read_reply(text, want, why);

	assert_int_equal(b->ops[0].verdict, SINK_RETRY);
	assert_int_equal(b->ops[1].verdict, SINK_RETRY);
	assert_string_not_equal(why, "");
	es_bulk_fini(b);
}

static void test_not_a_reply(void **state)
{
	static const char whole[] = "{\"took\":1,\"items\":[" A_DONE "," A_DONE "]}";
	char cut[sizeof(whole)];

	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		memcpy(cut, whole, n);
		cut[n] = '\0';
		check_retry(cut, -EAGAIN);
	}
	check_retry(whole, -EPROTO); /* twice "a" */
	check_retry("<html>", -EPROTO);
	check_retry("[]", -EPROTO);
	check_retry("{}", -EPROTO);
	check_retry("{\"items\":{}}", -EPROTO);
	check_retry("{\"items\":[" A_DONE "]}", -EPROTO);
	check_retry("{\"items\":[" A_DONE ",{\"update\":{\"status\":200}}," A_DONE "]}", -EPROTO);
	check_retry("{\"items\":[" A_DONE ",null]}", -EPROTO);
	check_retry("{\"items\":[" A_DONE ",{\"index\":{\"status\":200}}]}", -EPROTO);
	check_retry("{\"items\":[" A_DONE ",{\"update\":{\"status\":\"200\"}}]}", -EPROTO);
	check_retry("{\"items\":[" A_DONE ",{\"update\":{\"_id\":\"b\",\"status\":200,"
		    "\"error\":{\"type\":\"x\"}}}]}",
		    -EPROTO);
	check_retry("{\"items\":[]} {}", -EPROTO);
}

static void test_meanings(void **state)
{
	static const struct {
		int status;
		const char *type, *reason;
		enum sink_verdict verdict;
		int r;
	} all[] = {
		{ 409, "version_conflict_engine_exception", "", SINK_RETRY, 0 },
		{ 404, "index_not_found_exception", "no such index [x]", SINK_MISSING, 0 },
		{ 404, "something_else", "", SINK_RETRY, 0 },
		{ 429, "es_rejected_execution_exception", "", SINK_RETRY, 0 },
		{ 503, "unavailable_shards_exception", "", SINK_RETRY, 0 },
		{ 403, "cluster_block_exception", "index read-only", SINK_RETRY, 0 },
		{ 403, "security_exception", "no", SINK_RETRY, -EACCES },
		{ 400, "mapper_parsing_exception", "", SINK_POISONED, 0 },
		{ 400, "document_parsing_exception", "", SINK_POISONED, 0 },
		{ 400, "strict_dynamic_mapping_exception", "", SINK_POISONED, 0 },
		{ 400, "illegal_argument_exception", "immense term", SINK_POISONED, 0 },
		{ 400, "illegal_argument_exception", "no write index is defined", SINK_RETRY,
		  -EPROTO },
		{ 400, "routing_missing_exception", "", SINK_RETRY, -EPROTO },
		{ 400, "index_closed_exception", "", SINK_RETRY, 0 },
		{ 413, "x", "", SINK_POISONED, 0 },
		{ 302, "x", "", SINK_RETRY, -EPROTO },
		{ 0, "x", "", SINK_RETRY, -EPROTO },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char text[512], why[256];
		struct es_bulk *b;

		/* The good one behind it keeps its verdict. */
		snprintf(
			text, sizeof(text),
			"{\"items\":[{\"update\":{\"_id\":\"a\",\"status\":%d,\"error\":{\"type\":"
			"\"%s\",\"reason\":\"%s\"}}},{\"update\":{\"_id\":\"b\",\"status\":200}}]}",
			all[i].status, all[i].type, all[i].reason);
		b = read_reply(text, all[i].r, why);
		assert_int_equal(b->ops[0].verdict, all[i].verdict);
		assert_string_not_equal(b->ops[0].error, "");
		assert_int_equal(b->ops[1].verdict, SINK_DONE);
		es_bulk_fini(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doc),	    cmocka_unit_test(test_lines),
		cmocka_unit_test(test_slices),	    cmocka_unit_test(test_reply),
		cmocka_unit_test(test_not_a_reply), cmocka_unit_test(test_meanings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
