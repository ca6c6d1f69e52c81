#include "session/gates.h"

#include "base/check.h"

#include <stdlib.h>

#define ROOM_MIN  16
#define ROOM_KEEP 64 /* an empty ring keeps at most this many */

void
gates_fini(struct gates *gates)
{
    free(gates->ring);
    *gates = (struct gates){ 0 };
}

static bool
grow(struct gates *gates)
{
    uint32_t room = gates->room == 0 ? ROOM_MIN : gates->room * 2;
    struct gate *ring = malloc(room * sizeof(*ring));
    uint32_t i;

    if (ring == NULL)
        return false;
    for (i = 0; i < gates->count; i++)
        ring[i] = *gates_at(gates, i);
    free(gates->ring);
    gates->ring = ring;
    gates->room = room;
    gates->first = 0;
    return true;
}

bool
gates_push(struct gates *gates, const struct gate *gate)
{
    BRD_CHECK(gate->begin < gate->end);
    if (gates->count > 0)
        BRD_CHECK(gates_at(gates, gates->count - 1)->end <= gate->begin);
    if (gates->count == gates->room && !grow(gates))
        return false;
    gates->count++;
    *gates_at(gates, gates->count - 1) = *gate;
    return true;
}

void
gates_pop(struct gates *gates)
{
    BRD_CHECK(gates->count > 0);
    gates->first = (gates->first + 1) & (gates->room - 1);
    gates->count--;
    if (gates->count == 0 && gates->room > ROOM_KEEP)
        gates_fini(gates);
}
