/* SPDX-License-Identifier: MIT */
/* A growing buffer, and gzip into it. */
#include "backend/es_buf.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define ROOM_FIRST 4096
#define GZIP_LEVEL 3	    /* twice as fast as 6, a tenth larger on lines that repeat */
#define GZIP_BITS (15 + 16) /* a window of 32 KiB, gzip's header and trailer */

/* Room for more bytes and the NUL behind them. */
static bool reserve(struct es_buf *b, size_t more)
{
	size_t room = b->room_bytes ? b->room_bytes : ROOM_FIRST;
	char *data;

	if (b->failed)
		return false;
	if (more >= SIZE_MAX / 4 - b->len_bytes) {
		b->failed = true;
		return false;
	}
	while (room < b->len_bytes + more + 1)
		room *= 2;
	if (room == b->room_bytes)
		return true;
	data = realloc(b->data, room);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->room_bytes = room;
	return true;
}

void es_buf_add(struct es_buf *b, const void *data, size_t len_bytes)
{
	if (!reserve(b, len_bytes))
		return;
	if (len_bytes > 0)
		memcpy(b->data + b->len_bytes, data, len_bytes);
	b->len_bytes += len_bytes;
	b->data[b->len_bytes] = '\0';
}

void es_buf_add_str(struct es_buf *b, const char *s)
{
	es_buf_add(b, s, strlen(s));
}

void es_buf_clear(struct es_buf *b)
{
	b->len_bytes = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

void es_buf_fini(struct es_buf *b)
{
	free(b->data);
	*b = (struct es_buf){ 0 };
}

int es_buf_add_gzip(struct es_buf *b, const void *data, size_t len_bytes)
{
	z_stream z = { 0 };
	uLong bound;
	int r;

	if (len_bytes > UINT_MAX / 2)
		return -ENOMEM;
	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	bound = deflateBound(&z, len_bytes);
	if (!reserve(b, bound)) {
		deflateEnd(&z);
		return -ENOMEM;
	}
	z.next_in = (Bytef *)(uintptr_t)data;
	z.avail_in = (uInt)len_bytes;
	z.next_out = (Bytef *)b->data + b->len_bytes;
	z.avail_out = (uInt)bound;
	r = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	if (r != Z_STREAM_END)
		return -ENOMEM;
	b->len_bytes += z.total_out;
	b->data[b->len_bytes] = '\0';
	return 0;
}
