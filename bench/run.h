/* A whole run: connect, fill, warm up, measure, report. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "base.h"
#include "options.h"

#include <stdatomic.h>

/* Prints the result on stdout, progress and errors on stderr.
 *
 * interrupted  set at any time by anybody: what was measured so far is printed. */
enum bench_exit run(const struct options *options, const atomic_bool *interrupted);

#endif
