/* The table of verbs: see verbs.h. What they do is in commands.c. */
#include "verbs.h"

#include <stdio.h>
#include <strings.h>

#include "commands.h"

#define EXPIRY     (ARG_BIT(TTL) | ARG_BIT(DEADLINE))
#define CONDITIONS (ARG_BIT(IF_ABSENT) | ARG_BIT(IF_PRESENT) | ARG_BIT(IF_VERSION))

#define FROM_STDIN "VALUE - stands for all bytes of standard input; after -- it is itself."

const struct verb verbs[] = {
    { "ping", "[PAYLOAD]", 0, 1, 0, "ask whether the server answers, and how fast",
      "With a payload of at most 4 KiB, prints what comes back.", command_ping },
    { "hello", "", 0, 0, 0, "show what the server says of itself", NULL, command_hello },
    { "get", "KEY", 1, 1, ARG_BIT(RAW), "print the value of a key", NULL, command_get },
    { "put", "KEY VALUE", 2, 2,
      EXPIRY | CONDITIONS | ARG_BIT(KEEP_TTL) | ARG_BIT(DURABILITY) | ARG_BIT(RETURN_PREVIOUS),
      "store a value",
      FROM_STDIN " A condition that is not met stores nothing: the exit status is 2 where a key "
                 "that had to be there is not, else 1.",
      command_put },
    { "delete", "KEY...", 1, OPERANDS_ANY, ARG_BIT(DURABILITY), "delete keys, all at once",
      "Prints how many there were; the exit status is 2 if there was none.", command_delete },
    { "exists", "KEY...", 1, OPERANDS_ANY, 0, "count how many of the keys are there",
      "A key named twice counts twice. The exit status is 2 if none is there.", command_exists },
    { "getmany", "KEY...", 1, OPERANDS_ANY, 0, "print the values of keys, as of one moment",
      "One line for each key: the key, and if it is there a tab and its value. The exit status "
      "is 2 if none is there.",
      command_getmany },
    { "putmany", "KEY VALUE [KEY VALUE]...", 2, OPERANDS_ANY, EXPIRY | ARG_BIT(DURABILITY),
      "store values, all or none", "Of a key that stands twice the last value wins.",
      command_putmany },
    { "ttl", "KEY", 1, 1, 0, "show how long a key still lives", NULL, command_ttl },
    { "expire", "KEY [DURATION]", 1, 2, EXPIRY | ARG_BIT(DURABILITY),
      "let a key expire, after a duration or at a deadline",
      "A deadline in the past deletes the key.", command_expire },
    { "persist", "KEY", 1, 1, ARG_BIT(DURABILITY), "let a key no longer expire",
      "Prints 1 if it would have, else 0.", command_persist },
    { "incr", "KEY [DELTA]", 1, 2, EXPIRY | ARG_BIT(INITIAL) | ARG_BIT(DURABILITY),
      "add to a decimal integer and print it",
      "DELTA is 1 unless given, and may be negative. An expiry is for a key that is created.",
      command_incr },
    { "append", "KEY VALUE", 2, 2, ARG_BIT(DURABILITY), "append to a value and print its length",
      FROM_STDIN, command_append },
    { "count", "", 0, 0, ARG_BIT(EXACT), "count the keys", NULL, command_count },
    { "clear", "", 0, 0, ARG_BIT(DURABILITY), "delete all keys and print how many there were", NULL,
      command_clear },
    { "purge", "", 0, 0, 0, "remove expired keys now and print how many", NULL, command_purge },
    { "sync", "", 0, 0, 0, "wait until everything is on stable storage",
      "Prints the version up to which it is.", command_sync },
    { "checkpoint", "[MODE]", 0, 1, 0, "write all data into a snapshot and give up the log before",
      "MODE says what to wait for:\n"
      "  passive   nothing, if a checkpoint is under way: tells of that one, and done is 0\n"
      "  full      a snapshot with all that was written before (the default)\n"
      "  restart   the same, and until the log before it is gone from the disk\n"
      "  truncate  as restart; total and done are 0\n"
      "Prints how many records the log had since the checkpoint before (total), how many\n"
      "of them this one covers (done), and the version up to which all is in the snapshot.\n"
      "Waits as long as it takes unless --timeout is given; the server goes on all the same.",
      command_checkpoint },
    { "stats", "[PREFIX]", 0, 1, 0, "show statistics", "PREFIX chooses those whose names start so.",
      command_stats },
    { "resetstats", "", 0, 0, 0, "set the counters of the statistics to zero", NULL,
      command_resetstats },
    { "backup", "NEW-DIR", 1, 1, ARG_BIT(DATA_DIR) | ARG_BIT(KEY_FILE),
      "copy the data of a server on this machine",
      "All that was acknowledged before under normal or full is in the copy, which is then read "
      "again to its end. What is encrypted stays so, under the same keys. Runs brindle-wal backup; "
      "asks no server.",
      command_backup },
    { "restore", "BACKUP DATA-DIR", 2, 2, ARG_BIT(KEY_FILE) | ARG_BIT(FORCE),
      "put a backup in place",
      "Checks it first. Only where DATA-DIR is missing or empty, unless --force is given, and "
      "never "
      "while a server uses it. Runs brindle-wal restore; asks no server.",
      command_restore },
    { "help", "[VERB]", 0, 1, 0, "show this help, or that of one verb", NULL, command_help },
};

const size_t verb_count = sizeof(verbs) / sizeof(verbs[0]);

const struct verb *
verb_find(const char *name)
{
    size_t i;

    for (i = 0; i < verb_count; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

/* ---- Help --------------------------------------------------------------- */

void
verb_print_all(void)
{
    size_t i;

    puts("Verbs:");
    for (i = 0; i < verb_count; i++)
        printf("  %-11s %-26s %s\n", verbs[i].name, verbs[i].operands, verbs[i].summary);
    puts("\n\"brindle help VERB\" and \"brindle VERB -h\" tell more of each.");
}

void
verb_print_help(const struct verb *verb)
{
    unsigned i;

    printf("usage: brindle [OPTIONS] %s%s%s%s\n\n%s.\n", verb->name,
           verb->options != 0 ? " [OPTIONS]" : "", verb->operands[0] != '\0' ? " " : "",
           verb->operands, verb->summary);
    if (verb->details != NULL)
        printf("%s\n", verb->details);
    if (verb->options != 0)
        puts("\nOptions:");
    for (i = 0; i < ARG_OPTION_COUNT; i++) {
        char option[64];

        if ((verb->options & 1u << i) == 0)
            continue;
        snprintf(option, sizeof(option), "--%s%s%s", arg_options[i].name,
                 arg_options[i].takes == NULL ? "" : " ",
                 arg_options[i].takes == NULL ? "" : arg_options[i].takes);
        printf("  %-21s %s\n", option, arg_options[i].help);
    }
}

/* ---- Verbs that are not there --------------------------------------------- */

/* What other caches call things. */
static const struct {
    const char *theirs;
    const char *ours;
} foreign_names[] = {
    { "set", "put" },
    { "setnx", "put --if-absent" },
    { "setex", "put --ttl" },
    { "psetex", "put --ttl" },
    { "add", "put --if-absent" },
    { "replace", "put --if-present" },
    { "cas", "put --if-version" },
    { "del", "delete" },
    { "unlink", "delete" },
    { "mget", "getmany" },
    { "mset", "putmany" },
    { "incrby", "incr" },
    { "decr", "incr KEY -1" },
    { "decrby", "incr KEY -1" },
    { "pttl", "ttl" },
    { "pexpire", "expire" },
    { "touch", "expire" },
    { "dbsize", "count" },
    { "flushall", "clear" },
    { "flushdb", "clear" },
    { "flush_all", "clear" },
    { "info", "stats" },
    { "save", "checkpoint" },
    { "bgsave", "checkpoint" },
    { "bgrewriteaof", "checkpoint" },
};

/* What somebody who types this may mean, or NULL. */
static const char *
similar_verb(const char *name)
{
    size_t i;

    for (i = 0; i < verb_count; i++)
        if (strcasecmp(verbs[i].name, name) == 0)
            return verbs[i].name;
    for (i = 0; i < sizeof(foreign_names) / sizeof(foreign_names[0]); i++)
        if (strcasecmp(foreign_names[i].theirs, name) == 0)
            return foreign_names[i].ours;
    return NULL;
}

/* ---- Running ------------------------------------------------------------ */

static enum outcome
run_parsed(struct cli *cli, const struct verb *verb, struct args *args)
{
    enum outcome outcome;

    if (args->given[ARG_HELP]) {
        verb_print_help(verb);
        return OUTCOME_DONE;
    }
    if (args->operand_count < verb->min || args->operand_count > verb->max) {
        cli_complain(verb->name, "usage: %s%s %s", verb->name,
                     verb->options != 0 ? " [OPTIONS]" : "", verb->operands);
        return OUTCOME_USAGE;
    }
    args->error[0] = '\0';
    outcome = verb->run(cli, args);
    if (outcome == OUTCOME_USAGE && args->error[0] != '\0')
        cli_complain(verb->name, "%s; see: brindle help %s", args->error, verb->name);
    return outcome;
}

enum outcome
verb_run(struct cli *cli, const struct brd_bytes *words, size_t count)
{
    const struct verb *verb = verb_find(words[0].data);
    struct args args = { .operands = NULL };
    enum outcome outcome;

    if (verb == NULL) {
        const char *similar = similar_verb(words[0].data);

        cli_complain(NULL, "there is no verb \"%.60s\"; %s%s%s: brindle help",
                     (const char *)words[0].data, similar != NULL ? "did you mean " : "",
                     similar != NULL ? similar : "", similar != NULL ? "? See" : "see");
        return OUTCOME_USAGE;
    }
    args.verb = verb->name;
    if (args_parse(words + 1, count - 1, verb->options | ARG_BIT(HELP), &args)) {
        outcome = run_parsed(cli, verb, &args);
    } else {
        cli_complain(verb->name, "%s; see: brindle help %s", args.error, verb->name);
        outcome = OUTCOME_USAGE;
    }
    args_fini(&args);
    return outcome;
}
