#include "wal/gather.h"

#include "base/clock.h"

#define LIMIT_NS_MIN (400 * BRD_NS_PER_US) /* timers, and waking a thread, are no finer */
#define LIMIT_NS_MAX (10 * BRD_NS_PER_MS)
#define SKIP_MIN     15U
#define DOUBLED_MAX  7

void
gather_note_sync(struct gather *gather, uint64_t covered, uint64_t written, uint64_t began_ns,
                 uint64_t ended_ns)
{
    uint64_t took_ns = ended_ns - began_ns;

    gather->target = written + (covered - gather->covered);
    gather->covered = covered;
    gather->ended_ns = ended_ns;
    gather->limit_ns = took_ns < LIMIT_NS_MAX ? took_ns : LIMIT_NS_MAX;
}

uint64_t
gather_until(struct gather *gather, uint64_t written, uint64_t now_ns)
{
    uint64_t until_ns = gather->ended_ns + gather->limit_ns;

    if (gather->limit_ns < LIMIT_NS_MIN || written >= gather->target || now_ns >= until_ns)
        return 0;
    if (gather->skip > 0) {
        gather->skip--;
        return 0;
    }
    return until_ns;
}

void
gather_note_wait(struct gather *gather, uint64_t before, uint64_t after)
{
    if (10 * (after - before) >= 9 * (gather->target - before)) {
        gather->failures = 0;
        return;
    }
    gather->skip = ((SKIP_MIN + 1) << gather->failures) - 1;
    if (gather->failures < DOUBLED_MAX)
        gather->failures++;
}
