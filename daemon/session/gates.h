/* Replies that wait for the log, oldest first.
 *
 * A gate is a stretch of the output stream that may leave when the log has
 * committed certain versions. Output up to the first gate that is not met may
 * be sent, so replies leave in order. Bounded by the session's limit of
 * unanswered requests. Embedded; one thread. */
#ifndef BRD_SESSION_GATES_H
#define BRD_SESSION_GATES_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    uint64_t begin; /* stream positions of the reply */
    uint64_t end;
    uint64_t after_normal; /* versions; 0: none */
    uint64_t after_full;
    uint64_t id; /* of the request */
    bool write;  /* the request changes data */
};

struct gates {
    struct gate *ring; /* owned; room is a power of two, or 0 */
    uint32_t room;
    uint32_t first;
    uint32_t count;
};

void gates_fini(struct gates *gates);

/* False where memory is out. */
bool gates_push(struct gates *gates, const struct gate *gate);

/* The oldest is done. An empty ring gives large memory back. */
void gates_pop(struct gates *gates);

static inline struct gate *
gates_at(const struct gates *gates, uint32_t i)
{
    return &gates->ring[(gates->first + i) & (gates->room - 1)];
}

#endif
