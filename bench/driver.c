/* The event loop of one thread.
 *
 *   workload --driver_issue--> codec output --send--> server
 *   workload <--reply, room--- codec next   <--recv--
 *
 * The generator has to be cheap beside the server that it measures, so per
 * connection and turn there is one recv of as much as there is, one clock
 * reading for all answers in it, and one send for all requests that they give
 * room for. The reading taken after recv also stamps those next requests: they
 * leave a little later, so a latency is never too small. Nothing is allocated
 * per request.
 *
 * A connection that fails is closed and stays so; what was on it counts as
 * unanswered. The run goes on with the others, and ends as failed.
 *
 * Threads: a driver belongs to the thread in driver_run; only `progress` and the
 * interrupt flag are shared, both relaxed: they carry no other data. */
#include "driver.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX         256
#define TURN_NS            UINT64_C(100000000)  /* longest wait: interrupts are seen */
#define CHECK_NS           UINT64_C(1000000000) /* how often silence is looked for */
#define INTERRUPT_DRAIN_NS UINT64_C(1000000000)

struct conn {
    struct driver *driver;
    struct codec *codec;
    struct slot *ring; /* depth rounded up to a power of two */
    int fd;            /* -1: lost */
    unsigned index;
    uint32_t head; /* slots [head, tail) are unanswered; both only grow */
    uint32_t tail;
    bool dirty;       /* in the driver's list of connections to send on */
    bool wants_send;  /* the socket was full: EPOLLOUT is on */
    uint64_t last_ns; /* when something last went well */
};

struct driver {
    int epoll_fd;
    unsigned connection_count;
    unsigned alive;
    unsigned depth;
    uint32_t ring_mask;
    struct conn *conns;
    unsigned *dirty;
    unsigned dirty_count;
    uint64_t outstanding;
    uint64_t now_ns;
    bool draining;
    const struct phase *phase;  /* of the running phase */
    const struct slot *current; /* whose values are coming out of a codec */
    atomic_uint_fast64_t progress;
    uint64_t answered;
    struct driver_stats stats;
};

/* ---- One call, blocking ---- */

static bool
wait_for(int fd, short events, uint64_t deadline_ns, struct bench_error *error)
{
    for (;;) {
        uint64_t now = bench_now_ns();
        struct pollfd poller = { .fd = fd, .events = events };
        if (now >= deadline_ns)
            return bench_error_set(error, "no answer in time");
        int n = poll(&poller, 1, (int)((deadline_ns - now) / 1000000) + 1);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return bench_error_set(error, "poll: %s", strerror(errno));
    }
}

static bool
send_all(int fd, struct codec *codec, uint64_t deadline_ns, struct bench_error *error)
{
    for (;;) {
        struct span out = codec_output(codec);
        if (out.len == 0)
            return true;
        ssize_t n = send(fd, out.data, out.len, MSG_NOSIGNAL);
        if (n >= 0)
            codec_output_sent(codec, (size_t)n);
        else if (errno == EAGAIN) {
            if (!wait_for(fd, POLLOUT, deadline_ns, error))
                return false;
        } else if (errno != EINTR)
            return bench_error_set(error, "cannot send: %s", strerror(errno));
    }
}

bool
driver_call(int fd, struct codec *codec, const struct request *request, unsigned timeout_ms,
            struct reply *out_reply, struct bench_error *error)
{
    uint64_t deadline_ns = bench_now_ns() + (uint64_t)timeout_ms * 1000000;

    if (!codec_encode(codec, request)) {
        *error = codec->error;
        return false;
    }
    if (!send_all(fd, codec, deadline_ns, error))
        return false;
    for (;;) {
        size_t room = 0;
        enum codec_result result = codec_next(codec, request->kind, request->key_count, out_reply);
        if (result == CODEC_REPLY)
            return true;
        uint8_t *space = result == CODEC_BROKEN ? NULL : codec_input_space(codec, &room);
        if (space == NULL) {
            *error = codec->error;
            return false;
        }
        if (!wait_for(fd, POLLIN, deadline_ns, error))
            return false;
        ssize_t n = recv(fd, space, room, 0);
        if (n == 0)
            return bench_error_set(error, "the server closed the connection");
        if (n > 0)
            codec_input_added(codec, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            return bench_error_set(error, "cannot receive: %s", strerror(errno));
    }
}

/* ---- Failing ---- */

static void
note_error(struct driver *driver, const char *text, size_t len)
{
    struct bench_error *first = &driver->stats.first_error;
    driver->stats.errors++;
    if (first->text[0] != '\0')
        return;
    if (len > sizeof(first->text) - 1)
        len = sizeof(first->text) - 1;
    for (size_t i = 0; i < len; i++)
        first->text[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    first->text[len] = '\0';
}

static void
lose(struct conn *conn, const char *why)
{
    struct driver *driver = conn->driver;
    uint32_t open = conn->tail - conn->head;

    if (conn->fd < 0)
        return;
    note_error(driver, why, strlen(why));
    driver->stats.unanswered += open;
    driver->outstanding -= open;
    conn->head = conn->tail;
    close(conn->fd); /* leaves epoll with it */
    conn->fd = -1;
    driver->alive--;
    if (driver->phase->ops->lost != NULL)
        driver->phase->ops->lost(driver->phase->self, driver, conn->index);
}

static void
lose_errno(struct conn *conn, const char *what)
{
    struct bench_error error;
    bench_error_set(&error, "%s: %s", what, strerror(errno));
    lose(conn, error.text);
}

/* ---- Sending ---- */

static void
set_wants_send(struct conn *conn, bool wanted)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = conn->index };
    if (conn->wants_send == wanted)
        return;
    if (wanted)
        event.events |= EPOLLOUT;
    conn->wants_send = wanted;
    int rc = epoll_ctl(conn->driver->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
    BENCH_CHECK(rc == 0);
}

static void
flush(struct conn *conn)
{
    while (conn->fd >= 0) {
        struct span out = codec_output(conn->codec);
        if (out.len == 0) {
            set_wants_send(conn, false);
            return;
        }
        ssize_t n = send(conn->fd, out.data, out.len, MSG_NOSIGNAL);
        if (n >= 0) {
            conn->driver->stats.bytes_out += (uint64_t)n;
            codec_output_sent(conn->codec, (size_t)n);
        } else if (errno == EAGAIN) {
            set_wants_send(conn, true);
            return;
        } else if (errno != EINTR) {
            lose_errno(conn, "cannot send");
        }
    }
}

static void
flush_dirty(struct driver *driver)
{
    for (unsigned i = 0; i < driver->dirty_count; i++) {
        struct conn *conn = &driver->conns[driver->dirty[i]];
        conn->dirty = false;
        if (!conn->wants_send)
            flush(conn);
    }
    driver->dirty_count = 0;
}

bool
driver_issue(struct driver *driver, unsigned index, const struct request *request, struct slot slot)
{
    struct conn *conn = &driver->conns[index];

    BENCH_CHECK(index < driver->connection_count);
    if (conn->fd < 0)
        return false;
    BENCH_CHECK(conn->tail - conn->head < driver->depth);
    if (!codec_encode(conn->codec, request)) {
        lose(conn, conn->codec->error.text);
        return false;
    }
    slot.kind = (uint8_t)request->kind;
    slot.key_count = (uint16_t)request->key_count;
    if (conn->tail == conn->head)
        conn->last_ns = driver->now_ns;
    conn->ring[conn->tail++ & driver->ring_mask] = slot;
    driver->outstanding++;
    if (!conn->dirty) {
        conn->dirty = true;
        driver->dirty[driver->dirty_count++] = index;
    }
    return true;
}

/* ---- Receiving ---- */

static void
count_reply(struct driver *driver, const struct slot *slot, const struct reply *reply)
{
    struct driver_stats *stats = &driver->stats;
    uint64_t latency_ns = driver->now_ns > slot->start_ns ? driver->now_ns - slot->start_ns : 0;
    bool is_read = slot->kind == REQUEST_GET || slot->kind == REQUEST_GET_MANY;

    switch (reply->kind) {
    case REPLY_ERROR:
        note_error(driver, (const char *)reply->value.data, reply->value.len);
        return;
    case REPLY_HIT:
        stats->hits++;
        break;
    case REPLY_MISS:
        if (is_read)
            stats->misses++;
        else
            stats->refused++;
        break;
    case REPLY_REFUSED:
        stats->refused++;
        break;
    case REPLY_MANY:
        stats->hits += reply->hits;
        stats->misses += reply->misses;
        break;
    case REPLY_DONE:
        break;
    }
    stats->answers[slot->kind]++;
    histogram_record(is_read ? stats->reads : stats->writes, latency_ns);
}

/* All answers that are there in full. */
static void
take_replies(struct conn *conn)
{
    struct driver *driver = conn->driver;
    const struct phase *phase = driver->phase;

    while (conn->head != conn->tail) {
        struct reply reply = { .kind = REPLY_DONE };
        struct slot slot = conn->ring[conn->head & driver->ring_mask];

        driver->current = &slot;
        switch (codec_next(conn->codec, slot.kind, slot.key_count, &reply)) {
        case CODEC_MORE:
            return;
        case CODEC_BROKEN:
            lose(conn, conn->codec->error.text);
            return;
        case CODEC_REPLY:
            break;
        }
        conn->head++;
        driver->outstanding--;
        driver->answered++;
        count_reply(driver, &slot, &reply);
        phase->ops->reply(phase->self, driver, conn->index, &slot, &reply, driver->now_ns);
    }
}

static void
receive(struct conn *conn)
{
    struct driver *driver = conn->driver;
    size_t room = 0;
    uint8_t *space = codec_input_space(conn->codec, &room);

    if (space == NULL) {
        lose(conn, conn->codec->error.text);
        return;
    }
    ssize_t n = recv(conn->fd, space, room, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            lose_errno(conn, "cannot receive");
        return;
    }
    if (n == 0) {
        lose(conn, "the server closed the connection");
        return;
    }
    driver->now_ns = bench_now_ns();
    driver->stats.bytes_in += (uint64_t)n;
    conn->last_ns = driver->now_ns;
    codec_input_added(conn->codec, (size_t)n);
    if (conn->head == conn->tail) {
        struct reply reply;
        enum codec_result result = codec_next(conn->codec, REQUEST_SET, 1, &reply);
        lose(conn, result == CODEC_BROKEN ? conn->codec->error.text
                                          : "the server sent what nobody asked for");
        return;
    }
    take_replies(conn);
    if (!driver->draining && conn->fd >= 0)
        driver->phase->ops->room(driver->phase->self, driver, conn->index, driver->now_ns);
    flush_dirty(driver);
}

/* ---- Loop ---- */

static void
lose_silent(struct driver *driver)
{
    for (unsigned i = 0; i < driver->connection_count; i++) {
        struct conn *conn = &driver->conns[i];
        if (conn->fd >= 0 && conn->head != conn->tail &&
            driver->now_ns > conn->last_ns + driver->phase->timeout_ns)
            lose(conn, "a request got no answer in time (--timeout)");
    }
}

static int
wait_events(struct driver *driver, struct epoll_event *events, uint64_t wake_ns)
{
    uint64_t wait_ns = TURN_NS;
    if (wake_ns != 0) {
        uint64_t now = bench_now_ns();
        driver->now_ns = now;
        wait_ns = wake_ns > now ? wake_ns - now : 0;
        if (wait_ns > TURN_NS)
            wait_ns = TURN_NS;
    }
    struct timespec timeout = { .tv_sec = 0, .tv_nsec = (long)wait_ns };
    int n = epoll_pwait2(driver->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    if (n < 0) {
        BENCH_CHECK(errno == EINTR);
        n = 0;
    }
    return n;
}

static void
handle_event(struct driver *driver, const struct epoll_event *event)
{
    struct conn *conn = &driver->conns[event->data.u32];
    if (conn->fd >= 0 && (event->events & EPOLLOUT) != 0)
        flush(conn);
    if (conn->fd >= 0 && (event->events & ~(uint32_t)EPOLLOUT) != 0)
        receive(conn);
}

/* What nobody waits for any longer. The connections cannot be used again. */
static void
abandon(struct driver *driver)
{
    for (unsigned i = 0; i < driver->connection_count; i++) {
        struct conn *conn = &driver->conns[i];
        uint32_t open = conn->tail - conn->head;
        if (conn->fd < 0 || open == 0)
            continue;
        driver->stats.unanswered += open;
        driver->outstanding -= open;
        conn->head = conn->tail;
        close(conn->fd);
        conn->fd = -1;
        driver->alive--;
    }
}

void
driver_run(struct driver *driver, const struct phase *phase)
{
    struct epoll_event events[EVENTS_MAX];
    const struct workload_ops *ops = phase->ops;
    uint64_t next_check_ns = 0;
    uint64_t drain_until_ns = 0;

    driver->phase = phase;
    driver->draining = false;
    driver->answered = 0;
    driver->now_ns = bench_now_ns();
    for (unsigned i = 0; i < driver->connection_count; i++) {
        if (driver->conns[i].fd >= 0)
            ops->room(phase->self, driver, i, driver->now_ns);
    }
    flush_dirty(driver);

    while (driver->alive > 0) {
        uint64_t wake_ns = 0;
        if (!driver->draining && atomic_load_explicit(phase->interrupted, memory_order_relaxed)) {
            driver->draining = true;
            drain_until_ns = driver->now_ns + INTERRUPT_DRAIN_NS;
        }
        if (!driver->draining)
            wake_ns = ops->tick(phase->self, driver, driver->now_ns);
        flush_dirty(driver);
        if (driver->outstanding == 0 &&
            (driver->draining || ops->finished(phase->self, driver->now_ns)))
            break;
        if (driver->draining && driver->now_ns > drain_until_ns) {
            abandon(driver);
            break;
        }

        int n = wait_events(driver, events, wake_ns);
        if (n == 0 || wake_ns != 0)
            driver->now_ns = bench_now_ns();
        for (int i = 0; i < n; i++)
            handle_event(driver, &events[i]);
        atomic_store_explicit(&driver->progress, driver->answered, memory_order_relaxed);
        if (driver->now_ns >= next_check_ns) {
            lose_silent(driver);
            next_check_ns = driver->now_ns + CHECK_NS;
        }
    }
    driver->phase = NULL;
}

/* ---- Making and ending ---- */

static void
on_value(void *context, size_t index, struct span key, struct span value)
{
    struct conn *conn = context;
    struct driver *driver = conn->driver;
    const struct phase *phase = driver->phase;
    if (phase != NULL && phase->ops->value != NULL)
        phase->ops->value(phase->self, driver, conn->index, driver->current, index, key, value);
}

static bool
open_conn(struct driver *driver, const struct driver_options *options, unsigned index,
          struct bench_error *error)
{
    struct conn *conn = &driver->conns[index];
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = index };

    conn->driver = driver;
    conn->index = index;
    conn->ring = calloc(driver->ring_mask + 1, sizeof(*conn->ring));
    if (conn->ring == NULL)
        return bench_error_set(error, "no memory for %u connections", driver->connection_count);
    if (!codec_create(&conn->codec, options->protocol, error))
        return false;
    conn->codec->value_fn = on_value;
    conn->codec->value_context = conn;
    conn->fd = address_connect(options->address, options->connect_timeout_ms, error);
    if (conn->fd < 0)
        return false;
    driver->alive++;
    if (conn->codec->ops->has_hello) {
        struct request hello = { .kind = REQUEST_HELLO };
        struct reply reply;
        if (!driver_call(conn->fd, conn->codec, &hello, options->connect_timeout_ms, &reply, error))
            return false;
        if (reply.kind == REPLY_ERROR)
            return bench_error_set(error, "the server refuses a connection: %.*s",
                                   (int)reply.value.len, (const char *)reply.value.data);
    }
    if (epoll_ctl(driver->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) != 0)
        return bench_error_set(error, "epoll: %s", strerror(errno));
    return true;
}

static bool
init(struct driver *driver, const struct driver_options *options, struct bench_error *error)
{
    uint32_t slots = 1;
    while (slots < options->depth)
        slots *= 2;
    driver->ring_mask = slots - 1;
    driver->depth = options->depth;
    driver->conns = calloc(options->connections, sizeof(*driver->conns));
    driver->dirty = calloc(options->connections, sizeof(*driver->dirty));
    driver->stats.reads = histogram_create();
    driver->stats.writes = histogram_create();
    driver->stats.lag = histogram_create();
    if (driver->conns == NULL || driver->dirty == NULL || driver->stats.reads == NULL ||
        driver->stats.writes == NULL || driver->stats.lag == NULL)
        return bench_error_set(error, "no memory for %u connections", options->connections);
    driver->connection_count = options->connections;
    for (unsigned i = 0; i < options->connections; i++)
        driver->conns[i].fd = -1;
    driver->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (driver->epoll_fd < 0)
        return bench_error_set(error, "epoll: %s", strerror(errno));
    for (unsigned i = 0; i < options->connections; i++) {
        if (!open_conn(driver, options, i, error))
            return false;
    }
    return true;
}

bool
driver_create(struct driver **out_driver, const struct driver_options *options,
              struct bench_error *error)
{
    struct driver *driver = calloc(1, sizeof(*driver));

    BENCH_CHECK(options->connections > 0);
    BENCH_CHECK(options->depth > 0 && options->depth <= DRIVER_DEPTH_MAX);
    if (driver == NULL)
        return bench_error_set(error, "no memory for a thread");
    driver->epoll_fd = -1;
    if (!init(driver, options, error)) {
        driver_destroy(&driver);
        return false;
    }
    *out_driver = driver;
    return true;
}

void
driver_destroy(struct driver **driver_ref)
{
    struct driver *driver = *driver_ref;
    if (driver == NULL)
        return;
    for (unsigned i = 0; driver->conns != NULL && i < driver->connection_count; i++) {
        if (driver->conns[i].fd >= 0)
            close(driver->conns[i].fd);
        codec_destroy(&driver->conns[i].codec);
        free(driver->conns[i].ring);
    }
    if (driver->epoll_fd >= 0)
        close(driver->epoll_fd);
    histogram_destroy(&driver->stats.reads);
    histogram_destroy(&driver->stats.writes);
    histogram_destroy(&driver->stats.lag);
    free(driver->conns);
    free(driver->dirty);
    free(driver);
    *driver_ref = NULL;
}

struct driver_stats *
driver_stats(struct driver *driver)
{
    return &driver->stats;
}

void
driver_reset_stats(struct driver *driver)
{
    struct driver_stats fresh = { .reads = driver->stats.reads,
                                  .writes = driver->stats.writes,
                                  .lag = driver->stats.lag };
    histogram_reset(fresh.reads);
    histogram_reset(fresh.writes);
    histogram_reset(fresh.lag);
    driver->stats = fresh;
}

uint64_t
driver_progress(const struct driver *driver)
{
    return atomic_load_explicit(&driver->progress, memory_order_relaxed);
}

unsigned
driver_alive(const struct driver *driver)
{
    return driver->alive;
}

unsigned
driver_outstanding(const struct driver *driver, unsigned conn)
{
    return driver->conns[conn].tail - driver->conns[conn].head;
}

bool
driver_is_alive(const struct driver *driver, unsigned conn)
{
    return driver->conns[conn].fd >= 0;
}

unsigned
driver_connections(const struct driver *driver)
{
    return driver->connection_count;
}

void
driver_count_wrong_value(struct driver *driver, struct span key)
{
    struct bench_error error;
    bench_error_set(&error, "a value is not what was stored under its key '%.*s'",
                    key.len > 100 ? 100 : (int)key.len, (const char *)key.data);
    driver->stats.wrong_values++;
    note_error(driver, error.text, strlen(error.text));
}
