/* SPDX-License-Identifier: MIT */
/*
 * Hard links.
 *
 * Always true: a file with several names has no row and is local; archive passes
 * it by.  One that has a row loses it to the trash first, restored if need be.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/failpoint.h"
#include "tier/ns_int.h"

static int link_between(struct tier *t, struct node *from, const char *from_name, int dfd,
			const char *name, struct stat *ret)
{
	struct dirfd *a;
	int r = cache_dir(t->cache, from, &a);

	if (r < 0)
		return r;
	if (linkat(dirfd_fd(a), from_name, dfd, name, 0) < 0 ||
	    fstatat(dfd, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	cache_dir_put(t->cache, a);
	return r;
}

static int link_in_cache(struct tier *t, struct node *from, const char *from_name, struct node *to,
			 const char *name, bool wait, struct stat *ret)
{
	struct dirfd *b;
	int r = -ENOENT;

	for (int tries = 0; tries < 8 && r == -ENOENT; tries++) {
		/* The kept descriptor is of a directory that was released meanwhile. */
		if (tries > 0)
			cache_dir_forget(t->cache, to);
		r = ns_dir(t, to, wait, &b);
		if (r != 0)
			return r;
		r = link_between(t, from, from_name, dirfd_fd(b), name, ret);
		cache_dir_put(t->cache, b);
	}
	return r;
}

static int link_claimed(struct tier *t, struct node *node, struct node *parent, const char *name,
			bool wait, struct stat *ret)
{
	char from_name[ROW_NAME_MAX + 1];
	struct state_of look;
	struct node *from;
	struct stat st;
	int r;

	r = node_name(t->tree, node, &from, from_name);
	if (r < 0)
		return r;
	r = state_look(t, from, from_name, &look);
	if (r == 0 && look.state == STATE_NONE)
		r = -ENOENT;
	if (r == 0 && look.is_dir)
		r = -EPERM;
	if (r == 0 && look.has_row) {
		r = wait ? ns_make_local(t, node, from, from_name, &look, false, TRASH_LINKED)
			 : TIER_PARK;
		if (r == 0)
			r = failpoint(LINK_COMMIT);
	}
	if (r == 0)
		r = link_in_cache(t, from, from_name, parent, name, wait, &st);
	if (r == 0) {
		node_drop_name(t->tree, parent, name); /* whatever was remembered there */
		r = node_add_name(t->tree, node, st.st_ino, from, from_name);
		if (r == 0)
			r = node_add_name(t->tree, node, st.st_ino, parent, name);
		st.st_ino = node_ino(node);
		*ret = st;
		node_user_changed(parent);
		reaper_touch(t, parent);
	}
	node_put(t->tree, from);
	return r;
}

int ns_link(struct tier *t, struct node *node, struct node *parent, const char *name, bool wait,
	    struct stat *ret_st)
{
	int r;

	if (strlen(name) > ROW_NAME_MAX)
		return -ENAMETOOLONG;
	/* Not under the claim: who opens the file need not wait for it. */
	if (wait) {
		r = ns_materialize_dir(t, parent, true);
		if (r < 0)
			return r;
	}
	r = ns_claim(t, node, wait);
	if (r != 0)
		return r;
	r = link_claimed(t, node, parent, name, wait, ret_st);
	node_unclaim(t->tree, node);
	return r;
}
