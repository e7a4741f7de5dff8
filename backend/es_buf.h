/* SPDX-License-Identifier: MIT */
/*
 * A growing buffer of bytes: request bodies are written into it, replies read.
 *
 * Running out of memory is remembered (failed), so that a writer checks once, at
 * the end.  While not failed, data is NUL-terminated behind len_bytes, or NULL
 * when nothing was ever added.
 */
#ifndef EBB_BACKEND_ES_BUF_H
#define EBB_BACKEND_ES_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct es_buf {
	char *data; /* owned */
	size_t len_bytes;
	size_t room_bytes;
	bool failed;
};

/* An es_buf of zeros is an empty one. */
void es_buf_add(struct es_buf *b, const void *data, size_t len_bytes);
void es_buf_add_str(struct es_buf *b, const char *s);
void es_buf_clear(struct es_buf *b); /* keeps the memory, forgets a failure */
void es_buf_fini(struct es_buf *b);

/* Appends len_bytes of data, compressed by gzip.  0, -ENOMEM. */
int es_buf_add_gzip(struct es_buf *b, const void *data, size_t len_bytes);

#define AUTO_BUF __attribute__((cleanup(es_buf_fini)))

#endif
