/* One connection: bytes between its socket and its session.
 *
 * Belongs to a worker and its thread. Bytes are received into the worker's
 * buffer; the connection keeps only what the session did not take: a frame that
 * is not whole, or whole ones while the session pauses. The large value of such a
 * frame is kept apart, in the blob that the store will have. */
#ifndef BRD_SERVER_CONN_H
#define BRD_SERVER_CONN_H

#include "server/core.h"

struct conn {
    uint32_t magic;
    int fd;                      /* owned */
    struct worker *worker;       /* borrowed */
    struct brd_session *session; /* owned */
    struct peer peer;

    uint8_t *in; /* owned: input that the session has not taken; NULL: none */
    size_t in_begin;
    size_t in_end;
    size_t in_room;

    struct brd_blob *value; /* owned; of the frame at in_begin, which lacks its bytes; NULL: none */
    struct brd_span place;  /* of the value in that frame */
    size_t value_have;      /* received of it */
    bool sends_large_values; /* the last frame had one that takes several reads */

    struct brd_bytes arrived; /* in the worker's buffer, while it is in the window */

    bool readable;  /* the socket may have bytes (edge-triggered: nobody tells again) */
    bool blocked;   /* the socket took less than it was given; EPOLLOUT will tell */
    bool hung_up;   /* the peer will send nothing more: read until the end */
    bool last_read; /* we shall read nothing more */
    bool peer_gone; /* the end has been read */
    bool lingering; /* output is shut down; what still comes is thrown away */
    bool dead;
    bool in_ready; /* on the worker's lists */
    bool in_waiting;
    bool waits_for_written; /* counted in the worker's waiting_for_written */
    enum close_reason reason;

    uint64_t active_ns; /* something was last received or sent */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t frame_ns;       /* the frame being received began, or moved enough; 0: there is none */
    uint64_t frame_bytes_in; /* bytes_in then */
    uint64_t reply_ns;       /* the same for output, while the socket is blocked */
    uint64_t reply_bytes_out;
    uint64_t over_soft_ns; /* output rose above the soft limit; 0: it is below */
    uint64_t linger_until_ns;

    TAILQ_ENTRY(conn) all_link;
    TAILQ_ENTRY(conn) ready_link;
    TAILQ_ENTRY(conn) waiting_link;
};

/* Take a new connection over. Where that fails it is closed and counted. */
void conn_open(struct worker *worker, const struct arrival *arrival);

/* The next three may only read, or read and run, and leave the rest to
 * conn_run_window, which must follow before anything else is done to the
 * connection. */

/* Something happened on the socket (epoll's events). */
void conn_on_events(struct conn *conn, uint32_t events);

/* Do what can be done: one read at most. */
void conn_run(struct conn *conn);

/* The log has moved. */
void conn_on_progress(struct conn *conn);

/* Run what has been read for the worker's window, and send what is held back. */
void conn_run_window(struct worker *worker);

/* Read once more, finish what has been received, then close. */
void conn_drain(struct conn *conn);

/* Give it to another worker, if it is between two requests: nothing has been
 * received or is to be sent, and it goes on. It is put on `dead` here. */
void conn_hand_over(struct conn *conn, struct worker *to);

/* Close where a time-out has passed. */
void conn_check_time(struct conn *conn);

/* Close now: counted, taken from all lists, put on `dead`. */
void conn_close(struct conn *conn, enum close_reason reason);

/* Free it, once no event of this round can name it. */
void conn_free(struct conn *conn);

#endif
