/* repair: from a directory that no daemon starts on to one that it does.
 *
 * A state of the data is a snapshot (or none) and a stretch of the log that reaches back to
 * its start and on to its end. Of all such pairs that are whole the one that reaches
 * furthest is kept; everything behind it goes, because it may depend on what is damaged. A
 * snapshot that nobody wrote into meanwhile (start is end) is a state without any log.
 * Where there is no pair there is nothing to keep, and nothing is changed.
 *
 * First all that will be changed is copied beside the directory, and made durable; files
 * that go are moved there. A hard link would not do for what is changed in place, and
 * what stays unchanged needs no copy. meta comes last (wal/repair.c): until then the
 * directory is as damaged as before, and an interrupted repair can be run again.
 *
 * The directory's lock is held throughout, so no daemon is looking. */
#include "base/plural.h"
#include "files.h"
#include "health.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM_SPARE (UINT64_C(1) << 20)

/* What is kept. */
struct plan {
    bool possible;
    const struct brd_wal_stretch *stretch;    /* NULL: nothing of the log */
    const struct brd_snapshot_file *snapshot; /* NULL: none */
    uint64_t version;                         /* the newest that is kept */
    bool mend; /* the log has to be changed, not only files removed */
    struct brd_wal_lost lost;
};

struct repair {
    struct tool *tool;
    const char *dir;
    int lock_fd;
    struct brd_wal_survey survey;
    struct brd_snapshot_file *snapshots; /* owned; newest first */
    size_t snapshot_count;
    struct plan plan;
    char aside[FILES_PATH_MAX]; /* where the backup is or would be */
    uint64_t copy_bytes;        /* that it takes */
};

/* ---- What is there ---- */

static int
examine(struct repair *repair)
{
    struct tool *tool = repair->tool;
    struct brd_snapshot_error snapshot_error = { .text = "" };
    struct brd_wal_error error = { .text = "" };
    enum brd_status status;
    size_t i;

    status =
        brd_wal_survey(brd_io_real(), repair->dir, repair->tool->keys, &repair->survey, &error);
    if (status == BRD_OK) {
        const struct brd_snapshot_log log = { .uuid = brd_bytes(repair->survey.identity.uuid, 16),
                                              .all_sealed = repair->survey.identity.all_sealed ||
                                                            brd_keyring_only(tool->keys) };

        status = brd_snapshot_list(brd_io_real(), tool->keys, repair->dir, &log, &repair->snapshots,
                                   &repair->snapshot_count, &snapshot_error);
        /* What cannot be read for want of its key is not damage. */
        for (i = 0; status == BRD_OK && i < repair->snapshot_count; i++)
            if (repair->snapshots[i].status == BRD_WRONG_KEY) {
                status = BRD_WRONG_KEY;
                snapshot_error = repair->snapshots[i].error;
            }
        if (status != BRD_OK)
            health_take_error(&error, &snapshot_error);
    }
    return status == BRD_OK ? EXIT_DONE : tool_fail(tool, status, &error);
}

static bool
log_is_whole(const struct repair *repair)
{
    return !repair->survey.meta_damaged && !repair->survey.stretches[0].damaged;
}

/* ---- What to keep ---- */

static void
offer(struct plan *plan, const struct brd_wal_stretch *stretch,
      const struct brd_snapshot_file *snapshot, uint64_t version)
{
    if (plan->possible && plan->version >= version)
        return;
    plan->possible = true;
    plan->stretch = stretch;
    plan->snapshot = snapshot;
    plan->version = version;
}

/* The newest snapshot that a stretch makes a state of; or none, where it begins with the
 * first write ever. */
static void
offer_stretch(struct repair *repair, const struct brd_wal_stretch *stretch)
{
    size_t i;

    for (i = 0; i < repair->snapshot_count; i++) {
        const struct brd_snapshot_file *file = &repair->snapshots[i];

        if (file->status == BRD_OK && file->start_version >= stretch->base_version &&
            file->info.end_version <= stretch->last_version) {
            offer(&repair->plan, stretch, file, stretch->last_version);
            return;
        }
    }
    if (stretch->base_version == 0)
        offer(&repair->plan, stretch, NULL, stretch->last_version);
}

static void
choose(struct repair *repair)
{
    const struct brd_wal_survey *survey = &repair->survey;
    struct plan *plan = &repair->plan;
    size_t i;

    for (i = 0; i < survey->count; i++)
        if (survey->stretches[i].last_segment != 0)
            offer_stretch(repair, &survey->stretches[i]);
    for (i = 0; i < repair->snapshot_count; i++) {
        const struct brd_snapshot_file *file = &repair->snapshots[i];

        if (file->status == BRD_OK && file->start_version == file->info.end_version)
            offer(plan, NULL, file, file->start_version);
    }
    /* What begins with the first write ever may also end before it. */
    if (!plan->possible && survey->stretches[0].last_segment == 0 &&
        survey->stretches[0].first_segment == 1)
        offer(plan, NULL, NULL, 0);
    plan->mend =
        !log_is_whole(repair) ||
        (plan->stretch != NULL ? plan->stretch != survey->stretches
                               : survey->stretches[0].last_segment != 0 || plan->version != 0);
}

static bool
segment_goes(const struct plan *plan, uint64_t number)
{
    if (!plan->mend)
        return false;
    return plan->stretch == NULL || number < plan->stretch->first_segment ||
           number > plan->stretch->last_segment;
}

static bool
snapshot_goes(const struct plan *plan, const struct brd_snapshot_file *file)
{
    return plan->snapshot == NULL || file->start_version > plan->snapshot->start_version;
}

static bool
is_needed(const struct repair *repair)
{
    return repair->plan.mend ||
           (repair->snapshot_count > 0 && snapshot_goes(&repair->plan, &repair->snapshots[0]));
}

/* ---- What is said ---- */

static void
say_damage(const struct repair *repair, const char *text, const char *path, uint64_t offset)
{
    FILE *out = repair->tool->print.out;

    if (!repair->tool->print.json) {
        fprintf(out, "damage        %s\n", text);
        return;
    }
    fprintf(out, "{\"type\":\"damage\"");
    print_json_bytes(out, "path", brd_bytes_of(path));
    fprintf(out, ",\"offset\":%" PRIu64, offset);
    print_json_bytes(out, "text", brd_bytes_of(text));
    fprintf(out, "}\n");
}

static void
say_damages(const struct repair *repair)
{
    const struct brd_wal_survey *survey = &repair->survey;
    size_t i;

    if (survey->meta_damaged)
        say_damage(repair, survey->meta_damage.text, survey->meta_damage.path,
                   survey->meta_damage.offset);
    for (i = 0; i < survey->count; i++) {
        const struct brd_wal_stretch *stretch = &survey->stretches[i];

        if (stretch->damaged)
            say_damage(repair, stretch->damage.text, stretch->damage.path, stretch->damage.offset);
    }
    for (i = 0; i < repair->snapshot_count; i++) {
        const struct brd_snapshot_file *file = &repair->snapshots[i];

        if (file->status != BRD_OK)
            say_damage(repair, file->error.text, file->error.path, file->error.offset);
    }
}

/* One file that is changed, and how. */
static void
say_file(const struct repair *repair, const char *action, const char *path, uint64_t offset)
{
    FILE *out = repair->tool->print.out;

    if (repair->tool->print.json) {
        fprintf(out, "{\"type\":\"file\",\"action\":\"%s\"", action);
        print_json_bytes(out, "path", brd_bytes_of(path));
        if (offset != 0)
            fprintf(out, ",\"offset\":%" PRIu64, offset);
        fprintf(out, "}\n");
    } else if (offset != 0) {
        fprintf(out, "%-13s %s at byte %" PRIu64 "\n", action, path, offset);
    } else {
        fprintf(out, "%-13s %s\n", action, path);
    }
}

static bool
is_anything_lost(const struct brd_wal_lost *lost)
{
    return lost->records != 0 || lost->damaged_bytes != 0 || lost->last_version != 0;
}

static void
say_lost(const struct repair *repair)
{
    const struct plan *plan = &repair->plan;
    const struct brd_wal_lost *lost = &plan->lost;
    FILE *out = repair->tool->print.out;

    if (!is_anything_lost(lost)) {
        fprintf(out, "lost          nothing\n");
        return;
    }
    fprintf(out, "lost          every version above %" PRIu64, plan->version);
    if (lost->last_version != 0)
        fprintf(out, ", to %" PRIu64 " at least", lost->last_version);
    fprintf(out,
            ": %" PRIu64 " %s in %" PRIu64 " bytes that are whole, and what was in %" PRIu64
            " damaged %s\n",
            lost->records, brd_plural(lost->records, "record", "records"), lost->bytes,
            lost->damaged_bytes, brd_plural(lost->damaged_bytes, "byte", "bytes"));
}

static void
say_plan(const struct repair *repair)
{
    const struct plan *plan = &repair->plan;
    const struct brd_wal_lost *lost = &plan->lost;
    FILE *out = repair->tool->print.out;
    uint64_t records = plan->stretch != NULL ? plan->stretch->records : 0;
    uint64_t bytes = plan->stretch != NULL ? plan->stretch->bytes : 0;
    uint64_t snapshot_version = plan->snapshot != NULL ? plan->snapshot->start_version : 0;

    if (repair->tool->print.json) {
        fprintf(out,
                "{\"type\":\"repair\",\"kept_version\":%" PRIu64 ",\"kept_records\":%" PRIu64
                ",\"kept_bytes\":%" PRIu64 ",\"snapshot_version\":%" PRIu64
                ",\"lost_records\":%" PRIu64 ",\"lost_bytes\":%" PRIu64
                ",\"damaged_bytes\":%" PRIu64 ",\"lost_version\":%" PRIu64 "}\n",
                plan->version, records, bytes, snapshot_version, lost->records, lost->bytes,
                lost->damaged_bytes, lost->last_version);
        return;
    }
    if (plan->version == 0)
        fprintf(out, "keep          nothing: ");
    else
        fprintf(out, "keep          every version up to %" PRIu64 ": ", plan->version);
    if (plan->snapshot != NULL)
        fprintf(out, "the snapshot of version %" PRIu64 ", and ", snapshot_version);
    fprintf(out, "%" PRIu64 " %s in %" PRIu64 " bytes of log\n", records,
            brd_plural(records, "record", "records"), bytes);
    say_lost(repair);
    if (repair->survey.meta_damaged)
        fprintf(out, "              (without meta nobody knows whether segments are missing at the "
                     "end)\n");
}

/* ---- Files ---- */

/* Call fn for each file that goes, newest first; stops at the first failure. */
static int
for_removed(struct repair *repair,
            int (*fn)(struct repair *repair, const char *path, uint64_t bytes))
{
    int result = 0;
    size_t i;

    for (i = 0; result == 0 && i < repair->snapshot_count; i++)
        if (snapshot_goes(&repair->plan, &repair->snapshots[i]))
            result = fn(repair, repair->snapshots[i].path, repair->snapshots[i].bytes);
    for (i = repair->survey.number_count; result == 0 && i > 0; i--) {
        uint64_t bytes = 0;
        char *path;

        if (!segment_goes(&repair->plan, repair->survey.numbers[i - 1]))
            continue;
        path = brd_wal_segment_path(repair->dir, repair->survey.numbers[i - 1]);
        result = path == NULL ? -ENOMEM : files_size(path, &bytes);
        if (result == 0)
            result = fn(repair, path, bytes);
        free(path);
    }
    return result;
}

/* The same for each file that is changed in place. */
static int
for_changed(struct repair *repair,
            int (*fn)(struct repair *repair, const char *path, uint64_t bytes))
{
    const struct plan *plan = &repair->plan;
    char path[FILES_PATH_MAX];
    uint64_t bytes = 0;
    int result = 0;

    if (!plan->mend)
        return 0;
    if (plan->stretch != NULL) {
        char *segment = brd_wal_segment_path(repair->dir, plan->stretch->last_segment);

        result = segment == NULL ? -ENOMEM : files_size(segment, &bytes);
        if (result == 0 && bytes > plan->stretch->end_offset)
            result = fn(repair, segment, bytes);
        free(segment);
    }
    if (result != 0 || !files_join(path, repair->dir, "meta"))
        return result;
    result = files_size(path, &bytes);
    if (result == -ENOENT)
        return 0;
    return result != 0 ? result : fn(repair, path, bytes);
}

static int
say_removed(struct repair *repair, const char *path, uint64_t bytes)
{
    (void)bytes;
    say_file(repair, "remove", path, 0);
    if (!files_same_disk(path, repair->aside))
        repair->copy_bytes += bytes;
    return 0;
}

static int
say_changed(struct repair *repair, const char *path, uint64_t bytes)
{
    const struct brd_wal_stretch *stretch = repair->plan.stretch;
    bool is_meta = strcmp(path + strlen(path) - 5, "/meta") == 0;

    say_file(repair, is_meta ? "update" : "cut", path,
             is_meta || stretch == NULL ? 0 : stretch->end_offset);
    repair->copy_bytes += bytes;
    return 0;
}

/* Where a file of the directory is kept aside. */
static bool
aside_path(const struct repair *repair, const char *path, char out[FILES_PATH_MAX])
{
    return files_join(out, repair->aside, path + strlen(repair->dir) + 1);
}

static int
copy_aside(struct repair *repair, const char *path, uint64_t bytes)
{
    char out[FILES_PATH_MAX];

    (void)bytes;
    return aside_path(repair, path, out) ? files_copy(brd_io_real(), path, out) : -ENAMETOOLONG;
}

static int
move_aside(struct repair *repair, const char *path, uint64_t bytes)
{
    char out[FILES_PATH_MAX];
    char parent[FILES_PATH_MAX];
    int result = aside_path(repair, path, out) ? 0 : -ENAMETOOLONG;

    (void)bytes;
    if (result == 0)
        result = files_move(path, out);
    if (result == 0) {
        files_parent(parent, out);
        result = brd_file_sync_dir(brd_io_real(), parent);
    }
    if (result == 0) {
        files_parent(parent, path);
        result = brd_file_sync_dir(brd_io_real(), parent);
    }
    return result;
}

/* ---- Doing it ---- */

static int
make_aside(struct repair *repair)
{
    static const char *const names[] = { "wal", "snapshots" };
    const struct brd_io *io = brd_io_real();
    int result = brd_file_make_dir(io, repair->aside);
    char path[FILES_PATH_MAX];
    size_t i;

    for (i = 0; result == 0 && i < sizeof(names) / sizeof(names[0]); i++)
        result =
            files_join(path, repair->aside, names[i]) ? brd_file_make_dir(io, path) : -ENAMETOOLONG;
    if (result == 0)
        result = for_changed(repair, copy_aside);
    for (i = 0; result == 0 && i < sizeof(names) / sizeof(names[0]); i++)
        result =
            files_join(path, repair->aside, names[i]) ? brd_file_sync_dir(io, path) : -ENAMETOOLONG;
    return result == 0 ? brd_file_sync_dir(io, repair->aside) : result;
}

static int
carry_out(struct repair *repair)
{
    struct tool *tool = repair->tool;
    struct brd_wal_error error = { .text = "" };
    enum brd_status status = BRD_OK;
    struct health health;
    struct stat owner;
    int result = stat(repair->dir, &owner) == 0 ? 0 : -errno;

    if (result == 0)
        result = make_aside(repair);
    if (result != 0) {
        files_remove_data(repair->aside, true);
        return tool_complain(tool, brd_file_status(result), repair->aside,
                             "cannot make a backup in %s: %s; nothing was changed", repair->aside,
                             brd_file_error(result));
    }
    result = for_removed(repair, move_aside);
    if (result != 0)
        return tool_complain(tool, brd_file_status(result), repair->dir,
                             "cannot move what has to go from %s to %s: %s; what was moved is "
                             "there; run the repair again",
                             repair->dir, repair->aside, brd_file_error(result));
    if (repair->plan.mend)
        status = brd_wal_mend(brd_io_real(), repair->dir, tool->keys, &repair->survey,
                              repair->plan.stretch, repair->plan.version, &error);
    files_give(repair->dir, &owner);
    if (status == BRD_OK)
        status = health_check(&(struct health_source){ .io = brd_io_real(),
                                                       .dir = repair->dir,
                                                       .keys = tool->keys,
                                                       .whole = true },
                              &health, &error);
    if (status != BRD_OK)
        return tool_fail(tool, status, &error);
    if (!tool->print.json)
        fprintf(tool->print.out, "%s is whole now; what was changed is in %s as it was before\n",
                repair->dir, repair->aside);
    return tool_end(tool);
}

/* Is there room for the backup? */
static int
check_room(struct repair *repair)
{
    char parent[FILES_PATH_MAX];
    uint64_t room = 0;
    int result;

    files_parent(parent, repair->aside);
    result = files_room(parent, &room);
    if (result != 0)
        return tool_fail_io(repair->tool, result, "ask for the free space of", parent);
    if (room >= repair->copy_bytes + ROOM_SPARE)
        return EXIT_DONE;
    return tool_complain(repair->tool, BRD_DISK_FULL, repair->aside,
                         "the backup in %s takes %" PRIu64 " bytes, and only %" PRIu64
                         " are free: make room first",
                         repair->aside, repair->copy_bytes + ROOM_SPARE, room);
}

static int
refuse(const struct repair *repair)
{
    return tool_complain(
        repair->tool, BRD_CORRUPT, repair->dir,
        "%s cannot be repaired: no snapshot that is whole has the log that it needs, and the log "
        "does not go back to the first write. Nothing was changed. Restore a backup, or look at "
        "what is left: brindle-wal dump, brindle-wal dump --snapshot",
        repair->dir);
}

static int
count_lost(struct repair *repair)
{
    struct plan *plan = &repair->plan;
    struct brd_wal_error error = { .text = "" };
    enum brd_status status = BRD_OK;
    bool everything = plan->stretch == NULL || plan->stretch->damaged;

    if (plan->mend && everything)
        status = brd_wal_count_lost(brd_io_real(), repair->dir, &repair->survey, plan->stretch,
                                    plan->version, &plan->lost, &error);
    return status == BRD_OK ? EXIT_DONE : tool_fail(repair->tool, status, &error);
}

static int
run_locked(struct repair *repair)
{
    struct tool *tool = repair->tool;
    int status = examine(repair);
    int result;

    if (status != EXIT_DONE)
        return status;
    choose(repair);
    if (repair->plan.possible && !is_needed(repair)) {
        if (!tool->print.json)
            fprintf(tool->print.out, "%s is whole: there is nothing to repair\n", repair->dir);
        return tool_end(tool);
    }
    say_damages(repair);
    if (!repair->plan.possible)
        return refuse(repair);
    status = count_lost(repair);
    if (status != EXIT_DONE)
        return status;
    say_plan(repair);
    if (!files_stamp(repair->aside, repair->dir, "before-repair"))
        return tool_complain(tool, BRD_INVALID_ARGUMENT, repair->dir, "the path is too long");
    result = for_removed(repair, say_removed);
    if (result == 0)
        result = for_changed(repair, say_changed);
    if (result != 0)
        return tool_fail_io(tool, result, "look at the files of", repair->dir);
    say_file(repair, "backup", repair->aside, 0);
    status = check_room(repair);
    if (status != EXIT_DONE)
        return status;
    if (tool->yes)
        return carry_out(repair);
    status = tool_end(tool);
    if (!tool->print.json)
        fprintf(stderr, "brindle-wal: nothing was changed; --yes does it\n");
    return status == EXIT_DONE ? EXIT_DAMAGED : status;
}

int
repair_run(struct tool *tool)
{
    struct repair repair = { .tool = tool, .dir = tool->operands[0], .lock_fd = -1 };
    char holder[32] = "";
    int result = files_lock(repair.dir, tool->yes, &repair.lock_fd, holder);
    int status;

    if (result == -EWOULDBLOCK)
        return tool_complain(tool, BRD_BUSY, repair.dir,
                             "%s is in use by another process (pid %s): stop it first", repair.dir,
                             holder);
    if (result != 0)
        return tool_fail_io(tool, result, "lock", repair.dir);
    status = run_locked(&repair);
    free(repair.snapshots);
    brd_wal_survey_fini(&repair.survey);
    brd_file_close(brd_io_real(), &repair.lock_fd);
    return status;
}
