/* Names and sentences of statuses. The numbers are those of proto/brindle.proto
 * and brindle.h; a unit test compares all three. */
#include <brindle.h>

#define OUTCOME_FIRST BRD_NOT_FOUND
#define OUTCOME_LAST  19

/* X(name, sentence, temporary): temporary means that the same request may
 * succeed later and has certainly not been carried out. */
#define STATUSES(X)                                                                           \
    X(OK, "done", false)                                                                      \
    X(NOT_FOUND, "no live key", false)                                                        \
    X(EXISTS, "the key exists", false)                                                        \
    X(VERSION_MISMATCH, "the key has another version", false)                                 \
    X(WRONG_TYPE, "the key holds another type of value", false)                               \
    X(NOT_AN_INTEGER, "the value is no decimal 64-bit integer", false)                        \
    X(OUT_OF_RANGE, "the result would overflow, or an index is outside", false)               \
    X(CONFLICT, "somebody else changed what the transaction read; run it again", false)       \
    X(NAMESPACE_NOT_FOUND, "no such namespace", false)                                        \
    X(NAMESPACE_EXISTS, "the namespace exists", false)                                        \
    X(LOCKED, "somebody else holds it", false)                                                \
    X(VALUE_MISMATCH, "the key has another value", false)                                     \
    X(INVALID_ARGUMENT, "an argument is missing, out of range or contradicts another", false) \
    X(TOO_LARGE, "a key, value, batch or frame is above its limit", false)                    \
    X(UNKNOWN_REQUEST, "the server does not know this request; it may be older", false)       \
    X(PROTOCOL_ERROR, "what was sent is not Brindle's protocol", false)                       \
    X(UNSUPPORTED, "not offered here", false)                                                 \
    X(NOT_DURABLE, "the namespace is not logged: it takes no durability class", false)        \
    X(NOT_ORDERED, "the namespace is not ordered", false)                                     \
    X(HISTORY_DISABLED, "the namespace keeps no history", false)                              \
    X(HISTORY_TRIMMED, "older than the history that is kept", false)                          \
    X(CURSOR_LOST, "the cursor or snapshot is gone; start again", false)                      \
    X(TRANSACTION_CLOSED, "the transaction is finished", false)                               \
    X(FEED_GAP, "the change feed no longer holds this position", false)                       \
    X(AUTH_REQUIRED, "log in first", false)                                                   \
    X(AUTH_FAILED, "wrong user or password", false)                                           \
    X(PERMISSION_DENIED, "this user may not do that", false)                                  \
    X(OUT_OF_MEMORY, "out of memory", true)                                                   \
    X(READ_ONLY, "the server takes no writes", true)                                          \
    X(DISK_FULL, "the server's disk is full: no writes until there is space", true)           \
    X(BUSY, "something else holds what this needs; try again", true)                          \
    X(TIMEOUT, "the time limit passed", true)                                                 \
    X(LOADING, "the server is recovering its data; try again", true)                          \
    X(SHUTTING_DOWN, "the server is stopping", true)                                          \
    X(TOO_MANY_CONNECTIONS, "the server has no connection left", true)                        \
    X(LIMIT_EXCEEDED, "a limit is exceeded", false)                                           \
    X(CORRUPT, "stored data is damaged", false)                                               \
    X(WRONG_KEY, "the encryption key is not that of the data", false)                         \
    X(IO_ERROR, "an input/output error", false)                                               \
    X(INTERNAL, "a bug in the server; please report it", false)                               \
    X(NOT_LEADER, "another server leads", false)                                              \
    X(WRONG_OWNER, "another server owns the key", false)                                      \
    X(UNKNOWN_RESULT, "the write may or may not have happened", false)                        \
    X(CONNECTION_FAILED, "no connection to the server", true)                                 \
    X(CLOSED, "the handle is closed", false)

const char *
brd_status_name(enum brd_status status)
{
#define CASE(name, sentence, temporary) \
    case BRD_##name:                    \
        return #name;
    switch (status) {
        STATUSES(CASE)
    case BRD_STATUS_UNREPRESENTABLE:
        break;
    }
#undef CASE
    return "UNKNOWN_STATUS";
}

const char *
brd_status_text(enum brd_status status)
{
#define CASE(name, sentence, temporary) \
    case BRD_##name:                    \
        return sentence;
    switch (status) {
        STATUSES(CASE)
    case BRD_STATUS_UNREPRESENTABLE:
        break;
    }
#undef CASE
    return "a status that this library does not know; it may be older than the server";
}

bool
brd_status_is_outcome(enum brd_status status)
{
    return status >= OUTCOME_FIRST && status <= OUTCOME_LAST;
}

bool
brd_status_is_temporary(enum brd_status status)
{
#define CASE(name, sentence, temporary) \
    case BRD_##name:                    \
        return temporary;
    switch (status) {
        STATUSES(CASE)
    case BRD_STATUS_UNREPRESENTABLE:
        break;
    }
#undef CASE
    return false;
}

const char *
brd_library_version(void)
{
    return BRD_VERSION_STRING;
}
