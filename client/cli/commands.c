/* What the verbs do: check what was given, call the library, print the reply.
 * Mistakes are found before a connection is made; they leave a sentence in
 * args->error and return OUTCOME_USAGE. */
#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "output.h"
#include "verbs.h"

#define READ_BYTES ((size_t)64 * 1024)

static enum outcome
mistake(struct args *args, const char *sentence)
{
    snprintf(args->error, sizeof(args->error), "%s", sentence);
    return OUTCOME_USAGE;
}

/* A write of which nothing was there to write to is "not found" to a script. */
static enum outcome
not_found_if_zero(const struct cli *cli, enum outcome outcome)
{
    if (outcome == OUTCOME_DONE && brd_result_reply(cli->result)->number == 0)
        return OUTCOME_NOT_FOUND;
    return outcome;
}

/* ---- Values from standard input ----------------------------------------- */

/* A value operand: its bytes, or those of standard input. */
struct value {
    struct brd_bytes bytes;
    char *owned; /* NULL: borrowed from the operand */
};

static bool
read_stdin(struct value *value, struct args *args)
{
    size_t room = 0;
    size_t size = 0;

    for (;;) {
        size_t n;

        if (room - size < READ_BYTES) {
            char *grown = realloc(value->owned, room = 2 * room + READ_BYTES);

            if (grown == NULL) {
                snprintf(args->error, sizeof(args->error), "out of memory");
                return false;
            }
            value->owned = grown;
        }
        n = fread(value->owned + size, 1, room - size, stdin);
        size += n;
        if (size > BRD_FRAME_BYTES_MAX) {
            snprintf(args->error, sizeof(args->error), "standard input holds more than 1 GiB");
            return false;
        }
        if (n == 0)
            break;
    }
    if (ferror(stdin)) {
        snprintf(args->error, sizeof(args->error), "standard input cannot be read");
        return false;
    }
    value->bytes = brd_bytes(value->owned, size);
    return true;
}

/* Operand index, or standard input where it is "-" (but not after --). False: see
 * args->error; the value is to be freed all the same. */
static bool
take_value(const struct cli *cli, struct args *args, size_t index, struct value *value)
{
    struct brd_bytes operand = args->operands[index];

    *value = (struct value){ .bytes = operand };
    if (index >= args->literal_from || operand.size != 1 || memcmp(operand.data, "-", 1) != 0)
        return true;
    if (cli->stdin_has_commands) {
        snprintf(args->error, sizeof(args->error),
                 "- stands for standard input, but that holds the commands; write: -- KEY -");
        return false;
    }
    return read_stdin(value, args);
}

/* ---- Options ------------------------------------------------------------ */

static bool
take_expiry(struct args *args, uint64_t *out_ttl_ms, uint64_t *out_deadline_ms)
{
    if (args->given[ARG_TTL] + args->given[ARG_DEADLINE] + args->given[ARG_KEEP_TTL] > 1) {
        snprintf(args->error, sizeof(args->error),
                 "only one of --ttl, --deadline and --keep-ttl can hold");
        return false;
    }
    return args_take_duration(args, ARG_TTL, out_ttl_ms) &&
           args_take_unsigned(args, ARG_DEADLINE, out_deadline_ms);
}

static bool
take_condition(struct args *args, enum brd_condition *out_condition, uint64_t *out_version)
{
    if (args->given[ARG_IF_ABSENT] + args->given[ARG_IF_PRESENT] + args->given[ARG_IF_VERSION] >
        1) {
        snprintf(args->error, sizeof(args->error),
                 "only one of --if-absent, --if-present and --if-version can hold");
        return false;
    }
    *out_condition = BRD_ALWAYS;
    if (args->given[ARG_IF_ABSENT])
        *out_condition = BRD_IF_ABSENT;
    if (args->given[ARG_IF_PRESENT])
        *out_condition = BRD_IF_PRESENT;
    if (args->given[ARG_IF_VERSION])
        *out_condition = BRD_IF_VERSION;
    return args_take_unsigned(args, ARG_IF_VERSION, out_version);
}

static bool
take_write_options(struct args *args, struct brd_write_options *opts)
{
    BRD_OPTIONS_INIT(opts);
    return args_take_durability(args, &opts->durability);
}

/* ---- Keys --------------------------------------------------------------- */

enum outcome
command_get(struct cli *cli, struct args *args)
{
    enum outcome outcome;
    enum brd_status status;

    if (args->given[ARG_RAW] && cli->format == FORMAT_JSON)
        return mistake(args, "--raw is no JSON; leave out one of the two");
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    status = brd_client_get(cli->client, args->operands[0], cli->result);
    if (args->given[ARG_RAW])
        return output_raw(cli, args->verb, status);
    return output_reply(cli, args->verb, status, SHOW_VALUE, NULL);
}

enum outcome
command_put(struct cli *cli, struct args *args)
{
    struct brd_put_options opts;
    struct value value = { .owned = NULL };
    enum outcome outcome = OUTCOME_USAGE;

    BRD_OPTIONS_INIT(&opts);
    opts.keep_ttl = args->given[ARG_KEEP_TTL];
    opts.return_previous = args->given[ARG_RETURN_PREVIOUS];
    if (take_expiry(args, &opts.ttl_ms, &opts.deadline_ms) &&
        take_condition(args, &opts.condition, &opts.if_version) &&
        args_take_durability(args, &opts.durability) && take_value(cli, args, 1, &value))
        outcome = cli_connect(cli, args->verb);
    if (outcome == OUTCOME_DONE)
        outcome = output_reply(cli, args->verb,
                               brd_client_put(cli->client, args->operands[0], value.bytes, &opts,
                                              cli->result),
                               SHOW_VALUE | SHOW_VERSION, NULL);
    free(value.owned);
    return outcome;
}

enum outcome
command_append(struct cli *cli, struct args *args)
{
    struct brd_write_options opts;
    struct value value = { .owned = NULL };
    enum outcome outcome = OUTCOME_USAGE;

    if (take_write_options(args, &opts) && take_value(cli, args, 1, &value))
        outcome = cli_connect(cli, args->verb);
    if (outcome == OUTCOME_DONE)
        outcome = output_reply(cli, args->verb,
                               brd_client_append(cli->client, args->operands[0], value.bytes, &opts,
                                                 cli->result),
                               SHOW_NUMBER, NULL);
    free(value.owned);
    return outcome;
}

enum outcome
command_delete(struct cli *cli, struct args *args)
{
    struct brd_write_options opts;
    enum outcome outcome;

    if (!take_write_options(args, &opts))
        return OUTCOME_USAGE;
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    outcome = output_reply(cli, args->verb,
                           brd_client_delete(cli->client, args->operands, args->operand_count,
                                             &opts, cli->result),
                           SHOW_NUMBER, NULL);
    return not_found_if_zero(cli, outcome);
}

enum outcome
command_exists(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    outcome = output_reply(cli, args->verb,
                           brd_client_exists(cli->client, args->operands, args->operand_count,
                                             cli->result),
                           SHOW_NUMBER, NULL);
    return not_found_if_zero(cli, outcome);
}

enum outcome
command_getmany(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);
    const struct brd_reply *reply;
    enum brd_status status;
    size_t i;

    if (outcome != OUTCOME_DONE)
        return outcome;
    status = brd_client_get_many(cli->client, args->operands, args->operand_count, cli->result);
    reply = brd_result_reply(cli->result);
    outcome = output_reply(cli, args->verb, status, SHOW_ITEMS, args->operands);
    for (i = 0; i < reply->item_count; i++) {
        if (brd_reply_item(reply, i)->found)
            return outcome;
    }
    return outcome == OUTCOME_DONE ? OUTCOME_NOT_FOUND : outcome;
}

enum outcome
command_putmany(struct cli *cli, struct args *args)
{
    struct brd_put_many_options opts;
    struct brd_pair *pairs;
    size_t count = args->operand_count / 2;
    enum outcome outcome;
    size_t i;

    BRD_OPTIONS_INIT(&opts);
    if (args->operand_count % 2 != 0)
        return mistake(args, "the last key has no value");
    if (!take_expiry(args, &opts.ttl_ms, &opts.deadline_ms) ||
        !args_take_durability(args, &opts.durability))
        return OUTCOME_USAGE;
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    pairs = calloc(count, sizeof(*pairs));
    if (pairs == NULL) {
        cli_complain(args->verb, "out of memory");
        return OUTCOME_FAILED;
    }
    for (i = 0; i < count; i++)
        pairs[i] = (struct brd_pair){ args->operands[2 * i], args->operands[2 * i + 1] };
    outcome = output_reply(cli, args->verb,
                           brd_client_put_many(cli->client, pairs, count, &opts, cli->result),
                           SHOW_VERSION, NULL);
    free(pairs);
    return outcome;
}

enum outcome
command_ttl(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb,
                        brd_client_ttl(cli->client, args->operands[0], cli->result), SHOW_TTL,
                        NULL);
}

enum outcome
command_expire(struct cli *cli, struct args *args)
{
    struct brd_expire_options opts;
    bool operand = args->operand_count == 2;
    enum outcome outcome;

    BRD_OPTIONS_INIT(&opts);
    if (args->given[ARG_TTL] + args->given[ARG_DEADLINE] + operand != 1)
        return mistake(args, "give a DURATION or --deadline, one of the two");
    if (operand && (!args_duration(args->operands[1].data, &opts.ttl_ms) || opts.ttl_ms == 0))
        return mistake(args, "DURATION is a time such as 500ms, 30s, 5m, 2h or 7d, above 0");
    if (!operand && !take_expiry(args, &opts.ttl_ms, &opts.deadline_ms))
        return OUTCOME_USAGE;
    if (!args_take_durability(args, &opts.durability))
        return OUTCOME_USAGE;
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb,
                        brd_client_expire(cli->client, args->operands[0], &opts, cli->result),
                        SHOW_OK, NULL);
}

enum outcome
command_persist(struct cli *cli, struct args *args)
{
    struct brd_write_options opts;
    enum outcome outcome;

    if (!take_write_options(args, &opts))
        return OUTCOME_USAGE;
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb,
                        brd_client_persist(cli->client, args->operands[0], &opts, cli->result),
                        SHOW_NUMBER, NULL);
}

enum outcome
command_incr(struct cli *cli, struct args *args)
{
    struct brd_incr_options opts;
    int64_t delta = 1;
    enum outcome outcome;

    BRD_OPTIONS_INIT(&opts);
    if (args->operand_count == 2 && !args_signed(args->operands[1].data, &delta))
        return mistake(args, "DELTA is an integer of at most 64 bits");
    if (!args_take_signed(args, ARG_INITIAL, &opts.initial) ||
        !take_expiry(args, &opts.ttl_ms, &opts.deadline_ms) ||
        !args_take_durability(args, &opts.durability))
        return OUTCOME_USAGE;
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb,
                        brd_client_incr(cli->client, args->operands[0], delta, &opts, cli->result),
                        SHOW_NUMBER, NULL);
}

/* ---- Whole namespaces --------------------------------------------------- */

enum outcome
command_count(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb,
                        brd_client_count(cli->client, args->given[ARG_EXACT], cli->result),
                        SHOW_NUMBER, NULL);
}

enum outcome
command_clear(struct cli *cli, struct args *args)
{
    struct brd_write_options opts;
    enum outcome outcome;

    if (!take_write_options(args, &opts))
        return OUTCOME_USAGE;
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb, brd_client_clear(cli->client, &opts, cli->result),
                        SHOW_NUMBER, NULL);
}

enum outcome
command_purge(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb, brd_client_purge(cli->client, cli->result), SHOW_NUMBER,
                        NULL);
}

/* ---- The server --------------------------------------------------------- */

static double
seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

enum outcome
command_ping(struct cli *cli, struct args *args)
{
    struct brd_bytes payload = args->operand_count == 0 ? brd_bytes(NULL, 0) : args->operands[0];
    enum outcome outcome = cli_connect(cli, args->verb);
    enum brd_status status;
    double start;

    if (outcome != OUTCOME_DONE)
        return outcome;
    start = seconds_now();
    status = brd_client_ping(cli->client, payload, cli->result);
    return output_ping(cli, args->verb, status, seconds_now() - start);
}

enum outcome
command_hello(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_hello(cli, brd_client_server_info(cli->client));
}

enum outcome
command_sync(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb, brd_client_sync(cli->client, cli->result), SHOW_VERSION,
                        NULL);
}

static bool
take_mode(struct args *args, enum brd_checkpoint_mode *out_mode)
{
    static const char *const names[] = { [BRD_CHECKPOINT_PASSIVE] = "passive",
                                         [BRD_CHECKPOINT_FULL] = "full",
                                         [BRD_CHECKPOINT_RESTART] = "restart",
                                         [BRD_CHECKPOINT_TRUNCATE] = "truncate" };
    size_t i;

    *out_mode = BRD_CHECKPOINT_FULL;
    if (args->operand_count == 0)
        return true;
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], args->operands[0].data) == 0) {
            *out_mode = (enum brd_checkpoint_mode)i;
            return true;
        }
    }
    return false;
}

/* It takes as long as the data is large: only a time-out that was asked for holds. */
enum outcome
command_checkpoint(struct cli *cli, struct args *args)
{
    enum brd_checkpoint_mode mode;
    enum outcome outcome;

    if (!take_mode(args, &mode))
        return mistake(args, "MODE is passive, full, restart or truncate");
    outcome = cli_connect(cli, args->verb);
    if (outcome != OUTCOME_DONE)
        return outcome;
    brd_client_set_timeout(cli->client, cli->timeout_ms != 0 ? cli->timeout_ms : BRD_TIMEOUT_NONE);
    outcome = output_reply(cli, args->verb, brd_client_checkpoint(cli->client, mode, cli->result),
                           SHOW_CHECKPOINT | SHOW_VERSION, NULL);
    brd_client_set_timeout(cli->client, cli->timeout_ms);
    return outcome;
}

enum outcome
command_stats(struct cli *cli, struct args *args)
{
    struct brd_bytes prefix = args->operand_count == 0 ? brd_bytes(NULL, 0) : args->operands[0];
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb, brd_client_stats(cli->client, prefix, cli->result),
                        SHOW_STATS, NULL);
}

enum outcome
command_resetstats(struct cli *cli, struct args *args)
{
    enum outcome outcome = cli_connect(cli, args->verb);

    if (outcome != OUTCOME_DONE)
        return outcome;
    return output_reply(cli, args->verb, brd_client_reset_stats(cli->client, cli->result), SHOW_OK,
                        NULL);
}

enum outcome
command_help(struct cli *cli, struct args *args)
{
    const struct verb *verb;

    (void)cli;
    if (args->operand_count == 0) {
        verb_print_all();
        return OUTCOME_DONE;
    }
    verb = verb_find(args->operands[0].data);
    if (verb == NULL) {
        cli_complain(args->verb, "there is no such verb; see: brindle help");
        return OUTCOME_USAGE;
    }
    verb_print_help(verb);
    return OUTCOME_DONE;
}
