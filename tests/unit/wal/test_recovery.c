/* What the reader makes of logs that were cut, damaged, mixed up, or begun twice:
 * a prefix, or a refusal that names file and offset. */
#include "wal_test.h"

#include "base/crc32c.h"
#include "wal/group.h"
#include "wal/segment.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

static struct log_test test;

/* The records of a log as replay gives them, for a quick comparison. */
#define RECORDS_MAX 2000

static struct brd_bytes expected[RECORDS_MAX];
static uint8_t *pristine; /* of the file that is being damaged */
static size_t pristine_size;

static void
setup(void)
{
    test_init(&test);
}

static void
teardown(void)
{
    size_t i;

    test_fini(&test);
    free(pristine);
    pristine = NULL;
    for (i = 0; i < RECORDS_MAX; i++) {
        free((void *)(uintptr_t)expected[i].data);
        expected[i] = brd_bytes(NULL, 0);
    }
}

static void
fill_expected(uint64_t count)
{
    uint8_t content[TEST_SIZE_MAX];
    uint64_t i;

    ck_assert_uint_le(count, RECORDS_MAX);
    for (i = 0; i < count; i++) {
        size_t size = test_content(i, test.filler, content);
        uint8_t *copy = malloc(size);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, content, size);
        expected[i] = brd_bytes(copy, size);
    }
}

static enum brd_status
compare_record(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    (void)arg;
    (void)version;
    (void)done;
    (void)total;
    BRD_CHECK(test.replayed < RECORDS_MAX);
    BRD_CHECK(brd_bytes_equal(payload, expected[test.replayed]));
    test.replayed++;
    return BRD_OK;
}

/* Open without changing anything and compare; nothing is open afterwards. */
static enum brd_status
judge(void)
{
    enum brd_status status;

    test.options.read_only = true;
    test.replayed = 0;
    memset(&test.error, 0, sizeof(test.error));
    status = brd_wal_open(&test.options, &test.wal, &test.error);
    if (status == BRD_OK)
        status = brd_wal_replay(test.wal, compare_record, NULL, &test.report, &test.error);
    brd_wal_close(&test.wal);
    test.options.read_only = false;
    return status;
}

/* The only acceptable outcomes, and which it was. */
static bool
is_prefix_or_refusal(const char *path)
{
    enum brd_status status = judge();

    if (status == BRD_OK)
        return true;
    ck_assert_msg(status == BRD_CORRUPT || status == BRD_UNSUPPORTED, "%s", test.error.text);
    ck_assert_str_eq(test.error.path, path);
    ck_assert_ptr_nonnull(strstr(test.error.text, path));
    return false;
}

static void
keep_pristine(const char *path)
{
    struct brd_bytes content = faulty_content(test.disk, path);

    ck_assert_ptr_nonnull(content.data);
    pristine = malloc(content.size);
    ck_assert_ptr_nonnull(pristine);
    memcpy(pristine, content.data, content.size);
    pristine_size = content.size;
}

static void
restore(const char *path)
{
    faulty_set_content(test.disk, path, brd_bytes(pristine, pristine_size));
}

/* Where the last group of a segment ends, by reading it. */
static enum brd_status
note_end(void *arg, const struct brd_wal_group_view *group)
{
    *(uint64_t *)arg = group->offset + group->bytes;
    return BRD_OK;
}

static uint64_t
end_of_log(void)
{
    uint64_t end = SEGMENT_HEADER_BYTES;
    const struct brd_wal_visitor visitor = { .arg = &end, .group = note_end };

    test.options.read_only = true;
    ck_assert_int_eq(brd_wal_open(&test.options, &test.wal, &test.error), BRD_OK);
    ck_assert_int_eq(brd_wal_visit(test.wal, &visitor, &test.report, &test.error), BRD_OK);
    brd_wal_close(&test.wal);
    test.options.read_only = false;
    return end;
}

/* One segment of about 64 KiB, each record a group; `synced` of them were synced
 * and a later group knows it; killed. The file ends where the log does. */
static uint64_t
make_log(uint64_t records, uint64_t synced)
{
    uint64_t end;

    test.options.segment_bytes = 128 << 10;
    test_up(&test);
    if (synced > 0)
        test_append_groups(&test, synced, BRD_DURABILITY_FULL);
    test_append_groups(&test, records - synced, BRD_DURABILITY_NORMAL);
    test_kill(&test);
    fill_expected(records);
    end = end_of_log();
    ck_assert_uint_eq(test.report.records, records);
    faulty_remove(test.disk, test_segment(2)); /* the one prepared ahead */
    faulty_cut_file(test.disk, test_segment(1), end);
    keep_pristine(test_segment(1));
    return end;
}

/* ---- Cuts and flips ---- */

START_TEST(every_cut_leaves_a_prefix_or_is_refused)
{
    const char *path = test_segment(1);
    uint64_t last = UINT64_MAX;
    uint64_t torn = 0;
    uint64_t size;

    test.filler = 500;
    size = make_log(200, 0);
    ck_assert_uint_gt(size, 60000);
    while (size-- > 0) {
        faulty_cut_file(test.disk, path, size);
        if (size < SEGMENT_HEADER_BYTES) {
            ck_assert(!is_prefix_or_refusal(path)); /* meta knows that it was there */
            continue;
        }
        ck_assert(is_prefix_or_refusal(path));
        ck_assert_uint_le(test.replayed, last);
        last = test.replayed;
        ck_assert(test.report.torn || test.report.torn_bytes == 0);
        torn += test.report.torn;
    }
    ck_assert_uint_eq(last, 0);
    ck_assert_uint_gt(torn, 50000);
}
END_TEST

START_TEST(a_cut_below_what_was_synced_is_damage)
{
    const char *path = test_segment(1);
    uint64_t size = make_log(40, 20);
    uint64_t refused = 0;

    /* The knowledge lies in the groups behind, so cut them out of the middle. */
    while (size-- > SEGMENT_HEADER_BYTES + 64) {
        uint8_t *hole = calloc(1, 64);

        ck_assert_ptr_nonnull(hole);
        restore(path);
        memcpy((void *)(uintptr_t)(faulty_content(test.disk, path).data + size - 64), hole, 64);
        free(hole);
        if (!is_prefix_or_refusal(path)) {
            refused++;
            ck_assert_uint_le(test.error.offset, size);
        } else {
            ck_assert_uint_ge(test.replayed, 20);
        }
    }
    ck_assert_uint_gt(refused, 20 * 64);
}
END_TEST

/* Every bit within `whole` bits of either end, and in between one of each byte, another one
 * in each run: to read the log half a million times takes minutes. */
static void
flip_bits(const char *path, uint64_t bits, uint64_t whole)
{
    uint64_t random = test_seed();
    uint64_t refused = 0;
    uint64_t flipped = 0;
    uint64_t chosen = 0;
    uint64_t bit;

    /* Each look derives keys; test_sealed.c flips every bit of its header and groups. */
    if (test.options.keys != NULL)
        whole /= 8;
    for (bit = 0; bit < bits; bit++) {
        if (bit % 8 == 0)
            chosen = test_random(&random) % 8;
        if (bit >= whole && bit + whole < bits && bit % 8 != chosen)
            continue;
        flipped++;
        faulty_flip(test.disk, path, bit);
        if (!is_prefix_or_refusal(path)) {
            refused++;
            ck_assert_uint_le(test.error.offset, bit / 8);
        } else {
            /* What comes before the group with the flip is all there. */
            ck_assert(test.report.torn);
            ck_assert_uint_le(test.report.torn_offset, bit / 8);
        }
        faulty_flip(test.disk, path, bit);
    }
    ck_assert_int_eq(judge(), BRD_OK);
    printf("%llu flips, %llu refused\n", (unsigned long long)flipped, (unsigned long long)refused);
}

START_TEST(a_flipped_bit_anywhere_leaves_a_prefix_or_is_refused)
{
    uint64_t size;

    test.filler = 1000;
    size = make_log(110, 55);
    ck_assert_uint_gt(size, 60000);
    flip_bits(test_segment(1), size * 8, (SEGMENT_HEADER_BYTES + 1000) * 8);
}
END_TEST

START_TEST(seconds_after_the_last_write_meta_vouches_for_it_also_after_an_idle_time)
{
    uint64_t calls;
    uint64_t end;
    int i;

    test_up(&test);
    test_append_groups(&test, 2, BRD_DURABILITY_FULL);
    for (i = 0; i < 3; i++) { /* idle: the ceiling goes far ahead */
        calls = faulty_calls(test.disk, FAULTY_FDATASYNC);
        brd_clock_advance(test.clock, 61 * BRD_NS_PER_S);
        while (faulty_calls(test.disk, FAULTY_FDATASYNC) == calls)
            sched_yield();
    }
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    calls = faulty_calls(test.disk, FAULTY_FDATASYNC);
    brd_clock_advance(test.clock, 3 * BRD_NS_PER_S);
    while (faulty_calls(test.disk, FAULTY_FDATASYNC) == calls)
        sched_yield();
    test_kill(&test);
    ck_assert_int_eq(test_read(&test), BRD_OK);
    ck_assert_uint_eq(test.replayed, 3);
    end = SEGMENT_HEADER_BYTES + test.report.bytes;
    brd_wal_close(&test.wal);
    faulty_flip(test.disk, test_segment(1), (end - 20) * 8);
    ck_assert_int_eq(test_read(&test), BRD_CORRUPT);
}
END_TEST

START_TEST(after_an_orderly_stop_every_flipped_bit_is_refused)
{
    const char *path = test_segment(1);
    uint64_t size;
    uint64_t bit;

    test_up(&test);
    test_append_groups(&test, 20, BRD_DURABILITY_NORMAL);
    test_down(&test);
    fill_expected(20);
    size = end_of_log();
    for (bit = 0; bit < size * 8; bit++) {
        faulty_flip(test.disk, path, bit);
        ck_assert(!is_prefix_or_refusal(path));
        ck_assert_uint_le(test.error.offset, bit / 8);
        faulty_flip(test.disk, path, bit);
    }
    while (size-- > 0) {
        faulty_cut_file(test.disk, path, size);
        ck_assert(!is_prefix_or_refusal(path));
    }
}
END_TEST

START_TEST(no_flipped_bit_in_meta_changes_what_is_read)
{
    uint64_t bit;

    make_log(20, 0);
    for (bit = 0; bit < 8192 * 8; bit++) {
        faulty_flip(test.disk, TEST_DIR "/meta", bit);
        if (judge() == BRD_OK)
            ck_assert_uint_eq(test.replayed, 20);
        else
            ck_assert_str_eq(test.error.path, TEST_DIR "/meta");
        faulty_flip(test.disk, TEST_DIR "/meta", bit);
    }
}
END_TEST

START_TEST(meta_with_one_damaged_slot_is_used_and_with_two_refused)
{
    test_up(&test);
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    test_down(&test);
    faulty_flip(test.disk, TEST_DIR "/meta", 100);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 3);
    test_down(&test);
    faulty_flip(test.disk, TEST_DIR "/meta", 100);
    faulty_flip(test.disk, TEST_DIR "/meta", 4096 * 8 + 100);
    ck_assert_int_eq(test_open(&test), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, TEST_DIR "/meta");
}
END_TEST

/* ---- Behind the end ---- */

START_TEST(zeros_behind_the_end_are_silent)
{
    const char *path = test_segment(1);
    uint64_t end = make_log(30, 10);
    uint64_t zeros;

    for (zeros = 0; zeros <= 8192; zeros++) {
        faulty_cut_file(test.disk, path, end + zeros);
        ck_assert_int_eq(judge(), BRD_OK);
        ck_assert_uint_eq(test.replayed, 30);
        ck_assert(!test.report.torn);
    }
}
END_TEST

START_TEST(garbage_behind_the_end_is_reported_with_its_size)
{
    const char *path = test_segment(1);
    uint64_t random = test_seed();
    uint64_t end = make_log(30, 10);
    uint8_t garbage[4096];
    size_t i;

    for (i = 0; i < sizeof(garbage); i++)
        garbage[i] = (uint8_t)(test_random(&random) | 1);
    for (i = 1; i <= 300; i++) {
        uint8_t *at;

        restore(path);
        faulty_cut_file(test.disk, path, end + 6000);
        at = (uint8_t *)(uintptr_t)faulty_content(test.disk, path).data;
        memcpy(at + end, garbage, i);
        ck_assert_int_eq(judge(), BRD_OK);
        ck_assert_uint_eq(test.replayed, 30);
        ck_assert(test.report.torn);
        ck_assert_uint_eq(test.report.torn_offset, end);
        ck_assert_uint_ge(test.report.torn_bytes, i);
        ck_assert_uint_le(test.report.torn_bytes, i + 8);
        ck_assert_str_eq(test.report.torn_path, path);
    }
}
END_TEST

/* Rewrite a segment's header page with other flags or format, checksum and all. */
static void
forge_header(const char *path, uint32_t format, uint32_t flags)
{
    uint8_t *page = (uint8_t *)(uintptr_t)faulty_content(test.disk, path).data;
    struct segment_header header;

    memcpy(&header, page, sizeof(header));
    header.format = format;
    header.flags = flags | (header.flags & SEGMENT_SEALED);
    header.checksum = 0;
    memset(header.mac, 0, sizeof(header.mac));
    memcpy(page, &header, sizeof(header));
    if (test.options.keys != NULL) {
        struct brd_seal *seal = NULL;

        BRD_CHECK(segment_open_seal(&header, test.options.keys, &seal) == BRD_OK);
        BRD_CHECK(brd_seal_mac(seal, brd_bytes(page, SEGMENT_HEADER_BYTES), header.mac) == BRD_OK);
        brd_seal_close(&seal);
        memcpy(page, &header, sizeof(header));
    }
    header.checksum = brd_crc32c(0, page, SEGMENT_HEADER_BYTES);
    memcpy(page, &header, sizeof(header));
}

START_TEST(bytes_of_an_earlier_life_end_the_log_silently)
{
    const char *path = test_segment(1);
    struct log_test other;
    struct brd_bytes stale;
    uint64_t end;
    uint64_t shift;

    test_init(&other);
    other.options.segment_bytes = 128 << 10;
    test_up(&other);
    test_append_groups(&other, 60, BRD_DURABILITY_FULL);
    test_down(&other);
    stale = faulty_content(other.disk, path);
    end = make_log(30, 10);
    ck_assert_uint_gt(stale.size, end + 2000);
    /* At every place, so also where a group of the earlier life begins: there
     * position, length and versions fit, and only the salt does not. */
    for (shift = 0; shift < 1000; shift++) {
        uint8_t *at;

        restore(path);
        faulty_cut_file(test.disk, path, 100000);
        at = (uint8_t *)(uintptr_t)faulty_content(test.disk, path).data;
        memcpy(at + end, stale.data + end + shift, stale.size - end - shift);
        ck_assert_int_eq(judge(), BRD_OK);
        ck_assert_uint_eq(test.replayed, 30);
        ck_assert(test.report.torn); /* there was no earlier life, so what is it? */
        forge_header(path, 1, SEGMENT_RECYCLED);
        ck_assert_int_eq(judge(), BRD_OK);
        ck_assert_uint_eq(test.replayed, 30);
        if (shift > 0)
            ck_assert(!test.report.torn);
    }
    test_fini(&other);
}
END_TEST

START_TEST(a_later_format_is_refused_by_name)
{
    make_log(3, 0);
    forge_header(test_segment(1), 2, 0);
    ck_assert_int_eq(judge(), BRD_UNSUPPORTED);
    ck_assert_str_eq(test.error.path, test_segment(1));
    ck_assert_ptr_nonnull(strstr(test.error.text, "newer"));
    forge_header(test_segment(1), 1, 1u << 31);
    ck_assert_int_eq(judge(), BRD_UNSUPPORTED);
}
END_TEST

START_TEST(a_torn_end_is_reported_once_and_writing_goes_on)
{
    const char *path = test_segment(1);
    uint64_t end = make_log(30, 0);

    faulty_cut_file(test.disk, path, end - 3);
    test_up(&test);
    ck_assert(test.report.torn);
    ck_assert_uint_eq(test.replayed, 29);
    test_append_groups(&test, 11, BRD_DURABILITY_NORMAL);
    test_kill(&test);
    test_up(&test);
    ck_assert(!test.report.torn);
    ck_assert_uint_eq(test.replayed, 40);
    test_down(&test);
}
END_TEST

/* ---- Groups that are whole but make no sense ---- */

/* Change a field of the group at offset and make its checksum right again. */
static void
forge_group(const char *path, uint64_t offset, size_t field, const void *value, size_t size)
{
    uint8_t *file = (uint8_t *)(uintptr_t)faulty_content(test.disk, path).data;
    uint8_t *at = file + offset;
    struct segment_header segment;
    struct group_header group;
    uint64_t covered;

    memcpy(&segment, file, sizeof(segment));
    memcpy(at + field, value, size);
    memcpy(&group, at, sizeof(group));
    covered = group_size(&group) - offsetof(struct group_header, flags);
    group.checksum = brd_crc32c(group_seed(segment.salt), at + offsetof(struct group_header, flags),
                                (size_t)covered);
    memcpy(at, &group, sizeof(group));
}

START_TEST(a_valid_checksum_does_not_excuse_nonsense)
{
    const char *path = test_segment(1);
    const uint64_t wrong = UINT64_C(1) << 63;
    const uint32_t many = 7;
    const uint32_t sealed = test.options.keys == NULL ? GROUP_SEALED : 0;
    const uint32_t flags = 2 | (test.options.keys != NULL ? GROUP_SEALED : 0);
    const uint8_t bad_record[3] = { 0, 0, 0 };
    const struct {
        size_t field;
        const void *value;
        size_t size;
        enum brd_status status;
    } lies[] = {
        { offsetof(struct group_header, base_version), &wrong, 8, BRD_CORRUPT },
        { offsetof(struct group_header, last_version), &wrong, 8, BRD_CORRUPT },
        { offsetof(struct group_header, synced_lsn), &wrong, 8, BRD_CORRUPT },
        { offsetof(struct group_header, epoch), &many, 4, BRD_CORRUPT },
        { offsetof(struct group_header, records), &many, 4, BRD_CORRUPT },
        { offsetof(struct group_header, flags), &flags, 4, BRD_UNSUPPORTED },
        { offsetof(struct group_header, flags), &sealed, 4, BRD_CORRUPT },
        { sizeof(struct group_header), bad_record, 3, BRD_CORRUPT },
    };
    uint64_t end = make_log(5, 0);
    size_t i;

    ck_assert_uint_gt(end, SEGMENT_HEADER_BYTES);
    for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        restore(path);
        forge_group(path, SEGMENT_HEADER_BYTES, lies[i].field, lies[i].value, lies[i].size);
        ck_assert_msg(judge() == lies[i].status, "lie %zu: %s", i, test.error.text);
        ck_assert_str_eq(test.error.path, path);
        ck_assert_uint_eq(test.error.offset, SEGMENT_HEADER_BYTES);
    }
}
END_TEST

/* ---- More than fits into the reader's window ---- */

START_TEST(a_log_of_many_megabytes_and_large_groups_is_read)
{
    struct brd_wal_payload payload = { 0 };
    const size_t size = (size_t)3 << 20;
    uint8_t *large = malloc(size);
    uint64_t random = test_seed();
    uint64_t version;
    uint64_t kept;
    size_t i;

    ck_assert_ptr_nonnull(large);
    for (i = 0; i < size; i++)
        large[i] = (uint8_t)test_random(&random);
    payload.head = brd_bytes(large, size);
    test.filler = 4000;
    test.options.segment_bytes = 5 << 20;
    test.options.queue_bytes_max = 32 << 20;
    test_up(&test);
    test_append_many(&test, 8000, false); /* about 16 MiB: the queue has a flood */
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, brd_wal_last_version(test.wal)));
    test_kill(&test);
    ck_assert_int_eq(test_read(&test), BRD_OK);
    ck_assert_uint_eq(test.replayed, 8000);
    ck_assert(!test.report.torn);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    ck_assert_int_eq(brd_wal_reserve(test.wal, size), BRD_OK);
    version = brd_wal_append(test.wal, size, TEST_NOW_NS, &payload, false);
    brd_wal_kick(test.wal);
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    test_append_groups(&test, 3, BRD_DURABILITY_NORMAL);
    kept = brd_wal_last_version(test.wal);
    test_kill(&test);
    ck_assert_int_eq(test_open(&test), BRD_OK);
    ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
    ck_assert_uint_eq(test.report.records, 8004);
    ck_assert_uint_eq(test.report.last_version, kept);
    ck_assert(!test.report.torn);
    brd_wal_close(&test.wal);
    /* The large one torn in its middle: three whole groups behind it, nobody
     * vouches for them, and its bytes are looked through for others. */
    {
        uint64_t number = 1;

        while (faulty_content(test.disk, test_segment(number + 1)).data != NULL)
            number++;
        while (faulty_content(test.disk, test_segment(number)).data[0] == 0)
            number--;
        faulty_flip(test.disk, test_segment(number), (SEGMENT_HEADER_BYTES + size / 2) * 8);
        ck_assert_int_eq(test_open(&test), BRD_OK);
        ck_assert_int_eq(brd_wal_replay(test.wal, NULL, NULL, &test.report, &test.error), BRD_OK);
        ck_assert_uint_eq(test.report.records, 8000);
        ck_assert(test.report.torn);
        ck_assert_uint_gt(test.report.torn_bytes, size);
        brd_wal_close(&test.wal);
    }
    free(large);
}
END_TEST

START_TEST(names_that_are_no_segments_are_ignored)
{
    const char *const names[] = { "notes.txt", "000000000000000G.wal", "0000000000000009.wal.bak",
                                  "0000000000000000.wal", "00000000000000AB.wal" };
    size_t i;

    make_log(3, 0);
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];

        snprintf(path, sizeof(path), TEST_DIR "/wal/%s", names[i]);
        faulty_set_content(test.disk, path, brd_bytes_of("something else"));
    }
    ck_assert_int_eq(judge(), BRD_OK);
    ck_assert_uint_eq(test.replayed, 3);
}
END_TEST

/* ---- Many segments ---- */

#define CHAIN_RECORDS 150

/* Several small segments; how many. */
static uint64_t
make_chain(enum brd_durability class_)
{
    struct brd_wal_stats stats;

    test.options.segment_bytes = 8 << 10;
    test_up(&test);
    test_append_groups(&test, CHAIN_RECORDS, class_);
    brd_wal_get_stats(test.wal, &stats);
    test_kill(&test);
    fill_expected(CHAIN_RECORDS);
    ck_assert_uint_ge(stats.segments, 4);
    ck_assert_int_eq(judge(), BRD_OK);
    ck_assert_uint_eq(test.replayed, CHAIN_RECORDS);
    return stats.segments;
}

static void
refuses(const char *path)
{
    ck_assert_int_eq(judge(), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, path);
    ck_assert_ptr_nonnull(strstr(test.error.text, path));
}

START_TEST(a_missing_segment_is_named)
{
    const enum brd_durability classes[] = { BRD_DURABILITY_FULL, BRD_DURABILITY_NORMAL };
    size_t i;

    for (i = 0; i < 2; i++) {
        uint64_t count = make_chain(classes[i]);
        uint64_t number;

        for (number = 1; number <= count; number++) {
            struct faulty *whole = test.disk;

            /* Without a sync nothing vouches for the newest. */
            if (number == count && classes[i] != BRD_DURABILITY_FULL)
                continue;
            test.disk = faulty_clone(whole);
            test.options.io = faulty_io(test.disk);
            faulty_remove(test.disk, test_segment(number));
            faulty_remove(test.disk, test_segment(count + 1));
            refuses(test_segment(number));
            faulty_destroy(&test.disk);
            test.disk = whole;
            test.options.io = faulty_io(whole);
        }
        teardown();
        setup();
    }
}
END_TEST

START_TEST(swapped_and_doubled_segments_are_named)
{
    uint64_t count = make_chain(BRD_DURABILITY_FULL);
    uint64_t a;
    uint64_t b;

    for (a = 1; a <= count; a++)
        for (b = a + 1; b <= count; b++) {
            faulty_swap(test.disk, test_segment(a), test_segment(b));
            refuses(test_segment(a));
            faulty_swap(test.disk, test_segment(a), test_segment(b));
        }
    for (a = 1; a <= count; a++) {
        faulty_set_content(test.disk, test_segment(count + 1),
                           faulty_content(test.disk, test_segment(a)));
        refuses(test_segment(count + 1));
    }
}
END_TEST

START_TEST(a_segment_of_another_directory_is_named)
{
    uint64_t count = make_chain(BRD_DURABILITY_FULL);
    struct log_test mine = test;
    uint64_t number;

    test_init(&test);
    test.replayed = 0;
    {
        size_t i;

        for (i = 0; i < RECORDS_MAX; i++) {
            free((void *)(uintptr_t)expected[i].data);
            expected[i] = brd_bytes(NULL, 0);
        }
    }
    ck_assert_uint_ge(make_chain(BRD_DURABILITY_FULL), 4);
    for (number = 1; number <= count && number <= 4; number++) {
        const char *path = test_segment(number);
        struct faulty *clone = faulty_clone(test.disk);
        struct faulty *own = test.disk;

        test.disk = clone;
        test.options.io = faulty_io(clone);
        faulty_set_content(clone, path, faulty_content(mine.disk, path));
        refuses(path);
        ck_assert_ptr_nonnull(strstr(test.error.text, "another data directory"));
        faulty_destroy(&clone);
        test.disk = own;
        test.options.io = faulty_io(own);
    }
    test_fini(&mine);
}
END_TEST

START_TEST(segments_without_meta_are_refused)
{
    make_log(3, 0);
    faulty_remove(test.disk, TEST_DIR "/meta");
    refuses(TEST_DIR "/meta");
    ck_assert_int_eq(test_open(&test), BRD_CORRUPT);
    ck_assert_uint_eq(faulty_content(test.disk, TEST_DIR "/meta").size, 0);
}
END_TEST

START_TEST(what_nobody_vouches_for_behind_a_hole_is_dropped)
{
    uint64_t count = make_chain(BRD_DURABILITY_NORMAL);
    uint64_t kept;

    /* The group at the front of the second segment never reached the disk. */
    faulty_flip(test.disk, test_segment(2), (SEGMENT_HEADER_BYTES + 70) * 8);
    ck_assert_int_eq(judge(), BRD_OK);
    ck_assert(test.report.torn);
    ck_assert_str_eq(test.report.torn_path, test_segment(2));
    ck_assert_uint_eq(test.report.torn_offset, SEGMENT_HEADER_BYTES);
    kept = test.replayed;
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_lt(kept, CHAIN_RECORDS / 2);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, kept);
    ck_assert_uint_eq(faulty_content(test.disk, test_segment(count)).size, 0);
    test_append_groups(&test, 50, BRD_DURABILITY_FULL);
    test_down(&test);
    test_up(&test);
    ck_assert(!test.report.torn);
    ck_assert_uint_eq(test.replayed, kept + 50);
    test_down(&test);
}
END_TEST

START_TEST(a_beginning_that_was_lost_ends_the_log_before_it)
{
    uint64_t count = make_chain(BRD_DURABILITY_NORMAL);
    struct brd_bytes content = faulty_content(test.disk, test_segment(3));

    ck_assert_uint_ge(count, 4);
    memset((void *)(uintptr_t)content.data, 0, SEGMENT_HEADER_BYTES);
    ck_assert_int_eq(judge(), BRD_OK);
    ck_assert(test.report.torn);
    ck_assert_uint_lt(test.replayed, CHAIN_RECORDS);
    test_up(&test);
    test_down(&test);
}
END_TEST

START_TEST(half_a_header_is_a_segment_that_never_began_unless_it_belongs_elsewhere)
{
    uint64_t count = make_chain(BRD_DURABILITY_FULL);
    const char *path = test_segment(count + 1);
    struct brd_bytes model = faulty_content(test.disk, test_segment(count));
    uint8_t *file = calloc(1, 3 * SEGMENT_HEADER_BYTES);
    size_t size;

    ck_assert_ptr_nonnull(file);
    for (size = 1; size < offsetof(struct segment_header, key_id); size++) {
        memset(file, 0, 3 * SEGMENT_HEADER_BYTES);
        memcpy(file, model.data, size);
        faulty_set_content(test.disk, path, brd_bytes(file, 3 * SEGMENT_HEADER_BYTES));
        ck_assert_int_eq(judge(), BRD_OK);
        ck_assert_uint_eq(test.replayed, CHAIN_RECORDS);
        /* With something behind it may only be the half of a header that belongs here; this
         * one has another number. */
        file[2 * SEGMENT_HEADER_BYTES] = 1;
        faulty_set_content(test.disk, path, brd_bytes(file, 3 * SEGMENT_HEADER_BYTES));
        if (size <= offsetof(struct segment_header, number))
            ck_assert_int_eq(judge(), BRD_OK);
        else
            refuses(path);
    }
    free(file);
}
END_TEST

/* ---- Errors and crashes while recovering ---- */

START_TEST(a_read_error_is_never_the_end_of_the_log)
{
    const enum faulty_kind kinds[] = { FAULTY_READ, FAULTY_OPEN, FAULTY_SIZE, FAULTY_LIST };
    size_t k;

    make_chain(BRD_DURABILITY_NORMAL);
    for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        long nth;

        for (nth = 1;; nth++) {
            enum brd_status status;

            faulty_fail(test.disk, kinds[k], nth, 1, EIO);
            status = judge();
            if (!faulty_hit(test.disk))
                break;
            ck_assert_msg(status == BRD_IO_ERROR, "%s %ld: %s", faulty_kind_name(kinds[k]), nth,
                          brd_status_name(status));
            ck_assert_ptr_nonnull(strstr(test.error.text, "Input/output error"));
        }
        ck_assert_int_ge(nth, 2);
        ck_assert_uint_eq(test.replayed, CHAIN_RECORDS);
    }
}
END_TEST

/* A log with a torn end and segments to be dropped, and what is valid of it. */
static uint64_t
make_torn_chain(void)
{
    make_chain(BRD_DURABILITY_NORMAL);
    faulty_flip(test.disk, test_segment(2), (SEGMENT_HEADER_BYTES + 70) * 8);
    ck_assert_int_eq(judge(), BRD_OK);
    return test.replayed;
}

START_TEST(power_may_fail_at_every_step_of_a_start)
{
    uint64_t random = test_seed();
    struct faulty *whole;
    uint64_t valid = make_torn_chain();
    uint32_t epoch = 0;
    long nth;

    whole = test.disk;
    for (nth = 1; nth < 1000; nth++) {
        struct brd_wal_identity identity;
        bool was_cut;
        int keep;

        for (keep = 0; keep < 6; keep++) {
            test.disk = faulty_clone(whole);
            test.options.io = faulty_io(test.disk);
            faulty_cut_at(test.disk, nth);
            (void)!test_try_up(&test);
            was_cut = faulty_is_cut(test.disk);
            test_cut(&test, keep < 3 ? (enum faulty_keep)keep : FAULTY_KEEP_SOME,
                     test_random(&random));
            test_up(&test);
            ck_assert_uint_eq(test.replayed, valid);
            brd_wal_get_identity(test.wal, &identity);
            epoch = brd_wal_epoch(test.wal);
            ck_assert_uint_ge(epoch, 2);
            test_append_groups(&test, 5, BRD_DURABILITY_FULL);
            test_down(&test);
            ck_assert_int_eq(judge(), BRD_OK);
            ck_assert_uint_eq(test.replayed, valid + 5);
            faulty_destroy(&test.disk);
        }
        if (!was_cut)
            break;
    }
    printf("%ld steps\n", nth);
    ck_assert_int_gt(nth, 10);
    ck_assert_int_lt(nth, 1000);
    test.disk = whole;
    test.options.io = faulty_io(whole);
}
END_TEST

START_TEST(power_may_fail_at_every_step_of_a_first_start)
{
    uint64_t random = test_seed();
    long nth;

    faulty_destroy(&test.disk);
    for (nth = 1; nth < 1000; nth++) {
        bool was_cut;

        test.disk = faulty_create();
        test.options.io = faulty_io(test.disk);
        faulty_cut_at(test.disk, nth);
        (void)!test_try_up(&test);
        was_cut = faulty_is_cut(test.disk);
        test_cut(&test, FAULTY_KEEP_SOME, test_random(&random));
        test_up(&test);
        ck_assert_uint_eq(test.replayed, 0);
        test_append_groups(&test, 5, BRD_DURABILITY_FULL);
        test_cut(&test, FAULTY_KEEP_NONE, 0);
        test_up(&test);
        ck_assert_uint_eq(test.replayed, 5);
        test_down(&test);
        if (!was_cut)
            break;
        faulty_destroy(&test.disk);
    }
    ck_assert_int_gt(nth, 10);
    ck_assert_int_lt(nth, 1000);
}
END_TEST

START_TEST(killing_recovery_twenty_times_changes_nothing)
{
    uint64_t random = test_seed();
    uint64_t valid = make_torn_chain();
    int round;

    for (round = 0; round < 20; round++) {
        faulty_cut_at(test.disk, 1 + (long)(test_random(&random) % 40));
        (void)!test_try_up(&test);
        test_kill(&test);
        ck_assert_int_eq(judge(), BRD_OK);
        ck_assert_uint_eq(test.replayed, valid);
    }
    faulty_clear(test.disk);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, valid);
    test_down(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal recovery");
    TCase *tcase = tcase_create("recovery");

    tcase_set_timeout(tcase, 500);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_cut_leaves_a_prefix_or_is_refused);
    tcase_add_test(tcase, a_cut_below_what_was_synced_is_damage);
    tcase_add_test(tcase, a_flipped_bit_anywhere_leaves_a_prefix_or_is_refused);
    tcase_add_test(tcase, seconds_after_the_last_write_meta_vouches_for_it_also_after_an_idle_time);
    tcase_add_test(tcase, after_an_orderly_stop_every_flipped_bit_is_refused);
    tcase_add_test(tcase, no_flipped_bit_in_meta_changes_what_is_read);
    tcase_add_test(tcase, meta_with_one_damaged_slot_is_used_and_with_two_refused);
    tcase_add_test(tcase, zeros_behind_the_end_are_silent);
    tcase_add_test(tcase, garbage_behind_the_end_is_reported_with_its_size);
    tcase_add_test(tcase, bytes_of_an_earlier_life_end_the_log_silently);
    tcase_add_test(tcase, a_later_format_is_refused_by_name);
    tcase_add_test(tcase, a_torn_end_is_reported_once_and_writing_goes_on);
    tcase_add_test(tcase, a_valid_checksum_does_not_excuse_nonsense);
    tcase_add_test(tcase, a_log_of_many_megabytes_and_large_groups_is_read);
    tcase_add_test(tcase, names_that_are_no_segments_are_ignored);
    tcase_add_test(tcase, a_missing_segment_is_named);
    tcase_add_test(tcase, swapped_and_doubled_segments_are_named);
    tcase_add_test(tcase, a_segment_of_another_directory_is_named);
    tcase_add_test(tcase, segments_without_meta_are_refused);
    tcase_add_test(tcase, what_nobody_vouches_for_behind_a_hole_is_dropped);
    tcase_add_test(tcase, a_beginning_that_was_lost_ends_the_log_before_it);
    tcase_add_test(tcase, half_a_header_is_a_segment_that_never_began_unless_it_belongs_elsewhere);
    tcase_add_test(tcase, a_read_error_is_never_the_end_of_the_log);
    tcase_add_test(tcase, power_may_fail_at_every_step_of_a_start);
    tcase_add_test(tcase, power_may_fail_at_every_step_of_a_first_start);
    tcase_add_test(tcase, killing_recovery_twenty_times_changes_nothing);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}
