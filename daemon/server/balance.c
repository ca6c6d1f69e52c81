/* When to hand connections over, and to whom.
 *
 * A worker looks now and then how busy it has been since its last look. Was it
 * busy for most of the time, it notes how busy all workers have been so far, and
 * at the next look compares: is the idlest one behind it by a good deal, half of
 * the difference moves, measured in connections that were active meanwhile. So
 * it takes two looks in a row, and after a move the two are equal, which is the
 * hysteresis: nothing swings back. A worker that is not busy never asks, and
 * nobody is woken in order to be asked.
 *
 * Busy is the time that a thread ran or waited for a core, as the kernel counts
 * it. Requests would not do, because they differ by a factor of a thousand. CPU
 * time alone would not either: where there are more threads than cores a worker
 * that gets none looks idle, and would be given more (73 moves in five seconds
 * where 20 were due). Where the system does not tell, nothing moves.
 *
 * A single busy connection stays where it is: moving it would only move the
 * problem. Only a connection between two requests moves (conn_hand_over): what
 * stays with its worker then is nothing, and its next bytes wait in the socket. */
#include "server/balance.h"

#include "server/conn.h"

#include <stdlib.h>

#define LOOK_AT_MOST 1024 /* connections, to find those that are active */

enum brd_status
balance_init(struct balance *balance, uint32_t workers)
{
    *balance = (struct balance){ .from_ns = calloc(workers, sizeof(*balance->from_ns)) };
    return balance->from_ns != NULL ? BRD_OK : BRD_OUT_OF_MEMORY;
}

void
balance_fini(struct balance *balance)
{
    free(balance->from_ns);
    balance->from_ns = NULL;
}

static uint64_t
permille(uint64_t busy_ns, uint64_t wall_ns)
{
    return busy_ns * 1000 / wall_ns;
}

uint32_t
balance_choose(const uint64_t *busy_ns, uint32_t count, uint32_t own, uint64_t wall_ns,
               const struct brd_server_balance *rules, uint32_t *out_share)
{
    uint32_t idlest = own;
    uint32_t i;

    *out_share = 0;
    for (i = 0; i < count; i++)
        if (busy_ns[i] < busy_ns[idlest])
            idlest = i;
    if (idlest == own || busy_ns[own] == UINT64_MAX || wall_ns == 0 ||
        permille(busy_ns[own], wall_ns) < rules->busy_permille ||
        permille(busy_ns[own] - busy_ns[idlest], wall_ns) < rules->gap_permille)
        return own;
    *out_share = (uint32_t)(permille(busy_ns[own] - busy_ns[idlest], busy_ns[own]) / 2);
    return idlest;
}

/* How busy a worker has been since it had been so for from_ns; UINT64_MAX where
 * that is not known. */
static uint64_t
busy_since(const struct worker *of, uint64_t from_ns)
{
    uint64_t busy_ns = brd_thread_busy_ns(atomic_load_explicit(&of->busy_fd, memory_order_acquire));

    return busy_ns != UINT64_MAX && busy_ns >= from_ns ? busy_ns - from_ns : UINT64_MAX;
}

/* Hand a share of the connections over that were active since then. */
static void
hand_over(struct worker *worker, struct worker *to, uint32_t share, uint64_t since_ns)
{
    struct conn *found[LOOK_AT_MOST] = { NULL }; /* for the analyzer: the first `count` are set */
    struct conn *conn = TAILQ_FIRST(&worker->all);
    uint32_t looked = 0;
    uint32_t count = 0;
    uint32_t i;

    for (; conn != NULL && looked < LOOK_AT_MOST; conn = TAILQ_NEXT(conn, all_link), looked++)
        if (conn->active_ns >= since_ns)
            found[count++] = conn;
    BRD_CHECK(share <= 1000);
    for (i = 0; i < count && i < count * share / 1000; i++)
        conn_hand_over(found[i], to);
}

static void
compare(struct worker *worker, uint64_t wall_ns)
{
    struct brd_server *server = worker->server;
    struct balance *balance = &worker->balance;
    uint32_t count = server->options.workers;
    uint32_t share;
    uint32_t to;
    uint32_t i;

    for (i = 0; i < count; i++)
        balance->from_ns[i] = busy_since(&server->workers[i], balance->from_ns[i]);
    to = balance_choose(balance->from_ns, count, worker->index, wall_ns, &server->options.balance,
                        &share);
    if (to != worker->index)
        hand_over(worker, &server->workers[to], share, balance->since_ns);
}

void
balance_check(struct worker *worker)
{
    struct brd_server *server = worker->server;
    const struct brd_server_balance *rules = &server->options.balance;
    struct balance *balance = &worker->balance;
    uint64_t now_ns = worker->now_ns;
    uint64_t own_ns;
    bool busy;
    uint32_t i;

    if (rules->interval_ns == 0 || server->options.workers == 1 || now_ns < balance->next_ns ||
        worker->draining)
        return;
    balance->next_ns = now_ns + rules->interval_ns;
    own_ns = busy_since(worker, 0);
    if (own_ns == UINT64_MAX)
        return;
    busy = now_ns > balance->looked_ns &&
           permille(own_ns - balance->own_ns, now_ns - balance->looked_ns) >= rules->busy_permille;
    balance->own_ns = own_ns;
    balance->looked_ns = now_ns;
    if (busy && balance->since_ns != 0) {
        compare(worker, now_ns - balance->since_ns);
        balance->since_ns = 0; /* what was moved shows in the looks after the next */
    } else if (busy) {
        for (i = 0; i < server->options.workers; i++)
            balance->from_ns[i] = busy_since(&server->workers[i], 0);
        balance->since_ns = now_ns;
    } else {
        balance->since_ns = 0;
    }
}
