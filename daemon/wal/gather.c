#include "wal/gather.h"

#include "base/clock.h"

#define LIMIT_PART   2                     /* of the time that a sync takes */
#define LIMIT_NS_MIN (200 * BRD_NS_PER_US) /* timers are no finer */
#define LIMIT_NS_MAX (5 * BRD_NS_PER_MS)
#define SKIP         15

void
gather_note_sync(struct gather *gather, uint64_t covered, uint64_t written, uint64_t began_ns,
                 uint64_t ended_ns)
{
    uint64_t limit_ns = (ended_ns - began_ns) / LIMIT_PART;

    gather->target = written + (covered - gather->covered);
    gather->covered = covered;
    gather->ended_ns = ended_ns;
    gather->limit_ns = limit_ns < LIMIT_NS_MAX ? limit_ns : LIMIT_NS_MAX;
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
    if (4 * (after - before) < 3 * (gather->target - before))
        gather->skip = SKIP;
}
