/* SPDX-License-Identifier: MIT */
/*
 * Who we are to Elasticsearch: a user with a password, or an API key; both from
 * files, so that neither a command line nor a configuration file holds a secret.
 * The files are read at start and again after a refusal: a new password needs
 * no restart.
 */
#ifndef EBB_BACKEND_ES_AUTH_H
#define EBB_BACKEND_ES_AUTH_H

#include <stddef.h>

struct conf;

struct es_auth {
	char *user;	     /* owned; NULL: no basic authentication */
	char *password_file; /* owned; NULL: the password is empty */
	char *key_file;	     /* owned; NULL: no API key */
	char *password;	     /* owned, wiped */
	char *key_header;    /* owned, wiped: "Authorization: ApiKey ..." or NULL */
};

/* 0; -EINVAL with a sentence; -ENOMEM. */
int es_auth_init(struct es_auth *a, const struct conf *conf, char *err, size_t size);
/* Read the files again; what was read before stays when that fails.  As es_auth_init. */
int es_auth_load(struct es_auth *a, char *err, size_t size);
void es_auth_fini(struct es_auth *a);

#endif
