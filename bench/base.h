/* Small things that every file of the load tester uses. bench/ sees nothing of
 * the daemon but the public client header, so it has its own.
 *
 * BENCH_CHECK states what callers owe; it never guards foreign bytes. A failure
 * that a user can act on is a sentence in a struct bench_error. */
#ifndef BENCH_BASE_H
#define BENCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_MUST_CHECK __attribute__((warn_unused_result))

/* Exit status of the program. */
enum bench_exit {
    BENCH_EXIT_OK = 0,     /* every request was answered without an error */
    BENCH_EXIT_FAILED = 1, /* an error was counted, or the run could not be made */
    BENCH_EXIT_USAGE = 64,
};

/* Bytes that somebody else owns. */
struct span {
    const uint8_t *data;
    size_t len;
};

/* A sentence for a person; empty where nothing went wrong. */
struct bench_error {
    char text[320];
};

/* Write the sentence, cut to what fits. Returns false, to end a function with. */
bool bench_error_set(struct bench_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

_Noreturn void bench_check_failed(const char *condition, const char *file, int line);

#define BENCH_CHECK(condition)                                  \
    do {                                                        \
        if (__builtin_expect(!(condition), 0))                  \
            bench_check_failed(#condition, __FILE__, __LINE__); \
    } while (0)

/* CLOCK_MONOTONIC. */
uint64_t bench_now_ns(void);

#endif
