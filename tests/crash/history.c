/* Eight clients on a few keys, through kills and restarts, and what they saw.
 *
 *   crash_history FILE OPERATIONS
 *
 * reads commands from stdin and answers each with one line on stdout:
 *
 *   run ADDRESS AT PID [DIR]   operate until AT operations are done in all; then
 *                              shut the file system of DIR down, if one is given,
 *                              and kill PID: "down N". Where AT is not below
 *                              OPERATIONS nobody is killed: "end N", and FILE is
 *                              complete.
 *
 * THINK_MS in the environment: a client waits up to so long before each request.
 * Clients that never do fall into step with the disk.
 *
 * "FAIL ..." is an answer that no daemon may give. Each client has one request
 * under way, so that the history shows what was concurrent and what was not. A
 * write whose answer did not come before the end began is left open: it may take
 * effect at any later moment, or never. A read without answer told nothing. */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

#include "cut.h"
#include "history.h"
#include "support/link.h"

#define CLIENTS    8
#define REGISTERS  28
#define HOT        4 /* of the registers: every other operation */
#define COUNTERS   8
#define TIMEOUT_MS 600000 /* some disks need ten seconds for a sync, now and then */
#define POLL_MS    100

struct client {
    pthread_t thread;
    struct link link;
    struct event *events; /* owned */
    size_t count, room;
    uint64_t known[REGISTERS]; /* a version that it met last */
    unsigned int random;
    uint16_t id;
};

static struct client clients[CLIENTS];
static char address[64];
static char cut_dir[256];
static pid_t victim;
static uint64_t stop_at, operations;
static unsigned int think_ms;
static _Atomic uint64_t done;
static _Atomic int64_t next_value = 1;
static _Atomic bool stopping; /* set before the end begins */
static _Atomic bool failed;
static char failure[512];

static uint64_t
mono_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static unsigned int
below(unsigned int *state, unsigned int n)
{
    return (unsigned int)rand_r(state) % n;
}

static void
fail(const char *what, const struct event *event, const char *status)
{
    if (!atomic_exchange(&failed, true))
        snprintf(failure, sizeof(failure), "%s: kind %d of key %u: %s", what, event->kind,
                 event->key, status);
}

static struct event
choose(struct client *client)
{
    static const uint8_t on_register[] = {
        GET, GET, GET, GET, PUT, PUT, PUT_IF_ABSENT, PUT_IF_VERSION, PUT_IF_VERSION, DELETE
    };
    static const uint8_t on_counter[] = { GET, GET, INCR, INCR, INCR, INCR, INCR, INCR };
    struct event event = { .client = client->id };

    if (below(&client->random, 10) == 0) {
        event.key = REGISTERS + below(&client->random, COUNTERS);
        event.kind = on_counter[below(&client->random, sizeof(on_counter))];
        event.delta = event.kind == INCR ? 1 + (int64_t)below(&client->random, 1000) : 0;
        if (event.kind == GET && below(&client->random, 20) == 0)
            event.kind = DELETE;
        return event;
    }
    event.key = below(&client->random, below(&client->random, 2) == 0 ? HOT : REGISTERS);
    event.kind = on_register[below(&client->random, sizeof(on_register))];
    if (event.kind == PUT_IF_VERSION && client->known[event.key] == 0)
        event.kind = GET;
    if (event.kind != GET && event.kind != DELETE)
        event.value = atomic_fetch_add(&next_value, 1);
    if (event.kind == PUT_IF_VERSION)
        event.expected = client->known[event.key];
    return event;
}

static enum brd_status
encode(struct client *client, const struct event *event)
{
    struct brd_put_options put = { .size = sizeof(put), .if_version = event->expected };
    struct brd_conn *conn = client->link.conn;
    char name[32], text[32];
    struct brd_bytes key =
        brd_bytes(name, (size_t)snprintf(name, sizeof(name), "lin/%u", event->key));
    struct brd_bytes value =
        brd_bytes(text, (size_t)snprintf(text, sizeof(text), "%" PRId64, event->value));

    switch ((enum event_kind)event->kind) {
    case GET:
        return brd_conn_get(conn, key, NULL);
    case DELETE:
        return brd_conn_delete(conn, &key, 1, NULL, NULL);
    case INCR:
        return brd_conn_incr(conn, key, event->delta, NULL, NULL);
    case PUT_IF_ABSENT:
        put.condition = BRD_IF_ABSENT;
        break;
    case PUT_IF_VERSION:
        put.condition = BRD_IF_VERSION;
        break;
    default:
        break;
    }
    return brd_conn_put(conn, key, value, &put, NULL);
}

/* Is it an answer that this request may have? */
static bool
answer_fits(const struct event *event, const struct brd_reply *reply)
{
    switch (reply->status) {
    case BRD_OK:
        return event->kind == GET                             ? reply->has_value
               : event->kind == DELETE || event->kind == INCR ? reply->has_number
                                                              : reply->version != 0;
    case BRD_NOT_FOUND:
        return event->kind == GET || event->kind == PUT_IF_VERSION;
    case BRD_EXISTS:
        return event->kind == PUT_IF_ABSENT;
    case BRD_VERSION_MISMATCH:
        return event->kind == PUT_IF_VERSION;
    default:
        return false;
    }
}

static void
note_answer(struct client *client, struct event *event, const struct brd_reply *reply)
{
    char text[32] = "";

    if (!answer_fits(event, reply)) {
        fail("not an answer", event, brd_status_name(reply->status));
        return;
    }
    event->return_ns = mono_ns();
    event->status = (int8_t)reply->status;
    /* Where a condition failed the version is that of what was met, not of a write. */
    event->version = reply->status == BRD_OK ? reply->version : 0;
    if (reply->status == BRD_OK && event->kind == GET && reply->value.size < sizeof(text)) {
        memcpy(text, reply->value.data, reply->value.size);
        event->value = strtoll(text, NULL, 10);
    }
    if (event->kind == DELETE || event->kind == INCR)
        event->value = reply->number;
    if (event->key < REGISTERS && reply->version != 0 && event->kind != DELETE)
        client->known[event->key] = reply->version;
}

static void
keep(struct client *client, const struct event *event)
{
    if (client->count == client->room) {
        size_t room = client->room == 0 ? 4096 : client->room * 2;
        struct event *events = realloc(client->events, room * sizeof(*events));

        if (events == NULL)
            abort();
        client->events = events;
        client->room = room;
    }
    client->events[client->count++] = *event;
}

static void
end_it(void)
{
    /* Not asked of `done`: others may be about to count what they did before this. */
    if (atomic_exchange(&stopping, true) || stop_at == operations)
        return;
    if (cut_dir[0] != '\0' && !cut_power(cut_dir) && !atomic_exchange(&failed, true))
        snprintf(failure, sizeof(failure), "the file system of %s cannot be shut down", cut_dir);
    kill(victim, SIGKILL);
}

/* The answer, or NULL: it did not come before the end began. After a cut the daemon
 * may take its time to die in the kernel; nobody waits for that. */
static const struct brd_reply *
wait_answer(struct client *client)
{
    const struct brd_reply *reply = NULL;
    enum link_event event = LINK_MOVED;
    int silent_ms = 0;

    while (event != LINK_ENDED && silent_ms < TIMEOUT_MS && !atomic_load(&stopping)) {
        if (brd_conn_next_reply(client->link.conn, &reply) == BRD_CONN_REPLY)
            return reply;
        event = link_exchange(&client->link, POLL_MS);
        silent_ms = event == LINK_SILENT ? silent_ms + POLL_MS : 0;
    }
    return NULL;
}

/* One request and its answer. False: there is no connection any more. */
static bool
operate(struct client *client)
{
    struct event event = choose(client);
    const struct brd_reply *reply;

    if (think_ms > 0)
        (void)poll(NULL, 0, (int)below(&client->random, think_ms + 1));
    event.call_ns = mono_ns();
    event.return_ns = EVENT_NO_RETURN;
    event.status = EVENT_PENDING;
    if (encode(client, &event) != BRD_OK)
        abort();
    reply = wait_answer(client);
    /* Asked after the answer was taken: what came later may not count. */
    if (reply == NULL || atomic_load(&stopping)) {
        if (!atomic_load(&stopping))
            fail("no answer", &event, "connection lost or silent");
        if (event.kind == INCR || event.kind == DELETE)
            event.value = 0;
        if (event.kind != GET)
            keep(client, &event);
        return false;
    }
    note_answer(client, &event, reply);
    keep(client, &event);
    if (atomic_fetch_add(&done, 1) + 1 >= stop_at)
        end_it();
    return true;
}

static void *
operate_until_the_end(void *arg)
{
    struct client *client = arg;

    if (link_open(&client->link, address))
        while (!atomic_load(&failed) && !atomic_load(&stopping) && operate(client))
            ;
    else if (!atomic_load(&stopping))
        fail("no connection", &(struct event){ 0 }, address);
    link_close(&client->link);
    return NULL;
}

static void
run(void)
{
    int i;

    atomic_store(&stopping, false);
    for (i = 0; i < CLIENTS; i++)
        if (pthread_create(&clients[i].thread, NULL, operate_until_the_end, &clients[i]) != 0)
            abort();
    for (i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
}

static bool
save(const char *path)
{
    FILE *file = fopen(path, "wbe");
    bool good = file != NULL;
    int i;

    for (i = 0; i < CLIENTS && good; i++)
        good = clients[i].count == 0 || fwrite(clients[i].events, sizeof(*clients[i].events),
                                               clients[i].count, file) == clients[i].count;
    return file != NULL && fclose(file) == 0 && good;
}

static bool
parse(char *line)
{
    char *rest = NULL;
    const char *words[5] = { NULL };
    int i;

    for (i = 0; i < 5; i++)
        words[i] = strtok_r(i == 0 ? line : NULL, " \n", &rest);
    if (words[3] == NULL || strcmp(words[0], "run") != 0)
        return false;
    snprintf(address, sizeof(address), "%s", words[1]);
    stop_at = strtoull(words[2], NULL, 10);
    victim = (pid_t)strtol(words[3], NULL, 10);
    snprintf(cut_dir, sizeof(cut_dir), "%s", words[4] != NULL ? words[4] : "");
    if (stop_at > operations)
        stop_at = operations;
    return victim > 0;
}

int
main(int argc, char **argv)
{
    const char *seed = getenv("SEED");
    const char *think = getenv("THINK_MS");
    unsigned int random = (unsigned int)strtoul(seed != NULL ? seed : "1", NULL, 10);
    char line[512];
    uint16_t i;

    if (argc != 3)
        return 64;
    operations = strtoull(argv[2], NULL, 10);
    think_ms = think != NULL ? (unsigned int)strtoul(think, NULL, 10) : 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (i = 0; i < CLIENTS; i++) {
        clients[i].id = i;
        clients[i].random = (unsigned int)rand_r(&random);
        clients[i].link.fd = -1;
    }
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (!parse(line)) {
            printf("FAIL a command that is none\n");
            continue;
        }
        run();
        if (stop_at == operations && !save(argv[1]))
            printf("FAIL %s cannot be written\n", argv[1]);
        else if (atomic_load(&failed))
            printf("FAIL %s\n", failure);
        else
            printf("%s %" PRIu64 "\n", stop_at == operations ? "end" : "down", atomic_load(&done));
    }
    for (i = 0; i < CLIENTS; i++)
        free(clients[i].events);
    return 0;
}
