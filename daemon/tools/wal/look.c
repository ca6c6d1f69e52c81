/* dump, verify and stat. They change nothing and take no lock; beside a daemon they
 * see the directory as it is at one moment (pin.h).
 *
 * They read through brd_wal_visit, the same reader that recovery uses: what it calls
 * whole is what a start would apply. */
#include "health.h"
#include "pin.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>

struct look {
    struct tool *tool;
    struct pin *pin;     /* owned */
    struct brd_wal *wal; /* owned */
    struct brd_wal_report report;
    struct brd_wal_error error;
    struct print_run *runs; /* owned; for stat */
    size_t run_count;
};

/* ---- Visiting ---- */

/* What a visit ends with when nobody reads any more: no failure. */
#define DEAF BRD_CLOSED

static enum brd_status
go_on(const struct look *look)
{
    return tool_is_deaf(look->tool) ? DEAF : BRD_OK;
}

static enum brd_status
on_segment(void *arg, const struct brd_wal_segment_view *segment)
{
    const struct look *look = arg;

    print_segment(&look->tool->print, segment);
    return go_on(look);
}

static enum brd_status
on_group(void *arg, const struct brd_wal_group_view *group)
{
    const struct look *look = arg;
    const struct filter *filter = &look->tool->filter;

    if (group->last_version >= filter->from && group->base_version < filter->to)
        print_group(&look->tool->print, group);
    return go_on(look);
}

static enum brd_status
on_record(void *arg, const struct brd_wal_group_view *group, uint64_t version,
          struct brd_bytes payload)
{
    const struct look *look = arg;

    (void)group;
    print_record(&look->tool->print, &look->tool->filter, "record", version, payload);
    return go_on(look);
}

static enum brd_status
on_begin(void *arg, const char *path, const struct brd_snapshot_info *info)
{
    const struct look *look = arg;

    if (!look->tool->records_only && !filter_is_narrow(&look->tool->filter))
        print_snapshot_head(&look->tool->print, path, info);
    return go_on(look);
}

static enum brd_status
on_entry(void *arg, uint64_t version, struct brd_bytes payload)
{
    const struct look *look = arg;

    print_record(&look->tool->print, &look->tool->filter, "entry", version, payload);
    return go_on(look);
}

/* ---- Commands ---- */

static int
end_look(struct look *look, enum brd_status status)
{
    brd_wal_close(&look->wal);
    pin_close(&look->pin);
    if (status != BRD_OK && status != DEAF)
        return tool_fail(look->tool, status, &look->error);
    return tool_end(look->tool);
}

static enum brd_status
snapshot_failed(struct look *look, enum brd_status status, const struct brd_snapshot_error *error)
{
    if (status == BRD_OK || status == DEAF)
        return status;
    health_take_error(&look->error, error);
    return status;
}

static int
dump_snapshot(struct tool *tool)
{
    struct look look = { .tool = tool };
    const struct brd_snapshot_visitor visitor = { .arg = &look,
                                                  .begin = on_begin,
                                                  .record = on_entry };
    struct brd_snapshot_error error = { .text = "out of memory" };
    enum brd_status status =
        brd_snapshot_visit(brd_io_real(), tool->keys, tool->operands[0], &visitor, &error);

    return end_look(&look, snapshot_failed(&look, status, &error));
}

int
look_dump(struct tool *tool)
{
    const bool records_only = tool->records_only || filter_is_narrow(&tool->filter);
    struct brd_wal_options options = { .dir = tool->operands[0],
                                       .keys = tool->keys,
                                       .read_only = true };
    struct look look = { .tool = tool };
    const struct brd_wal_visitor visitor = {
        .arg = &look,
        .segment = records_only ? NULL : on_segment,
        .group = records_only ? NULL : on_group,
        .record = on_record,
    };
    enum brd_status status;

    if (tool->snapshot)
        return dump_snapshot(tool);
    status = pin_open(options.dir, tool->keys, &look.pin, &look.error);
    if (status != BRD_OK)
        return end_look(&look, status);
    options.io = pin_io(look.pin);
    status = brd_wal_open(&options, &look.wal, &look.error);
    if (status == BRD_OK)
        status = brd_wal_visit(look.wal, &visitor, &look.report, &look.error);
    return end_look(&look, status);
}

/* Segments in a row under one key. */
static enum brd_status
note_key(void *arg, const struct brd_wal_segment_view *segment)
{
    struct look *look = arg;
    struct print_run *last = look->run_count > 0 ? &look->runs[look->run_count - 1] : NULL;
    struct print_run *runs;

    if (last != NULL && memcmp(last->key_id, segment->key_id, sizeof(last->key_id)) == 0) {
        last->last = segment->number;
        return BRD_OK;
    }
    runs = realloc(look->runs, (look->run_count + 1) * sizeof(*runs));
    if (runs == NULL)
        return BRD_OUT_OF_MEMORY;
    look->runs = runs;
    runs += look->run_count++;
    runs->first = runs->last = segment->number;
    memcpy(runs->key_id, segment->key_id, sizeof(runs->key_id));
    return BRD_OK;
}

static int
look_at_all(struct tool *tool, bool whole)
{
    struct look look = { .tool = tool };
    struct health_source source = { .dir = tool->operands[0],
                                    .keys = tool->keys,
                                    .whole = whole,
                                    .on_segment = note_key,
                                    .arg = &look };
    const char *dir = source.dir;
    struct brd_wal_error error = { .text = "" };
    struct health health = { .groups = 0 };
    struct pin *pin = NULL;
    enum brd_status status = pin_open(dir, tool->keys, &pin, &error);

    if (status == BRD_OK) {
        source.io = pin_io(pin);
        status = health_check(&source, &health, &error);
    }
    pin_close(&pin);
    if (health.identity.generation != 0 && !whole)
        print_identity(&tool->print, dir, &health.identity);
    print_damaged_slot(&tool->print, dir, &health.identity);
    if (status == BRD_OK && !whole)
        print_keys(&tool->print, &health, look.runs, look.run_count);
    free(look.runs);
    if (status != BRD_OK)
        return tool_fail(tool, status, &error);
    print_health(&tool->print, &health);
    if (whole && !tool->print.json)
        fprintf(tool->print.out, "%s is whole\n", dir);
    return tool_end(tool);
}

int
look_verify(struct tool *tool)
{
    return look_at_all(tool, true);
}

int
look_stat(struct tool *tool)
{
    return look_at_all(tool, false);
}
