/* What a run has found, as text or JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "driver.h"
#include "options.h"
#include "server.h"

#include <stdio.h>

struct report {
    const struct options *options;
    bool interrupted;
    double seconds; /* of the measured phase */
    double fill_seconds;
    uint64_t fill_requests;
    struct driver_stats stats; /* of all threads */
    uint64_t unsent;           /* open loop with --duration */
    uint64_t bench_cpu_us;
    uint64_t bench_sleeps; /* voluntary context switches of its threads */
    unsigned connections_alive;
    struct server_sample server; /* after the measured phase */
    struct server_cpu server_cpu;
    /* replay only */
    uint64_t trace_requests;
    uint64_t trace_keys;
    uint64_t trace_skipped;
    uint64_t trace_answered;
    uint64_t trace_gets;
    uint64_t trace_fills;
};

/* Answers that the rates and costs are counted in: without errors. */
uint64_t report_answers(const struct report *report);

bool report_write(const struct report *report, FILE *file);

#endif
