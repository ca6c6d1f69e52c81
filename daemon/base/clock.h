/* Time: Unix nanoseconds that never follow a wild forward step.
 *
 * The real clock is CLOCK_BOOTTIME plus an offset that brd_clock_check, called
 * a few times a second by one thread, corrects to the wall clock. A forward
 * step of the wall beyond max_step_ns is reported and not followed, so a
 * mistaken date cannot expire everything at once. A fake clock stands still
 * until a test moves it. Monotony across backward steps is the sequencer's
 * business (sequencer.h), not the clock's. */
#ifndef BRD_BASE_CLOCK_H
#define BRD_BASE_CLOCK_H

#include "base/status.h"

#include <stdint.h>

#define BRD_NS_PER_US UINT64_C(1000)
#define BRD_NS_PER_MS UINT64_C(1000000)
#define BRD_NS_PER_S  UINT64_C(1000000000)

struct brd_clock;

/* max_step_ns  the largest forward step that is followed; 0 follows all.
 * NULL where memory is out. */
struct brd_clock *brd_clock_create_real(uint64_t max_step_ns);

/* A clock that says wall_ns until told otherwise. */
struct brd_clock *brd_clock_create_fake(uint64_t wall_ns);

void brd_clock_destroy(struct brd_clock **clock);

/* Unix time in nanoseconds. Any thread. */
uint64_t brd_clock_now_ns(const struct brd_clock *clock);

/* Nanoseconds since some fixed moment; never steps. For intervals. Any thread. */
uint64_t brd_clock_mono_ns(const struct brd_clock *clock);

/* Compare with the wall clock. out_step_ns: how far the clock was corrected
 * (or, on BRD_OUT_OF_RANGE, the forward step that was refused; reported once a
 * step). Returns BRD_OK or BRD_OUT_OF_RANGE. One thread at a time. */
BRD_MUST_CHECK enum brd_status brd_clock_check(struct brd_clock *clock, int64_t *out_step_ns);

/* Fake clocks only: move the wall and the monotonic time forward. Any thread. */
void brd_clock_advance(struct brd_clock *clock, uint64_t ns);

/* Fake clocks only: step the wall alone, in either direction. Any thread. */
void brd_clock_step(struct brd_clock *clock, int64_t ns);

#endif
