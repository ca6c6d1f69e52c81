/* A worker: one thread, one epoll, many connections.
 *
 * A round: sleep until something happens; run the connections that epoll names;
 * read the mailbox; run those that still have bytes to read, once each; run
 * those that wait for the log, if it has moved; check a slice of time-outs; look
 * whether others have less to do (balance.c); free what was closed.
 *
 * Progress of the log. Its threads count progress up and wake those workers
 * that sleep with connections waiting (brd_server_on_progress). Where only
 * more is written they count that apart and wake only those with connections that
 * do not all wait for a sync (brd_server_on_written): a write under `full` that is
 * alone would pay for two wake-ups, and its sync begin after the first. A worker reads
 * the counts before it runs anything, and again after it has announced that it
 * is about to sleep: if one that matters moved in between it does not sleep. So no
 * progress is missed, and a busy worker is never woken.
 *
 * Time-outs: a tick is an eighth of a quarter of the shortest time-out, at most
 * once a second and at least every 10 ms; each looks at an eighth of the
 * connections. A time-out is noticed late by at most a quarter of itself, and
 * ten thousand connections never mean one long pause. */
#include "server/conn.h"

#include <errno.h>
#include <sys/epoll.h>

#define EVENTS_MAX    256
#define SLICES        8
#define SLICE_MIN     32
#define TICK_MIN_NS   (10 * BRD_NS_PER_MS)
#define TICK_MAX_NS   BRD_NS_PER_S
#define DRAIN_TICK_NS (10 * BRD_NS_PER_MS)

/* ---- time ---- */

static void
set_tick(struct worker *worker)
{
    const struct brd_server_limits *limits = &worker->limits;
    uint64_t times[] = { limits->idle_ns, limits->progress_ns, limits->output_soft_ns,
                         worker->server->options.linger_ns };
    uint64_t shortest = UINT64_MAX;
    size_t i;

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        if (times[i] != 0 && times[i] < shortest)
            shortest = times[i];
    worker->tick_ns = shortest / (4 * (uint64_t)SLICES);
    if (worker->tick_ns < TICK_MIN_NS)
        worker->tick_ns = TICK_MIN_NS;
    if (worker->tick_ns > TICK_MAX_NS)
        worker->tick_ns = TICK_MAX_NS;
    worker->next_tick_ns = worker->now_ns + worker->tick_ns;
}

static void
check_times(struct worker *worker)
{
    uint32_t left = worker->conn_count / SLICES + SLICE_MIN;

    if (left > worker->conn_count)
        left = worker->conn_count;
    for (; left > 0 && !TAILQ_EMPTY(&worker->all); left--) {
        struct conn *conn = TAILQ_FIRST(&worker->all);

        TAILQ_REMOVE(&worker->all, conn, all_link);
        TAILQ_INSERT_TAIL(&worker->all, conn, all_link);
        conn_check_time(conn);
    }
    worker->next_tick_ns = worker->now_ns + worker->tick_ns;
}

/* ---- mail ---- */

static void
take_limits(struct worker *worker)
{
    struct brd_server *server = worker->server;

    brd_mutex_lock(&server->lock);
    worker->limits = server->limits;
    brd_mutex_unlock(&server->lock);
    worker->input_bytes_max = worker->limits.buffer_bytes / 2 / server->options.workers;
    worker->limits.session.output_all_bytes = worker->input_bytes_max;
    brd_session_env_set_limits(worker->env, &worker->limits.session);
    set_tick(worker);
}

static void
start_drain(struct worker *worker)
{
    struct conn *conn = TAILQ_FIRST(&worker->all);

    worker->draining = true;
    worker->drain_until_ns =
        worker->now_ns + atomic_load_explicit(&worker->server->drain_ns, memory_order_relaxed);
    while (conn != NULL) {
        struct conn *next = TAILQ_NEXT(conn, all_link);

        conn_drain(conn);
        conn = next;
    }
}

/* Bytes that only unsent replies keep in memory, and how many connections do so. */
static uint64_t
sum_held(const struct worker *worker, uint64_t *out_holders)
{
    const struct conn *conn = TAILQ_FIRST(&worker->all);
    uint64_t sum = 0;

    *out_holders = 0;
    while (conn != NULL) {
        uint64_t bytes = brd_session_dropped_bytes(conn->session);

        sum += bytes;
        *out_holders += bytes > 0;
        conn = TAILQ_NEXT(conn, all_link);
    }
    return sum;
}

/* Replies hold more large values that were replaced or removed than they may: close
 * connections until this worker's are within its share. In each pass those go that hold
 * the average or more, so that a few passes do. */
static void
give_up_held(struct worker *worker)
{
    uint64_t share = worker->limits.buffer_bytes / worker->server->options.workers;
    uint64_t holders;
    uint64_t sum;

    if (worker->limits.buffer_bytes == 0)
        return;
    while ((sum = sum_held(worker, &holders)) > share) {
        struct conn *conn = TAILQ_FIRST(&worker->all);
        uint64_t average = sum / holders;

        while (conn != NULL && sum > share) {
            struct conn *next = TAILQ_NEXT(conn, all_link);
            uint64_t bytes = brd_session_dropped_bytes(conn->session);

            if (bytes > 0 && bytes >= average) {
                sum -= bytes < sum ? bytes : sum;
                conn_close(conn, CLOSE_HELD);
            }
            conn = next;
        }
    }
}

static void
read_mail(struct worker *worker)
{
    struct mail mail;
    size_t i;

    mailbox_take(&worker->mailbox, &mail);
    if ((mail.notes & NOTE_PING) != 0)
        atomic_store_explicit(&worker->answered,
                              atomic_load_explicit(&worker->server->ping, memory_order_relaxed),
                              memory_order_relaxed);
    if ((mail.notes & NOTE_PROGRESS) != 0)
        brd_counter_add(&worker->counters.log_wakeups, 1);
    if ((mail.notes & NOTE_LIMITS) != 0)
        take_limits(worker);
    if ((mail.notes & NOTE_HELD) != 0)
        give_up_held(worker);
    for (i = 0; i < mail.count; i++)
        conn_open(worker, &mail.arrivals[i]);
    mailbox_mail_fini(&mail);
    if ((mail.notes & NOTE_STOP) != 0 && !worker->draining)
        start_drain(worker);
}

/* ---- rounds ---- */

/* Run each connection on the list once; they may leave it, or stay. */
static void
run_ready(struct worker *worker)
{
    struct conn *last = TAILQ_LAST(&worker->ready, conn_list);
    struct conn *conn = TAILQ_FIRST(&worker->ready);

    while (conn != NULL) {
        struct conn *next = conn == last ? NULL : TAILQ_NEXT(conn, ready_link);

        conn_run(conn);
        conn = next;
    }
    conn_run_window(worker);
}

/* The same for those that wait for the log. */
static void
run_waiting(struct worker *worker)
{
    struct conn *last = TAILQ_LAST(&worker->waiting, conn_list);
    struct conn *conn = TAILQ_FIRST(&worker->waiting);

    while (conn != NULL) {
        struct conn *next = conn == last ? NULL : TAILQ_NEXT(conn, waiting_link);

        conn_on_progress(conn);
        conn = next;
    }
    conn_run_window(worker);
}

static void
free_dead(struct worker *worker)
{
    while (!TAILQ_EMPTY(&worker->dead)) {
        struct conn *conn = TAILQ_FIRST(&worker->dead);

        TAILQ_REMOVE(&worker->dead, conn, all_link);
        conn_free(conn);
    }
}

/* How long epoll may sleep, in ms; -1: until something happens. */
static int
sleep_ms(struct worker *worker)
{
    uint64_t until_ns = worker->next_tick_ns;

    if (!TAILQ_EMPTY(&worker->ready))
        return 0;
    if (worker->draining && until_ns > worker->now_ns + DRAIN_TICK_NS)
        until_ns = worker->now_ns + DRAIN_TICK_NS;
    else if (worker->conn_count == 0)
        return -1;
    if (until_ns <= worker->now_ns)
        return 0;
    return (int)((until_ns - worker->now_ns) / BRD_NS_PER_MS) + 1;
}

/* How far the log has come, as far as workers care. */
struct log_counts {
    uint64_t progress;
    uint64_t written;
};

static struct log_counts
read_counts(struct worker *worker)
{
    return (struct log_counts){
        .progress = atomic_load_explicit(&worker->server->progress, memory_order_seq_cst),
        .written = atomic_load_explicit(&worker->server->written, memory_order_seq_cst),
    };
}

/* Does that help anybody who waits? */
static bool
helps(const struct worker *worker, struct log_counts counts)
{
    return counts.progress != worker->progress_seen ||
           (worker->waiting_for_written > 0 && counts.written != worker->written_seen);
}

/* Sleep, unless the log has moved for somebody who waits for it. Returns the
 * number of events. */
static int
wait_for_events(struct worker *worker, struct epoll_event *events)
{
    int timeout_ms = sleep_ms(worker);
    int n;

    BRD_CHECK(worker->unsent_count == 0); /* its clients may have nothing else to do */
    if (!TAILQ_EMPTY(&worker->waiting) && timeout_ms != 0) {
        atomic_store_explicit(&worker->waits_asleep,
                              worker->waiting_for_written > 0 ? WORKER_WAITS_FOR_ALL
                                                              : WORKER_WAITS_FOR_SYNC,
                              memory_order_seq_cst);
        if (helps(worker, read_counts(worker)))
            timeout_ms = 0;
    }
    do {
        n = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, timeout_ms);
    } while (n < 0 && errno == EINTR);
    BRD_CHECK(n >= 0);
    atomic_store_explicit(&worker->waits_asleep, WORKER_WAITS_NOT, memory_order_relaxed);
    return n;
}

static void
round_of(struct worker *worker, const struct epoll_event *events, int n)
{
    struct log_counts counts = read_counts(worker);
    bool moved = helps(worker, counts);
    bool mail = false;
    int i;

    worker->progress_seen = counts.progress;
    worker->written_seen = counts.written;
    worker->now_ns = brd_clock_mono_ns(worker->server->options.clock);
    if (n > 0)
        brd_counter_add(&worker->counters.worker_wakeups, 1);
    run_ready(worker);
    for (i = 0; i < n; i++) {
        struct conn *conn;

        if (events[i].data.ptr == worker) {
            mail = true;
            continue;
        }
        conn = BRD_CAST(events[i].data.ptr, struct conn, CONN_MAGIC);
        if (!conn->dead)
            conn_on_events(conn, events[i].events);
    }
    conn_run_window(worker);
    if (moved)
        run_waiting(worker);
    if (mail)
        read_mail(worker);
    if (worker->now_ns >= worker->next_tick_ns || worker->draining)
        check_times(worker);
    balance_check(worker);
    free_dead(worker);
    atomic_store_explicit(&worker->output_bytes, brd_session_env_chunk_bytes(worker->env),
                          memory_order_relaxed);
}

static void
close_all(struct worker *worker)
{
    while (!TAILQ_EMPTY(&worker->all))
        conn_close(TAILQ_FIRST(&worker->all), CLOSE_SHUTDOWN);
    free_dead(worker);
}

void *
worker_run(void *arg)
{
    struct worker *worker = BRD_CAST(arg, struct worker, WORKER_MAGIC);
    struct epoll_event events[EVENTS_MAX];

    atomic_store_explicit(&worker->busy_fd, brd_thread_busy_open(), memory_order_release);
    worker->now_ns = brd_clock_mono_ns(worker->server->options.clock);
    take_limits(worker);
    while (!worker->draining || (worker->conn_count > 0 && worker->now_ns < worker->drain_until_ns))
        round_of(worker, events, wait_for_events(worker, events));
    close_all(worker);
    return NULL;
}
