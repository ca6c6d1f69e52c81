/* brindle: talk to a Brindle server from the command line.
 *
 *     brindle [OPTIONS] VERB ...     one command
 *     brindle [OPTIONS]              commands from standard input (repl.c)
 *
 * The options of the program are read here, before the verb or behind it; verbs
 * and theirs are tables in verbs.c and args.c. */
#include <brindle.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "args.h"
#include "cli.h"
#include "output.h"
#include "repl.h"
#include "verbs.h"

/* ---- Options of the program --------------------------------------------- */

static bool
set_address(struct cli *cli, const char *value)
{
    cli->address = value;
    return true;
}

static bool
set_namespace(struct cli *cli, const char *value)
{
    cli->name_space = value;
    return true;
}

static bool
set_format(struct cli *cli, const char *value)
{
    cli->format = strcmp(value, "json") == 0 ? FORMAT_JSON : FORMAT_TEXT;
    return cli->format == FORMAT_JSON || strcmp(value, "text") == 0;
}

static bool
set_timeout(struct cli *cli, const char *value)
{
    uint64_t timeout_ms;

    if (!args_duration(value, &timeout_ms) || timeout_ms == 0 || timeout_ms >= BRD_TIMEOUT_NONE)
        return false;
    cli->timeout_ms = (uint32_t)timeout_ms;
    return true;
}

static void print_usage(void);

static bool
show_help(struct cli *cli, const char *value)
{
    (void)cli;
    (void)value;
    print_usage();
    return true;
}

static bool
show_version(struct cli *cli, const char *value)
{
    (void)cli;
    (void)value;
    printf("brindle %s\n", brd_library_version());
    return true;
}

static const struct global_option {
    const char *name;
    const char *takes; /* NULL: nothing; then the program ends after it */
    const char *help;
    bool (*set)(struct cli *cli, const char *value);
} global_options[] = {
    { "connect", "ADDRESS",
      "HOST:PORT, [v6]:PORT or unix:PATH (default: $" BRD_ADDRESS_VARIABLE
      ", then " BRD_ADDRESS_DEFAULT ")",
      set_address },
    { "format", "text|json", "how to print replies (default: text)", set_format },
    { "namespace", "NAME", "the namespace to work in (default: the server's)", set_namespace },
    { "timeout", "DURATION",
      "give up after so long: 500ms, 30s, 5m (default: 5s; checkpoint: none)", set_timeout },
    { "help", NULL, "show this help, as does -h; behind a verb, that of the verb", show_help },
    { "version", NULL, "show the version", show_version },
};

#define GLOBAL_OPTION_COUNT (sizeof(global_options) / sizeof(global_options[0]))

static void
print_usage(void)
{
    size_t i;

    puts("usage: brindle [OPTIONS] VERB [ARGUMENTS]\n"
         "       brindle [OPTIONS]              commands from standard input\n\n"
         "Options:");
    for (i = 0; i < GLOBAL_OPTION_COUNT; i++) {
        const struct global_option *option = &global_options[i];
        char text[64];

        snprintf(text, sizeof(text), "--%s%s%s", option->name, option->takes == NULL ? "" : " ",
                 option->takes == NULL ? "" : option->takes);
        printf("  %-20s %s\n", text, option->help);
    }
    puts("");
    verb_print_all();
    puts("Exit status: 0 done, 1 failed, 2 not found, 64 not understood.");
}

static const struct global_option *
find_option(const char *name, size_t size)
{
    size_t i;

    for (i = 0; i < GLOBAL_OPTION_COUNT; i++) {
        if (strlen(global_options[i].name) == size &&
            memcmp(global_options[i].name, name, size) == 0)
            return &global_options[i];
    }
    return NULL;
}

enum progress { PROGRESS_ON, PROGRESS_END, PROGRESS_MISTAKE };

static bool
is_option(const char *word)
{
    return strncmp(word, "--", 2) == 0 || strcmp(word, "-h") == 0;
}

/* argv[*at] is an option; take it and its value. */
static enum progress
take_option(struct cli *cli, int argc, char **argv, int *at)
{
    const char *name = strcmp(argv[*at], "-h") == 0 ? "help" : argv[*at] + 2;
    const char *equals = strchr(name, '=');
    const struct global_option *option =
        find_option(name, equals == NULL ? strlen(name) : (size_t)(equals - name));
    const char *value = equals == NULL ? NULL : equals + 1;

    if (option == NULL || (option->takes == NULL && value != NULL)) {
        cli_complain(NULL, "there is no option %s; see: brindle --help", argv[*at]);
        return PROGRESS_MISTAKE;
    }
    if (option->takes != NULL && value == NULL) {
        if (*at + 1 == argc) {
            cli_complain(NULL, "--%s needs a value: %s", option->name, option->takes);
            return PROGRESS_MISTAKE;
        }
        value = argv[++*at];
    }
    if (!option->set(cli, value)) {
        cli_complain(NULL, "--%s takes %s, not \"%s\"", option->name, option->takes, value);
        return PROGRESS_MISTAKE;
    }
    return option->takes == NULL ? PROGRESS_END : PROGRESS_ON;
}

/* Take the options of the program that stand behind the verb, up to a word --,
 * out of argv; the rest moves up. Returns the new argc, or -1 for a mistake. */
static int
take_late_options(struct cli *cli, int argc, char **argv)
{
    int kept = 1; /* the verb */
    int at;

    for (at = 1; at < argc && strcmp(argv[at], "--") != 0; at++) {
        const char *name = argv[at] + 2;
        const struct global_option *option =
            strncmp(argv[at], "--", 2) == 0 ? find_option(name, strcspn(name, "=")) : NULL;

        if (option == NULL || option->takes == NULL)
            argv[kept++] = argv[at];
        else if (take_option(cli, argc, argv, &at) == PROGRESS_MISTAKE)
            return -1;
    }
    while (at < argc)
        argv[kept++] = argv[at++];
    return kept;
}

/* ---- Running ------------------------------------------------------------ */

static enum outcome
run_one(struct cli *cli, int argc, char **argv)
{
    struct words words;
    enum outcome outcome;

    argc = take_late_options(cli, argc, argv);
    if (argc < 0)
        return OUTCOME_USAGE;
    if (words_from_argv(argc, argv, &words) != BRD_OK) {
        cli_complain(NULL, "out of memory");
        return OUTCOME_FAILED;
    }
    outcome = verb_run(cli, words.list, words.count);
    words_fini(&words);
    return outcome;
}

int
main(int argc, char **argv)
{
    struct cli cli = { .stdout_is_terminal = isatty(STDOUT_FILENO) != 0 };
    enum progress progress = PROGRESS_ON;
    enum outcome outcome;
    int at;

    for (at = 1; at < argc && progress == PROGRESS_ON && is_option(argv[at]); at++)
        progress = take_option(&cli, argc, argv, &at);
    if (progress == PROGRESS_MISTAKE)
        outcome = OUTCOME_USAGE;
    else if (progress == PROGRESS_END)
        outcome = OUTCOME_DONE;
    else if (at < argc)
        outcome = run_one(&cli, argc - at, argv + at);
    else if (isatty(STDIN_FILENO))
        outcome = repl_interactive(&cli);
    else
        outcome = repl_lines(&cli);
    if (!output_flush() && outcome == OUTCOME_DONE)
        outcome = OUTCOME_FAILED;
    cli_fini(&cli);
    return (int)outcome;
}
