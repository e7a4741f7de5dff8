/* SPDX-License-Identifier: MIT */
/* Reading passwords and API keys from files. */
#include "backend/es_auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/conf.h"
#include "lib/path.h"

#define SECRET_SIZE 4096
#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="

static void wipe(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

/* The first line of a file, without what ends it. */
static int read_secret(const char *option, const char *file, char **ret, char *err, size_t size)
{
	AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);
	char line[SECRET_SIZE];
	ssize_t n = fd < 0 ? -errno : path_pread_full(fd, line, sizeof(line) - 1, 0);
	char *s;

	if (n < 0) {
		snprintf(err, size, "%s: cannot read '%s': %s", option, file, strerror((int)-n));
		return -EINVAL;
	}
	line[n] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	s = line[0] ? strdup(line) : NULL;
	if (!line[0])
		snprintf(err, size, "%s: the first line of '%s' is empty", option, file);
	explicit_bzero(line, sizeof(line));
	if (!s)
		return err[0] ? -EINVAL : -ENOMEM;
	*ret = s;
	return 0;
}

static int load_key(struct es_auth *a, char *err, size_t size)
{
	char *key, *header;
	int n, r;

	r = read_secret("es_api_key_file", a->key_file, &key, err, size);
	if (r < 0)
		return r;
	if (key[strspn(key, BASE64)] != '\0') {
		wipe(&key);
		snprintf(err, size,
			 "es_api_key_file: '%s' does not hold the base64 form of an "
			 "API key ('encoded' in the server's answer)",
			 a->key_file);
		return -EINVAL;
	}
	n = asprintf(&header, "Authorization: ApiKey %s", key);
	wipe(&key);
	if (n < 0)
		return -ENOMEM;
	wipe(&a->key_header);
	a->key_header = header;
	return 0;
}

int es_auth_load(struct es_auth *a, char *err, size_t size)
{
	char *password;
	int r;

	err[0] = '\0';
	if (a->key_file)
		return load_key(a, err, size);
	if (!a->password_file)
		return 0;
	r = read_secret("es_password_file", a->password_file, &password, err, size);
	if (r < 0)
		return r;
	wipe(&a->password);
	a->password = password;
	return 0;
}

static int copy(char **dst, const char *src)
{
	if (!src[0])
		return 0;
	*dst = strdup(src);
	return *dst ? 0 : -ENOMEM;
}

int es_auth_init(struct es_auth *a, const struct conf *conf, char *err, size_t size)
{
	int r;

	*a = (struct es_auth){ 0 };
	if (conf->es_user[0] && conf->es_api_key_file[0]) {
		snprintf(err, size, "es_user and es_api_key_file exclude each other");
		return -EINVAL;
	}
	if (conf->es_password_file[0] && !conf->es_user[0]) {
		snprintf(err, size, "es_password_file needs es_user");
		return -EINVAL;
	}
	if (copy(&a->user, conf->es_user) < 0 ||
	    copy(&a->password_file, conf->es_password_file) < 0 ||
	    copy(&a->key_file, conf->es_api_key_file) < 0)
		r = -ENOMEM;
	else
		r = es_auth_load(a, err, size);
	if (r < 0)
		es_auth_fini(a);
	return r;
}

void es_auth_fini(struct es_auth *a)
{
	wipe(&a->password);
	wipe(&a->key_header);
	free(a->user);
	free(a->password_file);
	free(a->key_file);
	*a = (struct es_auth){ 0 };
}
