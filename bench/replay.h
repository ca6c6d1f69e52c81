/* Replay of a trace as a look-aside cache sees it: GET, and on a miss SET. */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include "driver.h"
#include "sizes.h"
#include "trace.h"
#include "values.h"

/* Requests of a connection that wait in memory, beside those under way. */
#define REPLAY_QUEUE_MAX 256

/* What all threads have in common; read-only while it runs. */
struct replay_plan {
    const struct trace *trace;
    const struct values *values;
    const struct sizes *value_size; /* where the trace says 0 */
    bool ttl_from_trace;
    uint64_t ttl_ms; /* where the trace has none, or is not asked */
    bool verify;
    double rate; /* requests of the trace per second; 0: closed loop */
    unsigned depth;
    unsigned thread_count;
    unsigned connections; /* of all threads */
    uint64_t start_ns;
    uint64_t end_ns; /* 0: until the trace ends */
};

/* Counts of look-aside, beside those of the driver. */
struct replay_counts {
    uint64_t requests; /* of the trace, answered */
    uint64_t gets;
    uint64_t hits;
    uint64_t misses;
    uint64_t fills; /* SETs after a miss */
};

struct replay;

/* The part of the thread that has the connections [first, first + count). */
BENCH_MUST_CHECK bool replay_create(struct replay **out_replay, const struct replay_plan *plan,
                                    unsigned first, unsigned count, struct bench_error *error);
void replay_destroy(struct replay **replay);
extern const struct workload_ops replay_ops; /* self: struct replay */

const struct replay_counts *replay_counts(const struct replay *replay);

#endif
