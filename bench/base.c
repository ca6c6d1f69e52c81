/* Error sentences, checks and the clock. */
#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

bool
bench_error_set(struct bench_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return false;
}

void
bench_check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "brindle-bench: %s:%d: this must hold and does not: %s\n", file, line,
            condition);
    abort();
}

uint64_t
bench_now_ns(void)
{
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);
    BENCH_CHECK(rc == 0);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}
