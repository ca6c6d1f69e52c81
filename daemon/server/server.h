/* Sockets and threads: accepts connections and moves bytes between them and
 * sessions. Knows nothing of the cache.
 *
 * Life: create (opens and binds sockets: what is wrong with an address shows
 * here), start (threads; clients are let in), stop (drain), destroy. */
#ifndef BRD_SERVER_SERVER_H
#define BRD_SERVER_SERVER_H

#include "base/clock.h"
#include "base/request.h"
#include "base/status.h"
#include "session/session.h"

#include <sys/types.h>

struct brd_server;

/* Limits that may change while the server runs. Times of 0: no limit. */
struct brd_server_limits {
    uint32_t connections_max;
    uint32_t connections_per_address_max; /* not of loopback and unix sockets; 0: no limit */
    uint64_t idle_ns;                     /* nothing sent, received or waited for */
    uint64_t progress_bytes;    /* a frame that has begun and a reply being sent must move */
    uint64_t progress_ns;       /* by so many bytes in so long, or end */
    uint64_t output_hard_bytes; /* unsent replies behind the one being sent: closed at once */
    uint64_t output_soft_ns;    /* above session.output_soft_bytes for so long: closed */
    uint64_t buffer_bytes;      /* of all connections: half for input, half for output (so
                                 * session.output_all_bytes is ignored); as much again for large
                                 * values that nobody keeps, see on_held; 0: no limit */
    struct brd_session_limits session;
};

/* When connections go from a busy worker to an idle one. */
struct brd_server_balance {
    uint64_t interval_ns;   /* between two looks; 0: never */
    uint32_t busy_permille; /* of its time, from which a worker is busy */
    uint32_t gap_permille;  /* by so much must another be idler */
};

struct brd_server_options {
    const char *const *listen; /* addresses, see brd_server_check_address; borrowed for create */
    size_t listen_count;
    bool listen_is_default; /* sockets of the service manager replace them */
    bool inherit;           /* take the sockets that the service manager passed (LISTEN_FDS) */
    bool allow_insecure;    /* may listen beyond loopback */
    mode_t socket_mode;     /* of unix sockets */
    int backlog;
    uint32_t workers; /* at least 1 */
    struct brd_server_balance balance;
    uint32_t keepalive_idle_s; /* TCP: 0 leaves the system's default, likewise below */
    uint32_t keepalive_interval_s;
    uint32_t keepalive_count;
    uint32_t user_timeout_ms;           /* unacknowledged data breaks a TCP connection after this */
    uint64_t linger_ns;                 /* a closed connection is read this long, so that the last
                                * reply is not lost to a reset; 0: 1 s */
    struct brd_clock *clock;            /* borrowed until destroy */
    struct brd_session_options session; /* its limits are ignored: below */
    struct brd_server_limits limits;
};

/* A sentence for the operator. */
struct brd_server_error {
    char text[512];
};

/* Is it HOST:PORT, [V6]:PORT, unix:PATH or none, and may it be listened on?
 * Names are resolved. Returns BRD_OK, or BRD_INVALID_ARGUMENT with the error. */
BRD_MUST_CHECK enum brd_status brd_server_check_address(const char *address, bool allow_insecure,
                                                        struct brd_server_error *out_error);

/* Returns BRD_OK, BRD_INVALID_ARGUMENT (an address), BRD_BUSY (in use by somebody
 * else), BRD_IO_ERROR, BRD_OUT_OF_MEMORY; the error is filled. */
BRD_MUST_CHECK enum brd_status
brd_server_create(const struct brd_server_options *options, struct brd_server **out_server,
                  struct brd_server_error *out_error);

/* The engine has been started. Results as create's. */
BRD_MUST_CHECK enum brd_status
brd_server_start(struct brd_server *server, struct brd_server_error *out_error);

/* Let nobody in, finish what has been received, send the replies, end the
 * threads. What takes longer than drain_ns is cut off. */
void brd_server_stop(struct brd_server *server, uint64_t drain_ns);

/* Stops first (without draining). NULL inside is fine. */
void brd_server_destroy(struct brd_server **server);

/* Where it listens, joined by commas, port 0 resolved, "none" where nowhere.
 * Valid until destroy. */
const char *brd_server_addresses(const struct brd_server *server);

/* The log has moved: for the engine's on_progress. Any thread, any time between
 * create and destroy; does not block. */
void brd_server_on_progress(struct brd_server *server);

/* The same where only what is committed under normal has moved: does not wake a worker all of
 * whose connections wait for a sync. For the engine's on_written. */
void brd_server_on_written(struct brd_server *server);

/* Connections whose unsent replies hold large values that were replaced or removed are to be
 * closed, until those are within buffer_bytes: for the engine's on_held. As on_progress. */
void brd_server_on_held(struct brd_server *server);

/* Other limits from now on. Any one thread. */
void brd_server_set_limits(struct brd_server *server, const struct brd_server_limits *limits);

/* Ask every thread for a sign of life, and whether all have answered what was
 * asked last. Any one thread. */
void brd_server_ping(struct brd_server *server);
bool brd_server_answered(const struct brd_server *server);

/* Connections that are open now. Any thread. */
uint32_t brd_server_connections(const struct brd_server *server);

/* For struct brd_stats_source; arg is the server. Any thread. */
void brd_server_collect_stats(void *server, void (*emit)(void *to, const struct brd_stat *stat),
                              void *to);
void brd_server_reset_stats(void *server);

#endif
