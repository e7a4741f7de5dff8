/* SPDX-License-Identifier: MIT */
/*
 * Inside the daemon's end of ebbctl: mount_ctl.c (socket, connections),
 * mount_ctl_reply.c (lines), mount_ctl_OP.c (what is done).
 */
#ifndef EBB_TOOLS_MOUNT_CTL_INT_H
#define EBB_TOOLS_MOUNT_CTL_INT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/fs.h"
#include "lib/pool.h"

struct ctl_server;

/* One request, its thread's alone; the server only shuts fd down to end it. */
struct ctl_conn {
	struct job job;		    /* first */
	struct ctl_server *server;  /* borrowed */
	struct ctl_conn *next;	    /* protected by the server's lock */
	struct tier *t;		    /* borrowed */
	struct fs *fs;		    /* borrowed */
	const char *mountpoint;	    /* borrowed */
	int fd;			    /* owned */
	bool broken;		    /* a line could not be sent: the client is gone */
	char error[1024];	    /* for the last line; "" none */
	struct json_object *result; /* owned; for the last line; may be NULL */
};

/* ---- lines ----------------------------------------------------------------------- */

/* Takes o.  What cannot be sent is dropped: the client is gone. */
void ctl_line(struct ctl_conn *c, const char *what, struct json_object *o);
void ctl_failed(struct ctl_conn *c, const char *path, const char *reason);
void ctl_done(struct ctl_conn *c, int code);
/* The client closed, or the daemon is ending: stop working. */
bool ctl_gone(struct ctl_conn *c);
/* Sets the sentence of the last line; returns 1, the exit status. */
int ctl_error(struct ctl_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* -errno with a sentence, in users' words. */
const char *ctl_reason(int r);

/* Shorthands for building objects; without memory the member is null. */
void ctl_add_str(struct json_object *o, const char *key, const char *value); /* NULL: null */
void ctl_add_int(struct json_object *o, const char *key, int64_t value);
void ctl_add_bool(struct json_object *o, const char *key, bool value);
void ctl_add_double(struct json_object *o, const char *key, double value);

/* ---- the request ------------------------------------------------------------------ */

struct ctl_paths {
	const char **v; /* owned; the strings are the request's */
	size_t n;
	bool all;
	bool dry_run;
};
/* -EINVAL: neither paths nor all, or not strings. */
int ctl_paths_read(struct json_object *req, struct ctl_paths *ret);
void ctl_paths_fini(struct ctl_paths *p);
const char *ctl_arg_str(struct json_object *req, const char *key); /* NULL: absent */
int64_t ctl_arg_int(struct json_object *req, const char *key);	   /* 0: absent */
bool ctl_arg_bool(struct json_object *req, const char *key);

struct state_of;
/* What a path is now.  0 also when it is nothing (STATE_NONE); -errno. */
int ctl_look(struct tier *t, const char *path, struct state_of *ret);

/* ---- what is done: the exit status -------------------------------------------------- */

int ctl_op_status(struct ctl_conn *c, struct json_object *req);
int ctl_op_state(struct ctl_conn *c, struct json_object *req);
int ctl_op_locate(struct ctl_conn *c, struct json_object *req);
int ctl_op_archive(struct ctl_conn *c, struct json_object *req);
int ctl_op_release(struct ctl_conn *c, struct json_object *req);
int ctl_op_restore(struct ctl_conn *c, struct json_object *req);
int ctl_op_drain(struct ctl_conn *c, struct json_object *req);
int ctl_op_verify(struct ctl_conn *c, struct json_object *req);
int ctl_op_lost(struct ctl_conn *c, struct json_object *req);
int ctl_op_trash_list(struct ctl_conn *c, struct json_object *req);
int ctl_op_trash_restore(struct ctl_conn *c, struct json_object *req);
int ctl_op_trash_empty(struct ctl_conn *c, struct json_object *req);

#endif
