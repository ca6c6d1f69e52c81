/* The made-up load of one thread.
 *
 * Closed loop: every connection has `depth` requests under way. With REFILL_BATCH
 * the next batch leaves when the last one is answered in full, as redis-benchmark
 * -P does: every server then sees batches of the same size, whether it answers
 * them with one message or with many.
 *
 * Open loop: requests are due at times fixed beforehand, which do not wait for
 * answers. A request is given to the connections in turn; if all of them are
 * full it is late, and its latency still counts from the time at which it was
 * due, so that a stall of the server is seen by all requests that it delayed
 * (no coordinated omission). The backlog takes no memory: it is the distance
 * between `due_ns` and now. */
#include "load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* With a duration: what was due before its end may be sent so long after it. */
#define LATE_NS UINT64_C(100000000)

struct load {
    const struct load_plan *plan;
    struct rng rng;
    uint64_t quota; /* requests of this thread; UINT64_MAX: no limit */
    uint64_t issued;
    uint64_t sequence;
    uint64_t read_below; /* a random number below this is a read */
    bool all_reads;
    double due_ns; /* open loop: when the next request is due */
    double gap_ns; /* mean distance of requests of this thread */
    unsigned turn; /* connection that is asked next */
    bool over;     /* open loop: nothing more is due, or it is too late to send it */
    uint64_t unsent;
    uint32_t *many_keys; /* with verify: per connection and slot, `many` numbers */
    uint32_t *many_next; /* per connection */
    uint8_t *value;
    uint8_t *names;
    struct span *name_spans;
};

static bool
is_over(const struct load *load, uint64_t now_ns)
{
    const struct load_plan *plan = load->plan;
    if (plan->rate > 0.0)
        return load->over || load->issued >= load->quota;
    return load->issued >= load->quota || (plan->end_ns != 0 && now_ns >= plan->end_ns);
}

/* ---- One request ---- */

static struct span
name_key(struct load *load, unsigned at, uint64_t key)
{
    uint8_t *name = load->names + (size_t)at * load->plan->keys->size.max;
    load->name_spans[at] = (struct span){ name, keys_name(load->plan->keys, key, name) };
    return load->name_spans[at];
}

static bool
issue_write(struct load *load, struct driver *driver, unsigned conn, struct slot slot)
{
    const struct load_plan *plan = load->plan;
    uint64_t key = keys_next(plan->keys, &load->rng, &load->sequence);
    uint64_t nonce = rng_next(&load->rng);
    uint32_t len = sizes_at(plan->value_size, rng_mix(nonce));

    values_fill(plan->values, load->value, len, keys_tag(key), nonce);
    name_key(load, 0, key);
    struct request request = { .kind = REQUEST_SET,
                               .key_count = 1,
                               .keys = load->name_spans,
                               .value = { load->value, len },
                               .ttl_ms = plan->ttl_ms };
    slot.tag = key;
    return driver_issue(driver, conn, &request, slot);
}

static bool
issue_read(struct load *load, struct driver *driver, unsigned conn, struct slot slot)
{
    const struct load_plan *plan = load->plan;
    struct request request = { .kind = plan->many > 1 ? REQUEST_GET_MANY : REQUEST_GET,
                               .key_count = plan->many,
                               .keys = load->name_spans };
    uint32_t *remembered = NULL;

    if (load->many_keys != NULL) {
        slot.extra = load->many_next[conn]++ % plan->depth;
        remembered = load->many_keys + ((size_t)conn * plan->depth + slot.extra) * plan->many;
    }
    for (unsigned i = 0; i < plan->many; i++) {
        uint64_t key = keys_next(plan->keys, &load->rng, &load->sequence);
        name_key(load, i, key);
        slot.tag = key;
        if (remembered != NULL)
            remembered[i] = (uint32_t)key;
    }
    return driver_issue(driver, conn, &request, slot);
}

static bool
issue(struct load *load, struct driver *driver, unsigned conn, uint64_t start_ns)
{
    struct slot slot = { .start_ns = start_ns };
    load->issued++;
    if (load->all_reads || rng_next(&load->rng) < load->read_below)
        return issue_read(load, driver, conn, slot);
    return issue_write(load, driver, conn, slot);
}

/* ---- Hooks of the driver ---- */

static void
load_room(void *self, struct driver *driver, unsigned conn, uint64_t now_ns)
{
    struct load *load = self;
    const struct load_plan *plan = load->plan;
    unsigned outstanding = driver_outstanding(driver, conn);

    if (plan->rate > 0.0 || (plan->refill == REFILL_BATCH && outstanding > 0))
        return;
    for (; outstanding < plan->depth && !is_over(load, now_ns); outstanding++) {
        if (!issue(load, driver, conn, now_ns))
            return;
    }
}

/* A connection that may have one more request, in turn; false: none. */
static bool
find_room(struct load *load, struct driver *driver, unsigned *out_conn)
{
    unsigned count = driver_connections(driver);
    for (unsigned i = 0; i < count; i++) {
        unsigned conn = load->turn;
        load->turn = conn + 1 == count ? 0 : conn + 1;
        if (driver_is_alive(driver, conn) && driver_outstanding(driver, conn) < load->plan->depth) {
            *out_conn = conn;
            return true;
        }
    }
    return false;
}

static uint64_t
load_tick(void *self, struct driver *driver, uint64_t now_ns)
{
    struct load *load = self;
    const struct load_plan *plan = load->plan;

    if (plan->rate <= 0.0)
        return plan->end_ns;
    while (load->issued < load->quota) {
        uint64_t due_ns = (uint64_t)load->due_ns;
        unsigned conn = 0;
        if (plan->end_ns != 0 && due_ns >= plan->end_ns) {
            load->over = true;
            return 0;
        }
        if (due_ns > now_ns)
            return due_ns;
        if (plan->end_ns != 0 && now_ns >= plan->end_ns + LATE_NS) {
            load->over = true;
            load->unsent = (uint64_t)ceil(((double)plan->end_ns - load->due_ns) / load->gap_ns);
            return 0;
        }
        if (!find_room(load, driver, &conn))
            return 0; /* an answer will call again */
        histogram_record(driver_stats(driver)->lag, now_ns - due_ns);
        if (plan->arrivals == ARRIVALS_POISSON)
            load->due_ns += -log(1.0 - rng_unit(&load->rng)) * load->gap_ns;
        else
            load->due_ns += load->gap_ns;
        (void)issue(load, driver, conn, due_ns);
    }
    return 0;
}

static void
check_value(struct load *load, struct driver *driver, uint64_t key, struct span value)
{
    if (!values_check(load->plan->values, value, keys_tag(key)))
        driver_count_wrong_value(driver, name_key(load, 0, key));
}

static void
load_reply(void *self, struct driver *driver, unsigned conn, const struct slot *slot,
           const struct reply *reply, uint64_t now_ns)
{
    struct load *load = self;
    (void)conn;
    (void)now_ns;
    if (load->plan->verify && slot->kind == REQUEST_GET && reply->kind == REPLY_HIT)
        check_value(load, driver, slot->tag, reply->value);
}

static void
load_value(void *self, struct driver *driver, unsigned conn, const struct slot *slot, size_t index,
           struct span key, struct span value)
{
    struct load *load = self;
    const struct load_plan *plan = load->plan;

    if (load->many_keys == NULL)
        return;
    const uint32_t *asked =
        load->many_keys + ((size_t)conn * plan->depth + slot->extra) * plan->many;
    if (index != SIZE_MAX) {
        BENCH_CHECK(index < plan->many);
        check_value(load, driver, asked[index], value);
        return;
    }
    for (unsigned i = 0; i < plan->many; i++) {
        struct span name = name_key(load, 0, asked[i]);
        if (name.len == key.len && memcmp(name.data, key.data, key.len) == 0) {
            check_value(load, driver, asked[i], value);
            return;
        }
    }
    driver_count_wrong_value(driver, key); /* a key that was not asked for */
}

static bool
load_finished(const void *self, uint64_t now_ns)
{
    return is_over(self, now_ns);
}

const struct workload_ops load_ops = {
    .room = load_room,
    .tick = load_tick,
    .reply = load_reply,
    .value = load_value,
    .finished = load_finished,
};

/* ---- Making and ending ---- */

/* How many of `total` fall to this thread, and how many to those before it. */
static uint64_t
share(uint64_t total, unsigned thread, unsigned threads, uint64_t *out_before)
{
    uint64_t each = total / threads;
    uint64_t rest = total % threads;
    *out_before = each * thread + (thread < rest ? thread : rest);
    return each + (thread < rest ? 1 : 0);
}

static bool
allocate(struct load *load, unsigned connections)
{
    const struct load_plan *plan = load->plan;

    load->value = malloc(plan->value_size->max > 0 ? plan->value_size->max : 1);
    load->names = malloc((size_t)plan->many * plan->keys->size.max);
    load->name_spans = calloc(plan->many, sizeof(*load->name_spans));
    if (load->value == NULL || load->names == NULL || load->name_spans == NULL)
        return false;
    if (!plan->verify || plan->many == 1)
        return true;
    load->many_keys =
        calloc((size_t)connections * plan->depth * plan->many, sizeof(*load->many_keys));
    load->many_next = calloc(connections, sizeof(*load->many_next));
    return load->many_keys != NULL && load->many_next != NULL;
}

bool
load_create(struct load **out_load, const struct load_plan *plan, unsigned thread,
            unsigned connections, struct bench_error *error)
{
    struct load *load = calloc(1, sizeof(*load));
    uint64_t before = 0;

    BENCH_CHECK(plan->many >= 1 && plan->many <= CODEC_KEYS_MAX);
    if (load == NULL)
        return bench_error_set(error, "no memory for a thread");
    load->plan = plan;
    if (!allocate(load, connections)) {
        load_destroy(&load);
        return bench_error_set(error, "no memory for a thread");
    }
    rng_init(&load->rng, plan->seed + thread * UINT64_C(0x5851f42d4c957f2d));
    load->quota = plan->requests == 0 ? UINT64_MAX
                                      : share(plan->requests, thread, plan->thread_count, &before);
    if (plan->sequential)
        load->sequence = plan->first + before;
    else
        (void)share(plan->keys->count, thread, plan->thread_count, &load->sequence);
    load->all_reads = plan->read_ratio >= 1.0;
    load->read_below = load->all_reads ? UINT64_MAX : (uint64_t)(plan->read_ratio * 0x1.0p64);
    if (plan->rate > 0.0) {
        load->gap_ns = 1e9 / plan->rate * plan->thread_count;
        load->due_ns = (double)plan->start_ns + load->gap_ns * thread / plan->thread_count;
    }
    *out_load = load;
    return true;
}

void
load_destroy(struct load **load_ref)
{
    struct load *load = *load_ref;
    if (load == NULL)
        return;
    free(load->value);
    free(load->names);
    free(load->name_spans);
    free(load->many_keys);
    free(load->many_next);
    free(load);
    *load_ref = NULL;
}

uint64_t
load_unsent(const struct load *load)
{
    return load->unsent;
}
