/* SPDX-License-Identifier: MIT */
/*
 * CRC32C (Castagnoli), as iSCSI, ext4, RADOS and Kafka use it: reflected, initial
 * value and final xor 0xffffffff.  crc32c("123456789") is 0xe3069283 (RFC 3720,
 * B.4).  Computed by isa-l, which cannot combine: that is ours.  RADOS's own checksum op
 * starts from a caller's seed and has no final xor: backend/store_rados_send.c converts.
 */
#ifndef EBB_LIB_CRC_H
#define EBB_LIB_CRC_H

#include <stddef.h>
#include <stdint.h>

/* crc of nothing is 0; crc32c(crc32c(0, a), b) is the crc of a then b. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len_bytes);

/* The crc of A then B, from crc(A), crc(B) and the length of B in bytes. */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b_bytes);

#endif
