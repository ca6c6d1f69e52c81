#include "print.h"

#include "base/plural.h"
#include "when.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define HEX_SHOWN 256 /* bytes of a payload that nobody knows, in text */

/* How many bytes the UTF-8 sequence at the front has; 0: it is none. Neither longer
 * forms than needed nor surrogates are one. */
static size_t
utf8_size(struct brd_bytes bytes)
{
    uint8_t first = bytes.data[0];
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t code = size == 1 ? first : first & (0x7fu >> size);
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t i;

    if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || size > bytes.size)
        return 0;
    for (i = 1; i < size; i++) {
        if ((bytes.data[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (bytes.data[i] & 0x3f);
    }
    return code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : size;
}

static bool
is_utf8(struct brd_bytes bytes)
{
    while (bytes.size > 0) {
        size_t size = utf8_size(bytes);

        if (size == 0)
            return false;
        bytes = brd_bytes(bytes.data + size, bytes.size - size);
    }
    return true;
}

static void
put_base64(FILE *out, struct brd_bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i;

    for (i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t three = (uint32_t)bytes.data[i] << 16;

        if (left > 1)
            three |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2)
            three |= bytes.data[i + 2];
        putc(digits[three >> 18], out);
        putc(digits[three >> 12 & 63], out);
        putc(left > 1 ? digits[three >> 6 & 63] : '=', out);
        putc(left > 2 ? digits[three & 63] : '=', out);
    }
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

/* A JSON string; the bytes are UTF-8. */
static void
put_json_text(FILE *out, struct brd_bytes bytes)
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

void
print_json_bytes(FILE *out, const char *name, struct brd_bytes bytes)
{
    if (is_utf8(bytes)) {
        fprintf(out, ",\"%s\":", name);
        put_json_text(out, bytes);
    } else {
        fprintf(out, ",\"%s_base64\":\"", name);
        put_base64(out, bytes);
        putc('"', out);
    }
}

/* In milliseconds: "2026-01-02T03:04:05.678Z". */
static void
put_time(FILE *out, uint64_t ns)
{
    char text[WHEN_TEXT_BYTES];
    size_t size;

    when_format(ns, text);
    size = strlen(text);
    if (size > 7 && text[size - 1] == 'Z')
        snprintf(text + size - 7, 2, "Z");
    fputs(text, out);
}

void
print_segment(const struct print *print, const struct brd_wal_segment_view *segment)
{
    FILE *out = print->out;

    if (print->json) {
        fprintf(out, "{\"type\":\"segment\",\"number\":%" PRIu64, segment->number);
        print_json_bytes(out, "path", brd_bytes_of(segment->path));
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
        print_json_bytes(out, "key", change->key);
        fprintf(out, ",\"base\":%" PRIu64 ",\"deadline_ms\":%" PRIu64 ",\"value_bytes\":%zu",
                change->base, change->deadline_ms, change->value.size);
        if (print->values)
            print_json_bytes(out, "value", change->value);
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
print_changes(const struct print *print, const struct filter *filter, struct brd_bytes payload)
{
    struct brd_change change;
    bool first = true;

    while (brd_change_next(&payload, &change) == BRD_OK) {
        if (!filter_passes(filter, &change))
            continue;
        if (!first)
            putc(print->json ? ',' : ';', print->out);
        print_change(print, &change);
        first = false;
    }
}

static bool
any_passes(const struct filter *filter, struct brd_bytes payload)
{
    struct brd_change change;

    while (brd_change_next(&payload, &change) == BRD_OK)
        if (filter_passes(filter, &change))
            return true;
    return false;
}

static void
print_unknown(const struct print *print, struct brd_bytes payload)
{
    FILE *out = print->out;
    size_t shown = payload.size;

    if (print->json) {
        fprintf(out, "\"payload_base64\":\"");
        put_base64(out, payload);
        fprintf(out, "\"}\n");
        return;
    }
    if (!print->values && shown > HEX_SHOWN)
        shown = HEX_SHOWN;
    fprintf(out, " payload_bytes=%zu payload=", payload.size);
    put_hex(out, brd_bytes(payload.data, shown));
    fprintf(out, "%s\n", shown < payload.size ? "..." : "");
}

void
print_record(const struct print *print, const struct filter *filter, const char *type,
             uint64_t version, struct brd_bytes payload)
{
    FILE *out = print->out;
    bool known = is_known(payload);

    if (version < filter->from || version > filter->to)
        return;
    if (filter_is_narrow(filter) && !(known && any_passes(filter, payload)))
        return;
    if (print->json)
        fprintf(out, "{\"type\":\"%s\",\"version\":%" PRIu64 ",\"bytes\":%zu,", type, version,
                payload.size);
    else
        fprintf(out, "%" PRIu64, version);
    if (!known) {
        print_unknown(print, payload);
        return;
    }
    if (print->json)
        fprintf(out, "\"changes\":[");
    print_changes(print, filter, payload);
    fprintf(out, "%s\n", print->json ? "]}" : "");
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
        fprintf(out, "{\"type\":\"directory\"");
        print_json_bytes(out, "path", brd_bytes_of(dir));
        fprintf(out, ",\"uuid\":\"");
        put_uuid(out, identity->uuid);
        fprintf(out,
                "\",\"epoch\":%" PRIu32 ",\"generation\":%" PRIu64 ",\"ceiling\":%" PRIu64
                ",\"first_segment\":%" PRIu64 ",\"newest_segment\":%" PRIu64
                ",\"synced_lsn\":%" PRIu64 ",\"last_version\":%" PRIu64
                ",\"orderly_stop\":%s,\"all_encrypted\":%s}\n",
                identity->epoch, identity->generation, identity->ceiling, identity->first_segment,
                identity->newest_segment, identity->synced_lsn, identity->last_version,
                identity->clean ? "true" : "false", identity->all_sealed ? "true" : "false");
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
print_damaged_slot(const struct print *print, const char *dir,
                   const struct brd_wal_identity *identity)
{
    const uint32_t damaged = 1 - identity->slot;
    FILE *out = print->out;
    char path[4096];
    char text[512];

    if (!identity->other_damaged)
        return;
    snprintf(text, sizeof(text),
             "slot %" PRIu32 " of meta is damaged, and slot %" PRIu32
             " is used, which may be one store older. A power cut in the middle of a store "
             "leaves that, so it is no failure: a daemon writes the slot again when it starts, "
             "and a running one within two seconds of writes",
             damaged, identity->slot);
    snprintf(path, sizeof(path), "%s/meta", dir);
    if (print->json) {
        fprintf(out, "{\"type\":\"note\"");
        print_json_bytes(out, "path", brd_bytes_of(path));
        fprintf(out, ",\"damaged_slot\":%" PRIu32 ",\"used_slot\":%" PRIu32, damaged,
                identity->slot);
        print_json_bytes(out, "text", brd_bytes_of(text));
        fprintf(out, "}\n");
    } else {
        fprintf(out, "note          %s\n", text);
    }
}

void
print_error(const struct print *print, enum brd_status status, const struct brd_wal_error *error)
{
    FILE *out = print->out;

    if (!print->json)
        return; /* the sentence on stderr says it all */
    fprintf(out, "{\"type\":\"error\",\"status\":\"%s\"", brd_status_name(status));
    print_json_bytes(out, "path", brd_bytes_of(error->path));
    fprintf(out, ",\"offset\":%" PRIu64, error->offset);
    print_json_bytes(out, "text", brd_bytes_of(error->text));
    fprintf(out, "}\n");
}

/* One file or some segments, and the key. */
static void
print_key(const struct print *print, const uint8_t *key_id, const char *what, uint64_t first,
          uint64_t last)
{
    static const uint8_t none[16];
    bool plain = memcmp(key_id, none, sizeof(none)) == 0;
    FILE *out = print->out;

    if (print->json)
        fprintf(out, "{\"type\":\"key\",\"key_id\":");
    else
        fprintf(out, "key           ");
    if (print->json)
        putc('"', out);
    if (!plain)
        put_hex(out, brd_bytes(key_id, sizeof(none)));
    else if (!print->json)
        fprintf(out, "none");
    if (print->json) {
        fprintf(out, "\",\"file\":\"%s\"", what);
        if (last != 0)
            fprintf(out, ",\"first\":%" PRIu64 ",\"last\":%" PRIu64, first, last);
        fprintf(out, "}\n");
    } else if (last == 0) {
        fprintf(out, ": %s\n", what);
    } else if (first == last) {
        fprintf(out, ": %s %" PRIu64 "\n", what, first);
    } else {
        fprintf(out, ": %ss %" PRIu64 " to %" PRIu64 "\n", what, first, last);
    }
}

void
print_keys(const struct print *print, const struct health *health, const struct print_run *runs,
           size_t count)
{
    static const uint8_t none[2][16];
    const struct brd_wal_identity *identity = &health->identity;
    bool any = memcmp(identity->key_ids, none, sizeof(none)) != 0;
    bool snapshot = health->snapshot.start_version != 0;
    size_t i;

    if (snapshot)
        any = any || memcmp(health->snapshot.key_id, none[0], sizeof(none[0])) != 0;
    for (i = 0; i < count; i++)
        any = any || memcmp(runs[i].key_id, none[0], sizeof(none[0])) != 0;
    if (!any)
        return;
    if (identity->all_sealed && !print->json)
        fprintf(print->out, "encrypted     all files; one that is not is damage\n");
    print_key(print, identity->key_ids[0], "meta", 0, 0);
    if (memcmp(identity->key_ids[0], identity->key_ids[1], sizeof(none[0])) != 0)
        print_key(print, identity->key_ids[1], "meta", 0, 0);
    if (snapshot)
        print_key(print, health->snapshot.key_id, "snapshot", 0, 0);
    for (i = 0; i < count; i++)
        print_key(print, runs[i].key_id, "segment", runs[i].first, runs[i].last);
}

static void
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
            print_json_bytes(out, "torn_path", brd_bytes_of(report->torn_path));
            fprintf(out, ",\"torn_offset\":%" PRIu64 ",\"torn_bytes\":%" PRIu64,
                    report->torn_offset, report->torn_bytes);
        }
        fprintf(out, "}\n");
        return;
    }
    fprintf(out,
            "log           %" PRIu32 " %s, %" PRIu64 " %s, %" PRIu64 " %s, %" PRIu64 " bytes\n",
            report->segments, brd_plural(report->segments, "segment", "segments"), groups,
            brd_plural(groups, "group", "groups"), report->records,
            brd_plural(report->records, "record", "records"), report->bytes);
    if (report->records > 0)
        fprintf(out, "versions      %" PRIu64 " to %" PRIu64 "\n", report->first_version,
                report->last_version);
    if (report->torn)
        fprintf(out,
                "torn          %s, offset %" PRIu64 ": %" PRIu64 " %s never whole; the next start "
                "drops %s\n",
                report->torn_path, report->torn_offset, report->torn_bytes,
                brd_plural(report->torn_bytes, "byte that was", "bytes that were"),
                brd_plural(report->torn_bytes, "it", "them"));
}

static void
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
                "snapshot      of version %" PRIu64 ", %" PRIu64 " %s, %" PRIu64 " bytes\n",
                snapshot->start_version, snapshot->records,
                brd_plural(snapshot->records, "entry", "entries"), snapshot->bytes);
}

void
print_health(const struct print *print, const struct health *health)
{
    print_report(print, &health->report, health->groups);
    if (health->snapshot.start_version != 0)
        print_snapshot(print, &health->snapshot);
}

void
print_snapshot_head(const struct print *print, const char *path,
                    const struct brd_snapshot_info *info)
{
    FILE *out = print->out;

    if (print->json) {
        fprintf(out, "{\"type\":\"snapshot\"");
        print_json_bytes(out, "path", brd_bytes_of(path));
        fprintf(out,
                ",\"start_version\":%" PRIu64 ",\"end_version\":%" PRIu64 ",\"entries\":%" PRIu64
                ",\"bytes\":%" PRIu64 ",\"epoch\":%" PRIu32 ",\"created_ns\":%" PRIu64 "}\n",
                info->start_version, info->end_version, info->records, info->bytes, info->epoch,
                info->created_ns);
        return;
    }
    fprintf(out,
            "snapshot %s versions=%" PRIu64 "..%" PRIu64 " entries=%" PRIu64 " bytes=%" PRIu64
            " epoch=%" PRIu32 " created=",
            path, info->start_version, info->end_version, info->records, info->bytes, info->epoch);
    put_time(out, info->created_ns);
    putc('\n', out);
}
