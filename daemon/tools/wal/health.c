#include "health.h"

#include <string.h>

void
health_take_error(struct brd_wal_error *error, const struct brd_snapshot_error *from)
{
    memcpy(error->text, from->text, sizeof(error->text));
    memcpy(error->path, from->path, sizeof(error->path));
    error->offset = from->offset;
}

struct brd_snapshot_log
health_log(const struct brd_wal *wal, uint64_t end_version)
{
    return (struct brd_snapshot_log){ .uuid = brd_wal_uuid(wal),
                                      .base_version = brd_wal_base_version(wal),
                                      .end_version = end_version,
                                      .all_sealed = brd_wal_all_sealed(wal) };
}

struct check {
    const struct health_source *source;
    struct health *health;
};

static enum brd_status
note_segment(void *arg, const struct brd_wal_segment_view *segment)
{
    const struct health_source *source = ((const struct check *)arg)->source;

    return source->on_segment != NULL ? source->on_segment(source->arg, segment) : BRD_OK;
}

static enum brd_status
count_group(void *arg, const struct brd_wal_group_view *group)
{
    struct check *check = arg;

    (void)group;
    check->health->groups++;
    return BRD_OK;
}

enum brd_status
health_check(const struct health_source *source, struct health *out_health,
             struct brd_wal_error *out_error)
{
    const struct brd_wal_options options = {
        .dir = source->dir, .io = source->io, .keys = source->keys, .read_only = true
    };
    struct check check = { .source = source, .health = out_health };
    const struct brd_wal_visitor visitor = { .arg = &check,
                                             .segment = note_segment,
                                             .group = count_group };
    struct brd_snapshot_error error = { .text = "out of memory" };
    struct brd_snapshot_log log;
    struct brd_wal *wal = NULL;
    enum brd_status status;

    *out_health = (struct health){ .groups = 0 };
    status = brd_wal_open(&options, &wal, out_error);
    if (status != BRD_OK)
        return status;
    brd_wal_get_identity(wal, &out_health->identity);
    status = brd_wal_visit(wal, &visitor, &out_health->report, out_error);
    out_health->base_version = out_health->last_version = brd_wal_base_version(wal);
    if (out_health->report.last_version > out_health->last_version)
        out_health->last_version = out_health->report.last_version;
    if (status == BRD_OK) {
        log = health_log(wal, out_health->last_version);
        status = brd_snapshot_check(source->io, source->keys, source->dir, &log, source->whole,
                                    &out_health->snapshot, &error);
        if (status != BRD_OK)
            health_take_error(out_error, &error);
    }
    brd_wal_close(&wal);
    return status;
}
