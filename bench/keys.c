/* Key patterns and names. */
#include "keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t
common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

bool
keys_parse_pattern(const char *text, enum keys_pattern *out_pattern, double *out_exponent,
                   struct bench_error *error)
{
    *out_exponent = 0.99;
    if (strcmp(text, "uniform") == 0) {
        *out_pattern = KEYS_UNIFORM;
        return true;
    }
    if (strcmp(text, "seq") == 0) {
        *out_pattern = KEYS_SEQUENTIAL;
        return true;
    }
    if (strcmp(text, "zipf") == 0) {
        *out_pattern = KEYS_ZIPF;
        return true;
    }
    if (strncmp(text, "zipf:", 5) == 0) {
        char *end = NULL;
        double exponent = strtod(text + 5, &end);
        if (end != text + 5 && *end == '\0' && exponent >= 0.0 && exponent <= 20.0) {
            *out_pattern = KEYS_ZIPF;
            *out_exponent = exponent;
            return true;
        }
    }
    return bench_error_set(error,
                           "'%.60s' is no key pattern: use uniform, seq, zipf or zipf:EXPONENT "
                           "(0 to 20)",
                           text);
}

static unsigned
digits_of(uint64_t number)
{
    unsigned digits = 1;

    while ((number /= 10) != 0)
        digits++;
    return digits;
}

void
keys_cut_sizes(struct sizes *size, uint64_t count, size_t bytes_max)
{
    unsigned digits = digits_of(count - 1);

    if (size->kind != SIZES_LOGNORMAL)
        return;
    if (size->max > bytes_max)
        size->max = (uint32_t)bytes_max;
    if (size->min < digits && digits <= size->max)
        size->min = digits;
}

bool
keys_init(struct keys *keys, enum keys_pattern pattern, double exponent, uint64_t count,
          const struct sizes *size, struct bench_error *error)
{
    BENCH_CHECK(count >= 1 && count <= KEYS_COUNT_MAX);
    memset(keys, 0, sizeof(*keys));
    keys->pattern = pattern;
    keys->count = count;
    keys->size = *size;

    keys->digits = digits_of(count - 1);
    if (size->min < keys->digits)
        return bench_error_set(error, "%llu keys need names of at least %u bytes, not %u",
                               (unsigned long long)count, keys->digits, size->min);

    zipf_init(&keys->zipf, count, exponent);
    keys->stride = (uint64_t)((double)count * 0.6180339887498949);
    if (keys->stride == 0)
        keys->stride = 1;
    while (common_divisor(keys->stride, count) != 1)
        keys->stride++;
    return true;
}

size_t
keys_name(const struct keys *keys, uint64_t key, uint8_t *out)
{
    size_t len = keys->size.kind == SIZES_FIXED
                     ? keys->size.min
                     : sizes_at(&keys->size, rng_mix(key ^ UINT64_C(0x73697a6573697a65)));
    uint8_t *low = out;
    uint8_t *p = out + len;

    if (len >= keys->digits + 4) {
        memcpy(out, "key:", 4);
        low += 4;
    }
    do {
        *--p = (uint8_t)('0' + key % 10);
        key /= 10;
    } while (key != 0);
    BENCH_CHECK(p >= low);
    memset(low, '0', (size_t)(p - low));
    return len;
}
