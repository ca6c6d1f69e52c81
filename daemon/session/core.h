/* What the files of this folder share. */
#ifndef BRD_SESSION_CORE_H
#define BRD_SESSION_CORE_H

#include "base/check.h"
#include "base/outq.h"
#include "engine/engine.h"
#include "session/gates.h"
#include "session/session.h"
#include "wire/wire.h"

/* Requests decoded, hashed and prefetched together: so many, and those that the
 * last of several conversations adds at once. */
#define GROUP_MAX  32
#define GROUP_ROOM (2 * GROUP_MAX)

#define MARKS_MAX 10 /* see session.c */

#define POOL_CHUNKS_KEPT   64
#define CROWDED_BYTES_FREE (UINT64_C(64) << 10) /* what each may have, however many there are */

/* Requests decoded together: of one conversation, or of several, one after the
 * other, each in the order of its stream. */
struct group {
    struct brd_request requests[GROUP_ROOM];
    enum brd_status decoded[GROUP_ROOM]; /* what the codec said of each */
    size_t ends[GROUP_ROOM];             /* behind each, in bytes from its input's begin */
    size_t first;                        /* not executed yet */
    size_t count;
};

/* What stopped the decoding. */
enum group_end {
    END_OF_GROUP,  /* as many as fit, or one that must be decoded alone */
    END_OF_INPUT,  /* a frame that is not whole */
    END_BAD,       /* bytes that are no request */
    END_TOO_LARGE, /* a frame above the limit */
    END_NO_MEMORY,
};

struct brd_session_env {
    struct brd_engine *engine;    /* borrowed */
    struct brd_caller *caller;    /* owned */
    struct brd_wire_arena *arena; /* owned; empty while the group is */
    struct brd_wire_limits wire_limits;
    struct brd_session_limits limits;
    uint64_t unsent_easy_bytes; /* with less unsent, no limit of bytes is reached */
    struct brd_engine_info info;
    uint64_t frame_bytes_max;
    uint32_t requests_at_once;
    struct brd_outq_pool pool;
    struct brd_committed committed; /* as last read; normal may fall back when syncs are late */
    struct group group;
    bool in_batch; /* between brd_session_env_begin and brd_session_env_end */
    struct brd_session_counters counters __attribute__((aligned(BRD_CACHE_LINE)));
};

/* So many replies end at this position or before it, and after the last mark. */
struct mark {
    uint64_t end;
    uint32_t count;
};

struct brd_session {
    struct brd_session_env *env; /* borrowed */
    struct brd_outq out;
    struct gates gates;
    enum brd_session_state state;
    uint32_t pending;          /* requests whose reply has not been sent whole; see marks */
    const uint8_t *staged;     /* the input whose requests are in the group; NULL: none are */
    uint32_t staged_count;     /* of them */
    enum group_end staged_end; /* what is behind them */
    uint64_t needs;            /* see brd_session_needs */
    size_t needs_prefix;       /* of that frame, where needs is more than is there; 0: not known */
    struct brd_wire_apart apart; /* value owned, or NULL; in the message at the front: see
                                  * brd_session_put_value */
    uint64_t large_end;         /* stream position behind the large reply at the front, or passed */
    uint64_t behind_blob_bytes; /* of what lies behind large_end, while that is not passed */
    bool until_empty;           /* FULL until everything has been sent */
    struct brd_job job;         /* of the request at the front of what was not taken */
    enum brd_status hurry; /* what a request is told instead of waiting long; BRD_OK: it waits */
    uint32_t mark_first;   /* ring */
    uint32_t mark_count;
    struct mark marks[MARKS_MAX];
};

/* Would so many bytes more be too many for all sessions together? Chunks that the
 * pool keeps for use do not count, so that one alone is never too many. */
static inline bool
is_crowded(const struct brd_session_env *env, uint64_t more)
{
    uint64_t all = env->limits.output_all_bytes;

    return all != 0 && env->pool.chunk_bytes > POOL_CHUNKS_KEPT * UINT64_C(32768) &&
           env->pool.chunk_bytes + more > all;
}

enum dispatch_result {
    DISPATCH_DONE,     /* the reply is in the output, or memory ran out (sticky there) */
    DISPATCH_PARKED,   /* the log's queue is full, and nothing happened; or its job has a ticket */
    DISPATCH_PARTLY,   /* its job is under way: execute it again */
    DISPATCH_POSTPONED /* nothing happened: a reply this large wants an empty output */
};

/* Execute a prepared request and encode its reply; decoded is what the codec
 * said of it. out_gate: begin and end are always set; after_normal and
 * after_full are 0 where the reply may leave at once. */
enum dispatch_result dispatch_request(struct brd_session *session, struct brd_request *request,
                                      enum brd_status decoded, struct gate *out_gate);

/* Encode a reply that has only a status, a sentence (NULL: the status's own). */
void dispatch_status(struct brd_session *session, uint64_t id, enum brd_status status,
                     const char *message);

#endif
