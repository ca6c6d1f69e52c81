/* A get and a put, again and again: the way of a message through the codec, and
 * the program to measure it with. docs/protocol.md says how, and what came out. */
#include "wire_test.h"

#include <check.h>

#define ROUNDS 10000

static struct brd_wire_arena *arena;
static struct brd_outq_pool pool;
static struct brd_outq queue;
static const struct brd_wire_limits limits = { .batch_keys_max = 1000 };
static uint8_t value[100];

static void
setup(void)
{
    arena = brd_wire_arena_create(1 << 20);
    brd_outq_pool_init(&pool, 4);
    brd_outq_init(&queue, &pool);
}

static void
teardown(void)
{
    brd_outq_fini(&queue);
    brd_outq_pool_fini(&pool);
    brd_wire_arena_destroy(&arena);
}

static __attribute__((noinline)) void
round_trip(struct brd_bytes message, enum brd_op op, const struct brd_reply *reply)
{
    struct brd_request request;

    if (brd_wire_decode(arena, &limits, message, NULL, &request) != BRD_OK || request.op != op)
        abort();
    brd_wire_encode(&queue, request.id, reply);
    if (brd_outq_pending(&queue) > 16384)
        brd_outq_consume(&queue, brd_outq_pending(&queue));
}

static __attribute__((noinline)) void
get_rounds(struct brd_bytes message)
{
    struct brd_reply reply = {
        .version = UINT64_C(1700000000000000000),
        .has_value = true,
        .value = { value, sizeof(value) },
    };

    for (int i = 0; i < ROUNDS; i++)
        round_trip(message, BRD_OP_GET, &reply);
}

static __attribute__((noinline)) void
put_rounds(struct brd_bytes message)
{
    struct brd_reply reply = { .version = UINT64_C(1700000000000000000) };

    for (int i = 0; i < ROUNDS; i++)
        round_trip(message, BRD_OP_PUT, &reply);
}

START_TEST(a_get_goes_round)
{
    /* id 12345, a key of 16 bytes */
    static const uint8_t message[] = "\x08\xb9\x60\x12\x12\x0a\x10key:000000012345";

    get_rounds(brd_bytes(message, sizeof(message) - 1));
}
END_TEST

START_TEST(a_put_goes_round)
{
    /* the same with a value of 100 bytes and a ttl_ms of 60000 */
    static const uint8_t head[] = "\x08\xb9\x60\x1a\x7c\x0a\x10key:000000012345\x12\x64";
    uint8_t message[sizeof(head) - 1 + sizeof(value) + 4];

    memcpy(message, head, sizeof(head) - 1);
    memcpy(message + sizeof(head) - 1, value, sizeof(value));
    memcpy(message + sizeof(head) - 1 + sizeof(value), "\x18\xe0\xd4\x03", 4);
    put_rounds(brd_bytes(message, sizeof(message)));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("cost");
    TCase *tcase = tcase_create("cost");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_get_goes_round);
    tcase_add_test(tcase, a_put_goes_round);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
