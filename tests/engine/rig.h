/* An engine with a fake clock and one caller, and requests in a line each. */
#ifndef BRD_TESTS_ENGINE_RIG_H
#define BRD_TESTS_ENGINE_RIG_H

#include "engine/engine.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RIG_START_NS UINT64_C(1700000000000000000)

struct rig {
    struct brd_engine_options options;
    struct brd_engine *engine;
    struct brd_caller *caller;
    struct brd_reply reply; /* of the last request; borrowed parts are copied below */
    struct brd_request request;
    char value[1 << 17]; /* copy of reply.value, NUL-terminated */
    char message[256];
    struct brd_engine_error error;
};

static inline enum brd_status
rig_start(struct rig *rig)
{
    enum brd_status status;

    if (rig->options.clock == NULL)
        rig->options.clock = brd_clock_create_fake(RIG_START_NS);
    rig->options.manual = true;
    if (rig->options.stripes == 0)
        rig->options.stripes = 64;
    ck_assert_int_eq(brd_engine_create(&rig->options, &rig->engine), BRD_OK);
    status = brd_engine_start(rig->engine, &rig->error);
    if (status == BRD_OK)
        ck_assert_int_eq(brd_caller_attach(rig->engine, &rig->caller), BRD_OK);
    return status;
}

/* Ends the engine, keeps the clock: a restart goes on in time. */
static inline void
rig_stop(struct rig *rig)
{
    brd_caller_detach(&rig->caller);
    brd_engine_destroy(&rig->engine);
}

static inline void
rig_fini(struct rig *rig)
{
    rig_stop(rig);
    brd_clock_destroy(&rig->options.clock);
}

static inline void
rig_advance_ms(struct rig *rig, uint64_t ms)
{
    brd_clock_advance(rig->options.clock, ms * BRD_NS_PER_MS);
}

/* Execute and keep a copy of what the reply borrows. */
static inline enum brd_status
rig_do(struct rig *rig, struct brd_request request)
{
    enum brd_status status;

    rig->request = request;
    brd_caller_begin(rig->caller);
    brd_caller_prepare(rig->caller, &rig->request, 1);
    status = brd_caller_execute(rig->caller, &rig->request, &rig->reply);
    if (status != BRD_OK) {
        brd_caller_end(rig->caller);
        return status;
    }
    rig->value[0] = '\0';
    if (rig->reply.has_value) {
        ck_assert_uint_lt(rig->reply.value.size, sizeof(rig->value));
        if (rig->reply.value.size > 0)
            memcpy(rig->value, rig->reply.value.data, rig->reply.value.size);
        rig->value[rig->reply.value.size] = '\0';
    }
    snprintf(rig->message, sizeof(rig->message), "%s",
             rig->reply.message != NULL ? rig->reply.message : "");
    brd_caller_done(rig->caller, &rig->reply);
    brd_caller_end(rig->caller);
    return rig->reply.status;
}

#define REQUEST(name, ...) ((struct brd_request){ .op = BRD_OP_##name, __VA_ARGS__ })
#define KEY(text)          .key = brd_bytes_of(text)
#define VALUE(text)        .value = brd_bytes_of(text)

static inline enum brd_status
rig_put(struct rig *rig, const char *key, const char *value)
{
    return rig_do(rig, REQUEST(PUT, KEY(key), VALUE(value)));
}

static inline enum brd_status
rig_get(struct rig *rig, const char *key)
{
    return rig_do(rig, REQUEST(GET, KEY(key)));
}

#define assert_value(rig, key, text)                     \
    do {                                                 \
        ck_assert_int_eq(rig_get((rig), (key)), BRD_OK); \
        ck_assert_str_eq((rig)->value, (text));          \
    } while (0)

#define assert_absent(rig, key) ck_assert_int_eq(rig_get((rig), (key)), BRD_NOT_FOUND)

#endif
