/* The pool: clients shared by the threads of a process.
 *
 *     slots   | held | idle | empty | held | idle | ...   connections_max of them
 *     idle stack: slots that can be handed out, the one used last on top, so that
 *     what is not needed grows old at the bottom and can be closed
 *
 * One mutex guards everything in a `house`; it is never held over a system call
 * on a socket: connecting, checking and closing happen outside, while the slot is
 * marked as held. Waiters sleep on one condition and are woken one by one.
 *
 * Fork: a mutex that some thread held at the moment of the fork stays locked in
 * the child for ever. So the child never touches the inherited house: the first
 * thread that notices the new process id builds a new one and hangs it in with one
 * compare-and-swap; the old one is only read, closes its sockets without a word,
 * and stays chained to the new one until the pool is closed. Clients that are out
 * at the fork belong to nobody's slot in the new house; when they come back they
 * are closed.
 *
 * Life: `refs` counts the owner, every client that is out and every thread inside
 * acquire. Whoever brings it to zero frees the pool, so brd_pool_close need not
 * wait for anybody.
 * Failure: a server that cannot be reached is found by the thread that acquires,
 * and is its answer; nothing retries behind its back. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "net.h"
#include "options.h"

#define CHECK_MS_MAX 1000 /* of one health check */

enum slot_state { SLOT_EMPTY, SLOT_IDLE, SLOT_HELD };

struct slot {
    enum slot_state state;
    struct brd_client *client; /* owned; NULL where empty, or while it connects */
    uint64_t idle_since_ms;
    uint64_t connects_before; /* of client, when it was handed out */
};

/* All that changes, for one process. */
struct house {
    pid_t pid;
    struct house *inherited; /* owned; of the parent process, or NULL */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t came_free;
    struct slot *slots; /* owned; connections_max of them */
    uint32_t *idle;     /* owned; stack of slot numbers */
    uint32_t idle_count;
    uint32_t held;
    uint32_t waiting;
    uint32_t refs; /* owner + held + waiting */
    bool closed;
    uint64_t connects;
    uint64_t checks;
    char error[BRD_ERROR_BYTES_MAX]; /* of the last acquire that failed */
};

struct brd_pool {
    _Atomic(struct house *) house; /* acquire/release */

    /* Fixed when opened. */
    struct brd_client_options client; /* its strings are ours */
    char *address;
    char *client_name;
    char *namespace_name;
    uint32_t connections_max;
    uint32_t min_idle;
    uint32_t check_after_ms;
    uint32_t close_after_ms;
};

/* ---- Houses ------------------------------------------------------------- */

static void
destroy_house(struct house *house)
{
    if (house == NULL)
        return;
    free(house->slots);
    free(house->idle);
    free(house);
}

static struct house *
create_house(uint32_t connections_max)
{
    struct house *house = calloc(1, sizeof(*house));
    pthread_condattr_t attributes;

    if (house == NULL)
        return NULL;
    house->pid = getpid();
    house->refs = 1;
    house->slots = calloc(connections_max, sizeof(*house->slots));
    house->idle = calloc(connections_max, sizeof(*house->idle));
    if (house->slots == NULL || house->idle == NULL) {
        destroy_house(house);
        return NULL;
    }
    pthread_mutex_init(&house->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&house->came_free, &attributes);
    pthread_condattr_destroy(&attributes);
    return house;
}

/* Close the parent's sockets. The clients that were idle are nobody's now; those
 * that were out may be in the hands of the thread that forked. */
static void
leave_inherited(const struct brd_pool *pool, struct house *inherited)
{
    uint32_t i;

    for (i = 0; i < pool->connections_max; i++) {
        struct slot *slot = &inherited->slots[i];

        if (slot->client == NULL)
            continue;
        client_drop_inherited(slot->client);
        if (slot->state == SLOT_IDLE)
            brd_client_close(&slot->client);
    }
}

/* The house of this process, or NULL: out of memory. */
static struct house *
house_of(struct brd_pool *pool)
{
    struct house *house = atomic_load_explicit(&pool->house, memory_order_acquire);
    struct house *fresh;

    if (house->pid == getpid())
        return house;
    fresh = create_house(pool->connections_max);
    if (fresh == NULL)
        return NULL;
    fresh->inherited = house;
    if (!atomic_compare_exchange_strong_explicit(&pool->house, &house, fresh, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        destroy_house(fresh); /* another thread of this process was first */
        return house;
    }
    leave_inherited(pool, fresh->inherited);
    return fresh;
}

static void
destroy_pool(struct brd_pool *pool)
{
    struct house *house = atomic_load_explicit(&pool->house, memory_order_acquire);

    if (house != NULL && house->pid == getpid()) {
        pthread_cond_destroy(&house->came_free);
        pthread_mutex_destroy(&house->lock);
    }
    while (house != NULL) {
        struct house *inherited = house->inherited;

        destroy_house(house);
        house = inherited;
    }
    free(pool->address);
    free(pool->client_name);
    free(pool->namespace_name);
    free(pool);
}

/* Give up one reference and the lock. The pool may be gone afterwards. */
static void
unlock_and_unref(struct brd_pool *pool, struct house *house)
{
    bool last = --house->refs == 0;

    pthread_mutex_unlock(&house->lock);
    if (last)
        destroy_pool(pool);
}

/* ---- Slots; the caller holds the lock ----------------------------------- */

static void
push_idle(struct house *house, uint32_t number)
{
    struct slot *slot = &house->slots[number];

    slot->state = SLOT_IDLE;
    slot->idle_since_ms = net_now_ms();
    house->idle[house->idle_count++] = number;
    pthread_cond_signal(&house->came_free);
}

static void
hold_slot(struct house *house, uint32_t number)
{
    house->slots[number].state = SLOT_HELD;
    house->held++;
    house->refs++;
}

static void
empty_slot(struct house *house, uint32_t number)
{
    house->slots[number] = (struct slot){ .state = SLOT_EMPTY };
    pthread_cond_signal(&house->came_free);
}

/* Take a slot that is idle, else an empty one. False: all are held. */
static bool
take_slot(const struct brd_pool *pool, struct house *house, uint32_t *out_number)
{
    uint32_t i;

    if (house->idle_count != 0) {
        *out_number = house->idle[--house->idle_count];
        hold_slot(house, *out_number);
        return true;
    }
    if (house->held == pool->connections_max)
        return false;
    for (i = 0; house->slots[i].state != SLOT_EMPTY; i++)
        ;
    hold_slot(house, i);
    *out_number = i;
    return true;
}

/* Sleep until something came free. Returns BRD_OK, BRD_TIMEOUT. */
static enum brd_status
wait_for_slot(struct house *house, struct deadline deadline)
{
    struct timespec until;
    int failure;

    house->waiting++;
    house->refs++;
    if (deadline.at_ms == UINT64_MAX) {
        failure = pthread_cond_wait(&house->came_free, &house->lock);
    } else {
        until.tv_sec = (time_t)(deadline.at_ms / 1000);
        until.tv_nsec = (long)(deadline.at_ms % 1000) * 1000000;
        failure = pthread_cond_timedwait(&house->came_free, &house->lock, &until);
    }
    house->waiting--;
    house->refs--; /* not the last: the caller has one more */
    return failure == ETIMEDOUT ? BRD_TIMEOUT : BRD_OK;
}

/* ---- Acquiring ---------------------------------------------------------- */

/* How long a health check may take of the time that is left: a peer that has
 * vanished silently must leave some for a new connection. */
static uint32_t
check_timeout(struct deadline deadline)
{
    uint32_t part = deadline_left_ms(deadline) / 4;

    if (part > CHECK_MS_MAX)
        return CHECK_MS_MAX;
    return part == 0 ? 1 : part; /* 0 would mean the default */
}

/* Is an idle connection still good? Any answer to the ping will do. */
static bool
passes_check(struct brd_client *client, struct deadline deadline)
{
    brd_client_set_timeout(client, check_timeout(deadline));
    (void)brd_client_ping(client, brd_bytes(NULL, 0), NULL);
    return client_is_connected(client);
}

/* Make the client of a held slot fit to be handed out, or open it where there is
 * none yet. No lock is held: the client is this thread's alone. */
static enum brd_status
prepare_client(const struct brd_pool *pool, struct brd_client **client, bool check,
               struct deadline deadline, char *error, size_t error_size)
{
    struct brd_client_options opts = pool->client;
    enum brd_status status;

    opts.error = error;
    opts.error_size = error_size;
    if (*client == NULL)
        return client_open_by(&opts, deadline, client);
    if (check)
        (void)passes_check(*client, deadline);
    status = client_reconnect_by(*client, deadline); /* at once where there is a connection */
    if (status != BRD_OK)
        snprintf(error, error_size, "%s", brd_client_error(*client));
    brd_client_set_timeout(*client, opts.timeout_ms);
    if (status == BRD_OK)
        status = brd_client_set_namespace(*client, brd_bytes_of(pool->namespace_name));
    return status;
}

/* Take a slot, waiting for it if need be. The caller holds the lock and a
 * reference. Returns BRD_OK, BRD_TIMEOUT, BRD_CLOSED. */
static enum brd_status
claim_slot(const struct brd_pool *pool, struct house *house, struct deadline deadline,
           uint32_t *out_number)
{
    enum brd_status waited = BRD_OK;

    while (!house->closed) {
        if (take_slot(pool, house, out_number))
            return BRD_OK;
        if (waited != BRD_OK)
            return waited;
        waited = wait_for_slot(house, deadline);
    }
    return BRD_CLOSED;
}

/* Give up on a held slot, whose client could not be made fit. */
static void
abandon_slot(struct brd_pool *pool, struct house *house, uint32_t number, const char *error)
{
    pthread_mutex_lock(&house->lock);
    snprintf(house->error, sizeof(house->error), "%s", error);
    house->held--;
    empty_slot(house, number);
    unlock_and_unref(pool, house);
}

enum brd_status
brd_pool_acquire(struct brd_pool *pool, uint32_t timeout_ms, struct brd_client **out_client)
{
    struct deadline deadline = deadline_in(timeout_ms == 0 ? pool->client.timeout_ms : timeout_ms);
    struct house *house = house_of(pool);
    char error[BRD_ERROR_BYTES_MAX] = "";
    struct brd_client *client;
    enum brd_status status;
    struct slot *slot;
    uint32_t number = 0;
    bool check;

    if (house == NULL)
        return BRD_OUT_OF_MEMORY;
    pthread_mutex_lock(&house->lock);
    house->refs++;
    status = claim_slot(pool, house, deadline, &number);
    if (status != BRD_OK) {
        snprintf(house->error, sizeof(house->error), "%s",
                 status == BRD_CLOSED ? "the pool is closed" : "all connections are in use");
        unlock_and_unref(pool, house);
        return status;
    }
    house->refs--; /* the held slot has one */
    slot = &house->slots[number];
    client = slot->client;
    slot->connects_before = client == NULL ? 0 : brd_client_connects(client);
    check = client != NULL && client_is_connected(client) &&
            net_now_ms() - slot->idle_since_ms >= pool->check_after_ms;
    house->checks += check;
    pthread_mutex_unlock(&house->lock);

    status = prepare_client(pool, &client, check, deadline, error, sizeof(error));
    if (status != BRD_OK) {
        abandon_slot(pool, house, number, error);
        brd_client_close(&client);
        return status;
    }
    pthread_mutex_lock(&house->lock);
    slot->client = client;
    pthread_mutex_unlock(&house->lock);
    *out_client = client;
    return BRD_OK;
}

void
brd_pool_error(struct brd_pool *pool, char *out_text, size_t size)
{
    struct house *house = house_of(pool);

    if (size == 0)
        return;
    out_text[0] = '\0';
    if (house == NULL)
        return;
    pthread_mutex_lock(&house->lock);
    snprintf(out_text, size, "%s", house->error);
    pthread_mutex_unlock(&house->lock);
}

/* ---- Releasing ---------------------------------------------------------- */

/* The held slot of a client, or connections_max: it is of before a fork. */
static uint32_t
slot_of(const struct brd_pool *pool, const struct house *house, const struct brd_client *client)
{
    uint32_t i;

    for (i = 0; i < pool->connections_max; i++) {
        if (house->slots[i].client == client)
            break;
    }
    return i;
}

/* Take the oldest idle client out of the pool if it is too old to keep. */
static struct brd_client *
take_outdated(const struct brd_pool *pool, struct house *house)
{
    uint32_t number;
    struct brd_client *client;

    if (pool->close_after_ms == 0 || house->idle_count <= pool->min_idle)
        return NULL;
    number = house->idle[0];
    if (net_now_ms() - house->slots[number].idle_since_ms < pool->close_after_ms)
        return NULL;
    client = house->slots[number].client;
    house->idle_count--;
    memmove(house->idle, house->idle + 1, house->idle_count * sizeof(*house->idle));
    empty_slot(house, number);
    return client;
}

void
brd_pool_release(struct brd_pool *pool, struct brd_client **client)
{
    struct house *house;
    struct brd_client *outdated;
    uint32_t number;

    if (client == NULL || *client == NULL)
        return;
    house = house_of(pool);
    if (house == NULL) {
        brd_client_close(client);
        return;
    }
    pthread_mutex_lock(&house->lock);
    number = slot_of(pool, house, *client);
    if (number == pool->connections_max) {
        pthread_mutex_unlock(&house->lock);
        brd_client_close(client);
        return;
    }
    house->held--;
    house->connects += brd_client_connects(*client) - house->slots[number].connects_before;
    if (house->closed) {
        house->slots[number] = (struct slot){ .state = SLOT_EMPTY };
        outdated = *client;
    } else {
        push_idle(house, number);
        outdated = take_outdated(pool, house);
    }
    *client = NULL;
    unlock_and_unref(pool, house);
    brd_client_close(&outdated);
}

/* ---- Opening and closing ------------------------------------------------ */

/* NULL stays NULL. False: out of memory. */
static bool
copy_text(const char *text, char **out_copy)
{
    if (text == NULL)
        return true;
    *out_copy = strdup(text);
    return *out_copy != NULL;
}

/* Fill a zeroed pool from its options. */
static enum brd_status
init_pool(struct brd_pool *pool, const struct brd_pool_options *opts,
          const struct brd_client_options *client)
{
    struct address address;
    const char *why;
    enum brd_status status;

    pool->connections_max =
        opts->connections_max != 0 ? opts->connections_max : BRD_POOL_CONNECTIONS_DEFAULT;
    pool->min_idle = opts->min_idle;
    pool->check_after_ms =
        opts->check_after_ms != 0 ? opts->check_after_ms : BRD_POOL_CHECK_DEFAULT_MS;
    pool->close_after_ms = opts->close_after_ms;
    if (pool->connections_max > BRD_POOL_CONNECTIONS_MAX || pool->min_idle > pool->connections_max)
        return BRD_INVALID_ARGUMENT;

    /* The environment is asked once, so that all connections go to one place. */
    status = address_parse(client->address, &address, &why);
    if (status != BRD_OK)
        return status;
    pool->client = *client;
    if (!copy_text(address.text, &pool->address) ||
        !copy_text(client->client_name, &pool->client_name) ||
        !copy_text(client->namespace_name == NULL ? "" : client->namespace_name,
                   &pool->namespace_name))
        return BRD_OUT_OF_MEMORY;
    pool->client.address = pool->address;
    pool->client.client_name = pool->client_name;
    pool->client.namespace_name = pool->namespace_name;
    pool->client.error = NULL;
    pool->client.error_size = 0;
    if (pool->client.timeout_ms == 0)
        pool->client.timeout_ms = BRD_TIMEOUT_DEFAULT_MS;
    if (pool->client.connect_timeout_ms == 0)
        pool->client.connect_timeout_ms = BRD_CONNECT_TIMEOUT_DEFAULT_MS;
    atomic_store_explicit(&pool->house, create_house(pool->connections_max), memory_order_release);
    return atomic_load_explicit(&pool->house, memory_order_relaxed) == NULL ? BRD_OUT_OF_MEMORY
                                                                            : BRD_OK;
}

/* Open the connections that are to be there from the start, with the caller's
 * place for the error sentence. Nobody else knows the pool yet. */
static enum brd_status
open_first(struct brd_pool *pool, const struct brd_client_options *client)
{
    struct brd_client_options opts = pool->client;
    struct house *house = house_of(pool);
    uint32_t wanted = pool->min_idle == 0 ? 1 : pool->min_idle;
    enum brd_status status = BRD_OK;
    uint32_t i;

    opts.error = client->error;
    opts.error_size = client->error_size;
    pthread_mutex_lock(&house->lock); /* for the checkers; there is no other thread */
    for (i = 0; i < wanted && status == BRD_OK; i++) {
        status = brd_client_open(&opts, &house->slots[i].client);
        if (status == BRD_OK) {
            push_idle(house, i);
            house->connects++;
        }
    }
    pthread_mutex_unlock(&house->lock);
    return status;
}

enum brd_status
brd_pool_open(const struct brd_pool_options *opts, struct brd_pool **out_pool)
{
    struct brd_pool_options own;
    struct brd_client_options client;
    struct brd_pool *pool;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status == BRD_OK)
        status = options_read(own.client, &client, sizeof(client));
    if (status != BRD_OK)
        return status;
    pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return BRD_OUT_OF_MEMORY;
    status = init_pool(pool, &own, &client);
    if (status != BRD_OK) {
        if (client.error != NULL && client.error_size != 0)
            snprintf(client.error, client.error_size, "%s", brd_status_text(status));
        destroy_pool(pool);
        return status;
    }
    status = open_first(pool, &client);
    if (status != BRD_OK) {
        brd_pool_close(&pool);
        return status;
    }
    *out_pool = pool;
    return BRD_OK;
}

/* Take the client of any idle slot out of a closed pool; NULL: none is left. */
static struct brd_client *
take_idle(struct house *house)
{
    struct brd_client *client = NULL;

    if (house->idle_count != 0) {
        struct slot *slot = &house->slots[house->idle[--house->idle_count]];

        client = slot->client;
        *slot = (struct slot){ .state = SLOT_EMPTY };
    }
    return client;
}

void
brd_pool_close(struct brd_pool **pool)
{
    struct brd_client *idle;
    struct house *house;

    if (pool == NULL || *pool == NULL)
        return;
    house = house_of(*pool);
    if (house == NULL) {
        *pool = NULL; /* a child without memory: leave everything as it is */
        return;
    }
    pthread_mutex_lock(&house->lock);
    house->closed = true;
    pthread_cond_broadcast(&house->came_free);
    while ((idle = take_idle(house)) != NULL) {
        pthread_mutex_unlock(&house->lock);
        brd_client_close(&idle);
        pthread_mutex_lock(&house->lock);
    }
    unlock_and_unref(*pool, house);
    *pool = NULL;
}

void
brd_pool_get_counts(struct brd_pool *pool, struct brd_pool_counts *out_counts)
{
    struct brd_pool_counts counts = { .size = sizeof(counts) };
    size_t size = out_counts->size < sizeof(counts) ? out_counts->size : sizeof(counts);
    struct house *house = house_of(pool);

    if (house != NULL) {
        pthread_mutex_lock(&house->lock);
        counts.in_use = house->held;
        counts.idle = house->idle_count;
        counts.waiting = house->waiting;
        counts.connects = house->connects;
        counts.checks = house->checks;
        pthread_mutex_unlock(&house->lock);
    }
    counts.size = out_counts->size;
    memcpy(out_counts, &counts, size);
}
