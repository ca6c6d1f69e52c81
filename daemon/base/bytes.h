/* Borrowed byte strings, and little-endian and varint coding of integers. */
#ifndef BRD_BASE_BYTES_H
#define BRD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes; data may be NULL where size is 0. */
struct brd_bytes {
    const uint8_t *data;
    size_t size;
};

/* A part of a string of bytes, by its place in it. */
struct brd_span {
    uint64_t begin;
    uint64_t size;
};

#define BRD_VARINT_MAX 10 /* bytes of the longest 64-bit varint */

static inline struct brd_bytes
brd_bytes(const void *data, size_t size)
{
    return (struct brd_bytes){ .data = data, .size = size };
}

static inline struct brd_bytes
brd_bytes_of(const char *text)
{
    return brd_bytes(text, strlen(text));
}

static inline bool
brd_bytes_equal(struct brd_bytes a, struct brd_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool
brd_bytes_are_zero(struct brd_bytes bytes)
{
    return bytes.size == 0 ||
           (bytes.data[0] == 0 && memcmp(bytes.data, bytes.data + 1, bytes.size - 1) == 0);
}

#define BRD_LE(bits)                                                 \
    static inline uint##bits##_t brd_load_le##bits(const void *p)    \
    {                                                                \
        uint##bits##_t v;                                            \
        memcpy(&v, p, sizeof(v));                                    \
        return v;                                                    \
    }                                                                \
    static inline void brd_store_le##bits(void *p, uint##bits##_t v) \
    {                                                                \
        memcpy(p, &v, sizeof(v));                                    \
    }
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Brindle's formats are little-endian and so are the machines it is built for"
#endif
BRD_LE(16)
BRD_LE(32)
BRD_LE(64)
#undef BRD_LE

/* Write value as a varint; out has room for BRD_VARINT_MAX bytes. Returns the
 * bytes written. */
static inline size_t
brd_varint_put(uint8_t *out, uint64_t value)
{
    size_t n = 0;

    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return n;
}

/* Read a varint from the front of *in and advance it. False, with *in as it
 * was, where the bytes end too early or the value has more than 64 bits. */
static inline bool
brd_varint_get(struct brd_bytes *in, uint64_t *out_value)
{
    uint64_t value = 0;
    size_t i;

    for (i = 0; i < in->size && i < BRD_VARINT_MAX; i++) {
        uint8_t byte = in->data[i];

        if (i == BRD_VARINT_MAX - 1 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            in->data += i + 1;
            in->size -= i + 1;
            *out_value = value;
            return true;
        }
    }
    return false;
}

/* Take size bytes from the front of *in. False, with *in as it was, where it
 * is shorter. */
static inline bool
brd_bytes_take(struct brd_bytes *in, uint64_t size, struct brd_bytes *out)
{
    if (size > in->size)
        return false;
    *out = brd_bytes(in->data, (size_t)size);
    in->data += size;
    in->size -= (size_t)size;
    return true;
}

#endif
