/* brindle-wal: looks at a log, offline or beside a running daemon. It changes
 * nothing and takes no lock; beside a daemon it sees the log up to some moment.
 *
 * It reads through brd_wal_visit, the same reader that recovery uses: what it
 * calls whole is what a start would apply. */
#include "print.h"

#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_DAMAGED = 3,
};

static const char usage[] =
    "usage: brindle-wal COMMAND [OPTIONS] DATA-DIR\n"
    "\n"
    "  dump      print every segment, group and record\n"
    "  verify    read everything, the newest snapshot too; say whether a start would\n"
    "  stat      what meta says, and totals\n"
    "\n"
    "  --format text|json   json: one object a line (default: text)\n"
    "  --from VERSION       dump: only records of this version and above\n"
    "  --to VERSION         dump: ... and not above this one\n"
    "  --values             dump: values too, not only their sizes\n"
    "  --records            dump: records only\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 the log is whole (a torn end is no damage), 1 it could not be read,\n"
    "2 usage, 3 damaged.\n";

struct tool {
    struct print print;
    const char *command;
    const char *dir;
    uint64_t from;
    uint64_t to;
    bool records_only;
    uint64_t groups;
};

/* ---- Arguments ---- */

static int
complain(const char *what, const char *which)
{
    fprintf(stderr, "brindle-wal: %s%s\n%s", what, which, usage);
    return EXIT_USAGE;
}

static bool
parse_version(const char *text, uint64_t *out)
{
    char *end = NULL;

    if (text[0] < '0' || text[0] > '9')
        return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0';
}

/* The value of an option that is given as `--name value` or `--name=value`, or
 * NULL where argv[*i] is another one. Advances *i past a separate value. */
static const char *
option_value(const char *name, int argc, char **argv, int *i)
{
    size_t size = strlen(name);
    const char *value;

    if (strncmp(argv[*i], name, size) != 0)
        return NULL;
    if (argv[*i][size] == '=')
        return argv[*i] + size + 1;
    if (argv[*i][size] != '\0')
        return NULL;
    value = *i + 1 < argc ? argv[++*i] : NULL;
    return value != NULL ? value : "";
}

static int
parse_option(struct tool *tool, int argc, char **argv, int *i)
{
    const char *option = argv[*i];
    const char *value;

    if (strcmp(option, "--values") == 0) {
        tool->print.values = true;
    } else if (strcmp(option, "--records") == 0) {
        tool->records_only = true;
    } else if ((value = option_value("--format", argc, argv, i)) != NULL) {
        tool->print.json = strcmp(value, "json") == 0;
        if (!tool->print.json && strcmp(value, "text") != 0)
            return complain("--format is text or json, not ", value);
    } else if ((value = option_value("--from", argc, argv, i)) != NULL) {
        if (!parse_version(value, &tool->from))
            return complain("--from wants a version, not ", value);
    } else if ((value = option_value("--to", argc, argv, i)) != NULL) {
        if (!parse_version(value, &tool->to))
            return complain("--to wants a version, not ", value);
    } else {
        return complain("there is no option ", option);
    }
    return EXIT_DONE;
}

static int
parse(struct tool *tool, int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        int status = EXIT_DONE;

        if (argv[i][0] == '-')
            status = parse_option(tool, argc, argv, &i);
        else if (tool->command == NULL)
            tool->command = argv[i];
        else if (tool->dir == NULL)
            tool->dir = argv[i];
        else
            status = complain("one data directory, please; what is ", argv[i]);
        if (status != EXIT_DONE)
            return status;
    }
    if (tool->command == NULL)
        return complain("say what to do", "");
    if (strcmp(tool->command, "dump") != 0 && strcmp(tool->command, "verify") != 0 &&
        strcmp(tool->command, "stat") != 0)
        return complain("there is no command ", tool->command);
    return tool->dir == NULL ? complain("say where the data is", "") : EXIT_DONE;
}

/* ---- Work ---- */

static enum brd_status
on_segment(void *arg, const struct brd_wal_segment_view *segment)
{
    const struct tool *tool = arg;

    if (!tool->records_only)
        print_segment(&tool->print, segment);
    return BRD_OK;
}

static enum brd_status
on_group(void *arg, const struct brd_wal_group_view *group)
{
    const struct tool *tool = arg;

    if (!tool->records_only && group->last_version >= tool->from && group->base_version < tool->to)
        print_group(&tool->print, group);
    return BRD_OK;
}

static enum brd_status
on_record(void *arg, const struct brd_wal_group_view *group, uint64_t version,
          struct brd_bytes payload)
{
    const struct tool *tool = arg;

    (void)group;
    if (version >= tool->from && version <= tool->to)
        print_record(&tool->print, version, payload);
    return BRD_OK;
}

static enum brd_status
count_group(void *arg, const struct brd_wal_group_view *group)
{
    struct tool *tool = arg;

    (void)group;
    tool->groups++;
    return BRD_OK;
}

static int
fail(const struct tool *tool, enum brd_status status, const struct brd_wal_error *error)
{
    bool damaged = status == BRD_CORRUPT;

    print_error(&tool->print, status, error);
    fflush(stdout);
    fprintf(stderr, "brindle-wal: %s\n", error->text);
    return damaged ? EXIT_DAMAGED : EXIT_FAILED;
}

static int
run(struct tool *tool)
{
    const struct brd_wal_options options = { .dir = tool->dir, .read_only = true };
    const bool dumps = strcmp(tool->command, "dump") == 0;
    const struct brd_wal_visitor visitor = {
        .arg = tool,
        .segment = dumps ? on_segment : NULL,
        .group = dumps ? on_group : count_group,
        .record = dumps ? on_record : NULL,
    };
    struct brd_wal_identity identity;
    struct brd_wal_report report;
    struct brd_wal_error error = { 0 };
    struct brd_snapshot_error snapshot_error = { .text = "out of memory" };
    struct brd_snapshot_info snapshot;
    struct brd_wal *wal = NULL;
    enum brd_status status = brd_wal_open(&options, &wal, &error);

    if (status != BRD_OK)
        return fail(tool, status, &error);
    brd_wal_get_identity(wal, &identity);
    if (strcmp(tool->command, "stat") == 0)
        print_identity(&tool->print, tool->dir, &identity);
    status = brd_wal_visit(wal, &visitor, &report, &error);
    if (status == BRD_OK && !dumps) {
        uint64_t base_version = brd_wal_base_version(wal);
        uint64_t last_version = report.last_version;

        status =
            brd_snapshot_check(brd_io_real(), tool->dir, brd_wal_uuid(wal), base_version,
                               last_version > base_version ? last_version : base_version,
                               strcmp(tool->command, "verify") == 0, &snapshot, &snapshot_error);
        if (status != BRD_OK) {
            memcpy(error.text, snapshot_error.text, sizeof(error.text));
            memcpy(error.path, snapshot_error.path, sizeof(error.path));
            error.offset = snapshot_error.offset;
        }
    }
    brd_wal_close(&wal);
    if (status != BRD_OK)
        return fail(tool, status, &error);
    if (!dumps)
        print_report(&tool->print, &report, tool->groups);
    if (!dumps && snapshot.start_version != 0)
        print_snapshot(&tool->print, &snapshot);
    if (strcmp(tool->command, "verify") == 0 && !tool->print.json)
        printf("%s is whole\n", tool->dir);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "brindle-wal: cannot write the output\n");
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

int
main(int argc, char **argv)
{
    struct tool tool = { .print = { .out = stdout }, .to = UINT64_MAX };
    int status;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return EXIT_DONE;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("brindle-wal %s\n", BRINDLE_VERSION);
        return EXIT_DONE;
    }
    status = parse(&tool, argc, argv);
    return status != EXIT_DONE ? status : run(&tool);
}
