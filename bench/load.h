/* The made-up load: gets and sets of random keys, as fast as answers come
 * (closed loop) or at a given rate (open loop). Also fills the server. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "driver.h"
#include "keys.h"
#include "sizes.h"
#include "values.h"

enum arrivals {
    ARRIVALS_UNIFORM, /* evenly spaced */
    ARRIVALS_POISSON, /* exponentially distributed gaps */
};

enum refill {
    REFILL_BATCH, /* the next `depth` requests when all `depth` are answered */
    REFILL_EACH,  /* one for each answer */
};

/* What all threads of a phase have in common; read-only while it runs. */
struct load_plan {
    const struct keys *keys;
    const struct values *values;
    const struct sizes *value_size;
    double read_ratio; /* share of GETs, 0 to 1 */
    unsigned many;     /* keys in one read; 1: a plain GET */
    uint64_t ttl_ms;   /* of what is written; 0: none */
    enum refill refill;
    enum arrivals arrivals;
    double rate; /* requests per second of all threads; 0: closed loop */
    bool verify;
    bool sequential; /* every key once, in order: filling */
    uint64_t first;  /* with which key that begins */
    unsigned depth;
    unsigned thread_count;
    uint64_t seed;
    uint64_t requests; /* of all threads; 0: until end_ns */
    uint64_t start_ns;
    uint64_t end_ns; /* 0: until requests are done */
};

struct load;

/* The part of thread `thread`. plan and everything in it is borrowed. */
BENCH_MUST_CHECK bool load_create(struct load **out_load, const struct load_plan *plan,
                                  unsigned thread, unsigned connections, struct bench_error *error);
void load_destroy(struct load **load);
extern const struct workload_ops load_ops; /* self: struct load */

/* Open loop: requests that were due before the end and were never sent. */
uint64_t load_unsent(const struct load *load);

#endif
