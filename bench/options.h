/* The command line: one table from which parsing and --help derive. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "codec.h"
#include "keys.h"
#include "load.h"
#include "sizes.h"

#include <stdio.h>

enum workload {
    WORKLOAD_MIXED,
    WORKLOAD_GET,
    WORKLOAD_SET,
    WORKLOAD_GETMANY,
};

enum format {
    FORMAT_TEXT,
    FORMAT_JSON,
};

enum progress {
    PROGRESS_AUTO, /* if stderr is a terminal */
    PROGRESS_YES,
    PROGRESS_NO,
};

/* Everything is filled in; texts are borrowed from argv. Choices are the
 * position of the word in the table's list: the order of the enum. */
struct options {
    const char *connect;
    unsigned protocol; /* enum protocol */
    uint64_t threads;
    uint64_t connections;
    uint64_t depth;
    uint64_t requests; /* 0: until duration_ms is over, or the whole trace */
    uint64_t duration_ms;
    uint64_t warmup_ms;
    uint64_t key_count;
    struct sizes key_size;
    struct sizes value_size;
    enum keys_pattern key_pattern;
    double key_exponent;
    unsigned workload; /* enum workload */
    double read_ratio;
    uint64_t many;
    uint64_t ttl_ms;
    double rate;
    unsigned arrivals; /* enum arrivals */
    unsigned refill;   /* enum refill */
    bool fill;
    bool verify;
    uint64_t seed;
    uint64_t timeout_ms;
    uint64_t server_pid;
    unsigned format;   /* enum format */
    unsigned progress; /* enum progress */
    const char *histogram;
    bool ttl_from_trace;
    bool skip_bad_lines;
    bool help;
    bool version;
    bool replay;
    const char *trace; /* NULL: made-up load */
    bool memory;       /* fill in steps and read the server's memory instead */
    uint64_t from;     /* keys of the first step, of the last, and how many steps */
    uint64_t to;
    uint64_t steps;
    const char *replay_only; /* an option that was given and that only this mode knows; or NULL */
    const char *memory_only;
};

/* false and a sentence: a usage error. */
BENCH_MUST_CHECK bool
options_parse(struct options *options, int argc, char **argv, struct bench_error *error);

void options_print_help(FILE *file);

/* The word of a choice, as it is written on the command line. */
const char *options_workload_name(unsigned workload);
const char *options_refill_name(unsigned refill);
const char *options_arrivals_name(unsigned arrivals);

#endif
