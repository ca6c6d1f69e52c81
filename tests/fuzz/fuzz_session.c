/* A conversation: any bytes get the same replies whole and in pieces, with values
 * apart and with them in place, and the memory that they make the daemon hold is bounded.
 *
 * The first two bytes seed the pieces, the rest is what a client sends. Each
 * input gets fresh engines and takes them down again: the leak checker, which
 * cannot follow the store's packed pointers, would call live entries leaked. */
#include "base/check.h"
#include "engine/engine.h"
#include "proto/frame.h"
#include "session/session.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define START_NS  UINT64_C(1700000000000000000)
#define FRAME_MAX 4096
#define SOFT      3000
#define PENDING   20

struct side {
    struct brd_clock *clock;
    struct brd_engine *engine;
    struct brd_session_env *env;
    struct brd_session *session;
    struct brd_buf out;
};

static struct side whole;
static struct side pieces;

static void
create(struct side *side)
{
    struct brd_engine_options engine_options = {
        .durability = BRD_DURABILITY_NONE, .manual = true, .stripes = 1, .max_memory_bytes = 1 << 20
    };
    struct brd_session_options options = { .frame_bytes_max = FRAME_MAX,
                                           .limits = { .output_soft_bytes = SOFT,
                                                       .pending_max = PENDING } };
    struct brd_engine_error error;

    side->clock = brd_clock_create_fake(START_NS);
    engine_options.clock = side->clock;
    BRD_CHECK(brd_engine_create(&engine_options, &side->engine) == BRD_OK);
    BRD_CHECK(brd_engine_start(side->engine, &error) == BRD_OK);
    options.engine = side->engine;
    BRD_CHECK(brd_session_env_create(&options, &side->env) == BRD_OK);
}

static void
start(struct side *side)
{
    create(side);
    side->session = brd_session_create(side->env);
    BRD_CHECK(side->session != NULL);
    brd_buf_init(&side->out);
}

static void
end(struct side *side)
{
    brd_session_destroy(&side->session);
    brd_buf_fini(&side->out);
    brd_session_env_destroy(&side->env);
    brd_engine_destroy(&side->engine);
    brd_clock_destroy(&side->clock);
}

static void
receive(struct side *side, size_t max)
{
    struct iovec part;

    while (max > 0 && brd_session_output(side->session, &part, 1) > 0) {
        size_t n = part.iov_len < max ? part.iov_len : max;

        brd_buf_append(&side->out, part.iov_base, n);
        brd_session_sent(side->session, n);
        max -= n;
    }
}

/* Where what is left begins with a frame that is not whole and has a value, offer all of that
 * frame and what follows it, with the value apart, until it is taken. Returns the bytes taken;
 * 0: there is none, or its end is not there. */
static size_t
offer_apart(struct side *side, struct brd_bytes left, size_t there, size_t take, unsigned *seed)
{
    struct brd_span place;
    struct brd_blob *value;
    uint8_t *spliced;
    size_t used = 0;

    if (!brd_session_find_value(side->session, brd_bytes(left.data, there), 1 + *seed % 64,
                                &place) ||
        brd_session_needs(side->session) > left.size)
        return 0;
    value = brd_blob_copy(brd_bytes(left.data + place.begin, (size_t)place.size));
    spliced = malloc(left.size);
    BRD_CHECK(value != NULL && spliced != NULL);
    memcpy(spliced, left.data, place.begin);
    memcpy(spliced + place.begin, left.data + place.begin + place.size,
           left.size - place.begin - place.size);
    brd_session_put_value(side->session, &place, value);
    brd_blob_unref(value);
    while (used == 0 && brd_session_state(side->session) < BRD_SESSION_CLOSING) {
        used = brd_session_input(side->session, brd_bytes(spliced, left.size - place.size));
        BRD_CHECK(used == 0 || used >= place.begin);
        receive(side, 1 + (size_t)rand_r(seed) % take);
    }
    free(spliced);
    return used == 0 ? 0 : used + place.size;
}

/* Offer all of it, in pieces that grow by up to `step` bytes; some are staged. */
static void
converse(struct side *side, struct brd_bytes in, size_t step, size_t take, unsigned seed)
{
    size_t offered = 0;
    size_t taken = 0;

    while (brd_session_state(side->session) < BRD_SESSION_CLOSING) {
        bool staged = rand_r(&seed) % 2 == 0;
        size_t used;

        offered += 1 + (size_t)rand_r(&seed) % step;
        if (offered > in.size)
            offered = in.size;
        if (staged) {
            (void)brd_session_stage(side->session, brd_bytes(in.data + taken, offered - taken));
            brd_session_env_begin(side->env);
        }
        used = brd_session_input(side->session, brd_bytes(in.data + taken, offered - taken));
        if (staged)
            brd_session_env_end(side->env);
        BRD_CHECK(used <= offered - taken);
        taken += used;
        if (step <= in.size && rand_r(&seed) % 2 == 0) {
            taken += offer_apart(side, brd_bytes(in.data + taken, in.size - taken), offered - taken,
                                 take, &seed);
            if (offered < taken)
                offered = taken;
        }
        BRD_CHECK(brd_session_state(side->session) != BRD_SESSION_PARKED);
        BRD_CHECK(brd_session_state(side->session) != BRD_SESSION_FAILED);
        if (brd_session_state(side->session) == BRD_SESSION_OPEN)
            BRD_CHECK(brd_session_needs(side->session) > offered - taken);
        /* One reply above the limit: a value or a list of them fits a frame. */
        BRD_CHECK(brd_session_backlog(side->session) <= SOFT + 2 * FRAME_MAX + 65536);
        if (offered == in.size && brd_session_state(side->session) == BRD_SESSION_OPEN)
            break;
        receive(side, 1 + (size_t)rand_r(&seed) % take);
    }
    receive(side, SIZE_MAX);
    BRD_CHECK(brd_session_unsent(side->session) == 0);
}

/* Frames in, frames out: as many replies as requests, whole ones. */
static void
check_frames(struct brd_bytes out)
{
    while (out.size > 0) {
        uint64_t body;
        size_t head;

        BRD_CHECK(brd_frame_parse(out.data, out.size, UINT32_MAX, &head, &body) == BRD_FRAME_OK);
        out.data += head + body;
        out.size -= head + body;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t stats;
    unsigned seed;

    if (size < 2)
        return 0;
    seed = brd_load_le16(data);
    data += 2;
    size -= 2;
    start(&whole);
    start(&pieces);
    stats = brd_counter_get(&brd_session_env_counters(whole.env)->by_op[BRD_OP_STATS]);
    converse(&whole, brd_bytes(data, size), size + 1, SIZE_MAX / 2, 1);
    converse(&pieces, brd_bytes(data, size), 1 + seed % 50, 1 + seed % 3000, seed);
    check_frames(brd_buf_bytes(&whole.out));
    /* Statistics tell how it went, not only what was asked. */
    if (brd_counter_get(&brd_session_env_counters(whole.env)->by_op[BRD_OP_STATS]) == stats)
        BRD_CHECK(brd_bytes_equal(brd_buf_bytes(&whole.out), brd_buf_bytes(&pieces.out)));
    end(&whole);
    end(&pieces);
    return 0;
}
