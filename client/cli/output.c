/* Replies on stdout: see output.h.
 *
 * Text: a value is its bytes and a newline. On a terminal, bytes that could steer
 * it are written as \xHH; into a file or a pipe they go as they are. (For exactly
 * the bytes there is --raw.)
 *
 * JSON: one object on one line for each command:
 *     {"status": "OK", "version": 1718, "value": "text"}
 * Bytes that are no UTF-8 are {"base64": "..."}. What is absent in the reply is
 * absent in the object, but for ttl_ms, which is null where a key does not
 * expire. A version or number beyond 63 bits is a string of digits. */
#include "output.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Text --------------------------------------------------------------- */

static void
print_bytes(const struct cli *cli, struct brd_bytes bytes)
{
    const unsigned char *data = bytes.data;
    size_t i;

    if (!cli->stdout_is_terminal) {
        if (bytes.size != 0)
            fwrite(bytes.data, 1, bytes.size, stdout);
        return;
    }
    for (i = 0; i < bytes.size; i++) {
        /* 0x80 to 0x9f are controls of 8-bit terminals; in UTF-8 they only follow. */
        bool control = data[i] < ' ' || data[i] == 0x7f;

        if (control && data[i] != '\n' && data[i] != '\t')
            printf("\\x%02x", data[i]);
        else
            putchar(data[i]);
    }
}

static void
print_items(const struct cli *cli, const struct brd_reply *reply, const struct brd_bytes *keys)
{
    size_t i;

    for (i = 0; i < reply->item_count; i++) {
        const struct brd_item *item = brd_reply_item(reply, i);

        print_bytes(cli, keys[i]);
        if (item->found) {
            putchar('\t');
            print_bytes(cli, item->value);
        }
        putchar('\n');
    }
}

static void
print_stats(const struct cli *cli, const struct brd_reply *reply)
{
    size_t width = 0;
    size_t i;

    for (i = 0; i < reply->stat_count; i++) {
        size_t size = brd_reply_stat(reply, i)->name.size;

        width = size > width ? size : width;
    }
    for (i = 0; i < reply->stat_count; i++) {
        const struct brd_stat *stat = brd_reply_stat(reply, i);
        size_t pad;

        print_bytes(cli, stat->name);
        for (pad = stat->name.size; pad < width + 2; pad++)
            putchar(' ');
        if (stat->is_text)
            print_bytes(cli, stat->text);
        else
            printf("%" PRId64, stat->number);
        if (stat->unit.size != 0 &&
            !(stat->unit.size == 1 && memcmp(stat->unit.data, "1", 1) == 0)) {
            putchar(' ');
            print_bytes(cli, stat->unit);
        }
        putchar('\n');
    }
}

static const char *
durability_name(enum brd_durability durability)
{
    switch (durability) {
    case BRD_DURABILITY_DEFAULT:
        return "default";
    case BRD_DURABILITY_NONE:
        return "none";
    case BRD_DURABILITY_ASYNC:
        return "async";
    case BRD_DURABILITY_NORMAL:
        return "normal";
    case BRD_DURABILITY_FULL:
        return "full";
    }
    return "unknown";
}

static void
print_hello(const struct cli *cli, const struct brd_server_info *hello)
{
    printf("server_version        ");
    print_bytes(cli, hello->server_version);
    printf("\nprotocol_version      %" PRIu32 "\n", hello->protocol_version);
    printf("epoch                 %" PRIu32 "\n", hello->epoch);
    printf("durability            %s\n", durability_name(hello->durability));
    printf("max_key_bytes         %" PRIu64 "\n", hello->max_key_bytes);
    printf("max_value_bytes       %" PRIu64 "\n", hello->max_value_bytes);
    printf("max_frame_bytes       %" PRIu64 "\n", hello->max_frame_bytes);
    printf("max_batch_keys        %" PRIu64 "\n", hello->max_batch_keys);
    printf("max_pending_requests  %" PRIu64 "\n", hello->max_pending_requests);
}

static void
print_text(const struct cli *cli, const struct brd_reply *reply, enum brd_status status,
           unsigned members, const struct brd_bytes *keys)
{
    if ((members & SHOW_VALUE) != 0 && reply->has_value) {
        print_bytes(cli, reply->value);
        putchar('\n');
    }
    if (status != BRD_OK)
        return;
    if ((members & SHOW_NUMBER) != 0 && reply->has_number)
        printf("%" PRId64 "\n", reply->number);
    if ((members & SHOW_CHECKPOINT) != 0 && reply->checkpoint != NULL)
        printf("total %" PRIu64 "\ndone %" PRIu64 "\n", reply->checkpoint->total,
               reply->checkpoint->done);
    if ((members & SHOW_VERSION) != 0)
        printf("version %" PRIu64 "\n", reply->version);
    if ((members & SHOW_TTL) != 0 && reply->has_ttl)
        printf("%" PRIu64 " ms\n", reply->ttl_ms);
    else if ((members & SHOW_TTL) != 0)
        puts("no expiry");
    if ((members & SHOW_ITEMS) != 0)
        print_items(cli, reply, keys);
    if ((members & SHOW_STATS) != 0)
        print_stats(cli, reply);
    if ((members & SHOW_OK) != 0)
        puts("OK");
}

/* ---- JSON --------------------------------------------------------------- */

static json_t *
json_base64(struct brd_bytes bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *data = bytes.data;
    size_t size = (bytes.size + 2) / 3 * 4;
    char *text = malloc(size + 1);
    char *out = text;
    json_t *string;
    size_t i;

    if (text == NULL)
        return NULL;
    for (i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                         (left > 2 ? data[i + 2] : 0);

        *out++ = alphabet[group >> 18 & 63];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *out++ = left > 2 ? alphabet[group & 63] : '=';
    }
    string = json_stringn(text, size);
    free(text);
    return json_pack("{s:o}", "base64", string);
}

static json_t *
json_bytes(struct brd_bytes bytes)
{
    json_t *string = json_stringn(bytes.size == 0 ? "" : bytes.data, bytes.size);

    return string != NULL ? string : json_base64(bytes); /* it was no UTF-8 */
}

static json_t *
json_unsigned(uint64_t number)
{
    char digits[24];

    if (number <= INT64_MAX)
        return json_integer((json_int_t)number);
    snprintf(digits, sizeof(digits), "%" PRIu64, number);
    return json_string(digits);
}

static json_t *
json_items(const struct brd_reply *reply, const struct brd_bytes *keys)
{
    json_t *items = json_array();
    size_t i;

    for (i = 0; i < reply->item_count; i++) {
        const struct brd_item *item = brd_reply_item(reply, i);
        json_t *object = json_object();

        json_object_set_new(object, "key", json_bytes(keys[i]));
        json_object_set_new(object, "found", json_boolean(item->found));
        if (item->found) {
            json_object_set_new(object, "version", json_unsigned(item->version));
            json_object_set_new(object, "value", json_bytes(item->value));
        }
        json_array_append_new(items, object);
    }
    return items;
}

static json_t *
json_stats(const struct brd_reply *reply)
{
    json_t *stats = json_object();
    size_t i;

    for (i = 0; i < reply->stat_count; i++) {
        const struct brd_stat *stat = brd_reply_stat(reply, i);
        json_t *object = json_object();

        json_object_set_new(object, "value",
                            stat->is_text ? json_bytes(stat->text) : json_integer(stat->number));
        json_object_set_new(object, "unit", json_bytes(stat->unit));
        json_object_set_new(object, "counter", json_boolean(stat->counter));
        json_object_setn_new(stats, stat->name.data, stat->name.size, object);
    }
    return stats;
}

static json_t *
json_hello(const struct brd_server_info *hello)
{
    json_t *object = json_object();

    json_object_set_new(object, "server_version", json_bytes(hello->server_version));
    json_object_set_new(object, "protocol_version", json_unsigned(hello->protocol_version));
    json_object_set_new(object, "epoch", json_unsigned(hello->epoch));
    json_object_set_new(object, "durability", json_string(durability_name(hello->durability)));
    json_object_set_new(object, "max_key_bytes", json_unsigned(hello->max_key_bytes));
    json_object_set_new(object, "max_value_bytes", json_unsigned(hello->max_value_bytes));
    json_object_set_new(object, "max_frame_bytes", json_unsigned(hello->max_frame_bytes));
    json_object_set_new(object, "max_batch_keys", json_unsigned(hello->max_batch_keys));
    json_object_set_new(object, "max_pending_requests", json_unsigned(hello->max_pending_requests));
    return object;
}

static json_t *
json_checkpoint(const struct brd_checkpoint *checkpoint)
{
    json_t *object = json_object();

    json_object_set_new(object, "total", json_unsigned(checkpoint->total));
    json_object_set_new(object, "done", json_unsigned(checkpoint->done));
    return object;
}

static json_t *
json_reply(const struct cli *cli, const struct brd_reply *reply, enum brd_status status,
           unsigned members, const struct brd_bytes *keys)
{
    json_t *object = json_object();

    json_object_set_new(object, "status", json_string(brd_status_name(status)));
    if (status != BRD_OK)
        json_object_set_new(object, "message", json_string(brd_client_error(cli->client)));
    if (reply->version != 0)
        json_object_set_new(object, "version", json_unsigned(reply->version));
    if (reply->has_value)
        json_object_set_new(object, "value", json_bytes(reply->value));
    if (reply->has_number)
        json_object_set_new(object, "number", json_integer(reply->number));
    if (reply->checkpoint != NULL)
        json_object_set_new(object, "checkpoint", json_checkpoint(reply->checkpoint));
    if (status == BRD_OK && (members & SHOW_TTL) != 0)
        json_object_set_new(object, "ttl_ms",
                            reply->has_ttl ? json_unsigned(reply->ttl_ms) : json_null());
    if (status == BRD_OK && (members & SHOW_ITEMS) != 0)
        json_object_set_new(object, "items", json_items(reply, keys));
    if (status == BRD_OK && (members & SHOW_STATS) != 0)
        json_object_set_new(object, "stats", json_stats(reply));
    return object;
}

static void
print_json(json_t *object)
{
    json_dumpf(object, stdout, 0);
    putchar('\n');
    json_decref(object);
}

/* ---- Both --------------------------------------------------------------- */

static enum outcome
conclude(const struct cli *cli, const char *context, enum brd_status status)
{
    if (status == BRD_OK)
        return OUTCOME_DONE;
    cli_complain(context, "%s (%s)", brd_client_error(cli->client), brd_status_name(status));
    return status == BRD_NOT_FOUND ? OUTCOME_NOT_FOUND : OUTCOME_FAILED;
}

enum outcome
output_reply(const struct cli *cli, const char *context, enum brd_status status, unsigned members,
             const struct brd_bytes *keys)
{
    const struct brd_reply *reply = brd_result_reply(cli->result);

    if (cli->format == FORMAT_JSON)
        print_json(json_reply(cli, reply, status, members, keys));
    else
        print_text(cli, reply, status, members, keys);
    return conclude(cli, context, status);
}

enum outcome
output_raw(const struct cli *cli, const char *context, enum brd_status status)
{
    struct brd_bytes value = brd_result_reply(cli->result)->value;

    if (status == BRD_OK && value.size != 0)
        fwrite(value.data, 1, value.size, stdout);
    return conclude(cli, context, status);
}

enum outcome
output_ping(const struct cli *cli, const char *context, enum brd_status status, double seconds)
{
    const struct brd_reply *reply = brd_result_reply(cli->result);

    if (cli->format == FORMAT_JSON) {
        json_t *object = json_reply(cli, reply, status, 0, NULL);

        if (status == BRD_OK)
            json_object_set_new(object, "round_trip_ms",
                                json_real((double)(int64_t)(seconds * 1e6 + 0.5) / 1e3));
        print_json(object);
    } else if (status == BRD_OK && reply->value.size != 0) {
        print_text(cli, reply, status, SHOW_VALUE, NULL);
    } else if (status == BRD_OK) {
        printf("pong %.3f ms\n", seconds * 1e3);
    }
    return conclude(cli, context, status);
}

enum outcome
output_hello(const struct cli *cli, const struct brd_server_info *hello)
{
    if (cli->format == FORMAT_JSON)
        print_json(json_pack("{s:s, s:o}", "status", "OK", "hello", json_hello(hello)));
    else
        print_hello(cli, hello);
    return OUTCOME_DONE;
}

void
output_failure(const struct cli *cli, enum brd_status status, const char *message)
{
    if (cli->format == FORMAT_JSON)
        print_json(json_pack("{s:s, s:s}", "status", brd_status_name(status), "message", message));
}

bool
output_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    cli_complain(NULL, "cannot write the output");
    clearerr(stdout);
    return false;
}
