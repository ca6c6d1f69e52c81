/* backup and restore: one copies the data of a directory, on which a daemon may be running,
 * into a new one; the other brings such a copy to where a daemon looks for it.
 *
 * A copy is the newest snapshot, the log behind it up to its end, and meta; it is synced, and
 * read again as verify does. The source is pinned (pin.h), so checkpoints and new
 * segments under it change nothing. All that was acknowledged before the pinning is in files
 * that were opened by it, before the end of the log that the copying finds.
 *
 * A restore is built and checked beside its place, and then takes it in one step: whatever
 * happens, there are either the old data or the new. What was there is kept under
 * another name. Only where the place is a mount point, and empty, it is built in there. */
#include "base/plural.h"
#include "files.h"
#include "health.h"
#include "pin.h"
#include "tool.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM_SPARE (UINT64_C(1) << 20)

/* ---- Copying ---- */

/* What a directory has besides its log. */
static enum brd_status
find_snapshot(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
              struct brd_snapshot_info *out_info, struct brd_wal_error *error)
{
    const struct brd_wal_options options = {
        .dir = dir, .io = io, .keys = keys, .read_only = true
    };
    struct brd_snapshot_error snapshot_error = { .text = "out of memory" };
    struct brd_snapshot_log log;
    struct brd_wal *wal = NULL;
    enum brd_status status = brd_wal_open(&options, &wal, error);

    if (status != BRD_OK)
        return status;
    log = health_log(wal, UINT64_MAX);
    status = brd_snapshot_check(io, keys, dir, &log, false, out_info, &snapshot_error);
    if (status != BRD_OK)
        health_take_error(error, &snapshot_error);
    brd_wal_close(&wal);
    return status;
}

static enum brd_status
fail_io(struct brd_wal_error *error, int result, const char *action, const char *path)
{
    snprintf(error->text, sizeof(error->text), "cannot %s %s: %s", action, path,
             brd_file_error(result));
    snprintf(error->path, sizeof(error->path), "%s", path);
    return brd_file_status(result);
}

static enum brd_status
copy_snapshot(const struct brd_io *io, const char *from, const char *to,
              const struct brd_snapshot_info *info, struct brd_wal_error *error)
{
    char *in = brd_snapshot_path(from, info->start_version);
    char *out = brd_snapshot_path(to, info->start_version);
    enum brd_status status = BRD_OK;
    char folder[FILES_PATH_MAX];
    int result = -ENOMEM;

    if (in != NULL && out != NULL) {
        files_parent(folder, out);
        result = brd_file_make_dir(brd_io_real(), folder);
        if (result == 0)
            result = files_copy(io, in, out);
        if (result == 0)
            result = brd_file_sync_dir(brd_io_real(), folder);
    }
    if (result != 0)
        status = fail_io(error, result, "copy the snapshot to", out != NULL ? out : to);
    free(in);
    free(out);
    return status;
}

/* Copy the data of a directory, pinned, into another one, and read it again. */
static enum brd_status
copy_data(const struct pin *pin, const struct brd_keyring *keys, const char *from, const char *to,
          struct health *out_health, struct brd_wal_error *error)
{
    struct brd_wal_copy copy = {
        .from_dir = from, .from_io = pin_io(pin), .to_dir = to, .keys = keys
    };
    const struct health_source source = {
        .io = brd_io_real(), .dir = to, .keys = keys, .whole = true
    };
    struct brd_snapshot_info snapshot = { .bytes = 0 };
    uint64_t room = 0;
    enum brd_status status = find_snapshot(copy.from_io, from, keys, &snapshot, error);
    int result;

    if (status != BRD_OK)
        return status;
    result = files_room(to, &room);
    if (result != 0)
        return fail_io(error, result, "ask for the free space of", to);
    if (room < snapshot.bytes + ROOM_SPARE) {
        snprintf(error->text, sizeof(error->text),
                 "the data takes more than %" PRIu64 " bytes in %s, and only %" PRIu64
                 " are free: make room first",
                 snapshot.bytes + ROOM_SPARE, to, room);
        snprintf(error->path, sizeof(error->path), "%s", to);
        return BRD_DISK_FULL;
    }
    copy.covered_version = snapshot.start_version;
    copy.room_bytes = room - snapshot.bytes - ROOM_SPARE;
    if (snapshot.start_version != 0)
        status = copy_snapshot(copy.from_io, from, to, &snapshot, error);
    if (status == BRD_OK)
        status = brd_wal_copy(&copy, error);
    if (status == BRD_OK)
        status = health_check(&source, out_health, error);
    return status;
}

static void
say_copied(const struct tool *tool, const char *type, const char *dir, const char *aside,
           const struct health *health)
{
    FILE *out = tool->print.out;
    char when[WHEN_TEXT_BYTES];

    if (tool->print.json) {
        fprintf(out, "{\"type\":\"%s\"", type);
        print_json_bytes(out, "path", brd_bytes_of(dir));
        fprintf(out,
                ",\"version\":%" PRIu64 ",\"snapshot_version\":%" PRIu64
                ",\"snapshot_entries\":%" PRIu64 ",\"log_records\":%" PRIu64,
                health->last_version, health->snapshot.start_version, health->snapshot.records,
                health->report.records);
        if (aside != NULL)
            print_json_bytes(out, "aside", brd_bytes_of(aside));
        fprintf(out, "}\n");
        return;
    }
    fprintf(out, "%s holds ", dir);
    if (health->last_version == 0) {
        fprintf(out, "nothing yet");
    } else {
        when_format(health->last_version, when);
        fprintf(out, "version %" PRIu64 " of %s", health->last_version, when);
    }
    if (health->snapshot.start_version != 0)
        fprintf(out, ": a snapshot of %" PRIu64 " %s, and", health->snapshot.records,
                brd_plural(health->snapshot.records, "entry", "entries"));
    else
        fprintf(out, ":");
    fprintf(out, " %" PRIu64 " %s of log; it is whole\n", health->report.records,
            brd_plural(health->report.records, "record", "records"));
    if (aside != NULL)
        fprintf(out, "what was there before is in %s\n", aside);
}

/* ---- Backup ---- */

int
backup_run(struct tool *tool)
{
    const char *from = tool->operands[0];
    const char *to = tool->operands[1];
    struct brd_wal_error error = { .text = "" };
    struct files_place place;
    struct health health = { .groups = 0 };
    struct pin *pin = NULL;
    enum brd_status status;
    struct stat owner;
    int result = files_place_take(&place, to);

    if (result != 0)
        return tool_fail_place(tool, &place, result, to);
    status = pin_open(from, tool->keys, &pin, &error);
    if (status == BRD_OK)
        status = copy_data(pin, tool->keys, from, to, &health, &error);
    pin_close(&pin);
    if (status == BRD_OK && stat(from, &owner) == 0)
        files_give(to, &owner);
    files_place_leave(&place, status == BRD_OK);
    if (status != BRD_OK)
        return tool_fail(tool, status, &error);
    say_copied(tool, "backup", to, NULL, &health);
    return tool_end(tool);
}

/* ---- Restore ---- */

struct restore {
    struct tool *tool;
    const char *backup;
    char dir[FILES_PATH_MAX];   /* its place, symbolic links followed */
    char built[FILES_PATH_MAX]; /* where it is built: beside, or dir */
    char aside[FILES_PATH_MAX]; /* where goes what is there; "": there is none */
    bool in_place;
    bool there; /* there is a directory already */
    int lock_fd;
    struct stat owner;
};

/* What is at the place, and may it be taken? */
static int
look_at_place(struct restore *restore)
{
    const struct tool *tool = restore->tool;
    const char *dir = tool->operands[1];
    char parent[FILES_PATH_MAX];
    char holder[32] = "";
    bool is_free = true;
    struct stat st;
    char *real = lstat(dir, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(dir, NULL) : NULL;
    int result = 0;

    snprintf(restore->dir, sizeof(restore->dir), "%s", real != NULL ? real : dir);
    free(real);
    dir = restore->dir;
    restore->there = stat(dir, &st) == 0;
    if (stat(restore->there ? dir : restore->backup, &restore->owner) != 0)
        return tool_fail_io(tool, -errno, "look at", restore->there ? dir : restore->backup);
    if (restore->there)
        result = files_is_free(dir, &is_free);
    if (result == 0 && restore->there)
        result = files_lock(dir, is_free || tool->force, &restore->lock_fd, holder);
    if (result == -EWOULDBLOCK)
        return tool_complain(tool, BRD_BUSY, dir,
                             "%s is in use by another process (pid %s): stop it first", dir,
                             holder);
    if (result != 0)
        return tool_fail_io(tool, result, "look at", dir);
    if (!is_free && !tool->force)
        return tool_complain(tool, BRD_EXISTS, dir,
                             "%s holds something already; --force moves that aside", dir);
    files_parent(parent, dir);
    restore->in_place = restore->there && !files_same_disk(dir, parent);
    if (restore->in_place && !is_free)
        return tool_complain(tool, BRD_EXISTS, dir,
                             "%s is a mount point: move away what is in it, then restore", dir);
    if (restore->in_place)
        snprintf(restore->built, sizeof(restore->built), "%s", dir);
    else if (!files_stamp(restore->built, dir, "restoring") ||
             (!is_free && !files_stamp(restore->aside, dir, "before-restore")))
        return tool_complain(tool, BRD_INVALID_ARGUMENT, dir, "the path is too long");
    return EXIT_DONE;
}

/* What was built takes its place. From the moment that it has, built is the old directory
 * and is no longer ours to remove: *out_taken. */
static int
take_place(struct restore *restore, bool *out_taken)
{
    const struct brd_io *io = brd_io_real();
    char parent[FILES_PATH_MAX];
    int result;

    *out_taken = false;
    if (restore->in_place)
        return brd_file_sync_dir(io, restore->dir);
    result = restore->there ? files_exchange(restore->built, restore->dir)
                            : io->rename(io->ctx, restore->built, restore->dir);
    if (result != 0)
        return result;
    *out_taken = true;
    if (restore->there && restore->aside[0] == '\0')
        files_remove_free(restore->built);
    else if (restore->there)
        result = io->rename(io->ctx, restore->built, restore->aside);
    files_parent(parent, restore->dir);
    return result == 0 ? brd_file_sync_dir(io, parent) : result;
}

static int
build(struct restore *restore, const struct pin *pin, struct health *out_health)
{
    struct brd_wal_error error = { .text = "" };
    enum brd_status status = BRD_OK;
    bool taken = false;
    int result = restore->in_place ? 0 : brd_io_real()->mkdir(brd_io_real()->ctx, restore->built);

    if (result != 0)
        return tool_fail_io(restore->tool, result, "make", restore->built);
    status =
        copy_data(pin, restore->tool->keys, restore->backup, restore->built, out_health, &error);
    if (status == BRD_OK) {
        files_give(restore->built, &restore->owner);
        result = take_place(restore, &taken);
        if (result != 0 && taken)
            status = fail_io(&error, result, "finish: the data is in place, what was there is in",
                             restore->built);
        else if (result != 0)
            status = fail_io(&error, result, "put the data in place of", restore->dir);
    }
    if (status == BRD_OK)
        return EXIT_DONE;
    if (!taken)
        files_remove_data(restore->built, !restore->in_place);
    return tool_fail(restore->tool, status, &error);
}

int
restore_run(struct tool *tool)
{
    struct restore restore = { .tool = tool, .backup = tool->operands[0], .lock_fd = -1 };
    struct brd_wal_error error = { .text = "" };
    struct health health = { .groups = 0 };
    struct pin *pin = NULL;
    enum brd_status status = pin_open(restore.backup, tool->keys, &pin, &error);
    int exit_status;

    /* First of all: is it worth it? */
    if (status == BRD_OK)
        status = health_check(&(struct health_source){ .io = pin_io(pin),
                                                       .dir = restore.backup,
                                                       .keys = tool->keys,
                                                       .whole = true },
                              &health, &error);
    exit_status = status == BRD_OK ? look_at_place(&restore) : tool_fail(tool, status, &error);
    if (exit_status == EXIT_DONE)
        exit_status = build(&restore, pin, &health);
    brd_file_close(brd_io_real(), &restore.lock_fd);
    pin_close(&pin);
    if (exit_status != EXIT_DONE)
        return exit_status;
    say_copied(tool, "restored", restore.dir, restore.aside[0] != '\0' ? restore.aside : NULL,
               &health);
    return tool_end(tool);
}
