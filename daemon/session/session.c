/* The states of a conversation, pipelining and back-pressure.
 *
 * Input is taken in groups of up to 32 requests, decoded in place: all keys are
 * hashed and prefetched, then the requests are executed in order, each reply
 * encoded into `out` before the next request runs. (dispatch.c executes one.)
 *
 *      input ... | group | group | frame that is not whole
 *                  decode, prepare, execute -> out
 *
 * Where few requests are pipelined a group is filled from several sessions
 * (brd_session_stage), because what it hides, the waiting for memory, is a fifth
 * of a request that comes alone. Each session then finds its part at the front
 * of the group: sessions are run in the order in which they were staged, and
 * only the last can have more requests than are staged. Staging changes nothing
 * but the group, so what a session does not run is simply decoded again.
 *
 *      out       | may leave      | gate | waits | gate | waits
 *                begin            limit                         end
 *
 * A reply that looked at something the log has not committed makes a gate
 * (gates.h). Output up to the first gate that is not met may be sent. When the
 * log fails, no gate that is not met ever will be: those replies are taken out
 * and UNKNOWN_RESULT is put in their place; the others leave unchanged.
 *
 * A request that takes long (a purge, an exact count) is executed in parts, one for
 * each offer: after a part the session takes nothing more, and stays OPEN. Its
 * request stays with the caller as if it had not been looked at, is decoded
 * again, alone, and goes on where `job` says. So it keeps its place among the
 * replies, and between two parts others of the worker are served. It holds
 * nothing meanwhile: where the conversation ends it is forgotten.
 *
 * A checkpoint is the checkpointer's work, and this session only waits for it, as
 * PARKED as if the log's queue were full. That may take minutes in which the log makes
 * progress thousands of times a second, so an offer looks first whether it is over.
 * Nobody is held up by it for nothing: brd_session_hurry.
 *
 * Back-pressure: reading stops, and nothing is dropped or refused, while the
 * log's queue is full (PARKED), or while too many requests are unanswered or
 * too many bytes unsent (FULL). So memory per connection is bounded by one reply
 * above the limits. A reply of many values that is above the soft limit alone
 * waits for an empty output; while it is being sent it does not count.
 *
 * That times ten thousand connections would still be too much, hence a limit of
 * all sessions together: above it a session is full with 64 KiB, and a larger
 * reply of many values is refused.
 *
 * Unanswered requests are counted by marks: (position, how many replies end at
 * or before it). A mark stands for up to an eighth of the limit, so the count
 * is exact when the output is empty and otherwise late by at most that much.
 *
 * Threads: the worker's. Failure: a bad frame is answered with id 0 after all
 * earlier replies, then the conversation ends; where memory runs out it ends at
 * once, because a reply is lost.
 *
 * Not here: sockets, time-outs (server/). */
#include "proto/frame.h"
#include "session/core.h"

#include <stdlib.h>

#define FRAME_OVERHEAD_BYTES (UINT64_C(1) << 20) /* a frame is at most a value and this */
#define OUTPUT_SOFT_BYTES    (UINT64_C(2) << 20)
#define OUTPUT_BLOB_BYTES    (UINT64_C(64) << 20)
#define PENDING_MAX          1024
#define ARENA_OVERHEAD_BYTES (UINT64_C(16) << 20)

/* ---- environment ---- */

void
brd_session_env_set_limits(struct brd_session_env *env, const struct brd_session_limits *limits)
{
    env->limits = *limits;
    if (env->limits.output_soft_bytes == 0)
        env->limits.output_soft_bytes = OUTPUT_SOFT_BYTES;
    if (env->limits.output_blob_bytes == 0)
        env->limits.output_blob_bytes = OUTPUT_BLOB_BYTES;
    if (env->limits.pending_max == 0)
        env->limits.pending_max = PENDING_MAX;
    env->unsent_easy_bytes = CROWDED_BYTES_FREE;
    if (env->unsent_easy_bytes > env->limits.output_soft_bytes)
        env->unsent_easy_bytes = env->limits.output_soft_bytes;
    if (env->unsent_easy_bytes > env->limits.output_blob_bytes)
        env->unsent_easy_bytes = env->limits.output_blob_bytes;
}

enum brd_status
brd_session_env_create(const struct brd_session_options *options, struct brd_session_env **out_env)
{
    struct brd_session_env *env = aligned_alloc(BRD_CACHE_LINE, sizeof(*env));
    enum brd_status status;

    if (env == NULL)
        return BRD_OUT_OF_MEMORY;
    memset(env, 0, sizeof(*env));
    env->engine = options->engine;
    brd_outq_pool_init(&env->pool, POOL_CHUNKS_KEPT);
    brd_session_env_set_limits(env, &options->limits);
    brd_engine_get_info(env->engine, &env->info);
    env->frame_bytes_max = options->frame_bytes_max != 0
                               ? options->frame_bytes_max
                               : env->info.max_value_bytes + FRAME_OVERHEAD_BYTES;
    env->requests_at_once = options->requests_at_once != 0 ? options->requests_at_once : UINT32_MAX;
    env->wire_limits.batch_keys_max =
        options->batch_keys_max != 0 ? options->batch_keys_max : env->info.max_batch_keys;

    /* The general decoder copies, and keeps pointers to every element; a frame whose value lay
     * apart is put together there. */
    env->arena = brd_wire_arena_create((size_t)(2 * env->frame_bytes_max + ARENA_OVERHEAD_BYTES));
    status = env->arena == NULL ? BRD_OUT_OF_MEMORY : brd_caller_attach(env->engine, &env->caller);
    if (status != BRD_OK) {
        brd_session_env_destroy(&env);
        return status;
    }
    *out_env = env;
    return BRD_OK;
}

void
brd_session_env_destroy(struct brd_session_env **env)
{
    if (*env == NULL)
        return;
    if ((*env)->caller != NULL)
        brd_caller_detach(&(*env)->caller);
    brd_wire_arena_destroy(&(*env)->arena);
    brd_outq_pool_fini(&(*env)->pool);
    free(*env);
    *env = NULL;
}

const struct brd_session_counters *
brd_session_env_counters(const struct brd_session_env *env)
{
    return &env->counters;
}

uint64_t
brd_session_env_chunk_bytes(const struct brd_session_env *env)
{
    return env->pool.chunk_bytes;
}

void
brd_session_refusal(enum brd_status status, struct brd_buf *out)
{
    struct brd_reply reply = { .status = status };
    struct brd_outq_pool pool;
    struct brd_outq queue;
    struct iovec part;

    brd_outq_pool_init(&pool, 0);
    brd_outq_init(&queue, &pool);
    brd_wire_encode(&queue, 0, &reply);
    while (brd_outq_peek(&queue, UINT64_MAX, &part, 1) > 0) {
        brd_buf_append(out, part.iov_base, part.iov_len);
        brd_outq_consume(&queue, part.iov_len);
    }
    if (queue.failed)
        out->failed = true;
    brd_outq_fini(&queue);
    brd_outq_pool_fini(&pool);
}

/* ---- life ---- */

struct brd_session *
brd_session_create(struct brd_session_env *env)
{
    struct brd_session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return NULL;
    session->env = env;
    brd_outq_init(&session->out, &env->pool);
    session->state = BRD_SESSION_OPEN;
    session->needs = 1;
    return session;
}

void
brd_session_destroy(struct brd_session **session)
{
    if (*session == NULL)
        return;
    brd_blob_unref((*session)->apart.value);
    gates_fini(&(*session)->gates);
    brd_outq_fini(&(*session)->out);
    free(*session);
    *session = NULL;
}

enum brd_session_state
brd_session_state(const struct brd_session *session)
{
    return session->state;
}

uint64_t
brd_session_needs(const struct brd_session *session)
{
    return session->needs;
}

/* The value that lies apart has been taken, or never will be. */
static void
drop_value(struct brd_session *session)
{
    brd_blob_unref(session->apart.value);
    session->apart.value = NULL;
}

void
brd_session_close(struct brd_session *session, enum brd_status why)
{
    if (session->state >= BRD_SESSION_CLOSING)
        return;
    session->state = BRD_SESSION_CLOSING;
    drop_value(session);
    if (why != BRD_OK)
        dispatch_status(session, 0, why, NULL);
    if (session->out.failed)
        session->state = BRD_SESSION_FAILED;
}

/* ---- what is unanswered and unsent ---- */

uint64_t
brd_session_unsent(const struct brd_session *session)
{
    return brd_outq_pending(&session->out);
}

uint64_t
brd_session_dropped_bytes(const struct brd_session *session)
{
    return session->out.blob_bytes == 0 ? 0 : brd_outq_dropped_bytes(&session->out);
}

uint64_t
brd_session_backlog(const struct brd_session *session)
{
    const struct brd_outq *out = &session->out;

    if (out->begin < session->large_end)
        return out->end - session->large_end - session->behind_blob_bytes;
    return brd_outq_pending(out) - out->blob_bytes;
}

static bool
is_over_a_limit(const struct brd_session *session)
{
    const struct brd_session_limits *limits = &session->env->limits;

    return session->pending >= limits->pending_max ||
           brd_session_backlog(session) >= limits->output_soft_bytes ||
           session->out.blob_bytes >= limits->output_blob_bytes ||
           (brd_outq_pending(&session->out) - session->out.blob_bytes >= CROWDED_BYTES_FREE &&
            is_crowded(session->env, 0)) ||
           (session->until_empty && brd_outq_pending(&session->out) > 0);
}

/* The first line holds for nearly all sessions at nearly all times: less is unsent
 * than any limit allows. */
static inline bool
is_full(const struct brd_session *session)
{
    if (BRD_LIKELY(brd_outq_pending(&session->out) < session->env->unsent_easy_bytes &&
                   session->pending < session->env->limits.pending_max && !session->until_empty))
        return false;
    return is_over_a_limit(session);
}

static struct mark *
mark_at(struct brd_session *session, uint32_t i)
{
    return &session->marks[(session->mark_first + i) % MARKS_MAX];
}

static void
add_pending(struct brd_session *session, uint32_t count)
{
    uint32_t share = session->env->limits.pending_max / 8;
    struct mark *last;

    if (count == 0)
        return;
    session->pending += count;
    if (session->mark_count > 0) {
        last = mark_at(session, session->mark_count - 1);
        if (last->count + count <= share || session->mark_count == MARKS_MAX) {
            last->count += count;
            last->end = session->out.end;
            return;
        }
    }
    *mark_at(session, session->mark_count++) =
        (struct mark){ .end = session->out.end, .count = count };
}

/* ---- input ---- */

/* Decode requests from the front of input, behind those that are in the group:
 * so many that a group, a call and the limit of unanswered ones allow; alone one whose
 * value lies apart. */
static enum group_end
decode_more(struct brd_session *session, struct brd_bytes input, uint32_t max)
{
    struct brd_session_env *env = session->env;
    struct group *group = &env->group;
    uint32_t room = env->limits.pending_max - session->pending;
    const struct brd_wire_apart *apart = session->apart.value != NULL ? &session->apart : NULL;
    size_t lacks = apart != NULL ? (size_t)apart->place.size : 0;
    size_t until = group->count;
    size_t at = 0;

    if (max > room)
        max = room;
    if (BRD_UNLIKELY(apart != NULL))
        max = 1;
    until += max < GROUP_MAX ? max : GROUP_MAX;
    BRD_CHECK(until <= GROUP_ROOM);
    while (group->count < until) {
        struct brd_request *request = &group->requests[group->count];
        enum brd_status status;
        uint64_t body;
        size_t head;

        switch (brd_frame_parse(input.data + at, input.size - at + lacks, env->frame_bytes_max,
                                &head, &body)) {
        case BRD_FRAME_OK:
            break;
        case BRD_FRAME_MORE:
            session->needs = head > 0 ? head + body : input.size - at + 1;
            session->needs_prefix = head;
            return END_OF_INPUT;
        case BRD_FRAME_TOO_LONG:
            return END_TOO_LARGE;
        case BRD_FRAME_BAD:
            return END_BAD;
        }
        body -= lacks;
        status = brd_wire_decode(env->arena, &env->wire_limits,
                                 brd_bytes(input.data + at + head, (size_t)body), apart, request);
        if (BRD_UNLIKELY(status != BRD_OK)) {
            if (status == BRD_PROTOCOL_ERROR)
                return END_BAD;
            /* Those before it may be what fills the arena: try again without. */
            if ((status == BRD_TOO_LARGE || status == BRD_OUT_OF_MEMORY) && group->count > 0)
                return END_OF_GROUP;
            if (status == BRD_OUT_OF_MEMORY)
                return END_NO_MEMORY;
            request->op = BRD_OP_UNKNOWN;
            request->key = brd_bytes(NULL, 0);
            request->count = 0;
        }
        at += head + (size_t)body;
        group->decoded[group->count] = status;
        group->ends[group->count] = at;
        group->count++;
    }
    return END_OF_GROUP;
}

/* So many requests at the front of the group are done with. */
static void
leave_group(struct brd_session_env *env, size_t count)
{
    struct group *group = &env->group;

    group->first += count;
    BRD_CHECK(group->first <= group->count);
    if (group->first < group->count)
        return;
    group->first = 0;
    group->count = 0;
    brd_wire_arena_clear(env->arena);
}

/* Execute count requests at the front of the group until something stops it;
 * returns the bytes of input that have been dealt with. */
static size_t
run_group(struct brd_session *session, size_t count)
{
    struct brd_session_env *env = session->env;
    struct group *group = &env->group;
    struct gate gate;
    size_t used = 0;
    size_t i;

    for (i = group->first; i < group->first + count && session->state == BRD_SESSION_OPEN; i++) {
        if (BRD_UNLIKELY(is_full(session))) {
            session->state = BRD_SESSION_FULL;
            break;
        }
        switch (dispatch_request(session, &group->requests[i], group->decoded[i], &gate)) {
        case DISPATCH_PARKED:
            session->state = BRD_SESSION_PARKED;
            if (session->job.ticket == 0)
                brd_counter_add(&env->counters.pauses_log, 1);
            continue;
        case DISPATCH_PARTLY:
            return used;
        case DISPATCH_POSTPONED:
            session->until_empty = true;
            session->state = BRD_SESSION_FULL;
            continue;
        case DISPATCH_DONE:
            break;
        }
        used = group->ends[i];
        if (BRD_UNLIKELY((gate.after_normal | gate.after_full) != 0)) {
            brd_counter_add(&env->counters.replies_gated, 1);
            if (!session->out.failed && !gates_push(&session->gates, &gate))
                session->state = BRD_SESSION_FAILED;
        }
        if (BRD_UNLIKELY(session->out.failed))
            session->state = BRD_SESSION_FAILED;
    }
    return used;
}

static void
finish_input(struct brd_session *session, enum group_end end)
{
    struct brd_session_counters *counters = &session->env->counters;

    switch (end) {
    case END_OF_GROUP:
        if (is_full(session))
            session->state = BRD_SESSION_FULL;
        break;
    case END_OF_INPUT:
        break;
    case END_BAD:
        brd_counter_add(&counters->frames_bad, 1);
        brd_session_close(session, BRD_PROTOCOL_ERROR);
        break;
    case END_TOO_LARGE:
        brd_counter_add(&counters->frames_too_large, 1);
        brd_session_close(session, BRD_TOO_LARGE);
        break;
    case END_NO_MEMORY:
        session->state = BRD_SESSION_FAILED;
        break;
    }
}

void
brd_session_env_begin(struct brd_session_env *env)
{
    BRD_CHECK(!env->in_batch);
    env->in_batch = true;
    brd_caller_begin(env->caller);
    env->committed = brd_engine_committed(env->engine);
    if (env->group.count > 0)
        brd_caller_prepare(env->caller, env->group.requests, env->group.count);
}

void
brd_session_env_end(struct brd_session_env *env)
{
    BRD_CHECK(env->in_batch);
    BRD_CHECK(env->group.count == 0);
    env->in_batch = false;
    brd_caller_end(env->caller);
}

bool
brd_session_stage(struct brd_session *session, struct brd_bytes input)
{
    struct group *group = &session->env->group;
    size_t before = group->count;

    BRD_CHECK(!session->env->in_batch && session->staged == NULL && before < GROUP_MAX);
    BRD_CHECK(session->apart.value == NULL);
    if (session->state != BRD_SESSION_OPEN || is_full(session))
        return true;
    session->staged = input.data;
    session->staged_end = decode_more(session, input, session->env->requests_at_once);
    session->staged_count = (uint32_t)(group->count - before);
    return session->staged_end == END_OF_INPUT && group->count < GROUP_MAX;
}

/* The request at the front is one that was executed before and is not over. */
static bool
has_begun(const struct brd_session *session)
{
    return session->job.under_way || session->job.ticket != 0;
}

/* The next requests of input as the first of the group: those that were staged,
 * or as many as a group takes. */
static enum group_end
next_group(struct brd_session *session, struct brd_bytes input, uint32_t max, uint32_t *out_count)
{
    struct brd_session_env *env = session->env;
    enum group_end end;

    if (session->staged != NULL) {
        BRD_CHECK(session->staged == input.data);
        session->staged = NULL;
        *out_count = session->staged_count;
        return session->staged_end;
    }
    BRD_CHECK(env->group.count == 0);
    end = decode_more(session, input, has_begun(session) ? 1 : max);
    *out_count = (uint32_t)env->group.count;
    if (*out_count > 0)
        brd_caller_prepare(env->caller, env->group.requests, env->group.count);
    return end;
}

/* Execute requests of input, in a batch. */
static size_t
take_input(struct brd_session *session, struct brd_bytes input)
{
    struct brd_session_env *env = session->env;
    enum group_end end = END_OF_GROUP;
    uint32_t left = env->requests_at_once;
    size_t used_all = 0;

    while (session->state == BRD_SESSION_OPEN && end == END_OF_GROUP && left > 0) {
        uint32_t count;
        size_t used = 0;

        end = next_group(session, input, left, &count);
        left -= count;
        if (count > 0) {
            uint64_t before = brd_counter_get(&env->counters.requests);

            used = run_group(session, count);
            add_pending(session, (uint32_t)(brd_counter_get(&env->counters.requests) - before));
            leave_group(env, count);
        } else if (BRD_UNLIKELY(end != END_OF_INPUT)) {
            leave_group(env, 0); /* what the decoding of a bad frame took */
        }
        if (BRD_UNLIKELY(session->apart.value != NULL && used > 0))
            drop_value(session);
        used_all += used;
        input.data += used;
        input.size -= used;
        if (BRD_UNLIKELY(session->job.under_way)) {
            session->needs = 1; /* whatever stopped the decoding lies behind it */
            break;
        }
        if (session->state == BRD_SESSION_OPEN)
            finish_input(session, end);
    }
    return used_all;
}

size_t
brd_session_input(struct brd_session *session, struct brd_bytes input)
{
    struct brd_session_env *env = session->env;
    bool alone = !env->in_batch;
    size_t used;

    if (session->state >= BRD_SESSION_CLOSING)
        return 0;
    if (session->state == BRD_SESSION_PARKED && session->hurry == BRD_OK &&
        !brd_engine_may_go_on(env->engine, &session->job))
        return 0;
    if (session->staged == NULL)
        session->needs = 1;
    if (is_full(session)) {
        if (session->staged != NULL)
            leave_group(env, session->staged_count);
        session->staged = NULL;
        session->needs = 1;
        session->state = BRD_SESSION_FULL;
        return 0;
    }
    session->state = BRD_SESSION_OPEN;
    session->until_empty = false;
    if (alone)
        brd_session_env_begin(env);
    used = take_input(session, input);
    if (alone)
        brd_session_env_end(env);
    if (session->state != BRD_SESSION_OPEN)
        session->needs = 1; /* whole frames may be among what is left */
    if (session->state == BRD_SESSION_FULL)
        brd_counter_add(&env->counters.pauses_output, 1);
    return used;
}

bool
brd_session_find_value(const struct brd_session *session, struct brd_bytes input,
                       uint64_t value_min, struct brd_span *out_place)
{
    size_t prefix = session->needs_prefix;

    if (session->state != BRD_SESSION_OPEN || session->apart.value != NULL ||
        session->needs <= input.size || prefix == 0 || prefix > input.size ||
        !brd_wire_find_value(brd_bytes(input.data + prefix, input.size - prefix),
                             session->needs - prefix, value_min, out_place))
        return false;
    out_place->begin += prefix;
    return true;
}

void
brd_session_put_value(struct brd_session *session, const struct brd_span *place,
                      struct brd_blob *value)
{
    BRD_CHECK(session->apart.value == NULL && place->size == brd_blob_bytes(value).size);
    session->apart.value = brd_blob_ref(value);
    session->apart.place =
        (struct brd_span){ .begin = place->begin - session->needs_prefix, .size = place->size };
}

void
brd_session_hurry(struct brd_session *session, enum brd_status why)
{
    BRD_CHECK(why != BRD_OK);
    session->hurry = why;
}

/* ---- output ---- */

static bool
is_met(const struct gate *gate, const struct brd_committed *committed)
{
    return gate->after_normal <= committed->normal && gate->after_full <= committed->full;
}

/* The log has failed: put UNKNOWN_RESULT in the place of every reply that waits
 * for what will never be committed. */
static void
give_up_gates(struct brd_session *session)
{
    struct brd_session_env *env = session->env;
    struct brd_outq old = session->out;

    brd_outq_init(&session->out, &env->pool);
    for (; session->gates.count > 0; gates_pop(&session->gates)) {
        const struct gate *gate = gates_at(&session->gates, 0);

        brd_outq_move(&session->out, &old, is_met(gate, &env->committed) ? gate->end : gate->begin);
        if (session->out.failed)
            break;
        if (is_met(gate, &env->committed))
            continue;
        brd_outq_consume(&old, gate->end - gate->begin);
        dispatch_status(session, gate->id, BRD_UNKNOWN_RESULT,
                        gate->write ? "the log failed before this write was committed: "
                                      "it may or may not have happened"
                                    : "the log failed: what this request saw may never have "
                                      "happened, so it is not told");
        brd_counter_add(&env->counters.replies_unknown, 1);
    }
    if (!session->out.failed)
        brd_outq_move(&session->out, &old, old.end);
    brd_outq_fini(&old);
    if (session->out.failed)
        session->state = BRD_SESSION_FAILED;

    /* Positions have changed: one mark stands for all. */
    session->large_end = 0;
    session->mark_first = 0;
    session->mark_count = session->pending > 0 ? 1 : 0;
    session->marks[0] = (struct mark){ .end = session->out.end, .count = session->pending };
}

/* The stream position up to which output may leave. */
static uint64_t
open_gates(struct brd_session *session)
{
    struct brd_session_env *env = session->env;
    struct gates *gates = &session->gates;

    while (gates->count > 0 && is_met(gates_at(gates, 0), &env->committed))
        gates_pop(gates);
    if (gates->count == 0)
        return UINT64_MAX;
    env->committed = brd_engine_committed(env->engine);
    while (gates->count > 0 && is_met(gates_at(gates, 0), &env->committed))
        gates_pop(gates);
    if (gates->count > 0 && env->committed.failed)
        give_up_gates(session);
    return gates->count == 0 ? UINT64_MAX : gates_at(gates, 0)->begin;
}

size_t
brd_session_output(struct brd_session *session, struct iovec *iov, size_t max)
{
    uint64_t limit = UINT64_MAX;

    if (session->gates.count > 0)
        limit = open_gates(session);
    if (session->state == BRD_SESSION_FAILED)
        return 0;
    return brd_outq_peek(&session->out, limit, iov, max);
}

void
brd_session_sent(struct brd_session *session, size_t n)
{
    brd_outq_consume(&session->out, n);
    while (session->mark_count > 0 &&
           session->marks[session->mark_first].end <= session->out.begin) {
        session->pending -= session->marks[session->mark_first].count;
        session->mark_first = (session->mark_first + 1) % MARKS_MAX;
        session->mark_count--;
    }
    if (session->state == BRD_SESSION_FULL && !is_full(session))
        session->state = BRD_SESSION_OPEN;
}

enum brd_session_wait
brd_session_waits_for_log(const struct brd_session *session)
{
    if (session->state == BRD_SESSION_PARKED)
        return BRD_SESSION_WAITS_FOR_ALL;
    if (session->gates.count == 0)
        return BRD_SESSION_WAITS_NOT;
    /* Replies leave in order, so what is behind the first does not matter. */
    return gates_at(&session->gates, 0)->after_full > session->env->committed.full
               ? BRD_SESSION_WAITS_FOR_SYNC
               : BRD_SESSION_WAITS_FOR_ALL;
}
