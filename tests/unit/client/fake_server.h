/* A server for the client's tests: a thread for each connection runs the test's
 * script, which reads requests and sends what it likes. fake_serve answers every
 * request in a fixed way, so that the answer can be foreseen:
 *
 *     get KEY        its own key as value; NOT_FOUND where it starts with "missing"
 *     put            a version that counts up
 *     incr           initial + delta
 *     counts         the number of keys in the request
 *
 * Nothing here sleeps: tests wait with fake_wait_closed, which returns when the
 * server has closed so many sockets. Before it closes one it waits until the client's
 * side has seen the end, which a loaded machine may deliver late.
 *
 * Clients get minutes for everything, because any thread may lose its core for
 * seconds; a shorter limit is one that is to pass. A port stays taken after its
 * server has stopped, so that nobody else comes to listen there. */
#ifndef BRINDLE_TESTS_CLIENT_FAKE_SERVER_H
#define BRINDLE_TESTS_CLIENT_FAKE_SERVER_H

#include <brindle.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "brindle.pb-c.h"
#include "proto/frame.h"

#define FAKE_PEERS_MAX   256
#define FAKE_FRAME_MAX   ((size_t)16 * 1024 * 1024)
#define FAKE_PATIENCE_MS 600000 /* of clients, for what must happen */

#define FAKE_CHECK(condition)                                                    \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "fake server, line %d: %s\n", __LINE__, #condition); \
            abort();                                                             \
        }                                                                        \
    } while (0)

struct fake_server;

/* One connection, for the script. */
struct fake_peer {
    struct fake_server *server;
    int fd;
    int number; /* 0 for the first connection */
    bool abrupt;
    pthread_t thread;
    uint8_t in[64 * 1024];
    size_t in_at;
    size_t in_size;
};

struct fake_server {
    int listener;
    char address[128];
    void (*script)(struct fake_peer *peer);
    void *context;                 /* the test's */
    uint64_t max_pending_requests; /* for Hello */
    uint64_t max_frame_bytes;
    pthread_t acceptor;
    struct fake_peer *peers[FAKE_PEERS_MAX];

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    int accepted;
    int closed;
    bool stopping;
    _Atomic uint64_t version;
    _Atomic int requests;
    _Atomic int open_now;
    _Atomic int open_most;
};

/* ---- Moving bytes ------------------------------------------------------- */

static inline bool
fake_send_bytes(struct fake_peer *peer, const void *data, size_t size)
{
    const uint8_t *bytes = data;

    while (size != 0) {
        ssize_t n = send(peer->fd, bytes, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static inline bool
fake_read_bytes(struct fake_peer *peer, uint8_t *data, size_t size)
{
    while (size != 0) {
        size_t have = peer->in_size - peer->in_at;
        size_t n = have < size ? have : size;

        memcpy(data, peer->in + peer->in_at, n);
        peer->in_at += n;
        data += n;
        size -= n;
        if (size != 0) {
            ssize_t got = recv(peer->fd, peer->in, sizeof(peer->in), 0);

            if (got < 0 && errno == EINTR)
                got = 0;
            else if (got <= 0)
                return false;
            peer->in_at = 0;
            peer->in_size = (size_t)got;
        }
    }
    return true;
}

/* The next request, to be given to fake_free; NULL: the client has closed. */
static inline Brindle__V1__Request *
fake_read(struct fake_peer *peer)
{
    Brindle__V1__Request *request;
    uint64_t size = 0;
    uint8_t *frame;
    unsigned shift;

    for (shift = 0;; shift += 7) {
        uint8_t byte;

        if (!fake_read_bytes(peer, &byte, 1))
            return NULL;
        size |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            break;
    }
    FAKE_CHECK(size <= FAKE_FRAME_MAX);
    frame = malloc(size + 1);
    request =
        fake_read_bytes(peer, frame, size) ? brindle__v1__request__unpack(NULL, size, frame) : NULL;
    free(frame);
    if (request != NULL)
        atomic_fetch_add(&peer->server->requests, 1);
    return request;
}

static inline void
fake_free(Brindle__V1__Request *request)
{
    if (request != NULL)
        brindle__v1__request__free_unpacked(request, NULL);
}

/* The framed bytes of a reply; free them. */
static inline uint8_t *
fake_pack(const Brindle__V1__Reply *reply, size_t *out_size)
{
    size_t size = brindle__v1__reply__get_packed_size(reply);
    uint8_t *frame = malloc(size + BRD_FRAME_PREFIX_MAX);
    size_t head = brd_frame_prefix_write(frame, size);

    brindle__v1__reply__pack(reply, frame + head);
    *out_size = head + size;
    return frame;
}

static inline bool
fake_send(struct fake_peer *peer, const Brindle__V1__Reply *reply)
{
    size_t size;
    uint8_t *frame = fake_pack(reply, &size);
    bool sent = fake_send_bytes(peer, frame, size);

    free(frame);
    return sent;
}

static inline bool
fake_send_status(struct fake_peer *peer, uint64_t id, Brindle__V1__Status status, char *message)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    reply.id = id;
    reply.status = status;
    if (message != NULL)
        reply.message = message;
    return fake_send(peer, &reply);
}

/* From now on closing the connection is a reset. */
static inline void
fake_make_abrupt(struct fake_peer *peer)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };

    peer->abrupt = true;
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* Say that nothing more comes, and wait until the client's side knows: its kernel has
 * confirmed it. Of a unix socket it knows at once. */
static inline void
fake_end(struct fake_peer *peer)
{
    struct tcp_info info = { .tcpi_state = TCP_FIN_WAIT1 };
    socklen_t size = sizeof(info);

    (void)shutdown(peer->fd, SHUT_WR);
    while (info.tcpi_state == TCP_FIN_WAIT1 &&
           getsockopt(peer->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        sched_yield();
}

/* ---- Answers ------------------------------------------------------------ */

static inline bool
fake_answer_hello(struct fake_peer *peer, const Brindle__V1__Request *request)
{
    char version[] = "fake/1";
    Brindle__V1__HelloReply hello = BRINDLE__V1__HELLO_REPLY__INIT;
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    hello.protocol_version = 1;
    hello.server_version = version;
    hello.epoch = 7;
    hello.max_pending_requests = peer->server->max_pending_requests;
    hello.max_frame_bytes = peer->server->max_frame_bytes;
    reply.id = request->id;
    reply.hello = &hello;
    return fake_send(peer, &reply);
}

/* Read Hello and answer it. */
static inline bool
fake_hello(struct fake_peer *peer)
{
    Brindle__V1__Request *request = fake_read(peer);
    bool said = request != NULL && request->op_case == BRINDLE__V1__REQUEST__OP_HELLO &&
                fake_answer_hello(peer, request);

    fake_free(request);
    return said;
}

static inline bool
fake_answer_number(struct fake_peer *peer, uint64_t id, int64_t number)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    reply.id = id;
    reply.has_number_case = BRINDLE__V1__REPLY__HAS_NUMBER_NUMBER;
    reply.number = number;
    return fake_send(peer, &reply);
}

static inline bool
fake_answer_value(struct fake_peer *peer, uint64_t id, ProtobufCBinaryData value)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    reply.id = id;
    reply.version = 5;
    reply.has_value_case = BRINDLE__V1__REPLY__HAS_VALUE_VALUE;
    reply.value = value;
    return fake_send(peer, &reply);
}

static inline bool
fake_answer_version(struct fake_peer *peer, uint64_t id)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    reply.id = id;
    reply.version = atomic_fetch_add(&peer->server->version, 1) + 1;
    return fake_send(peer, &reply);
}

static inline bool
fake_answer_items(struct fake_peer *peer, uint64_t id, size_t count,
                  const ProtobufCBinaryData *keys)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;
    Brindle__V1__Item *items = calloc(count + 1, sizeof(*items));
    Brindle__V1__Item **pointers = calloc(count + 1, sizeof(Brindle__V1__Item *));
    bool sent;
    size_t i;

    for (i = 0; i < count; i++) {
        brindle__v1__item__init(&items[i]);
        items[i].found = true;
        items[i].version = i + 1;
        items[i].value = keys[i];
        pointers[i] = &items[i];
    }
    reply.id = id;
    reply.n_items = count;
    reply.items = pointers;
    sent = fake_send(peer, &reply);
    free(items);
    free(pointers);
    return sent;
}

static inline bool
fake_answer_stats(struct fake_peer *peer, uint64_t id)
{
    char gets[] = "gets";
    char count[] = "1";
    char version[] = "version";
    char text[] = "fake";
    Brindle__V1__Stat first = BRINDLE__V1__STAT__INIT;
    Brindle__V1__Stat second = BRINDLE__V1__STAT__INIT;
    Brindle__V1__Stat *pointers[] = { &first, &second };
    Brindle__V1__StatsReply stats = BRINDLE__V1__STATS_REPLY__INIT;
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    first.name = gets;
    first.unit = count;
    first.counter = true;
    first.value_case = BRINDLE__V1__STAT__VALUE_NUMBER;
    first.number = 42;
    second.name = version;
    second.value_case = BRINDLE__V1__STAT__VALUE_TEXT;
    second.text = text;
    stats.n_stats = 2;
    stats.stats = pointers;
    reply.id = id;
    reply.stats = &stats;
    return fake_send(peer, &reply);
}

static inline bool
fake_answer_ttl(struct fake_peer *peer, uint64_t id)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    reply.id = id;
    reply.has_ttl_case = BRINDLE__V1__REPLY__HAS_TTL_TTL_MS;
    reply.ttl_ms = 1234;
    return fake_send(peer, &reply);
}

static inline bool
fake_answer_checkpoint(struct fake_peer *peer, uint64_t id, Brindle__V1__CheckpointMode mode)
{
    Brindle__V1__CheckpointReply checkpoint = BRINDLE__V1__CHECKPOINT_REPLY__INIT;
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    checkpoint.total = 1000;
    checkpoint.done = (uint64_t)mode;
    reply.id = id;
    reply.checkpoint = &checkpoint;
    return fake_send(peer, &reply);
}

static inline bool
fake_answer(struct fake_peer *peer, const Brindle__V1__Request *request)
{
    uint64_t id = request->id;

    switch (request->op_case) {
    case BRINDLE__V1__REQUEST__OP_GET:
        if (request->get->key.len >= 7 && memcmp(request->get->key.data, "missing", 7) == 0)
            return fake_send_status(peer, id, BRINDLE__V1__STATUS__NOT_FOUND, NULL);
        return fake_answer_value(peer, id, request->get->key);
    case BRINDLE__V1__REQUEST__OP_PING:
        return fake_answer_value(peer, id, request->ping->payload);
    case BRINDLE__V1__REQUEST__OP_PUT:
    case BRINDLE__V1__REQUEST__OP_PUT_MANY:
    case BRINDLE__V1__REQUEST__OP_EXPIRE:
    case BRINDLE__V1__REQUEST__OP_SYNC:
    case BRINDLE__V1__REQUEST__OP_RESET_STATS:
        return fake_answer_version(peer, id);
    case BRINDLE__V1__REQUEST__OP_DELETE:
        return fake_answer_number(peer, id, (int64_t)request->delete_->n_keys);
    case BRINDLE__V1__REQUEST__OP_EXISTS:
        return fake_answer_number(peer, id, (int64_t)request->exists->n_keys);
    case BRINDLE__V1__REQUEST__OP_GET_MANY:
        return fake_answer_items(peer, id, request->get_many->n_keys, request->get_many->keys);
    case BRINDLE__V1__REQUEST__OP_INCR:
        return fake_answer_number(peer, id, request->incr->initial + request->incr->delta);
    case BRINDLE__V1__REQUEST__OP_APPEND:
        return fake_answer_number(peer, id, (int64_t)request->append->value.len);
    case BRINDLE__V1__REQUEST__OP_TTL:
        return fake_answer_ttl(peer, id);
    case BRINDLE__V1__REQUEST__OP_PERSIST:
    case BRINDLE__V1__REQUEST__OP_COUNT:
    case BRINDLE__V1__REQUEST__OP_CLEAR:
    case BRINDLE__V1__REQUEST__OP_PURGE:
        return fake_answer_number(peer, id, 1);
    case BRINDLE__V1__REQUEST__OP_STATS:
        return fake_answer_stats(peer, id);
    case BRINDLE__V1__REQUEST__OP_CHECKPOINT:
        return fake_answer_checkpoint(peer, id, request->checkpoint->mode);
    case BRINDLE__V1__REQUEST__OP_HELLO:
        return fake_answer_hello(peer, request);
    default:
        return fake_send_status(peer, id, BRINDLE__V1__STATUS__UNKNOWN_REQUEST, NULL);
    }
}

/* Answer everything until the client closes. */
static inline void
fake_serve(struct fake_peer *peer)
{
    Brindle__V1__Request *request;
    bool answered = true;

    while (answered && (request = fake_read(peer)) != NULL) {
        answered = fake_answer(peer, request);
        fake_free(request);
    }
}

/* ---- Scripts in which only the first connection is a bad one -------------- */

/* It is closed after Hello, as an idle one is. */
static inline void
fake_close_first_idle(struct fake_peer *peer)
{
    if (peer->number > 0)
        fake_serve(peer);
    else
        (void)fake_hello(peer);
}

/* It takes one request after Hello and is closed. */
static inline void
fake_lose_first_request(struct fake_peer *peer)
{
    if (peer->number > 0)
        fake_serve(peer);
    else if (fake_hello(peer))
        fake_free(fake_read(peer));
}

/* It reads what comes after Hello and never answers, as behind a dead link. */
static inline void
fake_let_first_fall_silent(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (peer->number > 0) {
        fake_serve(peer);
        return;
    }
    if (!fake_hello(peer))
        return;
    while ((request = fake_read(peer)) != NULL)
        fake_free(request);
}

/* ---- Threads ------------------------------------------------------------ */

static inline void *
fake_run_peer(void *argument)
{
    struct fake_peer *peer = argument;
    struct fake_server *server = peer->server;
    int open_now = atomic_fetch_add(&server->open_now, 1) + 1;
    int most = atomic_load(&server->open_most);

    while (most < open_now && !atomic_compare_exchange_weak(&server->open_most, &most, open_now))
        ;
    server->script(peer);
    atomic_fetch_sub(&server->open_now, 1);
    if (!peer->abrupt)
        fake_end(peer);
    pthread_mutex_lock(&server->lock);
    close(peer->fd);
    peer->fd = -1;
    server->closed++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static inline void *
fake_accept(void *argument)
{
    struct fake_server *server = argument;

    for (;;) {
        int fd = accept(server->listener, NULL, NULL);
        struct fake_peer *peer;

        pthread_mutex_lock(&server->lock);
        if (fd < 0 || server->stopping) {
            pthread_mutex_unlock(&server->lock);
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        FAKE_CHECK(server->accepted < FAKE_PEERS_MAX);
        peer = calloc(1, sizeof(*peer));
        peer->server = server;
        peer->fd = fd;
        peer->number = server->accepted;
        server->peers[server->accepted++] = peer;
        FAKE_CHECK(pthread_create(&peer->thread, NULL, fake_run_peer, peer) == 0);
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
    }
}

/* A socket that may share its port with another of ours. */
static inline int
fake_bind(struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    FAKE_CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0);
    FAKE_CHECK(bind(fd, (struct sockaddr *)address, size) == 0);
    FAKE_CHECK(getsockname(fd, (struct sockaddr *)address, &size) == 0);
    return fd;
}

/* Listen there and serve. */
static inline void
fake_listen(struct fake_server *server, struct sockaddr_in *address)
{
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    server->accepted = 0;
    server->closed = 0;
    server->stopping = false;
    server->listener = fake_bind(address);
    FAKE_CHECK(listen(server->listener, 64) == 0);
    snprintf(server->address, sizeof(server->address), "127.0.0.1:%d", ntohs(address->sin_port));
    FAKE_CHECK(pthread_create(&server->acceptor, NULL, fake_accept, server) == 0);
}

/* Listen on a free port of loopback. server is zeroed but for its limits. */
static inline void
fake_start(struct fake_server *server, void (*script)(struct fake_peer *), void *context)
{
    static int keeper = -1; /* never listens; has the port until the next server starts */
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    server->script = script;
    server->context = context;
    if (keeper >= 0)
        close(keeper);
    keeper = fake_bind(&address);
    fake_listen(server, &address);
}

/* After fake_stop: come back on the same port, with the same script and context.
 * Connections are counted from 0 again; requests and versions go on. */
static inline void
fake_start_again(struct fake_server *server)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const char *port = strrchr(server->address, ':') + 1;

    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    fake_listen(server, &address);
}

/* Close everything. Clients may still be connected. */
static inline void
fake_stop(struct fake_server *server)
{
    int i;

    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    shutdown(server->listener, SHUT_RDWR);
    for (i = 0; i < server->accepted; i++) {
        if (server->peers[i]->fd >= 0)
            shutdown(server->peers[i]->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->lock);
    pthread_join(server->acceptor, NULL);
    for (i = 0; i < server->accepted; i++) {
        pthread_join(server->peers[i]->thread, NULL);
        free(server->peers[i]);
    }
    close(server->listener);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
}

/* Wait until the server has closed so many connections in all. */
static inline void
fake_wait_closed(struct fake_server *server, int count)
{
    pthread_mutex_lock(&server->lock);
    while (server->closed < count)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

static inline int
fake_accepted(struct fake_server *server)
{
    int accepted;

    pthread_mutex_lock(&server->lock);
    accepted = server->accepted;
    pthread_mutex_unlock(&server->lock);
    return accepted;
}

#endif
