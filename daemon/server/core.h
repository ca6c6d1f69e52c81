/* What the files of this folder share: the server and its workers. */
#ifndef BRD_SERVER_CORE_H
#define BRD_SERVER_CORE_H

#include "base/buf.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/thread.h"
#include "server/balance.h"
#include "server/counters.h"
#include "server/door.h"
#include "server/mailbox.h"
#include "server/peers.h"
#include "server/server.h"

#include <sys/queue.h>

#define WORKER_MAGIC 0x776f726bu
#define CONN_MAGIC   0x636f6e6eu

#define RECV_BYTES (256 * 1024) /* the most of one read */

/* A window: connections whose requests are run as one batch, see conn.c. It
 * ends with the first that brings it to one of these. */
#define WINDOW_CONNS  32
#define WINDOW_BYTES  (64 * 1024)
#define WORKER_BUFFER (WINDOW_BYTES + RECV_BYTES)

/* Connections whose replies wait for each other, see conn.c: the most of them,
 * and of what they received and are to send, in bytes (the last adds its own). */
#define UNSENT_CONNS 32
#define UNSENT_BYTES (64 * 1024)

/* Requests between two looks at the clock while a connection has its turn. */
#define REQUESTS_AT_ONCE 32

/* What a worker that sleeps waits for: each includes those before it. */
enum worker_wait {
    WORKER_WAITS_NOT,
    WORKER_WAITS_FOR_SYNC, /* of the log: only syncs, or that it fails */
    WORKER_WAITS_FOR_ALL,  /* also what is only written, queue space, memory, a checkpoint */
};

struct conn;
TAILQ_HEAD(conn_list, conn);

/* One thread with an epoll of its own. Fields are the worker's own unless they
 * say otherwise. */
struct worker {
    uint32_t magic;
    uint32_t index;
    struct brd_server *server; /* borrowed */
    pthread_t thread;
    bool running; /* main: the thread is there */
    int epoll_fd;
    struct mailbox mailbox;
    struct brd_session_env *env; /* owned; its counters are read by any thread */
    uint8_t *buffer;             /* owned: WORKER_BUFFER; what the window holds, then nobody's */
    struct brd_server_limits limits;
    uint64_t input_bytes_max; /* of held_bytes; 0: no limit */

    uint64_t now_ns;  /* monotonic, of this round */
    uint64_t tick_ns; /* time between two slices of time-out checks */
    uint64_t next_tick_ns;
    bool draining;
    uint64_t drain_until_ns;

    struct conn *window[WINDOW_CONNS]; /* empty between two steps of a round */
    uint32_t window_first;             /* not run yet */
    uint32_t window_count;
    size_t window_bytes; /* of the buffer, rounded up */

    struct conn *unsent[UNSENT_CONNS]; /* have run and are to be finished; likewise empty */
    uint32_t unsent_count;
    uint64_t unsent_bytes;

    struct conn_list all;     /* the next to be checked for time-outs first */
    struct conn_list ready;   /* have bytes to be read */
    struct conn_list waiting; /* need the log's progress */
    struct conn_list dead;    /* closed in this round, freed at its end */
    uint32_t conn_count;
    struct balance balance;
    uint64_t progress_seen;       /* server->progress before this round's requests ran */
    uint64_t written_seen;        /* likewise */
    uint32_t waiting_for_written; /* connections in `waiting` that written may help */

    /* Set by the worker before it sleeps with connections in `waiting`, read by
     * the log's threads after they moved server->progress or written; both sequentially
     * consistent, so that one of the two sees the other. */
    _Atomic enum worker_wait waits_asleep;
    _Atomic int busy_fd;       /* owned: brd_thread_busy_ns of its thread; release, acquire */
    _Atomic uint32_t load;     /* connections given to it; relaxed; also the acceptor's */
    _Atomic uint64_t answered; /* newest ping seen; relaxed */
    brd_counter held_bytes;    /* input kept for connections */
    brd_counter awaited_bytes; /* of values whose blobs are there, not received yet */
    brd_counter output_bytes;  /* chunks of output, in use or kept for use */
    struct worker_counters counters __attribute__((aligned(BRD_CACHE_LINE)));
};

struct brd_server {
    struct brd_server_options options; /* listen is not kept */
    struct doors doors;
    char *addresses;        /* owned */
    struct brd_buf refusal; /* what a connection too many is told */
    struct peers *peers;
    struct worker *workers; /* owned; options.workers of them */
    bool started;

    pthread_t accept_thread;
    bool accepting;                /* main: the thread is there */
    struct mailbox accept_mailbox; /* notes only */
    int spare_fd; /* acceptor: given up to accept, and close, when there is no other */
    _Atomic uint64_t accept_answered; /* relaxed */
    struct accept_counters accept_counters;

    _Atomic uint32_t connections;     /* all of them; relaxed */
    _Atomic uint32_t connections_max; /* as in limits, for the acceptor; relaxed */
    _Atomic uint32_t per_address_max; /* likewise */
    _Atomic uint64_t progress;        /* how often the log has moved; see waits_asleep */
    _Atomic uint64_t written;         /* of which more is written, and nothing else has happened */
    _Atomic uint64_t ping;            /* relaxed */
    _Atomic uint64_t drain_ns;        /* before NOTE_STOP */

    struct brd_mutex lock; /* BRD_RANK_SERVER: the two below */
    struct brd_server_limits limits;
    uint64_t *zero; /* owned: what ResetStats subtracts, see stats.c */
};

/* A worker's thread. */
void *worker_run(void *worker);

/* The acceptor's thread. */
void *accept_run(void *server);

#endif
