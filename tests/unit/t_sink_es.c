/* SPDX-License-Identifier: MIT */
/*
 * Making the sink from options: what is refused, in which words; and a sink that
 * was stopped.  What it does against servers is in tests/test_sink_es.py.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/sink.h"
#include "lib/conf.h"

static char secret[] = "/tmp/ebb-t-sink-es-XXXXXX"; /* a file with one line */

static void write_secret(const char *text)
{
	FILE *f = fopen(secret, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int make(const char *opts, struct sink **ret, char *err, size_t size)
{
	struct conf c;
	int r;

	assert_int_equal(conf_init(&c), 0);
	if (conf_set_many(&c, opts, err, size) < 0)
		fail_msg("%s", err);
	r = sink_es_new(&c, ret, err, size);
	conf_fini(&c);
	return r;
}

static void accept(const char *opts)
{
	struct sink *s = NULL;
	char err[256] = "";

	assert_int_equal(make(opts, &s, err, sizeof(err)), 0);
	assert_non_null(s);
	assert_string_equal(sink_name(s), "elasticsearch");
	sink_free(s);
}

static void refuse(const char *opts, const char *word)
{
	struct sink *s = NULL;
	char err[256] = "";

	assert_int_equal(make(opts, &s, err, sizeof(err)), -EINVAL);
	assert_null(s);
	assert_non_null(strstr(err, word));
	assert_null(strstr(err, "s3cret"));
}

/* opts end in the option that names the file. */
static void refuse_file(const char *opts, const char *word)
{
	char text[512];

	snprintf(text, sizeof(text), "%s%s", opts, secret);
	refuse(text, word);
}

static void test_none(void **state)
{
	struct sink *s = (struct sink *)state;
	char err[256] = "";

	assert_int_equal(make("es=", &s, err, sizeof(err)), 0);
	assert_null(s);
	sink_free(NULL);
}

#define ES "es=http://127.0.0.1:1/img"

static void test_options(void **state)
{
	accept(ES);
	accept(ES ",es_id={path}/{stem}");
	accept(ES ",es_id=,es_find=filename");
	accept(ES "-*,es_id=,es_find=ftpurl=ftp://h/{path}");
	accept(ES ",es_url_field=");
	accept(ES ",es_synced_field=");
	refuse("es=h:9200", "URL");
	refuse(ES "-*", "es_find");
	refuse(ES ",es_id=,es_find=", "es_find");
	refuse(ES ",es_id=,es_find==x", "FIELD");
	refuse(ES ",es_url_field=,es_synced_field=", "nothing to tell");
	refuse(ES ",es_ca=/nonexistent/ca.crt", "es_ca");
}

static void test_secrets(void **state)
{
	write_secret("s3cret\n");
	accept(ES ",es_user=u");
	refuse(ES ",es_user=u,es_password_file=/nonexistent/p", "es_password_file");
	refuse_file(ES ",es_password_file=", "es_user");
	refuse_file(ES ",es_user=u,es_api_key_file=", "exclude");
	write_secret("\nsecond line");
	refuse_file(ES ",es_user=u,es_password_file=", "empty");
	write_secret("id:not-base64");
	refuse_file(ES ",es_api_key_file=", "base64");
}

static void test_stopped(void **state)
{
	struct sink_item item = { .path = "c/a.jpg", .name = "a.jpg", .url = "u" };
	const char *path = "c/a.jpg";
	struct sink *s = NULL;
	char err[256];
	int found = 7;

	assert_int_equal(make(ES, &s, err, sizeof(err)), 0);
	assert_int_equal(sink_send(s, &item, 1), -EAGAIN); /* nothing listens */
	assert_int_equal(item.verdict, SINK_RETRY);
	assert_non_null(strstr(item.error, "127.0.0.1"));
	sink_stop(s);
	assert_int_equal(sink_send(s, &item, 1), -ECANCELED);
	assert_int_equal(item.verdict, SINK_RETRY);
	assert_int_equal(sink_query(s, &path, &found, 1), -ECANCELED);
	assert_int_equal(found, 7);
	sink_free(s);
}

static void test_no_document(void **state)
{
	struct sink_item item = { .path = "c/a.txt", .name = "a.txt", .url = "u" };
	const char *path = "c/a.txt";
	struct sink *s = NULL;
	char err[256];
	int found = 7;

	assert_int_equal(make(ES ",es_match=*.jpg\\,*.json", &s, err, sizeof(err)), 0);
	assert_int_equal(sink_send(s, &item, 1), 0); /* though nothing listens */
	assert_int_equal(item.verdict, SINK_DONE);
	assert_int_equal(sink_query(s, &path, &found, 1), 0);
	assert_int_equal(found, 1);
	sink_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),	    cmocka_unit_test(test_options),
		cmocka_unit_test(test_secrets),	    cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_no_document),
	};
	int fd = mkstemp(secret), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(secret);
	return failed;
}
