/* Threads with names. */
#ifndef BRD_BASE_THREAD_H
#define BRD_BASE_THREAD_H

#include "base/status.h"

#include <pthread.h>

/* Start run(arg) in a thread called name (at most 15 bytes), with all signals
 * blocked: main alone handles them. Waits until the thread has begun and has what it
 * needs to allocate memory, but not for run. Returns BRD_OK, or
 * BRD_OUT_OF_MEMORY where the system has no more memory or threads to give. The
 * caller joins it with brd_thread_join. */
BRD_MUST_CHECK enum brd_status
brd_thread_start(pthread_t *out_thread, const char *name, void *(*run)(void *arg), void *arg);

void brd_thread_join(pthread_t thread);

#endif
