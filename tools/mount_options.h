/* SPDX-License-Identifier: MIT */
/*
 * The command line of ebbfs, as people, fstab, mount(8) and systemd write it.
 *
 *	ebbfs MOUNTPOINT -o OPTIONS [-f]
 *	ebbfs --config FILE [MOUNTPOINT] [-o OPTIONS] [-f]
 *	ebbfs SOURCE MOUNTPOINT -o OPTIONS	what mount(8) runs; a SOURCE that begins with a
 *						slash is a configuration file, others are only names
 */
#ifndef EBB_TOOLS_MOUNT_OPTIONS_H
#define EBB_TOOLS_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/conf.h"

struct options {
	struct conf conf; /* mountpoint is in it */
	char *kernel;	  /* owned: options of the mount itself, "ro,noatime" */
	bool foreground;
};

enum options_ask { OPTIONS_MOUNT, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_MDOC };

/*
 * 0 and *ask; -EINVAL, -ENOENT, -ERANGE, -errno of the configuration file: err says
 * what is wrong.  options_fini in any case.
 */
int options_parse(int argc, char **argv, struct options *ret, enum options_ask *ask, char *err,
		  size_t size);
void options_fini(struct options *o);

#endif
