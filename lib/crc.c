/* SPDX-License-Identifier: MIT */
/*
 * CRC32C by isa-l, and its algebra.
 *
 * A CRC is a polynomial over GF(2), taken modulo P.  Appending n bytes to A
 * multiplies A's by x^(8n), and initial value and final xor cancel out, so that
 *
 *	crc(A then B) = crc(A) * x^(8 * length of B) + crc(B)      (modulo P)
 *
 * which makes the CRC of a pack from the CRCs of its files without reading
 * them again.  Polynomials are reflected: bit 31 is x^0.
 */
#include "lib/crc.h"

#include <isa-l/crc.h>

#define POLY 0x82f63b78u
#define X_TO_0 0x80000000u
#define X_TO_8 0x00800000u

/* isa-l counts in int (2.30). */
#define CHUNK_BYTES (1 << 30)

uint32_t crc32c(uint32_t crc, const void *data, size_t len_bytes)
{
	/* isa-l's parameter lacks its const; it starts from, and returns, the register itself. */
	unsigned char *p = (unsigned char *)(uintptr_t)data;
	uint32_t reg = ~crc;

	while (len_bytes > 0) {
		size_t n = len_bytes < CHUNK_BYTES ? len_bytes : CHUNK_BYTES;

		reg = crc32_iscsi(p, (int)n, reg);
		p += n;
		len_bytes -= n;
	}
	return ~reg;
}

/* a * b modulo P */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = X_TO_0; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b & 1 ? b >> 1 ^ POLY : b >> 1; /* b *= x */
	}
	return product;
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b_bytes)
{
	uint32_t square = X_TO_8; /* x^(8 * 2^i) */

	for (uint64_t n = len_b_bytes; n > 0; n >>= 1) {
		if (n & 1)
			crc_a = multiply(crc_a, square);
		square = multiply(square, square);
	}
	return crc_a ^ crc_b;
}
