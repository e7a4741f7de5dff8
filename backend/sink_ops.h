/* SPDX-License-Identifier: MIT */
/*
 * For implementers of sinks: backend/sink_<impl>.c has one static const table.
 * sink.c keeps health and back-off and logs; an implementation does the telling.
 */
#ifndef EBB_BACKEND_SINK_OPS_H
#define EBB_BACKEND_SINK_OPS_H

#include "backend/sink.h"
#include "lib/lock.h"

struct sink_ops {
	const char *name;
	/*
	 * As sink_send; every item comes as SINK_RETRY with an empty error.  Also -ENOMEM,
	 * and 1: no item needed sending, nothing was asked of the other system.
	 */
	int (*send)(struct sink *s, struct sink_item *items, size_t n);
	/* As sink_query; -ENOMEM and 1 as send. */
	int (*query)(struct sink *s, const char *const *paths, int *found, size_t n);
	/* As sink_scan; -ENOMEM too. */
	int (*scan)(struct sink *s, const struct sink_scan *scan);
	const char *(*error)(struct sink *s);  /* the last failure, a sentence; borrowed */
	const char *(*notice)(struct sink *s); /* what an operator should see though calls succeed;
						  "" when there is none; borrowed */
	void (*stop)(struct sink *s);	       /* any thread */
	void (*free)(struct sink *s);
};

/* The first member of every implementation's struct. */
struct sink {
	const struct sink_ops *ops;
	struct lock lock;
	/* protected by lock */
	struct sink_health health;
	unsigned fails; /* in a row */
};

void sink_init(struct sink *s, const struct sink_ops *ops);
void sink_fini(struct sink *s);
/* Connected: what answers. */
void sink_set_server(struct sink *s, const char *server);

#endif
