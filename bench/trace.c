/* A trace in memory: 16 bytes for each request, every distinct key once.
 *
 * Keys are numbered in order of appearance by an open-addressing table whose
 * hash has a random seed per run, so that no file can be made to collide. The
 * table is dropped once the file is read. */
#include "trace.h"

#include "rng.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define EMPTY UINT32_MAX

struct loader {
    struct trace *trace;
    uint32_t *slots;     /* key numbers; EMPTY */
    uint32_t *slot_hash; /* beside them */
    uint32_t slot_mask;
    uint64_t seed[2];
    size_t requests_capacity;
    size_t keys_capacity;
    size_t bytes_capacity;
};

static uint32_t
hash_key(const struct loader *loader, struct span key)
{
    uint64_t h = loader->seed[0] ^ key.len;
    const uint8_t *p = key.data;
    size_t left = key.len;

    while (left > 0) {
        uint64_t word = 0;
        size_t part = left < 8 ? left : 8;
        memcpy(&word, p, part);
        unsigned __int128 product = (unsigned __int128)(h ^ word) * (loader->seed[1] | 1);
        h = (uint64_t)product ^ (uint64_t)(product >> 64) ^ rng_mix(word);
        p += part;
        left -= part;
    }
    h = rng_mix(h ^ loader->seed[1]);
    return (uint32_t)(h ^ (h >> 32));
}

/* Room for `needed` elements of `size` bytes in *array, a pointer of any type; grows by
 * half. */
static bool
grow(void *array, size_t *capacity, size_t needed, size_t size)
{
    void *old;
    if (needed <= *capacity)
        return true;
    size_t wanted = *capacity + *capacity / 2 + 1024;
    if (wanted < needed)
        wanted = needed;
    memcpy(&old, array, sizeof(old));
    void *bigger = realloc(old, wanted * size);
    if (bigger == NULL)
        return false;
    memcpy(array, &bigger, sizeof(bigger));
    *capacity = wanted;
    return true;
}

static bool
make_slots(struct loader *loader, uint32_t count)
{
    uint32_t *slots = malloc((size_t)count * sizeof(*slots));
    uint32_t *hashes = malloc((size_t)count * sizeof(*hashes));
    if (slots == NULL || hashes == NULL) {
        free(slots);
        free(hashes);
        return false;
    }
    memset(slots, 0xff, (size_t)count * sizeof(*slots));
    for (uint32_t i = 0; loader->slots != NULL && i <= loader->slot_mask; i++) {
        if (loader->slots[i] == EMPTY)
            continue;
        uint32_t at = loader->slot_hash[i] & (count - 1);
        while (slots[at] != EMPTY)
            at = (at + 1) & (count - 1);
        slots[at] = loader->slots[i];
        hashes[at] = loader->slot_hash[i];
    }
    free(loader->slots);
    free(loader->slot_hash);
    loader->slots = slots;
    loader->slot_hash = hashes;
    loader->slot_mask = count - 1;
    return true;
}

static bool
add_key(struct loader *loader, struct span key)
{
    struct trace *trace = loader->trace;
    uint64_t start = trace->key_count == 0 ? 0 : trace->key_offsets[trace->key_count];

    if (!grow(&trace->key_offsets, &loader->keys_capacity, (size_t)trace->key_count + 2,
              sizeof(*trace->key_offsets)) ||
        !grow(&trace->key_bytes, &loader->bytes_capacity, start + key.len, 1))
        return false;
    memcpy(trace->key_bytes + start, key.data, key.len);
    trace->key_offsets[trace->key_count] = start;
    trace->key_offsets[trace->key_count + 1] = start + key.len;
    trace->key_count++;
    return true;
}

/* The number of a key, a new one if it was not seen before. */
static bool
intern(struct loader *loader, struct span key, uint32_t *out_number)
{
    struct trace *trace = loader->trace;
    uint32_t hash = hash_key(loader, key);
    uint32_t at = hash & loader->slot_mask;

    while (loader->slots[at] != EMPTY) {
        if (loader->slot_hash[at] == hash) {
            struct span known = trace_key(trace, loader->slots[at]);
            if (known.len == key.len && memcmp(known.data, key.data, key.len) == 0) {
                *out_number = loader->slots[at];
                return true;
            }
        }
        at = (at + 1) & loader->slot_mask;
    }
    if (!add_key(loader, key))
        return false;
    *out_number = trace->key_count - 1;
    loader->slots[at] = *out_number;
    loader->slot_hash[at] = hash;
    if (trace->key_count > loader->slot_mask / 2)
        return loader->slot_mask < UINT32_C(0x7fffffff) &&
               make_slots(loader, (loader->slot_mask + 1) * 2);
    return true;
}

static bool
add_request(struct loader *loader, const struct trace_line *line, struct bench_error *error)
{
    struct trace *trace = loader->trace;
    struct trace_request request = { .value_bytes = line->value_bytes,
                                     .ttl_s = line->ttl_s,
                                     .operation = (uint8_t)line->operation };

    if (trace->request_count == TRACE_REQUESTS_MAX)
        return bench_error_set(error, "the trace has more than %u requests", TRACE_REQUESTS_MAX);
    if (!intern(loader, line->key, &request.key) ||
        !grow(&trace->requests, &loader->requests_capacity, (size_t)trace->request_count + 1,
              sizeof(*trace->requests)))
        return bench_error_set(error, "no memory for a trace of more than %u requests",
                               trace->request_count);
    trace->requests[trace->request_count++] = request;
    return true;
}

static bool
load_lines(struct loader *loader, struct trace_reader *reader, const struct trace_options *options,
           struct bench_error *error)
{
    struct trace *trace = loader->trace;

    while (options->requests_max == 0 || trace->request_count < options->requests_max) {
        struct trace_line line;
        enum trace_result result = trace_next(reader, &line, error);

        if (result == TRACE_LINE && line.key.len > options->key_bytes_max) {
            char why[100];
            snprintf(why, sizeof(why), "the key has %zu bytes; the protocol carries at most %zu",
                     line.key.len, options->key_bytes_max);
            trace_blame_line(reader, why, error);
            result = TRACE_BAD_LINE;
        }
        switch (result) {
        case TRACE_LINE:
            if (!add_request(loader, &line, error))
                return false;
            break;
        case TRACE_END:
            return true;
        case TRACE_BAD_LINE:
            if (!options->skip_bad_lines)
                return false;
            trace->skipped_lines++;
            break;
        case TRACE_FAILED:
            return false;
        }
    }
    return true;
}

bool
trace_load(struct trace *trace, struct trace_reader *reader, const struct trace_options *options,
           struct bench_error *error)
{
    struct loader loader = { .trace = trace };
    bool ok;

    memset(trace, 0, sizeof(*trace));
    if (getrandom(loader.seed, sizeof(loader.seed), 0) != (ssize_t)sizeof(loader.seed))
        ok = bench_error_set(error, "the system gives no random bytes");
    else if (!make_slots(&loader, 1 << 16))
        ok = bench_error_set(error, "no memory for a trace");
    else
        ok = load_lines(&loader, reader, options, error);
    free(loader.slots);
    free(loader.slot_hash);
    if (!ok)
        trace_fini(trace);
    return ok;
}

void
trace_fini(struct trace *trace)
{
    free(trace->requests);
    free(trace->key_offsets);
    free(trace->key_bytes);
    memset(trace, 0, sizeof(*trace));
}
