/* dump, verify and stat. They change nothing and take no lock; beside a daemon they
 * see the log up to some moment.
 *
 * They read through brd_wal_visit, the same reader that recovery uses: what it calls
 * whole is what a start would apply. */
#include "tool.h"

#include <string.h>

struct look {
    struct tool *tool;
    struct brd_wal *wal; /* owned */
    uint64_t groups;
    struct brd_wal_report report;
    struct brd_wal_error error;
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
count_group(void *arg, const struct brd_wal_group_view *group)
{
    struct look *look = arg;

    (void)group;
    look->groups++;
    return BRD_OK;
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

static enum brd_status
open_log(struct look *look, struct tool *tool)
{
    const struct brd_wal_options options = { .dir = tool->operands[0], .read_only = true };

    *look = (struct look){ .tool = tool };
    return brd_wal_open(&options, &look->wal, &look->error);
}

static int
end_look(struct look *look, enum brd_status status)
{
    brd_wal_close(&look->wal);
    if (status != BRD_OK && status != DEAF)
        return tool_fail(look->tool, status, &look->error);
    return tool_end(look->tool);
}

static enum brd_status
snapshot_failed(struct look *look, enum brd_status status, const struct brd_snapshot_error *error)
{
    if (status == BRD_OK || status == DEAF)
        return status;
    memcpy(look->error.text, error->text, sizeof(look->error.text));
    memcpy(look->error.path, error->path, sizeof(look->error.path));
    look->error.offset = error->offset;
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
    enum brd_status status = brd_snapshot_visit(brd_io_real(), tool->operands[0], &visitor, &error);

    return end_look(&look, snapshot_failed(&look, status, &error));
}

int
look_dump(struct tool *tool)
{
    const bool records_only = tool->records_only || filter_is_narrow(&tool->filter);
    struct look look;
    const struct brd_wal_visitor visitor = {
        .arg = &look,
        .segment = records_only ? NULL : on_segment,
        .group = records_only ? NULL : on_group,
        .record = on_record,
    };
    enum brd_status status;

    if (tool->snapshot)
        return dump_snapshot(tool);
    status = open_log(&look, tool);
    if (status == BRD_OK)
        status = brd_wal_visit(look.wal, &visitor, &look.report, &look.error);
    return end_look(&look, status);
}

/* The newest snapshot, to its end or only where it begins and ends. */
static enum brd_status
check_snapshot(struct look *look, bool whole, struct brd_snapshot_info *out_snapshot)
{
    struct brd_snapshot_error error = { .text = "out of memory" };
    uint64_t base_version = brd_wal_base_version(look->wal);
    uint64_t last_version = look->report.last_version;
    enum brd_status status =
        brd_snapshot_check(brd_io_real(), look->tool->operands[0], brd_wal_uuid(look->wal),
                           base_version, last_version > base_version ? last_version : base_version,
                           whole, out_snapshot, &error);

    return snapshot_failed(look, status, &error);
}

static int
look_at_all(struct tool *tool, bool whole)
{
    struct look look;
    const struct brd_wal_visitor visitor = { .arg = &look, .group = count_group };
    struct brd_snapshot_info snapshot = { 0 };
    struct brd_wal_identity identity;
    enum brd_status status = open_log(&look, tool);

    if (status == BRD_OK && !whole) {
        brd_wal_get_identity(look.wal, &identity);
        print_identity(&tool->print, tool->operands[0], &identity);
    }
    if (status == BRD_OK)
        status = brd_wal_visit(look.wal, &visitor, &look.report, &look.error);
    if (status == BRD_OK)
        status = check_snapshot(&look, whole, &snapshot);
    if (status == BRD_OK) {
        print_report(&tool->print, &look.report, look.groups);
        if (snapshot.start_version != 0)
            print_snapshot(&tool->print, &snapshot);
        if (whole && !tool->print.json)
            fprintf(tool->print.out, "%s is whole\n", tool->operands[0]);
    }
    return end_look(&look, status);
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
