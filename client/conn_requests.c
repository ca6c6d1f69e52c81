/* The requests of a brd_conn: each reads its options and names its members.
 *
 * The numbers here are those of the messages in proto/brindle.proto; a unit test
 * compares every request with what protobuf-c writes for it. */
#include "conn.h"
#include "options.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Shorthands for members of an operation. */
#define VARINT(n, v)                                      \
    {                                                     \
        .type = FIELD_VARINT, .number = (n), .value = (v) \
    }
#define FIXED64(n, v)                                      \
    {                                                      \
        .type = FIELD_FIXED64, .number = (n), .value = (v) \
    }
#define BYTES(n, v)                                      \
    {                                                    \
        .type = FIELD_BYTES, .number = (n), .bytes = (v) \
    }

static enum brd_status
append_fields(struct brd_conn *conn, enum request_kind kind, const struct field *fields,
              size_t count, uint64_t *out_id)
{
    struct operation operation = { .kind = kind, .fields = fields, .field_count = count };

    return conn_append(conn, &operation, out_id);
}

static enum brd_status
append_keys(struct brd_conn *conn, enum request_kind kind, const struct brd_bytes *keys,
            size_t key_count, const struct field *fields, size_t field_count, uint64_t *out_id)
{
    struct operation operation = { .kind = kind,
                                   .keys = keys,
                                   .key_count = key_count,
                                   .fields = fields,
                                   .field_count = field_count };

    return conn_append(conn, &operation, out_id);
}

static enum brd_status
append_key(struct brd_conn *conn, enum request_kind kind, struct brd_bytes key, uint64_t *out_id)
{
    struct field fields[] = { BYTES(1, key) };

    return append_fields(conn, kind, fields, COUNT(fields), out_id);
}

/* Enums are sent as they are; a negative one would be ten bytes of no use. */
static uint64_t
enum_value(unsigned value)
{
    return value;
}

enum brd_status
brd_conn_hello(struct brd_conn *conn, struct brd_bytes client_name, uint64_t *out_id)
{
    struct field fields[] = { VARINT(1, BRD_PROTOCOL_VERSION), BYTES(2, client_name) };

    return append_fields(conn, REQUEST_HELLO, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_ping(struct brd_conn *conn, struct brd_bytes payload, uint64_t *out_id)
{
    return append_key(conn, REQUEST_PING, payload, out_id);
}

enum brd_status
brd_conn_get(struct brd_conn *conn, struct brd_bytes key, uint64_t *out_id)
{
    return conn_append_get(conn, key, out_id);
}

enum brd_status
brd_conn_put(struct brd_conn *conn, struct brd_bytes key, struct brd_bytes value,
             const struct brd_put_options *opts, uint64_t *out_id)
{
    struct brd_put_options own;
    enum brd_status status;

    if (opts == NULL)
        return conn_append_put(conn, key, value, out_id);
    status = options_read(opts, &own, sizeof(own));
    if (status != BRD_OK)
        return status;

    struct field fields[] = {
        BYTES(1, key),
        BYTES(2, value),
        VARINT(3, own.ttl_ms),
        VARINT(4, own.deadline_ms),
        VARINT(5, enum_value(own.condition)),
        FIXED64(6, own.if_version),
        VARINT(7, own.keep_ttl),
        VARINT(8, enum_value(own.durability)),
        VARINT(9, own.return_previous),
    };
    return append_fields(conn, REQUEST_PUT, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_delete(struct brd_conn *conn, const struct brd_bytes *keys, size_t count,
                const struct brd_write_options *opts, uint64_t *out_id)
{
    struct brd_write_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;

    struct field fields[] = { VARINT(2, enum_value(own.durability)) };
    return append_keys(conn, REQUEST_DELETE, keys, count, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_get_many(struct brd_conn *conn, const struct brd_bytes *keys, size_t count,
                  uint64_t *out_id)
{
    return append_keys(conn, REQUEST_GET_MANY, keys, count, NULL, 0, out_id);
}

enum brd_status
brd_conn_put_many(struct brd_conn *conn, const struct brd_pair *pairs, size_t count,
                  const struct brd_put_many_options *opts, uint64_t *out_id)
{
    struct brd_put_many_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;

    struct field fields[] = { VARINT(2, own.ttl_ms), VARINT(3, own.deadline_ms),
                              VARINT(4, enum_value(own.durability)) };
    struct operation operation = { .kind = REQUEST_PUT_MANY,
                                   .pairs = pairs,
                                   .pair_count = count,
                                   .fields = fields,
                                   .field_count = COUNT(fields) };
    return conn_append(conn, &operation, out_id);
}

enum brd_status
brd_conn_incr(struct brd_conn *conn, struct brd_bytes key, int64_t delta,
              const struct brd_incr_options *opts, uint64_t *out_id)
{
    struct brd_incr_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;

    struct field fields[] = {
        BYTES(1, key),
        VARINT(2, encode_zigzag(delta)),
        VARINT(3, encode_zigzag(own.initial)),
        VARINT(4, own.ttl_ms),
        VARINT(5, own.deadline_ms),
        VARINT(6, enum_value(own.durability)),
    };
    return append_fields(conn, REQUEST_INCR, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_exists(struct brd_conn *conn, const struct brd_bytes *keys, size_t count, uint64_t *out_id)
{
    return append_keys(conn, REQUEST_EXISTS, keys, count, NULL, 0, out_id);
}

enum brd_status
brd_conn_ttl(struct brd_conn *conn, struct brd_bytes key, uint64_t *out_id)
{
    return append_key(conn, REQUEST_TTL, key, out_id);
}

enum brd_status
brd_conn_expire(struct brd_conn *conn, struct brd_bytes key, const struct brd_expire_options *opts,
                uint64_t *out_id)
{
    struct brd_expire_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;

    struct field fields[] = { BYTES(1, key), VARINT(2, own.ttl_ms), VARINT(3, own.deadline_ms),
                              VARINT(4, enum_value(own.durability)) };
    return append_fields(conn, REQUEST_EXPIRE, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_persist(struct brd_conn *conn, struct brd_bytes key, const struct brd_write_options *opts,
                 uint64_t *out_id)
{
    struct brd_write_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;

    struct field fields[] = { BYTES(1, key), VARINT(2, enum_value(own.durability)) };
    return append_fields(conn, REQUEST_PERSIST, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_append(struct brd_conn *conn, struct brd_bytes key, struct brd_bytes value,
                const struct brd_write_options *opts, uint64_t *out_id)
{
    struct brd_write_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;

    struct field fields[] = { BYTES(1, key), BYTES(2, value),
                              VARINT(3, enum_value(own.durability)) };
    return append_fields(conn, REQUEST_APPEND, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_count(struct brd_conn *conn, bool exact, uint64_t *out_id)
{
    struct field fields[] = { VARINT(1, exact) };

    return append_fields(conn, REQUEST_COUNT, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_clear(struct brd_conn *conn, const struct brd_write_options *opts, uint64_t *out_id)
{
    struct brd_write_options own;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;

    struct field fields[] = { VARINT(1, enum_value(own.durability)) };
    return append_fields(conn, REQUEST_CLEAR, fields, COUNT(fields), out_id);
}

enum brd_status
brd_conn_purge(struct brd_conn *conn, uint64_t *out_id)
{
    return append_fields(conn, REQUEST_PURGE, NULL, 0, out_id);
}

enum brd_status
brd_conn_sync(struct brd_conn *conn, uint64_t *out_id)
{
    return append_fields(conn, REQUEST_SYNC, NULL, 0, out_id);
}

enum brd_status
brd_conn_stats(struct brd_conn *conn, struct brd_bytes prefix, uint64_t *out_id)
{
    return append_key(conn, REQUEST_STATS, prefix, out_id);
}

enum brd_status
brd_conn_reset_stats(struct brd_conn *conn, uint64_t *out_id)
{
    return append_fields(conn, REQUEST_RESET_STATS, NULL, 0, out_id);
}

enum brd_status
brd_conn_checkpoint(struct brd_conn *conn, enum brd_checkpoint_mode mode, uint64_t *out_id)
{
    struct field fields[] = { VARINT(1, enum_value(mode)) };

    return append_fields(conn, REQUEST_CHECKPOINT, fields, COUNT(fields), out_id);
}
