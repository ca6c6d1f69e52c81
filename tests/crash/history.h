/* What clients did and saw: the file between history.c, which makes it, and
 * lincheck.c, which judges it. An array of struct event in no order. */
#ifndef TESTS_CRASH_HISTORY_H
#define TESTS_CRASH_HISTORY_H

#include <assert.h>
#include <stdint.h>

enum event_kind { GET, PUT, PUT_IF_ABSENT, PUT_IF_VERSION, DELETE, INCR, EVENT_KINDS };

#define EVENT_PENDING   (-1) /* status of a write that was never answered */
#define EVENT_NO_RETURN UINT64_MAX

struct event {
    uint64_t call_ns;   /* monotonic, before the request was sent */
    uint64_t return_ns; /* after its answer came, or EVENT_NO_RETURN */
    uint64_t version;   /* in the answer; 0: not told */
    uint64_t expected;  /* PUT_IF_VERSION: which */
    int64_t value;      /* written, read, or of INCR and DELETE the number answered */
    int64_t delta;      /* INCR; an absent key counts as 0 */
    uint32_t key;
    uint16_t client;
    uint8_t kind;
    int8_t status; /* enum brd_status, or EVENT_PENDING */
};
static_assert(sizeof(struct event) == 56, "file format");

#endif
