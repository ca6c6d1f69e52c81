/* Executing requests: one table, one short handler for each kind.
 *
 * A read takes its stripes shared, finds, and leaves them held until the reply
 * has been encoded straight from the entry (brd_caller_done). A write goes
 *
 *   reserve log space -> make the entry -> lock -> look and decide
 *   -> reserve table space -> encode -> take the version and queue the record
 *   -> change memory -> unlock
 *
 * and nothing in it can fail once the version is taken. The reply remembers the
 * newest version that it looked at, so that nobody learns what may still be lost
 * (step_depend_on_read), and the version that it wrote (step_depend_on_write).
 *
 * Threads: a caller belongs to one thread; the stripes order them. Not here: what
 * a change looks like in the log (mutation.c), statistics (stats.c); handlers are
 * in commands_*.c, and the steps they share in steps.c. */
#include "engine/commands.h"
#include "engine/steps.h"

#include <inttypes.h>

struct command {
    enum brd_status (*run)(struct brd_caller *caller, struct brd_request *request,
                           struct brd_reply *reply);
    bool one_key;
    bool many_keys;
    bool writes;
    bool adds; /* ... something: not while the disk is low */
};

enum brd_status
command_sync(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    uint64_t version;

    if (!step_is_logged(caller, ns))
        return step_refuse(caller, reply, BRD_NOT_DURABLE,
                           "nothing is logged here: the daemon or the namespace is memory only");
    if (brd_wal_poisoned(caller->engine->wal))
        return step_refuse(caller, reply, BRD_READ_ONLY, "%s", brd_status_sentence(BRD_READ_ONLY));
    version = brd_wal_last_version(caller->engine->wal);
    brd_wal_want_sync(caller->engine->wal, version);
    reply->version = version;
    reply->after_full = version;
    return BRD_OK;
}

enum brd_status
command_reset_stats(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    (void)request;
    (void)reply;
    stats_reset(caller->engine);
    return BRD_OK;
}

enum brd_status
command_stats(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    return stats_execute(caller, request, reply);
}

static const struct command commands[BRD_OP_COUNT_OF] = {
    [BRD_OP_GET] = { command_get, .one_key = true },
    [BRD_OP_PUT] = { command_put, .one_key = true, .writes = true, .adds = true },
    [BRD_OP_DELETE] = { command_delete, .many_keys = true, .writes = true },
    [BRD_OP_GET_MANY] = { command_get_many, .many_keys = true },
    [BRD_OP_PUT_MANY] = { command_put_many, .many_keys = true, .writes = true, .adds = true },
    [BRD_OP_INCR] = { command_incr, .one_key = true, .writes = true, .adds = true },
    [BRD_OP_EXISTS] = { command_exists, .many_keys = true },
    [BRD_OP_TTL] = { command_ttl, .one_key = true },
    [BRD_OP_EXPIRE] = { command_expire, .one_key = true, .writes = true, .adds = true },
    [BRD_OP_PERSIST] = { command_expire, .one_key = true, .writes = true, .adds = true },
    [BRD_OP_APPEND] = { command_append, .one_key = true, .writes = true, .adds = true },
    [BRD_OP_COUNT] = { command_count },
    [BRD_OP_CLEAR] = { command_clear, .writes = true },
    [BRD_OP_PURGE] = { command_purge },
    [BRD_OP_SYNC] = { command_sync },
    [BRD_OP_STATS] = { command_stats },
    [BRD_OP_RESET_STATS] = { command_reset_stats },
    [BRD_OP_CHECKPOINT] = { command_checkpoint },
};

/* ---- what is checked for every request ---- */

static bool
key_fits(struct brd_caller *caller, struct brd_bytes key, struct brd_reply *reply)
{
    uint64_t max = caller->engine->options.max_key_bytes;

    if (BRD_LIKELY(key.size <= max))
        return true;
    step_refuse(caller, reply, BRD_TOO_LARGE, "the key has %zu bytes; max-key-size is %" PRIu64,
                key.size, max);
    return false;
}

static bool
value_fits(struct brd_caller *caller, struct brd_bytes value, struct brd_reply *reply)
{
    uint64_t max = caller->engine->options.max_value_bytes;

    if (BRD_LIKELY(value.size <= max))
        return true;
    step_refuse(caller, reply, BRD_TOO_LARGE, "the value has %zu bytes; max-value-size is %" PRIu64,
                value.size, max);
    return false;
}

static bool
keys_fit(struct brd_caller *caller, const struct brd_request *request, struct brd_reply *reply)
{
    size_t i;

    if (request->count == 0) {
        step_refuse(caller, reply, BRD_INVALID_ARGUMENT, "%s needs at least one key",
                    request->op == BRD_OP_PUT_MANY ? "put_many" : "the request");
        return false;
    }
    if (request->count > caller->engine->options.max_batch_keys) {
        step_refuse(caller, reply, BRD_TOO_LARGE,
                    "%zu keys in one request; max-batch-keys is %" PRIu64, request->count,
                    caller->engine->options.max_batch_keys);
        return false;
    }
    for (i = 0; i < request->count; i++) {
        if (request->op == BRD_OP_PUT_MANY) {
            if (!key_fits(caller, request->items[i].key, reply) ||
                !value_fits(caller, request->items[i].value, reply))
                return false;
        } else if (!key_fits(caller, request->keys[i], reply)) {
            return false;
        }
    }
    return true;
}

static bool
expiry_is_one(struct brd_caller *caller, const struct brd_request *request, struct brd_reply *reply)
{
    int given = (request->ttl_ms != 0) + (request->deadline_ms != 0) + request->keep_ttl;

    if (BRD_LIKELY(given <= 1))
        return true;
    step_refuse(caller, reply, BRD_INVALID_ARGUMENT,
                "more than one of ttl_ms, deadline_ms and keep_ttl is given; choose one");
    return false;
}

static bool
durability_fits(struct brd_caller *caller, const struct name_space *ns,
                const struct brd_request *request, struct brd_reply *reply)
{
    if (BRD_LIKELY(request->durability == BRD_DURABILITY_DEFAULT))
        return true;
    if (!step_is_logged(caller, ns)) {
        step_refuse(
            caller, reply, BRD_NOT_DURABLE,
            "a durability class was asked for, but nothing is logged here: the daemon or the "
            "namespace is memory only");
        return false;
    }
    if (request->durability == BRD_DURABILITY_NONE) {
        step_refuse(caller, reply, BRD_INVALID_ARGUMENT,
                    "durability none belongs to a namespace, never to a write");
        return false;
    }
    return true;
}

static bool
request_is_valid(struct brd_caller *caller, const struct command *command,
                 const struct brd_request *request, struct brd_reply *reply)
{
    const struct name_space *ns = step_name_space(caller, request);

    if (ns == NULL) {
        step_refuse(caller, reply, BRD_NAMESPACE_NOT_FOUND, "%s",
                    brd_status_sentence(BRD_NAMESPACE_NOT_FOUND));
        return false;
    }
    if (command->one_key && !key_fits(caller, request->key, reply))
        return false;
    if (command->many_keys && !keys_fit(caller, request, reply))
        return false;
    if (!command->writes)
        return true;
    if (command->one_key && !value_fits(caller, request->value, reply))
        return false;
    return expiry_is_one(caller, request, reply) && durability_fits(caller, ns, request, reply);
}

/* Only the disk reserve is left, and this is no way to make room. Before anything is evicted
 * for it. A log that has failed has the first word. */
static bool
is_refused_by_disk(struct brd_caller *caller, const struct command *command,
                   const struct brd_request *request)
{
    const struct brd_wal *wal = caller->engine->wal;

    return command->adds && wal != NULL && BRD_UNLIKELY(brd_wal_disk_is_low(wal)) &&
           !brd_wal_poisoned(wal) && step_is_logged(caller, step_name_space(caller, request));
}

/* A reply whose versions a failed log will never commit tells nothing. */
static bool
depends_on_the_lost(const struct brd_caller *caller, const struct brd_reply *reply)
{
    return caller->committed.failed && (reply->after_normal > caller->committed.normal ||
                                        reply->after_full > caller->committed.full);
}

enum brd_status
command_execute(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    const struct command *command =
        request->op < BRD_OP_COUNT_OF ? &commands[request->op] : &commands[BRD_OP_UNKNOWN];
    enum brd_status status;

    if (BRD_UNLIKELY(command->run == NULL)) {
        step_refuse(caller, reply, BRD_UNKNOWN_REQUEST, "%s",
                    brd_status_sentence(BRD_UNKNOWN_REQUEST));
        return BRD_OK;
    }
    if (!request_is_valid(caller, command, request, reply))
        return BRD_OK;
    if (is_refused_by_disk(caller, command, request))
        return step_refuse_disk_full(caller, reply);
    status = command->run(caller, request, reply);
    if (BRD_UNLIKELY(status == BRD_OK && depends_on_the_lost(caller, reply))) {
        *reply = (struct brd_reply){ .status = BRD_OK };
        step_refuse(caller, reply, BRD_UNKNOWN_RESULT,
                    "the log failed before this could be made durable; it may or may not be there "
                    "after a restart");
    }
    return status;
}
