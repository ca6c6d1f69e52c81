/* The daemon against the golden files: what was ever released decodes to the
 * same request, replies are encoded to the same bytes, and no number of the
 * schema has changed its meaning. golden/make.py says how they came to be. */
#include "tests/support/requests.h"
#include "wire/hot.h"
#include "wire_test.h"

#include "brindle.pb-c.h"

#include <check.h>

#define VERSION UINT64_C(0x1122334455667788)
#define NO_BYTES                \
    {                           \
        .data = NULL, .size = 0 \
    }

static uint8_t all_bytes[256 * 20]; /* 0 to 255, again and again */
static uint8_t many_b[200];
static uint8_t many_v[300];

static struct brd_wire_arena *arena;
static const struct brd_wire_limits limits = { .batch_keys_max = 1000 };

static void
setup(void)
{
    for (size_t i = 0; i < sizeof(all_bytes); i++)
        all_bytes[i] = (uint8_t)i;
    memset(many_b, 'b', sizeof(many_b));
    memset(many_v, 'v', sizeof(many_v));
    arena = brd_wire_arena_create(1 << 20);
    ck_assert_ptr_nonnull(arena);
}

static void
teardown(void)
{
    brd_wire_arena_destroy(&arena);
}

/* ---- Requests ---- */

static const struct brd_bytes delete_keys[] = { BYTES("a"), NO_BYTES, BYTES("ccc") };
static const struct brd_bytes get_many_keys[] = {
    BYTES("a"),
    { many_b, sizeof(many_b) },
    NO_BYTES,
};
static const struct brd_bytes exists_keys[] = { BYTES("a"), BYTES("a") };
static const struct brd_bytes no_keys[] = { NO_BYTES };
static const struct brd_key_value put_many_items[] = {
    { .key = BYTES("a"), .value = BYTES("1") },
    { .key = NO_BYTES },
    { .value = BYTES("2") },
};
static const struct brd_key_value foreign_items[] = {
    { .key = BYTES("key"), .value = BYTES("value") },
    { .key = NO_BYTES },
};

struct request_case {
    const char *name;
    bool hot; /* decoded by hand */
    struct brd_request request;
};

static const struct request_case request_cases[] = {
    { "get", true, { .id = 7, .op = BRD_OP_GET, .key = BYTES("key") } },
    { "get_in_namespace",
      true,
      { .id = UINT64_MAX,
        .op = BRD_OP_GET,
        .name_space = BYTES("sessions"),
        .key = { all_bytes, 256 } } },
    { "get_of_nothing", true, { .id = 0, .op = BRD_OP_GET } },
    { "put", true, { .id = 7, .op = BRD_OP_PUT, .key = BYTES("key"), .value = BYTES("value") } },
    { "put_if_absent",
      true,
      { .id = 7,
        .op = BRD_OP_PUT,
        .key = BYTES("key"),
        .value = { all_bytes, 256 },
        .ttl_ms = 60000,
        .condition = BRD_IF_ABSENT,
        .durability = BRD_DURABILITY_FULL,
        .return_previous = true } },
    { "put_if_version",
      true,
      { .id = 7,
        .op = BRD_OP_PUT,
        .name_space = BYTES("n"),
        .key = BYTES("key"),
        .value = BYTES("v"),
        .condition = BRD_IF_VERSION,
        .if_version = VERSION,
        .keep_ttl = true,
        .durability = BRD_DURABILITY_ASYNC } },
    { "put_until",
      true,
      { .id = 7,
        .op = BRD_OP_PUT,
        .key = BYTES("key"),
        .value = { many_v, sizeof(many_v) },
        .deadline_ms = UINT64_C(1893456000000),
        .condition = BRD_IF_PRESENT,
        .durability = BRD_DURABILITY_NORMAL } },
    { "delete",
      true,
      { .id = 7,
        .op = BRD_OP_DELETE,
        .keys = delete_keys,
        .count = 3,
        .durability = BRD_DURABILITY_NONE } },
    { "get_many", true, { .id = 7, .op = BRD_OP_GET_MANY, .keys = get_many_keys, .count = 3 } },
    { "get_many_of_nothing",
      true,
      { .id = 7, .op = BRD_OP_GET_MANY, .keys = no_keys, .count = 0 } },
    { "put_many",
      true,
      { .id = 7,
        .op = BRD_OP_PUT_MANY,
        .items = put_many_items,
        .count = 3,
        .ttl_ms = 1,
        .deadline_ms = 2,
        .durability = BRD_DURABILITY_FULL } },
    { "incr",
      true,
      { .id = 7,
        .op = BRD_OP_INCR,
        .key = BYTES("n"),
        .delta = INT64_MIN,
        .initial = INT64_MAX,
        .ttl_ms = 1000,
        .deadline_ms = 128,
        .durability = BRD_DURABILITY_NORMAL } },
    { "exists", true, { .id = 7, .op = BRD_OP_EXISTS, .keys = exists_keys, .count = 2 } },
    { "ttl", true, { .id = 7, .op = BRD_OP_TTL, .key = BYTES("key") } },
    { "expire",
      true,
      { .id = 7,
        .op = BRD_OP_EXPIRE,
        .key = BYTES("key"),
        .ttl_ms = 5000,
        .deadline_ms = UINT64_MAX,
        .durability = BRD_DURABILITY_ASYNC } },
    { "persist",
      false,
      { .id = 7, .op = BRD_OP_PERSIST, .key = BYTES("key"), .durability = BRD_DURABILITY_FULL } },
    { "append",
      true,
      { .id = 7,
        .op = BRD_OP_APPEND,
        .key = BYTES("key"),
        .value = BYTES("tail"),
        .durability = BRD_DURABILITY_NORMAL } },
    { "count", false, { .id = 7, .op = BRD_OP_COUNT, .exact = true } },
    { "clear",
      false,
      { .id = 7,
        .op = BRD_OP_CLEAR,
        .name_space = BYTES("n"),
        .durability = BRD_DURABILITY_FULL } },
    { "purge", false, { .id = 7, .op = BRD_OP_PURGE } },
    { "sync", false, { .id = 7, .op = BRD_OP_SYNC } },
    { "stats", false, { .id = 7, .op = BRD_OP_STATS, .value = BYTES("store_") } },
    { "reset_stats", false, { .id = 7, .op = BRD_OP_RESET_STATS } },
    { "hello",
      false,
      { .id = 7, .op = BRD_OP_HELLO, .protocol_version = 1, .value = BYTES("golden/1") } },
    { "ping", false, { .id = 7, .op = BRD_OP_PING, .value = BYTES("echo") } },
    { "checkpoint",
      false,
      { .id = 7, .op = BRD_OP_CHECKPOINT, .checkpoint_mode = BRD_CHECKPOINT_TRUNCATE } },
    { "checkpoint_passive", false, { .id = 7, .op = BRD_OP_CHECKPOINT } },
};
#define REQUEST_CASES (sizeof(request_cases) / sizeof(request_cases[0]))

static size_t
lines_of(const char *file_name)
{
    FILE *file = open_golden(file_name);
    size_t lines = 0;
    int c;

    while ((c = fgetc(file)) != EOF)
        lines += c == '\n';
    fclose(file);
    return lines;
}

START_TEST(a_golden_request_decodes_to_the_same_request)
{
    const struct request_case *expected = &request_cases[_i];
    struct brd_bytes message = golden("requests.hex", expected->name);
    struct brd_request request;
    const char *differs;

    ck_assert_int_eq(brd_wire_decode(arena, &limits, message, NULL, &request), BRD_OK);
    differs = requests_differ(&request, &expected->request);
    ck_assert_msg(differs == NULL, "%s: %s differs", expected->name, differs);
    ck_assert_msg(hot_decode(arena, &limits, message, &request) == expected->hot,
                  "%s: decoded by hand or not", expected->name);
    free((void *)(uintptr_t)message.data);
}
END_TEST

START_TEST(a_golden_request_encodes_to_the_same_bytes)
{
    const struct request_case *expected = &request_cases[_i];
    struct brd_bytes message = golden("requests.hex", expected->name);
    Brindle__V1__Request *request = brindle__v1__request__unpack(NULL, message.size, message.data);
    uint8_t again[2048];

    ck_assert_ptr_nonnull(request);
    ck_assert_uint_le(brindle__v1__request__get_packed_size(request), sizeof(again));
    ck_assert_uint_eq(brindle__v1__request__pack(request, again), message.size);
    ck_assert_mem_eq(again, message.data, message.size);
    brindle__v1__request__free_unpacked(request, NULL);
    free((void *)(uintptr_t)message.data);
}
END_TEST

START_TEST(every_request_kind_has_a_golden_request)
{
    for (int op = BRD_OP_UNKNOWN + 1; op < BRD_OP_COUNT_OF; op++) {
        bool found = false;

        for (size_t i = 0; i < REQUEST_CASES; i++)
            found = found || (int)request_cases[i].request.op == op;
        ck_assert_msg(found, "operation %d has none", op);
    }
    ck_assert_uint_eq(lines_of("requests.hex"), REQUEST_CASES);
}
END_TEST

/* ---- Foreign bytes ---- */

struct foreign_case {
    const char *name;
    enum brd_status status;
    struct brd_request request; /* with another status: id and op */
};

#define THE_PUT                                                                 \
    {                                                                           \
        .id = 7, .op = BRD_OP_PUT, .key = BYTES("key"), .value = BYTES("value") \
    }

static const struct foreign_case foreign_cases[] = {
    { "put_in_reverse", BRD_OK, THE_PUT },
    { "put_padded", BRD_OK, THE_PUT },
    { "put_with_unknown_fields", BRD_OK, THE_PUT },
    { "put_twice_the_last_counts", BRD_OK, THE_PUT },
    { "put_after_get", BRD_OK, THE_PUT },
    { "put_with_repeated_key", BRD_OK, THE_PUT },
    { "put_with_long_bool",
      BRD_OK,
      { .id = 7,
        .op = BRD_OP_PUT,
        .key = BYTES("key"),
        .value = BYTES("value"),
        .keep_ttl = true } },
    { "put_many_with_unknown_fields",
      BRD_OK,
      { .id = 7, .op = BRD_OP_PUT_MANY, .items = foreign_items, .count = 2 } },
    { "empty", BRD_UNKNOWN_REQUEST, { .id = 0 } },
    { "id_alone", BRD_UNKNOWN_REQUEST, { .id = 7 } },
    { "unknown_kind", BRD_UNKNOWN_REQUEST, { .id = 7 } },
    { "unknown_kind_first", BRD_UNKNOWN_REQUEST, { .id = 7 } },
    { "unknown_condition", BRD_INVALID_ARGUMENT, { .id = 7, .op = BRD_OP_PUT } },
    { "unknown_durability", BRD_INVALID_ARGUMENT, { .id = 7, .op = BRD_OP_PUT } },
    { "unknown_checkpoint_mode", BRD_INVALID_ARGUMENT, { .id = 7, .op = BRD_OP_CHECKPOINT } },
    { "negative_durability", BRD_INVALID_ARGUMENT, { .id = 7, .op = BRD_OP_DELETE } },
    { "namespace_with_nul", BRD_INVALID_ARGUMENT, { .id = 7 } },
    { "namespace_not_utf8", BRD_INVALID_ARGUMENT, { .id = 7 } },
    { "namespace_overlong", BRD_INVALID_ARGUMENT, { .id = 7 } },
    { "namespace_surrogate", BRD_INVALID_ARGUMENT, { .id = 7 } },
    { "namespace_utf8",
      BRD_OK,
      { .id = 7,
        .op = BRD_OP_GET,
        .name_space = BYTES("gr\303\274n \360\237\214\277"),
        .key = BYTES("key") } },
    { "truncated", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "length_beyond_the_end", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "length_that_wraps", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "number_without_end", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "group", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "wire_type_seven", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "field_number_zero", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "key_as_number", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "bool_as_bytes", BRD_PROTOCOL_ERROR, { .id = 7 } },
    { "id_as_bytes", BRD_PROTOCOL_ERROR, { .id = 0 } },
    { "kind_as_number", BRD_PROTOCOL_ERROR, { .id = 7 } },
};
#define FOREIGN_CASES (sizeof(foreign_cases) / sizeof(foreign_cases[0]))

START_TEST(foreign_bytes_are_taken_or_refused_as_ever)
{
    const struct foreign_case *expected = &foreign_cases[_i];
    struct brd_bytes message = golden("foreign.hex", expected->name);
    struct brd_request request;

    ck_assert_msg(brd_wire_decode(arena, &limits, message, NULL, &request) == expected->status,
                  "%s: another status", expected->name);
    ck_assert_uint_eq(request.id, expected->request.id);
    if (expected->status == BRD_OK) {
        const char *differs = requests_differ(&request, &expected->request);

        ck_assert_msg(differs == NULL, "%s: %s differs", expected->name, differs);
    } else if (expected->request.op != BRD_OP_UNKNOWN) {
        ck_assert_int_eq(request.op, expected->request.op);
    }
    free((void *)(uintptr_t)message.data);
}
END_TEST

START_TEST(every_line_of_foreign_bytes_is_tested)
{
    ck_assert_uint_eq(lines_of("foreign.hex"), FOREIGN_CASES);
}
END_TEST

/* ---- Replies ---- */

static const struct brd_reply_item reply_items[] = {
    { .found = true, .version = VERSION, .value = BYTES("one") },
    { .found = false },
    { .found = true, .version = 2 },
    { .found = true, .version = 1, .value = { all_bytes, 2560 } },
};
static const struct brd_stat reply_stats[] = {
    { .name = "gets", .number = 5, .unit = "1", .counter = true },
    { .name = "balance", .number = -1, .unit = "bytes" },
    { .name = "zero", .number = 0, .unit = "" },
    { .name = "policy", .text = "lru", .unit = "" },
    { .name = "none", .text = "", .unit = "" },
};
static const struct brd_hello_reply reply_hello = {
    .protocol_version = 1,
    .server_version = "1.0.0",
    .epoch = 3,
    .max_key_bytes = 65536,
    .max_value_bytes = 64 << 20,
    .max_frame_bytes = 65 << 20,
    .max_batch_keys = 1048576,
    .max_pending_requests = 1024,
    .durability = BRD_DURABILITY_NORMAL,
};

static const struct brd_checkpoint_reply reply_checkpoint = { .total = UINT64_MAX, .done = 300 };
static const struct brd_checkpoint_reply reply_no_checkpoint = { .total = 0 };

struct reply_case {
    const char *name;
    uint64_t id;
    struct brd_reply reply;
};

static const struct reply_case reply_cases[] = {
    { "empty", 0, { .status = BRD_OK } },
    { "done", 7, { .status = BRD_OK } },
    { "value", 7, { .version = VERSION, .has_value = true, .value = { all_bytes, 256 } } },
    { "empty_value", 7, { .version = 1, .has_value = true } },
    { "number_zero", 7, { .has_number = true } },
    { "numbers",
      UINT64_MAX,
      { .version = UINT64_MAX,
        .has_number = true,
        .number = INT64_MIN,
        .has_ttl = true,
        .ttl_ms = UINT64_MAX } },
    { "ttl_zero", 7, { .has_ttl = true } },
    { "everything",
      7,
      { .version = VERSION,
        .has_value = true,
        .value = BYTES("value"),
        .has_number = true,
        .number = 12345,
        .has_ttl = true,
        .ttl_ms = 300 } },
    { "not_found", 7, { .status = BRD_NOT_FOUND } },
    { "mismatch",
      300,
      { .status = BRD_VERSION_MISMATCH,
        .version = 9,
        .has_value = true,
        .value = BYTES("theirs"),
        .message = "not yours" } },
    { "large_value",
      7,
      { .version = 3,
        .has_value = true,
        .value = { all_bytes, 5120 },
        .has_number = true,
        .number = 5000,
        .has_ttl = true,
        .ttl_ms = 1 } },
    { "items", 7, { .items = reply_items, .item_count = 4 } },
    { "hello", 1, { .hello = &reply_hello } },
    { "stats", 7, { .stats = reply_stats, .stat_count = 5 } },
    { "no_stats", 7, { .stats = reply_stats, .stat_count = 0 } },
    { "checkpoint", 7, { .version = VERSION, .checkpoint = &reply_checkpoint } },
    { "checkpoint_of_nothing", 7, { .checkpoint = &reply_no_checkpoint } },
};
#define REPLY_CASES (sizeof(reply_cases) / sizeof(reply_cases[0]))

START_TEST(a_golden_reply_is_encoded_to_the_same_bytes)
{
    const struct reply_case *expected = &reply_cases[_i];
    struct brd_bytes message = golden("replies.hex", expected->name);
    struct brd_outq_pool pool;
    struct brd_outq queue;
    struct brd_bytes frame;
    struct brd_bytes encoded;

    brd_outq_pool_init(&pool, 1);
    brd_outq_init(&queue, &pool);
    brd_wire_encode(&queue, expected->id, &expected->reply);
    frame = flatten(&queue);
    encoded = unframe(frame);
    ck_assert_msg(brd_bytes_equal(encoded, message), "%s: other bytes", expected->name);
    free((void *)(uintptr_t)frame.data);
    free((void *)(uintptr_t)message.data);
    brd_outq_fini(&queue);
    brd_outq_pool_fini(&pool);
}
END_TEST

START_TEST(every_golden_reply_is_tested)
{
    ck_assert_uint_eq(lines_of("replies.hex"), REPLY_CASES);
}
END_TEST

/* ---- Schema ---- */

static const ProtobufCMessageDescriptor *const messages[] = {
    &brindle__v1__request__descriptor,     &brindle__v1__get__descriptor,
    &brindle__v1__put__descriptor,         &brindle__v1__delete__descriptor,
    &brindle__v1__get_many__descriptor,    &brindle__v1__put_many__descriptor,
    &brindle__v1__key_value__descriptor,   &brindle__v1__incr__descriptor,
    &brindle__v1__exists__descriptor,      &brindle__v1__ttl__descriptor,
    &brindle__v1__expire__descriptor,      &brindle__v1__persist__descriptor,
    &brindle__v1__append__descriptor,      &brindle__v1__count__descriptor,
    &brindle__v1__clear__descriptor,       &brindle__v1__purge__descriptor,
    &brindle__v1__sync__descriptor,        &brindle__v1__hello__descriptor,
    &brindle__v1__ping__descriptor,        &brindle__v1__stats__descriptor,
    &brindle__v1__reset_stats__descriptor, &brindle__v1__reply__descriptor,
    &brindle__v1__item__descriptor,        &brindle__v1__hello_reply__descriptor,
    &brindle__v1__stats_reply__descriptor, &brindle__v1__stat__descriptor,
    &brindle__v1__checkpoint__descriptor,  &brindle__v1__checkpoint_reply__descriptor,
};
static const ProtobufCEnumDescriptor *const enums[] = {
    &brindle__v1__status__descriptor,
    &brindle__v1__durability__descriptor,
    &brindle__v1__condition__descriptor,
    &brindle__v1__checkpoint_mode__descriptor,
};

static const char *
type_name(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_UINT32:
        return "uint32";
    case PROTOBUF_C_TYPE_UINT64:
        return "uint64";
    case PROTOBUF_C_TYPE_SINT64:
        return "sint64";
    case PROTOBUF_C_TYPE_FIXED64:
        return "fixed64";
    case PROTOBUF_C_TYPE_BOOL:
        return "bool";
    case PROTOBUF_C_TYPE_STRING:
        return "string";
    case PROTOBUF_C_TYPE_BYTES:
        return "bytes";
    case PROTOBUF_C_TYPE_ENUM:
        return "enum";
    case PROTOBUF_C_TYPE_MESSAGE:
        return "message";
    default:
        return "another type";
    }
}

static void
describe_field(char *line, size_t size, const ProtobufCMessageDescriptor *message,
               const ProtobufCFieldDescriptor *field)
{
    const char *colon = "";
    const char *of = "";

    if (field->type == PROTOBUF_C_TYPE_ENUM) {
        colon = ":";
        of = ((const ProtobufCEnumDescriptor *)field->descriptor)->short_name;
    } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        colon = ":";
        of = ((const ProtobufCMessageDescriptor *)field->descriptor)->short_name;
    }
    snprintf(line, size, "field %s %u %s %s%s%s %s\n", message->short_name, field->id, field->name,
             type_name(field->type), colon, of,
             field->label == PROTOBUF_C_LABEL_REPEATED           ? "repeated"
             : (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 ? "oneof"
                                                                 : "single");
}

static bool
schema_has(const char *wanted)
{
    FILE *file = open_golden("schema.txt");
    char line[256];
    bool found = false;

    while (!found && fgets(line, sizeof(line), file) != NULL)
        found = strcmp(line, wanted) == 0;
    fclose(file);
    return found;
}

/* Both ways: each field is in the file, and the file has no more. */
START_TEST(no_number_of_the_schema_has_changed_its_meaning)
{
    char line[256];
    size_t lines = 0;

    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        for (unsigned f = 0; f < messages[i]->n_fields; f++, lines++) {
            describe_field(line, sizeof(line), messages[i], &messages[i]->fields[f]);
            ck_assert_msg(schema_has(line), "new or changed (then see golden/make.py): %s", line);
        }
    for (size_t i = 0; i < sizeof(enums) / sizeof(enums[0]); i++)
        for (unsigned v = 0; v < enums[i]->n_values; v++, lines++) {
            snprintf(line, sizeof(line), "value %s %d %s\n", enums[i]->short_name,
                     enums[i]->values[v].value, enums[i]->values[v].name);
            ck_assert_msg(schema_has(line), "new or changed (then see golden/make.py): %s", line);
        }
    ck_assert_uint_eq(lines_of("schema.txt"), lines);
}
END_TEST

START_TEST(statuses_of_the_schema_and_of_the_daemon_are_the_same)
{
    const ProtobufCEnumDescriptor *statuses = &brindle__v1__status__descriptor;
    unsigned ours = 0;

    for (unsigned v = 0; v < statuses->n_values; v++)
        ck_assert_str_eq(brd_status_name((enum brd_status)statuses->values[v].value),
                         statuses->values[v].name);
#define COUNT_STATUS(name, number, sentence)                                           \
    ck_assert_ptr_nonnull(protobuf_c_enum_descriptor_get_value(statuses, BRD_##name)); \
    ours++;
    BRD_STATUSES(COUNT_STATUS)
#undef COUNT_STATUS
    ck_assert_uint_eq(ours, statuses->n_values);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("golden");
    TCase *tcase = tcase_create("golden");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_golden_request_decodes_to_the_same_request, 0, (int)REQUEST_CASES);
    tcase_add_loop_test(tcase, a_golden_request_encodes_to_the_same_bytes, 0, (int)REQUEST_CASES);
    tcase_add_test(tcase, every_request_kind_has_a_golden_request);
    tcase_add_loop_test(tcase, foreign_bytes_are_taken_or_refused_as_ever, 0, (int)FOREIGN_CASES);
    tcase_add_test(tcase, every_line_of_foreign_bytes_is_tested);
    tcase_add_loop_test(tcase, a_golden_reply_is_encoded_to_the_same_bytes, 0, (int)REPLY_CASES);
    tcase_add_test(tcase, every_golden_reply_is_tested);
    tcase_add_test(tcase, no_number_of_the_schema_has_changed_its_meaning);
    tcase_add_test(tcase, statuses_of_the_schema_and_of_the_daemon_are_the_same);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
