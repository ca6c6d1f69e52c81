/* One conversation with a client: bytes in, bytes out, no sockets.
 *
 * Whoever owns the socket offers what it has received (brd_session_input), sends
 * what may be sent (brd_session_output, brd_session_sent) and tells of the log's
 * progress. The session never waits: where it cannot go on it says why through
 * its state, and the bytes it did not take stay with the caller.
 *
 * Threads: a session and its environment belong to one worker. */
#ifndef BRD_SESSION_SESSION_H
#define BRD_SESSION_SESSION_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/counter.h"
#include "base/request.h"
#include "base/status.h"

#include <sys/uio.h>

struct brd_blob;
struct brd_engine;

/* Maxima of one connection. All are bounds on memory that a client can make the
 * daemon hold; reaching one of the first four pauses the reading of requests. */
struct brd_session_limits {
    uint64_t output_soft_bytes; /* unsent replies, blobs apart; 0: 2 MiB */
    uint64_t output_blob_bytes; /* unsent blobs; one more may be above it; 0: 64 MiB */
    uint32_t pending_max;       /* requests whose reply has not been sent; 0: 1024 */
    uint64_t output_all_bytes;  /* unsent replies of all sessions of the environment, blobs
                                 * apart; above it none may have much; 0: no limit */
};

struct brd_session_options {
    struct brd_engine *engine; /* borrowed until the environment is destroyed */
    uint64_t frame_bytes_max;  /* 0: largest value + 1 MiB */
    uint64_t batch_keys_max;   /* 0: what the engine says */
    uint32_t requests_at_once; /* executed by one brd_session_input; 0: no limit */
    struct brd_session_limits limits;
};

/* ---- environment: what all sessions of a worker share ---- */

struct brd_session_env;

/* Counters of one environment. X(name, unit, help) */
#define BRD_SESSION_COUNTERS(X)                                                          \
    X(requests, "1", "requests answered, of all kinds")                                  \
    X(replies_failed, "1", "replies with a status other than OK, NOT_FOUND and EXISTS")  \
    X(replies_gated, "1", "replies that had to wait for the log")                        \
    X(replies_unknown, "1", "replies replaced because the log failed before they left")  \
    X(frames_bad, "1", "connections closed because of bytes that are no request")        \
    X(frames_too_large, "1", "connections closed because of a frame above the limit")    \
    X(pauses_log, "1", "times a connection was parked because the log's queue was full") \
    X(pauses_output, "1", "times reading paused because replies were not taken")

struct brd_session_counters {
#define BRD_SESSION_COUNTER_FIELD(name, unit, help) brd_counter name;
    BRD_SESSION_COUNTERS(BRD_SESSION_COUNTER_FIELD)
#undef BRD_SESSION_COUNTER_FIELD
    brd_counter by_op[BRD_OP_COUNT_OF]; /* requests of each kind */
};

/* The engine has been started. Returns BRD_OK or BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
brd_session_env_create(const struct brd_session_options *options, struct brd_session_env **out_env);

/* All its sessions are gone. NULL inside is fine. */
void brd_session_env_destroy(struct brd_session_env **env);

/* Other limits from now on. The worker's thread. */
void
brd_session_env_set_limits(struct brd_session_env *env, const struct brd_session_limits *limits);

/* Readable from any thread, as long as the environment lives. */
const struct brd_session_counters *brd_session_env_counters(const struct brd_session_env *env);

/* Several conversations' input as one batch, so that the memory which their
 * requests will touch is fetched meanwhile: brd_session_stage of each, begin,
 * brd_session_input of each with the same bytes, in the same order and before
 * anything else happens to it (of the last as often as one likes), end.
 *
 * begin reads the clock for the whole batch, so what is given in it must have
 * been received before; end wakes the log. */
void brd_session_env_begin(struct brd_session_env *env);
void brd_session_env_end(struct brd_session_env *env);

/* Bytes of output chunks that the environment holds, in use or kept. */
uint64_t brd_session_env_chunk_bytes(const struct brd_session_env *env);

/* One framed reply with id 0 and this status: for a connection that gets no
 * session. Appended to out, whose error is sticky. Any thread. */
void brd_session_refusal(enum brd_status status, struct brd_buf *out);

/* ---- one conversation ---- */

struct brd_session;

enum brd_session_state {
    BRD_SESSION_OPEN,    /* takes input */
    BRD_SESSION_FULL,    /* too much unsent or unanswered: offer again when output has moved */
    BRD_SESSION_PARKED,  /* the log's queue is full, or a checkpoint is not over: offer again
                          * on progress */
    BRD_SESSION_CLOSING, /* takes nothing more; close when the output is sent */
    BRD_SESSION_FAILED,  /* memory ran out: close now */
};

/* NULL where memory is out. */
struct brd_session *brd_session_create(struct brd_session_env *env);
void brd_session_destroy(struct brd_session **session);

/* Decode what is at the front of the input that this session will get next; see
 * brd_session_env_begin. Executes nothing. Returns whether another session may
 * be staged behind it. */
bool brd_session_stage(struct brd_session *session, struct brd_bytes input);

/* Execute the whole frames at the front of input.
 *
 * input    borrowed for the call; the first byte is the first of a frame, or of
 *          what an earlier call did not take.
 * Returns  how many bytes were taken. Those that remain are offered again, with
 *          more behind them (OPEN), or when the state's condition is met. There
 *          are whole frames among them after requests_at_once, and while a
 *          request is executed in parts: then the next offer goes on with it,
 *          after others have had their turn. */
size_t brd_session_input(struct brd_session *session, struct brd_bytes input);

/* Large values need not be received into the input and copied from there. Where input, which
 * was not taken and is not whole, begins with the frame of a put or an append with a value of
 * at least value_min bytes, its place in the frame is told here, as soon as the input
 * reaches to it. Its bytes can then be received into a blob. */
bool brd_session_find_value(const struct brd_session *session, struct brd_bytes input,
                            uint64_t value_min, struct brd_span *out_place);

/* The frame is whole, and the bytes at place, which was found in it, are those of value: the
 * input that is offered from now on lacks them. Until the frame has been taken; what is
 * taken of it is counted without them. Takes a reference of its own. */
void brd_session_put_value(struct brd_session *session, const struct brd_span *place,
                           struct brd_blob *value);

/* From now on no request waits for what may take minutes, a checkpoint: where it is
 * not over the reply has this status instead, and the requests behind it go on. For
 * when the client is gone (BRD_UNKNOWN_RESULT) or the daemon stops
 * (BRD_SHUTTING_DOWN). What is PARKED is to be offered again. */
void brd_session_hurry(struct brd_session *session, enum brd_status why);

enum brd_session_state brd_session_state(const struct brd_session *session);

/* Bytes of large values that are in memory only because this session has not sent them:
 * they were replaced or removed meanwhile. */
uint64_t brd_session_dropped_bytes(const struct brd_session *session);

/* In state OPEN, after input: how many bytes the frame at the front of what was
 * not taken has in all, as far as known (at least one more than are there); 1
 * where whole frames may have been left. */
uint64_t brd_session_needs(const struct brd_session *session);

/* Fill iov with output that may leave now; at most max parts. Valid until the
 * next call on this session. Replies behind one that waits for the log wait too. */
size_t brd_session_output(struct brd_session *session, struct iovec *iov, size_t max);

/* n bytes of it have been sent. May turn FULL into OPEN. */
void brd_session_sent(struct brd_session *session, size_t n);

/* Bytes of output not sent, whether they may leave or not. */
uint64_t brd_session_unsent(const struct brd_session *session);

/* The same without blobs and without the large reply that is being sent. */
uint64_t brd_session_backlog(const struct brd_session *session);

/* What of the log's progress matters. */
enum brd_session_wait {
    BRD_SESSION_WAITS_NOT,
    BRD_SESSION_WAITS_FOR_SYNC, /* the first reply that waits does so for a sync */
    BRD_SESSION_WAITS_FOR_ALL,  /* ... for what is written too; or the session is parked */
};

enum brd_session_wait brd_session_waits_for_log(const struct brd_session *session);

/* Take no more input, and end the output with a reply of id 0 that says why
 * (BRD_OK: no reply). */
void brd_session_close(struct brd_session *session, enum brd_status why);

#endif
