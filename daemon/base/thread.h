/* Threads with names. */
#ifndef BRD_BASE_THREAD_H
#define BRD_BASE_THREAD_H

#include "base/status.h"

#include <pthread.h>
#include <stdint.h>

/* Start run(arg) in a thread called name (at most 15 bytes), with all signals
 * blocked: main alone handles them. Waits until the thread has begun and has what it
 * needs to allocate memory, but not for run. Returns BRD_OK, or
 * BRD_OUT_OF_MEMORY where the system has no more memory or threads to give. The
 * caller joins it with brd_thread_join. */
BRD_MUST_CHECK enum brd_status
brd_thread_start(pthread_t *out_thread, const char *name, void *(*run)(void *arg), void *arg);

void brd_thread_join(pthread_t thread);

/* A descriptor by which others see how busy the calling thread is; the caller
 * closes it. -1 where the system does not tell. */
int brd_thread_busy_open(void);

/* How long, in ns, that thread has been running, or ready and waiting for a core;
 * UINT64_MAX where it has ended or fd is -1. Any thread. A few system calls' time. */
uint64_t brd_thread_busy_ns(int fd);

#endif
