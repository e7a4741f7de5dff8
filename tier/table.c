/* SPDX-License-Identifier: MIT */
/* Linear hashing; see table.h. */
#include "tier/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void table_init(struct table *t, uint32_t (*hash)(const struct tlink *link))
{
	memset(t, 0, sizeof(*t));
	t->hash = hash;
	t->n = t->half = TABLE_FIRST;
}

void table_fini(struct table *t)
{
	for (size_t k = 0; k < sizeof(t->segment) / sizeof(t->segment[0]); k++)
		free(t->segment[k]);
}

/* Segment k starts at bucket TABLE_FIRST << k. */
static unsigned segment_of(uint32_t i)
{
	return 31 - (unsigned)__builtin_clz(i / TABLE_FIRST);
}

static struct tlink **bucket(const struct table *t, uint32_t i)
{
	unsigned k;

	if (i < TABLE_FIRST)
		return (struct tlink **)&t->first[i];
	k = segment_of(i);
	return &t->segment[k][i - ((uint32_t)TABLE_FIRST << k)];
}

static uint32_t bucket_of(const struct table *t, uint32_t hash)
{
	uint32_t i = hash & (2 * t->half - 1);

	return i < t->n ? i : hash & (t->half - 1);
}

struct tlink *table_bucket(const struct table *t, uint32_t i)
{
	return *bucket(t, i);
}

struct tlink *table_chain(const struct table *t, uint32_t hash)
{
	return *bucket(t, bucket_of(t, hash));
}

/* Split the oldest unsplit bucket. */
static void grow(struct table *t)
{
	unsigned k = segment_of(t->n);
	struct tlink **from, **to;

	if (k >= sizeof(t->segment) / sizeof(t->segment[0]))
		return;
	if (!t->segment[k]) {
		t->segment[k] = calloc((size_t)TABLE_FIRST << k, sizeof(struct tlink *));
		if (!t->segment[k])
			return;
	}
	from = bucket(t, t->n - t->half);
	to = bucket(t, t->n);
	while (*from) {
		struct tlink *link = *from;

		if ((t->hash(link) & (2 * t->half - 1)) != t->n) {
			from = &link->next;
			continue;
		}
		*from = link->next;
		link->next = *to;
		*to = link;
	}
	if (++t->n == 2 * t->half)
		t->half = t->n;
	/* the next to be split: its first entry is far away, and asked for its hash soon */
	__builtin_prefetch(*bucket(t, t->n - t->half));
}

void table_add(struct table *t, struct tlink *link)
{
	struct tlink **b;

	if (t->count >= t->n)
		grow(t);
	b = bucket(t, bucket_of(t, t->hash(link)));
	link->next = *b;
	*b = link;
	t->count++;
}

void table_del(struct table *t, struct tlink *link)
{
	struct tlink **p = bucket(t, bucket_of(t, t->hash(link)));

	while (*p != link) {
		assert(*p);
		p = &(*p)->next;
	}
	*p = link->next;
	link->next = NULL;
	t->count--;
}

/* The finalizer of splitmix64. */
uint32_t table_hash_u64(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)(x ^ (x >> 31));
}

/* FNV-1a, finished by a mix: its low bits alone are weak. */
uint32_t table_hash_bytes(uint64_t seed, const char *bytes, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u ^ seed;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
	return table_hash_u64(h);
}
