/* Size distributions. Every one maps a 64-bit random number to a size without
 * state, so it may be driven by a generator or by the hash of a key. */
#include "sizes.h"

#include "rng.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool
sizes_parse_bytes(const char **text, uint64_t *out_bytes)
{
    const char *p = *text;
    uint64_t bytes = 0;

    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++) {
        bytes = bytes * 10 + (uint64_t)(*p - '0');
        if (bytes > SIZES_BYTES_MAX)
            return false;
    }
    if (*p == 'k' || *p == 'K') {
        bytes <<= 10;
        p++;
    } else if (*p == 'm' || *p == 'M') {
        bytes <<= 20;
        p++;
    }
    if (bytes > SIZES_BYTES_MAX)
        return false;
    *text = p;
    *out_bytes = bytes;
    return true;
}

static bool
parse_weighted(struct sizes *sizes, const char *text)
{
    uint64_t sum = 0;

    sizes->kind = SIZES_WEIGHTED;
    sizes->min = UINT32_MAX;
    sizes->max = 0;
    for (;;) {
        uint64_t bytes = 0;
        if (sizes->weight_count == SIZES_WEIGHTS_MAX || !sizes_parse_bytes(&text, &bytes) ||
            *text++ != ':' || !isdigit((unsigned char)*text))
            return false;
        char *end = NULL;
        unsigned long weight = strtoul(text, &end, 10);
        if (weight == 0 || weight > 1000000000)
            return false;
        text = end;
        sum += weight;
        sizes->weight_size[sizes->weight_count] = (uint32_t)bytes;
        sizes->weight_sum[sizes->weight_count] = sum;
        sizes->weight_count++;
        if (bytes < sizes->min)
            sizes->min = (uint32_t)bytes;
        if (bytes > sizes->max)
            sizes->max = (uint32_t)bytes;
        if (*text == '\0')
            return true;
        if (*text++ != ',')
            return false;
    }
}

static bool
parse_lognormal(struct sizes *sizes, const char *text)
{
    uint64_t median = 0;
    uint64_t max = UINT64_C(1) << 20;

    if (!sizes_parse_bytes(&text, &median) || median == 0 || *text++ != ':')
        return false;
    if (!isdigit((unsigned char)*text))
        return false;
    char *end = NULL;
    double sigma = strtod(text, &end);
    if (end == text || !(sigma >= 0.0 && sigma <= 10.0))
        return false;
    if (*end == ':') {
        text = end + 1;
        if (!sizes_parse_bytes(&text, &max) || *text != '\0')
            return false;
    } else if (*end != '\0') {
        return false;
    }
    if (max < median)
        return false;
    sizes->kind = SIZES_LOGNORMAL;
    sizes->median = (double)median;
    sizes->sigma = sigma;
    sizes->min = 1;
    sizes->max = (uint32_t)max;
    return true;
}

static bool
parse_range(struct sizes *sizes, const char *text)
{
    uint64_t min = 0;
    uint64_t max = 0;

    if (!sizes_parse_bytes(&text, &min))
        return false;
    max = min;
    if (*text == '-') {
        text++;
        if (!sizes_parse_bytes(&text, &max) || max < min)
            return false;
    }
    if (*text != '\0')
        return false;
    sizes->kind = min == max ? SIZES_FIXED : SIZES_UNIFORM;
    sizes->min = (uint32_t)min;
    sizes->max = (uint32_t)max;
    return true;
}

bool
sizes_parse(struct sizes *sizes, const char *text, struct bench_error *error)
{
    static const char prefix[] = "lognormal:";
    bool ok;

    memset(sizes, 0, sizeof(*sizes));
    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
        ok = parse_lognormal(sizes, text + sizeof(prefix) - 1);
    else if (strchr(text, ':') != NULL)
        ok = parse_weighted(sizes, text);
    else
        ok = parse_range(sizes, text);
    if (!ok)
        return bench_error_set(error,
                               "'%.60s' is no size: use N, MIN-MAX, SIZE:WEIGHT,... or "
                               "lognormal:MEDIAN:SIGMA[:MAX], at most 64m",
                               text);
    return true;
}

static uint32_t
lognormal_at(const struct sizes *sizes, uint64_t random)
{
    /* Box-Muller on the two halves; +1 keeps the logarithm finite. */
    double u = ((double)(random >> 32) + 1.0) * 0x1.0p-32;
    double v = (double)(random & UINT32_MAX) * 0x1.0p-32;
    double normal = sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
    double bytes = floor(sizes->median * exp(sizes->sigma * normal) + 0.5);
    if (bytes < (double)sizes->min)
        return sizes->min;
    if (bytes > (double)sizes->max)
        return sizes->max;
    return (uint32_t)bytes;
}

static uint32_t
weighted_at(const struct sizes *sizes, uint64_t random)
{
    uint64_t point = rng_scale(random, sizes->weight_sum[sizes->weight_count - 1]);
    unsigned i = 0;
    while (sizes->weight_sum[i] <= point)
        i++;
    return sizes->weight_size[i];
}

uint32_t
sizes_at(const struct sizes *sizes, uint64_t random)
{
    switch (sizes->kind) {
    case SIZES_FIXED:
        return sizes->min;
    case SIZES_UNIFORM:
        return sizes->min + (uint32_t)rng_scale(random, (uint64_t)sizes->max - sizes->min + 1);
    case SIZES_LOGNORMAL:
        return lognormal_at(sizes, random);
    case SIZES_WEIGHTED:
        return weighted_at(sizes, random);
    }
    return sizes->min;
}

static double
below(double normal)
{
    return erfc(-normal / sqrt(2.0)) / 2.0;
}

/* What lies outside counts as the ends do. The middle is the partial expectation of
 * the log-normal distribution (Johnson, Kotz, Balakrishnan: Continuous Univariate
 * Distributions 1, chapter 14). */
static double
lognormal_mean(const struct sizes *sizes)
{
    double sigma = sizes->sigma;
    double low = log((double)sizes->min / sizes->median);
    double high = log((double)sizes->max / sizes->median);

    if (sigma <= 0.0)
        return fmin(fmax(sizes->median, (double)sizes->min), (double)sizes->max);
    low /= sigma;
    high /= sigma;
    return (double)sizes->min * below(low) + (double)sizes->max * below(-high) +
           sizes->median * exp(sigma * sigma / 2.0) * (below(high - sigma) - below(low - sigma));
}

double
sizes_mean(const struct sizes *sizes)
{
    switch (sizes->kind) {
    case SIZES_FIXED:
    case SIZES_UNIFORM:
        break;
    case SIZES_LOGNORMAL:
        return lognormal_mean(sizes);
    case SIZES_WEIGHTED: {
        double total = 0.0;
        uint64_t before = 0;
        for (unsigned i = 0; i < sizes->weight_count; i++) {
            total += (double)sizes->weight_size[i] * (double)(sizes->weight_sum[i] - before);
            before = sizes->weight_sum[i];
        }
        return total / (double)before;
    }
    }
    return ((double)sizes->min + (double)sizes->max) / 2.0;
}
