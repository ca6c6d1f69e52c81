/* brindle-wal: looks at a data directory, offline or beside a running daemon, and
 * brings a damaged one into order.
 *
 * Here: the tables of commands and options, and how the program ends. What the
 * commands do is in files of their names and in look.c. */
#include "tool.h"
#include "when.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- Commands ---- */

#define FOR_DUMP    1u
#define FOR_VERIFY  2u
#define FOR_STAT    4u
#define FOR_REPAIR  8u
#define FOR_RECOVER 16u
#define FOR_BACKUP  32u
#define FOR_RESTORE 64u
#define FOR_ALL     ~0u

static const struct command {
    const char *name;
    unsigned bit;
    int operands;
    const char *usage;
    const char *help;
    int (*run)(struct tool *tool);
} commands[] = {
    { "dump", FOR_DUMP, 1, "dump DATA-DIR", "print every segment, group and record", look_dump },
    { "verify", FOR_VERIFY, 1, "verify DATA-DIR",
      "read everything, the newest snapshot too; say whether a start would", look_verify },
    { "stat", FOR_STAT, 1, "stat DATA-DIR", "what meta says, and totals", look_stat },
    { "repair", FOR_REPAIR, 1, "repair DATA-DIR",
      "say what has to go so that a daemon starts, and what is lost by it", repair_run },
    { "recover", FOR_RECOVER, 2, "recover --to VERSION DATA-DIR NEW-DIR",
      "make a new directory that holds what the data was at that version", recover_run },
    { "backup", FOR_BACKUP, 2, "backup DATA-DIR NEW-DIR",
      "copy the data, of a running daemon too, into a new directory, and check it", backup_run },
    { "restore", FOR_RESTORE, 2, "restore BACKUP DATA-DIR",
      "check a backup, and bring it to where a daemon looks for its data", restore_run },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* ---- Options ---- */

static bool
set_format(struct tool *tool, const char *value)
{
    tool->print.json = strcmp(value, "json") == 0;
    return tool->print.json || strcmp(value, "text") == 0;
}

static bool
set_from(struct tool *tool, const char *value)
{
    return when_parse(value, &tool->filter.from);
}

static bool
set_to(struct tool *tool, const char *value)
{
    tool->to_given = true;
    return when_parse(value, &tool->filter.to);
}

static bool
set_key(struct tool *tool, const char *value)
{
    return filter_set_key(&tool->filter, value, false);
}

static bool
set_prefix(struct tool *tool, const char *value)
{
    return filter_set_key(&tool->filter, value, true);
}

static bool
set_namespace(struct tool *tool, const char *value)
{
    return filter_set_namespace(&tool->filter, value);
}

static bool
set_key_file(struct tool *tool, const char *value)
{
    tool->key_file = value;
    return value[0] != '\0';
}

static bool
set_snapshot(struct tool *tool, const char *value)
{
    (void)value;
    return tool->snapshot = true;
}

static bool
set_values(struct tool *tool, const char *value)
{
    (void)value;
    return tool->print.values = true;
}

static bool
set_records(struct tool *tool, const char *value)
{
    (void)value;
    return tool->records_only = true;
}

static bool
set_yes(struct tool *tool, const char *value)
{
    (void)value;
    return tool->yes = true;
}

static bool
set_force(struct tool *tool, const char *value)
{
    (void)value;
    return tool->force = true;
}

static const struct option {
    const char *name;
    unsigned commands; /* that know it */
    const char *takes; /* NULL: nothing */
    const char *wants; /* what it takes, in a sentence */
    const char *help;
    bool (*set)(struct tool *tool, const char *value);
} options[] = {
    { "--format", FOR_ALL, "text|json", "text or json", "json: one object a line (default: text)",
      set_format },
    { "--key-file", FOR_ALL, "FILE", "the name of a file",
      "the keys of what is encrypted; what is written is under the first", set_key_file },
    { "--from", FOR_DUMP, "VERSION", "a version or a time",
      "dump: only what is of this version and above", set_from },
    { "--to", FOR_DUMP | FOR_RECOVER, "VERSION", "a version or a time",
      "dump: ... and not above this one; recover: the last that counts", set_to },
    { "--key", FOR_DUMP, "KEY", "a key as dump prints it: \\xHH, \\\\ and \\\"",
      "dump: only changes of this key, and clears", set_key },
    { "--prefix", FOR_DUMP, "KEY", "a key as dump prints it: \\xHH, \\\\ and \\\"",
      "dump: only changes of keys that begin so, and clears", set_prefix },
    { "--namespace", FOR_DUMP, "NAME", "default, or the number of a namespace",
      "dump: only changes in this namespace", set_namespace },
    { "--snapshot", FOR_DUMP, NULL, NULL, "dump: the newest snapshot instead of the log",
      set_snapshot },
    { "--values", FOR_DUMP, NULL, NULL, "dump: values too, not only their sizes", set_values },
    { "--records", FOR_DUMP, NULL, NULL, "dump: records only", set_records },
    { "--yes", FOR_REPAIR, NULL, NULL, "repair: do it, after a backup of what is changed",
      set_yes },
    { "--force", FOR_RESTORE, NULL, NULL, "restore: move aside what is there, under another name",
      set_force },
};

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static void
print_usage(FILE *out)
{
    size_t i;

    fputs("usage: brindle-wal COMMAND [OPTIONS] ...\n\n", out);
    for (i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %s\n        %s\n", commands[i].usage, commands[i].help);
    fputs("\n", out);
    for (i = 0; i < OPTION_COUNT; i++) {
        char text[40];

        snprintf(text, sizeof(text), "%s%s%s", options[i].name, options[i].takes != NULL ? " " : "",
                 options[i].takes != NULL ? options[i].takes : "");
        fprintf(out, "  %-19s %s\n", text, options[i].help);
    }
    fputs("  --help, --version\n\n"
          "A VERSION may be a time: 2026-01-02T03:04:05Z, or Unix seconds.\n\n"
          "Exit status: 0 all is well (a torn end is no damage), 1 something could not be read\n"
          "or written, 2 usage, 3 damaged, 4 encrypted under a key that is not there,\n"
          "5 recover: not so far back.\n",
          out);
}

/* ---- Arguments ---- */

static int
complain(const char *what, const char *which)
{
    fprintf(stderr, "brindle-wal: %s%s\nSee: brindle-wal --help\n", what, which);
    return EXIT_USAGE;
}

static const struct command *
find_command(const char *name)
{
    size_t i;

    for (i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The option in a word: "--name" or "--name=value". */
static const struct option *
find_option(const char *word)
{
    size_t size = strcspn(word, "=");
    size_t i;

    for (i = 0; i < OPTION_COUNT; i++)
        if (strlen(options[i].name) == size && memcmp(options[i].name, word, size) == 0)
            return &options[i];
    return NULL;
}

/* argv[*at] is an option; take it and its value. */
static int
take_option(struct tool *tool, const struct command *command, int argc, char **argv, int *at)
{
    const char *equals = strchr(argv[*at], '=');
    const char *value = equals != NULL ? equals + 1 : NULL;
    const struct option *option = find_option(argv[*at]);

    if (option == NULL || (option->commands & command->bit) == 0) {
        fprintf(stderr, "brindle-wal: %s: ", command->name);
        return complain("there is no option ", argv[*at]);
    }
    if (option->takes == NULL && value != NULL)
        return complain("this takes no value: ", argv[*at]);
    if (option->takes != NULL && value == NULL)
        value = *at + 1 < argc ? argv[++*at] : "";
    if (!option->set(tool, value)) {
        fprintf(stderr, "brindle-wal: %s wants %s, not \"%s\"\n", option->name, option->wants,
                value);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

static int
parse(struct tool *tool, const struct command *command, int argc, char **argv)
{
    bool literal = false; /* behind -- */
    int i;

    for (i = 2; i < argc; i++) {
        int status = EXIT_DONE;

        if (!literal && strcmp(argv[i], "--") == 0)
            literal = true;
        else if (!literal && argv[i][0] == '-')
            status = take_option(tool, command, argc, argv, &i);
        else if (tool->operand_count < command->operands)
            tool->operands[tool->operand_count++] = argv[i];
        else
            status = complain("there is one word too many: ", argv[i]);
        if (status != EXIT_DONE)
            return status;
    }
    if (tool->operand_count < command->operands)
        return complain("usage: brindle-wal ", command->usage);
    if (tool->filter.by_key && tool->filter.by_prefix)
        return complain("--key and --prefix at once", "");
    if (command->bit == FOR_RECOVER && !tool->to_given)
        return complain("say to which version or time: --to", "");
    return EXIT_DONE;
}

/* ---- The end ---- */

int
tool_fail(const struct tool *tool, enum brd_status status, const struct brd_wal_error *error)
{
    print_error(&tool->print, status, error);
    fflush(tool->print.out);
    fprintf(stderr, "brindle-wal: %s\n", error->text);
    switch (status) {
    case BRD_CORRUPT:
        return EXIT_DAMAGED;
    case BRD_WRONG_KEY:
        return EXIT_WRONG_KEY;
    default:
        return EXIT_FAILED;
    }
}

int
tool_complain(const struct tool *tool, enum brd_status status, const char *path, const char *format,
              ...)
{
    struct brd_wal_error error = { .offset = 0 };
    va_list args;

    va_start(args, format);
    vsnprintf(error.text, sizeof(error.text), format, args);
    va_end(args);
    snprintf(error.path, sizeof(error.path), "%s", path);
    return tool_fail(tool, status, &error);
}

int
tool_fail_io(const struct tool *tool, int result, const char *action, const char *path)
{
    return tool_complain(tool, brd_file_status(result), path, "cannot %s %s: %s", action, path,
                         brd_file_error(result));
}

int
tool_fail_place(const struct tool *tool, const struct files_place *place, int result,
                const char *dir)
{
    if (result == -EEXIST)
        return tool_complain(tool, BRD_EXISTS, dir, "%s is not empty: name a new directory", dir);
    if (result == -EWOULDBLOCK)
        return tool_complain(tool, BRD_BUSY, dir, "%s is in use by another process (pid %s)", dir,
                             place->holder);
    return tool_fail_io(tool, result, "make", dir);
}

bool
tool_is_deaf(const struct tool *tool)
{
    return ferror(tool->print.out) != 0;
}

int
tool_end(const struct tool *tool)
{
    errno = 0;
    if (fflush(tool->print.out) == 0 && !ferror(tool->print.out))
        return EXIT_DONE;
    if (errno == EPIPE)
        return EXIT_DONE;
    fprintf(stderr, "brindle-wal: cannot write the output\n");
    return EXIT_FAILED;
}

/* The key file, where one was named. */
static int
load_keys(struct tool *tool)
{
    struct brd_wal_error error = { .offset = 0 };
    enum brd_status status = BRD_OK;

    if (tool->key_file != NULL)
        status = brd_keyring_load(tool->key_file, &tool->keys, error.text, sizeof(error.text));
    if (status == BRD_OK)
        return EXIT_DONE;
    snprintf(error.path, sizeof(error.path), "%s", tool->key_file);
    tool_fail(tool, status, &error);
    return status == BRD_INVALID_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    const struct command *command = find_command(name);
    struct tool tool = { .print = { .out = stdout }, .command = name };
    int status;
    int i;

    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0) {
            print_usage(stdout);
            return EXIT_DONE;
        }
    if (strcmp(name, "--version") == 0) {
        printf("brindle-wal %s\n", BRINDLE_VERSION);
        return EXIT_DONE;
    }
    if (command == NULL && name[0] == '-')
        return complain("there is no option ", name);
    if (command == NULL) {
        if (name[0] == '\0')
            print_usage(stderr);
        return complain(name[0] == '\0' ? "say what to do" : "there is no command ", name);
    }
    signal(SIGPIPE, SIG_IGN);
    filter_init(&tool.filter);
    status = parse(&tool, command, argc, argv);
    if (status == EXIT_DONE)
        status = load_keys(&tool);
    if (status == EXIT_DONE)
        status = command->run(&tool);
    brd_keyring_close(&tool.keys);
    filter_fini(&tool.filter);
    return status;
}
