/* Statistics of the process as a whole: for struct brd_stats_source. */
#ifndef BRD_PROCESS_STATS_H
#define BRD_PROCESS_STATS_H

#include "base/clock.h"
#include "base/request.h"

struct process_stats {
    struct brd_clock *clock; /* borrowed */
    uint64_t started_mono_ns;
};

/* Any thread. arg is the struct process_stats. */
void
process_stats_collect(void *arg, void (*emit)(void *to, const struct brd_stat *stat), void *to);

/* "gcc 12.2.0". Static storage. */
const char *process_compiler(void);

#endif
