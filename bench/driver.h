/* One thread's connections: sends what a workload asks for, times the answers.
 *
 * A workload decides what is asked, when and on which connection; the driver
 * moves bytes, keeps unanswered requests in order, measures and counts. */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include "address.h"
#include "codec.h"
#include "histogram.h"

#include <stdatomic.h>

#define DRIVER_DEPTH_MAX 65536

struct driver;

/* One request that has no answer yet. */
struct slot {
    uint64_t start_ns; /* latency counts from here */
    uint64_t tag;      /* the workload's own */
    uint32_t extra;    /* the workload's own */
    uint16_t key_count;
    uint8_t kind; /* enum request_kind */
};

/* All are called by the driver's thread with `self` of the phase. */
struct workload_ops {
    /* Connection `conn` has just answered, or is new: issue what it may have. */
    void (*room)(void *self, struct driver *driver, unsigned conn, uint64_t now_ns);
    /* Once per turn of the loop, to issue what is due. Returns when it wants to
     * be called again at the latest; 0: no matter. */
    uint64_t (*tick)(void *self, struct driver *driver, uint64_t now_ns);
    /* One answer; errors too. */
    void (*reply)(void *self, struct driver *driver, unsigned conn, const struct slot *slot,
                  const struct reply *reply, uint64_t now_ns);
    /* One value of a GET_MANY; may be NULL. index and key as in codec_value_fn. */
    void (*value)(void *self, struct driver *driver, unsigned conn, const struct slot *slot,
                  size_t index, struct span key, struct span value);
    /* The connection is gone with everything on it. */
    void (*lost)(void *self, struct driver *driver, unsigned conn);
    /* True when nothing more will be issued. */
    bool (*finished)(const void *self, uint64_t now_ns);
};

struct phase {
    const struct workload_ops *ops;
    void *self;
    uint64_t timeout_ns;            /* a connection silent for so long is lost */
    const atomic_bool *interrupted; /* stop issuing, wait shortly for answers */
};

/* Everything that was counted since driver_reset_stats. */
struct driver_stats {
    uint64_t answers[REQUEST_KINDS]; /* without errors */
    uint64_t hits;                   /* keys found by GET and GET_MANY */
    uint64_t misses;
    uint64_t refused;      /* conditions that did not hold, deletes of nothing */
    uint64_t errors;       /* error answers, lost connections */
    uint64_t unanswered;   /* requests on lost connections, or after an interrupt */
    uint64_t wrong_values; /* found by --verify */
    uint64_t bytes_in;
    uint64_t bytes_out;
    struct histogram *reads; /* GET, GET_MANY */
    struct histogram *writes;
    struct histogram *lag; /* open loop: from the intended to the real send time */
    struct bench_error first_error;
};

struct driver_options {
    enum protocol protocol;
    const struct address *address;
    unsigned connections;
    unsigned depth; /* most unanswered requests on a connection */
    unsigned connect_timeout_ms;
};

/* Connects everything. */
BENCH_MUST_CHECK bool
driver_create(struct driver **out_driver, const struct driver_options *options,
              struct bench_error *error);
void driver_destroy(struct driver **driver);

/* Runs one phase to its end; every answer has come, or is counted as missing. */
void driver_run(struct driver *driver, const struct phase *phase);

struct driver_stats *driver_stats(struct driver *driver);
void driver_reset_stats(struct driver *driver);

/* Answers in this phase so far; any thread. */
uint64_t driver_progress(const struct driver *driver);
/* Connections that still work. */
unsigned driver_alive(const struct driver *driver);

/* ---- For workloads, during driver_run ---- */

/* Queue one request on a connection with fewer than `depth` unanswered. It is
 * sent when the workload's function returns. slot.kind and slot.key_count are
 * filled in. false: the connection was lost. */
bool
driver_issue(struct driver *driver, unsigned conn, const struct request *request, struct slot slot);
unsigned driver_outstanding(const struct driver *driver, unsigned conn);
bool driver_is_alive(const struct driver *driver, unsigned conn);
unsigned driver_connections(const struct driver *driver);
void driver_count_wrong_value(struct driver *driver, struct span key);

/* ---- One request on one socket, waiting for the answer ---- */

/* out_reply's value lives until the next use of the codec. */
BENCH_MUST_CHECK bool
driver_call(int fd, struct codec *codec, const struct request *request, unsigned timeout_ms,
            struct reply *out_reply, struct bench_error *error);

#endif
