/* SPDX-License-Identifier: MIT */
/* The vectors of RFC 3720; any way of cutting gives the same CRC; combining equals computing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "lib/crc.h"

#define N_SPLITS 2000
#define BUF_BYTES 100000

static void test_vectors(void **state)
{
	/* An iSCSI SCSI Read (10) command PDU: RFC 3720, B.4. */
	static const uint8_t pdu[48] = {
		0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
		0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	uint8_t b[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, pdu, sizeof(pdu)), 0xd9963a56);
	memset(b, 0, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x8a9136aa);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x62a8ab43);
	for (uint8_t i = 0; i < sizeof(b); i++)
		b[i] = i;
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x46dd794e);
	for (uint8_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x113fdb5c);
}

static void test_nothing(void **state)
{
	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32c(0, NULL, 0), 0);
	assert_int_equal(crc32c(0xe3069283, "", 0), 0xe3069283);
	assert_int_equal(crc32c_combine(0, 0xe3069283, 9), 0xe3069283);
	assert_int_equal(crc32c_combine(0xe3069283, 0, 0), 0xe3069283);
}

static void test_random_splits(void **state)
{
	uint8_t *buf = malloc(BUF_BYTES);

	assert_non_null(buf);
	srandom(1);
	for (size_t i = 0; i < BUF_BYTES; i++)
		buf[i] = (uint8_t)random();
	for (int i = 0; i < N_SPLITS; i++) {
		size_t len = (size_t)random() % (i < N_SPLITS / 2 ? 100 : BUF_BYTES);
		size_t start = (size_t)random() % (BUF_BYTES - len);
		size_t cut = len ? (size_t)random() % (len + 1) : 0;
		const uint8_t *p = buf + start;
		uint32_t whole = crc32c(0, p, len);
		uint32_t a = crc32c(0, p, cut);
		uint32_t b = crc32c(0, p + cut, len - cut);

		assert_int_equal(crc32c(a, p + cut, len - cut), whole);
		assert_int_equal(crc32c_combine(a, b, len - cut), whole);
	}
	free(buf);
}

/* Of n zeros, by doubling. */
static uint32_t crc_of_zeros(uint64_t n)
{
	uint32_t crc = 0, power = crc32c(0, "", 1);

	for (uint64_t len = 1; len <= n; len *= 2) {
		if (n & len)
			crc = crc32c_combine(crc, power, len);
		power = crc32c_combine(power, power, len);
	}
	return crc;
}

/* More than isa-l takes at once.  Untouched pages of a private mapping cost no memory. */
static void test_more_than_a_chunk(void **state)
{
	size_t len = ((size_t)1 << 30) + 12345;
	void *zeros =
		mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(zeros != MAP_FAILED);
	assert_int_equal(crc_of_zeros(32), 0x8a9136aa);
	assert_int_equal(crc32c(0, zeros, len), crc_of_zeros(len));
	munmap(zeros, len);
}

static void test_combine_of_large_lengths(void **state)
{
	uint64_t n = 5000000000, m = 70000000001;
	uint32_t a = 0x12345678, b = 0x9abcdef0, c = 0x0fedcba9;

	assert_int_equal(crc32c_combine(crc32c_combine(a, b, n), c, m),
			 crc32c_combine(a, crc32c_combine(b, c, m), n + m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_random_splits),
		cmocka_unit_test(test_more_than_a_chunk),
		cmocka_unit_test(test_combine_of_large_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
