/* The part of a replay that one thread does.
 *
 * Every key is bound to one connection by its hash, and at most one request of a
 * key is under way: a GET that may miss, and the SET that follows, keep the next
 * request of that key back until they are answered. So a key misses exactly as
 * often as if the trace ran one request at a time, whatever the pipeline depth.
 *
 * The thread reads its requests in the order of the trace and gives each to its
 * connection:
 *
 *   trace --> key is busy? --yes--> queue of the key ---(key becomes free)---+
 *                 |no                                                        v
 *                 +-----------------------------> ready queue of the connection
 *                                                            |  up to `depth`
 *                                                            v
 *                                                         under way
 *
 * Both queues use one pool of REPLAY_QUEUE_MAX entries per connection. Reading
 * stops where the next request's connection has none left, or as many requests
 * that were read and not done as its pipeline is deep: so memory is bounded, and
 * a request whose key is busy is overtaken by no more than that. The order of the
 * trace is what a small cache is measured by: with 256 read ahead a cache of 137
 * keys missed 0.63 of a trace of which it misses 0.58 in order. The SET after a
 * miss needs no entry: it goes where its GET was, and comes first.
 *
 * A connection that is lost takes its keys with it: their requests are skipped. */
#include "replay.h"

#include "rng.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* A request of the trace that waits, in one of two lists. */
struct waiting {
    uint32_t request;
    uint32_t next; /* in the pool of the connection */
};

struct list {
    uint32_t first;
    uint32_t last;
};

struct lane {
    struct list ready;
    struct list free;
    uint64_t open; /* requests that were read and are not done */
    struct waiting pool[REPLAY_QUEUE_MAX];
};

/* The waiting requests of a key; `busy` while one of its requests is ready or
 * under way. Only the thread that has the key's connection touches it. */
struct key_state {
    struct list waiting;
    bool busy;
};

struct replay {
    const struct replay_plan *plan;
    unsigned first; /* connection of all threads that is ours with index 0 */
    unsigned count;
    uint32_t cursor; /* next request of the trace to look at */
    struct lane *lanes;
    struct key_state *keys;
    uint64_t *key_tags; /* what values are tied to: a hash of the name */
    uint8_t *value;
    uint64_t nonce;
    uint64_t open; /* of all lanes */
    struct replay_counts counts;
};

/* ---- Lists in a pool ---- */

static void
list_push(struct lane *lane, struct list *list, uint32_t at)
{
    lane->pool[at].next = NONE;
    if (list->first == NONE)
        list->first = at;
    else
        lane->pool[list->last].next = at;
    list->last = at;
}

static uint32_t
list_pop(struct lane *lane, struct list *list)
{
    uint32_t at = list->first;
    BENCH_CHECK(at != NONE);
    list->first = lane->pool[at].next;
    if (list->first == NONE)
        list->last = NONE;
    return at;
}

/* ---- Issuing ---- */

static uint64_t
hash_name(struct span name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a, then mixed */
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ name.data[i]) * UINT64_C(0x100000001b3);
    return rng_mix(h);
}

static unsigned
connection_of(const struct replay *replay, uint32_t key)
{
    return (unsigned)rng_scale(rng_mix(replay->key_tags[key]), replay->plan->connections);
}

static uint32_t
value_len(const struct replay *replay, const struct trace_request *from)
{
    if (from->value_bytes != 0)
        return from->value_bytes;
    return sizes_at(replay->plan->value_size, replay->key_tags[from->key]);
}

/* How an operation of the trace is replayed. */
static enum request_kind
kind_of(enum trace_operation operation)
{
    switch (operation) {
    case TRACE_GET:
    case TRACE_GETS:
        return REQUEST_GET;
    case TRACE_ADD:
        return REQUEST_ADD;
    case TRACE_REPLACE:
        return REQUEST_REPLACE;
    case TRACE_APPEND:
    case TRACE_PREPEND:
        return REQUEST_APPEND;
    case TRACE_DELETE:
        return REQUEST_DELETE;
    case TRACE_SET:
    case TRACE_CAS:
    case TRACE_INCR: /* the values stored here are no numbers */
    case TRACE_DECR:
    case TRACE_OPERATION_COUNT:
        break;
    }
    return REQUEST_SET;
}

static uint64_t
intended_ns(const struct replay *replay, uint32_t request, uint64_t now_ns)
{
    const struct replay_plan *plan = replay->plan;
    if (plan->rate <= 0.0)
        return now_ns;
    return plan->start_ns + (uint64_t)((double)request * 1e9 / plan->rate);
}

static void
issue(struct replay *replay, struct driver *driver, unsigned conn, uint32_t number,
      enum request_kind kind, uint64_t start_ns)
{
    const struct replay_plan *plan = replay->plan;
    const struct trace_request *from = &plan->trace->requests[number];
    struct span name = trace_key(plan->trace, from->key);
    struct request request = { .kind = kind, .key_count = 1, .keys = &name };
    struct slot slot = { .start_ns = start_ns, .tag = number };

    if (kind != REQUEST_GET && kind != REQUEST_DELETE) {
        uint32_t len = value_len(replay, from);
        values_fill(plan->values, replay->value, len, replay->key_tags[from->key],
                    rng_mix(replay->nonce++));
        request.value = (struct span){ replay->value, len };
        request.ttl_ms =
            plan->ttl_from_trace && from->ttl_s != 0 ? (uint64_t)from->ttl_s * 1000 : plan->ttl_ms;
    }
    (void)driver_issue(driver, conn, &request, slot);
}

static void
issue_ready(struct replay *replay, struct driver *driver, unsigned conn, uint64_t now_ns)
{
    struct lane *lane = &replay->lanes[conn];

    while (driver_is_alive(driver, conn) && lane->ready.first != NONE &&
           driver_outstanding(driver, conn) < replay->plan->depth) {
        uint32_t at = list_pop(lane, &lane->ready);
        uint32_t number = lane->pool[at].request;
        uint64_t start_ns = intended_ns(replay, number, now_ns);
        list_push(lane, &lane->free, at);
        if (replay->plan->rate > 0.0)
            histogram_record(driver_stats(driver)->lag, now_ns - start_ns);
        issue(replay, driver, conn, number,
              kind_of(replay->plan->trace->requests[number].operation), start_ns);
    }
}

/* Reads on in the trace. Returns when the next request is due, or 0. */
static uint64_t
read_trace(struct replay *replay, struct driver *driver, uint64_t now_ns)
{
    const struct trace *trace = replay->plan->trace;

    for (; replay->cursor < trace->request_count; replay->cursor++) {
        uint32_t key = trace->requests[replay->cursor].key;
        unsigned conn = connection_of(replay, key) - replay->first;
        if (conn >= replay->count || !driver_is_alive(driver, conn))
            continue;
        uint64_t due_ns = intended_ns(replay, replay->cursor, now_ns);
        if (due_ns > now_ns)
            return due_ns;
        struct lane *lane = &replay->lanes[conn];
        if (lane->free.first == NONE || lane->open >= replay->plan->depth)
            return 0;
        uint32_t at = list_pop(lane, &lane->free);
        lane->pool[at].request = replay->cursor;
        lane->open++;
        replay->open++;
        if (replay->keys[key].busy) {
            list_push(lane, &replay->keys[key].waiting, at);
            continue;
        }
        replay->keys[key].busy = true;
        list_push(lane, &lane->ready, at);
        if (lane->ready.first == at)
            issue_ready(replay, driver, conn, now_ns);
    }
    return 0;
}

/* ---- Hooks of the driver ---- */

static bool
is_time_over(const struct replay *replay, uint64_t now_ns)
{
    return replay->plan->end_ns != 0 && now_ns >= replay->plan->end_ns;
}

static void
replay_room(void *self, struct driver *driver, unsigned conn, uint64_t now_ns)
{
    struct replay *replay = self;
    if (!is_time_over(replay, now_ns))
        issue_ready(replay, driver, conn, now_ns);
}

static uint64_t
replay_tick(void *self, struct driver *driver, uint64_t now_ns)
{
    struct replay *replay = self;
    if (is_time_over(replay, now_ns))
        return 0;
    uint64_t due_ns = read_trace(replay, driver, now_ns);
    if (replay->plan->end_ns != 0 && (due_ns == 0 || replay->plan->end_ns < due_ns))
        return replay->plan->end_ns;
    return due_ns;
}

/* The request of this key is done: let the next one go. */
static void
release_key(struct replay *replay, unsigned conn, uint32_t key)
{
    struct key_state *state = &replay->keys[key];
    struct lane *lane = &replay->lanes[conn];

    BENCH_CHECK(state->busy && lane->open > 0);
    lane->open--;
    replay->open--;
    if (state->waiting.first == NONE)
        state->busy = false;
    else
        list_push(lane, &lane->ready, list_pop(lane, &state->waiting));
}

static void
replay_reply(void *self, struct driver *driver, unsigned conn, const struct slot *slot,
             const struct reply *reply, uint64_t now_ns)
{
    struct replay *replay = self;
    const struct replay_plan *plan = replay->plan;
    uint32_t number = (uint32_t)slot->tag;
    const struct trace_request *from = &plan->trace->requests[number];
    bool is_get = slot->kind == REQUEST_GET;

    if (!is_get && kind_of(from->operation) == REQUEST_GET) {
        replay->counts.fills++; /* the GET was counted when it missed */
        release_key(replay, conn, from->key);
        return;
    }
    replay->counts.requests++;
    if (is_get) {
        replay->counts.gets++;
        if (reply->kind == REPLY_MISS) {
            replay->counts.misses++;
            issue(replay, driver, conn, number, REQUEST_SET, now_ns);
            return;
        }
        if (reply->kind == REPLY_HIT) {
            replay->counts.hits++;
            if (plan->verify &&
                !values_check(plan->values, reply->value, replay->key_tags[from->key]))
                driver_count_wrong_value(driver, trace_key(plan->trace, from->key));
        }
    }
    release_key(replay, conn, from->key);
}

static bool
replay_finished(const void *self, uint64_t now_ns)
{
    const struct replay *replay = self;
    return is_time_over(replay, now_ns) ||
           (replay->cursor == replay->plan->trace->request_count && replay->open == 0);
}

/* The requests that the connection still had are gone with it. */
static void
replay_lost(void *self, struct driver *driver, unsigned conn)
{
    struct replay *replay = self;
    struct lane *lane = &replay->lanes[conn];
    (void)driver;

    replay->open -= lane->open;
    lane->open = 0;
    lane->ready = (struct list){ NONE, NONE };
}

const struct workload_ops replay_ops = {
    .room = replay_room,
    .tick = replay_tick,
    .reply = replay_reply,
    .lost = replay_lost,
    .finished = replay_finished,
};

/* ---- Making and ending ---- */

static bool
allocate(struct replay *replay)
{
    const struct trace *trace = replay->plan->trace;
    uint32_t len_max = replay->plan->value_size->max;

    for (uint32_t i = 0; i < trace->request_count; i++) {
        if (trace->requests[i].value_bytes > len_max)
            len_max = trace->requests[i].value_bytes;
    }
    replay->lanes = malloc(replay->count * sizeof(*replay->lanes));
    replay->keys = malloc(((size_t)trace->key_count + 1) * sizeof(*replay->keys));
    replay->key_tags = malloc(((size_t)trace->key_count + 1) * sizeof(*replay->key_tags));
    replay->value = malloc((size_t)len_max + 1);
    return replay->lanes != NULL && replay->keys != NULL && replay->key_tags != NULL &&
           replay->value != NULL;
}

bool
replay_create(struct replay **out_replay, const struct replay_plan *plan, unsigned first,
              unsigned count, struct bench_error *error)
{
    struct replay *replay = calloc(1, sizeof(*replay));

    if (replay == NULL)
        return bench_error_set(error, "no memory for a thread");
    replay->plan = plan;
    replay->first = first;
    replay->count = count;
    if (!allocate(replay)) {
        replay_destroy(&replay);
        return bench_error_set(error, "no memory to replay a trace of %u keys",
                               plan->trace->key_count);
    }
    for (uint32_t key = 0; key < plan->trace->key_count; key++) {
        replay->keys[key] = (struct key_state){ .waiting = { NONE, NONE } };
        replay->key_tags[key] = hash_name(trace_key(plan->trace, key));
    }
    for (unsigned i = 0; i < count; i++) {
        struct lane *lane = &replay->lanes[i];
        lane->ready = (struct list){ NONE, NONE };
        lane->free = (struct list){ NONE, NONE };
        lane->open = 0;
        for (uint32_t at = 0; at < REPLAY_QUEUE_MAX; at++)
            list_push(lane, &lane->free, at);
    }
    *out_replay = replay;
    return true;
}

void
replay_destroy(struct replay **replay_ref)
{
    struct replay *replay = *replay_ref;
    if (replay == NULL)
        return;
    free(replay->lanes);
    free(replay->keys);
    free(replay->key_tags);
    free(replay->value);
    free(replay);
    *replay_ref = NULL;
}

const struct replay_counts *
replay_counts(const struct replay *replay)
{
    return &replay->counts;
}
