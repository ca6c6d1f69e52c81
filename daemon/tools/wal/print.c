#include "print.h"

#include "engine/engine.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define HEX_SHOWN 256 /* bytes of a payload that nobody knows, in text */

static bool
is_plain(struct brd_bytes bytes)
{
    size_t i;

    for (i = 0; i < bytes.size; i++)
        if (bytes.data[i] < 0x20 || bytes.data[i] > 0x7e)
            return false;
    return true;
}

static void
put_hex(FILE *out, struct brd_bytes bytes)
{
    size_t i;

    for (i = 0; i < bytes.size; i++)
        fprintf(out, "%02x", bytes.data[i]);
}

/* A string in quotes, everything unusual escaped; for text. */
static void
put_quoted(FILE *out, struct brd_bytes bytes)
{
    size_t i;

    putc('"', out);
    for (i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c > 0x7e)
            fprintf(out, "\\x%02x", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

/* A JSON string; the bytes are printable ASCII or a path. */
static void
put_json_string(FILE *out, struct brd_bytes bytes)
{
    size_t i;

    putc('"', out);
    for (i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

/* ,"NAME":"..." where it is plain, else ,"NAME_hex":"...". */
static void
put_json_bytes(FILE *out, const char *name, struct brd_bytes bytes)
{
    if (is_plain(bytes)) {
        fprintf(out, ",\"%s\":", name);
        put_json_string(out, bytes);
    } else {
        fprintf(out, ",\"%s_hex\":\"", name);
        put_hex(out, bytes);
        putc('"', out);
    }
}

/* "2026-01-02T03:04:05.678Z" */
static void
put_time(FILE *out, uint64_t ns)
{
    time_t seconds = (time_t)(ns / BRD_NS_PER_S);
    char text[32];
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL) {
        fprintf(out, "%" PRIu64, ns);
        return;
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(out, "%s.%03uZ", text, (unsigned)(ns % BRD_NS_PER_S / BRD_NS_PER_MS));
}

void
print_segment(const struct print *print, const struct brd_wal_segment_view *segment)
{
    FILE *out = print->out;

    if (print->json) {
        fprintf(out, "{\"type\":\"segment\",\"number\":%" PRIu64 ",\"path\":", segment->number);
        put_json_string(out, brd_bytes_of(segment->path));
        fprintf(out,
                ",\"file_bytes\":%" PRIu64 ",\"epoch\":%" PRIu32 ",\"start_lsn\":%" PRIu64
                ",\"synced_lsn\":%" PRIu64 ",\"base_version\":%" PRIu64 ",\"created_ns\":%" PRIu64
                "}\n",
                segment->file_bytes, segment->epoch, segment->start_lsn, segment->synced_lsn,
                segment->base_version, segment->created_ns);
        return;
    }
    fprintf(out, "segment %s epoch=%" PRIu32 " lsn=%" PRIu64 " bytes=%" PRIu64 " created=",
            segment->path, segment->epoch, segment->start_lsn, segment->file_bytes);
    put_time(out, segment->created_ns);
    putc('\n', out);
}

void
print_group(const struct print *print, const struct brd_wal_group_view *group)
{
    FILE *out = print->out;

    if (print->json)
        fprintf(out,
                "{\"type\":\"group\",\"segment\":%" PRIu64 ",\"offset\":%" PRIu64
                ",\"bytes\":%" PRIu64 ",\"lsn\":%" PRIu64 ",\"synced_lsn\":%" PRIu64
                ",\"records\":%" PRIu32 ",\"base_version\":%" PRIu64 ",\"last_version\":%" PRIu64
                "}\n",
                group->segment->number, group->offset, group->bytes, group->lsn, group->synced_lsn,
                group->records, group->base_version, group->last_version);
    else
        fprintf(out,
                "group offset=%" PRIu64 " bytes=%" PRIu64 " lsn=%" PRIu64 " synced=%" PRIu64
                " records=%" PRIu32 "\n",
                group->offset, group->bytes, group->lsn, group->synced_lsn, group->records);
}

static void
print_change(const struct print *print, const struct brd_change *change)
{
    FILE *out = print->out;

    if (print->json) {
        fprintf(out, "{\"kind\":\"%s\",\"ns\":%" PRIu64, change->kind, change->ns);
        put_json_bytes(out, "key", change->key);
        fprintf(out, ",\"base\":%" PRIu64 ",\"deadline_ms\":%" PRIu64 ",\"value_bytes\":%zu",
                change->base, change->deadline_ms, change->value.size);
        if (print->values)
            put_json_bytes(out, "value", change->value);
        putc('}', out);
        return;
    }
    fprintf(out, " %s ns=%" PRIu64 " key=", change->kind, change->ns);
    put_quoted(out, change->key);
    if (change->base != 0)
        fprintf(out, " base=%" PRIu64, change->base);
    if (change->deadline_ms != 0) {
        fprintf(out, " deadline=");
        put_time(out, change->deadline_ms * BRD_NS_PER_MS);
    }
    if (print->values) {
        fprintf(out, " value=");
        put_quoted(out, change->value);
    } else {
        fprintf(out, " value_bytes=%zu", change->value.size);
    }
}

/* Are these changes of the engine, to the last byte? */
static bool
is_known(struct brd_bytes payload)
{
    enum brd_status status = BRD_OK;

    while (status == BRD_OK) {
        struct brd_change change;

        status = brd_change_next(&payload, &change);
    }
    return status == BRD_NOT_FOUND;
}

static void
print_changes(const struct print *print, struct brd_bytes payload)
{
    struct brd_change change;
    bool first = true;

    while (brd_change_next(&payload, &change) == BRD_OK) {
        if (!first)
            putc(print->json ? ',' : ';', print->out);
        print_change(print, &change);
        first = false;
    }
}

void
print_record(const struct print *print, uint64_t version, struct brd_bytes payload)
{
    FILE *out = print->out;
    bool known = is_known(payload);

    if (print->json) {
        fprintf(out, "{\"type\":\"record\",\"version\":%" PRIu64 ",\"bytes\":%zu,", version,
                payload.size);
        if (known) {
            fprintf(out, "\"changes\":[");
            print_changes(print, payload);
            fprintf(out, "]}\n");
        } else {
            fprintf(out, "\"payload_hex\":\"");
            put_hex(out, payload);
            fprintf(out, "\"}\n");
        }
        return;
    }
    fprintf(out, "%" PRIu64, version);
    if (known) {
        print_changes(print, payload);
    } else {
        size_t shown = payload.size;

        if (!print->values && shown > HEX_SHOWN)
            shown = HEX_SHOWN;
        fprintf(out, " payload_bytes=%zu payload=", payload.size);
        put_hex(out, brd_bytes(payload.data, shown));
        if (shown < payload.size)
            fprintf(out, "...");
    }
    putc('\n', out);
}

static void
put_uuid(FILE *out, const uint8_t uuid[16])
{
    size_t i;

    for (i = 0; i < 16; i++)
        fprintf(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

void
print_identity(const struct print *print, const char *dir, const struct brd_wal_identity *identity)
{
    FILE *out = print->out;

    if (print->json) {
        fprintf(out, "{\"type\":\"directory\",\"path\":");
        put_json_string(out, brd_bytes_of(dir));
        fprintf(out, ",\"uuid\":\"");
        put_uuid(out, identity->uuid);
        fprintf(out,
                "\",\"epoch\":%" PRIu32 ",\"generation\":%" PRIu64 ",\"ceiling\":%" PRIu64
                ",\"first_segment\":%" PRIu64 ",\"newest_segment\":%" PRIu64
                ",\"synced_lsn\":%" PRIu64 ",\"last_version\":%" PRIu64 ",\"orderly_stop\":%s}\n",
                identity->epoch, identity->generation, identity->ceiling, identity->first_segment,
                identity->newest_segment, identity->synced_lsn, identity->last_version,
                identity->clean ? "true" : "false");
        return;
    }
    fprintf(out, "directory     %s\nuuid          ", dir);
    put_uuid(out, identity->uuid);
    fprintf(out,
            "\nepoch         %" PRIu32 "\nlast stop     %s\nceiling       %" PRIu64
            "\nlast version  %" PRIu64 "\nsynced lsn    %" PRIu64 "\nsegments      %" PRIu64
            " to %" PRIu64 "\n",
            identity->epoch, identity->clean ? "orderly" : "none: running, or it crashed",
            identity->ceiling, identity->last_version, identity->synced_lsn,
            identity->first_segment, identity->newest_segment);
}

void
print_error(const struct print *print, enum brd_status status, const struct brd_wal_error *error)
{
    FILE *out = print->out;

    if (!print->json)
        return; /* the sentence on stderr says it all */
    fprintf(out, "{\"type\":\"error\",\"status\":\"%s\",\"path\":", brd_status_name(status));
    put_json_string(out, brd_bytes_of(error->path));
    fprintf(out, ",\"offset\":%" PRIu64 ",\"text\":", error->offset);
    put_json_string(out, brd_bytes_of(error->text));
    fprintf(out, "}\n");
}

void
print_report(const struct print *print, const struct brd_wal_report *report, uint64_t groups)
{
    FILE *out = print->out;

    if (print->json) {
        fprintf(out,
                "{\"type\":\"log\",\"segments\":%" PRIu32 ",\"groups\":%" PRIu64
                ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"first_version\":%" PRIu64
                ",\"last_version\":%" PRIu64 ",\"torn\":%s",
                report->segments, groups, report->records, report->bytes, report->first_version,
                report->last_version, report->torn ? "true" : "false");
        if (report->torn) {
            fprintf(out, ",\"torn_path\":");
            put_json_string(out, brd_bytes_of(report->torn_path));
            fprintf(out, ",\"torn_offset\":%" PRIu64 ",\"torn_bytes\":%" PRIu64,
                    report->torn_offset, report->torn_bytes);
        }
        fprintf(out, "}\n");
        return;
    }
    fprintf(out,
            "log           %" PRIu32 " segments, %" PRIu64 " groups, %" PRIu64 " records, %" PRIu64
            " bytes\n",
            report->segments, groups, report->records, report->bytes);
    if (report->records > 0)
        fprintf(out, "versions      %" PRIu64 " to %" PRIu64 "\n", report->first_version,
                report->last_version);
    if (report->torn)
        fprintf(out,
                "torn          %s, offset %" PRIu64 ": %" PRIu64
                " bytes that were never whole; the next start drops them\n",
                report->torn_path, report->torn_offset, report->torn_bytes);
}

void
print_snapshot(const struct print *print, const struct brd_snapshot_info *snapshot)
{
    if (print->json)
        fprintf(print->out,
                "{\"type\":\"snapshot\",\"start_version\":%" PRIu64 ",\"end_version\":%" PRIu64
                ",\"entries\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"bytes\":%" PRIu64
                ",\"epoch\":%" PRIu32 "}\n",
                snapshot->start_version, snapshot->end_version, snapshot->records, snapshot->blocks,
                snapshot->bytes, snapshot->epoch);
    else
        fprintf(print->out,
                "snapshot      of version %" PRIu64 ", %" PRIu64 " entries, %" PRIu64 " bytes\n",
                snapshot->start_version, snapshot->records, snapshot->bytes);
}
