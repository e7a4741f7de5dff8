/* SPDX-License-Identifier: MIT */
/* Scope-bound release of memory and descriptors (HOUSE.md rule 12). */
#ifndef EBB_LIB_CLEANUP_H
#define EBB_LIB_CLEANUP_H

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))
#define AUTO_CLOSEDIR __attribute__((cleanup(cleanup_closedir)))

/* Hand ownership out of a scope that cleans up: `*ret = TAKE_PTR(p)`. */
#define TAKE_PTR(p)                   \
	({                            \
		__auto_type t_ = (p); \
		(p) = NULL;           \
		t_;                   \
	})
#define TAKE_FD(fd)            \
	({                     \
		int t_ = (fd); \
		(fd) = -1;     \
		t_;            \
	})

#endif
