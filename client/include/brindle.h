/* libbrindle: the C client of Brindle, an in-memory cache and key-value daemon.
 *
 * Four things, from the bottom up:
 *
 *   brd_conn      one conversation without I/O of its own: it turns calls into
 *                 bytes to send and received bytes into replies. For event
 *                 loops and load testers. No system call, no clock.
 *   brd_client    one blocking connection: a function per request, deadlines,
 *                 reconnection.
 *   brd_pipeline  many requests in one round trip over a brd_client.
 *   brd_pool      brd_clients shared by all threads of a process.
 *
 * Rules that hold everywhere:
 *
 *   Status     Functions return enum brd_status unless they cannot fail. Outputs
 *              are written only as each function says; on failure they are left
 *              as they were.
 *   Keys, values, namespaces are bytes (struct brd_bytes) and may hold any byte.
 *              They are borrowed for the call and copied.
 *   Units      are in the names: _ms is milliseconds, _bytes bytes. A TTL counts
 *              from now, a deadline is Unix time.
 *   Handles    are opaque. X_destroy(&x) and X_close(&x) accept NULL and a
 *              pointer to NULL, and clear the caller's pointer.
 *   Options    are structs whose first member `size` is sizeof the struct; all
 *              other members are 0 for the default. Where a pointer to options
 *              may be NULL, NULL means all defaults. A struct larger than this
 *              library knows is accepted while the unknown rest is zero, and is
 *              BRD_UNSUPPORTED otherwise. size too small for itself:
 *              BRD_INVALID_ARGUMENT. In C:
 *                  struct brd_put_options opts = {.size = sizeof(opts), .ttl_ms = 500};
 *              in both languages:
 *                  struct brd_put_options opts;
 *                  BRD_OPTIONS_INIT(&opts);
 *   Views      structs that the library hands out by const pointer (brd_reply,
 *              brd_item, brd_stat, brd_server_info) grow at their end in later
 *              versions; do not make arrays of them or embed them in an ABI.
 *   Threads    A brd_pool may be used by any number of threads at once. Every
 *              other handle is used by one thread at a time, any thread. There
 *              is no global state.
 *   Fork       Clients and pools may be used on both sides of a fork: the child
 *              closes the inherited sockets without a word and connects anew.
 *              fork while another thread is inside a call on the same brd_client
 *              (not pool) leaves that client unusable in the child.
 *   Signals    are neither raised (no SIGPIPE) nor installed; a call that is
 *              interrupted by one goes on.
 *   Secrets    Error sentences never contain a key or a value. */
#ifndef BRINDLE_H
#define BRINDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header; brd_library_version() is that of the library. */
#define BRD_VERSION_MAJOR  1
#define BRD_VERSION_MINOR  1
#define BRD_VERSION_PATCH  0
#define BRD_VERSION_STRING "1.1.0"

/* The protocol that this library speaks (Hello.protocol_version). */
#define BRD_PROTOCOL_VERSION 1

#define BRD_API __attribute__((visibility("default")))
#ifndef BRD_MUST_CHECK
#define BRD_MUST_CHECK __attribute__((warn_unused_result))
#endif

/* Zero an options struct and set its size. */
#define BRD_OPTIONS_INIT(opts) \
    ((void)memset((opts), 0, sizeof(*(opts))), (void)((opts)->size = sizeof(*(opts))))

/* ---- Limits ------------------------------------------------------------- */

#define BRD_ADDRESS_DEFAULT       "127.0.0.1:7420"
#define BRD_ADDRESS_VARIABLE      "BRINDLE_ADDRESS"
#define BRD_ADDRESS_BYTES_MAX     1024 /* of an address, with its NUL */
#define BRD_NAMESPACE_BYTES_MAX   200  /* of a namespace's name */
#define BRD_CLIENT_NAME_BYTES_MAX 128  /* of client_name in Hello */
#define BRD_ERROR_BYTES_MAX       512  /* of an error sentence, with its NUL */

#define BRD_FRAME_BYTES_MAX       (1u << 30)          /* any request or reply: 1 GiB */
#define BRD_REPLY_ITEMS_MAX       (1u << 20)          /* items of a GetMany, stats of a Stats */
#define BRD_OUTPUT_BYTES_MAX      (1u << 30)          /* default: encoded, not yet consumed */
#define BRD_PIPELINE_REQUESTS_MAX (1u << 24)          /* default: requests in one pipeline */
#define BRD_PIPELINE_BYTES_MAX    ((uint64_t)1 << 32) /* default: requests + replies */
#define BRD_POOL_CONNECTIONS_MAX  1024                /* highest brd_pool_options.connections_max */

#define BRD_TIMEOUT_DEFAULT_MS         5000u /* of a call */
#define BRD_CONNECT_TIMEOUT_DEFAULT_MS 5000u /* of connect and Hello together */
#define BRD_POOL_CONNECTIONS_DEFAULT   8u
#define BRD_POOL_CHECK_DEFAULT_MS      30000u     /* idle time before a health check */
#define BRD_TIMEOUT_NONE               UINT32_MAX /* wait for ever */

/* ---- Status ------------------------------------------------------------- */

/* What became of a request. The numbers are those of Status in the protocol and
 * never change. A newer server may send numbers that are not listed here: treat
 * an unknown one as a failure that its message explains. */
enum brd_status {
    BRD_OK = 0,

    /* Outcomes: understood, and carried out as far as it applies. */
    BRD_NOT_FOUND = 1,        /* no live key (absent or expired) */
    BRD_EXISTS = 2,           /* if_absent met a live key */
    BRD_VERSION_MISMATCH = 3, /* if_version met another version */
    BRD_WRONG_TYPE = 4,       /* the key holds another type of value */
    BRD_NOT_AN_INTEGER = 5,   /* incr met no decimal 64-bit integer */
    BRD_OUT_OF_RANGE = 6,     /* an integer would overflow */
    BRD_CONFLICT = 7,         /* a transaction met a change by somebody else */
    BRD_NAMESPACE_NOT_FOUND = 8,
    BRD_NAMESPACE_EXISTS = 9,
    BRD_LOCKED = 10,
    BRD_VALUE_MISMATCH = 11,

    /* The request cannot be served as it stands. */
    BRD_INVALID_ARGUMENT = 20, /* missing, out of range or contradictory */
    BRD_TOO_LARGE = 21,        /* above a limit of the server or of this library */
    BRD_UNKNOWN_REQUEST = 22,  /* the server does not know it */
    BRD_PROTOCOL_ERROR = 23,   /* one side sent what the other cannot read */
    BRD_UNSUPPORTED = 24,
    BRD_NOT_DURABLE = 25, /* a durability class, but the namespace is not logged */
    BRD_NOT_ORDERED = 26,
    BRD_HISTORY_DISABLED = 27,
    BRD_HISTORY_TRIMMED = 28,
    BRD_CURSOR_LOST = 29,
    BRD_TRANSACTION_CLOSED = 30,
    BRD_FEED_GAP = 31,
    BRD_AUTH_REQUIRED = 32,
    BRD_AUTH_FAILED = 33,
    BRD_PERMISSION_DENIED = 34,

    /* It cannot be done now. */
    BRD_OUT_OF_MEMORY = 40, /* the server's limit, or malloc failed on this side */
    BRD_READ_ONLY = 41,
    BRD_DISK_FULL = 42,
    BRD_BUSY = 43,
    BRD_TIMEOUT = 44, /* a deadline passed; a write did not happen */
    BRD_LOADING = 45,
    BRD_SHUTTING_DOWN = 46,
    BRD_TOO_MANY_CONNECTIONS = 47,
    BRD_LIMIT_EXCEEDED = 48,
    BRD_CORRUPT = 49,
    BRD_WRONG_KEY = 50,
    BRD_IO_ERROR = 51,
    BRD_INTERNAL = 52,

    BRD_NOT_LEADER = 60,
    BRD_WRONG_OWNER = 61,
    BRD_UNKNOWN_RESULT = 62, /* the write may or may not have happened */

    /* On this side. */
    BRD_CONNECTION_FAILED = 70, /* no connection; a write did not happen */
    BRD_CLOSED = 71,            /* the handle was closed */

    BRD_STATUS_UNREPRESENTABLE = 0x7fffffff /* the server sent a negative number */
};

/* The name in the protocol, "NOT_FOUND"; "UNKNOWN_STATUS" for others. Static. */
BRD_API const char *brd_status_name(enum brd_status status);

/* A short sentence for a person, "no live key". Never NULL. Static. */
BRD_API const char *brd_status_text(enum brd_status status);

/* True for 1 to 19: the server did what was asked as far as it applied. Neither
 * BRD_OK nor a failure. */
BRD_API bool brd_status_is_outcome(enum brd_status status);

/* True where the same request may succeed later without being changed, and it is
 * certain that it has not been carried out: BUSY, LOADING, TIMEOUT, OUT_OF_MEMORY,
 * CONNECTION_FAILED and the like, not UNKNOWN_RESULT. */
BRD_API bool brd_status_is_temporary(enum brd_status status);

/* "1.1.0": of the library that is loaded. Static. */
BRD_API const char *brd_library_version(void);

/* ---- Bytes -------------------------------------------------------------- */

/* Borrowed bytes. data may be NULL where size is 0. */
struct brd_bytes {
    const void *data;
    size_t size;
};

static inline struct brd_bytes
brd_bytes(const void *data, size_t size)
{
    struct brd_bytes bytes;

    bytes.data = data;
    bytes.size = size;
    return bytes;
}

/* The bytes of a C string, without its NUL. */
static inline struct brd_bytes
brd_bytes_of(const char *text)
{
    return brd_bytes(text, strlen(text));
}

/* A key and its value, for put_many. */
struct brd_pair {
    struct brd_bytes key;
    struct brd_bytes value;
};

/* ---- Options of requests ------------------------------------------------ */

/* When a write is acknowledged. DEFAULT is the namespace's own class. */
enum brd_durability {
    BRD_DURABILITY_DEFAULT = 0,
    BRD_DURABILITY_NONE = 1,   /* of a namespace, never of a write */
    BRD_DURABILITY_ASYNC = 2,  /* queued: survives an orderly stop */
    BRD_DURABILITY_NORMAL = 3, /* with the operating system: survives kill -9 */
    BRD_DURABILITY_FULL = 4    /* synced: survives power loss */
};

enum brd_condition {
    BRD_ALWAYS = 0,
    BRD_IF_ABSENT = 1,
    BRD_IF_PRESENT = 2,
    BRD_IF_VERSION = 3 /* the key lives and has exactly if_version */
};

/* What a checkpoint waits for, with the names that SQLite gave them. */
enum brd_checkpoint_mode {
    BRD_CHECKPOINT_PASSIVE = 0, /* where one is under way, for nothing: tells of that one */
    BRD_CHECKPOINT_FULL = 1,    /* a snapshot has all that was written before the request */
    BRD_CHECKPOINT_RESTART = 2, /* ... and the log before it is gone from the disk */
    BRD_CHECKPOINT_TRUNCATE = 3 /* ... likewise; total and done are 0 */
};

/* At most one of ttl_ms, deadline_ms and keep_ttl; with none of them the key
 * does not expire, and an earlier expiry is dropped. A deadline in the past
 * deletes the key. */
struct brd_put_options {
    size_t size;
    uint64_t ttl_ms;      /* from now; 0: none */
    uint64_t deadline_ms; /* Unix time in ms; 0: none */
    uint64_t if_version;  /* with BRD_IF_VERSION */
    enum brd_condition condition;
    enum brd_durability durability;
    bool keep_ttl;        /* keep the deadline of the value that is replaced */
    bool return_previous; /* reply->value: the live value before, if there was one */
};

struct brd_put_many_options {
    size_t size;
    uint64_t ttl_ms;
    uint64_t deadline_ms;
    enum brd_durability durability;
};

/* ttl_ms or deadline_ms are for a key that the call creates; a live key keeps
 * what it has. */
struct brd_incr_options {
    size_t size;
    int64_t initial; /* what an absent key counts as */
    uint64_t ttl_ms;
    uint64_t deadline_ms;
    enum brd_durability durability;
};

/* Exactly one of ttl_ms and deadline_ms. */
struct brd_expire_options {
    size_t size;
    uint64_t ttl_ms;
    uint64_t deadline_ms;
    enum brd_durability durability;
};

/* Of delete, persist, append and clear. */
struct brd_write_options {
    size_t size;
    enum brd_durability durability;
};

/* ---- Replies ------------------------------------------------------------ */

struct brd_item;
struct brd_stat;

/* What a server says of itself in its answer to Hello. */
struct brd_server_info {
    uint32_t protocol_version;
    uint32_t epoch;                  /* rises with every start on the same data; 0: memory only */
    struct brd_bytes server_version; /* text; not NUL-terminated */
    uint64_t max_key_bytes;          /* 0 in any max_: not told */
    uint64_t max_value_bytes;
    uint64_t max_frame_bytes;
    uint64_t max_batch_keys;
    uint64_t max_pending_requests;
    enum brd_durability durability; /* of the namespace `default` */
};

/* What a checkpoint came to, in records of the log. What was written while it ran
 * counts in total and not in done; where one was under way (BRD_CHECKPOINT_PASSIVE),
 * done is 0. */
struct brd_checkpoint {
    uint64_t total; /* since the checkpoint before */
    uint64_t done;  /* of these, covered by this one */
};

/* One reply, read-only; the handle it came from owns it and every byte it points
 * to, for as long as that handle's documentation says. Which members a request
 * fills is told at its brd_conn_ function. */
struct brd_reply {
    uint64_t id; /* of the request; 0: about the connection (brd_conn_next_reply) */
    enum brd_status status;
    bool has_value; /* absent differs from empty */
    bool has_number;
    bool has_ttl;
    uint64_t version; /* of the key read or written; 0: none */
    struct brd_bytes value;
    int64_t number;
    uint64_t ttl_ms;
    struct brd_bytes message;            /* a sentence where status is not BRD_OK; text, no NUL */
    size_t item_count;                   /* get_many: one per key, in order */
    size_t stat_count;                   /* stats */
    const struct brd_server_info *hello; /* hello; NULL: none */
    const struct brd_item *items;        /* read with brd_reply_item */
    const struct brd_stat *stats;        /* read with brd_reply_stat */
    const struct brd_checkpoint *checkpoint; /* checkpoint; NULL: none */
};

/* One key of a get_many. */
struct brd_item {
    struct brd_bytes value; /* empty where not found */
    uint64_t version;       /* 0 where not found */
    bool found;
};

/* One statistic: a name, and a number or a text. */
struct brd_stat {
    struct brd_bytes name; /* text, no NUL; so are unit and text */
    struct brd_bytes unit; /* "bytes", "ms", "us", "1" (a count), "" */
    struct brd_bytes text; /* where is_text */
    int64_t number;        /* else */
    bool is_text;
    bool counter; /* only grows, and reset_stats sets it to zero */
};

/* The item or statistic at index, or NULL where index is not below the count.
 * Lives as long as the reply. */
BRD_API const struct brd_item *brd_reply_item(const struct brd_reply *reply, size_t index);
BRD_API const struct brd_stat *brd_reply_stat(const struct brd_reply *reply, size_t index);

/* ---- Connection without I/O --------------------------------------------- */

/* One conversation. The caller moves the bytes:
 *
 *     brd_conn_get(conn, key, NULL);             requests pile up in the output
 *     brd_conn_output(conn, &bytes);             what to send; after sending n:
 *     brd_conn_output_consume(conn, n);
 *     brd_conn_input_space(conn, 0, &p, &cap);   where to receive; after n bytes:
 *     brd_conn_input_commit(conn, n);
 *     while (brd_conn_next_reply(conn, &reply) == BRD_CONN_REPLY) ...
 *
 * Steady traffic allocates nothing: the output, the input and the reply reuse
 * their memory. Received bytes are hostile until proven otherwise: whatever
 * they are, the worst that happens is BRD_CONN_BROKEN. */
struct brd_conn;

struct brd_conn_options {
    size_t size;
    /* Longest reply accepted, 0: BRD_FRAME_BYTES_MAX, which is also the highest.
     * Memory follows what has been received, not what a length announces. */
    uint64_t reply_bytes_max;
    /* Most bytes in the output, 0: BRD_OUTPUT_BYTES_MAX. */
    uint64_t output_bytes_max;
};

/* opts     NULL: defaults.
 * Returns  BRD_OK, BRD_INVALID_ARGUMENT, BRD_UNSUPPORTED, BRD_OUT_OF_MEMORY. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_create(const struct brd_conn_options *opts, struct brd_conn **out_conn);

BRD_API void brd_conn_destroy(struct brd_conn **conn);

/* Forget all input, output, unanswered requests and the error, as for a new
 * socket; keep memory and namespace. Request ids go on. */
BRD_API void brd_conn_reset(struct brd_conn *conn);

/* The namespace of the requests encoded from now on; empty: the server's
 * `default`. Returns BRD_OK, BRD_INVALID_ARGUMENT (above
 * BRD_NAMESPACE_BYTES_MAX). */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_set_namespace(struct brd_conn *conn, struct brd_bytes name);

/* The bytes to send, and how many of them have been sent (n <= out->size). The
 * view is valid until the next call on conn that encodes or consumes. */
BRD_API void brd_conn_output(const struct brd_conn *conn, struct brd_bytes *out);
BRD_API void brd_conn_output_consume(struct brd_conn *conn, size_t n);

/* Room for received bytes: at least min (0: a good read size), as much as is at
 * hand. Makes earlier replies invalid. min is at most BRD_FRAME_BYTES_MAX.
 * Returns BRD_OK, BRD_OUT_OF_MEMORY, BRD_INVALID_ARGUMENT. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_input_space(struct brd_conn *conn, size_t min, void **out_space, size_t *out_capacity);

/* n bytes have been written to the space; n <= its capacity. */
BRD_API void brd_conn_input_commit(struct brd_conn *conn, size_t n);

/* Space, copy and commit in one: for callers that hold the bytes already.
 * Returns BRD_OK, BRD_OUT_OF_MEMORY, BRD_INVALID_ARGUMENT. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_feed(struct brd_conn *conn, const void *data, size_t size);

enum brd_conn_event {
    BRD_CONN_REPLY, /* *out_reply is the next one */
    BRD_CONN_MORE,  /* receive more bytes first */
    BRD_CONN_BROKEN /* the bytes are no reply; nothing more will come out */
};

/* The next reply of the received bytes.
 *
 * out_reply  written on BRD_CONN_REPLY. Valid until the next call of
 *            brd_conn_next_reply, brd_conn_input_space, brd_conn_feed,
 *            brd_conn_reset or brd_conn_destroy on conn.
 *
 * Replies come in the order of the requests, and this is checked: a reply with
 * another id than that of the oldest unanswered request breaks the connection.
 * A reply with id 0 belongs to no request: the server says why it is about to
 * close the connection (a frame it cannot read, too many connections).
 * BRD_CONN_BROKEN is sticky until brd_conn_reset; brd_conn_error says why. */
BRD_API BRD_MUST_CHECK enum brd_conn_event
brd_conn_next_reply(struct brd_conn *conn, const struct brd_reply **out_reply);

/* Requests encoded for which no reply has come out. */
BRD_API uint64_t brd_conn_pending(const struct brd_conn *conn);

/* Bytes received that have not come out as a reply. */
BRD_API size_t brd_conn_input_pending(const struct brd_conn *conn);

/* Why the connection is broken; "" while it is not. Static. */
BRD_API const char *brd_conn_error(const struct brd_conn *conn);

/* Append one request to the output.
 *
 * out_id   may be NULL; the request's id: 1, 2, 3 ... in the order of the calls.
 * opts     may be NULL, except for expire.
 * Returns  BRD_OK, or with nothing appended:
 *          BRD_TOO_LARGE         the frame is above BRD_FRAME_BYTES_MAX, or above
 *                                the server's max_frame_bytes once a Hello reply
 *                                told it
 *          BRD_LIMIT_EXCEEDED    the output is full: send first
 *          BRD_OUT_OF_MEMORY
 *          BRD_INVALID_ARGUMENT, BRD_UNSUPPORTED   options, see the top
 * Everything else is judged by the server. Each line says what the reply holds;
 * a status other than BRD_OK has a message and nothing else, unless told. */

/* First on every connection. client_name is printable ASCII.
 * reply: hello. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_hello(struct brd_conn *conn, struct brd_bytes client_name, uint64_t *out_id);
/* payload: at most 4 KiB. reply: value, the payload. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_ping(struct brd_conn *conn, struct brd_bytes payload, uint64_t *out_id);
/* reply: value, version; or NOT_FOUND. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_get(struct brd_conn *conn, struct brd_bytes key, uint64_t *out_id);
/* reply: version; value (the previous one) if return_previous; or EXISTS,
 * NOT_FOUND, VERSION_MISMATCH where the condition was not met. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_put(struct brd_conn *conn, struct brd_bytes key, struct brd_bytes value,
             const struct brd_put_options *opts, uint64_t *out_id);
/* Atomic over all keys. reply: number, how many were live. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_delete(struct brd_conn *conn, const struct brd_bytes *keys, size_t count,
                const struct brd_write_options *opts, uint64_t *out_id);
/* As of one moment. reply: items, in the order of keys. brd_client_get_many makes
 * sure that there are count of them; elsewhere brd_reply_item returns NULL beyond
 * what the server sent. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_get_many(struct brd_conn *conn, const struct brd_bytes *keys, size_t count,
                  uint64_t *out_id);
/* All or nothing; of a key that stands twice the last value wins.
 * reply: version, one for all. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_put_many(struct brd_conn *conn, const struct brd_pair *pairs, size_t count,
                  const struct brd_put_many_options *opts, uint64_t *out_id);
/* Adds delta to a decimal 64-bit integer. reply: number, the result; version; or
 * NOT_AN_INTEGER, OUT_OF_RANGE. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_incr(struct brd_conn *conn, struct brd_bytes key, int64_t delta,
              const struct brd_incr_options *opts, uint64_t *out_id);
/* reply: number, how many are live; a key that stands twice counts twice. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_exists(struct brd_conn *conn, const struct brd_bytes *keys, size_t count,
                uint64_t *out_id);
/* reply: ttl_ms, or has_ttl false where the key does not expire; or NOT_FOUND. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_ttl(struct brd_conn *conn, struct brd_bytes key, uint64_t *out_id);
/* reply: version; or NOT_FOUND. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_expire(struct brd_conn *conn, struct brd_bytes key, const struct brd_expire_options *opts,
                uint64_t *out_id);
/* reply: number, 1 if there was a deadline, else 0; or NOT_FOUND. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_persist(struct brd_conn *conn, struct brd_bytes key, const struct brd_write_options *opts,
                 uint64_t *out_id);
/* Creates the key where it is absent; keeps the deadline.
 * reply: number, the new length in bytes; version. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_append(struct brd_conn *conn, struct brd_bytes key, struct brd_bytes value,
                const struct brd_write_options *opts, uint64_t *out_id);
/* reply: number; may include expired keys not yet removed; exact: none that had expired when it
 * began. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_count(struct brd_conn *conn, bool exact, uint64_t *out_id);
/* reply: number, how many keys were removed. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_clear(struct brd_conn *conn, const struct brd_write_options *opts, uint64_t *out_id);
/* reply: number, how many expired keys were removed now. */
BRD_API BRD_MUST_CHECK enum brd_status brd_conn_purge(struct brd_conn *conn, uint64_t *out_id);
/* reply: version; all up to it is on stable storage. */
BRD_API BRD_MUST_CHECK enum brd_status brd_conn_sync(struct brd_conn *conn, uint64_t *out_id);
/* prefix: only names that start so; empty: all. reply: stats. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_stats(struct brd_conn *conn, struct brd_bytes prefix, uint64_t *out_id);
/* Counters to zero; gauges stay. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_reset_stats(struct brd_conn *conn, uint64_t *out_id);
/* Writes all entries into a snapshot, so that the log before it can go. It may take
 * minutes; the replies of the requests behind it wait, other connections do not.
 * reply: checkpoint; version, all up to it is in the newest snapshot (0: there is
 * none); or NOT_DURABLE (memory only), SHUTTING_DOWN, or why it failed. A client that
 * ends its side of the connection while it waits is answered UNKNOWN_RESULT. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_conn_checkpoint(struct brd_conn *conn, enum brd_checkpoint_mode mode, uint64_t *out_id);

/* ---- Results ------------------------------------------------------------ */

/* Holds a copy of one reply, for the blocking calls. Reuse one for many calls:
 * its memory stays, so that a loop of calls allocates nothing. */
struct brd_result;

/* Returns BRD_OK, BRD_OUT_OF_MEMORY. */
BRD_API BRD_MUST_CHECK enum brd_status brd_result_create(struct brd_result **out_result);
BRD_API void brd_result_destroy(struct brd_result **result);

/* Empty it and give memory above 64 KiB back. Calls do not need it before. */
BRD_API void brd_result_clear(struct brd_result *result);

/* What the last call with this result left in it: never NULL. Valid until the
 * result is passed to another call, cleared or destroyed. After a call that got
 * no answer, status is what the call returned and the rest is empty. */
BRD_API const struct brd_reply *brd_result_reply(const struct brd_result *result);

/* ---- Blocking client ---------------------------------------------------- */

struct brd_client;

struct brd_client_options {
    size_t size;
    /* "HOST:PORT", "[v6]:PORT" or "unix:PATH". NULL: $BRINDLE_ADDRESS, then
     * 127.0.0.1:7420. Names are resolved by the system, which no timeout bounds;
     * numbers and paths need no resolution. A path that begins with @ is refused,
     * since there are no abstract sockets here; "unix:./@NAME" is a file. */
    const char *address;
    const char *client_name;     /* NULL: "libbrindle/VERSION" */
    const char *namespace_name;  /* NULL or "": the server's `default` */
    uint32_t connect_timeout_ms; /* 0: BRD_CONNECT_TIMEOUT_DEFAULT_MS */
    uint32_t timeout_ms;         /* of each call; 0: BRD_TIMEOUT_DEFAULT_MS */
    uint64_t reply_bytes_max;    /* as in brd_conn_options */
    /* Never connect again by itself: after a failure all calls are
     * BRD_CONNECTION_FAILED until brd_client_reconnect. */
    bool no_reconnect;
    /* Where brd_client_open or brd_pool_open writes its error sentence, with a
     * NUL, cut to fit; written only on failure. NULL: nowhere. */
    char *error;
    size_t error_size;
};

/* Connect and say Hello.
 *
 * opts        NULL: defaults. Strings are copied.
 * out_client  written only on BRD_OK.
 * Returns     BRD_OK
 *             BRD_INVALID_ARGUMENT  an address or name that is none
 *             BRD_CONNECTION_FAILED, BRD_TIMEOUT
 *             BRD_UNSUPPORTED       the server speaks another protocol version
 *             BRD_PROTOCOL_ERROR    what answers there is no Brindle
 *             BRD_OUT_OF_MEMORY, and what the server answers to Hello
 *             (BRD_TOO_MANY_CONNECTIONS, BRD_LOADING ...). */
BRD_API BRD_MUST_CHECK enum brd_status
brd_client_open(const struct brd_client_options *opts, struct brd_client **out_client);

/* Close the connection and free everything. */
BRD_API void brd_client_close(struct brd_client **client);

/* Connect again if there is no connection. Returns as brd_client_open. */
BRD_API BRD_MUST_CHECK enum brd_status brd_client_reconnect(struct brd_client *client);

/* The sentence about the last call on client, "" after BRD_OK. Owned by client;
 * valid until its next call. */
BRD_API const char *brd_client_error(const struct brd_client *client);

/* What the server said in its last Hello. Owned by client; valid until it
 * reconnects or is closed. */
BRD_API const struct brd_server_info *brd_client_server_info(const struct brd_client *client);

/* The address that is used, as text. Owned by client. */
BRD_API const char *brd_client_address(const struct brd_client *client);

/* The namespace of later calls, and the time-out of later calls (0: default,
 * BRD_TIMEOUT_NONE: none). set_namespace returns as brd_conn_set_namespace. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_client_set_namespace(struct brd_client *client, struct brd_bytes name);
BRD_API void brd_client_set_timeout(struct brd_client *client, uint32_t timeout_ms);

/* How many times client has connected, the first included. */
BRD_API uint64_t brd_client_connects(const struct brd_client *client);

/* One request and its reply.
 *
 * result   receives the reply; NULL: not wanted. What it holds is told at the
 *          brd_conn_ function of the same name.
 * Returns  the status that the server answered, or
 *          BRD_CONNECTION_FAILED  no connection, and a write has not happened
 *          BRD_TIMEOUT            the deadline passed, and a write has not happened
 *          BRD_UNKNOWN_RESULT     a write was sent and its answer did not come (lost
 *                                 connection, deadline, broken reply): it may or
 *                                 may not have happened
 *          BRD_PROTOCOL_ERROR     a read was answered by bytes that are no reply
 *          and what brd_conn_ functions return.
 *
 * After any of these four the connection is closed and the next call connects
 * again. If a connection turns out to be dead, a call is repeated on a new one,
 * once and within its deadline, if it is a read (ping, get, get_many, exists,
 * ttl, count, stats) or if not a byte of it has been handed to the operating
 * system. A write that may have run is never repeated. */
BRD_API enum brd_status
brd_client_ping(struct brd_client *client, struct brd_bytes payload, struct brd_result *result);
BRD_API enum brd_status
brd_client_get(struct brd_client *client, struct brd_bytes key, struct brd_result *result);
BRD_API enum brd_status
brd_client_put(struct brd_client *client, struct brd_bytes key, struct brd_bytes value,
               const struct brd_put_options *opts, struct brd_result *result);
BRD_API enum brd_status
brd_client_delete(struct brd_client *client, const struct brd_bytes *keys, size_t count,
                  const struct brd_write_options *opts, struct brd_result *result);
BRD_API enum brd_status brd_client_get_many(struct brd_client *client, const struct brd_bytes *keys,
                                            size_t count, struct brd_result *result);
BRD_API enum brd_status
brd_client_put_many(struct brd_client *client, const struct brd_pair *pairs, size_t count,
                    const struct brd_put_many_options *opts, struct brd_result *result);
BRD_API enum brd_status
brd_client_incr(struct brd_client *client, struct brd_bytes key, int64_t delta,
                const struct brd_incr_options *opts, struct brd_result *result);
BRD_API enum brd_status brd_client_exists(struct brd_client *client, const struct brd_bytes *keys,
                                          size_t count, struct brd_result *result);
BRD_API enum brd_status
brd_client_ttl(struct brd_client *client, struct brd_bytes key, struct brd_result *result);
BRD_API enum brd_status
brd_client_expire(struct brd_client *client, struct brd_bytes key,
                  const struct brd_expire_options *opts, struct brd_result *result);
BRD_API enum brd_status
brd_client_persist(struct brd_client *client, struct brd_bytes key,
                   const struct brd_write_options *opts, struct brd_result *result);
BRD_API enum brd_status
brd_client_append(struct brd_client *client, struct brd_bytes key, struct brd_bytes value,
                  const struct brd_write_options *opts, struct brd_result *result);
BRD_API enum brd_status
brd_client_count(struct brd_client *client, bool exact, struct brd_result *result);
BRD_API enum brd_status
brd_client_clear(struct brd_client *client, const struct brd_write_options *opts,
                 struct brd_result *result);
BRD_API enum brd_status brd_client_purge(struct brd_client *client, struct brd_result *result);
BRD_API enum brd_status brd_client_sync(struct brd_client *client, struct brd_result *result);
BRD_API enum brd_status
brd_client_stats(struct brd_client *client, struct brd_bytes prefix, struct brd_result *result);
BRD_API enum brd_status
brd_client_reset_stats(struct brd_client *client, struct brd_result *result);
/* Waits no longer than client's time-out, which other calls seldom reach and a
 * checkpoint of some gigabytes does: the server writes a snapshot at its
 * checkpoint-rate. Set another one before (brd_client_set_timeout, perhaps
 * BRD_TIMEOUT_NONE). After a time-out, BRD_UNKNOWN_RESULT, the server goes on with
 * the checkpoint; BRD_CHECKPOINT_PASSIVE tells of it without waiting. */
BRD_API enum brd_status
brd_client_checkpoint(struct brd_client *client, enum brd_checkpoint_mode mode,
                      struct brd_result *result);

/* ---- Pipeline ----------------------------------------------------------- */

/* Requests that are sent together and answered together: one round trip for
 * thousands. Not a transaction: others may come in between, and one that fails
 * does not stop the rest.
 *
 *     brd_pipeline_get(p, key, &i); ... brd_pipeline_run(p, client);
 *     brd_pipeline_reply(p, i)->value
 *
 * Sending and receiving take turns, and never more requests are under way than
 * the server's max_pending_requests, so that a pipeline of any length runs
 * through whatever the sizes of the socket buffers are. */
struct brd_pipeline;

struct brd_pipeline_options {
    size_t size;
    uint64_t requests_max; /* 0: BRD_PIPELINE_REQUESTS_MAX, also the highest */
    uint64_t bytes_max;    /* requests and replies together; 0: BRD_PIPELINE_BYTES_MAX */
};

/* Returns BRD_OK, BRD_INVALID_ARGUMENT, BRD_UNSUPPORTED, BRD_OUT_OF_MEMORY. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_create(const struct brd_pipeline_options *opts, struct brd_pipeline **out_pipeline);
BRD_API void brd_pipeline_destroy(struct brd_pipeline **pipeline);

/* Drop all requests and replies, to start afresh; keeps the namespace, and
 * memory up to 1 MiB. */
BRD_API void brd_pipeline_reset(struct brd_pipeline *pipeline);

/* The namespace of the requests added from now on; at first the server's
 * `default`, not that of the client. Returns as brd_conn_set_namespace. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_set_namespace(struct brd_pipeline *pipeline, struct brd_bytes name);

/* Requests added since the last reset. */
BRD_API size_t brd_pipeline_size(const struct brd_pipeline *pipeline);

/* Send all requests over client and collect the replies. Once: run again only
 * after a reset (BRD_INVALID_ARGUMENT otherwise).
 *
 * timeout_ms  of the whole run; 0: the client's.
 * Returns     BRD_OK if every request was answered, whatever the answers say.
 *             Otherwise the first failure on this side, as at brd_client_; what
 *             became of each request is in its reply. When a connection dies, the
 *             rest is repeated on a new one, once, if nothing in it can have run
 *             but reads; otherwise writes that were sent are BRD_UNKNOWN_RESULT,
 *             and all other requests BRD_CONNECTION_FAILED or BRD_TIMEOUT.
 *             BRD_TOO_LARGE: a request is above the server's max_frame_bytes;
 *             nothing was sent, and every reply says so.
 *             A reply that would exceed bytes_max, or for which there is no memory,
 *             is dropped and its status is BRD_LIMIT_EXCEEDED: that request has
 *             been carried out. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_run(struct brd_pipeline *pipeline, struct brd_client *client, uint32_t timeout_ms);

/* The reply to request index, after a run; before it, and for an index out of
 * range, one with BRD_INVALID_ARGUMENT. Never NULL. The struct is valid until
 * the next call of brd_pipeline_reply on pipeline, the bytes that it points to
 * until pipeline is reset or destroyed. */
BRD_API const struct brd_reply *brd_pipeline_reply(struct brd_pipeline *pipeline, size_t index);

/* Add a request. out_index may be NULL; the indexes are 0, 1, 2 ... The rest is as
 * at the brd_conn_ function of the same name; BRD_LIMIT_EXCEEDED means that
 * requests_max or bytes_max is reached, BRD_INVALID_ARGUMENT also that the
 * pipeline has been run. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_ping(struct brd_pipeline *pipeline, struct brd_bytes payload, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_get(struct brd_pipeline *pipeline, struct brd_bytes key, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_put(struct brd_pipeline *pipeline, struct brd_bytes key, struct brd_bytes value,
                 const struct brd_put_options *opts, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_delete(struct brd_pipeline *pipeline, const struct brd_bytes *keys, size_t count,
                    const struct brd_write_options *opts, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_get_many(struct brd_pipeline *pipeline, const struct brd_bytes *keys, size_t count,
                      size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_put_many(struct brd_pipeline *pipeline, const struct brd_pair *pairs, size_t count,
                      const struct brd_put_many_options *opts, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_incr(struct brd_pipeline *pipeline, struct brd_bytes key, int64_t delta,
                  const struct brd_incr_options *opts, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_exists(struct brd_pipeline *pipeline, const struct brd_bytes *keys, size_t count,
                    size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_ttl(struct brd_pipeline *pipeline, struct brd_bytes key, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_expire(struct brd_pipeline *pipeline, struct brd_bytes key,
                    const struct brd_expire_options *opts, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_persist(struct brd_pipeline *pipeline, struct brd_bytes key,
                     const struct brd_write_options *opts, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_append(struct brd_pipeline *pipeline, struct brd_bytes key, struct brd_bytes value,
                    const struct brd_write_options *opts, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_count(struct brd_pipeline *pipeline, bool exact, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_clear(struct brd_pipeline *pipeline, const struct brd_write_options *opts,
                   size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_purge(struct brd_pipeline *pipeline, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_sync(struct brd_pipeline *pipeline, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_stats(struct brd_pipeline *pipeline, struct brd_bytes prefix, size_t *out_index);
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_reset_stats(struct brd_pipeline *pipeline, size_t *out_index);
/* The time-out of the run has to be long enough for it and for what stands behind it,
 * as at brd_client_checkpoint. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_pipeline_checkpoint(struct brd_pipeline *pipeline, enum brd_checkpoint_mode mode,
                        size_t *out_index);

/* ---- Pool --------------------------------------------------------------- */

/* Connections shared by all threads of a process. A thread acquires a client,
 * works with it and releases it. Namespace and time-out of a client are those of
 * the pool's options again each time it is acquired. */
struct brd_pool;

struct brd_pool_options {
    size_t size;
    const struct brd_client_options *client; /* of every connection; NULL: defaults; copied */
    uint32_t
        connections_max; /* 0: BRD_POOL_CONNECTIONS_DEFAULT; at most BRD_POOL_CONNECTIONS_MAX */
    uint32_t min_idle;   /* connections opened at once and kept; at least 1 is opened */
    /* A connection that was idle for longer is tried with a ping before it is
     * handed out, and replaced if it is dead. 0: BRD_POOL_CHECK_DEFAULT_MS. */
    uint32_t check_after_ms;
    /* Connections beyond min_idle that were idle for longer are closed, when a
     * client is released. 0: never. */
    uint32_t close_after_ms;
};

/* Returns as brd_client_open; fails at once if the server cannot be reached. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_pool_open(const struct brd_pool_options *opts, struct brd_pool **out_pool);

/* Close the pool: idle connections are closed, threads waiting in brd_pool_acquire
 * get BRD_CLOSED. Clients that are out stay usable, and must still be released
 * (with the pool's pointer kept from before); the memory goes with the last. In the
 * child of a fork, release what was acquired before the fork before closing. */
BRD_API void brd_pool_close(struct brd_pool **pool);

/* Take a client for this thread; connects if none is idle and the maximum is
 * not reached, waits if it is.
 *
 * timeout_ms  for all of it; 0: the time-out of the pool's client options.
 * Returns     BRD_OK; BRD_TIMEOUT: none came free in time; BRD_CLOSED; or as
 *             brd_client_open. */
BRD_API BRD_MUST_CHECK enum brd_status
brd_pool_acquire(struct brd_pool *pool, uint32_t timeout_ms, struct brd_client **out_client);

/* The sentence about the last brd_pool_acquire that failed, of any thread; "" where
 * none has. out_text receives at most size bytes, with a NUL. */
BRD_API void brd_pool_error(struct brd_pool *pool, char *out_text, size_t size);

/* Give a client back; clears the caller's pointer. NULL is accepted. A client
 * without connection may be given back: it connects when it is used. */
BRD_API void brd_pool_release(struct brd_pool *pool, struct brd_client **client);

struct brd_pool_counts {
    size_t size;     /* set by the caller: sizeof the struct */
    uint32_t in_use; /* acquired and not released */
    uint32_t idle;
    uint32_t waiting;  /* threads waiting in brd_pool_acquire */
    uint64_t connects; /* connections made since the pool was opened */
    uint64_t checks;   /* health checks made */
};

/* A consistent moment of the pool; out_counts->size says how much is written. */
BRD_API void brd_pool_get_counts(struct brd_pool *pool, struct brd_pool_counts *out_counts);

#ifdef __cplusplus
}
#endif

#endif
