/* A connection's round:
 *
 *      kept input -> session \
 *      one read   -> session  -> (again while its turn lasts) -> flush -> settle
 *
 * A connection from which nothing is kept and to which nothing is owed, as most
 * are, is only read at first, into the worker's *window*: its keys are hashed and
 * fetched together with those of the next ones, and they are run when a group of
 * requests is full, or nobody is left. That hides the waiting for memory where
 * clients do not pipeline.
 *
 * What a window's connections are to be told is *held back* until some of them
 * have run (`unsent`), over several windows where each is short. A send wakes a
 * client that sleeps, which the sender pays for and which may cost more than all
 * the requests; of a client that gets several replies at short intervals it wakes
 * the first time only. Bounded in connections and bytes, so that nobody waits
 * long for others and the replies stay in the cache; a single large output fills
 * it and leaves at once. It is empty again before the worker does anything else:
 * before a connection that takes no part in windows has its turn, at the end of
 * each step of a round, and so before the worker sleeps, moves or drains anybody.
 *
 * Reading is edge-triggered: `readable` stays set until a read comes back short
 * or empty, and the worker's list of ready connections remembers who is not
 * done. So a paused connection costs no system call. Writing is tried at once;
 * EPOLLOUT is only asked for while the socket takes no more.
 *
 * A turn is a time: one read may bring sixty thousand requests, which take from
 * ten milliseconds to seconds. What is left when it is over is kept, and the
 * others of the worker have theirs first.
 *
 * A frame that is not whole is kept, and what is still missing is received behind what is
 * there. Room for it grows with what arrives, because announcing a large frame
 * must not cost more than it does. But the large value of a put or an append, as soon as it
 * is clear where it begins, gets the blob that the store will keep, as large as it was
 * announced: nothing is copied any more, and pages that nobody has touched are no memory. They
 * may be pages that were freed a moment ago, though, and all may be touched in the end: so
 * what is promised in this way, and what is held, come to half of what the worker may hold at
 * most, and values beyond that are kept as other frames are. Nobody's frame is refused because
 * others have announced much: only what has arrived counts for that.
 *
 * Time-outs measure progress, so that one byte now and then does not help: a
 * frame that has begun, and output that the socket does not take, must move by a
 * number of bytes in a time. What waits for the log, or because we paused the
 * reading, is not the client's fault and not timed. A checkpoint, which may take
 * minutes, is waited for until the client hangs up and no longer: one that gave up,
 * and asks again over another connection, would leave this one behind.
 *
 * The end: a session that closes gets its output sent; then the socket is shut
 * down for writing and read until the peer closes or a second has passed.
 * Closing at once would make the kernel throw away replies on their way if the
 * peer had sent anything more. */
#include "server/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define SEND_PARTS     64
#define KEEP_BYTES_MIN 4096
#define FAST_BYTES     ((size_t)1 << 20) /* of a frame, from which its room grows faster */
#define LINGER_NS      BRD_NS_PER_S
#define TURN_NS        BRD_NS_PER_MS

/* Of one read where the worker holds as much input as it may, and where a large value is
 * expected, whose first bytes are copied out of the worker's buffer. */
#define SMALL_RECV_BYTES (16 * 1024)

#define CROWDED_BYTES_FREE (64 * 1024)   /* of one frame, likewise */
#define VALUE_BYTES_MIN    (16 * 1024)   /* of a value that is received into its blob */
#define HEAD_BYTES_MAX     4096          /* of its frame before it, and... */
#define TAIL_BYTES_MAX     4096          /* ... behind it */
#define VALUE_RECV_BYTES   (1024 * 1024) /* of one read of it: others of the worker wait meanwhile */
#define PROMISED_PART      2 /* values get room in advance up to this part of what may be held */

/* ---- life ---- */

void
conn_open(struct worker *worker, const struct arrival *arrival)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = conn };

    if (conn != NULL)
        conn->session = brd_session_create(worker->env);
    if (conn == NULL || conn->session == NULL ||
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, arrival->fd, &event) != 0) {
        if (conn != NULL)
            brd_session_destroy(&conn->session);
        free(conn);
        close(arrival->fd);
        brd_counter_add(&worker->counters.closed[CLOSE_NO_MEMORY], 1);
        peers_remove(worker->server->peers, &arrival->peer);
        atomic_fetch_sub_explicit(&worker->load, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&worker->server->connections, 1, memory_order_relaxed);
        return;
    }
    conn->magic = CONN_MAGIC;
    conn->fd = arrival->fd;
    conn->worker = worker;
    conn->peer = arrival->peer;
    conn->active_ns = worker->now_ns;
    TAILQ_INSERT_TAIL(&worker->all, conn, all_link);
    worker->conn_count++;
}

static void
drop_bytes(struct conn *conn)
{
    if (conn->in == NULL)
        return;
    brd_counter_add(&conn->worker->held_bytes, -(uint64_t)conn->in_room);
    free(conn->in);
    conn->in = NULL;
    conn->in_begin = 0;
    conn->in_end = 0;
    conn->in_room = 0;
}

static void
drop_value(struct conn *conn)
{
    if (conn->value == NULL)
        return;
    brd_counter_add(&conn->worker->held_bytes, -(uint64_t)conn->value_have);
    brd_counter_add(&conn->worker->awaited_bytes, conn->value_have - conn->place.size);
    brd_blob_unref(conn->value);
    conn->value = NULL;
    conn->value_have = 0;
}

static void
drop_input(struct conn *conn)
{
    drop_value(conn);
    drop_bytes(conn);
}

static void
leave_ready(struct conn *conn)
{
    if (conn->in_ready)
        TAILQ_REMOVE(&conn->worker->ready, conn, ready_link);
    conn->in_ready = false;
}

static void
note_waits_for_written(struct conn *conn, bool waits)
{
    if (waits != conn->waits_for_written)
        conn->worker->waiting_for_written += waits ? 1 : -1U;
    conn->waits_for_written = waits;
}

static void
leave_waiting(struct conn *conn)
{
    if (conn->in_waiting)
        TAILQ_REMOVE(&conn->worker->waiting, conn, waiting_link);
    conn->in_waiting = false;
    note_waits_for_written(conn, false);
}

/* Its session and its place on all lists are gone, and it waits to be freed. */
static void
bury(struct conn *conn)
{
    struct worker *worker = conn->worker;

    conn->dead = true;
    leave_ready(conn);
    leave_waiting(conn);
    drop_input(conn);
    brd_session_destroy(&conn->session);
    conn->fd = -1;
    TAILQ_REMOVE(&worker->all, conn, all_link);
    TAILQ_INSERT_TAIL(&worker->dead, conn, all_link);
    worker->conn_count--;
    atomic_fetch_sub_explicit(&worker->load, 1, memory_order_relaxed);
}

void
conn_close(struct conn *conn, enum close_reason reason)
{
    struct worker *worker = conn->worker;

    BRD_CHECK(!conn->dead);
    brd_counter_add(&worker->counters.closed[reason], 1);
    close(conn->fd);
    bury(conn);
    peers_remove(worker->server->peers, &conn->peer);
    atomic_fetch_sub_explicit(&worker->server->connections, 1, memory_order_relaxed);
}

void
conn_free(struct conn *conn)
{
    BRD_CHECK(conn->dead);
    conn->magic = 0;
    free(conn);
}

/* ---- input that is kept ---- */

static struct brd_bytes
kept_bytes(const struct conn *conn)
{
    return brd_bytes(conn->in + conn->in_begin, conn->in_end - conn->in_begin);
}

/* All of it: those, and what is there of the first frame's value. */
static size_t
kept(const struct conn *conn)
{
    return conn->in_end - conn->in_begin + conn->value_have;
}

/* Would this connection with so much room, beside what others hold, be too much? One alone
 * never is. */
static bool
is_crowded(const struct conn *conn, uint64_t room)
{
    uint64_t own = conn->in_room + conn->value_have;
    uint64_t others = brd_counter_get(&conn->worker->held_bytes) - own;
    uint64_t max = conn->worker->input_bytes_max;

    return max != 0 && others != 0 && others + room > max;
}

/* May so many bytes be promised room in advance? */
static bool
may_promise(const struct worker *worker, uint64_t bytes)
{
    uint64_t max = worker->input_bytes_max;

    return max == 0 ||
           brd_counter_get(&worker->held_bytes) + brd_counter_get(&worker->awaited_bytes) + bytes <=
               max / PROMISED_PART;
}

static size_t
receive_size(const struct conn *conn)
{
    return conn->sends_large_values || is_crowded(conn, conn->in_room) ? SMALL_RECV_BYTES
                                                                       : RECV_BYTES;
}

/* Room for at least extra more bytes. Closes where memory is out. */
static bool
make_room(struct conn *conn, size_t extra)
{
    struct brd_bytes bytes = kept_bytes(conn);
    size_t room = bytes.size + extra;
    uint8_t *data;

    if (conn->in != NULL && conn->in_room - conn->in_end >= extra)
        return true;
    data = malloc(room);
    if (data == NULL) {
        conn_close(conn, CLOSE_NO_MEMORY);
        return false;
    }
    if (conn->in != NULL)
        memcpy(data, bytes.data, bytes.size);
    drop_bytes(conn);
    conn->in = data;
    conn->in_end = bytes.size;
    conn->in_room = room;
    brd_counter_add(&conn->worker->held_bytes, room);
    return true;
}

/* What an open session leaves is a frame that is not whole, or, where it was full
 * or its turn was over, whole ones too. Only the latter is worth another offer. */
static bool
is_worth_an_offer(const struct conn *conn, size_t left)
{
    return left > 0 && brd_session_state(conn->session) == BRD_SESSION_OPEN &&
           left >= brd_session_needs(conn->session);
}

static bool
has_frames(const struct conn *conn)
{
    return is_worth_an_offer(conn, kept(conn));
}

/* n more bytes of the value are there. */
static void
have_more(struct conn *conn, size_t n)
{
    conn->value_have += n;
    brd_counter_add(&conn->worker->awaited_bytes, -(uint64_t)n);
    brd_counter_add(&conn->worker->held_bytes, n);
}

/* What of a frame is there, goes to where it will be kept: up to the value to conn->in, with room
 * for the bytes behind the value, and of the value to value->data. False where memory is out. */
static bool
split_frame(struct conn *conn, struct brd_bytes frame, const struct brd_span *place,
            size_t tail_bytes, struct brd_blob *value, size_t *out_have)
{
    size_t begin = (size_t)place->begin;
    size_t there = frame.size - begin;
    size_t have = there < place->size ? there : (size_t)place->size;
    uint8_t *data = malloc(begin + tail_bytes);

    BRD_CHECK(frame.data != NULL && begin <= frame.size);
    if (data == NULL)
        return false;
    memcpy(data, frame.data, begin);
    if (have > 0)
        memcpy(value->data, frame.data + begin, have);
    if (there > have)
        memcpy(data + begin, frame.data + begin + have, there - have);
    drop_bytes(conn); /* frame may be in there */
    conn->in = data;
    conn->in_end = begin + there - have;
    conn->in_room = begin + tail_bytes;
    brd_counter_add(&conn->worker->held_bytes, conn->in_room);
    *out_have = have;
    return true;
}

/* The beginning of a frame, which is all that is kept or follows nothing that is kept: if it
 * has a large value, this is received apart from now on. False where it has none, or
 * cannot: then nothing has happened. Looks at its first bytes only, whoever sends them how often. */
static bool
start_value(struct conn *conn, struct brd_bytes frame)
{
    struct worker *worker = conn->worker;
    uint64_t needs = brd_session_needs(conn->session);
    size_t head_bytes = frame.size < HEAD_BYTES_MAX ? frame.size : HEAD_BYTES_MAX;
    struct brd_blob *value;
    struct brd_span place;
    size_t have;

    if (!brd_session_find_value(conn->session, brd_bytes(frame.data, head_bytes), VALUE_BYTES_MIN,
                                &place) ||
        needs - place.begin - place.size > TAIL_BYTES_MAX || !may_promise(worker, place.size))
        return false;
    value = brd_blob_create((size_t)place.size);
    if (value == NULL || !split_frame(conn, frame, &place,
                                      (size_t)(needs - place.begin - place.size), value, &have)) {
        brd_blob_unref(value);
        return false;
    }
    conn->value = value;
    conn->place = place;
    conn->sends_large_values = place.size >= RECV_BYTES;
    brd_counter_add(&worker->awaited_bytes, place.size);
    have_more(conn, have);
    return true;
}

static bool
keep(struct conn *conn, struct brd_bytes bytes)
{
    if (bytes.size == 0)
        return true;
    if (conn->in == NULL && start_value(conn, bytes))
        return true;
    if (!make_room(conn, bytes.size))
        return false;
    memcpy(conn->in + conn->in_end, bytes.data, bytes.size);
    conn->in_end += bytes.size;
    return true;
}

static void
took(struct conn *conn, size_t n)
{
    if (n > 0)
        drop_value(conn); /* it was of the first frame */
    conn->in_begin += n;
    if (conn->in_begin == conn->in_end)
        drop_input(conn);
}

/* ---- output ---- */

static void
ask_for_writable(struct conn *conn, bool wanted)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = conn };
    int failed;

    if (conn->blocked == wanted)
        return;
    if (wanted)
        event.events |= EPOLLOUT;
    failed = epoll_ctl(conn->worker->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
    BRD_CHECK(failed == 0); /* needs no memory and cannot fail on a descriptor that is there */
    conn->blocked = wanted;
}

/* One call; one part, as replies of small values are, needs no message. */
static ssize_t
send_parts(int fd, struct iovec *parts, size_t count)
{
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
    ssize_t n;

    do {
        n = count == 1 ? send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                       : sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Send what may leave. The connection may be dead afterwards. */
static void
flush(struct conn *conn)
{
    struct worker *worker = conn->worker;
    struct iovec parts[SEND_PARTS];

    while (!conn->blocked && brd_session_unsent(conn->session) > 0) {
        size_t count = brd_session_output(conn->session, parts, SEND_PARTS);
        size_t total = 0;
        ssize_t n;
        size_t i;

        if (count == 0)
            return;
        for (i = 0; i < count; i++)
            total += parts[i].iov_len;
        n = send_parts(conn->fd, parts, count);
        brd_counter_add(&worker->counters.socket_writes, 1);
        if (n < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                ask_for_writable(conn, true);
            else
                conn_close(conn, CLOSE_RESET);
            return;
        }
        brd_session_sent(conn->session, (size_t)n);
        brd_counter_add(&worker->counters.bytes_out, (uint64_t)n);
        conn->bytes_out += (uint64_t)n;
        conn->active_ns = worker->now_ns;
        if ((size_t)n < total)
            ask_for_writable(conn, true);
    }
}

/* ---- input ---- */

/* Others of the window wait behind it: then it has one offer only. */
static bool
is_in_front(const struct conn *conn)
{
    return conn->worker->window_first < conn->worker->window_count;
}

/* Offer bytes to the session until its turn is over or something else than output
 * that could be sent stops it. Output is sent only where it is in the way; the
 * rest is for finish(). Returns the bytes taken. The connection may be dead
 * afterwards. */
static size_t
pump(struct conn *conn, struct brd_bytes bytes)
{
    const struct brd_clock *clock = conn->worker->server->options.clock;
    uint64_t until_ns = 0; /* 0: has only begun */
    size_t used = 0;

    for (;;) {
        uint64_t now_ns;

        used += brd_session_input(conn->session, brd_bytes(bytes.data + used, bytes.size - used));
        if (brd_session_state(conn->session) == BRD_SESSION_FULL)
            flush(conn);
        if (conn->dead || is_in_front(conn) || !is_worth_an_offer(conn, bytes.size - used))
            break;
        now_ns = brd_clock_mono_ns(clock);
        if (until_ns == 0)
            until_ns = now_ns + TURN_NS;
        else if (now_ns >= until_ns)
            break;
    }
    if (used > 0)
        conn->frame_ns = 0; /* what is left is another frame */
    return used;
}

static void
pump_kept(struct conn *conn)
{
    size_t used = pump(conn, kept_bytes(conn));

    if (!conn->dead)
        took(conn, used);
}

/* Offer bytes that came behind everything kept; keep what is not taken. */
static void
pump_received(struct conn *conn, struct brd_bytes bytes)
{
    size_t used = 0;

    if (bytes.size > 0 && conn->in == NULL && brd_session_state(conn->session) == BRD_SESSION_OPEN)
        used = pump(conn, bytes);
    if (used > 0)
        conn->sends_large_values = false;
    if (!conn->dead && brd_session_state(conn->session) < BRD_SESSION_CLOSING)
        (void)keep(conn, brd_bytes(bytes.data + used, bytes.size - used));
}

/* Read into parts; counts, and keeps `readable` true to what is known. False
 * where there is nothing. The connection may be dead afterwards. */
static bool
read_once(struct conn *conn, struct iovec *parts, int count, size_t *out_n)
{
    struct worker *worker = conn->worker;
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = (size_t)count };
    size_t asked = 0;
    int i;
    ssize_t n;

    for (i = 0; i < count; i++)
        asked += parts[i].iov_len;
    do {
        n = count == 1 ? recv(conn->fd, parts[0].iov_base, asked, MSG_DONTWAIT)
                       : recvmsg(conn->fd, &message, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    brd_counter_add(&worker->counters.socket_reads, 1);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        conn->readable = false;
        return false;
    }
    if (n < 0) {
        conn_close(conn, CLOSE_RESET);
        return false;
    }
    if (n == 0) {
        conn->readable = false;
        conn->last_read = true;
        conn->peer_gone = true;
        return false;
    }
    /* A short read has emptied the socket. The end of the stream may be behind
     * it; if so, epoll has said so or will. */
    if ((size_t)n < asked && !conn->hung_up)
        conn->readable = false;
    brd_counter_add(&worker->counters.bytes_in, (uint64_t)n);
    conn->bytes_in += (uint64_t)n;
    conn->active_ns = worker->now_ns;
    *out_n = (size_t)n;
    return true;
}

static void
receive(struct conn *conn)
{
    struct worker *worker = conn->worker;
    struct iovec part = { .iov_base = worker->buffer, .iov_len = receive_size(conn) };
    size_t n;

    if (read_once(conn, &part, 1, &n))
        pump_received(conn, brd_bytes(worker->buffer, n));
}

/* Room for at least one more byte of a frame that is being received, of which so many are
 * missing. It grows with what has arrived, up to what the frame needs: announcing a large one
 * costs nothing. It doubles, and from FAST_BYTES on becomes four times as large: each step
 * copies what is there, in all a third of the frame instead of the whole. False where the
 * connection was closed, or is to be. */
static bool
make_room_for_frame(struct conn *conn, uint64_t missing)
{
    size_t grow = kept(conn) < KEEP_BYTES_MIN ? KEEP_BYTES_MIN : kept(conn);

    if (conn->in_room > conn->in_end)
        return true;
    if (kept(conn) >= FAST_BYTES)
        grow *= 3;
    if (grow > missing)
        grow = (size_t)missing;
    if (kept(conn) + grow > CROWDED_BYTES_FREE && is_crowded(conn, kept(conn) + grow)) {
        conn->reason = CLOSE_BUFFERS;
        brd_session_close(conn->session, BRD_BUSY);
        flush(conn);
        return false;
    }
    return make_room(conn, grow);
}

/* Where the next missing bytes of the frame go: of its value, no more than others of the worker
 * can wait for, and of what is kept. Returns how many bytes these are in all. */
static size_t
place_frame(struct conn *conn, uint64_t missing, struct iovec parts[2])
{
    size_t value = conn->value != NULL ? (size_t)conn->place.size - conn->value_have : 0;
    size_t room = conn->in_room - conn->in_end;

    missing -= value;
    parts[0].iov_base = conn->value != NULL ? conn->value->data + conn->value_have : NULL;
    parts[0].iov_len = value < VALUE_RECV_BYTES ? value : VALUE_RECV_BYTES;
    parts[1].iov_base = conn->in + conn->in_end;
    parts[1].iov_len = room < missing ? room : (size_t)missing;
    if (parts[0].iov_len < value)
        parts[1].iov_len = 0;
    return parts[0].iov_len + parts[1].iov_len;
}

/* The same while a frame is being received: its bytes go where its beginning is, those of a
 * large value to where it will stay, and what follows the frame into the worker's buffer. */
static void
receive_frame(struct conn *conn)
{
    struct worker *worker = conn->worker;
    uint64_t missing = brd_session_needs(conn->session) - kept(conn);
    struct iovec parts[3];
    size_t asked;
    size_t of_frame;
    size_t of_value;
    size_t n;

    BRD_CHECK(brd_session_needs(conn->session) > kept(conn));
    if (conn->value == NULL &&
        (kept(conn) >= KEEP_BYTES_MIN + HEAD_BYTES_MAX || !start_value(conn, kept_bytes(conn))) &&
        !make_room_for_frame(conn, missing))
        return;
    asked = place_frame(conn, missing, parts);
    parts[2].iov_base = worker->buffer;
    parts[2].iov_len = receive_size(conn);
    if (!read_once(conn, parts, asked < missing ? 2 : 3, &n))
        return;
    of_frame = n < asked ? n : asked;
    of_value = of_frame < parts[0].iov_len ? of_frame : parts[0].iov_len;
    if (conn->value != NULL)
        have_more(conn, of_value);
    conn->in_end += of_frame - of_value;
    if (of_frame < missing)
        return;
    if (conn->value != NULL)
        brd_session_put_value(conn->session, &conn->place, conn->value);
    pump_kept(conn);
    if (!conn->dead)
        pump_received(conn, brd_bytes(worker->buffer, n - of_frame));
}

/* Throw away what comes after our last word. */
static void
discard(struct conn *conn)
{
    struct iovec part = { .iov_base = conn->worker->buffer, .iov_len = RECV_BYTES };
    size_t n;

    if (conn->readable && !read_once(conn, &part, 1, &n) && !conn->dead && conn->peer_gone)
        conn_close(conn, conn->reason);
}

/* ---- settling ---- */

static void
start_linger(struct conn *conn)
{
    uint64_t linger_ns = conn->worker->server->options.linger_ns;

    drop_input(conn);
    (void)shutdown(conn->fd, SHUT_WR);
    conn->lingering = true;
    conn->linger_until_ns = conn->worker->now_ns + (linger_ns != 0 ? linger_ns : LINGER_NS);
    leave_waiting(conn);
    conn->readable = true; /* in its next turn: a window may be in the buffer now */
}

/* Put it on the lists where it belongs, and start or stop its clocks. */
static void
settle(struct conn *conn)
{
    struct worker *worker = conn->worker;
    enum brd_session_state state = brd_session_state(conn->session);
    uint64_t now_ns = worker->now_ns;
    enum brd_session_wait wait;

    if (conn->last_read && state == BRD_SESSION_OPEN && !has_frames(conn)) {
        brd_session_close(conn->session, BRD_OK);
        state = brd_session_state(conn->session);
        conn->reason = conn->peer_gone ? CLOSE_BY_PEER : CLOSE_SHUTDOWN;
    } else if (state == BRD_SESSION_CLOSING && conn->reason == CLOSE_BY_PEER && !conn->last_read) {
        conn->reason = CLOSE_PROTOCOL;
    }
    if (state == BRD_SESSION_FAILED) {
        conn_close(conn, CLOSE_NO_MEMORY);
        return;
    }
    if (state == BRD_SESSION_CLOSING && brd_session_unsent(conn->session) == 0) {
        if (conn->peer_gone)
            conn_close(conn, conn->reason);
        else
            start_linger(conn);
        return;
    }
    if (brd_session_backlog(conn->session) > worker->limits.output_hard_bytes) {
        conn_close(conn, CLOSE_OUTPUT_HARD);
        return;
    }

    if (state != BRD_SESSION_OPEN || kept(conn) == 0 || has_frames(conn)) {
        conn->frame_ns = 0;
    } else if (conn->frame_ns == 0) {
        conn->frame_ns = now_ns;
        conn->frame_bytes_in = conn->bytes_in;
    }
    if (!conn->blocked) {
        conn->reply_ns = 0;
        conn->over_soft_ns = 0;
    } else {
        if (conn->reply_ns == 0) {
            conn->reply_ns = now_ns;
            conn->reply_bytes_out = conn->bytes_out;
        }
        if (brd_session_backlog(conn->session) < worker->limits.session.output_soft_bytes)
            conn->over_soft_ns = 0;
        else if (conn->over_soft_ns == 0)
            conn->over_soft_ns = now_ns;
    }

    wait = brd_session_waits_for_log(conn->session);
    if (wait == BRD_SESSION_WAITS_NOT) {
        leave_waiting(conn);
        return;
    }
    note_waits_for_written(conn, wait == BRD_SESSION_WAITS_FOR_ALL);
    if (!conn->in_waiting)
        TAILQ_INSERT_TAIL(&worker->waiting, conn, waiting_link);
    conn->in_waiting = true;
}

/* ---- a round ---- */

static bool
may_read(const struct conn *conn)
{
    return conn->readable &&
           (conn->lingering ||
            (!conn->last_read && brd_session_state(conn->session) == BRD_SESSION_OPEN));
}

/* Send its output, settle it, and remember whether it is done. */
static void
finish(struct conn *conn)
{
    if (!conn->dead && !conn->lingering)
        flush(conn);
    if (!conn->dead && !conn->lingering)
        settle(conn);
    if (conn->dead)
        return;
    if (!may_read(conn) && !has_frames(conn)) {
        leave_ready(conn);
    } else if (!conn->in_ready) {
        TAILQ_INSERT_TAIL(&conn->worker->ready, conn, ready_link);
        conn->in_ready = true;
    }
}

/* In the order in which they ran. */
static void
finish_held(struct worker *worker)
{
    uint32_t i;

    for (i = 0; i < worker->unsent_count; i++)
        finish(worker->unsent[i]);
    worker->unsent_count = 0;
    worker->unsent_bytes = 0;
}

/* Its requests have run: finish it together with the next ones. */
static void
hold(struct conn *conn)
{
    struct worker *worker = conn->worker;

    if (conn->dead)
        return;
    worker->unsent[worker->unsent_count++] = conn;
    worker->unsent_bytes += conn->arrived.size + brd_session_unsent(conn->session);
    if (worker->unsent_count == UNSENT_CONNS || worker->unsent_bytes >= UNSENT_BYTES)
        finish_held(worker);
}

/* Run what the window holds. */
static void
run_window(struct worker *worker)
{
    if (worker->window_count == 0)
        return;
    brd_session_env_begin(worker->env);
    while (worker->window_first < worker->window_count) {
        struct conn *conn = worker->window[worker->window_first++];

        pump_received(conn, conn->arrived);
        hold(conn);
    }
    brd_session_env_end(worker->env);
    worker->window_first = 0;
    worker->window_count = 0;
    worker->window_bytes = 0;
}

void
conn_run_window(struct worker *worker)
{
    run_window(worker);
    finish_held(worker); /* the log has been woken */
}

/* May it wait in the window between its read and its requests? */
static bool
is_plain(const struct conn *conn)
{
    return !conn->lingering && conn->in == NULL && brd_session_unsent(conn->session) == 0 &&
           may_read(conn);
}

static void
receive_into_window(struct conn *conn)
{
    struct worker *worker = conn->worker;
    struct iovec part = { .iov_base = worker->buffer + worker->window_bytes,
                          .iov_len = receive_size(conn) };
    bool room;
    size_t n;

    if (!read_once(conn, &part, 1, &n)) {
        finish(conn);
        return;
    }
    conn->arrived = brd_bytes(part.iov_base, n);
    worker->window[worker->window_count++] = conn;
    worker->window_bytes += (n + BRD_CACHE_LINE - 1) & ~(size_t)(BRD_CACHE_LINE - 1);
    room = brd_session_stage(conn->session, conn->arrived);
    if (!room || worker->window_count == WINDOW_CONNS || worker->window_bytes >= WINDOW_BYTES)
        run_window(worker);
}

/* again: what parked the session may have changed. */
static void
run(struct conn *conn, bool again)
{
    enum brd_session_state state;

    if (is_plain(conn)) {
        receive_into_window(conn);
        return;
    }
    conn_run_window(conn->worker); /* group and buffer are needed, and it may take long */
    if (conn->lingering) {
        discard(conn);
    } else {
        flush(conn); /* may make a full session open */
        if (!conn->dead) {
            state = brd_session_state(conn->session);
            if ((state == BRD_SESSION_PARKED && again && kept(conn) > 0) || has_frames(conn))
                pump_kept(conn);
        }
        if (!conn->dead && may_read(conn) && !has_frames(conn)) {
            if (kept(conn) > 0)
                receive_frame(conn);
            else
                receive(conn);
        }
    }
    finish(conn);
}

/* The same, to the end. */
static void
run_alone(struct conn *conn)
{
    run(conn, true);
    conn_run_window(conn->worker);
}

/* ---- what happens ---- */

void
conn_run(struct conn *conn)
{
    run(conn, false);
}

void
conn_on_progress(struct conn *conn)
{
    run(conn, true);
}

void
conn_on_events(struct conn *conn, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        conn->readable = true;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        conn->hung_up = true;
        brd_session_hurry(conn->session, BRD_UNKNOWN_RESULT);
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
        ask_for_writable(conn, false);
    run(conn, conn->hung_up);
}

void
conn_hand_over(struct conn *conn, struct worker *to)
{
    struct worker *worker = conn->worker;
    struct arrival arrival = { .fd = conn->fd, .peer = conn->peer };
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = conn };

    if (conn->lingering || conn->last_read || conn->hung_up || conn->blocked || conn->in != NULL ||
        brd_session_state(conn->session) != BRD_SESSION_OPEN ||
        brd_session_unsent(conn->session) > 0)
        return;
    /* First it leaves our epoll, then the other may have it. */
    BRD_CHECK(epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL) == 0);
    atomic_fetch_add_explicit(&to->load, 1, memory_order_relaxed);
    if (mailbox_post_arrival(&to->mailbox, &arrival)) {
        brd_counter_add(&worker->counters.connections_moved, 1);
        bury(conn);
        return;
    }
    atomic_fetch_sub_explicit(&to->load, 1, memory_order_relaxed);
    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) != 0)
        conn_close(conn, CLOSE_NO_MEMORY);
}

void
conn_drain(struct conn *conn)
{
    brd_session_hurry(conn->session, BRD_SHUTTING_DOWN);
    if (!conn->lingering && !conn->last_read) {
        conn->readable = true;
        run_alone(conn);
        if (conn->dead)
            return;
        conn->last_read = true;
    }
    run_alone(conn);
}

static bool
is_stuck(uint64_t now_ns, uint64_t *since_ns, uint64_t *bytes_then, uint64_t bytes,
         const struct brd_server_limits *limits)
{
    if (*since_ns == 0 || limits->progress_ns == 0 || now_ns - *since_ns < limits->progress_ns)
        return false;
    if (bytes - *bytes_then < limits->progress_bytes)
        return true;
    *since_ns = now_ns;
    *bytes_then = bytes;
    return false;
}

void
conn_check_time(struct conn *conn)
{
    const struct brd_server_limits *limits = &conn->worker->limits;
    uint64_t now_ns = conn->worker->now_ns;

    if (conn->lingering) {
        if (now_ns >= conn->linger_until_ns)
            conn_close(conn, conn->reason);
        return;
    }
    if (is_stuck(now_ns, &conn->reply_ns, &conn->reply_bytes_out, conn->bytes_out, limits)) {
        conn_close(conn, CLOSE_SLOW_READER);
    } else if (conn->over_soft_ns != 0 && limits->output_soft_ns != 0 &&
               now_ns - conn->over_soft_ns >= limits->output_soft_ns) {
        conn_close(conn, CLOSE_OUTPUT_SOFT);
    } else if (is_stuck(now_ns, &conn->frame_ns, &conn->frame_bytes_in, conn->bytes_in, limits)) {
        conn->reason = CLOSE_SLOW_FRAME;
        brd_session_close(conn->session, BRD_TIMEOUT);
        run_alone(conn);
    } else if (limits->idle_ns != 0 && now_ns - conn->active_ns >= limits->idle_ns &&
               brd_session_unsent(conn->session) == 0 && kept(conn) == 0) {
        conn->reason = CLOSE_IDLE;
        brd_session_close(conn->session, BRD_OK);
        run_alone(conn);
    }
}
