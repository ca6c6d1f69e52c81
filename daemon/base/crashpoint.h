/* Places where a test can stop the process as if it had been killed.
 *
 * With BRINDLE_CRASH=name:n in the environment the n-th pass (from 1) through
 * CRASH_POINT("name") ends the process with status 137, no handler run and no
 * buffer flushed. Debug builds only; nothing is left of it in others. */
#ifndef BRD_BASE_CRASHPOINT_H
#define BRD_BASE_CRASHPOINT_H

#ifdef BRD_DEBUG
void brd_crash_point(const char *name);
#define CRASH_POINT(name) brd_crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
