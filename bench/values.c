/* Values. The noise is the same in every run, so that one run can check what
 * another has written. */
#include "values.h"

#include "rng.h"

#include <string.h>

#define HEAD 16

void
values_init(struct values *values)
{
    struct rng rng;
    rng_init(&rng, 7420);
    for (size_t i = 0; i < VALUES_NOISE_BYTES; i += 8) {
        uint64_t word = rng_next(&rng);
        memcpy(values->noise + i, &word, 8);
    }
}

static void
make_head(uint8_t head[HEAD], size_t len, uint64_t key_tag, uint64_t nonce)
{
    uint64_t tag;
    if (len < HEAD)
        nonce = 0;
    tag = rng_mix(key_tag ^ ((uint64_t)len * UINT64_C(0x9e3779b97f4a7c15)) ^ rng_mix(nonce));
    if (len < HEAD)
        nonce = rng_mix(tag);
    memcpy(head, &tag, 8);
    memcpy(head + 8, &nonce, 8);
}

void
values_fill(const struct values *values, uint8_t *out, size_t len, uint64_t key_tag, uint64_t nonce)
{
    uint8_t head[HEAD];
    make_head(head, len, key_tag, nonce);
    memcpy(out, head, len < HEAD ? len : HEAD);

    size_t at = HEAD;
    size_t from = (size_t)(nonce % VALUES_NOISE_BYTES);
    while (at < len) {
        size_t part = VALUES_NOISE_BYTES - from;
        if (part > len - at)
            part = len - at;
        memcpy(out + at, values->noise + from, part);
        at += part;
        from = 0;
    }
}

bool
values_check(const struct values *values, struct span value, uint64_t key_tag)
{
    uint8_t head[HEAD];
    uint64_t nonce = 0;

    if (value.len >= HEAD)
        memcpy(&nonce, value.data + 8, 8);
    make_head(head, value.len, key_tag, nonce);
    if (value.len == 0)
        return true;
    if (memcmp(value.data, head, value.len < HEAD ? value.len : HEAD) != 0)
        return false;

    size_t at = HEAD;
    size_t from = (size_t)(nonce % VALUES_NOISE_BYTES);
    while (at < value.len) {
        size_t part = VALUES_NOISE_BYTES - from;
        if (part > value.len - at)
            part = value.len - at;
        if (memcmp(value.data + at, values->noise + from, part) != 0)
            return false;
        at += part;
        from = 0;
    }
    return true;
}
