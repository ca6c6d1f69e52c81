/* Numbered writes, the moment at which everything stops, and what must be left.
 *
 * Reads commands from stdin and answers each with one line on stdout:
 *
 *   run ADDRESS NAME=VALUE...   write until the daemon dies, then "stopped ..."
 *       conns=N depth=D         connections, unanswered requests on each
 *       mix=1                   a durability class of its own for each write
 *       clears=1                Clear now and then; for one connection only
 *       evicts=1                the daemon evicts: any key may be gone. Only requests
 *                               whose effect does not hang on what was there before
 *       think_ms=N              wait up to so long before each request
 *       readers=N               others that read what the connections write, a few
 *                               keys after each request
 *       at=N ms=N               stop when so many are answered or time has passed
 *       kill=PID cut=DIR        how: shut the file system of DIR down, kill PID;
 *                               without either, wait for the answers and be done
 *       failure=1               expect that the daemon's log fails by itself, and
 *                               stop then
 *   verify ADDRESS rule=RULE class=CLASS bound_ms=N
 *                               compare with what the daemon holds, then "ok ..."
 *       rule=kill               acknowledged under normal and full is there
 *       rule=cut                under full; under normal what had been acknowledged
 *                               bound_ms before a later write was, at the latest
 *       evicts=1                as the run before
 *   quit
 *
 * "FAIL ..." instead means that the daemon broke a promise.
 *
 * Each connection owns 64 keys, so the order of its requests is the order of its
 * changes, and a log that ends somewhere leaves the state after the first k of
 * them. The model is run again over the requests, from the state that the last
 * verify found, and every k that gives what the daemon holds is noted. One of them
 * must be at or above the last write whose acknowledgement promised to survive, and
 * above what a reader was shown. What is torn (half a put_many, a lost write before
 * one that is there) matches no k. Between connections the versions say what came
 * before what: nothing lost may be older than something that is there. What the requests
 * are is in support/numbered.h. */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

#include "cut.h"
#include "support/link.h"
#include "support/numbered.h"

#define CONNS_MAX      16
#define READERS_MAX    4
#define STUCK_MS       600000 /* some disks need ten seconds for a sync, now and then */
#define POLL_MS        100    /* so often a silent thread asks whether it is over */
#define SHORT_MS       40
#define READS_EACH     8   /* of each reader, for each request of a writer */
#define EVICTS_VALUE   500 /* so small that no put_many is refused for its size */
#define CLOCK_SLACK_MS 1   /* a difference that the daemon's clock does not follow */

struct conn {
    pthread_t thread;
    struct link link;
    struct author author;
    unsigned int random;
    struct cell base[KEYS]; /* as verified */
    struct cell now[KEYS];  /* after everything issued */
    struct op *ops;         /* of this round; owned */
    uint32_t room, issued, answered;
    uint32_t refused;            /* index of the first READ_ONLY; UINT32_MAX: none */
    int unknown_class;           /* lowest class of a write with UNKNOWN_RESULT */
    uint32_t unknown;            /* answers with UNKNOWN_RESULT */
    uint32_t evicted;            /* answers that show that a key was evicted */
    _Atomic uint32_t seen;       /* one more than the newest index a reader was shown */
    _Atomic uint32_t newest_key; /* of the strings that it has asked to write */
};

struct reader {
    pthread_t thread;
    struct link link;
    unsigned int random;
};

struct plan {
    char address[64];
    char cut[256];
    char rule[16];
    char class_[16];
    long conns, depth, mix, clears, evicts, think_ms, readers, at, ms, kill, failure, bound_ms;
};

static struct conn conns[CONNS_MAX];
static struct reader readers[READERS_MAX];
static struct plan plan;
static uint32_t round_number;
static uint64_t began_ns;
static _Atomic uint64_t answered_total;
static atomic_flag acted = ATOMIC_FLAG_INIT;
static _Atomic bool stopping;       /* set before the cut begins */
static _Atomic uint64_t vouched_ns; /* when the newest write of class normal or full was
                                     * issued that was acknowledged: what is older than the
                                     * bound at this moment must be on stable storage */
static _Atomic bool failed;
static char failure[512]; /* of whoever set `failed` */

/* Readers follow the writers. As fast as they can they would, while a disk is slow, keep
 * every core from whatever that disk needs one for. */
static pthread_mutex_t pace_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pace_moved = PTHREAD_COND_INITIALIZER;
static uint64_t pace; /* under pace_lock: requests issued */

static void __attribute__((format(printf, 1, 2))) fail(const char *format, ...)
{
    va_list args;

    if (atomic_exchange(&failed, true))
        return;
    va_start(args, format);
    vsnprintf(failure, sizeof(failure), format, args);
    va_end(args);
}

static uint64_t
clock_ns(clockid_t id)
{
    struct timespec at;

    clock_gettime(id, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* As the daemon's: both count the time that the machine is suspended. */
static uint64_t
mono_ns(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}

static uint64_t
wall_ms(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000000u;
}

/* The earliest and the latest that a clock can show which follows the wall clock, be it a
 * moment late: one and the same unless the clock was stepped since this was first called.
 * Main thread only. */
static void
wall_bounds_ms(uint64_t *out_earliest, uint64_t *out_latest)
{
    static uint64_t least_ns = UINT64_MAX, most_ns; /* offsets, as seen so far */
    uint64_t apart_ns = UINT64_MAX, offset_ns = 0, before_ns;
    int tries;

    for (tries = 0; tries < 5; tries++) {
        uint64_t wall_ns, between_ns;

        before_ns = mono_ns();
        wall_ns = clock_ns(CLOCK_REALTIME);
        between_ns = mono_ns() - before_ns;
        if (between_ns < apart_ns) {
            apart_ns = between_ns;
            offset_ns = wall_ns - before_ns - between_ns / 2;
        }
    }
    if (offset_ns < least_ns)
        least_ns = offset_ns;
    if (offset_ns > most_ns)
        most_ns = offset_ns;
    before_ns = mono_ns();
    *out_earliest = (before_ns + least_ns) / 1000000u;
    *out_latest = (before_ns + most_ns) / 1000000u;
}

static uint64_t
earliest_ms(void)
{
    uint64_t earliest, latest;

    wall_bounds_ms(&earliest, &latest);
    return earliest;
}

static uint64_t
latest_ms(void)
{
    uint64_t earliest, latest;

    wall_bounds_ms(&earliest, &latest);
    return latest;
}

static unsigned int
below(unsigned int *state, unsigned int n)
{
    return (unsigned int)rand_r(state) % n;
}

/* ---- writing ------------------------------------------------------------ */

static struct op
choose_on_string(struct conn *conn)
{
    static const uint8_t kinds[] = { PUT, PUT,    PUT,    PUT,     PUT_KEEP, APPEND,   APPEND,
                                     GET, EXPIRE, DELETE, PERSIST, PUT_MANY, PUT_MANY, GET };
    static const uint8_t blind[] = { PUT,    PUT,     PUT,      PUT,      GET, EXPIRE,
                                     DELETE, PERSIST, PUT_MANY, PUT_MANY, GET };
    struct op op = { .count = 1 };

    op.kind = plan.evicts ? blind[below(&conn->random, sizeof(blind))]
                          : kinds[below(&conn->random, sizeof(kinds))];
    op.key = (uint8_t)below(&conn->random, STRINGS);
    if (op.kind == DELETE)
        op.count = (uint8_t)(1 + below(&conn->random, 3));
    if (op.kind == PUT_MANY)
        op.count = (uint8_t)(2 + below(&conn->random, MANY_MAX - 1));
    if (op.key + op.count > STRINGS)
        op.key = (uint8_t)(STRINGS - op.count);
    if (op.kind == EXPIRE || (op.kind == PUT && below(&conn->random, 4) == 0))
        op.deadline_ms = wall_ms() + 3600000 + below(&conn->random, 3600000);
    /* Values that only grow would end up as the whole load. */
    if (op.kind == APPEND && conn->now[op.key].present && conn->now[op.key].size > 8192)
        op.kind = PUT;
    return op;
}

static struct op
choose(struct conn *conn)
{
    unsigned int dice = plan.evicts ? 14 + below(&conn->random, 86) : below(&conn->random, 100);
    struct op op;

    if (dice < 12) {
        op = (struct op){ .kind = INCR, .count = (uint8_t)(1 + below(&conn->random, 200)) };
        op.key = (uint8_t)(STRINGS + below(&conn->random, COUNTERS));
    } else if (dice < 14) {
        op = (struct op){ .kind = DELETE, .count = 1 };
        op.key = (uint8_t)(STRINGS + below(&conn->random, COUNTERS));
    } else if (dice < 20) {
        op = (struct op){ .kind = SHORT };
        op.key = (uint8_t)(STRINGS + COUNTERS + below(&conn->random, SHORTS));
        if (below(&conn->random, 3) != 0)
            op.deadline_ms = wall_ms() + 1 + below(&conn->random, SHORT_MS - 1);
    } else {
        op = choose_on_string(conn);
    }
    if (plan.mix && op.kind != GET)
        op.durability = (uint8_t)(below(&conn->random, 2) == 0
                                      ? BRD_DURABILITY_DEFAULT
                                      : BRD_DURABILITY_ASYNC + below(&conn->random, 3));
    op.round = round_number;
    return op;
}

static void
issue(struct conn *conn, struct op op)
{
    if (conn->issued == conn->room) {
        uint32_t room = conn->room == 0 ? 4096 : conn->room * 2;
        struct op *ops = realloc(conn->ops, room * sizeof(*ops));

        if (ops == NULL) {
            fail("the test is out of memory");
            return;
        }
        conn->ops = ops;
        conn->room = room;
    }
    /* Without a change there is no version to learn either. */
    if (!numbered_apply(&conn->author, conn->now, &op, conn->issued))
        op.version = UINT64_MAX;
    op.issued_ns = mono_ns();
    conn->ops[conn->issued] = op;
    if (numbered_encode(conn->link.conn, &conn->author, &op, conn->issued) != BRD_OK)
        fail("connection %u: a request could not be encoded", conn->author.id);
    conn->issued++;
    if (plan.readers > 0 && op.key < STRINGS)
        atomic_store(&conn->newest_key, op.key);
}

static void
let_readers_go_on(void)
{
    if (plan.readers == 0)
        return;
    pthread_mutex_lock(&pace_lock);
    pace++;
    pthread_cond_broadcast(&pace_moved);
    pthread_mutex_unlock(&pace_lock);
}

static void
issue_next(struct conn *conn)
{
    if (plan.clears && below(&conn->random, 200) == 0) {
        /* Behind a put, so that the state shows whether it happened. */
        issue(conn, (struct op){ .kind = PUT, .round = round_number });
        issue(conn, (struct op){ .kind = CLEAR, .round = round_number });
        return;
    }
    issue(conn, choose(conn));
}

/* ---- the end ------------------------------------------------------------ */

static void
act(void)
{
    if (atomic_flag_test_and_set(&acted))
        return;
    if (plan.cut[0] != '\0') {
        atomic_store(&stopping, true);
        if (!cut_power(plan.cut))
            fail("the file system of %s cannot be shut down", plan.cut);
    }
    if (plan.kill > 0)
        kill((pid_t)plan.kill, SIGKILL);
    else
        atomic_store(&stopping, true);
}

static void
count_answer(void)
{
    uint64_t total = atomic_fetch_add(&answered_total, 1) + 1;

    if ((plan.at > 0 && total >= (uint64_t)plan.at) ||
        (plan.ms > 0 && total % 16 == 0 && mono_ns() - began_ns > (uint64_t)plan.ms * 1000000u))
        act();
}

static bool
is_class(const char *name)
{
    return strcmp(plan.class_, name) == 0;
}

static int
class_of(const struct op *op)
{
    if (op->durability != BRD_DURABILITY_DEFAULT)
        return op->durability;
    return is_class("full") ? BRD_DURABILITY_FULL : BRD_DURABILITY_NORMAL;
}

/* What looks at the state before it changes it also waits until that may be told. */
static int
class_of_answer(const struct op *op)
{
    bool blind = op->kind == PUT || op->kind == SHORT || op->kind == PUT_MANY || op->kind == CLEAR;
    int least = is_class("full") ? BRD_DURABILITY_FULL : BRD_DURABILITY_NORMAL;

    return blind || class_of(op) > least ? class_of(op) : least;
}

/* The daemon says that its log has failed. */
static void
on_refusal(struct conn *conn, const struct op *op, const struct brd_reply *reply)
{
    if (!plan.failure && !atomic_load(&stopping))
        fail("connection %u: %s without any failure", conn->author.id,
             brd_status_name(reply->status));
    if (reply->status == BRD_UNKNOWN_RESULT) {
        conn->unknown++;
        if (op->kind != GET && class_of_answer(op) < conn->unknown_class)
            conn->unknown_class = class_of_answer(op);
    } else if (conn->refused == UINT32_MAX && op->kind != GET) {
        conn->refused = conn->answered;
    }
    if (plan.failure)
        atomic_store(&stopping, true);
}

static bool
answer_is_right(const struct op *op, const struct brd_reply *reply)
{
    if ((int)reply->status != op->status)
        return false;
    if (reply->status != BRD_OK)
        return true;
    switch ((enum kind)op->kind) {
    case GET:
        return reply->has_value && (int64_t)numbered_hash(NUMBERED_HASH_EMPTY, reply->value.data,
                                                          reply->value.size) == op->expected;
    case APPEND:
    case DELETE:
    case PERSIST:
    case INCR:
        return reply->has_number && reply->number == op->expected;
    default:
        return true;
    }
}

/* Does the answer show that a key was evicted which the model has? */
static bool
shows_eviction(const struct op *op, const struct brd_reply *reply)
{
    switch ((enum kind)op->kind) {
    case GET:
    case EXPIRE:
    case PERSIST:
        return op->status == BRD_OK && reply->status == BRD_NOT_FOUND;
    case DELETE:
        return reply->status == BRD_OK && reply->has_number && reply->number >= 0 &&
               reply->number < op->expected;
    default:
        return false;
    }
}

/* Of such an answer: the request found nothing that it could change. */
static bool
changed_nothing(const struct brd_reply *reply)
{
    return reply->status == BRD_NOT_FOUND || reply->number == 0;
}

/* An acknowledgement under normal is given while the last sync is younger than the bound, or
 * after the next one. So it vouches for what was acknowledged the bound before it was asked
 * for; when it was given, and when everything stopped, says nothing. */
static void
vouch(const struct op *op)
{
    uint64_t newest = atomic_load(&vouched_ns);

    if (op->version == UINT64_MAX || class_of(op) < BRD_DURABILITY_NORMAL)
        return;
    while (newest < op->issued_ns &&
           !atomic_compare_exchange_weak(&vouched_ns, &newest, op->issued_ns))
        ;
}

static void
on_answer(struct conn *conn, const struct brd_reply *reply)
{
    struct op *op = &conn->ops[conn->answered];
    bool refused = conn->unknown > 0 || conn->refused != UINT32_MAX;
    bool evicted;

    if (reply->id == 0 || conn->answered >= conn->issued) {
        fail("connection %u: an answer to nothing, %s", conn->author.id,
             brd_status_name(reply->status));
        return;
    }
    evicted = plan.evicts && shows_eviction(op, reply);
    if (evicted && changed_nothing(reply))
        op->version = UINT64_MAX;
    if (reply->status == BRD_UNKNOWN_RESULT || reply->status == BRD_READ_ONLY) {
        on_refusal(conn, op, reply);
    } else if (refused) {
        /* The state is no longer that of the model. But nothing is written any more; a
         * weaker promise than that which failed may have been kept before. */
        if (reply->status == BRD_OK && op->kind != GET && op->version != UINT64_MAX &&
            (conn->refused != UINT32_MAX || class_of(op) >= conn->unknown_class))
            fail("connection %u: write %u is acknowledged behind one that was refused",
                 conn->author.id, conn->answered);
    } else if (!evicted && !answer_is_right(op, reply)) {
        fail("connection %u: request %u (kind %d, key %d): %s, number %" PRId64
             "; expected %s, number %" PRId64,
             conn->author.id, conn->answered, op->kind, op->key, brd_status_name(reply->status),
             reply->number, brd_status_name((enum brd_status)op->status), op->expected);
    } else if (plan.cut[0] == '\0' || !atomic_load(&stopping)) {
        op->acked = true;
        op->acked_ns = mono_ns();
        if (op->version != UINT64_MAX)
            op->version = reply->version;
        conn->evicted += evicted;
        vouch(op);
    }
    conn->answered++;
    count_answer();
}

/* False: the connection ended, as it does when the daemon is killed. */
static bool
take_answers(struct conn *conn)
{
    const struct brd_reply *reply;

    for (;;) {
        switch (brd_conn_next_reply(conn->link.conn, &reply)) {
        case BRD_CONN_REPLY:
            on_answer(conn, reply);
            break;
        case BRD_CONN_MORE:
            return true;
        case BRD_CONN_BROKEN:
            fail("connection %u: %s", conn->author.id, brd_conn_error(conn->link.conn));
            return false;
        }
    }
}

/* Is there anything to do, or to wait for? After a cut nothing counts any more, and
 * the killed daemon may take its time to die in the kernel. */
static bool
goes_on(const struct conn *conn)
{
    if (atomic_load(&failed))
        return false;
    if (!atomic_load(&stopping))
        return true;
    return plan.cut[0] == '\0' && conn->issued > conn->answered;
}

/* Clients that never think fall into step with the disk. */
static void
think(struct conn *conn)
{
    struct pollfd wait = { .fd = conn->link.fd, .events = POLLIN };

    poll(&wait, 1, (int)below(&conn->random, (unsigned int)plan.think_ms + 1));
}

static void *
write_until_the_end(void *arg)
{
    struct conn *conn = arg;
    uint32_t depth = 1 + below(&conn->random, (unsigned int)plan.depth);
    enum link_event event = LINK_MOVED;
    int silent_ms = 0;

    while (event != LINK_ENDED && goes_on(conn)) {
        if (plan.think_ms > 0)
            think(conn);
        while (!atomic_load(&stopping) && conn->issued - conn->answered < depth)
            issue_next(conn);
        /* Nothing of it has been sent yet: the readers are there when it is on its way. */
        let_readers_go_on();
        event = link_exchange(&conn->link, POLL_MS);
        silent_ms = event == LINK_SILENT ? silent_ms + POLL_MS : 0;
        if (silent_ms > STUCK_MS)
            fail("connection %u: no answer for %d s", conn->author.id, STUCK_MS / 1000);
        take_answers(conn);
    }
    return NULL;
}

/* ---- others, who read it ------------------------------------------------ */

static void
note_seen(const struct brd_reply *reply)
{
    unsigned int round, id, index;
    uint32_t seen;

    if (!numbered_parse(reply->value, &round, &id, &index)) {
        fail("a reader got a value that nobody wrote");
        return;
    }
    if (round != round_number || id >= CONNS_MAX || atomic_load(&stopping))
        return;
    seen = atomic_load(&conns[id].seen);
    while (seen < index + 1 && !atomic_compare_exchange_weak(&conns[id].seen, &seen, index + 1))
        ;
}

/* Until a writer has moved since *seen, or all is over. */
static void
wait_for_writers(uint64_t *seen)
{
    pthread_mutex_lock(&pace_lock);
    while (pace == *seen && !atomic_load(&stopping) && !atomic_load(&failed)) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += POLL_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&pace_moved, &pace_lock, &until);
    }
    *seen = pace;
    pthread_mutex_unlock(&pace_lock);
}

static void *
read_until_the_end(void *arg)
{
    struct reader *reader = arg;
    const struct brd_reply *reply;
    char name[KEY_MAX];
    uint64_t seen = 0;
    uint32_t i;

    for (i = 0; !atomic_load(&stopping) && !atomic_load(&failed); i++) {
        unsigned int id = below(&reader->random, (unsigned int)plan.conns);
        unsigned int key = below(&reader->random, STRINGS);

        if (i % READS_EACH == 0)
            wait_for_writers(&seen);
        if (i % 2 == 0)
            key = atomic_load(&conns[id].newest_key); /* most likely to be on its way */
        if (brd_conn_get(reader->link.conn, numbered_key(name, id, key), NULL) != BRD_OK)
            fail("a request could not be encoded");
        reply = link_wait_reply(&reader->link, STUCK_MS);
        if (reply == NULL)
            break;
        if (reply->status == BRD_OK)
            note_seen(reply);
    }
    return NULL;
}

/* ---- run ---------------------------------------------------------------- */

static void
begin_conn(struct conn *conn)
{
    memcpy(conn->now, conn->base, sizeof(conn->now));
    conn->issued = conn->answered = conn->unknown = conn->evicted = 0;
    conn->refused = UINT32_MAX;
    conn->unknown_class = BRD_DURABILITY_FULL + 1;
    atomic_store(&conn->seen, 0);
    atomic_store(&conn->newest_key, 0);
}

static void
run(void)
{
    uint64_t answered = 0, issued = 0, unknown = 0, refused = 0, evicted = 0;
    long i;

    round_number++;
    pace = 0;
    atomic_store(&answered_total, 0);
    atomic_store(&vouched_ns, 0);
    atomic_flag_clear(&acted);
    atomic_store(&stopping, false);
    for (i = 0; i < CONNS_MAX; i++)
        begin_conn(&conns[i]);
    for (i = 0; i < plan.conns; i++)
        if (!link_open(&conns[i].link, plan.address))
            fail("no connection to %s", plan.address);
    for (i = 0; i < plan.readers; i++)
        if (!link_open(&readers[i].link, plan.address))
            fail("no connection to %s", plan.address);
    if (atomic_load(&failed)) {
        for (i = 0; i < plan.conns; i++)
            link_close(&conns[i].link);
        for (i = 0; i < plan.readers; i++)
            link_close(&readers[i].link);
        return;
    }
    began_ns = mono_ns();
    for (i = 0; i < plan.conns; i++)
        if (pthread_create(&conns[i].thread, NULL, write_until_the_end, &conns[i]) != 0)
            abort();
    for (i = 0; i < plan.readers; i++)
        if (pthread_create(&readers[i].thread, NULL, read_until_the_end, &readers[i]) != 0)
            abort();
    for (i = 0; i < plan.conns; i++) {
        pthread_join(conns[i].thread, NULL);
        answered += conns[i].answered;
        issued += conns[i].issued;
        unknown += conns[i].unknown;
        refused += conns[i].refused != UINT32_MAX;
        evicted += conns[i].evicted;
        link_close(&conns[i].link);
    }
    atomic_store(&stopping, true);
    for (i = 0; i < plan.readers; i++) {
        pthread_join(readers[i].thread, NULL);
        link_close(&readers[i].link);
    }
    if (!atomic_load(&failed))
        printf("stopped answered=%" PRIu64 " issued=%" PRIu64 " unknown=%" PRIu64
               " refused=%" PRIu64 " evicted=%" PRIu64 "\n",
               answered, issued, unknown, refused, evicted);
}

/* ---- verify ------------------------------------------------------------- */

/* What the daemon holds under a key. */
struct found {
    uint64_t hash;
    uint64_t deadline_min_ms, deadline_max_ms; /* 0: none */
    uint32_t size;
    bool present;
};

static bool
matches(const struct cell *cell, const struct found *found, uint64_t at_ms)
{
    bool live = cell->present && (cell->deadline_ms == 0 || cell->deadline_ms > at_ms);

    if (!live || !found->present)
        return live == found->present || (plan.evicts && !found->present);
    if (cell->size != found->size || cell->hash != found->hash)
        return false;
    if (cell->deadline_ms == 0 || found->deadline_max_ms == 0)
        return cell->deadline_ms == found->deadline_max_ms;
    return cell->deadline_ms >= found->deadline_min_ms &&
           cell->deadline_ms <= found->deadline_max_ms;
}

static bool
state_matches(const struct cell *cells, const struct found *found, uint64_t at_ms)
{
    uint32_t i;

    for (i = 0; i < KEYS; i++)
        if (!matches(&cells[i], &found[i], at_ms))
            return false;
    return true;
}

static bool
look(struct link *link, uint32_t id, struct found found[KEYS])
{
    const struct brd_reply *reply;
    uint64_t before_ms = earliest_ms();
    char name[KEY_MAX];
    uint32_t i;

    for (i = 0; i < 2 * KEYS; i++) {
        struct brd_bytes key = numbered_key(name, id, i % KEYS);

        if ((i < KEYS ? brd_conn_get(link->conn, key, NULL)
                      : brd_conn_ttl(link->conn, key, NULL)) != BRD_OK)
            return false;
    }
    for (i = 0; i < 2 * KEYS; i++) {
        struct found *at = &found[i % KEYS];

        reply = link_wait_reply(link, STUCK_MS);
        if (reply == NULL || (reply->status != BRD_OK && reply->status != BRD_NOT_FOUND))
            return false;
        if (i < KEYS) {
            *at = (struct found){ .present = reply->status == BRD_OK };
            at->size = (uint32_t)reply->value.size;
            at->hash = numbered_hash(NUMBERED_HASH_EMPTY, reply->value.data, reply->value.size);
        } else if (plan.evicts && reply->status == BRD_NOT_FOUND) {
            at->present = false; /* evicted since the get */
        } else if (reply->has_ttl) {
            at->deadline_min_ms = before_ms + reply->ttl_ms - 1;
            at->deadline_max_ms = latest_ms() + reply->ttl_ms + 1;
        }
    }
    return true;
}

/* Did the acknowledgement of this request promise that it survives this end? */
static bool
must_survive(const struct op *op)
{
    int class_ = class_of(op);
    uint64_t bound_ns = (uint64_t)plan.bound_ms * 1000000u;

    /* What changed nothing promised nothing about requests before it. */
    if (!op->acked || op->version == UINT64_MAX)
        return false;
    if (strcmp(plan.rule, "kill") == 0)
        return class_ >= BRD_DURABILITY_NORMAL;
    return class_ == BRD_DURABILITY_FULL ||
           (class_ == BRD_DURABILITY_NORMAL && op->acked_ns + bound_ns < atomic_load(&vouched_ns));
}

/* How many of the first requests must be there, at least. */
static uint32_t
owed(const struct conn *conn)
{
    uint32_t least = 0;
    uint32_t i;

    for (i = 0; i < conn->answered; i++)
        if (must_survive(&conn->ops[i]))
            least = i + 1;
    if ((is_class("full") || strcmp(plan.rule, "kill") == 0) && atomic_load(&conn->seen) > least)
        least = atomic_load(&conn->seen);
    return least;
}

struct span {
    uint32_t least, most; /* of the requests whose effects are there */
};

static void
explain_mismatch(const struct conn *conn, const struct found *found, uint32_t least, uint64_t at_ms)
{
    struct cell cells[KEYS];
    struct conn *writable = &conns[conn->author.id];
    char text[160] = "";
    uint32_t i;

    memcpy(cells, conn->base, sizeof(cells));
    for (i = 0; i < least; i++)
        numbered_apply(&writable->author, cells, &writable->ops[i], i);
    for (i = 0; i < KEYS; i++)
        if (!matches(&cells[i], &found[i], at_ms)) {
            snprintf(text, sizeof(text),
                     "key %u is %s, %u bytes, deadline %" PRIu64
                     "; should be %s, %u bytes, %" PRIu64,
                     i, found[i].present ? "there" : "absent", found[i].size,
                     found[i].deadline_max_ms, cells[i].present ? "there" : "absent", cells[i].size,
                     cells[i].deadline_ms);
            break;
        }
    fail("connection %u: the state is not that after any of %u to %u requests (%u answered, "
         "%u shown to readers). After %u of them %s",
         conn->author.id, least, conn->issued, conn->answered, atomic_load(&conn->seen), least,
         text);
}

/* Find how far the log of this connection's changes goes, and continue from there. */
static bool
find_end(struct conn *conn, const struct found *found, uint64_t at_ms, struct span *span,
         bool *out_cleared)
{
    uint32_t least = owed(conn);
    struct cell cells[KEYS];
    struct cell kept[KEYS];
    bool cleared = false;
    bool any = false;
    uint32_t i;

    *out_cleared = false;
    memcpy(cells, conn->base, sizeof(cells));
    for (i = 0; i <= conn->issued; i++) {
        if (state_matches(cells, found, at_ms)) {
            if (!any)
                span->least = i;
            span->most = i;
            any = true;
            *out_cleared = cleared;
            memcpy(kept, cells, sizeof(kept));
        }
        if (i < conn->issued) {
            cleared = cleared || conn->ops[i].kind == CLEAR;
            numbered_apply(&conn->author, cells, &conn->ops[i], i);
        }
    }
    if (!any || span->most < least || span->least > conn->refused) {
        explain_mismatch(conn, found, least, at_ms);
        return false;
    }
    memcpy(conn->base, kept, sizeof(kept));
    for (i = 0; plan.evicts && i < KEYS; i++)
        conn->base[i].present = conn->base[i].present && found[i].present;
    return true;
}

/* Nothing that is lost may be older than something that is there. */
static void
check_no_hole(const struct span spans[CONNS_MAX])
{
    uint64_t newest_there = 0, oldest_lost = UINT64_MAX;
    uint32_t there_on = 0, lost_on = 0;
    uint32_t i, j;

    for (i = 0; i < CONNS_MAX; i++) {
        const struct conn *conn = &conns[i];

        for (j = 0; j < conn->answered; j++) {
            uint64_t version = conn->ops[j].acked ? conn->ops[j].version : 0;

            if (version == 0 || version == UINT64_MAX || conn->ops[j].kind == GET)
                continue;
            if (j < spans[i].least && version > newest_there) {
                newest_there = version;
                there_on = i;
            }
            if (j >= spans[i].most && version < oldest_lost) {
                oldest_lost = version;
                lost_on = i;
            }
        }
    }
    if (oldest_lost < newest_there)
        fail("a hole: version %" PRIu64 " of connection %u is lost, but the later %" PRIu64
             " of connection %u is there",
             oldest_lost, lost_on, newest_there, there_on);
}

static void
wait_until_short_lived_are_gone(void)
{
    uint64_t last_ms = latest_ms();
    uint32_t i, j;

    for (i = 0; i < CONNS_MAX; i++)
        for (j = 0; j < conns[i].issued; j++)
            if (conns[i].ops[j].kind == SHORT && conns[i].ops[j].deadline_ms > last_ms)
                last_ms = conns[i].ops[j].deadline_ms;
    while (earliest_ms() <= last_ms + CLOCK_SLACK_MS)
        poll(NULL, 0, 1);
}

static void
check_count(struct link *link, uint64_t expected)
{
    const struct brd_reply *reply = NULL;

    if (brd_conn_count(link->conn, true, NULL) == BRD_OK)
        reply = link_wait_reply(link, STUCK_MS);
    if (reply == NULL || reply->status != BRD_OK)
        fail("the keys cannot be counted");
    else if (plan.evicts ? reply->number > (int64_t)expected : reply->number != (int64_t)expected)
        fail("%" PRId64 " keys are there, %" PRIu64 " should be", reply->number, expected);
}

/* Evictions that the last answers have shown stay, whatever happens next. */
static void
make_evictions_last(struct link *link)
{
    const struct brd_reply *reply = NULL;

    if (brd_conn_sync(link->conn, NULL) == BRD_OK)
        reply = link_wait_reply(link, STUCK_MS);
    if (reply == NULL || reply->status != BRD_OK)
        fail("the log cannot be synced");
}

static void
verify(void)
{
    struct span spans[CONNS_MAX] = { { 0, 0 } };
    struct found found[KEYS];
    struct link link;
    uint64_t live = 0, there = 0, issued = 0, least = 0;
    uint32_t i, j;

    wait_until_short_lived_are_gone();
    if (!link_open(&link, plan.address)) {
        fail("no connection to %s", plan.address);
        return;
    }
    for (i = 0; i < CONNS_MAX && !atomic_load(&failed); i++) {
        uint64_t at_ms = earliest_ms();
        bool cleared;

        if (!look(&link, i, found)) {
            fail("the daemon does not answer reads");
            break;
        }
        if (!find_end(&conns[i], found, at_ms, &spans[i], &cleared))
            break;
        for (j = i + 1; cleared && j < CONNS_MAX; j++)
            memset(conns[j].base, 0, sizeof(conns[j].base));
        for (j = 0; j < KEYS; j++)
            live += found[j].present;
        there += spans[i].most;
        issued += conns[i].issued;
        least += owed(&conns[i]);
    }
    if (!atomic_load(&failed))
        check_no_hole(spans);
    if (!atomic_load(&failed))
        check_count(&link, live);
    if (!atomic_load(&failed) && plan.evicts)
        make_evictions_last(&link);
    link_close(&link);
    for (i = 0; i < CONNS_MAX; i++)
        begin_conn(&conns[i]);
    if (!atomic_load(&failed))
        printf("ok issued=%" PRIu64 " there=%" PRIu64 " owed=%" PRIu64 " keys=%" PRIu64 "\n",
               issued, there, least, live);
}

/* ---- commands ----------------------------------------------------------- */

static bool
parse_plan(char *words)
{
    const struct {
        const char *name;
        long *number;
        char *text;
        size_t room;
    } fields[] = {
        { "conns", &plan.conns },
        { "depth", &plan.depth },
        { "mix", &plan.mix },
        { "think_ms", &plan.think_ms },
        { "clears", &plan.clears },
        { "evicts", &plan.evicts },
        { "readers", &plan.readers },
        { "at", &plan.at },
        { "ms", &plan.ms },
        { "kill", &plan.kill },
        { "failure", &plan.failure },
        { "bound_ms", &plan.bound_ms },
        { "cut", .text = plan.cut, .room = sizeof(plan.cut) },
        { "rule", .text = plan.rule, .room = sizeof(plan.rule) },
        { "class", .text = plan.class_, .room = sizeof(plan.class_) },
    };
    char *rest = NULL;
    char *word = strtok_r(words, " \n", &rest);
    size_t i;

    plan = (struct plan){ .conns = 4, .depth = 32, .class_ = "normal", .rule = "kill" };
    if (word == NULL)
        return false;
    snprintf(plan.address, sizeof(plan.address), "%s", word);
    while ((word = strtok_r(NULL, " \n", &rest)) != NULL) {
        char *value = strchr(word, '=');

        if (value == NULL)
            return false;
        *value++ = '\0';
        for (i = 0; i < sizeof(fields) / sizeof(*fields); i++)
            if (strcmp(word, fields[i].name) == 0)
                break;
        if (i == sizeof(fields) / sizeof(*fields))
            return false;
        if (fields[i].number != NULL)
            *fields[i].number = strtol(value, NULL, 10);
        else
            snprintf(fields[i].text, fields[i].room, "%s", value);
    }
    for (i = 0; i < CONNS_MAX; i++)
        conns[i].author.value_max = plan.evicts ? EVICTS_VALUE : 0;
    return plan.conns >= 0 && plan.conns <= CONNS_MAX && plan.readers <= READERS_MAX &&
           plan.depth > 0 && (!plan.clears || (plan.conns == 1 && !plan.evicts));
}

int
main(void)
{
    const char *seed = getenv("SEED");
    unsigned int random = (unsigned int)strtoul(seed != NULL ? seed : "1", NULL, 10);
    char line[1024];
    uint32_t i;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (i = 0; i < CONNS_MAX; i++) {
        conns[i].author.id = i;
        conns[i].random = (unsigned int)rand_r(&random);
        conns[i].link.fd = -1;
        conns[i].refused = UINT32_MAX;
        conns[i].author.scratch = malloc(BATCH_MAX);
        if (conns[i].author.scratch == NULL)
            return 1;
    }
    for (i = 0; i < READERS_MAX; i++) {
        readers[i].random = (unsigned int)rand_r(&random);
        readers[i].link.fd = -1;
    }
    while (fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "quit\n") != 0) {
        bool is_run = strncmp(line, "run ", 4) == 0;

        atomic_store(&failed, false);
        if ((!is_run && strncmp(line, "verify ", 7) != 0) || !parse_plan(strchr(line, ' ') + 1))
            fail("a command that is none");
        else if (is_run)
            run();
        else
            verify();
        if (atomic_load(&failed))
            printf("FAIL %s\n", failure);
    }
    for (i = 0; i < CONNS_MAX; i++) {
        free(conns[i].ops);
        free(conns[i].author.scratch);
    }
    return 0;
}
