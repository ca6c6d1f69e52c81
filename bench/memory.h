/* How many bytes of a server's memory a key takes: the steps of a filling, and
 * what was read after each. Pure but for the printing. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include "options.h"
#include "server.h"

#define MEMORY_STEPS_MAX 1000

struct memory_step {
    uint64_t keys;
    uint64_t resident_bytes;
    bool has_memory;
    uint64_t memory_bytes; /* what the server says that it has allocated */
};

/* What a run has found. */
struct memory_result {
    const struct options *options;
    struct server_sample server; /* the last */
    uint64_t empty_bytes;        /* resident before the first key */
    unsigned count;
    struct memory_step steps[MEMORY_STEPS_MAX];
};

/* Keys after step i of options->steps: evenly from options->from to options->to. */
uint64_t memory_keys(const struct options *options, unsigned step);

/* Note what the server said once there were so many keys. false: it does not say,
 * or has not got them all. */
BENCH_MUST_CHECK bool memory_note(struct memory_result *result, uint64_t keys,
                                  const struct server_sample *sample, struct bench_error *error);

/* All of the process, for each key. */
double memory_per_key(const struct memory_step *step);

/* The step with the most bytes for each key; NULL: there is none. */
const struct memory_step *memory_worst(const struct memory_result *result);

bool memory_write(const struct memory_result *result, FILE *file);

#endif
