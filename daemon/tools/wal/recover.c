/* recover: what the data was at a version or a time, as a new directory.
 *
 * The old directory is pinned (pin.h) and only read, so a daemon may be running on it. What
 * was made of the new one goes again after a failure; the directory itself stays if it
 * was there before. */
#include "base/plural.h"
#include "files.h"
#include "health.h"
#include "pin.h"
#include "tool.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void
say_reached(const struct tool *tool, const struct brd_rewind *rewind)
{
    FILE *out = tool->print.out;
    char when[WHEN_TEXT_BYTES];

    if (tool->print.json) {
        fprintf(out,
                "{\"type\":\"recovered\",\"version\":%" PRIu64 ",\"entries\":%" PRIu64
                ",\"earliest_version\":%" PRIu64 "}\n",
                rewind->reached_version, rewind->entries, rewind->earliest_version);
        return;
    }
    if (rewind->reached_version == 0) {
        fprintf(out, "%s holds nothing: the first write came later\n", rewind->to_dir);
        return;
    }
    when_format(rewind->reached_version, when);
    fprintf(out, "%s holds version %" PRIu64 " of %s: %" PRIu64 " %s\n", rewind->to_dir,
            rewind->reached_version, when, rewind->entries,
            brd_plural(rewind->entries, "entry", "entries"));
}

static int
say_too_early(const struct tool *tool, const struct brd_rewind *rewind)
{
    char when[WHEN_TEXT_BYTES];
    int status;

    if (tool->print.json)
        fprintf(tool->print.out, "{\"type\":\"earliest\",\"version\":%" PRIu64 "}\n",
                rewind->earliest_version);
    when_format(rewind->earliest_version, when);
    status = tool_complain(tool, BRD_HISTORY_TRIMMED, rewind->from_dir,
                           "%s goes back to version %" PRIu64 " of %s, not to %" PRIu64,
                           rewind->from_dir, rewind->earliest_version, when, rewind->version);
    return status == EXIT_FAILED ? EXIT_TOO_EARLY : status;
}

/* *out_made: the new directory is as it should be, whatever the exit status. */
static int
rewind_pinned(struct tool *tool, const struct pin *pin, const char *to_dir, bool *out_made)
{
    struct brd_rewind rewind = { .from_dir = tool->operands[0],
                                 .from_io = pin_io(pin),
                                 .keys = tool->keys,
                                 .to_dir = to_dir,
                                 .version = tool->filter.to };
    struct brd_engine_error engine_error;
    struct brd_wal_error error = { .text = "" };
    const struct health_source made = {
        .io = brd_io_real(), .dir = to_dir, .keys = tool->keys, .whole = true
    };
    struct health health;
    struct stat owner;
    enum brd_status status = brd_rewind(&rewind, &engine_error);

    if (status == BRD_HISTORY_TRIMMED)
        return say_too_early(tool, &rewind);
    if (status != BRD_OK)
        return tool_complain(tool, status, rewind.from_dir, "%s", engine_error.text);
    if (stat(rewind.from_dir, &owner) == 0)
        files_give(to_dir, &owner);
    status = health_check(&made, &health, &error);
    if (status != BRD_OK)
        return tool_fail(tool, status, &error);
    *out_made = true;
    say_reached(tool, &rewind);
    return tool_end(tool);
}

int
recover_run(struct tool *tool)
{
    const char *to_dir = tool->operands[1];
    struct brd_wal_error error = { .text = "" };
    struct files_place place;
    struct pin *pin = NULL;
    bool made = false;
    enum brd_status status;
    int result;
    int exit_status;

    result = files_place_take(&place, to_dir);
    if (result != 0)
        return tool_fail_place(tool, &place, result, to_dir);
    status = pin_open(tool->operands[0], tool->keys, &pin, &error);
    exit_status = status == BRD_OK ? rewind_pinned(tool, pin, to_dir, &made)
                                   : tool_fail(tool, status, &error);
    pin_close(&pin);
    files_place_leave(&place, made);
    return exit_status;
}
