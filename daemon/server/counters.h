/* The tables of what the server counts. stats.c makes statistics of them. */
#ifndef BRD_SERVER_COUNTERS_H
#define BRD_SERVER_COUNTERS_H

#include "base/counter.h"

/* Why a connection ended. X(NAME, name, help) */
#define CLOSE_REASONS(X)                                                                     \
    X(BY_PEER, by_peer, "connections closed by the client")                                  \
    X(RESET, reset, "connections that broke")                                                \
    X(PROTOCOL, protocol, "connections closed because of bytes that are no request")         \
    X(IDLE, idle, "connections closed because nothing happened on them")                     \
    X(SLOW_FRAME, slow_frame, "connections closed because a request did not arrive in time") \
    X(SLOW_READER, slow_reader, "connections closed because replies were not taken in time") \
    X(OUTPUT_SOFT, output_soft, "connections closed because of output above the soft limit") \
    X(OUTPUT_HARD, output_hard, "connections closed because of output above the hard limit") \
    X(BUFFERS, buffers, "connections closed because of the limit of all buffers")            \
    X(HELD, held, "connections closed because they held replaced or removed large values")   \
    X(NO_MEMORY, no_memory, "connections closed because memory ran out")                     \
    X(SHUTDOWN, shutdown, "connections closed because the daemon stopped")

enum close_reason {
#define CLOSE_REASON_ENUM(NAME, name, help) CLOSE_##NAME,
    CLOSE_REASONS(CLOSE_REASON_ENUM)
#undef CLOSE_REASON_ENUM
        CLOSE_REASON_COUNT
};

/* Of one worker. X(name, unit, help): all grow. */
#define WORKER_COUNTERS(X)                                          \
    X(bytes_in, "bytes", "bytes received from clients")             \
    X(bytes_out, "bytes", "bytes sent to clients")                  \
    X(socket_reads, "1", "calls that received")                     \
    X(socket_writes, "1", "calls that sent")                        \
    X(worker_wakeups, "1", "times a worker was woken by something") \
    X(log_wakeups, "1", "times a worker was woken by the log")      \
    X(connections_moved, "1", "connections given to a worker that had less to do")

struct worker_counters {
#define WORKER_COUNTER_FIELD(name, unit, help) brd_counter name;
    WORKER_COUNTERS(WORKER_COUNTER_FIELD)
#undef WORKER_COUNTER_FIELD
    brd_counter closed[CLOSE_REASON_COUNT];
};

/* Of the thread that accepts. X(name, unit, help): all grow. */
#define ACCEPT_COUNTERS(X)                                                                   \
    X(connections_accepted, "1", "connections that were let in")                             \
    X(connections_refused_limit, "1", "connections refused: the limit of all")               \
    X(connections_refused_address, "1", "connections refused: the limit of their address")   \
    X(connections_refused_descriptors, "1", "connections refused: file descriptors ran out") \
    X(connections_refused_memory, "1", "connections refused: no memory was left")            \
    X(accept_errors, "1", "accept calls that failed for another reason")

struct accept_counters {
#define ACCEPT_COUNTER_FIELD(name, unit, help) brd_counter name;
    ACCEPT_COUNTERS(ACCEPT_COUNTER_FIELD)
#undef ACCEPT_COUNTER_FIELD
};

#endif
