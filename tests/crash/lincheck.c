/* Is a history linearizable?
 *
 *   crash_lincheck check FILE            exit 0 yes, 1 no (says where), 2 not decided
 *   crash_lincheck prove SEED COUNT      the checker's own test: COUNT histories that
 *                                        are right must pass, COUNT planted faults of
 *                                        each kind must be found; exit 0 or 1
 *
 * A history is right if every operation can be thought to happen at one moment
 * between its call and its return, so that in the order of these moments every
 * answer is the one that the specification demands. Keys are independent of each
 * other (the property is local: Herlihy and Wing, 1990), so each is searched alone.
 *
 * The search is that of Wing and Gong (1993): whoever was called before the first
 * return of those that are left may come next; try one, go on, step back where
 * nobody fits. As Lowe (2017) found, remembering every pair of (what has happened,
 * state) that led nowhere makes it fast: here a 128-bit hash of both, kept up to
 * date by one xor for each step. A write that was never answered may come at any
 * moment after its call, or never; struct way says when it is tried.
 *
 * The specification: put, conditional puts, delete, incr and get of one key, and
 * versions, which rise with every write, also across restarts. Where a write was
 * not answered its version is not known; a later read tells it. */
#include <brindle.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "history.h"

#define WAYS_MAX  UINT64_C(200000000) /* looked at for one key, before it is given up */
#define CHAIN_MAX 12

/* ---- specification ------------------------------------------------------ */

struct state {
    int64_t value;
    uint64_t version; /* of the newest write; if not known, less than it */
    bool known;
    bool present;
};

static bool
version_may_be(const struct state *state, uint64_t version)
{
    return state->known ? state->version == version : version > state->version;
}

/* A write whose answer told this version, or told none (0). */
static bool
write_state(struct state *state, bool present, int64_t value, uint64_t version)
{
    if (version != 0 && version <= state->version)
        return false;
    state->present = present;
    state->value = value;
    state->known = version != 0;
    if (version != 0)
        state->version = version;
    return true;
}

static bool
apply_get(struct state *state, const struct event *event)
{
    if (event->status == BRD_NOT_FOUND)
        return !state->present;
    if (!state->present || state->value != event->value)
        return false;
    if (event->version == 0)
        return true;
    if (!version_may_be(state, event->version))
        return false;
    state->version = event->version;
    state->known = true;
    return true;
}

static bool
apply_put_if_version(struct state *state, const struct event *event)
{
    bool same = state->present && version_may_be(state, event->expected);

    switch (event->status) {
    case BRD_NOT_FOUND:
        return !state->present;
    case BRD_VERSION_MISMATCH:
        return state->present && !(state->known && state->version == event->expected);
    default:
        if (!same)
            return false;
        state->version = event->expected;
        return write_state(state, true, event->value, event->version);
    }
}

static bool
apply_delete(struct state *state, const struct event *event)
{
    if (event->status != EVENT_PENDING && event->value == 0)
        return !state->present;
    return state->present && write_state(state, false, 0, event->version);
}

/* Take one step. False: the answer cannot be that of this state. Of an operation
 * without answer, also: it would change nothing. */
static bool
apply(struct state *state, const struct event *event)
{
    int64_t sum;

    switch ((enum event_kind)event->kind) {
    case GET:
        return apply_get(state, event);
    case PUT:
        return write_state(state, true, event->value, event->version);
    case PUT_IF_ABSENT:
        if (event->status == BRD_EXISTS)
            return state->present;
        return !state->present && write_state(state, true, event->value, event->version);
    case PUT_IF_VERSION:
        return apply_put_if_version(state, event);
    case DELETE:
        return apply_delete(state, event);
    case INCR:
        sum = (state->present ? state->value : 0) + event->delta;
        if (event->status != EVENT_PENDING && sum != event->value)
            return false;
        return write_state(state, true, sum, event->version);
    case EVENT_KINDS:
        break;
    }
    return false;
}

/* ---- memory of what led nowhere ----------------------------------------- */

struct mark {
    uint64_t a, b;
};

struct marks {
    struct mark *slots; /* {0, 0}: empty */
    size_t room, count;
};

static uint64_t
mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static struct mark
mark_of_event(size_t index)
{
    struct mark mark = { mix(index * 2 + UINT64_C(0x9e3779b97f4a7c15)),
                         mix(index * 2 + UINT64_C(0x7f4a7c159e3779b9)) };

    return mark;
}

static struct mark
mark_of_state(struct mark done, const struct state *state)
{
    uint64_t words[3] = { (uint64_t)state->value, state->version,
                          (uint64_t)state->known * 2 + state->present };
    int i;

    for (i = 0; i < 3; i++) {
        done.a = mix(done.a + words[i] + UINT64_C(0x632be59bd9b4e019));
        done.b = mix(done.b ^ (words[i] + UINT64_C(0xd6e8feb86659fd93)));
    }
    return done;
}

/* False: it was there. */
static bool
marks_add(struct marks *marks, struct mark mark)
{
    size_t i;

    if (marks->count * 2 >= marks->room) {
        struct marks larger = { .room = marks->room == 0 ? 4096 : marks->room * 2 };

        larger.slots = calloc(larger.room, sizeof(*larger.slots));
        if (larger.slots == NULL)
            abort();
        for (i = 0; i < marks->room; i++)
            if (marks->slots[i].a != 0 || marks->slots[i].b != 0)
                marks_add(&larger, marks->slots[i]);
        free(marks->slots);
        *marks = larger;
    }
    for (i = mark.a & (marks->room - 1); marks->slots[i].a != 0 || marks->slots[i].b != 0;
         i = (i + 1) & (marks->room - 1))
        if (marks->slots[i].a == mark.a && marks->slots[i].b == mark.b)
            return false;
    marks->slots[i] = mark;
    marks->count++;
    return true;
}

/* ---- search ------------------------------------------------------------- */

/* One way to go on: an answered operation, and before it, only if its answer
 * cannot be had without, writes that were never answered.
 *
 * That is enough. An unanswered write whose successor in some order could have had
 * its answer without it can be moved behind that successor, or left out where the
 * successor overwrites it; and one that is followed by another that does not look
 * at the state can be left out. */
struct way {
    size_t event;
    struct state state; /* after it */
    uint32_t chain[CHAIN_MAX];
    uint32_t chained;
};

struct step {
    struct way *ways; /* owned */
    size_t count, next;
    struct state before;
    struct mark done_before;
    size_t first_before;
};

struct search {
    const struct event *events; /* of one key: answered by call, then unanswered */
    size_t answered, count;
    bool *happened;
    size_t first; /* all answered before it have happened */
    struct mark done;
    struct state state;
    struct step *steps; /* one for each answered that has happened, and one */
    size_t depth;
    struct marks nowhere;
    uint64_t ways_seen;
    size_t deepest;     /* most answered ones that happened in one order */
    size_t stuck_event; /* the first to return of those left, then */
};

/* Of those answered that have not happened: when the first of them returned. */
static uint64_t
first_return(const struct search *search, size_t *out_event)
{
    uint64_t first_ns = UINT64_MAX;
    size_t i;

    for (i = search->first; i < search->answered && search->events[i].call_ns < first_ns; i++)
        if (!search->happened[i] && search->events[i].return_ns < first_ns) {
            first_ns = search->events[i].return_ns;
            *out_event = i;
        }
    return first_ns;
}

static void
add_way(struct step *step, const struct way *way)
{
    struct way *ways = step->ways;

    if ((step->count & (step->count - 1)) == 0) {
        ways = realloc(step->ways, (step->count == 0 ? 1 : step->count * 2) * sizeof(*ways));
        if (ways == NULL)
            abort();
        step->ways = ways;
    }
    ways[step->count++] = *way;
}

/* Try unanswered writes, from number `from` on, between way->state and its event. */
static void
add_chains(struct search *search, struct step *step, const struct way *way, size_t from,
           uint64_t until_ns)
{
    const struct event *wanted = &search->events[way->event];
    size_t i;

    if (way->chained == CHAIN_MAX)
        return;
    for (i = from; i < search->count; i++) {
        const struct event *event = &search->events[i];
        struct way longer = *way;
        struct state state;
        bool counts = event->kind == INCR;

        if (search->happened[i] || event->call_ns > until_ns ||
            (way->chained > 0 && event->kind == PUT) || !apply(&longer.state, event))
            continue;
        /* Sums only grow, in any order: do not go beyond what is asked for. */
        if (counts && (wanted->kind == GET || wanted->kind == INCR) &&
            longer.state.value > wanted->value)
            continue;
        longer.chain[longer.chained++] = (uint32_t)i;
        search->ways_seen++;
        state = longer.state;
        if (apply(&state, wanted)) {
            struct way whole = longer;

            whole.state = state;
            add_way(step, &whole);
        } else {
            search->happened[i] = true;
            add_chains(search, step, &longer, counts ? i + 1 : search->answered, until_ns);
            search->happened[i] = false;
        }
    }
}

/* Where can it go from here? */
static void
look_around(struct search *search)
{
    struct step *step = &search->steps[search->depth];
    size_t stuck = 0;
    uint64_t until_ns = first_return(search, &stuck);
    size_t i;

    *step = (struct step){ .before = search->state,
                           .done_before = search->done,
                           .first_before = search->first };
    if (search->depth >= search->deepest) {
        search->deepest = search->depth;
        search->stuck_event = stuck;
    }
    for (i = search->first; i < search->answered && search->events[i].call_ns <= until_ns; i++) {
        struct way way = { .event = i, .state = search->state };

        if (search->happened[i])
            continue;
        search->ways_seen++;
        if (apply(&way.state, &search->events[i])) {
            add_way(step, &way);
        } else {
            way.state = search->state;
            add_chains(search, step, &way, search->answered, until_ns);
        }
    }
}

static void
flip(struct search *search, const struct way *way, bool happened)
{
    uint32_t i;

    search->happened[way->event] = happened;
    for (i = 0; i < way->chained; i++)
        search->happened[way->chain[i]] = happened;
}

static struct mark
mark_of_way(struct mark done, const struct way *way)
{
    uint32_t i;

    for (i = 0; i <= way->chained; i++) {
        struct mark bits = mark_of_event(i < way->chained ? way->chain[i] : way->event);

        done.a ^= bits.a;
        done.b ^= bits.b;
    }
    return done;
}

/* Take the next way that was not tried from anywhere. False: there is none. */
static bool
go_on(struct search *search)
{
    struct step *step = &search->steps[search->depth];

    while (step->next < step->count) {
        const struct way *way = &step->ways[step->next++];
        struct mark done = mark_of_way(step->done_before, way);

        if (!marks_add(&search->nowhere, mark_of_state(done, &way->state)))
            continue;
        search->state = way->state;
        search->done = done;
        flip(search, way, true);
        while (search->first < search->answered && search->happened[search->first])
            search->first++;
        search->depth++;
        return true;
    }
    return false;
}

/* False: this was the beginning. */
static bool
step_back(struct search *search)
{
    struct step *step = &search->steps[search->depth];

    free(step->ways);
    *step = (struct step){ 0 };
    if (search->depth == 0)
        return false;
    step = &search->steps[--search->depth];
    flip(search, &step->ways[step->next - 1], false);
    search->state = step->before;
    search->done = step->done_before;
    search->first = step->first_before;
    return true;
}

enum verdict { RIGHT, WRONG, UNDECIDED };

static enum verdict
search_run(struct search *search)
{
    look_around(search);
    while (search->depth < search->answered) {
        if (search->ways_seen > WAYS_MAX)
            return UNDECIDED;
        if (go_on(search)) {
            if (search->depth < search->answered)
                look_around(search);
        } else if (!step_back(search)) {
            return WRONG;
        }
    }
    return RIGHT;
}

/* Judge the events of one key. */
static enum verdict
judge_key(const struct event *events, size_t count, struct event *out_stuck)
{
    struct search search = { .events = events, .count = count };
    enum verdict verdict;
    size_t i;

    while (search.answered < count && events[search.answered].status != EVENT_PENDING)
        search.answered++;
    search.happened = calloc(count, sizeof(*search.happened));
    search.steps = calloc(search.answered + 1, sizeof(*search.steps));
    if (search.happened == NULL || search.steps == NULL)
        abort();
    verdict = search_run(&search);
    if (verdict == WRONG)
        *out_stuck = events[search.stuck_event];
    for (i = 0; i <= search.answered; i++)
        free(search.steps[i].ways);
    free(search.happened);
    free(search.steps);
    free(search.nowhere.slots);
    return verdict;
}

static int
by_key_and_call(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    bool x_pending = x->status == EVENT_PENDING, y_pending = y->status == EVENT_PENDING;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x_pending != y_pending)
        return x_pending ? 1 : -1;
    return x->call_ns < y->call_ns ? -1 : x->call_ns > y->call_ns;
}

/* Judge a history; sorts it. */
static enum verdict
judge(struct event *events, size_t count, struct event *out_stuck)
{
    enum verdict verdict = RIGHT;
    size_t from = 0, to;

    qsort(events, count, sizeof(*events), by_key_and_call);
    for (; from < count && verdict == RIGHT; from = to) {
        for (to = from; to < count && events[to].key == events[from].key; to++)
            ;
        verdict = judge_key(events + from, to - from, out_stuck);
    }
    return verdict;
}

/* ---- a file ------------------------------------------------------------- */

static struct event *
load(const char *path, size_t *out_count)
{
    FILE *file = fopen(path, "rbe");
    struct event *events = NULL;
    long size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) <= 0 ||
        (size_t)size % sizeof(*events) != 0) {
        fprintf(stderr, "%s is no history\n", path);
        exit(2);
    }
    events = malloc((size_t)size);
    rewind(file);
    if (events == NULL || fread(events, (size_t)size, 1, file) != 1) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(2);
    }
    fclose(file);
    *out_count = (size_t)size / sizeof(*events);
    return events;
}

static void
print_event(const struct event *event, uint64_t since_ns)
{
    static const char *const names[EVENT_KINDS] = { "get",           "put",
                                                    "put_if_absent", "put_if_version",
                                                    "delete",        "incr" };
    char back[32] = "never";

    if (event->return_ns != EVENT_NO_RETURN)
        snprintf(back, sizeof(back), "%.6f", (double)(event->return_ns - since_ns) / 1e9);
    printf("  %.6f .. %s  client %u: %s key %u: %s, value %" PRId64 ", delta %" PRId64
           ", version %" PRIu64 ", if_version %" PRIu64 "\n",
           (double)(event->call_ns - since_ns) / 1e9, back, event->client, names[event->kind],
           event->key,
           event->status == EVENT_PENDING ? "unanswered"
                                          : brd_status_name((enum brd_status)event->status),
           event->value, event->delta, event->version, event->expected);
}

/* Those around the one that could not happen. */
static void
print_around(const struct event *events, size_t count, const struct event *stuck)
{
    uint64_t since_ns = UINT64_MAX;
    size_t i, at = 0, shown = 0;

    for (i = 0; i < count; i++) {
        since_ns = events[i].call_ns < since_ns ? events[i].call_ns : since_ns;
        if (events[i].key == stuck->key && events[i].call_ns == stuck->call_ns)
            at = i;
    }
    printf("no order explains the answer to this:\n");
    print_event(stuck, since_ns);
    printf("what happened on that key around it:\n");
    for (i = at > 16 ? at - 16 : 0; i < count && shown < 24; i++)
        if (events[i].key == stuck->key) {
            print_event(&events[i], since_ns);
            shown++;
        }
}

static int
check_file(const char *path)
{
    struct event stuck = { 0 };
    size_t count, i, pending = 0;
    struct event *events = load(path, &count);
    enum verdict verdict = judge(events, count, &stuck);

    for (i = 0; i < count; i++)
        pending += events[i].status == EVENT_PENDING;
    if (verdict == WRONG)
        print_around(events, count, &stuck);
    printf("%s: %zu operations, %zu writes unanswered\n",
           verdict == RIGHT   ? "linearizable"
           : verdict == WRONG ? "not linearizable"
                              : "not decided",
           count, pending);
    free(events);
    return (int)verdict;
}

/* ---- the checker's own test --------------------------------------------- */

#define SIM_CLIENTS 8
#define SIM_EVENTS  240

enum fault { STALE_READ, RESURRECTED, LOST_WRITE, STALE_COUNTER, LOST_INCR, WRONG_CAS, FAULTS };

static const char *const fault_names[FAULTS] = {
    "stale read",    "deleted value read", "lost write",
    "stale counter", "lost increment",     "conditional put on an old version"
};

static unsigned int
below(unsigned int *state, unsigned int n)
{
    return (unsigned int)rand_r(state) % n;
}

/* What a correct store answers; changes state. */
static void
simulate_answer(struct event *event, struct state *state, uint64_t *version)
{
    bool writes = true;

    event->status = BRD_OK;
    if (event->kind == GET) {
        event->status = state->present ? BRD_OK : BRD_NOT_FOUND;
        event->value = state->present ? state->value : 0;
        event->version = state->present ? state->version : 0;
        writes = false;
    } else if (event->kind == PUT_IF_ABSENT && state->present) {
        event->status = BRD_EXISTS;
        writes = false;
    } else if (event->kind == PUT_IF_VERSION && !state->present) {
        event->status = BRD_NOT_FOUND;
        writes = false;
    } else if (event->kind == PUT_IF_VERSION && state->version != event->expected) {
        event->status = BRD_VERSION_MISMATCH;
        writes = false;
    } else if (event->kind == DELETE) {
        event->value = state->present;
        writes = state->present;
    } else if (event->kind == INCR) {
        event->value = (state->present ? state->value : 0) + event->delta;
    }
    if (!writes)
        return;
    event->version = *version += 1 + (event->call_ns & 3);
    *state = (struct state){ event->value, event->version, true, event->kind != DELETE };
}

/* A correct history of one key: SIM_CLIENTS in a closed loop, each operation with
 * its moment between call and return; some are never answered, and of those some
 * never happen. */
static void
simulate(struct event *events, unsigned int *random, bool counter)
{
    struct {
        size_t event;
        uint64_t moment_ns;
    } running[SIM_CLIENTS];
    struct state state = { 0 };
    uint64_t now_ns = 1000, version = 5, known = 0;
    size_t made = 0, ended = 0;
    uint16_t c;

    for (c = 0; c < SIM_CLIENTS; c++)
        running[c].event = SIZE_MAX;
    while (ended < SIM_EVENTS) {
        c = (uint16_t)below(random, SIM_CLIENTS);
        now_ns += 1 + below(random, 20);
        if (running[c].event == SIZE_MAX) {
            static const uint8_t registers[] = { GET,   GET,           PUT,
                                                 PUT,   PUT_IF_ABSENT, PUT_IF_VERSION,
                                                 DELETE };
            struct event *event = &events[made];

            if (made == SIM_EVENTS)
                continue;
            *event = (struct event){ .call_ns = now_ns, .client = c, .expected = known };
            event->kind = counter ? (below(random, 3) == 0 ? GET : INCR)
                                  : registers[below(random, sizeof(registers))];
            event->value = event->kind == GET || event->kind == DELETE ? 0 : (int64_t)made + 1;
            event->delta = event->kind == INCR ? 1 + (int64_t)below(random, 50) : 0;
            running[c].event = made++;
            running[c].moment_ns = 0;
        } else if (running[c].moment_ns == 0) {
            struct event *event = &events[running[c].event];
            bool lost = event->kind != GET && below(random, 60) == 0;

            running[c].moment_ns = now_ns;
            if (!lost || below(random, 2) == 0)
                simulate_answer(event, &state, &version);
            if (state.present && below(random, 3) == 0)
                known = state.version;
            if (lost) {
                event->status = EVENT_PENDING;
                event->return_ns = EVENT_NO_RETURN;
                event->version = 0;
                event->value = event->kind == DELETE || event->kind == INCR
                                   ? 0
                                   : (int64_t)running[c].event + 1;
                running[c].event = SIZE_MAX;
                ended++;
            }
        } else {
            events[running[c].event].return_ns = now_ns;
            running[c].event = SIZE_MAX;
            ended++;
        }
    }
}

static bool
wrote(const struct event *event, int64_t value)
{
    return event->value == value && event->status == BRD_OK &&
           (event->kind == PUT || event->kind == PUT_IF_ABSENT || event->kind == PUT_IF_VERSION);
}

static bool
before(const struct event *a, const struct event *b)
{
    return a->return_ns < b->call_ns;
}

/* Make `read` tell the value of an answered write that an answered put or delete
 * had replaced before the read began: no order can explain that. */
static bool
plant_stale(struct event *events, unsigned int *random, bool by_delete)
{
    size_t tries;

    for (tries = 0; tries < 20000; tries++) {
        const struct event *old = &events[below(random, SIM_EVENTS)];
        const struct event *newer = &events[below(random, SIM_EVENTS)];
        struct event *read = &events[below(random, SIM_EVENTS)];
        bool replaces = by_delete
                            ? newer->kind == DELETE && newer->status == BRD_OK && newer->value == 1
                            : wrote(newer, newer->value);

        if (!wrote(old, old->value) || !replaces || read->kind != GET ||
            read->status == EVENT_PENDING || !before(old, newer) || !before(newer, read))
            continue;
        read->status = BRD_OK;
        read->value = old->value;
        /* Without the version only the values can tell. */
        read->version = below(random, 2) == 0 ? old->version : 0;
        return true;
    }
    return false;
}

/* Make a read miss a key that an answered put had written, with no delete in sight. */
static bool
plant_lost_write(struct event *events, unsigned int *random)
{
    size_t tries, i;

    for (tries = 0; tries < 20000; tries++) {
        const struct event *write = &events[below(random, SIM_EVENTS)];
        struct event *read = &events[below(random, SIM_EVENTS)];

        if (!wrote(write, write->value) || read->kind != GET || !before(write, read) ||
            read->status != BRD_OK)
            continue;
        for (i = 0; i < SIM_EVENTS; i++)
            if (events[i].kind == DELETE && !before(&events[i], write) && !before(read, &events[i]))
                break;
        if (i < SIM_EVENTS)
            continue;
        read->status = BRD_NOT_FOUND;
        read->value = 0;
        read->version = 0;
        return true;
    }
    return false;
}

/* Counters only grow here. */
static bool
plant_on_counter(struct event *events, unsigned int *random, bool read)
{
    size_t tries;

    for (tries = 0; tries < 20000; tries++) {
        const struct event *first = &events[below(random, SIM_EVENTS)];
        struct event *then = &events[below(random, SIM_EVENTS)];
        int64_t least = first->value + (read ? 0 : then->delta);

        if (first->kind != INCR || first->status != BRD_OK || !before(first, then) ||
            then->status != BRD_OK || then->kind != (read ? GET : INCR))
            continue;
        then->value = least - 1 - (int64_t)below(random, 5);
        then->version = below(random, 2) == 0 ? then->version : 0;
        return true;
    }
    return false;
}

/* Make a conditional put succeed although its version had been replaced. */
static bool
plant_wrong_cas(struct event *events, unsigned int *random)
{
    size_t tries;

    for (tries = 0; tries < 20000; tries++) {
        const struct event *old = &events[below(random, SIM_EVENTS)];
        const struct event *newer = &events[below(random, SIM_EVENTS)];
        struct event *cas = &events[below(random, SIM_EVENTS)];

        if (!wrote(old, old->value) || !wrote(newer, newer->value) || cas->kind != PUT_IF_VERSION ||
            cas->status != BRD_VERSION_MISMATCH || !before(old, newer) || !before(newer, cas))
            continue;
        cas->status = BRD_OK;
        cas->expected = old->version;
        cas->version = 0;
        return true;
    }
    return false;
}

static bool
plant(enum fault fault, struct event *events, unsigned int *random)
{
    switch (fault) {
    case STALE_READ:
        return plant_stale(events, random, false);
    case RESURRECTED:
        return plant_stale(events, random, true);
    case LOST_WRITE:
        return plant_lost_write(events, random);
    case STALE_COUNTER:
        return plant_on_counter(events, random, true);
    case LOST_INCR:
        return plant_on_counter(events, random, false);
    case WRONG_CAS:
        return plant_wrong_cas(events, random);
    case FAULTS:
        break;
    }
    return false;
}

static bool
prove_fault(enum fault fault, unsigned int *random, unsigned int wanted)
{
    bool counter = fault == STALE_COUNTER || fault == LOST_INCR;
    struct event events[SIM_EVENTS];
    unsigned int right = 0, planted = 0, caught = 0, made;
    struct event stuck;

    for (made = 0; planted < wanted && made < 20 * wanted; made++) {
        struct event broken[SIM_EVENTS];

        simulate(events, random, counter);
        memcpy(broken, events, sizeof(events));
        right += judge(events, SIM_EVENTS, &stuck) == RIGHT;
        if (!plant(fault, broken, random))
            continue;
        planted++;
        caught += judge(broken, SIM_EVENTS, &stuck) == WRONG;
    }
    printf("%s: %u of %u caught; %u of %u right histories accepted\n", fault_names[fault], caught,
           planted, right, made);
    return planted == wanted && caught == planted && right == made;
}

static int
prove(unsigned int seed, unsigned int wanted)
{
    bool good = true;
    int fault;

    for (fault = 0; fault < FAULTS; fault++)
        good = prove_fault((enum fault)fault, &seed, wanted) && good;
    return good ? 0 : 1;
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check_file(argv[2]);
    if (argc == 4 && strcmp(argv[1], "prove") == 0)
        return prove((unsigned int)strtoul(argv[2], NULL, 10),
                     (unsigned int)strtoul(argv[3], NULL, 10));
    fprintf(stderr, "usage: crash_lincheck check FILE | prove SEED COUNT\n");
    return 64;
}
