/* A bucket: one cache line of ten places.
 *
 *   byte 0                                          54        64
 *   +----------------------------------------------+-----------+
 *   | 10 pointers of 43 bits, one flag (byte 53)   | 10 tags   |
 *   +----------------------------------------------+-----------+
 *
 * A tag is 8 bits of the hash, never 0; 0 means that the place and all behind
 * it are free. All ten tags are compared at once. When ten places do not do,
 * the flag is set, the last place links another bucket and its tag is 0.
 *
 * Ten places instead of the seven of a plain array of 16-bit tag and 48-bit
 * pointer make 11 bytes for each key instead of 14, at the same length of
 * chains. The price: addresses of 47 bits, aligned to 16 (x86-64's user space). */
#ifndef BRD_STORE_BUCKET_H
#define BRD_STORE_BUCKET_H

#include "base/check.h"
#include "store/entry.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BUCKET_PLACES 10
#define BUCKET_TAGS   54 /* first byte of the tags */
#define BUCKET_FLAG   53 /* byte of the flag */
#define BUCKET_CHAIN  0x80

struct bucket {
    uint8_t bytes[BRD_CACHE_LINE];
} __attribute__((aligned(BRD_CACHE_LINE)));

static_assert(BUCKET_PLACES * POINTER_BITS <= BUCKET_FLAG * 8 + 7, "the flag's bit is free");
static_assert(BUCKET_TAGS + BUCKET_PLACES == BRD_CACHE_LINE, "one line");

/* Which places have the tag, one bit each. */
static inline unsigned
bucket_match(const struct bucket *bucket, uint8_t tag)
{
#ifdef __SSE2__
    const void *last = bucket->bytes + 48;
    __m128i same = _mm_cmpeq_epi8(_mm_load_si128(last), _mm_set1_epi8((char)tag));

    return (unsigned)_mm_movemask_epi8(same) >> (BUCKET_TAGS - 48);
#else
    unsigned mask = 0;
    unsigned i;

    for (i = 0; i < BUCKET_PLACES; i++)
        mask |= (unsigned)(bucket->bytes[BUCKET_TAGS + i] == tag) << i;
    return mask;
#endif
}

static inline bool
bucket_is_chained(const struct bucket *bucket)
{
    return (bucket->bytes[BUCKET_FLAG] & BUCKET_CHAIN) != 0;
}

static inline void *
bucket_pointer(const struct bucket *bucket, unsigned place)
{
    unsigned bit = place * POINTER_BITS;

    return pointer_unpack(brd_load_le64(bucket->bytes + bit / 8) >> bit % 8);
}

static inline struct brd_entry *
bucket_entry(const struct bucket *bucket, unsigned place)
{
    return bucket_pointer(bucket, place);
}

static inline struct bucket *
bucket_next(const struct bucket *bucket)
{
    return bucket_is_chained(bucket) ? bucket_pointer(bucket, BUCKET_PLACES - 1) : NULL;
}

static inline void
bucket_set_pointer(struct bucket *bucket, unsigned place, const void *pointer)
{
    unsigned bit = place * POINTER_BITS;
    uint8_t *at = bucket->bytes + bit / 8;
    uint64_t word = brd_load_le64(at) & ~(POINTER_MASK << bit % 8);

    brd_store_le64(at, word | pointer_pack(pointer) << bit % 8);
}

static inline uint8_t
bucket_tag(const struct bucket *bucket, unsigned place)
{
    return bucket->bytes[BUCKET_TAGS + place];
}

static inline void
bucket_set(struct bucket *bucket, unsigned place, uint8_t tag, const struct brd_entry *entry)
{
    bucket_set_pointer(bucket, place, entry);
    bucket->bytes[BUCKET_TAGS + place] = tag;
}

/* Make the last place a link. */
static inline void
bucket_link(struct bucket *bucket, const struct bucket *next)
{
    bucket_set_pointer(bucket, BUCKET_PLACES - 1, next);
    bucket->bytes[BUCKET_TAGS + BUCKET_PLACES - 1] = 0;
    bucket->bytes[BUCKET_FLAG] |= BUCKET_CHAIN;
}

/* Make the last place an ordinary free one again. */
static inline void
bucket_unlink(struct bucket *bucket)
{
    bucket->bytes[BUCKET_FLAG] &= (uint8_t)~BUCKET_CHAIN;
}

/* Entries in this bucket, without the ones chained to it. */
static inline unsigned
bucket_count(const struct bucket *bucket)
{
    return (unsigned)__builtin_ctz(bucket_match(bucket, 0) | 1u << BUCKET_PLACES);
}

#endif
