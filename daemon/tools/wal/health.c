#include "health.h"

#include <string.h>

void
health_take_error(struct brd_wal_error *error, const struct brd_snapshot_error *from)
{
    memcpy(error->text, from->text, sizeof(error->text));
    memcpy(error->path, from->path, sizeof(error->path));
    error->offset = from->offset;
}

static enum brd_status
count_group(void *arg, const struct brd_wal_group_view *group)
{
    struct health *health = arg;

    (void)group;
    health->groups++;
    return BRD_OK;
}

enum brd_status
health_check(const struct brd_io *io, const char *dir, bool whole, struct health *out_health,
             struct brd_wal_error *out_error)
{
    const struct brd_wal_options options = { .dir = dir, .io = io, .read_only = true };
    const struct brd_wal_visitor visitor = { .arg = out_health, .group = count_group };
    struct brd_snapshot_error error = { .text = "out of memory" };
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
        status = brd_snapshot_check(io, dir, brd_wal_uuid(wal), out_health->base_version,
                                    out_health->last_version, whole, &out_health->snapshot, &error);
        if (status != BRD_OK)
            health_take_error(out_error, &error);
    }
    brd_wal_close(&wal);
    return status;
}
