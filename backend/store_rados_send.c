/* SPDX-License-Identifier: MIT */
/*
 * What an operation is to librados, and what the answer means.
 *
 *	put     create exclusive, write_full, setxattr: one write operation
 *	verify  stat, getxattrs, checksum: one read operation, answered by the OSD
 *	stat    the same without the checksum
 *	get     read
 *	drop    assert_exists, cmpxattr, remove: one write operation
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/store_rados.h"

#define READ_MAX (1U << 30) /* results are int */

#define XATTR_ATTEMPT "ebb.attempt"
#define XATTR_PATH "ebb.path"
#define XATTR_CRC32C "ebb.crc32c"
#define XATTR_SIZE "ebb.size"

static int send_put(struct rop *o, rados_ioctx_t io)
{
	rados_write_op_t w = rados_create_write_op();
	char crc[16], size[24];
	int r;

	snprintf(crc, sizeof(crc), "%08x", o->req.attrs.crc32c);
	snprintf(size, sizeof(size), "%zu", o->req.len_bytes);
	rados_write_op_create(w, LIBRADOS_CREATE_EXCLUSIVE, NULL);
	rados_write_op_set_alloc_hint2(w, o->req.len_bytes, o->req.len_bytes,
				       LIBRADOS_ALLOC_HINT_FLAG_IMMUTABLE |
					       LIBRADOS_ALLOC_HINT_FLAG_SEQUENTIAL_WRITE);
	rados_write_op_write_full(w, o->req.data, o->req.len_bytes);
	rados_write_op_setxattr(w, XATTR_ATTEMPT, o->req.attrs.attempt,
				strlen(o->req.attrs.attempt));
	rados_write_op_setxattr(w, XATTR_CRC32C, crc, strlen(crc));
	rados_write_op_setxattr(w, XATTR_SIZE, size, strlen(size));
	if (o->req.attrs.path)
		rados_write_op_setxattr(w, XATTR_PATH, o->req.attrs.path,
					strlen(o->req.attrs.path));
	/* FULL_TRY: a full pool answers, instead of letting us wait in silence. */
	r = rados_aio_write_op_operate(w, io, o->done, o->req.key, NULL,
				       o->forced ? LIBRADOS_OPERATION_FULL_FORCE
						 : LIBRADOS_OPERATION_FULL_TRY);
	rados_release_write_op(w);
	return r;
}

static int send_drop(struct rop *o, rados_ioctx_t io)
{
	rados_write_op_t w = rados_create_write_op();
	int r;

	rados_write_op_assert_exists(w);
	if (o->req.attempt)
		rados_write_op_cmpxattr(w, XATTR_ATTEMPT, LIBRADOS_CMPXATTR_OP_EQ, o->req.attempt,
					strlen(o->req.attempt));
	rados_write_op_remove(w);
	r = rados_aio_write_op_operate(w, io, o->done, o->req.key, NULL,
				       LIBRADOS_OPERATION_FULL_TRY);
	rados_release_write_op(w);
	return r;
}

/* stat, and verify: the checksum is of the bytes the OSD reads from its disk now. */
static int send_look(struct rop *o, rados_ioctx_t io)
{
	static const char seed[4] = "\xff\xff\xff\xff";
	rados_read_op_t q = rados_create_read_op();
	int r;

	rados_read_op_stat(q, &o->found_size, NULL, NULL);
	rados_read_op_getxattrs(q, &o->xattrs, &o->xattrs_r);
	if (o->req.op == STORE_VERIFY)
		rados_read_op_checksum(q, LIBRADOS_CHECKSUM_TYPE_CRC32C, seed, sizeof(seed), 0, 0,
				       0, (char *)o->checksum, sizeof(o->checksum), &o->checksum_r);
	r = rados_aio_read_op_operate(q, io, o->done, o->req.key, 0);
	rados_release_read_op(q);
	return r;
}

/* To RADOS a read of no bytes is a read of all: ask whether it is there instead. */
static int send_get(struct rop *o, rados_ioctx_t io)
{
	size_t n = o->req.len_bytes < READ_MAX ? o->req.len_bytes : READ_MAX;

	if (n == 0)
		return rados_aio_stat(io, o->req.key, o->done, &o->found_size, NULL);
	return rados_aio_read(io, o->req.key, o->done, o->req.buf, n, o->req.off);
}

int rop_send(struct rop *o, rados_ioctx_t io)
{
	switch (o->req.op) {
	case STORE_PUT:
		return send_put(o, io);
	case STORE_DROP:
		return send_drop(o, io);
	case STORE_GET:
		return send_get(o, io);
	default:
		return send_look(o, io);
	}
}

/* What was written beside the object, into ret. */
static void read_attrs(struct rop *o, struct store_stat *ret)
{
	const char *name, *value;
	size_t len;

	ret->attempt[0] = '\0';
	ret->has_written = false;
	ret->written_crc32c = 0;
	while (rados_getxattrs_next(o->xattrs, &name, &value, &len) == 0 && name) {
		if (strcmp(name, XATTR_CRC32C) == 0)
			ret->has_written = store_parse_crc32c(value, len, &ret->written_crc32c);
		if (strcmp(name, XATTR_ATTEMPT) != 0 || len >= STORE_ATTEMPT_MAX)
			continue;
		memcpy(ret->attempt, value, len);
		ret->attempt[len] = '\0';
	}
}

static int fill_stat(struct rop *o)
{
	int r = o->xattrs_r < 0 ? o->xattrs_r : o->checksum_r;

	if (r < 0)
		return r;
	o->req.stat->size = o->found_size;
	o->req.stat->crc32c = 0;
	/* No chunk means an empty object.  Ceph leaves out the final inversion. */
	if (o->req.op == STORE_VERIFY && o->checksum[0] != 0)
		o->req.stat->crc32c = ~le32toh(o->checksum[1]);
	read_attrs(o, o->req.stat);
	return 0;
}

int64_t rop_result(struct rop *o, int r, bool expired)
{
	/* Who insists is not answered where the OSD is at its failsafe ratio. */
	if (r == -ECANCELED && expired)
		return o->forced ? -ENOSPC : -ETIMEDOUT;
	if (r == -ECANCELED && o->req.op == STORE_DROP)
		return -ESTALE;
	if (r >= 0 && (o->req.op == STORE_VERIFY || o->req.op == STORE_STAT))
		r = fill_stat(o);
	if (o->req.op == STORE_GET && r >= 0)
		return o->req.len_bytes ? r : 0;
	return r < 0 ? rstore_error(o->s, o->req.op, o->req.key, r) : 0;
}
