/* Making and unmaking: doors, workers, acceptor. See server.h for the life of
 * a server and worker.c for how the log's progress reaches connections. */
#include "server/core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static enum brd_status
fail(struct brd_server_error *error, enum brd_status status, const char *text)
{
    snprintf(error->text, sizeof(error->text), "%s", text);
    return status;
}

/* ---- create and destroy ---- */

static enum brd_status
join_addresses(struct brd_server *server)
{
    size_t room = server->doors.count * sizeof(server->doors.door[0].text) + sizeof("none");
    size_t used = 0;
    size_t i;

    free(server->addresses);
    server->addresses = malloc(room);
    if (server->addresses == NULL)
        return BRD_OUT_OF_MEMORY;
    snprintf(server->addresses, room, "none");
    for (i = 0; i < server->doors.count; i++)
        used += (size_t)snprintf(server->addresses + used, room - used, "%s%s", i > 0 ? "," : "",
                                 server->doors.door[i].text);
    return BRD_OK;
}

static enum brd_status
init_worker(struct brd_server *server, uint32_t index)
{
    struct worker *worker = &server->workers[index];
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = worker };

    worker->magic = WORKER_MAGIC;
    worker->index = index;
    worker->server = server;
    worker->mailbox.event_fd = -1;
    TAILQ_INIT(&worker->all);
    TAILQ_INIT(&worker->ready);
    TAILQ_INIT(&worker->waiting);
    TAILQ_INIT(&worker->dead);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (worker->epoll_fd < 0 || mailbox_init(&worker->mailbox) != BRD_OK ||
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->mailbox.event_fd, &event) != 0)
        return BRD_IO_ERROR;
    worker->buffer = malloc(WORKER_BUFFER);
    if (worker->buffer == NULL)
        return BRD_OUT_OF_MEMORY;
    return balance_init(&worker->balance, server->options.workers);
}

static enum brd_status
init_workers(struct brd_server *server)
{
    size_t bytes = server->options.workers * sizeof(*server->workers);
    enum brd_status status = BRD_OK;
    uint32_t i;

    server->workers = aligned_alloc(BRD_CACHE_LINE, bytes);
    if (server->workers == NULL)
        return BRD_OUT_OF_MEMORY;
    memset(server->workers, 0, bytes);
    for (i = 0; i < server->options.workers; i++) {
        server->workers[i].epoll_fd = -1;
        server->workers[i].mailbox.event_fd = -1;
        atomic_init(&server->workers[i].busy_fd, -1);
    }
    for (i = 0; i < server->options.workers && status == BRD_OK; i++)
        status = init_worker(server, i);
    return status;
}

enum brd_status
brd_server_create(const struct brd_server_options *options, struct brd_server **out_server,
                  struct brd_server_error *out_error)
{
    struct brd_server *server = calloc(1, sizeof(*server));
    enum brd_status status;

    BRD_CHECK(options->workers > 0 && options->clock != NULL);
    if (server == NULL)
        return fail(out_error, BRD_OUT_OF_MEMORY, "not enough memory for the server");
    server->options = *options;
    server->options.listen = NULL;
    server->limits = options->limits;
    server->spare_fd = -1;
    server->accept_mailbox.event_fd = -1;
    brd_mutex_init(&server->lock, BRD_RANK_SERVER);
    brd_buf_init(&server->refusal);
    atomic_store_explicit(&server->connections_max, options->limits.connections_max,
                          memory_order_relaxed);
    atomic_store_explicit(&server->per_address_max, options->limits.connections_per_address_max,
                          memory_order_relaxed);

    status = doors_open(&server->doors, options, out_error);
    if (status == BRD_OK) {
        server->peers = peers_create();
        brd_session_refusal(BRD_TOO_MANY_CONNECTIONS, &server->refusal);
        status = server->peers == NULL || server->refusal.failed ? BRD_OUT_OF_MEMORY
                                                                 : join_addresses(server);
        if (status == BRD_OK)
            status = mailbox_init(&server->accept_mailbox);
        if (status == BRD_OK)
            status = init_workers(server);
        if (status != BRD_OK)
            fail(out_error, status, "not enough memory or file descriptors for the workers");
    }
    if (status != BRD_OK) {
        brd_server_destroy(&server);
        return status;
    }
    *out_server = server;
    return BRD_OK;
}

void
brd_server_destroy(struct brd_server **out_server)
{
    struct brd_server *server = *out_server;
    uint32_t i;

    if (server == NULL)
        return;
    brd_server_stop(server, 0);
    for (i = 0; server->workers != NULL && i < server->options.workers; i++) {
        struct worker *worker = &server->workers[i];

        mailbox_fini(&worker->mailbox);
        brd_session_env_destroy(&worker->env);
        free(worker->buffer);
        balance_fini(&worker->balance);
        if (atomic_load_explicit(&worker->busy_fd, memory_order_relaxed) >= 0)
            close(atomic_load_explicit(&worker->busy_fd, memory_order_relaxed));
        if (worker->epoll_fd >= 0)
            close(worker->epoll_fd);
    }
    mailbox_fini(&server->accept_mailbox);
    doors_close(&server->doors);
    free(server->workers);
    free(server->addresses);
    free(server->zero);
    brd_buf_fini(&server->refusal);
    peers_destroy(&server->peers);
    brd_mutex_fini(&server->lock);
    free(server);
    *out_server = NULL;
}

/* ---- start and stop ---- */

static enum brd_status
start_workers(struct brd_server *server)
{
    struct brd_session_options options = server->options.session;
    enum brd_status status = BRD_OK;
    char name[24];
    uint32_t i;

    options.limits = server->limits.session;
    options.requests_at_once = REQUESTS_AT_ONCE;
    for (i = 0; i < server->options.workers && status == BRD_OK; i++)
        status = brd_session_env_create(&options, &server->workers[i].env);
    if (status != BRD_OK)
        return status;
    server->started = true; /* statistics can be read from now on */
    for (i = 0; i < server->options.workers && status == BRD_OK; i++) {
        struct worker *worker = &server->workers[i];

        snprintf(name, sizeof(name), "worker-%u", i % 10000);
        status = brd_thread_start(&worker->thread, name, worker_run, worker);
        worker->running = status == BRD_OK;
    }
    return status;
}

enum brd_status
brd_server_start(struct brd_server *server, struct brd_server_error *out_error)
{
    enum brd_status status = start_workers(server);

    if (status != BRD_OK)
        return fail(out_error, status, "not enough memory or threads for the workers");
    status = doors_listen(&server->doors, &server->options, out_error);
    if (status != BRD_OK)
        return status;
    status = brd_thread_start(&server->accept_thread, "acceptor", accept_run, server);
    if (status != BRD_OK)
        return fail(out_error, status, "not enough memory or threads for the acceptor");
    server->accepting = true;
    return BRD_OK;
}

void
brd_server_stop(struct brd_server *server, uint64_t drain_ns)
{
    uint32_t i;

    if (server->accepting) {
        mailbox_post_note(&server->accept_mailbox, NOTE_STOP);
        brd_thread_join(server->accept_thread);
        server->accepting = false;
    }
    doors_close(&server->doors);
    atomic_store_explicit(&server->drain_ns, drain_ns, memory_order_relaxed);
    for (i = 0; server->workers != NULL && i < server->options.workers; i++)
        if (server->workers[i].running)
            mailbox_post_note(&server->workers[i].mailbox, NOTE_STOP);
    for (i = 0; server->workers != NULL && i < server->options.workers; i++) {
        if (server->workers[i].running)
            brd_thread_join(server->workers[i].thread);
        server->workers[i].running = false;
    }
}

/* ---- while it runs ---- */

const char *
brd_server_addresses(const struct brd_server *server)
{
    return server->addresses;
}

/* Wake those workers that sleep and wait for this or for more. Pairs with wait_for_events in
 * worker.c. */
static void
wake_waiting(struct brd_server *server, enum worker_wait least)
{
    uint32_t i;

    for (i = 0; i < server->options.workers; i++) {
        struct worker *worker = &server->workers[i];

        if (atomic_load_explicit(&worker->waits_asleep, memory_order_seq_cst) >= least &&
            atomic_exchange_explicit(&worker->waits_asleep, WORKER_WAITS_NOT,
                                     memory_order_relaxed) != WORKER_WAITS_NOT)
            mailbox_post_note(&worker->mailbox, NOTE_PROGRESS);
    }
}

void
brd_server_on_progress(struct brd_server *server)
{
    atomic_fetch_add_explicit(&server->progress, 1, memory_order_seq_cst);
    wake_waiting(server, WORKER_WAITS_FOR_SYNC);
}

void
brd_server_on_written(struct brd_server *server)
{
    atomic_fetch_add_explicit(&server->written, 1, memory_order_seq_cst);
    wake_waiting(server, WORKER_WAITS_FOR_ALL);
}

void
brd_server_on_held(struct brd_server *server)
{
    uint32_t i;

    for (i = 0; i < server->options.workers; i++)
        mailbox_post_note(&server->workers[i].mailbox, NOTE_HELD);
}

void
brd_server_set_limits(struct brd_server *server, const struct brd_server_limits *limits)
{
    uint32_t i;

    brd_mutex_lock(&server->lock);
    server->limits = *limits;
    brd_mutex_unlock(&server->lock);
    atomic_store_explicit(&server->connections_max, limits->connections_max, memory_order_relaxed);
    atomic_store_explicit(&server->per_address_max, limits->connections_per_address_max,
                          memory_order_relaxed);
    for (i = 0; i < server->options.workers; i++)
        mailbox_post_note(&server->workers[i].mailbox, NOTE_LIMITS);
}

void
brd_server_ping(struct brd_server *server)
{
    uint32_t i;

    atomic_fetch_add_explicit(&server->ping, 1, memory_order_relaxed);
    mailbox_post_note(&server->accept_mailbox, NOTE_PING);
    for (i = 0; i < server->options.workers; i++)
        mailbox_post_note(&server->workers[i].mailbox, NOTE_PING);
}

bool
brd_server_answered(const struct brd_server *server)
{
    uint64_t ping = atomic_load_explicit(&server->ping, memory_order_relaxed);
    uint32_t i;

    if (atomic_load_explicit(&server->accept_answered, memory_order_relaxed) != ping)
        return false;
    for (i = 0; i < server->options.workers; i++)
        if (atomic_load_explicit(&server->workers[i].answered, memory_order_relaxed) != ping)
            return false;
    return true;
}

uint32_t
brd_server_connections(const struct brd_server *server)
{
    return atomic_load_explicit(&server->connections, memory_order_relaxed);
}
