/* Plain requests and replies: what every codec produces and encodes, and what
 * the engine executes. No feature exists behind one protocol only.
 *
 * Bytes in a request are borrowed from the receive buffer or the codec's arena
 * until the reply is done; bytes in a reply are borrowed as said at the field. */
#ifndef BRD_BASE_REQUEST_H
#define BRD_BASE_REQUEST_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/durability.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* X(NAME, text): every kind of request. */
#define BRD_OPS(X)                \
    X(UNKNOWN, "unknown")         \
    X(GET, "get")                 \
    X(PUT, "put")                 \
    X(DELETE, "delete")           \
    X(GET_MANY, "get_many")       \
    X(PUT_MANY, "put_many")       \
    X(INCR, "incr")               \
    X(EXISTS, "exists")           \
    X(TTL, "ttl")                 \
    X(EXPIRE, "expire")           \
    X(PERSIST, "persist")         \
    X(APPEND, "append")           \
    X(COUNT, "count")             \
    X(CLEAR, "clear")             \
    X(PURGE, "purge")             \
    X(SYNC, "sync")               \
    X(STATS, "stats")             \
    X(RESET_STATS, "reset_stats") \
    X(CHECKPOINT, "checkpoint")   \
    X(HELLO, "hello")             \
    X(PING, "ping")

enum brd_op {
#define BRD_OP_ENUM(name, text) BRD_OP_##name,
    BRD_OPS(BRD_OP_ENUM)
#undef BRD_OP_ENUM
        BRD_OP_COUNT_OF /* how many there are */
};

/* The numbers are those of Condition in proto/brindle.proto. */
enum brd_condition {
    BRD_ALWAYS = 0,
    BRD_IF_ABSENT = 1,
    BRD_IF_PRESENT = 2,
    BRD_IF_VERSION = 3,
};

/* What a checkpoint waits for, with the names that SQLite gave them. The numbers
 * are those of CheckpointMode in proto/brindle.proto. */
enum brd_checkpoint_mode {
    BRD_CHECKPOINT_PASSIVE = 0,  /* not for one that is under way: tells of that one */
    BRD_CHECKPOINT_FULL = 1,     /* covers all that was written before the request */
    BRD_CHECKPOINT_RESTART = 2,  /* ... and the log before it is gone from the disk */
    BRD_CHECKPOINT_TRUNCATE = 3, /* ... and nothing is left to be covered: (0, 0) */
};

struct brd_key_value {
    struct brd_bytes key;
    struct brd_bytes value;
};

/* What has been done of a request that is executed in parts. Zero before it begins
 * and after it ends. */
struct brd_job {
    bool under_way;
    uint32_t shard;  /* those before it are done */
    uint64_t now_ms; /* when it began, Unix ms */
    uint64_t count;  /* so far */
    uint64_t ticket; /* of a checkpoint that is waited for; 0: none */
};

struct brd_request {
    uint64_t id;
    enum brd_op op;
    struct brd_bytes name_space; /* empty: default */

    /* One key: get put incr ttl expire persist append. */
    struct brd_bytes key;
    uint64_t hash;          /* of key, set by brd_caller_prepare */
    struct brd_bytes value; /* put append; payload of ping; prefix of stats; client_name of hello */
    struct brd_blob *value_blob; /* borrowed: all of it is the value; NULL: that is elsewhere */

    /* Several: keys of delete, exists, get_many; items of put_many. */
    const struct brd_bytes *keys;
    const struct brd_key_value *items;
    size_t count;

    uint64_t ttl_ms;      /* 0: none */
    uint64_t deadline_ms; /* Unix ms; 0: none */
    uint64_t if_version;
    int64_t delta;
    int64_t initial;
    uint32_t protocol_version; /* hello */
    enum brd_condition condition;
    enum brd_durability durability;
    enum brd_checkpoint_mode checkpoint_mode;
    bool keep_ttl;
    bool return_previous;
    bool exact;
    struct brd_job *job; /* purge, exact count: do a part; NULL: do all at once. Where
                          * a checkpoint waits. Set by whoever executes, never by a
                          * decoder */
};

struct brd_reply_item {
    struct brd_bytes value;
    struct brd_blob *blob; /* where the value is one: value points into it */
    uint64_t version;
    bool found;
};

/* One statistic. */
struct brd_stat {
    const char *name; /* static */
    const char *unit; /* static: "bytes", "ms", "us", "1" or "" */
    const char *text; /* NULL: it is a number; static or the collector's */
    int64_t number;
    bool counter; /* only grows, and ResetStats sets it to zero */
};

struct brd_hello_reply {
    uint32_t protocol_version;
    const char *server_version;
    uint32_t epoch;
    uint64_t max_key_bytes;
    uint64_t max_value_bytes;
    uint64_t max_frame_bytes;
    uint64_t max_batch_keys;
    uint64_t max_pending_requests;
    enum brd_durability durability;
};

/* Records of the log since the last checkpoint before, and how many of them this
 * one covers. */
struct brd_checkpoint_reply {
    uint64_t total;
    uint64_t done;
};

struct brd_reply {
    enum brd_status status;
    uint64_t version; /* 0: none */
    struct brd_bytes value;
    struct brd_blob *blob; /* where the value is one: value points into it */
    int64_t number;
    uint64_t ttl_ms;
    bool has_value;
    bool has_number;
    bool has_ttl;
    const char *message; /* NULL: the status's own sentence; lives in the caller until done */
    const struct brd_reply_item *items;
    size_t item_count;
    const struct brd_stat *stats;
    size_t stat_count;
    const struct brd_hello_reply *hello;
    const struct brd_checkpoint_reply *checkpoint; /* lives in the caller until done */

    /* The reply may leave when the log has committed these versions under the
     * class; 0: at once. */
    uint64_t after_normal;
    uint64_t after_full;
};

#endif
