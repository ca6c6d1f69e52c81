/* The blocking client: one connection, made when it is needed.
 *
 *     brd_client_get ...  (client_requests.c)   one request
 *     brd_pipeline_run    (pipeline.c)          many
 *                \        /
 *            client_exchange     connect, converse, decide about repeating
 *                  |
 *              converse          bytes out and replies in, in turns
 *
 * Requests are encoded by `requests` before there is a connection, so that they
 * can be sent again on a new one; `wire` decodes what comes back and says Hello.
 *
 * When a connection dies, what has been sent decides. `sent` counts the bytes that
 * the operating system took: a request of which it took none has not run, for
 * certain. A read may run twice. A write of which a byte was taken may have run,
 * and nothing on this side can tell: it is UNKNOWN_RESULT and never repeated.
 * After any failure the socket is closed, since what still comes in on it belongs
 * to requests that nobody waits for. Before a call is sent, an idle socket is
 * looked at once: a server that closed it meanwhile is found before anything is
 * handed over, and the call goes over a new connection without any doubt.
 *
 * A reply with id 0 is the server's last word on a connection. Where it says that
 * the oldest unanswered request could not even be read, it is taken as the answer
 * to that request, since replies come in order; otherwise it explains the failure.
 *
 * Fork: `socket` holds the process that made the connection beside the descriptor.
 * In another process the descriptor is closed by whoever notices first, without
 * shutdown, and the parent does not see it.
 * Threads: one at a time. */
#include "client.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client_internal.h"
#include "conn.h"
#include "options.h"

#define ATTEMPTS_MAX   2                   /* connections that one call may use */
#define SEND_BYTES_MAX ((size_t)64 * 1024) /* between two looks at what came in */
#define RECEIVE_BYTES  ((size_t)64 * 1024) /* room for replies to many requests */
#define NO_SOCKET      (-1)

static const char default_name[] = "libbrindle/" BRD_VERSION_STRING;

/* ---- The socket and the process it belongs to --------------------------- */

static uint64_t
pack_socket(pid_t pid, int fd)
{
    return (uint64_t)(uint32_t)pid << 32 | (uint32_t)fd;
}

static int
socket_of(const struct brd_client *client)
{
    return (int)(uint32_t)atomic_load_explicit(&client->socket, memory_order_acquire);
}

static void
set_socket(struct brd_client *client, int fd)
{
    atomic_store_explicit(&client->socket, pack_socket(getpid(), fd), memory_order_release);
}

bool
client_is_connected(const struct brd_client *client)
{
    return socket_of(client) != NO_SOCKET;
}

void
client_disconnect(struct brd_client *client)
{
    int fd = socket_of(client);

    if (fd != NO_SOCKET)
        net_close(fd);
    set_socket(client, NO_SOCKET);
}

void
client_drop_inherited(struct brd_client *client)
{
    uint64_t inherited = atomic_load_explicit(&client->socket, memory_order_acquire);
    pid_t pid = getpid();

    if ((pid_t)(inherited >> 32) == pid)
        return;
    /* Of two threads that notice, one wins; the loser's view is out of date. */
    if (atomic_compare_exchange_strong_explicit(&client->socket, &inherited,
                                                pack_socket(pid, NO_SOCKET), memory_order_acq_rel,
                                                memory_order_relaxed) &&
        (int)(uint32_t)inherited != NO_SOCKET)
        net_close((int)(uint32_t)inherited);
}

/* ---- Sentences ---------------------------------------------------------- */

void
client_explain(struct brd_client *client, const char *sentence)
{
    if (client->error[0] == '\0')
        snprintf(client->error, sizeof(client->error), "%.200s: %s", client->address.text,
                 sentence);
}

/* The server's own sentence; what could steer a terminal is taken out of it. */
void
client_explain_reply(struct brd_client *client, const struct brd_reply *reply)
{
    const char *text = reply->message.data;
    size_t size = reply->message.size;
    size_t i;

    if (reply->status == BRD_OK)
        return;
    if (size == 0) {
        text = brd_status_text(reply->status);
        size = strlen(text);
    }
    if (size >= sizeof(client->error))
        size = sizeof(client->error) - 1;
    for (i = 0; i < size; i++)
        client->error[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    client->error[size] = '\0';
}

void
client_explain_lost(struct brd_client *client, enum brd_status status)
{
    size_t size = strlen(client->error);

    if (size == 0)
        client_explain(client, brd_status_text(status));
    else if (status == BRD_UNKNOWN_RESULT)
        snprintf(client->error + size, sizeof(client->error) - size, "; %s",
                 brd_status_text(status));
}

/* errno as a failure of the connection. */
static enum brd_status
connection_failed(struct brd_client *client)
{
    client_explain(client, strerrordesc_np(errno));
    return BRD_CONNECTION_FAILED;
}

/* ---- Conversing --------------------------------------------------------- */

static size_t
start_of(const struct exchange *exchange, size_t index)
{
    return index == 0 ? 0 : exchange->marks[index - 1].end;
}

/* How far may be sent now: the server bounds how many requests wait for it. */
static size_t
window_end(const struct brd_client *client, const struct exchange *exchange)
{
    uint64_t pending_max = client->info.max_pending_requests;
    size_t last = exchange->count;

    if (pending_max != 0 && pending_max < exchange->count - exchange->answered)
        last = exchange->answered + (size_t)pending_max;
    return exchange->marks[last - 1].end;
}

/* Does this last word of the server answer the oldest unanswered request? */
static bool
answers_oldest(const struct exchange *exchange, enum brd_status status)
{
    bool unreadable = status == BRD_PROTOCOL_ERROR || status == BRD_TOO_LARGE;

    return unreadable && start_of(exchange, exchange->answered) < exchange->sent;
}

/* The server's last word: what the exchange comes to. */
static enum brd_status
take_notice(struct brd_client *client, struct exchange *exchange, const struct brd_reply *reply)
{
    enum brd_status status = reply->status;

    client_explain_reply(client, reply);
    if (answers_oldest(exchange, status)) {
        exchange->on_reply(exchange->context, exchange->answered++, reply,
                           conn_last_frame(client->wire));
        return BRD_CONNECTION_FAILED; /* of what is left, if anything */
    }
    return status == BRD_OK ? BRD_CONNECTION_FAILED : status;
}

/* Pass on the replies that have come in. */
static enum brd_status
take_replies(struct brd_client *client, struct exchange *exchange)
{
    const struct brd_reply *reply;

    while (exchange->answered < exchange->count) {
        switch (brd_conn_next_reply(client->wire, &reply)) {
        case BRD_CONN_REPLY:
            if (reply->id == 0)
                return take_notice(client, exchange, reply);
            exchange->on_reply(exchange->context, exchange->answered++, reply,
                               conn_last_frame(client->wire));
            break;
        case BRD_CONN_MORE:
            return BRD_OK;
        case BRD_CONN_BROKEN:
            client_explain(client, brd_conn_error(client->wire));
            return BRD_PROTOCOL_ERROR;
        }
    }
    return BRD_OK;
}

static enum brd_status
receive_some(struct brd_client *client, struct exchange *exchange)
{
    void *space;
    size_t room;
    size_t n;
    enum brd_status status =
        brd_conn_input_space(client->wire, exchange->count > 1 ? RECEIVE_BYTES : 0, &space, &room);

    if (status != BRD_OK)
        return status;
    switch (net_receive(socket_of(client), space, room, &n)) {
    case NET_DONE:
        brd_conn_input_commit(client->wire, n);
        return take_replies(client, exchange);
    case NET_AGAIN:
        return BRD_OK;
    case NET_END:
        client_explain(client, "the server closed the connection");
        return BRD_CONNECTION_FAILED;
    case NET_FAILED:
        break;
    }
    return connection_failed(client);
}

/* Send and receive in turns until everything is answered. When sending fails, what
 * the server has said before it closed is still read. */
static enum brd_status
converse(struct brd_client *client, struct exchange *exchange, struct deadline deadline)
{
    const uint8_t *frames = exchange->frames.data;
    bool may_send = true;
    enum brd_status status = BRD_OK;

    while (status == BRD_OK && exchange->answered < exchange->count) {
        size_t window = window_end(client, exchange);
        bool blocked = false;

        if (may_send && exchange->sent < window) {
            size_t size = window - exchange->sent;
            size_t n;

            if (size > SEND_BYTES_MAX)
                size = SEND_BYTES_MAX;
            switch (net_send(socket_of(client), frames + exchange->sent, size, &n)) {
            case NET_DONE:
                exchange->sent += n;
                break;
            case NET_AGAIN:
                blocked = true;
                break;
            case NET_END:
            case NET_FAILED:
                may_send = false;
                break;
            }
        }
        if (!may_send || blocked || exchange->sent == window)
            status = net_wait(socket_of(client), blocked, deadline);
        else if (deadline_passed(deadline))
            status = BRD_TIMEOUT;
        if (status == BRD_TIMEOUT)
            client_explain(client, "no answer in time");
        else if (status != BRD_OK)
            status = connection_failed(client);
        else
            status = receive_some(client, exchange);
    }
    return exchange->answered == exchange->count ? BRD_OK : status;
}

/* ---- Connecting --------------------------------------------------------- */

static enum brd_status
refuse_server(struct brd_client *client, enum brd_status status, const char *why)
{
    client_explain(client, why);
    return status;
}

/* Keep what the server says of itself; server_version is copied into the client. */
static void
keep_info(struct brd_client *client, const struct brd_server_info *hello)
{
    size_t size = hello->server_version.size;

    client->info = *hello;
    if (size > sizeof(client->server_version))
        size = sizeof(client->server_version);
    memcpy(client->server_version, hello->server_version.data, size);
    client->info.server_version = brd_bytes(client->server_version, size);
}

static void
take_hello(void *context, size_t index, const struct brd_reply *reply, struct brd_bytes frame)
{
    struct brd_client *client = context;

    (void)index;
    (void)frame;
    client->hello_status = reply->status;
    if (reply->status != BRD_OK)
        client_explain_reply(client, reply);
    else if (reply->hello == NULL)
        client->hello_status = BRD_PROTOCOL_ERROR;
    else if (reply->hello->protocol_version != BRD_PROTOCOL_VERSION)
        client->hello_status =
            refuse_server(client, BRD_UNSUPPORTED, "the server speaks another protocol version");
    else
        keep_info(client, reply->hello);
}

static enum brd_status
say_hello(struct brd_client *client, struct deadline deadline)
{
    struct request_mark mark = { .repeatable = true };
    struct exchange exchange = {
        .marks = &mark, .count = 1, .on_reply = take_hello, .context = client
    };
    enum brd_status status;

    brd_conn_reset(client->wire);
    status = brd_conn_hello(client->wire, brd_bytes_of(client->name), &exchange.first_id);
    if (status != BRD_OK)
        return status;
    brd_conn_output(client->wire, &exchange.frames);
    mark.end = exchange.frames.size;
    status = converse(client, &exchange, deadline);
    brd_conn_output_consume(client->wire, mark.end);
    if (status == BRD_OK)
        status = client->hello_status;
    /* It said something, but no reply came of it before it closed. */
    if (status == BRD_CONNECTION_FAILED && brd_conn_input_pending(client->wire) != 0)
        status = BRD_PROTOCOL_ERROR;
    if (status == BRD_PROTOCOL_ERROR) {
        client->error[0] = '\0';
        client_explain(client, "what answers there does not speak Brindle's protocol; is it "
                               "the port for RESP or HTTP?");
    }
    return status;
}

static enum brd_status
connect_now(struct brd_client *client, struct deadline deadline)
{
    enum brd_status status;
    int fd;

    deadline = deadline_earlier(deadline, deadline_in(client->connect_timeout_ms));
    client->error[0] = '\0';
    status = net_connect(&client->address, deadline, &fd, client->error, sizeof(client->error));
    if (status != BRD_OK)
        return status;
    set_socket(client, fd);
    status = say_hello(client, deadline);
    if (status != BRD_OK) {
        client_disconnect(client);
        return status;
    }
    client->connects++;
    return BRD_OK;
}

/* A connection that is alive as far as one can see. */
static enum brd_status
ensure_connected(struct brd_client *client, struct deadline deadline)
{
    if (client_is_connected(client)) {
        if (net_idle_is_alive(socket_of(client)))
            return BRD_OK;
        client_disconnect(client);
    }
    if (client->no_reconnect) {
        client_explain(client, "the connection is lost, and no_reconnect is set");
        return BRD_CONNECTION_FAILED;
    }
    return connect_now(client, deadline);
}

/* ---- Exchanges ---------------------------------------------------------- */

/* May all that is unanswered be sent again? */
static bool
is_repeatable(const struct exchange *exchange)
{
    size_t i;

    for (i = exchange->answered; i < exchange->count; i++) {
        if (start_of(exchange, i) >= exchange->sent)
            return true; /* the rest has not been handed over */
        if (!exchange->marks[i].repeatable)
            return false;
    }
    return true;
}

enum brd_status
client_lost_status(const struct exchange *exchange, size_t index, enum brd_status failure)
{
    if (exchange->marks[index].repeatable)
        return failure;
    if (start_of(exchange, index) < exchange->sent)
        return BRD_UNKNOWN_RESULT;
    return failure == BRD_PROTOCOL_ERROR ? BRD_CONNECTION_FAILED : failure;
}

enum brd_status
client_exchange(struct brd_client *client, struct exchange *exchange, uint32_t timeout_ms)
{
    struct deadline deadline = deadline_in(timeout_ms == 0 ? client->timeout_ms : timeout_ms);
    enum brd_status status;
    int attempts;

    exchange->answered = 0;
    for (attempts = 1;; attempts++) {
        exchange->sent = start_of(exchange, exchange->answered);
        status = ensure_connected(client, deadline);
        if (status != BRD_OK)
            return status;
        conn_expect(client->wire, exchange->first_id + exchange->answered,
                    exchange->count - exchange->answered);
        status = converse(client, exchange, deadline);
        /* More bytes than answers: the server has something to say, and will close. */
        if (status != BRD_OK || brd_conn_input_pending(client->wire) != 0 ||
            brd_conn_pending(client->wire) != 0)
            client_disconnect(client);
        if (status != BRD_CONNECTION_FAILED || attempts == ATTEMPTS_MAX || client->no_reconnect ||
            !is_repeatable(exchange))
            return status;
        client->error[0] = '\0';
    }
}

void
client_begin(struct brd_client *client)
{
    client_drop_inherited(client);
    client->error[0] = '\0';
}

/* ---- Opening and closing ------------------------------------------------ */

static bool
is_client_name(const char *name)
{
    size_t i;

    for (i = 0; name[i] != '\0'; i++) {
        if (name[i] < ' ' || name[i] > '~' || i >= BRD_CLIENT_NAME_BYTES_MAX)
            return false;
    }
    return true;
}

/* Fill a zeroed client from its options. why: a sentence on failure. */
static enum brd_status
init_client(struct brd_client *client, const struct brd_client_options *opts, const char **why)
{
    const char *name = opts->client_name == NULL ? default_name : opts->client_name;
    const char *name_space = opts->namespace_name == NULL ? "" : opts->namespace_name;
    struct brd_conn_options conn_opts = { .size = sizeof(conn_opts),
                                          .reply_bytes_max = opts->reply_bytes_max };
    enum brd_status status = address_parse(opts->address, &client->address, why);

    if (status != BRD_OK)
        return status;
    *why = "client_name is at most 128 bytes of printable ASCII";
    if (!is_client_name(name))
        return BRD_INVALID_ARGUMENT;
    memcpy(client->name, name, strlen(name) + 1);
    client->connect_timeout_ms =
        opts->connect_timeout_ms != 0 ? opts->connect_timeout_ms : BRD_CONNECT_TIMEOUT_DEFAULT_MS;
    client->no_reconnect = opts->no_reconnect;
    brd_client_set_timeout(client, opts->timeout_ms);

    *why = "reply_bytes_max is at most BRD_FRAME_BYTES_MAX";
    status = brd_conn_create(&conn_opts, &client->wire);
    if (status == BRD_OK)
        status = brd_conn_create(NULL, &client->requests);
    if (status == BRD_OUT_OF_MEMORY)
        *why = "this process is out of memory";
    if (status != BRD_OK)
        return status;
    *why = "the name of a namespace is at most 200 bytes long";
    return brd_client_set_namespace(client, brd_bytes_of(name_space));
}

enum brd_status
client_open_by(const struct brd_client_options *opts, struct deadline deadline,
               struct brd_client **out_client)
{
    const char *why = "this process is out of memory";
    enum brd_status status = BRD_OUT_OF_MEMORY;
    struct brd_client *client = calloc(1, sizeof(*client));

    if (client != NULL) {
        set_socket(client, NO_SOCKET);
        status = init_client(client, opts, &why);
    }
    if (status == BRD_OK) {
        status = connect_now(client, deadline);
        why = client->error[0] != '\0' ? client->error : brd_status_text(status);
    }
    if (status == BRD_OK) {
        *out_client = client;
        return BRD_OK;
    }
    if (opts->error != NULL && opts->error_size != 0)
        snprintf(opts->error, opts->error_size, "%s", why);
    brd_client_close(&client);
    return status;
}

enum brd_status
brd_client_open(const struct brd_client_options *opts, struct brd_client **out_client)
{
    struct brd_client_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;
    return client_open_by(&own, (struct deadline){ UINT64_MAX }, out_client);
}

void
brd_client_close(struct brd_client **client)
{
    if (client == NULL || *client == NULL)
        return;
    client_disconnect(*client); /* the same close in a child: it says nothing */
    brd_conn_destroy(&(*client)->wire);
    brd_conn_destroy(&(*client)->requests);
    free(*client);
    *client = NULL;
}

enum brd_status
client_reconnect_by(struct brd_client *client, struct deadline deadline)
{
    client_begin(client);
    if (client_is_connected(client) && net_idle_is_alive(socket_of(client)))
        return BRD_OK;
    client_disconnect(client);
    return connect_now(client, deadline);
}

enum brd_status
brd_client_reconnect(struct brd_client *client)
{
    return client_reconnect_by(client, (struct deadline){ UINT64_MAX });
}

const char *
brd_client_error(const struct brd_client *client)
{
    return client->error;
}

const struct brd_server_info *
brd_client_server_info(const struct brd_client *client)
{
    return &client->info;
}

const char *
brd_client_address(const struct brd_client *client)
{
    return client->address.text;
}

enum brd_status
brd_client_set_namespace(struct brd_client *client, struct brd_bytes name)
{
    return brd_conn_set_namespace(client->requests, name);
}

void
brd_client_set_timeout(struct brd_client *client, uint32_t timeout_ms)
{
    client->timeout_ms = timeout_ms == 0 ? BRD_TIMEOUT_DEFAULT_MS : timeout_ms;
}

uint64_t
brd_client_connects(const struct brd_client *client)
{
    return client->connects;
}
