/* SPDX-License-Identifier: MIT */
/* One request to the daemon, and its reply line by line. */
#ifndef EBB_TOOLS_CTL_CALL_H
#define EBB_TOOLS_CTL_CALL_H

#include <json-c/json.h>

#include "tools/ctl_find.h"

/* Called for each line of its kind, with its object; each may be NULL. */
struct ctl_events {
	void (*item)(void *arg, struct json_object *o);
	void (*failed)(void *arg, struct json_object *o);
	void (*progress)(void *arg, struct json_object *o);
	void *arg;
};

/*
 * Takes request.  The exit status; CTL_NO_DAEMON after a message.  *ret_result (may be
 * NULL) is owned by the caller or NULL; *ret_error too: the daemon's sentence.
 */
int ctl_call(const struct ctl_mount *m, struct json_object *request, const struct ctl_events *on,
	     struct json_object **ret_result, char **ret_error);

struct json_object *ctl_request(const char *op);

/*
 * The paths of a command line, relative to the tree: those that are not in the mount are
 * told and left out.  *ret_from (may be NULL; heap) says for each which argument it was.
 * CTL_OK or CTL_FAILED: some were left out.
 */
int ctl_add_paths(struct json_object *request, const struct ctl_mount *m, char *const *v, int n,
		  int **ret_from);

/* Does anybody listen for the mount's commands? */
bool ctl_daemon_runs(const struct ctl_mount *m);

#endif
