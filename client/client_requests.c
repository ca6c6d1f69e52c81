/* The blocking calls: encode, exchange, keep the reply.
 *
 * Each function says only which request it is and whether it may run twice; the
 * three steps are the same for all. */
#include "client_internal.h"
#include "conn.h"
#include "result.h"

#define MAY_REPEAT true
#define ONCE       false

/* Where the reply of a call goes. */
struct answer {
    struct brd_client *client;
    struct brd_result *result;
    bool repeatable;
    enum brd_status status;
};

static void
take_answer(void *context, size_t index, const struct brd_reply *reply, struct brd_bytes frame)
{
    struct answer *answer = context;

    (void)index;
    answer->status = reply->status;
    if (reply->status != BRD_OK)
        client_explain_reply(answer->client, reply);
    if (result_store(answer->result, frame) == BRD_OK)
        return;
    /* The write has run, but what came of it is lost. */
    answer->status = answer->repeatable ? BRD_OUT_OF_MEMORY : BRD_UNKNOWN_RESULT;
    client_explain(answer->client, "no memory on this side for the reply");
    result_set(answer->result, answer->status);
}

static struct brd_conn *
begin(struct brd_client *client)
{
    client_begin(client);
    brd_conn_reset(client->requests);
    conn_set_frame_max(client->requests, client->info.max_frame_bytes);
    return client->requests;
}

/* The request has been encoded since begin(), or has not. */
static enum brd_status
call(struct brd_client *client, enum brd_status encoded, bool repeatable, struct brd_result *result)
{
    struct answer answer = { .client = client, .result = result, .repeatable = repeatable };
    struct request_mark mark = { .repeatable = repeatable };
    struct exchange exchange = { .marks = &mark,
                                 .count = 1,
                                 .first_id = conn_next_id(client->requests) - 1,
                                 .on_reply = take_answer,
                                 .context = &answer };
    enum brd_status status = encoded;

    if (encoded == BRD_OK) {
        brd_conn_output(client->requests, &exchange.frames);
        mark.end = exchange.frames.size;
        status = client_exchange(client, &exchange, 0);
        if (status == BRD_OK)
            return answer.status;
        status = client_lost_status(&exchange, 0, status);
    }
    client_explain_lost(client, status);
    result_set(result, status);
    return status;
}

enum brd_status
brd_client_ping(struct brd_client *client, struct brd_bytes payload, struct brd_result *result)
{
    return call(client, brd_conn_ping(begin(client), payload, NULL), MAY_REPEAT, result);
}

enum brd_status
brd_client_get(struct brd_client *client, struct brd_bytes key, struct brd_result *result)
{
    return call(client, brd_conn_get(begin(client), key, NULL), MAY_REPEAT, result);
}

enum brd_status
brd_client_put(struct brd_client *client, struct brd_bytes key, struct brd_bytes value,
               const struct brd_put_options *opts, struct brd_result *result)
{
    return call(client, brd_conn_put(begin(client), key, value, opts, NULL), ONCE, result);
}

enum brd_status
brd_client_delete(struct brd_client *client, const struct brd_bytes *keys, size_t count,
                  const struct brd_write_options *opts, struct brd_result *result)
{
    return call(client, brd_conn_delete(begin(client), keys, count, opts, NULL), ONCE, result);
}

enum brd_status
brd_client_get_many(struct brd_client *client, const struct brd_bytes *keys, size_t count,
                    struct brd_result *result)
{
    enum brd_status status =
        call(client, brd_conn_get_many(begin(client), keys, count, NULL), MAY_REPEAT, result);

    /* Callers walk the items by the index of their keys. */
    if (status != BRD_OK || result == NULL || brd_result_reply(result)->item_count == count)
        return status;
    client_disconnect(client);
    client_explain(client, "the server answered for another number of keys");
    result_set(result, BRD_PROTOCOL_ERROR);
    return BRD_PROTOCOL_ERROR;
}

enum brd_status
brd_client_put_many(struct brd_client *client, const struct brd_pair *pairs, size_t count,
                    const struct brd_put_many_options *opts, struct brd_result *result)
{
    return call(client, brd_conn_put_many(begin(client), pairs, count, opts, NULL), ONCE, result);
}

enum brd_status
brd_client_incr(struct brd_client *client, struct brd_bytes key, int64_t delta,
                const struct brd_incr_options *opts, struct brd_result *result)
{
    return call(client, brd_conn_incr(begin(client), key, delta, opts, NULL), ONCE, result);
}

enum brd_status
brd_client_exists(struct brd_client *client, const struct brd_bytes *keys, size_t count,
                  struct brd_result *result)
{
    return call(client, brd_conn_exists(begin(client), keys, count, NULL), MAY_REPEAT, result);
}

enum brd_status
brd_client_ttl(struct brd_client *client, struct brd_bytes key, struct brd_result *result)
{
    return call(client, brd_conn_ttl(begin(client), key, NULL), MAY_REPEAT, result);
}

enum brd_status
brd_client_expire(struct brd_client *client, struct brd_bytes key,
                  const struct brd_expire_options *opts, struct brd_result *result)
{
    return call(client, brd_conn_expire(begin(client), key, opts, NULL), ONCE, result);
}

enum brd_status
brd_client_persist(struct brd_client *client, struct brd_bytes key,
                   const struct brd_write_options *opts, struct brd_result *result)
{
    return call(client, brd_conn_persist(begin(client), key, opts, NULL), ONCE, result);
}

enum brd_status
brd_client_append(struct brd_client *client, struct brd_bytes key, struct brd_bytes value,
                  const struct brd_write_options *opts, struct brd_result *result)
{
    return call(client, brd_conn_append(begin(client), key, value, opts, NULL), ONCE, result);
}

enum brd_status
brd_client_count(struct brd_client *client, bool exact, struct brd_result *result)
{
    return call(client, brd_conn_count(begin(client), exact, NULL), MAY_REPEAT, result);
}

enum brd_status
brd_client_clear(struct brd_client *client, const struct brd_write_options *opts,
                 struct brd_result *result)
{
    return call(client, brd_conn_clear(begin(client), opts, NULL), ONCE, result);
}

enum brd_status
brd_client_purge(struct brd_client *client, struct brd_result *result)
{
    return call(client, brd_conn_purge(begin(client), NULL), ONCE, result);
}

enum brd_status
brd_client_sync(struct brd_client *client, struct brd_result *result)
{
    return call(client, brd_conn_sync(begin(client), NULL), ONCE, result);
}

enum brd_status
brd_client_stats(struct brd_client *client, struct brd_bytes prefix, struct brd_result *result)
{
    return call(client, brd_conn_stats(begin(client), prefix, NULL), MAY_REPEAT, result);
}

enum brd_status
brd_client_reset_stats(struct brd_client *client, struct brd_result *result)
{
    return call(client, brd_conn_reset_stats(begin(client), NULL), ONCE, result);
}

enum brd_status
brd_client_checkpoint(struct brd_client *client, enum brd_checkpoint_mode mode,
                      struct brd_result *result)
{
    return call(client, brd_conn_checkpoint(begin(client), mode, NULL), ONCE, result);
}
