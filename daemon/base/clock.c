#include "base/clock.h"

#include "base/check.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define OFFSET_TRIES    100   /* readings at most for one offset */
#define OFFSET_APART_NS 20000 /* good enough; a quiet machine needs 0.1 us */

struct brd_clock {
    bool fake;
    uint64_t max_step_ns;
    uint64_t refused_ns;        /* wall minus boot of the last refused step; checker only */
    _Atomic uint64_t offset_ns; /* wall minus boot time; relaxed, one word */
    _Atomic uint64_t fake_mono_ns;
};

static uint64_t
read_ns(clockid_t id)
{
    struct timespec ts;
    int failed = clock_gettime(id, &ts);

    BRD_CHECK(failed == 0);
    return (uint64_t)ts.tv_sec * BRD_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Wall minus boot time. The two clocks are read one after the other, and whatever
 * holds the thread up in between (a loaded machine takes it off its core for a
 * tenth of a second) would be a mistake in the offset; so the wall is read
 * between two readings of the other, again until they are close, and the
 * closest pair counts. */
static uint64_t
wall_offset_ns(void)
{
    uint64_t best_ns = UINT64_MAX;
    uint64_t offset_ns = 0;
    unsigned tries;

    for (tries = 0; tries < OFFSET_TRIES && best_ns > OFFSET_APART_NS; tries++) {
        uint64_t before_ns = read_ns(CLOCK_BOOTTIME);
        uint64_t wall_ns = read_ns(CLOCK_REALTIME);
        uint64_t apart_ns = read_ns(CLOCK_BOOTTIME) - before_ns;

        if (apart_ns < best_ns) {
            best_ns = apart_ns;
            offset_ns = wall_ns - (before_ns + apart_ns / 2);
        }
    }
    return offset_ns;
}

struct brd_clock *
brd_clock_create_real(uint64_t max_step_ns)
{
    struct brd_clock *clock = calloc(1, sizeof(*clock));

    if (clock == NULL)
        return NULL;
    clock->max_step_ns = max_step_ns;
    atomic_init(&clock->offset_ns, wall_offset_ns());
    return clock;
}

struct brd_clock *
brd_clock_create_fake(uint64_t wall_ns)
{
    struct brd_clock *clock = calloc(1, sizeof(*clock));

    if (clock == NULL)
        return NULL;
    clock->fake = true;
    atomic_init(&clock->fake_mono_ns, BRD_NS_PER_S);
    atomic_init(&clock->offset_ns, wall_ns - BRD_NS_PER_S);
    return clock;
}

void
brd_clock_destroy(struct brd_clock **clock)
{
    free(*clock);
    *clock = NULL;
}

uint64_t
brd_clock_mono_ns(const struct brd_clock *clock)
{
    if (clock->fake)
        return atomic_load_explicit(&clock->fake_mono_ns, memory_order_relaxed);
    return read_ns(CLOCK_BOOTTIME);
}

uint64_t
brd_clock_now_ns(const struct brd_clock *clock)
{
    uint64_t mono_ns = brd_clock_mono_ns(clock);

    return mono_ns + atomic_load_explicit(&clock->offset_ns, memory_order_relaxed);
}

enum brd_status
brd_clock_check(struct brd_clock *clock, int64_t *out_step_ns)
{
    uint64_t offset_ns = atomic_load_explicit(&clock->offset_ns, memory_order_relaxed);
    uint64_t wanted_ns;
    int64_t step_ns;

    *out_step_ns = 0;
    if (clock->fake)
        return BRD_OK;
    wanted_ns = wall_offset_ns();
    step_ns = (int64_t)(wanted_ns - offset_ns);
    if (clock->max_step_ns != 0 && step_ns > (int64_t)clock->max_step_ns) {
        /* Within a second of the last refusal it is the same step. */
        int64_t since_ns = (int64_t)(wanted_ns - clock->refused_ns);
        bool same = since_ns > -(int64_t)BRD_NS_PER_S && since_ns < (int64_t)BRD_NS_PER_S;

        if (same)
            return BRD_OK;
        clock->refused_ns = wanted_ns;
        *out_step_ns = step_ns;
        return BRD_OUT_OF_RANGE;
    }
    clock->refused_ns = 0;
    /* The readings are up to OFFSET_APART_NS apart; smaller differences are no step. */
    if (step_ns > (int64_t)BRD_NS_PER_MS || step_ns < -(int64_t)BRD_NS_PER_MS) {
        atomic_store_explicit(&clock->offset_ns, wanted_ns, memory_order_relaxed);
        *out_step_ns = step_ns;
    }
    return BRD_OK;
}

void
brd_clock_advance(struct brd_clock *clock, uint64_t ns)
{
    BRD_CHECK(clock->fake);
    atomic_fetch_add_explicit(&clock->fake_mono_ns, ns, memory_order_relaxed);
}

void
brd_clock_step(struct brd_clock *clock, int64_t ns)
{
    BRD_CHECK(clock->fake);
    atomic_fetch_add_explicit(&clock->offset_ns, (uint64_t)ns, memory_order_relaxed);
}
