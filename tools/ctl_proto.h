/* SPDX-License-Identifier: MIT */
/*
 * What ebbctl and the daemon say to each other.
 *
 * A Unix stream socket, CTL_RUN_DIR/<major>-<minor>.sock (of the mount's device), 0600,
 * root's or the daemon's user's.  One request a connection, one JSON object a line each
 * way.  Names are bytes: they travel as they are in JSON strings, valid UTF-8 or not.  Paths
 * are relative to the mount.  A client that closes cancels what it asked for.
 *
 *	-> {"op": "archive", "paths": ["cam/a.jpg", ...], "all": true, "dry_run": true}
 *	<- {"progress": {"done": 12, "failed": 0, "skipped": 0, "bytes": 34567, "total": 100}}
 *		of lost: done and total alone
 *	<- {"failed": {"path": "cam/b.jpg", "reason": "..."}}
 *	<- {"item": {...}}
 *	<- {"done": 0, "error": "a sentence", "result": {...}}		the last line
 *
 *	op	asks for			item			result
 *	status					-			see tools/ctl_status.c
 *	state	paths				one a path, "i"		-
 *	locate	name				state, path, url	-
 *	archive release restore drain verify	-			done failed skipped bytes
 *		paths or all, dry_run
 *	lost	url (none: all)			name url index	documents lost
 *						id		unknown
 *	trash-list				one a row		-
 *	trash-restore	id or path		-			path
 *	trash-empty	ids (none: all), dry_run	one a row (dry_run)	dropped left bytes
 *
 * done is ebbctl's exit status: 0 or 1.  In a failed line of state, "i" says which path.
 */
#ifndef EBB_TOOLS_CTL_PROTO_H
#define EBB_TOOLS_CTL_PROTO_H

#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#define CTL_RUN_DIR "/run/ebbfs"
#define CTL_LINE_MAX (16u << 20) /* of a request: a full command line, every byte escaped */

static inline void ctl_socket_path(dev_t dev, char *ret, size_t size)
{
	snprintf(ret, size, CTL_RUN_DIR "/%u-%u.sock", major(dev), minor(dev));
}

#endif
