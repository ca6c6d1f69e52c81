/* The search behind the end of a log: what is whole is found wherever it lies, and bytes that
 * somebody made to be expensive are not. */
#include "wal_test.h"

#include "base/crc32c.h"
#include "wal/search.h"

#include <errno.h>
#include <stddef.h>

#define PATH       TEST_DIR "/wal/0000000000000001.wal"
#define START_LSN  UINT64_C(0x7000)
#define LARGE_TAIL ((size_t)64 << 20)
#define SMALL_TAIL ((size_t)20 << 10)

static struct faulty *disk;
static uint8_t *file; /* header page, then the tail */
static size_t tail_bytes;
static struct log_segment segment;

static void
setup(void)
{
    disk = faulty_create();
}

static void
teardown(void)
{
    faulty_destroy(&disk);
    free(file);
    file = NULL;
}

static void
make_file(size_t bytes)
{
    free(file);
    tail_bytes = bytes;
    file = calloc(1, SEGMENT_HEADER_BYTES + bytes);
    ck_assert_ptr_nonnull(file);
    segment = (struct log_segment){ .path = (char *)(uintptr_t)PATH,
                                    .number = 1,
                                    .file_bytes = SEGMENT_HEADER_BYTES + bytes,
                                    .begun = true,
                                    .header = { .start_lsn = START_LSN } };
    memset(segment.header.salt, 0x5a, sizeof(segment.header.salt));
}

/* The position of byte `at` of the tail. */
static uint64_t
lsn_of(size_t at)
{
    return START_LSN + at;
}

static uint8_t *
tail(void)
{
    return file + SEGMENT_HEADER_BYTES;
}

/* A header that claims a group which ends with the file. */
static void
put_claim(size_t at)
{
    struct group_header header = {
        .magic = GROUP_MAGIC,
        .checksum = (uint32_t)at,
        .length = (uint32_t)(tail_bytes - at - sizeof(header)),
        .records = 1,
        .lsn = lsn_of(at),
        .synced_lsn = lsn_of(at),
        .base_version = 1,
        .last_version = 2,
    };

    memcpy(tail() + at, &header, sizeof(header));
}

/* Make the group at `at` one whose checksum is right, whatever its records are. */
static void
put_group(size_t at, uint32_t length, uint64_t version, uint64_t synced_lsn)
{
    struct group_header header = {
        .magic = GROUP_MAGIC,
        .length = length,
        .records = 1 + (uint32_t)(version % 3),
        .lsn = lsn_of(at),
        .synced_lsn = synced_lsn,
        .base_version = version - 1,
        .last_version = version,
    };
    size_t size = group_bytes(length);

    ck_assert_uint_le(at + size, tail_bytes);
    memcpy(tail() + at, &header, sizeof(header));
    header.checksum = brd_crc32c(group_seed(segment.header.salt), tail() + at + 8, size - 8);
    memcpy(tail() + at, &header, sizeof(header));
}

static enum brd_status
search(struct log_remains *remains, struct search_progress *progress)
{
    struct window window = { .io = faulty_io(disk), .fd = -1 };
    struct brd_wal_error error;
    enum brd_status status;

    faulty_set_content(disk, PATH, brd_bytes(file, SEGMENT_HEADER_BYTES + tail_bytes));
    *remains = (struct log_remains){ 0 };
    status = window_open(&window, &segment, &error);
    ck_assert_int_eq(status, BRD_OK);
    status = search_window(&window, SEGMENT_HEADER_BYTES, 5, remains, progress, &error);
    window_fini(&window);
    return status;
}

/* ---- Cost ---- */

START_TEST(claims_to_the_end_of_the_file_cost_three_readings_at_most)
{
    struct log_remains remains;
    size_t at;

    make_file(LARGE_TAIL);
    for (at = 0; at + sizeof(struct group_header) <= tail_bytes; at += sizeof(struct group_header))
        put_claim(at);
    ck_assert_int_eq(search(&remains, NULL), BRD_OK);
    ck_assert_uint_eq(remains.groups, 0);
    ck_assert_uint_eq(remains.bytes, tail_bytes);
    ck_assert_uint_ge(remains.summed_bytes, tail_bytes); /* it did look at them */
    ck_assert_uint_le(remains.summed_bytes, 3 * tail_bytes);
}
END_TEST

/* Headers that overlap, as many as there can be: three of each six places, since a position
 * is never the magic. */
START_TEST(claims_at_every_other_place_cost_three_readings_at_most)
{
    struct log_remains remains;
    uint64_t claims = 0;
    size_t at;

    make_file(LARGE_TAIL);
    for (at = 0; at + 128 <= tail_bytes; at += 48) {
        size_t i;

        for (i = 0; i < 3; i++) {
            size_t place = at + 8 * i;
            uint32_t length = (uint32_t)(tail_bytes - place - 8 - sizeof(struct group_header));

            brd_store_le32(tail() + place, GROUP_MAGIC);
            brd_store_le64(tail() + place + 24, lsn_of(place));
            if (i > 0) /* what is the checksum of one is the length of the one before */
                brd_store_le32(tail() + place + 4, length);
        }
    }
    for (at = 0; at + sizeof(struct group_header) <= tail_bytes; at += GROUP_ALIGN)
        claims += group_header_plausible(tail() + at, lsn_of(at));
    ck_assert_uint_gt(claims, tail_bytes / 8 / 2 - 64);
    ck_assert_int_eq(search(&remains, NULL), BRD_OK);
    ck_assert_uint_eq(remains.groups, 0);
    ck_assert_uint_ge(remains.summed_bytes, tail_bytes);
    ck_assert_uint_le(remains.summed_bytes, 3 * tail_bytes);
    /* And the one that is whole is seen among them. */
    put_group(tail_bytes / 2, 1000, 77, 4711 * 8);
    ck_assert_int_eq(search(&remains, NULL), BRD_OK);
    ck_assert_uint_eq(remains.groups, 1);
    ck_assert_uint_eq(remains.last_version, 77);
    ck_assert_uint_eq(remains.synced_lsn, 4711 * 8);
    ck_assert_uint_le(remains.summed_bytes, 3 * tail_bytes);
}
END_TEST

struct listener {
    uint64_t calls;
    uint64_t last_done;
    uint64_t stop_at; /* call; 0: never */
};

static enum brd_status
listen_to(void *arg, bool searching, uint64_t done, uint64_t total)
{
    struct listener *listener = arg;

    ck_assert(searching);
    ck_assert_uint_ge(done, listener->last_done);
    ck_assert_uint_le(done, total);
    listener->last_done = done;
    return ++listener->calls == listener->stop_at ? BRD_SHUTTING_DOWN : BRD_OK;
}

START_TEST(a_long_search_tells_how_far_it_is_and_ends_when_told)
{
    struct listener listener = { 0 };
    struct search_progress progress = { .fn = listen_to, .arg = &listener };
    struct log_remains remains;
    uint64_t calls;
    uint64_t stop;
    size_t at;

    make_file(LARGE_TAIL / 4);
    for (at = 0; at + sizeof(struct group_header) <= tail_bytes; at += 128)
        put_claim(at);
    progress.total = tail_bytes;
    ck_assert_int_eq(search(&remains, &progress), BRD_OK);
    ck_assert_uint_eq(progress.done, tail_bytes);
    calls = listener.calls;
    ck_assert_uint_ge(calls, tail_bytes / (8 << 20));
    for (stop = 1; stop <= calls; stop += 3) {
        listener = (struct listener){ .stop_at = stop };
        progress.done = 0;
        ck_assert_int_eq(search(&remains, &progress), BRD_SHUTTING_DOWN);
        ck_assert_uint_eq(listener.calls, stop);
    }
}
END_TEST

/* ---- What is found ---- */

/* Look at every place for itself, as the rule says. */
static void
search_plainly(struct log_remains *out)
{
    const uint32_t seed = group_seed(segment.header.salt);
    size_t dirty_end = 0;
    size_t at = 0;

    *out = (struct log_remains){ 0 };
    while (at + GROUP_ALIGN <= tail_bytes) {
        struct group_header header;
        bool dirty = !brd_bytes_are_zero(brd_bytes(tail() + at, GROUP_ALIGN));
        size_t step = GROUP_ALIGN;

        if (group_parse(brd_bytes(tail() + at, tail_bytes - at), seed, lsn_of(at), &header) !=
            GROUP_BAD) {
            step = group_bytes(header.length);
            if (header.synced_lsn > out->synced_lsn)
                out->synced_lsn = header.synced_lsn;
            if (header.last_version > 5) {
                out->groups++;
                out->group_bytes += step;
                out->records += header.records;
                if (header.last_version > out->last_version)
                    out->last_version = header.last_version;
            }
        }
        at += step;
        if (dirty)
            dirty_end = at;
    }
    out->bytes = dirty_end;
}

/* Claims, groups, groups within groups, zeros and garbage, one over the other. */
static void
fill_tail(uint64_t *random)
{
    int pieces = 1 + (int)(test_random(random) % 60);
    bool hostile = test_random(random) % 2 == 0;
    size_t at;
    int i;

    for (at = 0; hostile && at + 128 <= tail_bytes; at += 64)
        put_claim(at);
    for (i = 0; i < pieces; i++) {
        size_t place = test_random(random) % (tail_bytes / 2) & ~(size_t)7;
        size_t size = test_random(random) % 600;
        size_t j;

        switch (test_random(random) % 5) {
        case 0:
        case 1:
            put_group(place, (uint32_t)(test_random(random) % 8 == 0 ? size * 15 : size),
                      1 + test_random(random) % 30, test_random(random) % 1000 * 8);
            break;
        case 2:
            put_claim(place);
            break;
        case 3:
            memset(tail() + place, 0, size);
            break;
        default:
            for (j = 0; j < size; j++)
                tail()[place + j] = (uint8_t)test_random(random);
        }
    }
}

START_TEST(every_tail_is_judged_as_if_each_place_were_read_for_itself)
{
    uint64_t random = test_seed();
    uint64_t with_sums = 0;
    uint64_t groups = 0;
    int round;

    for (round = 0; round < 2000; round++) {
        struct log_remains expected;
        struct log_remains remains;

        make_file(SMALL_TAIL);
        fill_tail(&random);
        search_plainly(&expected);
        ck_assert_int_eq(search(&remains, NULL), BRD_OK);
        ck_assert_uint_eq(remains.groups, expected.groups);
        ck_assert_uint_eq(remains.group_bytes, expected.group_bytes);
        ck_assert_uint_eq(remains.records, expected.records);
        ck_assert_uint_eq(remains.last_version, expected.last_version);
        ck_assert_uint_eq(remains.synced_lsn, expected.synced_lsn);
        ck_assert_uint_eq(remains.bytes, expected.bytes);
        ck_assert_uint_le(remains.summed_bytes, 3 * tail_bytes);
        with_sums += remains.summed_bytes >= tail_bytes;
        groups += remains.groups;
    }
    ck_assert_uint_gt(with_sums, 200);
    ck_assert_uint_gt(groups, 2000);
}
END_TEST

START_TEST(a_read_error_is_never_an_end)
{
    struct log_remains remains;
    long nth;
    size_t at;

    make_file((size_t)3 << 20);
    for (at = 0; at + sizeof(struct group_header) <= tail_bytes; at += sizeof(struct group_header))
        put_claim(at);
    ck_assert_int_eq(search(&remains, NULL), BRD_OK);
    for (nth = 1;; nth++) {
        enum brd_status status;

        faulty_fail(disk, FAULTY_READ, nth, 1, EIO);
        status = search(&remains, NULL);
        if (!faulty_hit(disk))
            break;
        ck_assert_int_eq(status, BRD_IO_ERROR);
    }
    ck_assert_int_gt(nth, 10); /* the pass for the sums is among them */
}
END_TEST

/* ---- In a log ---- */

static struct log_test test;

struct stop_after {
    uint64_t searching;
    uint64_t stop_at;
};

static enum brd_status
stop_in_search(void *arg, bool searching, uint64_t done, uint64_t total)
{
    struct stop_after *stop = arg;

    ck_assert_uint_le(done, total);
    if (searching && ++stop->searching == stop->stop_at)
        return BRD_SHUTTING_DOWN;
    return BRD_OK;
}

static enum brd_status
visit_log(struct stop_after *stop)
{
    const struct brd_wal_visitor visitor = { .arg = stop, .progress = stop_in_search };
    enum brd_status status;

    test.options.read_only = true;
    ck_assert_int_eq(brd_wal_open(&test.options, &test.wal, &test.error), BRD_OK);
    status = brd_wal_visit(test.wal, &visitor, &test.report, &test.error);
    brd_wal_close(&test.wal);
    return status;
}

START_TEST(a_hostile_tail_of_a_log_is_its_end_unless_a_witness_hides_in_it)
{
    const size_t hostile_bytes = (size_t)16 << 20;
    struct stop_after stop = { 0 };
    struct segment_header header;
    struct brd_bytes old;
    uint64_t end;
    size_t at;

    test_init(&test);
    test_up(&test);
    test_append_groups(&test, 20, BRD_DURABILITY_NORMAL);
    test_kill(&test);
    faulty_remove(test.disk, test_segment(2)); /* prepared ahead */
    ck_assert_int_eq(visit_log(&stop), BRD_OK);
    ck_assert_uint_eq(test.report.records, 20);
    end = test.report.bytes;

    make_file(end + hostile_bytes);
    old = faulty_content(test.disk, PATH);
    memcpy(&header, old.data, sizeof(header));
    memcpy(file, old.data, SEGMENT_HEADER_BYTES + end);
    segment.header = header;
    for (at = end; at + sizeof(struct group_header) <= tail_bytes; at += 64) {
        put_claim(at);
        brd_store_le64(tail() + at + offsetof(struct group_header, lsn), header.start_lsn + at);
    }
    faulty_set_content(test.disk, PATH, brd_bytes(file, SEGMENT_HEADER_BYTES + tail_bytes));
    ck_assert_int_eq(visit_log(&stop), BRD_OK);
    ck_assert(test.report.torn);
    ck_assert_uint_eq(test.report.torn_offset, SEGMENT_HEADER_BYTES + end);
    ck_assert_uint_eq(test.report.torn_bytes, hostile_bytes);
    ck_assert_uint_ge(stop.searching, 4);

    stop = (struct stop_after){ .stop_at = 3 };
    ck_assert_int_eq(visit_log(&stop), BRD_SHUTTING_DOWN);

    /* The last whole group of the file says that more was synced than is left. */
    at = tail_bytes - 128;
    put_group(at, 64, 99, header.start_lsn + at);
    brd_store_le64(tail() + at + offsetof(struct group_header, lsn), header.start_lsn + at);
    brd_store_le32(tail() + at + offsetof(struct group_header, checksum),
                   brd_crc32c(group_seed(header.salt), tail() + at + 8, 128 - 8));
    faulty_set_content(test.disk, PATH, brd_bytes(file, SEGMENT_HEADER_BYTES + tail_bytes));
    stop = (struct stop_after){ 0 };
    ck_assert_int_eq(visit_log(&stop), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, PATH);
    ck_assert_uint_eq(test.error.offset, SEGMENT_HEADER_BYTES + end);
    test_fini(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal search");
    TCase *tcase = tcase_create("search");

    tcase_set_timeout(tcase, 500);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, claims_to_the_end_of_the_file_cost_three_readings_at_most);
    tcase_add_test(tcase, claims_at_every_other_place_cost_three_readings_at_most);
    tcase_add_test(tcase, a_long_search_tells_how_far_it_is_and_ends_when_told);
    tcase_add_test(tcase, every_tail_is_judged_as_if_each_place_were_read_for_itself);
    tcase_add_test(tcase, a_read_error_is_never_an_end);
    tcase_add_test(tcase, a_hostile_tail_of_a_log_is_its_end_unless_a_witness_hides_in_it);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}
