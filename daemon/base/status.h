/* One enum for everything a call may come to, in the daemon, on the wire and in
 * the client library. The numbers are those of Status in proto/brindle.proto
 * (wire/ asserts it). */
#ifndef BRD_BASE_STATUS_H
#define BRD_BASE_STATUS_H

#define BRD_MUST_CHECK __attribute__((warn_unused_result))

/* X(name, number, sentence): the sentence says what happened and what to do. */
#define BRD_STATUSES(X)                                                                       \
    X(OK, 0, "done")                                                                          \
    X(NOT_FOUND, 1, "there is no such key")                                                   \
    X(EXISTS, 2, "the key exists already")                                                    \
    X(VERSION_MISMATCH, 3, "the key has another version than the one asked for")              \
    X(WRONG_TYPE, 4, "the key holds another type of value")                                   \
    X(NOT_AN_INTEGER, 5, "the value is not a decimal 64-bit integer")                         \
    X(OUT_OF_RANGE, 6, "the result would not fit into a 64-bit integer")                      \
    X(CONFLICT, 7, "somebody else changed what this transaction read; run it again")          \
    X(NAMESPACE_NOT_FOUND, 8, "there is no such namespace")                                   \
    X(NAMESPACE_EXISTS, 9, "the namespace exists already")                                    \
    X(LOCKED, 10, "somebody else holds the lock or lease")                                    \
    X(VALUE_MISMATCH, 11, "the key has another value than the one asked for")                 \
    X(INVALID_ARGUMENT, 20, "the request has an argument that is not valid")                  \
    X(TOO_LARGE, 21, "the key, value, batch or frame is above its limit")                     \
    X(UNKNOWN_REQUEST, 22, "this server does not know the request; it may be older than you") \
    X(PROTOCOL_ERROR, 23, "these bytes are no request; the connection is closed")             \
    X(UNSUPPORTED, 24, "this server does not offer that")                                     \
    X(NOT_DURABLE, 25, "a durability class was asked of a namespace that is not logged")      \
    X(NOT_ORDERED, 26, "the namespace is not ordered")                                        \
    X(HISTORY_DISABLED, 27, "the namespace keeps no history")                                 \
    X(HISTORY_TRIMMED, 28, "older than the history that the namespace still keeps")           \
    X(CURSOR_LOST, 29, "the cursor or snapshot was given up; start again")                    \
    X(TRANSACTION_CLOSED, 30, "the transaction is finished")                                  \
    X(FEED_GAP, 31, "the change feed no longer holds that position")                          \
    X(AUTH_REQUIRED, 32, "log in first")                                                      \
    X(AUTH_FAILED, 33, "the user name or the password is wrong")                              \
    X(PERMISSION_DENIED, 34, "this user may not do that")                                     \
    X(OUT_OF_MEMORY, 40, "the memory limit is reached and nothing may be evicted")            \
    X(READ_ONLY, 41, "the log has failed: no writes until the daemon is restarted")           \
    X(DISK_FULL, 42, "no disk space is left for the log: no writes until there is some")      \
    X(BUSY, 43, "something else holds what this needs; try again")                            \
    X(TIMEOUT, 44, "the time limit passed")                                                   \
    X(LOADING, 45, "recovery has not finished; try again")                                    \
    X(SHUTTING_DOWN, 46, "the daemon is stopping")                                            \
    X(TOO_MANY_CONNECTIONS, 47, "the limit of connections is reached")                        \
    X(LIMIT_EXCEEDED, 48, "the connection exceeded one of its limits")                        \
    X(CORRUPT, 49, "stored data is damaged")                                                  \
    X(WRONG_KEY, 50, "the encryption key is not the one of the data")                         \
    X(IO_ERROR, 51, "an input/output error")                                                  \
    X(INTERNAL, 52, "a bug in the daemon; please report it")                                  \
    X(NOT_LEADER, 60, "another daemon leads")                                                 \
    X(WRONG_OWNER, 61, "another daemon owns the key")                                         \
    X(UNKNOWN_RESULT, 62, "the write may or may not have happened")                           \
    X(CONNECTION_FAILED, 70, "the connection failed")                                         \
    X(CLOSED, 71, "the handle is closed")

enum brd_status {
#define BRD_STATUS_ENUM(name, number, sentence) BRD_##name = number,
    BRD_STATUSES(BRD_STATUS_ENUM)
#undef BRD_STATUS_ENUM
};

/* The name without prefix ("NOT_FOUND"), or "UNKNOWN". Static storage. */
const char *brd_status_name(enum brd_status status);

/* The sentence. Static storage. */
const char *brd_status_sentence(enum brd_status status);

#endif
